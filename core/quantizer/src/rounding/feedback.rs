//! Levels column after column, each making up for the errors of those before it, for many rows side by side.
//! Knows blocks and factored inputs; must not know how blocks are stored.

use super::block::{Block, Levels, Scheme, UNEVEN};
use super::factor::Factor;

/// Rows side by side.
pub(super) const LANES: usize = 32;

/// The level nearest to `at`.
#[inline(always)]
pub(super) fn nearest(levels: Levels, at: f32) -> f32 {
    match levels {
        Levels::Whole(least, most) => at.round_ties_even().clamp(f32::from(least), f32::from(most)),
        Levels::Uneven => {
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
    let n_rows = weights.len() / n_columns;
    let per_row = n_columns / scheme.n_weights;
    let mut differences = vec![[0f32; LANES]; factor.n];
    let mut lanes = Lanes::default();
    for place in 0..factor.n {
        let column = factor.first + factor.order[place] as usize;
        let (block, index) = (column / scheme.n_weights, column % scheme.n_weights);
        let group = index / scheme.group;
        for row in 0..n_rows {
            let block = &blocks[row * per_row + block];
            lanes.weight[row] = weights[row * n_columns + column];
            lanes.scale[row] = block.scale(group);
            lanes.min[row] = block.min(group);
        }
        lanes.choose(scheme.levels, factor.weights_at(place), &mut differences, place);
        for row in 0..n_rows {
            blocks[row * per_row + block].levels[index] = lanes.level[row] as i8;
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
    fn choose(&mut self, levels: Levels, before: &[f32], differences: &mut [[f32; LANES]], place: usize) {
        let mut missed = [0f32; LANES];
        for (weight, difference) in before.iter().zip(&differences[..place]) {
            for lane in 0..LANES {
                missed[lane] += weight * difference[lane];
            }
        }
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
