//! Rows of one matrix into blocks: what ggml's search makes of them, or what feedback makes of that where it is better on
//! text that it did not see.
//! Knows moments and types; must not know plans.

use super::arithmetic::vectorized;
use super::block::{Block, Each, Levels};
use super::feedback::{LANES, feedback as feed};
use super::{Input, Scheme, error, round_rows};
use crate::moments::{InputMoments, Moments, Part};
use engine::gguf::quantize::{dequantize_rows, quantize_rows};
use formats::gguf::GgmlType;

/// Added to the diagonal, as a share of its mean.
const DAMPING: f64 = 0.03;
/// Tokens per column below which what was held out judges nothing.
const JUDGED_TOKENS: f64 = 32.0;

/// What flows into one matrix.
#[derive(Debug, Clone)]
pub(crate) struct MatrixInput {
    /// Importance by column.
    importance: Vec<f32>,
    input: Input,
    /// Moments of what was held out, if enough was; else those that rounding saw.
    judge: Vec<f32>,
    block: usize,
    /// Tokens that flowed in, of both parts.
    pub(crate) n_tokens: f64,
}

impl MatrixInput {
    /// What `moments` know of `matrix` of `weight`; `None` where that is nothing or of another shape.
    pub(crate) fn of(moments: &Moments, weight: &str, matrix: usize, n_columns: usize) -> Option<Self> {
        moments.layout(weight).filter(|layout| layout.n_columns == n_columns)?;
        let seen = moments.of(weight, matrix, Part::Seen)?;
        Some(Self::new(n_columns, seen, moments.of(weight, matrix, Part::HeldOut)?))
    }

    /// Of `n_columns` columns with these moments: what rounding sees, and what judges it.
    pub(crate) fn new(n_columns: usize, seen: InputMoments, held_out: InputMoments) -> Self {
        let n_tokens = seen.n_tokens + held_out.n_tokens;
        let input = Input::new(n_columns, seen.block, &seen.values, DAMPING);
        let mut importance = Vec::with_capacity(n_columns);
        let mut start = 0;
        for first in (0..n_columns).step_by(seen.block) {
            let n = seen.block.min(n_columns - first);
            importance.extend((0..n).map(|column| seen.values[start + column * (n + 1)].max(0.0)));
            start += n * n;
        }
        let judge = if held_out.n_tokens >= JUDGED_TOKENS { held_out.values } else { seen.values };
        Self { importance, input, judge, block: seen.block, n_tokens }
    }

    /// What an error of one column costs when columns that are rounded later make up for it, by column.
    pub(crate) fn costs(&self) -> Vec<f32> {
        let mut costs = vec![0f32; self.importance.len()];
        for block in &self.input.blocks {
            let mean = self.importance[block.first..][..block.n].iter().sum::<f32>() / block.n as f32;
            block.costs(mean, &mut costs);
        }
        costs
    }

    /// Importance of each column.
    pub(crate) fn importance(&self) -> &[f32] {
        &self.importance
    }

    /// `tr(Δ H Δᵀ)` per token of rows that became `values`.
    pub(crate) fn error(&self, weights: &[f32], values: &[f32], n_columns: usize) -> f64 {
        error(self.block, &self.judge, weights, values, n_columns)
    }
}

/// Quantizes rows of one matrix. With `importance` of its own the search goes by that, else by the input's. Without
/// feedback for the type, or where `feedback` is off, the search alone counts.
pub(crate) fn round_matrix_rows(
    ty: GgmlType,
    weights: &[f32],
    n_columns: usize,
    input: &MatrixInput,
    feedback: bool,
    bytes: &mut [u8],
) -> Result<(), engine::Error> {
    quantize_rows(ty, weights, bytes, n_columns, Some(&input.importance))?;
    let Some(scheme) = Scheme::of(ty).filter(|_| feedback) else { return Ok(()) };
    let mut rounded = bytes.to_vec();
    round_rows(&scheme, &input.input, weights, n_columns, &mut rounded);
    let mut values = vec![0f32; weights.len()];
    dequantize_rows(ty, bytes, &mut values)?;
    let plain = input.error(weights, &values, n_columns);
    dequantize_rows(ty, &rounded, &mut values)?;
    if input.error(weights, &values, n_columns) < plain {
        bytes.copy_from_slice(&rounded);
    }
    Ok(())
}

/// Codes of `bits` bits, chosen with error feedback, for rows of one matrix in groups of `group` weights, each group on a line of
/// its own: `scale · code + bias`.
pub(crate) fn affine_levels(
    input: &MatrixInput,
    weights: &[f32],
    n_columns: usize,
    (bits, group): (u32, usize),
    lines: &[(f32, f32)],
    codes: &mut [u8],
) {
    // Levels are signed bytes: 8 bits are counted from the middle.
    let middle = if bits == 8 { 128i16 } else { 0 };
    let last = (1i16 << bits) - 1;
    let scheme = Scheme {
        ty: GgmlType::Q4_1, // of the layouts alone, which are not asked for
        n_weights: group,
        group,
        levels: Levels::Each(Each::Whole(-middle as i8, (last - middle) as i8)),
        scales: (1, 1),
        scale_step: 1,
        unit: 1.0,
        mins: Some(1),
    };
    let per_row = n_columns / group;
    let strips = lines.chunks(per_row * LANES).zip(codes.chunks_mut(n_columns * LANES));
    for (weights, (lines, codes)) in weights.chunks(n_columns * LANES).zip(strips) {
        let block = |(scale, bias): &(f32, f32)| {
            let mut block = Block { d: *scale, m: -(bias + f32::from(middle) * scale), ..Block::default() };
            block.mins[0] = 1;
            block
        };
        let mut blocks: Vec<Block> = lines.iter().map(block).collect();
        vectorized(
            #[inline(always)]
            || {
                for factor in &input.input.blocks {
                    feed(&scheme, factor, weights, &mut blocks, n_columns);
                }
            },
        );
        for (block, codes) in blocks.iter().zip(codes.chunks_mut(group)) {
            for (level, code) in block.levels.iter().zip(codes) {
                *code = (i16::from(*level) + middle) as u8;
            }
        }
    }
}
