//! The grids that MLX computes with: which bits, groups and modes there are, how many bytes they take, and rows of weights
//! brought onto them.
//! Owns the table of grids and packing; must not know tensors' names. The arithmetic is `affine`'s and `minifloat`'s.

use super::affine;
use super::minifloat;
use crate::source::Float;

/// Bits of affine grids.
pub const AFFINE_BITS: [u32; 6] = [2, 3, 4, 5, 6, 8];
/// Weights that share a scale in affine grids.
pub const AFFINE_GROUPS: [u32; 3] = [32, 64, 128];

/// What a matrix's weights may be brought onto. Rows are cut into groups of neighbours that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grid {
    /// `scale * code + bias`, with scale and bias in the floats of the matrix.
    Affine {
        /// 2, 3, 4, 5, 6 or 8.
        bits: u32,
        /// 32, 64 or 128.
        group: u32,
    },
    /// E2M1 codes, a power of two for every 32.
    Mxfp4,
    /// E4M3 codes, a power of two for every 32.
    Mxfp8,
    /// E2M1 codes, an E4M3 scale for every 16.
    Nvfp4,
}

/// Packed rows: little-endian words of codes, and what goes with them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packed {
    /// Codes, one row's after the other's.
    pub codes: Vec<u8>,
    /// Scales: floats of the matrix in affine grids, one byte each in the others.
    pub scales: Vec<u8>,
    /// Biases of affine grids, as many as scales.
    pub biases: Vec<u8>,
}

impl Grid {
    /// The grid of `bits` and `group` in MLX's `mode`, where there is one.
    pub fn new(mode: &str, bits: u32, group: u32) -> Option<Self> {
        let others = [Self::Mxfp4, Self::Mxfp8, Self::Nvfp4];
        match mode {
            "affine" if AFFINE_BITS.contains(&bits) && AFFINE_GROUPS.contains(&group) => {
                Some(Self::Affine { bits, group })
            }
            _ => others
                .into_iter()
                .find(|grid| (grid.mode(), grid.bits(), grid.group()) == (mode, bits, group)),
        }
    }

    /// All of them, by mode, bits and group.
    pub fn all() -> impl Iterator<Item = Self> {
        let affine = AFFINE_BITS
            .into_iter()
            .flat_map(|bits| AFFINE_GROUPS.into_iter().map(move |group| Self::Affine { bits, group }));
        affine.chain([Self::Mxfp4, Self::Mxfp8, Self::Nvfp4])
    }

