//! The magnitudes that a lattice type's codes stand for, and the code nearest to what is wanted.
//! Owns the tables, which are read off ggml's own decoder. Knows layouts; must not know rows or moments.

use super::block::{Block, Fields, MAX_WEIGHTS, write_fields};
use engine::gguf::quantize::dequantize_rows;
use formats::gguf::GgmlType;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Weights that are chosen together: those whose signs are kept together.
pub(crate) const EIGHT: usize = 8;
/// Codes of eight weights that are looked at closely, and of each half where codes are of four.
const N_CLOSE: [usize; 2] = [10, 4];
/// Most codes of a type.
const MAX_CODES: usize = 1024;

/// Symmetric, by rows.
pub(super) type Metric = [[f32; EIGHT]; EIGHT];

/// A lattice type's codes.
#[derive(Debug)]
pub(crate) struct Codebook {
    /// Weights of a code.
    n_weights: usize,
    /// Whether the number of negative weights among eight is even.
    even: bool,
    /// Codes.
    n_codes: usize,
    /// Magnitudes: those of all codes' first weight, of all codes' second, and so on.
    magnitudes: Vec<f32>,
    /// Magnitudes to code.
    codes: HashMap<[i8; EIGHT], u32>,
}

/// The codebook of `ty`, where it has one.
pub(crate) fn codebook(ty: GgmlType) -> Option<&'static Codebook> {
    use GgmlType as T;
    static BOOKS: [OnceLock<Codebook>; 5] = [const { OnceLock::new() }; 5];
    let (at, n_weights, n_codes, even) = match ty {
        T::IQ2_XXS => (0, 8, 256, true),
        T::IQ2_XS => (1, 8, 512, true),
        T::IQ2_S => (2, 8, 1024, false),
        T::IQ3_XXS => (3, 4, 256, true),
        T::IQ3_S => (4, 4, 512, false),
        _ => return None,
    };
    Some(BOOKS[at].get_or_init(|| Codebook::new(ty, n_weights, n_codes, even)))
}

/// What a step of magnitude and scale is worth, in units of the block's.
pub(crate) fn step(ty: GgmlType) -> f32 {
    match ty {
        GgmlType::IQ3_S => 1.0,
        GgmlType::IQ3_XXS => 0.25,
        _ => 0.125,
    }
}

impl Codebook {
    /// Decodes blocks that hold one code after the other.
    fn new(ty: GgmlType, n_weights: usize, n_codes: usize, even: bool) -> Self {
        let mut book = Self {
            n_weights,
            even,
            n_codes,
            magnitudes: vec![0.0; n_weights * n_codes],
            codes: HashMap::new(),
        };
        let per_block = MAX_WEIGHTS / n_weights;
        let mut values = [0f32; MAX_WEIGHTS];
        for first in (0..n_codes).step_by(per_block) {
            let mut fields = Fields { d: 1.0, ..Fields::default() };
            (0..per_block).for_each(|at| fields.codes[at] = (first + at) as u32);
            let mut bytes = vec![0; usize::try_from(ty.block_bytes()).expect("blocks are small")];
            write_fields(ty, &mut fields, &mut bytes);
            dequantize_rows(ty, &bytes, &mut values).expect("a block of a known type");
            for (at, values) in values.chunks(n_weights).enumerate() {
                let mut key = [0i8; EIGHT];
                for (index, value) in values.iter().enumerate() {
                    let magnitude = value / step(ty);
                    book.magnitudes[index * n_codes + first + at] = magnitude;
                    key[index] = magnitude as i8;
                }
                book.codes.insert(key, (first + at) as u32);
            }
        }
        book
    }

    /// A block of what its fields say.
    pub(super) fn to_block(&self, ty: GgmlType, fields: &Fields) -> Block {
        let mut block = Block { d: fields.d * step(ty), ..Block::default() };
        for (scale, field) in block.scales.iter_mut().zip(&fields.scales) {
            *scale = 2 * *field as i16 + 1;
        }
        for (index, level) in block.levels.iter_mut().enumerate() {
            let code = fields.codes[index / self.n_weights] as usize;
            let signs = fields.signs[index / EIGHT];
            let negative = match (self.even, index % EIGHT) {
                (true, 7) => signs.count_ones() % 2 == 1,
                (_, bit) => signs >> bit & 1 == 1,
            };
            let magnitude = self.magnitudes[index % self.n_weights * self.n_codes + code] as i8;
            *level = if negative { -magnitude } else { magnitude };
        }
        block
    }

