//! Types of the cache from the best to the smallest, with what each costs in quality as measured.
//! Owns the measured table; must not know memory.

use crate::Candidate;
use crate::memory::CacheTypes;
use families::{Description, Form};
use formats::gguf::GgmlType;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// From this many tokens on values may have fewer than eight bits: below, their cache is small beside the weights.
const LONG_CONTEXT_TOKENS: u64 = 8192;

/// A step down from halves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct KvStep {
    #[serde(flatten)]
    pub(crate) types: CacheTypes,
    /// On each model that was measured.
    measured: Vec<MeasuredKv>,
}

/// What a type of the cache cost on one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredKv {
    /// The model.
    pub model: String,
    /// Mean KL divergence of the next token from that with a cache of halves, in nats.
    pub kld_mean: f64,
    /// Its standard error over chunks of text.
    pub standard_error: f64,
}

impl KvStep {
    /// The worst that was measured; `None` for halves, from which all are measured.
    pub(crate) fn worst(&self) -> Option<&MeasuredKv> {
        self.measured.iter().max_by(|one, other| one.kld_mean.total_cmp(&other.kld_mean))
    }

    /// Divergence and where it was measured, as a clause.
    pub(crate) fn text(&self) -> String {
        self.worst().map_or_else(String::new, |worst| {
            let MeasuredKv { model, kld_mean, standard_error } = worst;
            let others = self.measured.len() - 1;
            format!(
                "divergence {kld_mean:.5} ± {standard_error:.5} from it on {model}, the worst of {} measured",
                others + 1
            )
        })
    }
}

/// The steps of a candidate: one, where its engine keeps caches as it does.
pub(crate) fn steps_of(candidate: &Candidate, context_tokens: u64) -> Vec<KvStep> {
    match candidate.cache {
        Some(own) => vec![KvStep { types: CacheTypes::both(own.ty), measured: Vec::new() }],
        None => steps(&candidate.description, context_tokens),
    }
}

/// A type that the cache of a choice can have, its bytes and what it costs in quality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CacheStep {
    /// Type of cached keys, as ggml names it.
    pub type_k: &'static str,
    /// Type of cached values, as ggml names it.
    pub type_v: &'static str,
    /// Bytes of caches and states with it, in the context of the choice.
    pub kv_bytes: u64,
    /// The worst that was measured of it; `None` for halves, from which the others are measured.
    pub measured: Option<MeasuredKv>,
    /// Whether the choice has it.
    pub is_chosen: bool,
}

/// Every step for a context of `context_tokens`, halves first.
pub(crate) fn stated(
    description: &Description,
    context_tokens: u64,
    n_ubatch: u64,
    chosen: CacheTypes,
) -> Vec<CacheStep> {
    let stated = |step: KvStep| {
        Some(CacheStep {
            type_k: step.types.k.name(),
            type_v: step.types.v.name(),
            kv_bytes: step.types.bytes(description, context_tokens, n_ubatch)?,
            measured: step.worst().cloned(),
            is_chosen: step.types == chosen,
        })
    };
    steps(description, context_tokens).into_iter().filter_map(stated).collect()
}

#[derive(Deserialize)]
struct Table {
    step: Vec<KvStep>,
}

static STEPS: LazyLock<Vec<KvStep>> = LazyLock::new(|| {
    let table: Table = serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/kv_precision.json")))
        .expect("the built-in table parses: a test reads it");
    table.step
});

/// The steps that `description` can take for a context of `context_tokens`, halves first.
pub(crate) fn steps(description: &Description, context_tokens: u64) -> Vec<KvStep> {
    let is_long = context_tokens >= LONG_CONTEXT_TOKENS;
    let keeps = description.form != Form::Encoder;
    let allowed = |step: &&KvStep| {
        let whole = step.types == CacheTypes::F16;
        let eight = step.types == CacheTypes::both(GgmlType::Q8_0);
        whole || (keeps && (eight || is_long) && step.types.fit(description, true))
    };
    STEPS.iter().filter(allowed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3(head_dim: u64) -> Description {
        let config = serde_json::json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": head_dim,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        families::detect_config(&config).expect("a whole configuration")
    }

    fn names(description: &Description, context: u64) -> Vec<String> {
        steps(description, context).iter().map(|step| step.types.text()).collect()
    }

    #[test]
    fn fewer_bits_come_with_long_contexts_and_never_below_four() {
        assert_eq!(names(&qwen3(128), 4096), ["F16", "Q8_0"]);
        let long = names(&qwen3(128), 32768);
        assert_eq!(long[..3], ["F16", "Q8_0", "Q8_0 keys, Q5_1 values"]);
        let bits = |step: &KvStep| step.types.k.bits_per_weight() + step.types.v.bits_per_weight();
        let steps = steps(&qwen3(128), 32768);
        assert!(steps.iter().all(|step| step.types.v.bits_per_weight() >= 4.0));
        assert!(steps.is_sorted_by(|a, b| bits(a) >= bits(b)), "{long:?}");
        let worst = |step: &KvStep| step.worst().map_or(0.0, |worst| worst.kld_mean);
        assert!(steps.is_sorted_by(|a, b| worst(a) <= worst(b)), "{steps:?}");
        // Every step was measured on every model.
        let models = |step: &KvStep| -> Vec<String> {
            step.measured.iter().map(|measured| measured.model.clone()).collect()
        };
        assert!(models(&steps[0]).is_empty() && models(&steps[1]).len() == 3);
        assert!(steps[1..].iter().all(|step| models(step) == models(&steps[1])), "{steps:?}");
    }

    #[test]
    fn every_step_is_stated_with_its_bytes_and_its_cost() {
        let chosen = CacheTypes::both(GgmlType::Q8_0);
        let stated = stated(&qwen3(128), 32768, 512, chosen);
        assert_eq!(stated.len(), 7);
        // 36 layers, 8 heads of 128, keys and values.
        let values = 36 * 8 * 128 * 32768;
        assert_eq!(stated[0].kv_bytes, 2 * values * 2);
        assert_eq!(stated[1].kv_bytes, 2 * values * 34 / 32);
        assert_eq!(stated[0].measured, None);
        assert!(stated[1..].iter().all(|step| step.measured.as_ref().is_some_and(|one| one.kld_mean > 0.0)));
        let chosen: Vec<&str> = stated.iter().filter(|step| step.is_chosen).map(|step| step.type_v).collect();
        assert_eq!(chosen, ["Q8_0"]);
    }

    #[test]
    fn heads_that_blocks_do_not_divide_stay_in_halves() {
        assert_eq!(names(&qwen3(80), 32768), ["F16"]);
    }
}