    /// MLX's name of how codes are meant: `affine`, `mxfp4`, `mxfp8` or `nvfp4`.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Affine { .. } => "affine",
            Self::Mxfp4 => "mxfp4",
            Self::Mxfp8 => "mxfp8",
            Self::Nvfp4 => "nvfp4",
        }
    }

    /// Bits of a code.
    pub fn bits(self) -> u32 {
        match self {
            Self::Affine { bits, .. } => bits,
            Self::Mxfp4 | Self::Nvfp4 => 4,
            Self::Mxfp8 => 8,
        }
    }

    /// Neighbouring weights of a row that share a scale.
    pub fn group(self) -> u32 {
        match self {
            Self::Affine { group, .. } => group,
            Self::Mxfp4 | Self::Mxfp8 => 32,
            Self::Nvfp4 => 16,
        }
    }

    /// `4bit-g32`, `4bit` for groups of 64, or the mode.
    pub fn name(self) -> String {
        match self {
            Self::Affine { bits, group: 64 } => format!("{bits}bit"),
            Self::Affine { bits, group } => format!("{bits}bit-g{group}"),
            other => other.mode().into(),
        }
    }

    /// Whether rows of `columns` weights divide into groups.
    pub fn fits(self, columns: u64) -> bool {
        columns > 0 && columns.is_multiple_of(u64::from(self.group()))
    }

    /// 32-bit words of one row's codes, where the row divides into groups.
    pub fn words_per_row(self, columns: u64) -> u64 {
        columns / 32 * u64::from(self.bits()) + columns % 32 * u64::from(self.bits()) / 32
    }

    /// Groups of one row.
    pub fn groups_per_row(self, columns: u64) -> u64 {
        columns / u64::from(self.group())
    }

    /// Whether groups have a bias beside their scale.
    pub fn has_biases(self) -> bool {
        matches!(self, Self::Affine { .. })
    }

    /// Bytes of one scale beside weights that are stored as `float` otherwise.
    pub(crate) fn scale_bytes(self, float: Float) -> u64 {
        if self.has_biases() { float.bytes() as u64 } else { 1 }
    }

    /// Bytes of one row: codes, scales and biases.
    pub(crate) fn row_bytes(self, columns: u64, float: Float) -> u64 {
        let per_group = self.scale_bytes(float) * if self.has_biases() { 2 } else { 1 };
        self.words_per_row(columns) * 4 + self.groups_per_row(columns) * per_group
    }

    /// Appends rows of `columns` weights each to `packed`, which divide into groups: bit by bit what `mlx.core.quantize`
    /// makes of an array of `float`. Weights are finite and were rounded to `float`.
    pub(crate) fn pack(self, weights: &[f32], columns: usize, float: Float, packed: &mut Packed) {
        let mut codes = vec![0u8; columns];
        for row in weights.chunks_exact(columns) {
            for (group, codes) in
                row.chunks_exact(self.group() as usize).zip(codes.chunks_exact_mut(self.group() as usize))
            {
                match self {
                    Self::Affine { bits, .. } => {
                        let line = affine::nearest(group, bits, codes);
                        float.push(line.scale, &mut packed.scales);
                        float.push(line.bias, &mut packed.biases);
                    }
                    Self::Mxfp4 => packed.scales.push(minifloat::mxfp4(group, float, codes)),
                    Self::Mxfp8 => packed.scales.push(minifloat::mxfp8(group, float, codes)),
                    Self::Nvfp4 => packed.scales.push(minifloat::nvfp4(group, float, codes)),
                }
            }
            push_bits(&codes, self.bits(), &mut packed.codes);
        }
    }

    /// What packed rows stand for: the specification that tests hold packing against. `weights` is as long as they are together.
    #[cfg(test)]
    pub(crate) fn unpack(self, packed: &Packed, columns: usize, float: Float, weights: &mut [f32]) {
        let (bits, group) = (self.bits(), self.group() as usize);
        let row_bytes = self.words_per_row(columns as u64) as usize * 4;
        let number = |bytes: &[u8], at: usize| {
            let mut value = [0.0];
            float.widen(&bytes[at * float.bytes()..][..float.bytes()], &mut value);
            value[0]
        };
        for (at, value) in weights.iter_mut().enumerate() {
            let (row, column) = (at / columns, at % columns);
            let of_group = at / group;
            let code = bits_at(&packed.codes[row * row_bytes..], column * bits as usize, bits);
            *value = match self {
                Self::Affine { .. } => {
                    number(&packed.scales, of_group) * f32::from(code) + number(&packed.biases, of_group)
                }
                Self::Mxfp4 => minifloat::power(packed.scales[of_group]) * minifloat::e2m1_value(code),
                Self::Mxfp8 => minifloat::power(packed.scales[of_group]) * minifloat::e4m3_value(code),
                Self::Nvfp4 => minifloat::e4m3_value(packed.scales[of_group]) * minifloat::e2m1_value(code),
            };
        }
    }
}

/// Appends codes of `bits` each, lowest bits first, as one row's stream. The row fills whole bytes.
pub(crate) fn push_bits(codes: &[u8], bits: u32, out: &mut Vec<u8>) {
    let (mut held, mut n_held) = (0u32, 0);
    for code in codes {
        held |= u32::from(*code) << n_held;
        n_held += bits;
        while n_held >= 8 {
            out.push(held as u8);
            held >>= 8;
            n_held -= 8;
        }
    }
    debug_assert_eq!(n_held, 0, "groups fill whole bytes");
}

