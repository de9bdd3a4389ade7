//! The input of a matrix: blocks of second moments, damped and factored.
//! Knows symmetric matrices; must not know weights.

use super::arithmetic::vectorized;

/// Second moments of the columns `first .. first + n` of an input.
#[derive(Debug, Clone)]
pub(crate) struct Factor {
    /// The first column.
    pub(super) first: usize,
    /// Columns.
    pub(super) n: usize,
    /// `H` with its damping, `n × n`.
    pub(super) moments: Vec<f32>,
    /// Columns in the order in which they are rounded: large ones first, so that the others make up for them.
    pub(super) order: Vec<u32>,
    /// For each place of the order, how the errors before it weigh: a triangle, row after row.
    weights: Vec<f32>,
}

impl Factor {
    /// Factors `moments`, the `n × n` block of the columns from `first` on, with `damping` times the mean of its
    /// diagonal added to the diagonal.
    ///
    /// With `H = M D Mᵀ`, `M` unit upper triangular in the order of rounding, the error is `Σₖ Dₖ (Δₖ + Σ_{j<k} Δⱼ Mⱼₖ)²`:
    /// each column can make up for all before it.
    fn new(first: usize, n: usize, moments: &[f32], damping: f64) -> Self {
        let diagonal = |column: usize| f64::from(moments[column * n + column]);
        let mean = (0..n).map(diagonal).sum::<f64>() / n as f64;
        // Where nothing flows, every column counts alike.
        let (scale, added) = if mean > 0.0 { (1.0 / mean, damping) } else { (0.0, 1.0) };
        let mut damped: Vec<f32> = moments.iter().map(|value| (f64::from(*value) * scale) as f32).collect();
        (0..n).for_each(|column| damped[column * n + column] += added as f32);
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by(|a, b| diagonal(*b as usize).total_cmp(&diagonal(*a as usize)));
        let weights = vectorized(
            #[inline(always)]
            || unit_triangle(&damped, n, &order),
        );
        Self { first, n, moments: damped, order, weights }
    }

    /// How the errors at the places before `place` weigh there.
    pub(super) fn weights_at(&self, place: usize) -> &[f32] {
        &self.weights[place * (place.max(1) - 1) / 2..][..place]
    }

    /// Row `column` of the damped moments.
    pub(super) fn row(&self, column: usize) -> &[f32] {
        &self.moments[column * self.n..][..self.n]
    }
}

/// `M` of `H = M D Mᵀ`, transposed: for each place, the entries before the diagonal. Taken from the last place on.
#[inline(always)]
fn unit_triangle(moments: &[f32], n: usize, order: &[u32]) -> Vec<f32> {
    let mut left: Vec<f64> = Vec::with_capacity(n * n);
    for row in order {
        left.extend(order.iter().map(|column| f64::from(moments[*row as usize * n + *column as usize])));
    }
    let mut weights = vec![0f32; n * (n - 1) / 2];
    let mut column = vec![0f64; n];
    for place in (1..n).rev() {
        let pivot = left[place * n + place].max(f64::MIN_POSITIVE);
        column[..place].copy_from_slice(&left[place * n..][..place]);
        let weights = &mut weights[place * (place - 1) / 2..][..place];
        for (weight, value) in weights.iter_mut().zip(&column) {
            *weight = (value / pivot) as f32;
        }
        // What is left of the rows before: the upper left corner, of which the lower triangle is kept.
        for row in 0..place {
            let factor = column[row] / pivot;
            for (left, value) in left[row * n..][..=row].iter_mut().zip(&column[..=row]) {
                *left -= factor * value;
            }
        }
    }
    weights
}

/// What flows into one matrix: blocks of columns, each taken alone.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    /// In the order of the columns, all of them.
    pub(super) blocks: Vec<Factor>,
}

impl Input {
    /// Factors the second moments of `n_columns` columns that lie block after block of `block` columns, the last one
    /// shorter, in `moments`.
    pub(crate) fn new(n_columns: usize, block: usize, moments: &[f32], damping: f64) -> Self {
        let mut blocks = Vec::new();
        let mut rest = moments;
        for first in (0..n_columns).step_by(block.max(1)) {
            let n = block.min(n_columns - first);
            let (of_block, others) = rest.split_at(n * n);
            rest = others;
            blocks.push(Factor::new(first, n, of_block, damping));
        }
        Self { blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factors_multiply_to_what_was_factored() {
        let n = 7;
        let noise: Vec<f64> =
            (0..n * 12).map(|i| ((i * i * 31 + i * 17) % 101) as f64 / 50.0 - 1.0).collect();
        let mut moments = vec![0f32; n * n];
        for row in noise.chunks(n) {
            for i in 0..n {
                for j in 0..n {
                    moments[i * n + j] += (row[i] * row[j]) as f32;
                }
            }
        }
        let factor = Factor::new(0, n, &moments, 0.1);
        // For any differences the error is the weighted sum of what is left of each.
        let difference: Vec<f64> = (0..n).map(|i| (i as f64 * 1.7).sin()).collect();
        let whole: f64 = (0..n * n)
            .map(|at| f64::from(factor.moments[at]) * difference[at / n] * difference[at % n])
            .sum();
        let mut sum = 0.0;
        for place in 0..n {
            let at = |place: usize| factor.order[place] as usize;
            let weights = factor.weights_at(place);
            let left = difference[at(place)]
                + weights.iter().enumerate().map(|(j, w)| f64::from(*w) * difference[at(j)]).sum::<f64>();
            // The pivot: what the moments of this place are beyond those that later places take.
            let unit: Vec<f64> = (0..n)
                .map(|later| if later > place { f64::from(factor.weights_at(later)[place]) } else { 0.0 })
                .collect();
            let mut pivot = f64::from(factor.moments[at(place) * n + at(place)]);
            let mut pivots = vec![0.0; n];
            for later in (0..n).rev() {
                let own = f64::from(factor.moments[at(later) * n + at(later)]);
                let beyond: f64 =
                    (later + 1..n).map(|j| pivots[j] * f64::from(factor.weights_at(j)[later]).powi(2)).sum();
                pivots[later] = own - beyond;
            }
            pivot -= (0..n).map(|later| pivots[later] * unit[later].powi(2)).sum::<f64>();
            sum += pivot * left * left;
        }
        assert!((whole - sum).abs() < 1e-4 * whole, "{whole} and {sum}");
        assert!(
            factor
                .order
                .is_sorted_by(|a, b| { moments[*a as usize * (n + 1)] >= moments[*b as usize * (n + 1)] })
        );
    }

    #[test]
    fn an_input_that_nothing_flows_into_counts_all_columns_alike() {
        let input = Input::new(5, 3, &[0.0; 9 + 4], 0.05);
        assert_eq!(
            input.blocks.iter().map(|block| (block.first, block.n)).collect::<Vec<_>>(),
            [(0, 3), (3, 2)]
        );
        assert_eq!(input.blocks[1].moments, [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(input.blocks[0].weights_at(2), [0.0, 0.0]);
    }
}
