//! Affine lines and codes chosen for what they cost: ends of the groups drawn in, lines refitted, and, where it is known what
//! flows into a matrix, codes with error feedback.
//! Owns the search, whose start is MLX's own rounding and which never leaves it for more error; must not know tensors.

use super::affine::{self, Line, last_code};
use super::grid::{Packed, push_bits};
use crate::rounding::{MatrixInput, affine_levels};
use crate::source::Float;

/// How far the ends of a group are drawn in, in steps of the codes.
const DRAWN_IN: [f32; 4] = [0.0, 0.25, 0.5, 0.75];
/// Bits from which on a search gains less than scales lose in 16 bits.
const PLENTY: u32 = 8;

/// Rows under way: a code for each weight, a line for each group.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounded {
    pub(super) codes: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

impl Rounded {
    /// What they stand for.
    pub(super) fn values(&self, group: usize) -> Vec<f32> {
        let of_group = |(codes, line): (&[u8], &Line)| {
            let line = *line;
            codes.iter().map(move |code| line.scale * f32::from(*code) + line.bias).collect::<Vec<_>>()
        };
        self.codes.chunks(group).zip(&self.lines).flat_map(of_group).collect()
    }

    /// Appends them as MLX stores them.
    pub(super) fn pack(&self, bits: u32, columns: usize, float: Float, packed: &mut Packed) {
        for row in self.codes.chunks(columns) {
            push_bits(row, bits, &mut packed.codes);
        }
        for line in &self.lines {
            float.push(line.scale, &mut packed.scales);
            float.push(line.bias, &mut packed.biases);
        }
    }
}

/// Rounds rows of `columns` weights of one matrix onto lines that `float` holds, in groups of `group`; with error feedback where
/// it is known what flows in and held-out moments find it better.
pub(super) fn round(
    weights: &[f32],
    columns: usize,
    (bits, group): (u32, usize),
    float: Float,
    input: Option<&MatrixInput>,
) -> Rounded {
    let rounded = onto_lines(weights, columns, (bits, group), float, input);
    let Some(input) = input.filter(|_| bits < PLENTY) else { return rounded };
    let lines: Vec<(f32, f32)> = rounded.lines.iter().map(|line| (line.scale, line.bias)).collect();
    let mut fed = rounded.clone();
    affine_levels(input, weights, columns, (bits, group), &lines, &mut fed.codes);
    let error = |rounded: &Rounded| input.error(weights, &rounded.values(group), columns);
    if error(&fed) < error(&rounded) { fed } else { rounded }
}

/// The same without feedback.
pub(super) fn onto_lines(
    weights: &[f32],
    columns: usize,
    (bits, group): (u32, usize),
    float: Float,
    input: Option<&MatrixInput>,
) -> Rounded {
    let importance = input.map(MatrixInput::importance);
    let mut rounded =
        Rounded { codes: vec![0; weights.len()], lines: Vec::with_capacity(weights.len() / group) };
    for (at, (weights, codes)) in weights.chunks(group).zip(rounded.codes.chunks_mut(group)).enumerate() {
        let first = at * group % columns;
        let importance = importance.map(|importance| &importance[first..first + group]);
        rounded.lines.push(line(weights, importance, bits, float, codes));
    }
    rounded
}

/// The line of least error for `group`, and the codes nearest to it.
fn line(group: &[f32], importance: Option<&[f32]>, bits: u32, float: Float, codes: &mut [u8]) -> Line {
    let stored = |line: Line| Line { scale: float.rounded(line.scale), bias: float.rounded(line.bias) };
    let weight = |at: usize| importance.map_or(1.0, |importance| importance[at]);
    let error = |line: Line, codes: &[u8]| -> f32 {
        let missed = |(at, (w, code)): (usize, (&f32, &u8))| {
            weight(at) * (line.scale * f32::from(*code) + line.bias - w).powi(2)
        };
        group.iter().zip(codes).enumerate().map(missed).sum()
    };
    let own = stored(affine::nearest(group, bits, codes));
    let (mut best, mut least) = (own, error(own, codes));
    if bits >= PLENTY || least == 0.0 {
        return best;
    }
    let (low, high) =
        group.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), w| (a.min(*w), b.max(*w)));
    let step = (high - low) / last_code(bits);
    let mut tried = vec![0u8; group.len()];
    let mut offer = |line: Line, codes: &mut [u8]| {
        if !(line.scale.is_finite() && line.bias.is_finite()) || line.scale == 0.0 {
            return;
        }
        affine::onto(group, line, bits, &mut tried);
        let error = error(line, &tried);
        if error < least {
            (best, least) = (line, error);
            codes.copy_from_slice(&tried);
        }
    };
    let mut guess = vec![0u8; group.len()];
    for below in DRAWN_IN {
        for above in DRAWN_IN {
            let (low, high) = (low + below * step, high - above * step);
            let start = Line { scale: (high - low) / last_code(bits), bias: low };
            if start.scale <= 0.0 {
                continue;
            }
            offer(stored(start), codes);
            affine::onto(group, start, bits, &mut guess);
            if let Some(line) = fitted(group, &guess, &weight) {
                offer(stored(line), codes);
            }
        }
    }
    // MLX's codes with the line that fits them best.
    affine::onto(group, own, bits, &mut guess);
    if let Some(line) = fitted(group, &guess, &weight) {
        offer(stored(line), codes);
    }
    best
}

