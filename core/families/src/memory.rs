//! Memory that a context takes, from shapes alone.

use crate::{AttentionKind, Description};
use formats::gguf::GgmlType;

/// Bytes of the key-value cache for `n_ctx` tokens: per attention layer, `n_ctx` (at most the sliding window) rows of
/// `n_kv_heads · head_dim` values for K and for V. `None` where a row does not divide into the type's blocks.
pub fn kv_bytes(description: &Description, n_ctx: u64, type_k: GgmlType, type_v: GgmlType) -> Option<u64> {
    let row = u64::from(description.n_kv_heads).checked_mul(description.head_dim.into())?;
    let per_token = type_k.row_bytes(row)?.checked_add(type_v.row_bytes(row)?)?;
    description.layers.iter().try_fold(0u64, |total, layer| {
        let tokens = match layer.attention {
            AttentionKind::Full => n_ctx,
            AttentionKind::Sliding { window } => n_ctx.min(window),
        };
        total.checked_add(per_token.checked_mul(tokens)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn qwen3_8b_takes_144_kib_per_token_in_f16() {
        let config = json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        let description = crate::detect_config(&config).unwrap();
        assert_eq!(kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16), Some(147_456));
        assert_eq!(kv_bytes(&description, 1, GgmlType::Q8_0, GgmlType::Q8_0), Some(147_456 * 17 / 32));
        assert_eq!(kv_bytes(&description, u64::MAX, GgmlType::F16, GgmlType::F16), None);
    }
}
