//! From what was seen of a tensor to the range that eight bits span. Owns the methods; knows histograms, no graph.
//! Sources: TensorRT's entropy calibration (Migacz, "8-bit inference with TensorRT", 2017) over all bins rather than 128 of them;
//! least squares over both ends.

use crate::quantize::record::{BINS, TensorStat};

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RangeMethod {
    /// Everything that was seen.
    MinMax,
    /// All but this part of what was seen (0.001 for a thousandth), half at each end where both signs occur.
    Percentile(f64),
    /// Least divergence between what was seen and what remains of it.
    Entropy,
    /// Least squared error.
    Mse,
}

/// Steps of the search along each end.
const STEPS: usize = 36;
/// The least part of an end that is tried.
const LEAST: f64 = 0.3;

/// Least and largest value that can be told apart afterwards; zero lies between them. `symmetric` makes both ends equal.
pub(crate) fn range(stat: &TensorStat, method: RangeMethod, symmetric: bool) -> (f32, f32) {
    let (min, max) = (stat.min.min(0.0), stat.max.max(0.0));
    if max <= min {
        return (0.0, 1.0);
    }
    let (low, high) = match method {
        RangeMethod::MinMax => (min, max),
        RangeMethod::Percentile(part) => percentile(stat, part),
        RangeMethod::Entropy => entropy(stat, symmetric),
        RangeMethod::Mse => mse(stat, symmetric),
    };
    let (low, high) = (low.clamp(min, 0.0), high.clamp(0.0, max));
    if symmetric {
        let bound = high.max(-low);
        (-bound, bound)
    } else {
        (low, high)
    }
}

fn bin_width(stat: &TensorStat) -> f64 {
    f64::from(stat.max - stat.min) / BINS as f64
}

fn edge(stat: &TensorStat, bin: usize) -> f32 {
    (f64::from(stat.min) + bin as f64 * bin_width(stat)) as f32
}

fn percentile(stat: &TensorStat, part: f64) -> (f32, f32) {
    let total: u64 = stat.histogram.iter().sum();
    let ends = if stat.min < 0.0 { 2.0 } else { 1.0 };
    let cut = (part / ends * total as f64) as u64;
    let reach = |bins: &mut dyn Iterator<Item = &u64>| {
        let mut sum = 0;
        bins.take_while(|&&count| {
            sum += count;
            sum <= cut
        })
        .count()
    };
    let low = if stat.min < 0.0 { reach(&mut stat.histogram.iter()) } else { 0 };
    let high = reach(&mut stat.histogram.iter().rev());
    (edge(stat, low), edge(stat, BINS - high))
}

/// Squared error of what was seen, for a range: rounding inside, distance outside.
fn squared_error(stat: &TensorStat, low: f64, high: f64) -> f64 {
    let scale = (high - low) / 255.0;
    let zero = (-low / scale).round();
    let width = bin_width(stat);
    let mut error = 0.0;
    for (bin, &count) in stat.histogram.iter().enumerate() {
        if count == 0 {
            continue;
        }
        let value = f64::from(stat.min) + (bin as f64 + 0.5) * width;
        let level = ((value / scale).round_ties_even() + zero).clamp(0.0, 255.0);
        let inside = level > 0.0 && level < 255.0;
        // Where bins are narrower than levels, a bin's middle says where in its level it lies; else levels are even in it.
        let distance = (level - zero) * scale - value;
        let squared = if inside && width > scale { scale * scale / 12.0 } else { distance * distance };
        error += count as f64 * squared;
    }
    error
}

fn mse(stat: &TensorStat, symmetric: bool) -> (f32, f32) {
    let (min, max) = (f64::from(stat.min.min(0.0)), f64::from(stat.max.max(0.0)));
    let parts = || (0..STEPS).map(|step| LEAST + (1.0 - LEAST) * step as f64 / (STEPS - 1) as f64);
    let mut best = (f64::INFINITY, min, max);
    for high in parts() {
        let lows: Vec<f64> = if min < 0.0 && !symmetric { parts().collect() } else { vec![high] };
        for low in lows {
            let (mut low, mut high) = (min * low, max * high);
            if symmetric {
                high = high.max(-low);
                low = -high;
            }
            let error = squared_error(stat, low, high);
            if error <= best.0 {
                best = (error, low, high);
            }
        }
    }
    (best.1 as f32, best.2 as f32)
}

