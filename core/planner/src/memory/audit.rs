//! What was predicted beside what was measured, and what is learned from the difference.
//! Knows figures; must not know engines or files.

use super::MemoryEstimate;
use crate::Backend;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One part of an audit, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// As the plan had it.
    pub predicted_bytes: u64,
    /// As the engine has it.
    pub actual_bytes: u64,
}

impl Part {
    /// actual ÷ predicted; 1 where nothing was predicted.
    pub fn ratio(&self) -> f64 {
        if self.predicted_bytes == 0 { 1.0 } else { self.actual_bytes as f64 / self.predicted_bytes as f64 }
    }
}

/// Predicted and actual memory of one loaded model and a context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryAudit {
    /// What computes.
    pub backend: Backend,
    /// The model's architecture, as GGUF names it.
    pub architecture: String,
    /// Weights.
    pub weights: Part,
    /// Caches and recurrent states.
    pub kv: Part,
    /// Buffers for computing.
    pub compute: Part,
    /// The same as the formula alone predicts them: what is learned is learned of it, not of what was learned before.
    pub formula_compute_bytes: u64,
    /// Growth of the process's resident memory since before the load, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<Part>,
}

/// What the computation's buffers of models of one architecture on one backend take beside what is predicted: the mean and
/// the spread of the logarithm of actual ÷ predicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Residual {
    /// Audits behind it.
    pub n: u32,
    /// Mean of the logarithms.
    pub mean: f64,
    /// Sum of their squared distances from the mean.
    pub squares: f64,
}

/// Widest correction that is believed: half and double.
const MOST: f64 = std::f64::consts::LN_2;
/// Of a normal distribution 99 in 100 lie below the mean plus so many deviations.
const P99_DEVIATIONS: f64 = 2.326;
/// Spread of the logarithm before anything was measured, which counts as one audit.
const PRIOR_SPREAD: f64 = 0.05;

impl Residual {
    /// Takes an audit in.
    pub fn learn(&mut self, part: Part) {
        let log = part.ratio().max(1e-3).ln().clamp(-MOST, MOST);
        self.n = self.n.saturating_add(1);
        let before = log - self.mean;
        self.mean += before / f64::from(self.n);
        self.squares += before * (log - self.mean);
    }

    /// The spread of the logarithm.
    pub fn spread(&self) -> f64 {
        ((PRIOR_SPREAD * PRIOR_SPREAD + self.squares) / (f64::from(self.n) + 1.0)).sqrt()
    }

    /// Moves the buffers for computing by what was learned, and allows for its spread. One audit does not narrow an
    /// interval; it moves it. Weights and caches are exact and stay as they are, and what admission counts for computing
    /// never falls below the low end that the formula gives.
    pub(super) fn correct(&self, estimate: &mut MemoryEstimate) {
        if self.n == 0 {
            return;
        }
        let moved = |bytes: u64, log: f64| (bytes as f64 * log.clamp(-MOST, MOST).exp()) as u64;
        let compute = estimate.compute_bytes;
        let expected = moved(compute, self.mean);
        let width = if self.n < 3 { 1.0 } else { 0.0 };
        let [low, high] = estimate.compute_interval_bytes;
        let (below, above) = (compute.saturating_sub(low), high.saturating_sub(compute));
        let spread = moved(compute, self.mean + P99_DEVIATIONS * self.spread()).saturating_sub(expected);
        let above_now = spread.max((above as f64 * width) as u64).max(low.saturating_sub(expected));
        let below_now = spread.max((below as f64 * width) as u64);
        estimate.compute_bytes = expected;
        estimate.compute_interval_bytes =
            [expected.saturating_sub(below_now), expected.saturating_add(above_now)];
        estimate.uncertainty_bytes =
            estimate.uncertainty_bytes.saturating_sub(above).saturating_add(above_now);
        if estimate.device_compute_bytes > 0 {
            let device = moved(estimate.device_compute_bytes, self.mean);
            estimate.device_bytes =
                estimate.device_bytes.saturating_sub(estimate.device_compute_bytes).saturating_add(device);
            estimate.device_compute_bytes = device;
        }
    }
}

