//! Names to what the recipe distinguishes: a tensor's category, its place in the file, whether it is quantized at all.
//! Source: `tensor_get_category`, `tensor_allows_quantization` of llama.cpp's `src/llama-quant.cpp` and
//! `weight_name_comparer` of its `src/llama-model-loader.h`. Knows names and shapes; must not know types.

/// The broad kinds of tensors that the rules speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Category {
    TokenEmbedding,
    Output,
    Q,
    K,
    V,
    Qkv,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Other,
}

/// The second table of token embeddings, which an override by name may single out.
pub(super) const PER_LAYER_EMBEDDING: &str = "per_layer_token_embd.weight";

impl Category {
    pub(crate) fn of(name: &str) -> Self {
        // The first part that the name contains decides.
        const PARTS: [(&str, Category); 9] = [
            ("attn_qkv.weight", Category::Qkv),
            ("attn_kv_b.weight", Category::V),
            ("attn_v.weight", Category::V),
            ("attn_k.weight", Category::K),
            ("attn_q.weight", Category::Q),
            ("attn_output.weight", Category::AttentionOutput),
            ("ffn_up", Category::FfnUp),
            ("ffn_gate", Category::FfnGate),
            ("ffn_down", Category::FfnDown),
        ];
        match name {
            "output.weight" => Self::Output,
            "token_embd.weight" | PER_LAYER_EMBEDDING => Self::TokenEmbedding,
            _ => PARTS
                .iter()
                .find(|(part, _)| name.contains(part))
                .map_or(Self::Other, |(_, category)| *category),
        }
    }

    /// Value projections, alone or fused, share rules and a counter.
    pub(super) fn holds_values(self) -> bool {
        matches!(self, Self::V | Self::Qkv)
    }

    /// The three matrices of a feed-forward layer or of its experts.
    pub(super) fn is_feed_forward(self) -> bool {
        matches!(self, Self::FfnUp | Self::FfnGate | Self::FfnDown)
    }
}

/// Tensors that are never quantized, by a part of their name.
const NEVER: [&str; 35] = [
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];
/// The same, by the whole name: learned positions and token types of encoders.
const NEVER_WHOLE: [&str; 2] = ["position_embd.weight", "token_types.weight"];

/// Whether the recipe may touch the tensor: a matrix or a stack of them, of no kind that is kept as it is.
/// `never` holds further parts of names, of the model's architecture.
pub(super) fn is_quantizable(name: &str, dims: &[u64], never: &[&str]) -> bool {
    // Trailing extents of 1 do not count as dimensions (`ggml_n_dims`).
    let n_dims = dims.iter().rposition(|&dim| dim > 1).map_or(1, |last| last + 1);
    n_dims >= 2
        && name.ends_with("weight")
        && !NEVER.iter().chain(never).any(|part| name.contains(part))
        && !NEVER_WHOLE.contains(&name)
}

/// The key of the order in which llama.cpp lists tensors: those of no layer first, then layer by layer, by name.
pub(crate) fn order(name: &str) -> (i64, &str) {
    (formats::gguf::layer_of(name).unwrap_or(-1), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_shapes_tell_what_is_quantized() {
        for (name, dims, expected) in [
            ("blk.0.ffn_up.weight", &[64, 64][..], true),
            ("blk.0.ffn_up_exps.weight", &[64, 64, 8], true),
            ("blk.0.ffn_up.weight", &[64], false),
            ("blk.0.ffn_up.weight", &[64, 1, 1], false),
            ("blk.0.ffn_up.weight", &[1, 64], true),
            ("blk.0.ffn_up.bias", &[64, 64], false),
            ("blk.0.attn_q_norm.weight", &[64, 64], false),
            ("blk.0.ssm_conv1d.weight", &[64, 64], false),
            ("position_embd.weight", &[64, 64], false),
            ("a.rvq.codebook.0.weight", &[64, 64], false),
            ("strange.weight", &[64, 64], false),
        ] {
            assert_eq!(is_quantizable(name, dims, &["strange"]), expected, "{name} {dims:?}");
        }
    }

    #[test]
    fn layers_follow_each_other_by_number() {
        let mut names = ["blk.10.a", "output.weight", "blk.2.b", "blk.2.a", "a"];
        names.sort_by(|a, b| order(a).cmp(&order(b)));
        assert_eq!(names, ["a", "output.weight", "blk.2.a", "blk.2.b", "blk.10.a"]);
    }
}
