//! Rows of one matrix into blocks, by all three steps.
//! Knows rows, inputs and blocks; must not know tensors.

use super::arithmetic::{dot, vectorized};
use super::block::{Block, Scheme};
use super::factor::Input;
use super::feedback::{LANES, feedback};
use super::polish::polish;

/// Improves `bytes`, which ggml's search made of `weights`: rows of `n_columns`.
pub(crate) fn round_rows(
    scheme: &Scheme,
    input: &Input,
    weights: &[f32],
    n_columns: usize,
    bytes: &mut [u8],
) {
    let per_row = n_columns / scheme.n_weights;
    let strips = bytes.chunks_mut(per_row * scheme.n_bytes() * LANES);
    for (weights, bytes) in weights.chunks(n_columns * LANES).zip(strips) {
        let mut blocks: Vec<Block> = bytes.chunks(scheme.n_bytes()).map(|bytes| scheme.read(bytes)).collect();
        vectorized(
            #[inline(always)]
            || {
                for factor in &input.blocks {
                    feedback(scheme, factor, weights, &mut blocks, n_columns);
                    let (first, n) = (factor.first / scheme.n_weights, factor.n / scheme.n_weights);
                    for (row, weights) in weights.chunks(n_columns).enumerate() {
                        let blocks = &mut blocks[row * per_row + first..][..n];
                        polish(scheme, factor, &weights[factor.first..][..factor.n], blocks);
                    }
                }
            },
        );
        for (block, bytes) in blocks.iter().zip(bytes.chunks_mut(scheme.n_bytes())) {
            scheme.write(block, bytes);
        }
    }
}

/// `tr(Δ H Δᵀ)` of rows of `n_columns` that became `values`, with `H` as blocks of `block` columns in `moments`.
pub(crate) fn error(block: usize, moments: &[f32], weights: &[f32], values: &[f32], n_columns: usize) -> f64 {
    let difference: Vec<f32> = values.iter().zip(weights).map(|(value, weight)| value - weight).collect();
    vectorized(
        #[inline(always)]
        || {
            let mut sum = 0.0;
            for row in difference.chunks(n_columns) {
                let mut rest = moments;
                for first in (0..n_columns).step_by(block) {
                    let row = &row[first..n_columns.min(first + block)];
                    let (of_block, others) = rest.split_at(row.len() * row.len());
                    rest = others;
                    for (moments, difference) in of_block.chunks(row.len()).zip(row) {
                        sum += f64::from(difference * dot(moments, row));
                    }
                }
            }
            sum
        },
    )
}

#[cfg(test)]
mod tests;
