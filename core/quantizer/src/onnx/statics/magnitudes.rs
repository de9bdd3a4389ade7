//! How large numbers are, and how far codes should reach. Owns the histogram and the methods; knows nothing of tensors.
//! Sources: entropy as in TensorRT's calibration (Migacz, "8-bit inference with TensorRT", 2017); least squared error.

use serde::{Deserialize, Serialize};

/// Levels above zero of a signed 8-bit code.
pub(super) const LEVELS: usize = 127;
const BINS: usize = 2048;
/// Entropy is asked of every so many bins.
const STRIDE: usize = 16;

/// How the largest magnitude that codes reach is found; what is larger takes the largest code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Reach {
    /// The largest that was seen.
    Largest,
    /// The least that this part of all does not exceed.
    Share {
        /// From 0 to 1.
        part: f64,
    },
    /// Least divergence of what codes tell from what was seen.
    Entropy,
    /// Least squared error.
    SquaredError,
}

/// Counts of magnitudes from 0 to the largest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Magnitudes {
    largest: f32,
    counts: Vec<u64>,
}

impl Magnitudes {
    /// For numbers up to `largest`, what is larger counting as that.
    pub(super) fn up_to(largest: f32) -> Self {
        Self { largest, counts: vec![0; BINS] }
    }

    pub(super) fn add(&mut self, value: f32) {
        let bin = (value.abs() / self.largest * BINS as f32) as usize;
        self.counts[bin.min(BINS - 1)] += 1;
    }

    /// How far codes reach, above 0 where anything was.
    pub(super) fn reach(&self, by: Reach) -> f32 {
        let bins = match by {
            Reach::Largest => BINS,
            Reach::Share { part } => self.share(part),
            Reach::Entropy => self.least(STRIDE, |bins| self.divergence(bins)),
            Reach::SquaredError => self.least(STRIDE, |bins| self.squared_error(bins)),
        };
        self.largest * (bins as f32 / BINS as f32)
    }

    fn share(&self, part: f64) -> usize {
        let total: u64 = self.counts.iter().sum();
        let mut below = 0;
        let within = self.counts.iter().position(|count| {
            below += count;
            below as f64 >= part * total as f64
        });
        within.map_or(BINS, |bin| bin + 1)
    }

    /// The number of bins with the least of something, the largest of equals.
    fn least(&self, stride: usize, of: impl Fn(usize) -> f64) -> usize {
        let tried = (LEVELS.next_multiple_of(stride)..=BINS).step_by(stride);
        tried
            .map(|bins| (of(bins), bins))
            .fold((f64::INFINITY, BINS), |a, b| if b.0 <= a.0 { b } else { a })
            .1
    }

    /// Of codes that reach over so many bins: even in each bin within, the distance to the end beyond.
    fn squared_error(&self, bins: usize) -> f64 {
        let step = bins as f64 / LEVELS as f64;
        let error = |(bin, count): (usize, &u64)| {
            let middle = bin as f64 + 0.5;
            let level = (middle / step).round_ties_even().min(LEVELS as f64);
            let off = middle - level * step;
            let within = if step < 1.0 { step * step / 12.0 } else { off * off };
            *count as f64 * if middle > bins as f64 { off * off } else { within }
        };
        self.counts.iter().enumerate().map(error).sum()
    }

    fn divergence(&self, bins: usize) -> f64 {
        let beyond: u64 = self.counts[bins..].iter().sum();
        let total: u64 = self.counts.iter().sum();
        let mut sum = 0.0;
        let mut told_in_all = 0.0;
        let levels = (LEVELS + 1).min(bins);
        let mut told = vec![0.0; bins];
        for level in 0..levels {
            let of_level = level * bins / levels..(level + 1) * bins / levels;
            let own = &self.counts[of_level.clone()];
            let filled = own.iter().filter(|count| **count > 0).count();
            let even = own.iter().sum::<u64>() as f64 / filled.max(1) as f64;
            for bin in of_level {
                told[bin] = if self.counts[bin] > 0 { even } else { 0.0 };
                told_in_all += told[bin];
            }
        }
        for (bin, told) in told.iter().enumerate() {
            let seen = self.counts[bin] + if bin + 1 == bins { beyond } else { 0 };
            if seen > 0 {
                let seen = seen as f64 / total as f64;
                sum += seen * (seen / (told / f64::max(told_in_all, 1.0)).max(1e-9)).ln();
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell around zero and, once in a while, one far out.
    fn bell() -> Magnitudes {
        let mut magnitudes = Magnitudes::up_to(20.0);
        let mut state = 9u32;
        let mut even = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        (0..40_000).for_each(|_| magnitudes.add((0..12).map(|_| even()).sum::<f32>() - 6.0));
        magnitudes.add(-20.0);
        magnitudes
    }

    #[test]
    fn one_far_out_does_not_stretch_what_looks_at_all() {
        let bell = bell();
        assert_eq!(bell.reach(Reach::Largest), 20.0);
        for by in [Reach::Share { part: 0.9999 }, Reach::Entropy] {
            let reach = bell.reach(by);
            assert!(reach > 2.0 && reach < 8.0, "{by:?}: {reach}");
        }
        // Its distance counts squared: some of the way is worth the coarser steps.
        let reach = bell.reach(Reach::SquaredError);
        assert!(reach > 8.0 && reach < 18.0, "{reach}");
        let bins = (reach / 20.0 * BINS as f32) as usize;
        let error = bell.squared_error(bins);
        assert!(error < bell.squared_error(bins / 2) && error < bell.squared_error(BINS));
    }

    #[test]
    fn even_numbers_are_reached_whole() {
        let mut even = Magnitudes::up_to(1.0);
        (0..BINS * 8).for_each(|n| even.add(n as f32 / (BINS * 8) as f32));
        for by in [Reach::Share { part: 1.0 }, Reach::Entropy, Reach::SquaredError] {
            assert!(even.reach(by) > 0.97, "{by:?}: {}", even.reach(by));
        }
    }
}
