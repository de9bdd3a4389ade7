//! Memory that a model and its context take, from shapes alone.
//! Owns the sums; must not know hosts, engines' buffers or recipes.

use crate::{Description, Form, Layer, TensorShape};
use formats::gguf::GgmlType;

/// Bytes of the key-value cache for `n_ctx` tokens of one sequence: per layer with attention, `n_ctx` (at most the
/// sliding window) rows of `n_kv_heads · key_dim` values for K and of `n_kv_heads · value_dim` for V. The engine rounds
/// `n_ctx` up to a multiple of 256 and gives a sliding window room for one batch more: ask with those numbers to
/// predict its buffers. Encoders keep none. `None` where a row does not divide into the type's blocks, or beyond 2^64.
pub fn kv_bytes(description: &Description, n_ctx: u64, type_k: GgmlType, type_v: GgmlType) -> Option<u64> {
    let layers = match description.form {
        Form::Decoder => &description.layers,
        Form::Encoder => return Some(0),
        // The engine counts the encoder's.
        Form::EncoderDecoder => &description.encoder_layers,
    };
    layers.iter().try_fold(0u64, |total, layer| {
        let bound = layer.attention().and_then(|attention| attention.reach.bound());
        let tokens = bound.map_or(n_ctx, |bound| n_ctx.min(bound));
        let (key, value) = layer.cache_row();
        let per_token = type_k.row_bytes(key)?.checked_add(type_v.row_bytes(value)?)?;
        total.checked_add(per_token.checked_mul(tokens)?)
    })
}

/// Bytes of the recurrent states of one sequence, in 32-bit floats as the engine holds them, whatever its length.
pub fn state_bytes(description: &Description) -> u64 {
    description.layers.iter().filter_map(Layer::recurrent).fold(0u64, |total, recurrent| {
        let numbers = recurrent.convolution_len.saturating_add(recurrent.state_len);
        total.saturating_add(numbers.saturating_mul(4))
    })
}

/// Bytes of tensor data when each tensor has the type that `type_of` gives it, without alignment between tensors.
/// `None` where a row does not divide into the type's blocks, or beyond 2^64.
pub fn weights_bytes(shapes: &[TensorShape], type_of: impl Fn(&TensorShape) -> GgmlType) -> Option<u64> {
    shapes.iter().try_fold(0u64, |total, shape| {
        let (&row, rest) = shape.dims.split_first()?;
        let rows = rest.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim))?;
        total.checked_add(type_of(shape).row_bytes(row)?.checked_mul(rows)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attention, Latent, Mixer, Reach, Recurrence, Recurrent};
    use serde_json::json;

    fn qwen3_8b() -> Description {
        let config = json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        crate::detect_config(&config).expect("a whole configuration")
    }

    /// Qwen3-8B's attention with a change.
    fn attention(change: impl FnOnce(&mut Attention)) -> Mixer {
        let mut attention = *qwen3_8b().layers[0].attention().expect("plain attention");
        change(&mut attention);
        Mixer::Attention(attention)
    }

    #[test]
    fn recurrent_layers_hold_a_state_and_no_cache() {
        let mut description = qwen3_8b();
        let kind = Recurrence::Mamba2;
        let recurrent = Recurrent { kind, convolution_len: 100, state_len: 1000 };
        description.layers[0].mixer = Mixer::Recurrent(recurrent);
        assert_eq!(state_bytes(&description), 4400);
        assert_eq!(kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16), Some(147_456 / 36 * 35));
        let latent = Latent { n_heads: 16, kv_rank: 512, rope_dim: 64, indexer_dim: 0 };
        description.layers = vec![Layer { mixer: Mixer::Latent(latent), ..description.layers[0] }];
        assert_eq!(kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16), Some(1152));
    }

    #[test]
    fn qwen3_8b_takes_144_kib_per_token_in_f16() {
        let description = qwen3_8b();
        assert_eq!(kv_bytes(&description, 1, GgmlType::F16, GgmlType::F16), Some(147_456));
        assert_eq!(kv_bytes(&description, 1, GgmlType::Q8_0, GgmlType::Q8_0), Some(147_456 * 17 / 32));
        assert_eq!(kv_bytes(&description, 1, GgmlType::F16, GgmlType::Q4_0), Some(147_456 / 2 * 41 / 32));
        assert_eq!(kv_bytes(&description, u64::MAX, GgmlType::F16, GgmlType::F16), None);
    }

    #[test]
    fn windows_bound_their_layers_and_rows_must_divide() {
        let mut description = qwen3_8b();
        for layer in description.layers.iter_mut().skip(18) {
            layer.mixer = attention(|attention| attention.reach = Reach::Sliding { window: 512 });
        }
        let f16 = |tokens| kv_bytes(&description, tokens, GgmlType::F16, GgmlType::F16);
        assert_eq!(f16(256), Some(256 * 147_456));
        assert_eq!(f16(8192), Some((8192 + 512) * 147_456 / 2));
        description.layers[0].mixer =
            attention(|attention| (attention.n_kv_heads, attention.key_dim) = (1, 80));
        assert_eq!(kv_bytes(&description, 1, GgmlType::Q8_0, GgmlType::F16), None);
    }

    #[test]
    fn weights_follow_the_type_of_each_tensor() {
        let shapes = qwen3_8b().tensor_shapes();
        let f32 = weights_bytes(&shapes, |_| GgmlType::F32);
        assert_eq!(f32, Some(4 * qwen3_8b().parameters.total));
        let q8_0 =
            weights_bytes(&shapes, |shape| if shape.dims.len() > 1 { GgmlType::Q8_0 } else { GgmlType::F32 });
        let bytes = q8_0.expect("every row divides") as f64;
        assert!((bytes / 8.70e9 - 1.0).abs() < 0.005, "{bytes}");
        assert_eq!(weights_bytes(&shapes, |_| GgmlType::Q4_K), None, "head norms have 128 elements");
    }
}