    /// The fields of a block whose levels are codes of this book.
    pub(super) fn to_fields(&self, ty: GgmlType, block: &Block) -> Fields {
        let mut fields = Fields { d: block.d / step(ty), ..Fields::default() };
        for (field, scale) in fields.scales.iter_mut().zip(&block.scales) {
            *field = (*scale / 2) as u32;
        }
        for (code, levels) in fields.codes.iter_mut().zip(block.levels.chunks(self.n_weights)) {
            let mut key = [0i8; EIGHT];
            key.iter_mut().zip(levels).for_each(|(key, level)| *key = level.abs());
            *code = self.codes.get(&key).copied().unwrap_or(0);
        }
        let n_signs = if self.even { 7 } else { 8 };
        for (signs, levels) in fields.signs.iter_mut().zip(block.levels.chunks(EIGHT)) {
            for (bit, level) in levels[..n_signs].iter().enumerate() {
                *signs |= u32::from(*level < 0) << bit;
            }
        }
        fields
    }

    /// The levels of eight weights, among those that there are codes for, nearest to `wanted`: least
    /// `(levels - wanted)ᵀ metric (levels - wanted)` among those that come first by the metric's diagonal.
    #[inline(always)]
    pub(super) fn nearest(&self, wanted: &[f32; EIGHT], metric: &Metric) -> [i8; EIGHT] {
        let mut signs = wanted.map(|value| if value < 0.0 { -1.0f32 } else { 1.0 });
        let negative = signs.iter().filter(|sign| **sign < 0.0).count();
        if !self.even || negative.is_multiple_of(2) {
            return self.nearest_with(wanted, &signs, metric).1;
        }
        // One sign has to be other than wanted: where that costs least, or second least.
        let cost = |at: usize| metric[at][at] * wanted[at].abs();
        let mut by_cost: [usize; EIGHT] = std::array::from_fn(|at| at);
        by_cost.sort_unstable_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        let mut best = (f32::INFINITY, [0; EIGHT]);
        for at in &by_cost[..2] {
            signs[*at] = -signs[*at];
            let found = self.nearest_with(wanted, &signs, metric);
            signs[*at] = -signs[*at];
            if found.0 < best.0 {
                best = found;
            }
        }
        best.1
    }

    #[inline(always)]
    fn nearest_with(
        &self,
        wanted: &[f32; EIGHT],
        signs: &[f32; EIGHT],
        metric: &Metric,
    ) -> (f32, [i8; EIGHT]) {
        let mut best = (f32::INFINITY, [0f32; EIGHT]);
        let mut try_levels = |levels: [f32; EIGHT]| {
            let apart: [f32; EIGHT] = std::array::from_fn(|at| levels[at] - wanted[at]);
            let error = norm(&apart, metric);
            if error < best.0 {
                best = (error, levels);
            }
        };
        let level = |code: u32, index: usize, at: usize| {
            signs[at] * self.magnitudes[index * self.n_codes + code as usize]
        };
        if self.n_weights == EIGHT {
            let mut close = Close::<{ N_CLOSE[0] }>::default();
            self.come_close(wanted, signs, metric, 0, &mut close);
            for code in close.codes {
                try_levels(std::array::from_fn(|at| level(code, at, at)));
            }
        } else {
            let mut halves = [Close::<{ N_CLOSE[1] }>::default(), Close::default()];
            for (half, close) in halves.iter_mut().enumerate() {
                self.come_close(wanted, signs, metric, half * EIGHT / 2, close);
            }
            for first in halves[0].codes {
                for second in halves[1].codes {
                    try_levels(std::array::from_fn(|at| {
                        level(if at < EIGHT / 2 { first } else { second }, at % (EIGHT / 2), at)
                    }));
                }
            }
        }
        (best.0, best.1.map(|level| level as i8))
    }

