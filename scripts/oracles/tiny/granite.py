"""Granite 3 and 4: dense, with experts, hybrids of Mamba-2 and attention, each with and without."""

import json

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, SENTENCEPIECE, Model, config

MULTIPLIERS = dict(embedding_multiplier=6.0, attention_multiplier=0.2, residual_multiplier=0.3, logits_scaling=4.0)
MAMBA = dict(mamba_n_heads=8, mamba_d_head=16, mamba_d_state=24, mamba_d_conv=4, mamba_n_groups=2)
WORDS = {"linear_attention": "mamba", "full_attention": "attention"}


def as_released(folder):
    """The words of released configurations, which do not limit time steps."""
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    stated["layer_types"] = [WORDS[word] for word in stated["layer_types"]]
    del stated["time_step_limit"]
    path.write_text(json.dumps(stated))


def granite(kind, dtype=BF16, tokenizer=BYTE_LEVEL, saved=None, **more):
    return Model(config(kind, **MULTIPLIERS, **more), dtype, tokenizer, saved=saved)


def four(layers, dtype=BF16, saved=as_released, **more):
    """Granite 4: m for Mamba-2, a for attention."""
    types = [{"m": "linear_attention", "a": "full_attention"}[letter] for letter in layers]
    rope = "nope" if "m" in layers else "rope"
    return granite("GraniteMoeHybridConfig", dtype, saved=saved, num_hidden_layers=len(layers), layer_types=types,
                   position_embedding_type=rope, **MAMBA, **more)


MODELS = {
    "granite": granite("GraniteConfig", F16, SENTENCEPIECE),
    "granite-bias": granite("GraniteConfig", F32, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "granite-moe": granite("GraniteMoeConfig", num_local_experts=4, num_experts_per_tok=2),
    "granite-moe-shared": granite("GraniteMoeSharedConfig", F16, num_local_experts=4, num_experts_per_tok=2,
                                  shared_intermediate_size=48),
    "granite-4": four("aaa", num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=96),
    "granite-4-moe": four("aaa", num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=48),
    "granite-4-h": four("mmam", F32, num_local_experts=0, num_experts_per_tok=0, shared_intermediate_size=96),
    "granite-4-h-moe": four("mam", num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=48,
                            tie_word_embeddings=True),
}
