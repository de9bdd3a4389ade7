//! The inverse of the normal distribution.
//! Owns the formula; must not know what its results are for.

/// Below which number the share `p` of a standard normal distribution lies: -∞ for 0, ∞ for 1, not a number outside.
/// By bisection of the distribution's integral, a series of positive terms (Abramowitz and Stegun 26.2.11).
pub(super) fn of(p: f64) -> f64 {
    match p {
        0.0 => f64::NEG_INFINITY,
        1.0 => f64::INFINITY,
        p if p > 0.0 && p < 0.5 => -above_half(1.0 - p),
        p if (0.5..1.0).contains(&p) => above_half(p),
        _ => f64::NAN,
    }
}

fn above_half(p: f64) -> f64 {
    // Beyond, what remains is less than what a sum near 1 can tell.
    let (mut low, mut high) = (0.0, 8.5);
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if share_below(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The share below `x`, which is at least 0.
fn share_below(x: f64) -> f64 {
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term > sum * 1e-17 {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_shares_lie_where_tables_say() {
        for (p, x) in [
            (0.5, 0.0),
            (0.95, 1.644_853_626_951_472_7),
            (0.975, 1.959_963_984_540_054),
            (0.2, -0.841_621_233_572_914_2),
        ] {
            assert!((of(p) - x).abs() < 1e-13, "{p}: {}", of(p));
        }
        assert_eq!((of(0.0), of(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(of(-0.1).is_nan() && of(f64::NAN).is_nan());
        assert!((of(1e-12) + 7.034_483_8).abs() < 1e-3);
    }
}
