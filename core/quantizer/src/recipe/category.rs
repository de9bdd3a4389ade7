//! What the stock recipe takes a tensor for, judged by its name, and which tensors it never quantizes.
//! Source: `tensor_get_category` and `tensor_allows_quantization` of llama.cpp's `src/llama-quant.cpp`.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
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

impl Category {
    pub(super) fn of(name: &str) -> Self {
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
            "token_embd.weight" | "per_layer_token_embd.weight" => Self::TokenEmbedding,
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
}

/// Tensors that are never quantized, by a part of their name.
const NEVER: [&str; 30] = [
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
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
];
/// The same, by the whole name.
const NEVER_WHOLE: [&str; 2] = ["position_embd.weight", "token_types.weight"];

/// Whether a tensor of this name stays as it is, whatever its shape.
pub(super) fn is_never_quantized(name: &str) -> bool {
    !name.ends_with("weight") || NEVER.iter().any(|part| name.contains(part)) || NEVER_WHOLE.contains(&name)
}
