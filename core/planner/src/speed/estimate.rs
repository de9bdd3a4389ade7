//! Speeds as ranges, and how well they are founded. Owns the shapes of answers; must not compute them.

use crate::Evidence;
use serde::Serialize;

/// Standard deviations between the middle and either end of an interval that holds four of five: 10 % lie on each side.
const EIGHTY_PERCENT: f64 = 1.2816;

/// A time, with its uncertainty as a factor.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prediction {
    /// Milliseconds, as expected: as likely more as less.
    pub milliseconds: f64,
    /// Standard deviation of the logarithm.
    pub deviation: f64,
    /// The part of it that comes from the processor's numbers, which other backends share where the processor computes what
    /// they do not hold.
    pub(super) shared_deviation: f64,
    /// How well it is founded.
    pub evidence: Evidence,
}

impl Prediction {
    /// Milliseconds that 10 % and 90 % are expected to stay below.
    pub fn interval(&self) -> [f64; 2] {
        let factor = (self.deviation * EIGHTY_PERCENT).exp();
        [self.milliseconds / factor, self.milliseconds * factor]
    }

    /// The deviation without what is shared.
    pub(super) fn own_deviation(&self) -> f64 {
        (self.deviation.powi(2) - self.shared_deviation.powi(2)).max(0.0).sqrt()
    }

    /// Tokens per second if the time is that of `n_tokens`: the slow end (10 % are slower), the middle, the fast end.
    pub fn tokens_per_s(&self, n_tokens: f64) -> [f64; 3] {
        let [fast, slow] = self.interval();
        [slow, self.milliseconds, fast].map(|milliseconds| n_tokens * 1e3 / milliseconds.max(1e-9))
    }
}

/// Expected speed of a configuration. Ranges hold four of five: 10 % lie beyond each end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SpeedEstimate {
    /// Slowest and fastest that is expected when writing, in tokens per second, at the start.
    pub decode_tokens_per_s: [f64; 2],
    /// The same after minutes of work, where heat slows the machine down.
    pub sustained_tokens_per_s: [f64; 2],
    /// Slowest and fastest that is expected when reading a prompt, in tokens per second.
    pub prefill_tokens_per_s: [f64; 2],
    /// Seconds to the first token of an answer to a prompt of the usual length, the model being loaded: low and high.
    pub first_token_s: [f64; 2],
    /// The same with loading the model from its disk before; `None` where the disk is unknown.
    pub first_token_cold_s: Option<[f64; 2]>,
    /// Tokens of that prompt.
    pub prompt_tokens: u32,
    /// How well all that is founded.
    pub evidence: Evidence,
}
