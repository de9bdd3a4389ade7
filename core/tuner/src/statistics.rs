//! Medians and the width of what is known of them.

/// Standard error of a median of normal samples, relative to that of their mean: √(π/2).
const MEDIAN_PRICE: f64 = 1.253;

/// The middle of `values`; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// Standard deviation, of at least two values.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
}

/// Samples whose deviation is shared, in weight: a few samples of one arm tell little of how much blocks scatter.
const SHARED_WEIGHT: f64 = 3.0;

/// A median and its standard error. `shared` is the deviation of samples like these, where it is known; of fewer than
/// three samples nothing is known without it (1.0).
pub(crate) fn estimate(samples: &[f64], shared: Option<f64>) -> (f64, f64) {
    let n = samples.len() as f64;
    let own = deviation(samples);
    let deviation = match shared {
        _ if samples.is_empty() => 1.0,
        Some(shared) => {
            let (weight, freedom) = (SHARED_WEIGHT, n - 1.0);
            ((weight * shared.powi(2) + freedom * own.powi(2)) / (weight + freedom)).sqrt()
        }
        None if n > 2.0 => own,
        None => 1.0,
    };
    (median(samples), MEDIAN_PRICE * deviation / n.max(1.0).sqrt())
}

/// The deviation of samples around the median of their own group, over groups; `None` of fewer than three degrees of
/// freedom.
pub(crate) fn shared_deviation<'a>(groups: impl Iterator<Item = &'a [f64]>) -> Option<f64> {
    let (mut squares, mut freedom) = (0.0, 0.0);
    for group in groups.filter(|group| group.len() > 1) {
        squares += deviation(group).powi(2) * (group.len() - 1) as f64;
        freedom += (group.len() - 1) as f64;
    }
    (freedom >= 3.0).then(|| (squares / freedom).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_textbooks() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[4.0, 1.0])), (0.0, 3.0, 2.5));
        assert!((deviation(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) - 2.138).abs() < 1e-3);
        let (middle, error) = estimate(&[1.0, 2.0], None);
        assert_eq!(middle, 1.5);
        assert!((error - MEDIAN_PRICE / 2.0_f64.sqrt()).abs() < 1e-12);
        let (middle, error) = estimate(&[1.0, 2.0, 3.0, 100.0, 2.0], None);
        assert_eq!(middle, 2.0);
        assert!(error > 20.0);
    }
}
