//! Moves that bring a row's error down: single levels, scales of groups, units of blocks. None brings it up.
//! Knows blocks and inputs; must not know how blocks are stored.

use super::arithmetic::{add_scaled, dot};
use super::block::{Block, Each, Levels, Scheme};
use super::codebook::{Codebook, EIGHT, norm};
use super::factor::Factor;
use super::feedback::nearest;

/// Passes over a row; most rows are at rest after half of them.
const SWEEPS: usize = 6;

/// A row's columns of one factor, under way.
struct Row<'a> {
    scheme: &'a Scheme,
    factor: &'a Factor,
    weights: &'a [f32],
    /// What the row is beside its weights.
    difference: Vec<f32>,
    /// `H` times that: half of how the error changes with each weight.
    slope: Vec<f32>,
    /// A direction of several weights, work memory.
    direction: Vec<f32>,
}

/// Improves the row's blocks, those of the factor's columns.
#[inline(always)]
pub(super) fn polish(scheme: &Scheme, factor: &Factor, weights: &[f32], blocks: &mut [Block]) {
    let n = factor.n;
    let zeros = || vec![0f32; n];
    let mut row = Row { scheme, factor, weights, difference: zeros(), slope: zeros(), direction: zeros() };
    row.measure(blocks);
    for _ in 0..SWEEPS {
        let mut moved = false;
        for (block, first) in blocks.iter_mut().zip((0..n).step_by(scheme.n_weights)) {
            for group in 0..scheme.n_groups() {
                let first = first + group * scheme.group;
                moved |= row.move_scale(block, group, first);
                moved |= row.move_min(block, group, first);
                moved |= match scheme.levels {
                    Levels::Each(each) => row.move_levels(each, block, group, first),
                    Levels::Coded(codebook) => row.move_codes(codebook, block, group, first),
                };
            }
            moved |= row.move_units(block, first);
        }
        if !moved {
            break;
        }
    }
}

