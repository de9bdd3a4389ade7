//! What the rules may know of a model besides its tensors' names and shapes, read from the metadata.
//! Source: `llama_model_base::load_hparams` and `llama_hparams::n_gqa` of llama.cpp.

use super::exceptions::Exceptions;
use formats::gguf::{Array, Metadata, Value};

/// The model as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Decoder layers, prediction layers included.
    pub(super) n_layers: usize,
    /// Query heads per key-value head in the first layer, 0 where it has none.
    pub(super) gqa_ratio: u64,
    /// Experts, 0 without any.
    pub(super) n_experts: u64,
    /// Whether an importance matrix is at hand.
    pub(super) has_imatrix: bool,
    /// Whether llama.cpp calls the model a 70B one.
    pub(super) is_70b: bool,
    /// Rules of the architecture.
    pub(super) exceptions: &'static Exceptions,
}

impl Shape {
    /// Reads the keys of `general.architecture`; what is missing counts as 0.
    pub(crate) fn of(metadata: &Metadata, has_imatrix: bool) -> Self {
        let architecture = metadata.str("general.architecture").unwrap_or_default();
        let number = |key: &str| metadata.get(&format!("{architecture}.{key}")).and_then(first_number);
        let n_layers = number("block_count").unwrap_or(0);
        let n_experts = number("expert_count").unwrap_or(0);
        let heads = number("attention.head_count").unwrap_or(0);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
        let decoding_layers = n_layers.saturating_sub(number("nextn_predict_layers").unwrap_or(0));
        let exceptions = Exceptions::of(architecture);
        Self {
            n_layers: usize::try_from(n_layers).unwrap_or(usize::MAX),
            gqa_ratio: heads.checked_div(kv_heads).unwrap_or(0),
            n_experts,
            has_imatrix,
            is_70b: exceptions.is_70b(decoding_layers, n_experts, heads != kv_heads),
            exceptions,
        }
    }
}

/// A number, or the first layer's of a list by layer.
fn first_number(value: &Value) -> Option<u64> {
    match value {
        Value::Array(Array::I32(values)) => values.first().and_then(|&n| u64::try_from(n).ok()),
        Value::Array(Array::U32(values)) => values.first().map(|&n| n.into()),
        value => value.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[(&str, Value)], gqa_ratio: u64, is_70b: bool) {
        let mut metadata = Metadata::new();
        for (key, value) in entries {
            metadata.insert(*key, value.clone());
        }
        let shape = Shape::of(&metadata, false);
        assert_eq!((shape.gqa_ratio, shape.is_70b), (gqa_ratio, is_70b), "{entries:?}");
    }

    #[test]
    fn heads_are_read_as_llama_cpp_reads_them() {
        let architecture = |name: &str| ("general.architecture", Value::String(name.into()));
        let heads = |n| ("llama.attention.head_count", Value::U32(n));
        let kv_heads = |n| ("llama.attention.head_count_kv", Value::U32(n));
        let layers = |n| ("llama.block_count", Value::U32(n));
        check(&[architecture("llama"), heads(64), kv_heads(8), layers(80)], 8, true);
        check(&[architecture("llama"), heads(64), kv_heads(64), layers(80)], 1, false);
        check(&[architecture("llama"), heads(64), layers(80)], 1, false);
        check(&[architecture("llama"), heads(64), kv_heads(8), layers(81)], 8, false);
        let mixtral = ("llama.expert_count", Value::U32(8));
        check(&[architecture("llama"), heads(64), kv_heads(8), layers(80), mixtral], 8, false);
        let by_layer = ("lfm2.attention.head_count_kv", Value::Array(Array::I32(vec![0, 8])));
        check(&[architecture("lfm2"), ("lfm2.attention.head_count", Value::U32(32)), by_layer], 0, false);
        check(&[], 0, false);
    }
}
