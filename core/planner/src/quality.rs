//! Quality as a number: measured KL divergence, else a prior by precision.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

#[derive(Deserialize)]
struct Priors {
    kld_mean: BTreeMap<String, f64>,
}

static PRIORS: LazyLock<Priors> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/precision_priors.json")))
        .expect("the built-in table parses: a test reads it")
});

/// Mean KL divergence from the unquantized model, in nats, with an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QualityEstimate {
    /// The figure.
    pub kld_mean: f64,
    /// Where it may lie.
    pub interval: [f64; 2],
    /// Measured on this variant, or guessed from its precision.
    pub measured: bool,
}

impl QualityEstimate {
    /// The prior of a precision; what stands behind a `-` counts where it has a prior of its own. An unknown one is taken for
    /// poor.
    pub fn guess(precision: &str) -> Self {
        let name = precision.to_ascii_uppercase();
        let stem = || PRIORS.kld_mean.get(name.split('-').next()?);
        let kld_mean = PRIORS.kld_mean.get(&name).or_else(stem).copied().unwrap_or(3.0);
        Self { kld_mean, interval: [kld_mean / 2.0, kld_mean * 2.0], measured: false }
    }

    /// Whether this is known to be better. Two guesses come from one table, where order is known; anything measured
    /// is better only beyond both intervals.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let apart = self.interval[1] < other.interval[0] || !(self.measured || other.measured);
        apart && self.kld_mean < other.kld_mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bits_are_guessed_to_be_better() {
        let order =
            ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K", "IQ1_S", "unheard-of"];
        let figures: Vec<f64> =
            order.iter().map(|precision| QualityEstimate::guess(precision).kld_mean).collect();
        assert!(figures.is_sorted(), "{figures:?}");
        for (name, like) in
            [("int4-exact", "Q4_0"), ("4bit-g32", "Q4_0"), ("4bit-mixed", "Q4_K_M"), ("x-y", "z")]
        {
            assert_eq!(QualityEstimate::guess(name), QualityEstimate::guess(like), "{name}");
        }
    }

    #[test]
    fn measurements_tie_within_their_intervals() {
        let measured = |kld_mean: f64| QualityEstimate {
            kld_mean,
            interval: [kld_mean - 0.01, kld_mean + 0.01],
            measured: true,
        };
        assert!(!measured(0.020).beats(&measured(0.035)));
        assert!(measured(0.020).beats(&measured(0.045)));
        assert!(!measured(0.045).beats(&measured(0.020)));
        let guess = QualityEstimate::guess("Q4_K_M");
        assert!(!guess.beats(&guess) && QualityEstimate::guess("Q8_0").beats(&guess));
    }
}
