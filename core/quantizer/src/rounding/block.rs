//! Blocks of types whose weights each have a level of their own: bytes ↔ scales and levels.
//! Knows ggml's layouts; must not know where the numbers come from.
//! Source: the structs of ggml's `ggml-common.h` and `dequantize_row_*` of its `ggml-quants.c`.
//!
//! A weight is `(d · scales[group]) · level - (m · mins[group])`, in the order in which ggml computes it. Levels of lattice
//! types are those that there are codes for (`codebook`).

mod four_bits;
mod k_types;
mod lattices;
mod plain;

pub(crate) use four_bits::UNEVEN;
pub(crate) use lattices::Fields;

use super::codebook::{Codebook, codebook, step};
use formats::gguf::GgmlType;

/// Most weights of a block.
pub(crate) const MAX_WEIGHTS: usize = 256;
/// Most groups of a block.
const MAX_GROUPS: usize = 16;

/// Levels that weights may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Levels {
    /// Each weight has its own.
    Each(Each),
    /// Weights have those that there are codes for.
    Coded(&'static Codebook),
}

/// Levels that a weight may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Each {
    /// Every whole number from the first to the last.
    Whole(i8, i8),
    /// The sixteen of IQ4.
    Uneven,
}

/// What a type's blocks hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scheme {
    /// The type.
    pub(crate) ty: GgmlType,
    /// Weights of a block.
    pub(crate) n_weights: usize,
    /// Weights of a group, which share a scale.
    pub(crate) group: usize,
    /// Levels of a weight.
    pub(crate) levels: Levels,
    /// Least and greatest scale of a group, in units of the block's.
    pub(crate) scales: (i16, i16),
    /// From one scale to the next.
    pub(crate) scale_step: i16,
    /// The block's unit, in units of the number that is stored.
    pub(crate) unit: f32,
    /// Greatest minimum of a group, where there are minima.
    pub(crate) mins: Option<i16>,
}

impl Scheme {
    /// The scheme of `ty`; `None` for types without blocks, and for those of less than two bits.
    pub(crate) fn of(ty: GgmlType) -> Option<Self> {
        use GgmlType as T;
        if let Some(codebook) = codebook(ty) {
            let group = if matches!(ty, T::IQ2_XS | T::IQ2_S) { 16 } else { 32 };
            let levels = Levels::Coded(codebook);
            let (scales, scale_step, unit) = ((1, 31), 2, step(ty));
            return Some(Self {
                ty,
                n_weights: MAX_WEIGHTS,
                group,
                levels,
                scales,
                scale_step,
                unit,
                mins: None,
            });
        }
        let scheme = |n_weights, group, each, scales, mins| {
            let levels = Levels::Each(each);
            Some(Self { ty, n_weights, group, levels, scales, scale_step: 1, unit: 1.0, mins })
        };
        match ty {
            T::Q2_K => scheme(256, 16, Each::Whole(0, 3), (0, 15), Some(15)),
            T::Q3_K => scheme(256, 16, Each::Whole(-4, 3), (-32, 31), None),
            T::Q4_K => scheme(256, 32, Each::Whole(0, 15), (0, 63), Some(63)),
            T::Q5_K => scheme(256, 32, Each::Whole(0, 31), (0, 63), Some(63)),
            T::Q6_K => scheme(256, 16, Each::Whole(-32, 31), (-128, 127), None),
            T::IQ4_XS => scheme(256, 32, Each::Uneven, (-32, 31), None),
            T::IQ4_NL => scheme(32, 32, Each::Uneven, (1, 1), None),
            T::Q4_0 => scheme(32, 32, Each::Whole(-8, 7), (1, 1), None),
            T::Q4_1 => scheme(32, 32, Each::Whole(0, 15), (1, 1), Some(1)),
            T::Q5_0 => scheme(32, 32, Each::Whole(-16, 15), (1, 1), None),
            T::Q5_1 => scheme(32, 32, Each::Whole(0, 31), (1, 1), Some(1)),
            T::Q8_0 => scheme(32, 32, Each::Whole(-127, 127), (1, 1), None),
            _ => None,
        }
    }

    /// Groups of a block.
    pub(crate) fn n_groups(&self) -> usize {
        self.n_weights / self.group
    }

    /// Bytes of a block.
    pub(crate) fn n_bytes(&self) -> usize {
        usize::try_from(self.ty.block_bytes()).expect("blocks are small")
    }

    /// Reads a block.
    pub(crate) fn read(&self, bytes: &[u8]) -> Block {
        match self.levels {
            Levels::Each(_) => {
                let mut block = Block::default();
                self.pass(&mut Reader { bytes }, &mut block);
                block
            }
            Levels::Coded(codebook) => {
                let mut fields = Fields::default();
                pass_fields(self.ty, &mut Reader { bytes }, &mut fields);
                codebook.to_block(self.ty, &fields)
            }
        }
    }