/// The shortest distance from what was seen, clipped, to its 256 levels; both ends shrink together.
fn entropy(stat: &TensorStat, symmetric: bool) -> (f32, f32) {
    let (min, max) = (f64::from(stat.min.min(0.0)), f64::from(stat.max.max(0.0)));
    let mut best = (f64::INFINITY, min, max);
    for step in 0..STEPS {
        let part = LEAST + (1.0 - LEAST) * step as f64 / (STEPS - 1) as f64;
        let (mut low, mut high) = (min * part, max * part);
        if symmetric {
            high = high.max(-low);
            low = -high;
        }
        let divergence = divergence(stat, low, high);
        if divergence <= best.0 {
            best = (divergence, low, high);
        }
    }
    (best.1 as f32, best.2 as f32)
}

fn divergence(stat: &TensorStat, low: f64, high: f64) -> f64 {
    let width = bin_width(stat);
    let bin = |value: f64| (((value - f64::from(stat.min)) / width) as usize).min(BINS - 1);
    let (first, last) = (bin(low), bin(high));
    let mut clipped: Vec<f64> = stat.histogram[first..=last].iter().map(|&count| count as f64).collect();
    let outside = |bins: &[u64]| bins.iter().sum::<u64>() as f64;
    let n = clipped.len();
    let original = clipped.clone();
    clipped[0] += outside(&stat.histogram[..first]);
    clipped[n - 1] += outside(&stat.histogram[last + 1..]);
    let mut coarse = vec![0.0; n];
    for level in 0..256usize.min(n) {
        let (from, to) = (level * n / 256usize.min(n), (level + 1) * n / 256usize.min(n));
        let filled = original[from..to].iter().filter(|&&count| count > 0.0).count();
        let sum: f64 = original[from..to].iter().sum();
        for at in from..to {
            coarse[at] = if original[at] > 0.0 { sum / filled as f64 } else { 0.0 };
        }
    }
    let (total, coarse_total) = (clipped.iter().sum::<f64>(), coarse.iter().sum::<f64>().max(1e-30));
    let term = |(&p, &q): (&f64, &f64)| {
        let (p, q) = (p / total, (q / coarse_total).max(1e-9));
        if p > 0.0 { p * (p / q).ln() } else { 0.0 }
    };
    clipped.iter().zip(&coarse).map(term).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell around zero with one value far out.
    fn outlier() -> TensorStat {
        let mut histogram = vec![0; BINS];
        for (bin, count) in histogram.iter_mut().enumerate() {
            let x = (bin as f64 / BINS as f64 * 20.0 - 10.0) / 0.8;
            *count = (1e6 * (-x * x / 2.0).exp()) as u64;
        }
        histogram[BINS - 1] += 1;
        TensorStat {
            shape: vec![1, 1],
            min: -10.0,
            max: 10.0,
            channel_mean: vec![],
            column_mean: vec![],
            histogram,
        }
    }

    #[test]
    fn all_methods_hold_zero_and_some_leave_the_outlier() {
        let stat = outlier();
        assert_eq!(range(&stat, RangeMethod::MinMax, false), (-10.0, 10.0));
        for method in [RangeMethod::Percentile(0.001), RangeMethod::Entropy, RangeMethod::Mse] {
            let (low, high) = range(&stat, method, false);
            assert!(low < -1.0 && high > 1.0 && high < 8.0, "{method:?}: {low} {high}");
            let (low, high) = range(&stat, method, true);
            assert_eq!(low, -high);
        }
    }

    #[test]
    fn the_squared_error_is_least_where_it_was_found() {
        let stat = outlier();
        let (low, high) = mse(&stat, false);
        let found = squared_error(&stat, low.into(), high.into());
        for (low, high) in [(-10.0, 10.0), (-2.0, 2.0), (-10.0, 4.0)] {
            assert!(found <= squared_error(&stat, low, high));
        }
    }

    #[test]
    fn a_constant_tensor_has_a_range() {
        let stat = TensorStat { min: 0.0, max: 0.0, histogram: vec![0; BINS], ..outlier() };
        assert_eq!(range(&stat, RangeMethod::Mse, false), (0.0, 1.0));
    }
}
