//! Rows that errors are measured on: evenly spread, so many of all matrices of a tensor together.
//! Knows sources; must not know errors.

use crate::Result;
use crate::source::TensorSource;

/// Rows of a tensor, and at least of each of its matrices.
const SAMPLED_ROWS: (u64, u64) = (192, 16);

/// The rows of one of `n_matrices` matrices of so many rows.
pub(crate) fn sampled(n_matrices: u64, per_matrix: u64) -> impl ExactSizeIterator<Item = u64> {
    let n = (SAMPLED_ROWS.0 / n_matrices).max(SAMPLED_ROWS.1).min(per_matrix) as usize;
    (0..n).map(move |at| at as u64 * per_matrix / n as u64)
}

/// Their weights.
pub(crate) fn sampled_weights(source: &dyn TensorSource, index: usize, matrix: u64) -> Result<Vec<f32>> {
    let tensor = &source.tensors()[index];
    let (width, per_matrix) = (tensor.dims[0] as usize, tensor.rows_per_matrix());
    let rows = sampled(tensor.n_rows() / per_matrix, per_matrix);
    let mut weights = vec![0f32; rows.len() * width];
    for (row, out) in rows.zip(weights.chunks_mut(width)) {
        source.read_rows(index, matrix * per_matrix + row, out)?;
    }
    Ok(weights)
}