impl Row<'_> {
    /// Differences and slopes from the start.
    #[inline(always)]
    fn measure(&mut self, blocks: &[Block]) {
        for (block, first) in blocks.iter().zip((0..self.factor.n).step_by(self.scheme.n_weights)) {
            self.set_difference(block, first);
        }
        for column in 0..self.factor.n {
            self.slope[column] = dot(self.factor.row(column), &self.difference);
        }
    }

    #[inline(always)]
    fn set_difference(&mut self, block: &Block, first: usize) {
        for index in 0..self.scheme.n_weights {
            let group = index / self.scheme.group;
            let value = block.scale(group) * f32::from(block.levels[index]) - block.min(group);
            self.difference[first + index] = value - self.weights[first + index];
        }
    }

    /// Adds `step` times the direction over the columns `first .. first + n`.
    #[inline(always)]
    fn shift(&mut self, first: usize, n: usize, step: f32) {
        for column in first..first + n {
            let by = step * self.direction[column - first];
            if by != 0.0 {
                self.difference[column] += by;
                add_scaled(&mut self.slope, by, self.factor.row(column));
            }
        }
    }

    /// Slope and curvature along the direction over the columns `first .. first + n`.
    #[inline(always)]
    fn along(&self, first: usize, n: usize) -> (f32, f32) {
        let direction = &self.direction[..n];
        let slope = dot(direction, &self.slope[first..first + n]);
        let mut curvature = 0.0;
        for (column, by) in direction.iter().enumerate() {
            curvature += by * dot(&self.factor.row(first + column)[first..first + n], direction);
        }
        (slope, curvature)
    }

    /// The whole number nearest to the best step along the direction from `from` that stays within `range`, if it helps.
    #[inline(always)]
    fn best_step(&self, first: usize, from: i16, range: (i16, i16), step: i16) -> Option<i16> {
        let (slope, curvature) = self.along(first, self.scheme.group);
        if curvature <= 0.0 {
            return None;
        }
        let n_steps = (-slope / curvature / f32::from(step)).round_ties_even();
        let to = f32::from(from) + n_steps * f32::from(step);
        let to = to.clamp(f32::from(range.0), f32::from(range.1)) as i16;
        let step = f32::from(to - from);
        (to != from && step * (2.0 * slope + step * curvature) < 0.0).then_some(to)
    }

    #[inline(always)]
    fn move_scale(&mut self, block: &mut Block, group: usize, first: usize) -> bool {
        if self.scheme.scales.0 == self.scheme.scales.1 {
            return false;
        }
        let levels = &block.levels[group * self.scheme.group..][..self.scheme.group];
        for (direction, level) in self.direction.iter_mut().zip(levels) {
            *direction = block.d * f32::from(*level);
        }
        let from = block.scales[group];
        let Some(to) = self.best_step(first, from, self.scheme.scales, self.scheme.scale_step) else {
            return false;
        };
        block.scales[group] = to;
        self.shift(first, self.scheme.group, f32::from(to - from));
        true
    }

    #[inline(always)]
    fn move_min(&mut self, block: &mut Block, group: usize, first: usize) -> bool {
        let Some(most) = self.scheme.mins.filter(|most| *most > 1) else { return false };
        self.direction[..self.scheme.group].fill(-block.m);
        let from = block.mins[group];
        let Some(to) = self.best_step(first, from, (0, most), 1) else { return false };
        block.mins[group] = to;
        self.shift(first, self.scheme.group, f32::from(to - from));
        true
    }

    #[inline(always)]
    fn move_levels(&mut self, each: Each, block: &mut Block, group: usize, first: usize) -> bool {
        let (scale, min) = (block.scale(group), block.min(group));
        if scale == 0.0 {
            return false;
        }
        let mut moved = false;
        for index in 0..self.scheme.group {
            let column = first + index;
            let own = self.factor.row(column)[column];
            let wanted = self.weights[column] + self.difference[column] - self.slope[column] / own;
            let level = nearest(each, (wanted + min) / scale);
            let old = &mut block.levels[group * self.scheme.group + index];
            let by = scale * (level - f32::from(*old));
            if by == 0.0 || by * (2.0 * self.slope[column] + by * own) >= 0.0 {
                continue;
            }
            *old = level as i8;
            self.difference[column] += by;
            add_scaled(&mut self.slope, by, self.factor.row(column));
            moved = true;
        }
        moved
    }

    /// Eight weights at once, to the codes nearest to where the error would be least.
    #[inline(always)]
    fn move_codes(&mut self, codebook: &Codebook, block: &mut Block, group: usize, first: usize) -> bool {
        let scale = block.scale(group);
        if scale == 0.0 {
            return false;
        }
        let mut moved = false;
        let levels = &mut block.levels[group * self.scheme.group..][..self.scheme.group];
        for (levels, column) in levels.as_chunks_mut::<EIGHT>().0.iter_mut().zip((first..).step_by(EIGHT)) {
            let slope: [f32; EIGHT] = std::array::from_fn(|at| self.slope[column + at]);
            let inverse = &self.factor.eights().inverses[column / EIGHT];
            let wanted = std::array::from_fn(|at| f32::from(levels[at]) - dot(&inverse[at], &slope) / scale);
            let metric = self.factor.metric(column);
            let chosen = codebook.nearest(&wanted, &metric);
            let by = std::array::from_fn(|at| scale * (f32::from(chosen[at]) - f32::from(levels[at])));
            if chosen == *levels || 2.0 * dot(&by, &slope) + norm(&by, &metric) >= 0.0 {
                continue;
            }
            *levels = chosen;
            self.direction[..EIGHT].copy_from_slice(&by);
            self.shift(column, EIGHT, 1.0);
            moved = true;
        }
        moved
    }

    /// Both units of a block at once, where 16 bits still hold them.
    #[inline(always)]
    fn move_units(&mut self, block: &mut Block, first: usize) -> bool {
        let n = self.scheme.n_weights;
        let mut moved = false;
        for of_min in [false, true] {
            if of_min && self.scheme.mins.is_none() {
                continue;
            }
            for index in 0..n {
                let group = index / self.scheme.group;
                self.direction[index] = match of_min {
                    false => f32::from(block.scales[group]) * f32::from(block.levels[index]),
                    true => -f32::from(block.mins[group]),
                };
            }
            let (slope, curvature) = self.along(first, n);
            if curvature <= 0.0 {
                continue;
            }
            let unit = if of_min { &mut block.m } else { &mut block.d };
            let to = half::f16::from_f32((*unit - slope / curvature) / self.scheme.unit).to_f32();
            let to = to * self.scheme.unit;
            let step = to - *unit;
            if step == 0.0 || !to.is_finite() || step * (2.0 * slope + step * curvature) >= 0.0 {
                continue;
            }
            *unit = to;
            self.shift(first, n, step);
            moved = true;
        }
        moved
    }
}
