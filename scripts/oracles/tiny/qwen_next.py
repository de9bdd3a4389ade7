"""Qwen3-Next, Qwen3.5 and 3.6: gated delta nets beside gated attention."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

DELTA = dict(num_hidden_layers=5, head_dim=32, linear_conv_kernel_dim=4, linear_key_head_dim=16, linear_value_head_dim=16,
             linear_num_key_heads=2, linear_num_value_heads=6)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=48)


def delta(kind, dtype, model=None, **more):
    return Model(config(kind, **dict(DELTA, **more)), dtype, BYTE_LEVEL, **(model or {}))


MODELS = {
    "qwen3-next": delta("Qwen3NextConfig", BF16, **EXPERTS),
    "qwen3-next-tied": delta("Qwen3NextConfig", F32, **EXPERTS, tie_word_embeddings=True),
    "qwen3.5": delta("Qwen3_5TextConfig", BF16),
    "qwen3.5-tied": delta("Qwen3_5TextConfig", F32, linear_num_value_heads=2, tie_word_embeddings=True),
    "qwen3.5-moe": delta("Qwen3_5MoeTextConfig", BF16, **EXPERTS),
}