    /// Writes a block over `bytes`.
    pub(crate) fn write(&self, block: &Block, bytes: &mut [u8]) {
        match self.levels {
            Levels::Each(_) => {
                bytes.fill(0);
                self.pass(&mut Setter { bytes }, &mut block.clone());
            }
            Levels::Coded(codebook) => write_fields(self.ty, &mut codebook.to_fields(self.ty, block), bytes),
        }
    }

    /// Lets the layout pass over a block, reading or writing.
    fn pass(&self, place: &mut impl Place, block: &mut Block) {
        use GgmlType as T;
        match self.ty {
            T::Q2_K => k_types::q2_k(place, block),
            T::Q3_K => k_types::q3_k(place, block),
            T::Q4_K => k_types::q4_k(place, block),
            T::Q5_K => k_types::q5_k(place, block),
            T::Q6_K => k_types::q6_k(place, block),
            T::IQ4_XS => four_bits::iq4_xs(place, block),
            T::IQ4_NL => four_bits::iq4_nl(place, block),
            T::Q4_0 => plain::q4_0(place, block),
            T::Q4_1 => plain::q4_1(place, block),
            T::Q5_0 => plain::q5_0(place, block),
            T::Q5_1 => plain::q5_1(place, block),
            T::Q8_0 => plain::q8_0(place, block),
            _ => unreachable!("`of` gives no scheme for it"),
        }
    }
}

/// Writes a lattice type's block over `bytes`.
pub(crate) fn write_fields(ty: GgmlType, fields: &mut Fields, bytes: &mut [u8]) {
    bytes.fill(0);
    pass_fields(ty, &mut Setter { bytes }, fields);
}

/// Lets the layout of a lattice type pass over a block's fields.
fn pass_fields(ty: GgmlType, place: &mut impl Place, fields: &mut Fields) {
    use GgmlType as T;
    match ty {
        T::IQ2_XXS => lattices::iq2_xxs(place, fields),
        T::IQ2_XS => lattices::iq2_xs(place, fields),
        T::IQ2_S => lattices::iq2_s(place, fields),
        T::IQ3_XXS => lattices::iq3_xxs(place, fields),
        T::IQ3_S => lattices::iq3_s(place, fields),
        _ => unreachable!("it has a codebook"),
    }
}

/// A block taken apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Block {
    /// Unit of the scales: a number that 16 bits hold, times the scheme's unit.
    pub(crate) d: f32,
    /// Unit of the minima, likewise.
    pub(crate) m: f32,
    /// Scale by group.
    pub(crate) scales: [i16; MAX_GROUPS],
    /// Minimum by group.
    pub(crate) mins: [i16; MAX_GROUPS],
    /// Level by weight.
    pub(crate) levels: [i8; MAX_WEIGHTS],
}

impl Default for Block {
    fn default() -> Self {
        let levels = [0; MAX_WEIGHTS];
        Self { d: 0.0, m: 0.0, scales: [1; MAX_GROUPS], mins: [0; MAX_GROUPS], levels }
    }
}

impl Block {
    /// What a step of a level means in group `group`.
    pub(crate) fn scale(&self, group: usize) -> f32 {
        self.d * f32::from(self.scales[group])
    }

    /// What is subtracted in group `group`.
    pub(crate) fn min(&self, group: usize) -> f32 {
        self.m * f32::from(self.mins[group])
    }
}

/// A block's bytes, which a layout passes over: each bit field is read into its value, or set from it.
trait Place {
    /// `n_bits` bits of byte `at` from bit `shift` on ↔ bits of `value` from bit `to` on.
    fn bits(&mut self, at: usize, shift: u32, n_bits: u32, value: &mut u32, to: u32);

    /// The 16-bit float at `at`.
    fn half(&mut self, at: usize, value: &mut f32);
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Place for Reader<'_> {
    fn bits(&mut self, at: usize, shift: u32, n_bits: u32, value: &mut u32, to: u32) {
        let mask = ((1 << n_bits) - 1) << to;
        *value = (*value & !mask) | ((u32::from(self.bytes[at]) >> shift << to) & mask);
    }

    fn half(&mut self, at: usize, value: &mut f32) {
        *value = half::f16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]).to_f32();
    }
}

/// Sets bits of bytes that start as zeros.
struct Setter<'a> {
    bytes: &'a mut [u8],
}

impl Place for Setter<'_> {
    fn bits(&mut self, at: usize, shift: u32, n_bits: u32, value: &mut u32, to: u32) {
        let field = (*value >> to) & ((1 << n_bits) - 1);
        self.bytes[at] |= (field << shift) as u8;
    }

    fn half(&mut self, at: usize, value: &mut f32) {
        self.bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(*value).to_le_bytes());
    }
}

/// `value` as a field of bits that counts from `lowest` on; `pass` reads or sets them.
fn counted<T: Copy + Into<i32> + TryFrom<i32>>(value: &mut T, lowest: i32, pass: impl FnOnce(&mut u32)) {
    let mut field = ((*value).into() - lowest) as u32;
    pass(&mut field);
    *value = T::try_from(field as i32 + lowest).unwrap_or(*value);
}

#[cfg(test)]
mod tests;
