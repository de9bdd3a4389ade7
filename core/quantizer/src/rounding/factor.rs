//! The input of a matrix: blocks of second moments, damped and factored.
//! Knows symmetric matrices; must not know weights.

use super::arithmetic::vectorized;
use super::codebook::{EIGHT, Metric};
use std::sync::OnceLock;

/// Second moments of the columns `first .. first + n` of an input.
#[derive(Debug, Clone)]
pub(crate) struct Factor {
    /// The first column.
    pub(super) first: usize,
    /// Columns.
    pub(super) n: usize,
    /// `H` with its damping, `n × n`.
    pub(super) moments: Vec<f32>,
    /// Columns one by one.
    pub(super) ones: Order,
    /// Columns by eights, for types whose codes take so many; made when it is asked for.
    eights: OnceLock<Eights>,
}

/// Columns in the order in which they are rounded: large ones first, so that the others make up for them.
///
/// With `H = M D Mᵀ`, `M` unit upper triangular in this order, the error is `Σₖ Dₖ (Δₖ + Σ_{j<k} Δⱼ Mⱼₖ)²`: each column can
/// make up for all before it.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// Column by place.
    pub(super) columns: Vec<u32>,
    /// For each place, how the errors before it weigh: a triangle, row after row.
    weights: Vec<f32>,
    /// `D`.
    pivots: Vec<f32>,
}

/// Columns in groups of eight that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Eights {
    /// All of a group, then all of the next.
    pub(super) order: Order,
    /// By group in the order: what its differences cost when all after it make up for them.
    pub(super) metrics: Vec<Metric>,
    /// By group of columns: the inverse of its moments.
    pub(super) inverses: Vec<Metric>,
}

impl Order {
    fn new(moments: &[f32], n: usize, columns: Vec<u32>) -> Self {
        let (weights, pivots) = vectorized(
            #[inline(always)]
            || unit_triangle(moments, n, &columns),
        );
        Self { columns, weights, pivots }
    }

    /// How the errors at the places before `place` weigh there.
    pub(super) fn weights_at(&self, place: usize) -> &[f32] {
        &self.weights[place * (place.max(1) - 1) / 2..][..place]
    }
}

impl Eights {
    fn new(factor: &Factor) -> Self {
        let n_groups = factor.n / EIGHT;
        let diagonal = |column: usize| factor.moments[column * factor.n + column];
        let power = |group: u32| (0..EIGHT).map(|at| diagonal(group as usize * EIGHT + at)).sum::<f32>();
        let mut groups: Vec<u32> = (0..n_groups as u32).collect();
        groups.sort_by(|a, b| power(*b).total_cmp(&power(*a)));
        let columns =
            groups.iter().flat_map(|group| (0..EIGHT as u32).map(move |at| group * EIGHT as u32 + at));
        let order = Order::new(&factor.moments, factor.n, columns.collect());
        let metrics = (0..n_groups).map(|group| {
            let mut metric = Metric::default();
            for k in 0..EIGHT {
                let place = group * EIGHT + k;
                let mut row = [0f32; EIGHT];
                row[..k].copy_from_slice(&order.weights_at(place)[group * EIGHT..]);
                row[k] = 1.0;
                for (i, out) in metric.iter_mut().enumerate() {
                    for (j, out) in out.iter_mut().enumerate() {
                        *out += order.pivots[place] * row[i] * row[j];
                    }
                }
            }
            metric
        });
        let metrics = metrics.collect();
        let inverses = (0..n_groups).map(|group| inverse(&factor.metric(group * EIGHT))).collect();
        Self { order, metrics, inverses }
    }
}

impl Factor {
    /// Factors `moments`, the `n × n` block of the columns from `first` on, with `damping` times the mean of its
    /// diagonal added to the diagonal.
    fn new(first: usize, n: usize, moments: &[f32], damping: f64) -> Self {
        let diagonal = |column: usize| f64::from(moments[column * n + column]);
        let mean = (0..n).map(diagonal).sum::<f64>() / n as f64;
        // Where nothing flows, every column counts alike.
        let (scale, added) = if mean > 0.0 { (1.0 / mean, damping) } else { (0.0, 1.0) };
        let mut damped: Vec<f32> = moments.iter().map(|value| (f64::from(*value) * scale) as f32).collect();
        (0..n).for_each(|column| damped[column * n + column] += added as f32);
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by(|a, b| diagonal(*b as usize).total_cmp(&diagonal(*a as usize)));
        let ones = Order::new(&damped, n, order);
        Self { first, n, moments: damped, ones, eights: OnceLock::new() }
    }

