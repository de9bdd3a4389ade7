//! Sums of products of columns. Knows rows of numbers; must not know where they come from.

use super::Layout;
use pulp::Arch;
use rayon::prelude::*;

/// Rows and columns of the sums that are kept in registers.
const TILE: (usize, usize) = (4, 16);

/// Rows that are summed before the tiles move on: so many stay in a core's cache.
const ROWS: usize = 32;

/// Adds `Σ xᵢ xⱼ` over `rows` (of the layout's columns) to `sums`, the blocks of one matrix. Only the lower triangles.
pub(super) fn add_products(layout: Layout, rows: &[f32], sums: &mut [f32]) {
    let mut rest = sums;
    for (first, n) in layout.blocks() {
        let (block, others) = rest.split_at_mut(n * n);
        rest = others;
        block.par_chunks_mut(TILE.0 * n).enumerate().for_each(|(stripe, sums)| {
            let row = stripe * TILE.0;
            Arch::new().dispatch(
                #[inline(always)]
                || {
                    for rows in rows.chunks(ROWS * layout.n_columns) {
                        add_stripe(rows, layout.n_columns, first, row, n, sums);
                    }
                },
            );
        });
    }
}

/// The sums of the columns `row ..` of a block with all before them.
#[inline(always)]
fn add_stripe(rows: &[f32], n_columns: usize, first: usize, row: usize, n: usize, sums: &mut [f32]) {
    let height = sums.len() / n;
    let last = row + height;
    for left in (0..last).step_by(TILE.1) {
        let width = TILE.1.min(n - left);
        let mut tile = [[0f32; TILE.1]; TILE.0];
        if height == TILE.0 && width == TILE.1 {
            for x in rows.chunks_exact(n_columns) {
                let down: &[f32; TILE.0] = x[first + row..][..TILE.0].try_into().expect("so long");
                let across: &[f32; TILE.1] = x[first + left..][..TILE.1].try_into().expect("so long");
                for i in 0..TILE.0 {
                    for j in 0..TILE.1 {
                        tile[i][j] += down[i] * across[j];
                    }
                }
            }
        } else {
            for x in rows.chunks_exact(n_columns) {
                for i in 0..height {
                    for j in 0..width {
                        tile[i][j] += x[first + row + i] * x[first + left + j];
                    }
                }
            }
        }
        for i in 0..height {
            for j in 0..width {
                sums[i * n + left + j] += tile[i][j];
            }
        }
    }
}

/// Copies the lower triangles of the blocks of one matrix to the upper ones.
pub(super) fn mirror(layout: Layout, sums: &mut [f32]) {
    let mut start = 0;
    for (_, n) in layout.blocks() {
        let block = &mut sums[start..start + n * n];
        for row in 0..n {
            for column in row + 1..n {
                block[row * n + column] = block[column * n + row];
            }
        }
        start += n * n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_all_products() {
        for (n_columns, block) in [(7, 7), (40, 16), (64, 64), (37, 20)] {
            let layout = Layout { n_columns, n_matrices: 1, block };
            let rows: Vec<f32> = (0..n_columns * 9).map(|i| ((i * 37 + 11) % 23) as f32 - 11.0).collect();
            let mut sums = vec![0f32; layout.n_values()];
            add_products(layout, &rows[..n_columns * 4], &mut sums);
            add_products(layout, &rows[n_columns * 4..], &mut sums);
            mirror(layout, &mut sums);
            let mut start = 0;
            for (first, n) in layout.blocks() {
                for i in 0..n {
                    for j in 0..n {
                        let sum: f32 = rows.chunks(n_columns).map(|x| x[first + i] * x[first + j]).sum();
                        assert_eq!(sums[start + i * n + j], sum, "{n_columns}/{block}: {i}, {j}");
                    }
                }
                start += n * n;
            }
        }
    }
}