/// What was learned, by backend and architecture. Whoever keeps measurements keeps these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Residuals(BTreeMap<String, Residual>);

impl Residuals {
    /// Takes an audit in.
    pub fn learn(&mut self, audit: &MemoryAudit) {
        let part =
            Part { predicted_bytes: audit.formula_compute_bytes, actual_bytes: audit.compute.actual_bytes };
        self.0.entry(key(audit.backend, &audit.architecture)).or_default().learn(part);
    }

    /// Whether nothing was learned yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is known of models of `architecture` on `backend`.
    pub fn of(&self, backend: Backend, architecture: &str) -> Option<&Residual> {
        self.0.get(&key(backend, architecture))
    }
}

fn key(backend: Backend, architecture: &str) -> String {
    format!("{}/{architecture}", backend.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(predicted_bytes: u64, actual_bytes: u64) -> MemoryAudit {
        let compute = Part { predicted_bytes, actual_bytes };
        MemoryAudit {
            backend: Backend::Cpu,
            architecture: "qwen3".into(),
            weights: Part::default(),
            kv: Part::default(),
            compute,
            formula_compute_bytes: predicted_bytes,
            resident: None,
        }
    }

    fn estimate() -> MemoryEstimate {
        MemoryEstimate {
            compute_bytes: 1000,
            formula_compute_bytes: 1000,
            compute_interval_bytes: [900, 1300],
            uncertainty_bytes: 300,
            ..MemoryEstimate::default()
        }
    }

    #[test]
    fn audits_move_the_estimate_and_many_alike_narrow_it() {
        let mut residuals = Residuals::default();
        residuals.learn(&audit(1000, 1100));
        assert!(residuals.of(Backend::Vulkan, "qwen3").is_none());
        let mut moved = estimate();
        residuals.of(Backend::Cpu, "qwen3").expect("learned").correct(&mut moved);
        assert!((1099..=1101).contains(&moved.compute_bytes), "{moved:?}");
        assert!(moved.uncertainty_bytes >= 300, "{moved:?}");
        for _ in 0..50 {
            residuals.learn(&audit(1000, 1100));
        }
        let mut narrow = estimate();
        residuals.of(Backend::Cpu, "qwen3").expect("learned").correct(&mut narrow);
        assert!(narrow.uncertainty_bytes < 50, "{narrow:?}");
        let text = serde_json::to_string(&residuals).expect("serializes");
        assert_eq!(serde_json::from_str::<Residuals>(&text).expect("reads"), residuals);
    }

    #[test]
    fn admission_never_counts_less_than_the_formula_is_sure_of() {
        let mut residuals = Residuals::default();
        for _ in 0..50 {
            residuals.learn(&audit(1000, 600));
        }
        let mut moved = estimate();
        residuals.of(Backend::Cpu, "qwen3").expect("learned").correct(&mut moved);
        assert!((599..=601).contains(&moved.compute_bytes), "{moved:?}");
        assert!(moved.total_bytes() >= 900 && moved.compute_interval_bytes[1] >= 900, "{moved:?}");
    }

    #[test]
    fn what_was_corrected_is_not_learned_again() {
        let mut residuals = Residuals::default();
        for _ in 0..3 {
            let mut planned = estimate();
            residuals.of(Backend::Cpu, "qwen3").into_iter().for_each(|known| known.correct(&mut planned));
            let compute = Part { predicted_bytes: planned.compute_bytes, actual_bytes: 1100 };
            residuals.learn(&MemoryAudit { compute, ..audit(planned.formula_compute_bytes, 0) });
        }
        let mean = residuals.of(Backend::Cpu, "qwen3").expect("learned").mean;
        assert!((mean.exp() - 1.1).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn nonsense_is_not_believed() {
        let mut residuals = Residuals::default();
        residuals.learn(&audit(1, u64::MAX));
        let mut moved = estimate();
        residuals.of(Backend::Cpu, "qwen3").expect("learned").correct(&mut moved);
        assert!(moved.compute_bytes <= 2001, "{moved:?}");
    }
}