    /// Sets what an error of each of its columns costs when those after it make up for it (`D`), in units of `mean`, the mean of
    /// the block's diagonal.
    pub(super) fn costs(&self, mean: f32, costs: &mut [f32]) {
        for (column, pivot) in self.ones.columns.iter().zip(&self.ones.pivots) {
            costs[self.first + *column as usize] = mean * pivot;
        }
    }

    /// Columns by eights; their number is a multiple of that.
    pub(super) fn eights(&self) -> &Eights {
        self.eights.get_or_init(|| Eights::new(self))
    }

    /// The moments of the eight columns from `column` on with each other.
    #[inline(always)]
    pub(super) fn metric(&self, column: usize) -> Metric {
        std::array::from_fn(|row| {
            let of_eight = &self.row(column + row)[column..][..EIGHT];
            std::array::from_fn(|at| of_eight[at])
        })
    }

    /// Row `column` of the damped moments.
    pub(super) fn row(&self, column: usize) -> &[f32] {
        &self.moments[column * self.n..][..self.n]
    }
}

/// `M` of `H = M D Mᵀ`, transposed: for each place, the entries before the diagonal; and `D`. Taken from the last place on.
#[inline(always)]
fn unit_triangle(moments: &[f32], n: usize, order: &[u32]) -> (Vec<f32>, Vec<f32>) {
    let mut left: Vec<f64> = Vec::with_capacity(n * n);
    for row in order {
        left.extend(order.iter().map(|column| f64::from(moments[*row as usize * n + *column as usize])));
    }
    let mut weights = vec![0f32; n * (n - 1) / 2];
    let mut pivots = vec![0f32; n];
    let mut column = vec![0f64; n];
    for place in (0..n).rev() {
        let pivot = left[place * n + place].max(f64::MIN_POSITIVE);
        pivots[place] = pivot as f32;
        column[..place].copy_from_slice(&left[place * n..][..place]);
        let weights = &mut weights[place * (place.max(1) - 1) / 2..][..place];
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
    (weights, pivots)
}

/// The inverse of a positive definite matrix, by Gauss and Jordan.
fn inverse(metric: &Metric) -> Metric {
    let mut left = metric.map(|row| row.map(f64::from));
    let mut right = [[0f64; EIGHT]; EIGHT];
    (0..EIGHT).for_each(|at| right[at][at] = 1.0);
    for pivot in 0..EIGHT {
        let scale = 1.0 / left[pivot][pivot].max(f64::MIN_POSITIVE);
        left[pivot] = left[pivot].map(|value| value * scale);
        right[pivot] = right[pivot].map(|value| value * scale);
        for row in (0..EIGHT).filter(|row| *row != pivot) {
            let factor = left[row][pivot];
            for at in 0..EIGHT {
                left[row][at] -= factor * left[pivot][at];
                right[row][at] -= factor * right[pivot][at];
            }
        }
    }
    right.map(|row| row.map(|value| value as f32))
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
            let at = |place: usize| factor.ones.columns[place] as usize;
            let weights = factor.ones.weights_at(place);
            let left = difference[at(place)]
                + weights.iter().enumerate().map(|(j, w)| f64::from(*w) * difference[at(j)]).sum::<f64>();
            // The pivot: what the moments of this place are beyond those that later places take.
            let unit: Vec<f64> = (0..n)
                .map(
                    |later| if later > place { f64::from(factor.ones.weights_at(later)[place]) } else { 0.0 },
                )
                .collect();
            let mut pivot = f64::from(factor.moments[at(place) * n + at(place)]);
            let mut pivots = vec![0.0; n];
            for later in (0..n).rev() {
                let own = f64::from(factor.moments[at(later) * n + at(later)]);
                let beyond: f64 = (later + 1..n)
                    .map(|j| pivots[j] * f64::from(factor.ones.weights_at(j)[later]).powi(2))
                    .sum();
                pivots[later] = own - beyond;
            }
            pivot -= (0..n).map(|later| pivots[later] * unit[later].powi(2)).sum::<f64>();
            sum += pivot * left * left;
        }
        assert!((whole - sum).abs() < 1e-4 * whole, "{whole} and {sum}");
        assert!(
            factor
                .ones
                .columns
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
        assert_eq!(input.blocks[0].ones.weights_at(2), [0.0, 0.0]);
    }
}
