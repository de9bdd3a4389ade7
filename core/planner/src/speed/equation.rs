//! The equations of time. Decode: t = layers · ℓ + Σ weights · cost(type) / speed + cache / speed; prefill: the same sum per
//! token over a speed of its own, F(n) = F∞ · n / (n + n½). Weights that a device does not hold are computed by the processor,
//! and every layer in which that happens is crossed. Must not know where numbers come from.

use super::classes::CostClass;
use super::parameter::{Parameter, Phase};
use super::work::{Part, Weights, Work, bytes_per_weight};
use formats::gguf::GgmlType;

/// A class with its numbers.
pub(super) struct Unit<'a> {
    pub(super) class: &'a CostClass,
    pub(super) value: &'a dyn Fn(&Parameter) -> f64,
}

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) work: &'a Work,
    pub(super) phase: Phase,
    /// Decode: tokens before this one. Prefill: tokens to read.
    pub(super) n_tokens: f64,
}

/// Milliseconds: of one token when writing, of the whole prompt when reading. `processor` computes what `unit` does not hold.
pub(super) fn milliseconds(question: Question<'_>, unit: &Unit<'_>, processor: &Unit<'_>) -> f64 {
    let Question { work, phase, n_tokens } = question;
    let mut sum = 0.0;
    let mut output = 0.0;
    let mut crossing = 0u32;
    for weights in &work.weights {
        let held = unit.class.holds(weights);
        let by = if held { unit } else { processor };
        let cost = by.weights(phase, weights);
        match (phase, weights.part) {
            (Phase::Prefill, Part::Output) => output += cost,
            (Phase::Decode, _) | (Phase::Prefill, Part::Layers) => sum += cost,
        }
        if !held && weights.part == Part::Layers {
            crossing = crossing.saturating_add(weights.n_matrices);
        }
    }
    let recurs = if unit.class.recurrences { unit } else { processor };
    sum += work.state_elements as f64 * (recurs.value)(&Parameter::State) * 1e-6;
    if !unit.class.recurrences {
        sum += f64::from(work.n_recurrent_layers) * (unit.value)(&Parameter::Recurrence);
    }
    sum += f64::from(crossing.min(work.n_layers)) * (unit.value)(&Parameter::Crossing);
    let fixed = f64::from(work.n_layers) * (unit.value)(&Parameter::Layer);
    match phase {
        Phase::Decode => {
            let cache = work.kv_bytes_per_token as f64 * n_tokens * 1e-6 / (unit.value)(&Parameter::Speed);
            sum + fixed + cache
        }
        Phase::Prefill => (sum + fixed) * (n_tokens + (unit.value)(&Parameter::HalfLength)) + output,
    }
}

impl Unit<'_> {
    /// Milliseconds that these matrices cost per token.
    fn weights(&self, phase: Phase, weights: &Weights) -> f64 {
        let cost = self.class.relative_cost(phase, weights.ty) * (self.value)(&Parameter::Type(weights.ty));
        let narrow = phase == Phase::Prefill && weights.shorter_side < self.class.narrow_below;
        let narrow = if narrow { (self.value)(&Parameter::Narrow) } else { 1.0 };
        // Decode's speed is in bytes of Q4_0, prefill's in weights of it.
        let unit_of_speed = match phase {
            Phase::Decode => bytes_per_weight(GgmlType::Q4_0),
            Phase::Prefill => 1.0,
        };
        weights.n_weights as f64 * cost * narrow * unit_of_speed * 1e-6 / (self.value)(&Parameter::Speed)
    }
}
