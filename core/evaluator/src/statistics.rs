//! Means with intervals, quantiles. Knows numbers; must not know what they measure.

use serde::{Deserialize, Serialize};

/// A mean with its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Low and high end of its 95 % confidence interval.
    pub interval: [f64; 2],
}

impl Mean {
    /// The mean of groups of observations, each given as sum and count. Observations of one group hang together (tokens
    /// of one window), so the interval comes from the scatter of the groups: for a ratio of sums, linearised (Cochran,
    /// Sampling Techniques, 6.3), with Student's t. One group alone tells no interval: it is infinite.
    pub fn of_groups(groups: impl Iterator<Item = (f64, usize)> + Clone) -> Self {
        let (sum, count, n) = groups
            .clone()
            .fold((0.0, 0, 0), |(sum, count, n), group| (sum + group.0, count + group.1, n + 1));
        if count == 0 {
            return Self { mean: f64::NAN, interval: [f64::NEG_INFINITY, f64::INFINITY] };
        }
        let mean = sum / count as f64;
        if n < 2 {
            return Self { mean, interval: [f64::NEG_INFINITY, f64::INFINITY] };
        }
        let squares: f64 = groups.map(|(sum, count)| (sum - mean * count as f64).powi(2)).sum();
        let n = n as f64;
        let error = (squares * n / (n - 1.0)).sqrt() / count as f64;
        let reach = error * student(n - 1.0);
        Self { mean, interval: [mean - reach, mean + reach] }
    }

    /// The same of a function that rises throughout.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self { mean: f(self.mean), interval: self.interval.map(f) }
    }

    /// Half the interval's width.
    pub fn reach(&self) -> f64 {
        (self.interval[1] - self.interval[0]) / 2.0
    }
}

/// The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5; within 2 % from 3 degrees of freedom on, exact for 1 and 2).
fn student(degrees: f64) -> f64 {
    const Z: f64 = 1.959_963_984_540_054;
    if degrees < 1.5 {
        return 12.706;
    }
    if degrees < 2.5 {
        return 4.303;
    }
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    Z + (z3 + Z) / (4.0 * degrees)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * degrees.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * degrees.powi(3))
}

/// The `share` quantile (0 to 1) of values in rising order, between neighbours in proportion; NaN of none.
pub fn quantile(sorted: &[f32], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = share.clamp(0.0, 1.0) * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    let part = place - below as f64;
    f64::from(sorted[below]) * (1.0 - part) + f64::from(sorted[above]) * part
}

/// The 95 % interval of a share of `n` independent trials (Wilson, 1927).
pub fn wilson(hits: usize, n: usize) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    if n == 0 {
        return [0.0, 1.0];
    }
    let (share, n) = (hits as f64 / n as f64, n as f64);
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let reach = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(middle - reach).max(0.0), (middle + reach).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_agree_leave_no_doubt_and_others_do() {
        let same = Mean::of_groups([(2.0, 2), (3.0, 3)].into_iter());
        assert_eq!(same, Mean { mean: 1.0, interval: [1.0, 1.0] });
        // Four single observations: the classical interval, t(3) = 3.182.
        let four = Mean::of_groups([(1.0, 1), (2.0, 1), (3.0, 1), (4.0, 1)].into_iter());
        let expected = 3.182 * (5.0f64 / 3.0 / 4.0).sqrt();
        assert!((four.mean - 2.5).abs() < 1e-12 && (four.reach() / expected - 1.0).abs() < 0.02, "{four:?}");
        assert!(Mean::of_groups([(1.0, 10)].into_iter()).interval[1].is_infinite());
    }

    #[test]
    fn students_t_is_the_tables() {
        for (degrees, table) in
            [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (5.0, 2.571), (10.0, 2.228), (100.0, 1.984)]
        {
            assert!((student(degrees) / table - 1.0f64).abs() < 0.02, "{degrees}: {}", student(degrees));
        }
    }

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [0.0, 1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&values, share)), [0.0, 1.5, 4.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn wilsons_interval_is_the_published_one() {
        // 10 of 20: 0.299 to 0.701.
        let [low, high] = wilson(10, 20);
        assert!((low - 0.2993).abs() < 1e-3 && (high - 0.7007).abs() < 1e-3);
        assert!(wilson(0, 10)[0] < 1e-9 && wilson(10, 10)[1] > 1.0 - 1e-9);
    }
}