/// The line of least squares through weights at their codes; `None` where all codes are the same.
fn fitted(group: &[f32], codes: &[u8], weight: &impl Fn(usize) -> f32) -> Option<Line> {
    let [mut n, mut x, mut y, mut xx, mut xy] = [0f64; 5];
    for (at, (w, code)) in group.iter().zip(codes).enumerate() {
        let (by, code, w) = (f64::from(weight(at)), f64::from(*code), f64::from(*w));
        n += by;
        x += by * code;
        y += by * w;
        xx += by * code * code;
        xy += by * code * w;
    }
    let spread = n * xx - x * x;
    if spread <= 1e-9 * n * xx {
        return None;
    }
    let scale = (n * xy - x * y) / spread;
    Some(Line { scale: scale as f32, bias: ((y - scale * x) / n) as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mlx::Grid;

    proptest::proptest! {
        /// Never more error than MLX's own rounding, in any floats, and packed as MLX's is.
        #[test]
        fn the_search_is_never_worse(
            weights in proptest::collection::vec(-3f32..3.0, 128), bits in 2u32..7, which in 0usize..3, scale in -8i32..4,
        ) {
            let float = [Float::F32, Float::F16, Float::Bf16][which];
            let weights: Vec<f32> = weights.iter().map(|w| float.rounded(w * w * w * 2f32.powi(scale))).collect();
            let grid = Grid::Affine { bits, group: 32 };
            let error = |values: &[f32]| -> f64 {
                values.iter().zip(&weights).map(|(a, b)| f64::from(a - b).powi(2)).sum()
            };
            let mut own = Packed::default();
            grid.pack(&weights, 64, float, &mut own);
            let mut values = vec![0f32; 128];
            grid.unpack(&own, 64, float, &mut values);
            let searched = round(&weights, 64, (bits, 32), float, None);
            proptest::prop_assert!(error(&searched.values(32)) <= error(&values) * 1.0001);
            let mut packed = Packed::default();
            searched.pack(bits, 64, float, &mut packed);
            let mut back = vec![0f32; 128];
            grid.unpack(&packed, 64, float, &mut back);
            proptest::prop_assert_eq!(back, searched.values(32));
            proptest::prop_assert_eq!(packed.codes.len(), own.codes.len());
            proptest::prop_assert_eq!(packed.scales.len(), own.scales.len());
        }
    }

    #[test]
    fn outliers_do_not_spend_all_codes_where_they_count_little() {
        let mut group: Vec<f32> = (0..32).map(|i| (i as f32 / 16.0 - 1.0) * 0.1).collect();
        group[7] = 1.0;
        let importance: Vec<f32> = (0..32).map(|i| if i == 7 { 1e-3 } else { 1.0 }).collect();
        let mut codes = [0; 32];
        let of = |line: Line, codes: &[u8]| -> f32 {
            let missed = |(at, (w, c)): (usize, (&f32, &u8))| {
                importance[at] * (line.scale * f32::from(*c) + line.bias - w).powi(2)
            };
            group.iter().zip(codes).enumerate().map(missed).sum()
        };
        let own = affine::nearest(&group, 2, &mut codes);
        let before = of(own, &codes);
        let found = line(&group, Some(&importance), 2, Float::F32, &mut codes);
        assert!(of(found, &codes) < before / 2.0);
    }
}
