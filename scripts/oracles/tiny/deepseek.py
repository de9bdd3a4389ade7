"""DeepSeek V2 to V3.2 and what is built like them: latent attention, indexers, experts in groups, gates of both kinds."""

import json

import torch

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config
from .formats import FORMATS
from .glm import added, with_prediction

LATENT = dict(num_key_value_heads=4, num_hidden_layers=4, kv_lora_rank=32, q_lora_rank=48, qk_rope_head_dim=16,
              qk_nope_head_dim=32, v_head_dim=24, n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=32,
              first_k_dense_replace=1)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=32.0, beta_slow=1.0,
            mscale=0.707, mscale_all_dim=0.707, rope_theta=10000.0)


def biased(model):
    """Selection biases are no parameters."""
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(torch.randn_like(buffer) * 0.05)


def latent(kind, dtype, model=None, **more):
    return Model(config(kind, **dict(LATENT, **more)), dtype, BYTE_LEVEL, weights=biased, **(model or {}))


def stating(**fields):
    """Writes what released configurations state and transformers' classes leave to their code."""
    def saved(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(dict(json.loads(path.read_text()), **fields)))
    return saved


# What released configurations state and transformers' classes leave to their code.
SOFTMAX = dict(scoring_func="softmax", topk_method="greedy", n_shared_experts=2)
SIGMOID = dict(scoring_func="sigmoid", topk_method="noaux_tc", n_group=4, topk_group=2, norm_topk_prob=True)
# The converter asks for GLM's own tokens in the vocabulary.
GLM = dict(parts=dict(added_tokens=added()), beyond=4)
V3 = dict(SIGMOID, n_shared_experts=1, routed_scaling_factor=2.5)

MODELS = {
    "deepseek-v2": latent("DeepseekV2Config", F32, **SOFTMAX, rope_parameters=YARN),
    "deepseek-v2-direct": latent("DeepseekV2Config", BF16, **SOFTMAX, q_lora_rank=None, num_hidden_layers=26,
                                 routed_scaling_factor=1.5),
    "deepseek-v3": latent("DeepseekV3Config", BF16, **V3),
    "deepseek-v3-yarn": latent("DeepseekV3Config", F32, **V3, rope_parameters=dict(YARN, mscale=1.0, mscale_all_dim=1.0)),
    "deepseek-v3-fp8": latent("DeepseekV3Config", BF16, dict(format=FORMATS["fp8"]), **V3),
    # The indexer chooses 24 of up to 64 tokens; with so many heads, hardly any two have the same score.
    "deepseek-v3.2": latent("DeepseekV32Config", F32, dict(saved=stating(scoring_func="sigmoid")), index_topk=24,
                            index_head_dim=64, index_n_heads=16, n_group=4, topk_group=2, n_shared_experts=1),
    "glm-5": latent("GlmMoeDsaConfig", F32, dict(GLM, saved=stating(scoring_func="sigmoid")), index_topk=24,
                    index_head_dim=64, index_n_heads=16, n_shared_experts=1, rms_norm_eps=1e-6,
                    indexer_types=["full", "full", "shared", "full"]),
    # The norms of latents have an epsilon of their own in
    # transformers, 1e-6; the engine has one for all norms.
    "glm-4-moe-lite": latent("Glm4MoeLiteConfig", BF16, GLM, rms_norm_eps=1e-6, **dict(SIGMOID, n_group=1, topk_group=1)),
    "glm-4-moe-lite-prediction": latent("Glm4MoeLiteConfig", BF16, dict(GLM, saved=with_prediction(4)), rms_norm_eps=1e-6,
                                        num_nextn_predict_layers=1, **dict(SIGMOID, n_group=1, topk_group=1)),
}
