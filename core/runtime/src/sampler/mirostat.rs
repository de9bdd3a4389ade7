//! Mirostat: keeps the surprise of the text near a target (Basu et al. 2020, arXiv:2007.14966), as llama.cpp computes it.
//! Owns the state from token to token; must not draw.

use super::candidates::Candidates;
use super::filters;
use crate::sampling::{Mirostat, MirostatVersion};

/// How many of the likeliest tokens tell the slope of the distribution.
const SLOPE_TOKENS: usize = 100;

/// Steering towards a surprise.
#[derive(Debug)]
pub(super) struct Steering {
    settings: Mirostat,
    /// Most surprise that is let through, in bits.
    limit_bits: f64,
}

impl Steering {
    pub(super) fn new(settings: Mirostat) -> Self {
        Self { settings, limit_bits: 2.0 * f64::from(settings.target_bits) }
    }

    /// Leaves the tokens that may be drawn, of a vocabulary of `n_vocab`.
    pub(super) fn limit(&self, candidates: &mut Candidates, n_vocab: usize) {
        candidates.sort();
        let shares = candidates.probabilities();
        let kept = match self.settings.version {
            MirostatVersion::One => self.count_by_slope(&shares, n_vocab),
            MirostatVersion::Two => {
                shares.iter().take_while(|share| -share.log2() <= self.limit_bits).count()
            }
        };
        filters::top_k(candidates, kept.max(1));
    }

    /// Learns from the share of the token that was drawn.
    pub(super) fn learn(&mut self, share: f64) {
        let error_bits = -share.log2() - f64::from(self.settings.target_bits);
        self.limit_bits -= f64::from(self.settings.learning_rate) * error_bits;
    }

    /// How many tokens make up the limit, if the shares fall as Zipf's law says.
    fn count_by_slope(&self, shares: &[f64], n_vocab: usize) -> usize {
        let (mut products, mut squares) = (0.0, 0.0);
        for (index, pair) in shares.windows(2).take(SLOPE_TOKENS - 1).enumerate() {
            let t = ((index + 2) as f64 / (index + 1) as f64).ln();
            products += t * (pair[0] / pair[1]).ln();
            squares += t * t;
        }
        let slope = products / squares;
        let excess = slope - 1.0;
        let numerator = excess * self.limit_bits.exp2();
        let count = (numerator / (1.0 - (n_vocab as f64).powf(-excess))).powf(1.0 / slope);
        // Not a number for one token or a flat distribution: then all are as good.
        if count.is_nan() { shares.len() } else { count as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(shares: &[f32]) -> Candidates {
        let mut candidates = Candidates::new();
        candidates.fill(&shares.iter().map(|share| share.ln()).collect::<Vec<_>>());
        candidates
    }

    #[test]
    fn tokens_more_surprising_than_the_limit_go() {
        // Surprises of 1, 2, 3 and 3 bits.
        let kept = |target_bits| {
            let steering = Steering::new(Mirostat { target_bits, ..Mirostat::default() });
            let mut candidates = candidates(&[0.5, 0.25, 0.125, 0.125]);
            steering.limit(&mut candidates, 4);
            candidates.len()
        };
        assert_eq!([kept(0.1), kept(0.55), kept(1.05), kept(1.6)], [1, 1, 2, 4]);
    }

    #[test]
    fn the_limit_follows_the_error() {
        let mut steering =
            Steering::new(Mirostat { target_bits: 3.0, learning_rate: 0.5, ..Mirostat::default() });
        steering.learn(0.5); // 1 bit, 2 fewer than wanted
        assert_eq!(steering.limit_bits, 7.0);
        steering.learn(1.0 / 32.0); // 5 bits, 2 more than wanted
        assert_eq!(steering.limit_bits, 6.0);
    }

    /// Shares that fall as 1/rank²: slope 2, so k = √(2^limit / (1 - 1/n)).
    #[test]
    fn the_slope_tells_how_many_tokens_make_up_the_limit() {
        let total: f32 = (1..=1000).map(|rank| 1.0 / (rank * rank) as f32).sum();
        let shares: Vec<f32> = (1..=1000).map(|rank| 1.0 / (rank * rank) as f32 / total).collect();
        let settings = Mirostat { version: MirostatVersion::One, target_bits: 3.0, ..Mirostat::default() };
        let mut candidates = candidates(&shares);
        Steering::new(settings).limit(&mut candidates, 1000);
        assert_eq!(candidates.len(), 8); // √(64 / 0.999) = 8.004
    }

    #[test]
    fn a_single_token_and_a_flat_distribution_are_left_alone() {
        let settings = Mirostat { version: MirostatVersion::One, ..Mirostat::default() };
        for shares in [vec![1.0], vec![0.25; 4]] {
            let mut candidates = candidates(&shares);
            Steering::new(settings).limit(&mut candidates, shares.len());
            assert!((1..=shares.len()).contains(&candidates.len()));
        }
    }
}