    /// Codes that come close to the weights from `first` on by the metric's diagonal alone.
    #[inline(always)]
    fn come_close<const N: usize>(
        &self,
        wanted: &[f32; EIGHT],
        signs: &[f32; EIGHT],
        metric: &Metric,
        first: usize,
        close: &mut Close<N>,
    ) {
        let mut errors = [0f32; MAX_CODES];
        let errors = &mut errors[..self.n_codes];
        for (index, magnitudes) in self.magnitudes.chunks(self.n_codes).enumerate() {
            let at = first + index;
            let (weight, twice) = (metric[at][at], 2.0 * signs[at] * wanted[at]);
            for (error, magnitude) in errors.iter_mut().zip(magnitudes) {
                *error += weight * magnitude * (magnitude - twice);
            }
        }
        for (code, error) in errors.iter().enumerate() {
            if *error < close.errors[N - 1] {
                close.insert(code as u32, *error);
            }
        }
    }
}

/// The closest codes so far, the closest first.
struct Close<const N: usize> {
    errors: [f32; N],
    codes: [u32; N],
}

impl<const N: usize> Default for Close<N> {
    fn default() -> Self {
        Self { errors: [f32::INFINITY; N], codes: [0; N] }
    }
}

impl<const N: usize> Close<N> {
    fn insert(&mut self, code: u32, error: f32) {
        let mut at = N - 1;
        while at > 0 && self.errors[at - 1] > error {
            (self.errors[at], self.codes[at]) = (self.errors[at - 1], self.codes[at - 1]);
            at -= 1;
        }
        (self.errors[at], self.codes[at]) = (error, code);
    }
}

/// vᵀ metric v.
#[inline(always)]
pub(super) fn norm(v: &[f32; EIGHT], metric: &Metric) -> f32 {
    let mut sums = [0f32; EIGHT];
    for (row, value) in metric.iter().zip(v) {
        for (sum, entry) in sums.iter_mut().zip(row) {
            *sum += value * entry;
        }
    }
    sums.iter().zip(v).map(|(sum, value)| sum * value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_code_is_nearest_to_itself() {
        use GgmlType as T;
        for ty in [T::IQ2_XXS, T::IQ2_XS, T::IQ2_S, T::IQ3_XXS, T::IQ3_S] {
            let book = codebook(ty).unwrap();
            assert_eq!(book.codes.len(), book.n_codes, "{ty}: codes of the same magnitudes");
            let metric: Metric = std::array::from_fn(|row| {
                std::array::from_fn(|at| if row == at { 1.0 + row as f32 } else { 0.1 })
            });
            for code in (0..book.n_codes).step_by(7) {
                // An even number of signs is there in every type.
                let wanted: [f32; EIGHT] = std::array::from_fn(|at| {
                    let magnitude = book.magnitudes[at % book.n_weights * book.n_codes + code];
                    if at == code % 3 || at == 5 { -magnitude } else { magnitude }
                });
                let aside = wanted.map(|level| level * 1.01);
                assert_eq!(book.nearest(&aside, &metric).map(f32::from), wanted, "{ty}, code {code}");
            }
        }
    }

    #[test]
    fn types_whose_signs_depend_on_each_other_get_an_even_number_of_them() {
        let metric: Metric =
            std::array::from_fn(|row| std::array::from_fn(|at| if row == at { 1.0 } else { 0.0 }));
        let wanted = [-30.0, 9.0, 9.0, 26.0, 8.0, 8.0, 43.0, 2.0];
        let negative = |ty| {
            let levels = codebook(ty).unwrap().nearest(&wanted, &metric);
            levels.map(|level| level < 0)
        };
        let only = [true, false, false, false, false, false, false, false];
        assert_eq!(negative(GgmlType::IQ2_S), only);
        // The smallest gives way.
        let with_the_last = [true, false, false, false, false, false, false, true];
        assert_eq!(negative(GgmlType::IQ2_XS), with_the_last);
    }
}
