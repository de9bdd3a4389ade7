//! Levels column after column, each making up for the errors of those before it, for many rows side by side.
//! Knows blocks and factored inputs; must not know how blocks are stored.

use super::block::{Block, Each, Levels, Scheme, UNEVEN};
use super::codebook::{Codebook, EIGHT};
use super::factor::{Factor, Order};

/// Rows side by side.
pub(super) const LANES: usize = 32;

/// The level nearest to `at`.
#[inline(always)]
pub(super) fn nearest(levels: Each, at: f32) -> f32 {
    match levels {
        Each::Whole(least, most) => at.round_ties_even().clamp(f32::from(least), f32::from(most)),
        Each::Uneven => {
            let mut level = f32::from(UNEVEN[0]);
            for pair in UNEVEN.windows(2) {
                let (below, above) = (f32::from(pair[0]), f32::from(pair[1]));
                level = if at > (below + above) / 2.0 { above } else { level };
            }
            level
        }
    }
}

/// Sets the levels of the factor's columns in up to [`LANES`] rows. `weights` are theirs, `blocks` theirs: row after row
/// of `n_columns` weights. Scales stay.
#[inline(always)]
pub(super) fn feedback(
    scheme: &Scheme,
    factor: &Factor,
    weights: &[f32],
    blocks: &mut [Block],
    n_columns: usize,
) {
    match scheme.levels {
        Levels::Each(each) => by_ones(scheme, each, factor, weights, blocks, n_columns),
        Levels::Coded(codebook) => by_eights(scheme, codebook, factor, weights, blocks, n_columns),
    }
}

#[inline(always)]
fn by_ones(
    scheme: &Scheme,
    each: Each,
    factor: &Factor,
    weights: &[f32],
    blocks: &mut [Block],
    n_columns: usize,
) {
    let n_rows = weights.len() / n_columns;
    let per_row = n_columns / scheme.n_weights;
    let mut differences = vec![[0f32; LANES]; factor.n];
    let mut lanes = Lanes::default();
    for place in 0..factor.n {
        let column = factor.first + factor.ones.columns[place] as usize;
        let (block, index) = (column / scheme.n_weights, column % scheme.n_weights);
        let group = index / scheme.group;
        for row in 0..n_rows {
            let block = &blocks[row * per_row + block];
            lanes.weight[row] = weights[row * n_columns + column];
            lanes.scale[row] = block.scale(group);
            lanes.min[row] = block.min(group);
        }
        lanes.choose(each, &factor.ones, &mut differences, place);
        for row in 0..n_rows {
            blocks[row * per_row + block].levels[index] = lanes.level[row] as i8;
        }
    }
}

/// What the errors at the places before `end` leave `place` to make up for.
#[inline(always)]
fn carried(order: &Order, place: usize, end: usize, differences: &[[f32; LANES]]) -> [f32; LANES] {
    let mut carried = [0f32; LANES];
    for (weight, difference) in order.weights_at(place).iter().zip(&differences[..end]) {
        for lane in 0..LANES {
            carried[lane] += weight * difference[lane];
        }
    }
    carried
}

/// Eight columns at a time: the codes that are nearest in what their differences cost when all later columns make up for
/// them.
#[inline(always)]
fn by_eights(
    scheme: &Scheme,
    codebook: &Codebook,
    factor: &Factor,
    weights: &[f32],
    blocks: &mut [Block],
    n_columns: usize,
) {
    let n_rows = weights.len() / n_columns;
    let per_row = n_columns / scheme.n_weights;
    let eights = factor.eights();
    let mut differences = vec![[0f32; LANES]; factor.n];
    for (group, metric) in eights.metrics.iter().enumerate() {
        let place = group * EIGHT;
        let missed: [_; EIGHT] =
            std::array::from_fn(|at| carried(&eights.order, place + at, place, &differences));
        let column = factor.first + eights.order.columns[place] as usize;
        let (block, index) = (column / scheme.n_weights, column % scheme.n_weights);
        for row in 0..n_rows {
            let block = &mut blocks[row * per_row + block];
            let scale = block.scale(index / scheme.group);
            let weights = &weights[row * n_columns + column..][..EIGHT];
            // What the columns would have to differ by, all eight of them together.
            let mut aim = [0f32; EIGHT];
            for at in 0..EIGHT {
                let before = &eights.order.weights_at(place + at)[place..];
                let among: f32 = before.iter().zip(&aim).map(|(weight, aim)| weight * aim).sum();
                aim[at] = -missed[at][row] - among;
            }
            if scale != 0.0 {
                let wanted = std::array::from_fn(|at| (weights[at] + aim[at]) / scale);
                let levels = codebook.nearest(&wanted, metric);
                block.levels[index..index + EIGHT].copy_from_slice(&levels);
            }
            for at in 0..EIGHT {
                differences[place + at][row] = scale * f32::from(block.levels[index + at]) - weights[at];
            }
        }
    }
}

/// A column of several rows.
struct Lanes {
    weight: [f32; LANES],
    scale: [f32; LANES],
    min: [f32; LANES],
    level: [f32; LANES],
}

impl Default for Lanes {
    fn default() -> Self {
        let zeros = [0.0; LANES];
        Self { weight: zeros, scale: zeros, min: zeros, level: zeros }
    }
}

impl Lanes {
    #[inline(always)]
    fn choose(&mut self, levels: Each, order: &Order, differences: &mut [[f32; LANES]], place: usize) {
        let missed = carried(order, place, place, differences);
        let difference = &mut differences[place];
        for lane in 0..LANES {
            let target = self.weight[lane] - missed[lane] + self.min[lane];
            let at = if self.scale[lane] == 0.0 { 0.0 } else { target / self.scale[lane] };
            let level = nearest(levels, at);
            self.level[lane] = level;
            difference[lane] = self.scale[lane] * level - self.min[lane] - self.weight[lane];
        }
    }
}
