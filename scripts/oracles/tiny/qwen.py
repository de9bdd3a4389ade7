"""Qwen 2 and 3, dense and with experts."""

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, TOKENIZERS, Model, config


def moe(**more):
    return config("Qwen3MoeConfig", **dict(dict(head_dim=32, num_experts=4, num_experts_per_tok=2,
                                                moe_intermediate_size=32, decoder_sparse_step=1, norm_topk_prob=True),
                                           **more))


MODELS = {
    "qwen2": Model(config("Qwen2Config"), BF16, BYTE_LEVEL),
    "qwen2-moe": Model(config("Qwen2MoeConfig", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                              shared_expert_intermediate_size=48), BF16, BYTE_LEVEL, shard="100KB"),
    "qwen3": Model(config("Qwen3Config", head_dim=32, tie_word_embeddings=True), BF16, BYTE_LEVEL),
    "qwen3-untied": Model(config("Qwen3Config", head_dim=32, tie_word_embeddings=False), F32, BYTE_LEVEL, beyond=7),
    "qwen3-bias": Model(config("Qwen3Config", head_dim=16, attention_bias=True), F16, BYTE_LEVEL, runs=False),
    "qwen3-gpt2": Model(config("Qwen3Config", head_dim=16), BF16, TOKENIZERS / "gpt2", beyond=15),
    "qwen3-normalized": Model(config("Qwen3Config", head_dim=16), BF16, BYTE_LEVEL,
                              parts=dict(normalizer=dict(type="NFC"))),
    "qwen3-moe": Model(moe(), BF16, BYTE_LEVEL, shard="100KB"),
    "qwen3-moe-mixed": Model(moe(), BF16, BYTE_LEVEL, shard="100KB", mixed=True),
    "qwen3-moe-tied": Model(moe(tie_word_embeddings=True), F32, BYTE_LEVEL),
}