/// The code that begins at bit `at` of a row's stream.
#[cfg(test)]
fn bits_at(stream: &[u8], at: usize, bits: u32) -> u8 {
    let next = stream.get(at / 8 + 1).copied().unwrap_or(0);
    let two = u32::from(stream[at / 8]) | u32::from(next) << 8;
    (two >> (at % 8) & ((1 << bits) - 1)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOATS: [Float; 3] = [Float::F32, Float::F16, Float::Bf16];

    #[test]
    fn bytes_are_those_of_mlx() {
        let four = Grid::new("affine", 4, 64).expect("a grid");
        assert_eq!(
            (four.words_per_row(256), four.groups_per_row(256), four.row_bytes(256, Float::Bf16)),
            (32, 4, 144)
        );
        assert_eq!(Grid::new("affine", 3, 32).expect("a grid").words_per_row(64), 6);
        assert_eq!(Grid::Nvfp4.row_bytes(48, Float::F32), 27);
        for (mode, bits, group) in
            [("affine", 7, 64), ("affine", 4, 16), ("mxfp4", 4, 64), ("nvfp4", 8, 16), ("fp4", 4, 32)]
        {
            assert_eq!(Grid::new(mode, bits, group), None);
        }
        assert_eq!(Grid::all().count(), 21);
        for grid in Grid::all() {
            assert_eq!(Grid::new(grid.mode(), grid.bits(), grid.group()), Some(grid));
        }
        let names = [Grid::all().next(), Some(four), Some(Grid::Nvfp4)].map(|grid| grid.expect("one").name());
        assert_eq!(names, ["2bit-g32", "4bit", "nvfp4"]);
    }

    proptest::proptest! {
        /// Codes come back from the stream, whatever their bits.
        #[test]
        fn streams_hold_what_was_pushed(raw in proptest::collection::vec(0u8.., 1..5), bits in 1u32..9) {
            let codes: Vec<u8> = raw.iter().flat_map(|seed| (0..8).map(move |i| seed.wrapping_mul(i + 3))).collect();
            let codes: Vec<u8> = codes.into_iter().map(|code| (u32::from(code) & ((1 << bits) - 1)) as u8).collect();
            let mut stream = Vec::new();
            push_bits(&codes, bits, &mut stream);
            proptest::prop_assert_eq!(stream.len() * 8, codes.len() * bits as usize);
            for (at, code) in codes.iter().enumerate() {
                proptest::prop_assert_eq!(bits_at(&stream, at * bits as usize, bits), *code);
            }
        }

        /// Lengths are as stated, and no weight is farther off than the grid's steps allow.
        #[test]
        fn what_is_packed_is_near(
            seed in 0u32..1_000_000, scale in -18i32..18, shift in -3f32..3.0, which in 0usize..21, float in 0usize..3,
        ) {
            let (grid, float) = (Grid::all().nth(which).expect("one of them"), FLOATS[float]);
            let columns = 256usize;
            let unit = 2f32.powi(scale.clamp(-12, 12));
            let noise = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
            let weights: Vec<f32> =
                (0..2 * columns as u32).map(|i| float.rounded((noise(i) + shift) * unit)).collect();
            let mut packed = Packed::default();
            grid.pack(&weights, columns, float, &mut packed);
            let groups = 2 * grid.groups_per_row(columns as u64);
            proptest::prop_assert_eq!(packed.codes.len() as u64, 2 * 4 * grid.words_per_row(columns as u64));
            proptest::prop_assert_eq!(packed.scales.len() as u64, groups * grid.scale_bytes(float));
            proptest::prop_assert_eq!(packed.biases.len(), if grid.has_biases() { packed.scales.len() } else { 0 });
            let mut back = vec![0f32; weights.len()];
            grid.unpack(&packed, columns, float, &mut back);
            let group = grid.group() as usize;
            for (group, back) in weights.chunks(group).zip(back.chunks(group)) {
                let most = group.iter().fold(0f32, |most, w| most.max(w.abs()));
                let span = group.iter().fold(f32::MIN, |a, w| a.max(*w)) - group.iter().fold(f32::MAX, |a, w| a.min(*w));
                // Half a step, or all of it where one end moves; then what scales and biases lose in 16 bits.
                let stored = match float { Float::F32 => 1e-5, Float::F16 => 1e-3, Float::Bf16 => 8e-3 };
                // Half a unit of the smallest numbers that 16 bits hold, for every step.
                let least = if float == Float::F16 { 256.0 * 2f32.powi(-25) } else { 0.0 };
                let bound = match grid {
                    Grid::Affine { bits, .. } => span / ((1 << bits) - 1) as f32 * 1.01 + most * 3.0 * stored + least + 2e-7,
                    Grid::Mxfp4 => most / 3.0,
                    Grid::Mxfp8 => most / 14.0,
                    // Scales of an E4M3 that are too small or too large for it.
                    Grid::Nvfp4 if !(0.1..=2688.0).contains(&most) => most,
                    Grid::Nvfp4 => most / 4.0,
                };
                for (weight, back) in group.iter().zip(back) {
                    proptest::prop_assert!((weight - back).abs() <= bound, "{grid:?} {float:?}: {weight} became {back}, bound {bound}");
                }
            }
        }
    }
}
