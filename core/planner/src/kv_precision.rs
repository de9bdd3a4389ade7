//! Types of the cache from the best to the smallest, with what each costs in quality as measured.
//! Owns the measured table; must not know memory.

use crate::memory::CacheTypes;
use families::{Description, Form};
use formats::gguf::GgmlType;
use serde::Deserialize;
use std::sync::LazyLock;

/// From this many tokens on values may have fewer than eight bits: below, their cache is small beside the weights.
const LONG_CONTEXT_TOKENS: u64 = 8192;

/// A step down from halves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct KvStep {
    #[serde(flatten)]
    pub(crate) types: CacheTypes,
    /// Mean KL divergence of the next token from that with a cache of halves, in nats.
    pub(crate) kld_mean: f64,
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
        assert!(steps.is_sorted_by(|a, b| a.kld_mean <= b.kld_mean), "{steps:?}");
    }

    #[test]
    fn heads_that_blocks_do_not_divide_stay_in_halves() {
        assert_eq!(names(&qwen3(80), 32768), ["F16"]);
    }
}
