"""Gemma 2, 3, 3n and 4."""

import json

import safetensors.torch
import torch

from .checkpoint import BF16, F32, FILES, TOKENIZERS, Model, config, n_tokens
from .made_tokenizers import FEW_MERGES

FILES_OF_SENTENCEPIECE = FILES + ("tokenizer.model",)
SHARED = dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=16)


def gemma(kind, dtype, tokenizer=TOKENIZERS / "llama2", **more):
    return Model(config(kind, **SHARED, **more), dtype, tokenizer, files=FILES_OF_SENTENCEPIECE, norms=0.0,
                 max_error=2e-3)


def scaled(model):
    """What is multiplied by is near one, as norms are; queries are as small as a scale of attention makes them elsewhere."""
    for name, tensor in model.state_dict().items():
        if name.endswith(("layer_scalar", "router.scale", "per_expert_scale")):
            tensor.add_(1.0)
        elif name.endswith("q_norm.weight"):
            tensor.mul_(0.25)


def gemma4(dtype, saved=None, **more):
    # Five sliding layers and one that sees everything, whose heads are wider.
    shared = dict(head_dim=16, global_head_dim=32, sliding_window=16, num_hidden_layers=6, hidden_size_per_layer_input=0)
    return Model(config("Gemma4TextConfig", **dict(shared, **more)), dtype, TOKENIZERS / "llama2", max_error=2e-3, saved=saved,
                 weights=scaled)


def released(folder):
    """Spells what layers have for themselves as released checkpoints do, and stores the unused keys and values of layers
    that see those of earlier ones."""
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    own = stated.pop("per_layer_config")
    last = str(max(map(int, own)))
    stated.update(global_head_dim=own[last]["head_dim"], num_global_key_value_heads=own[last].get("num_key_value_heads"))
    path.write_text(json.dumps(stated))
    path = folder / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    for layer, kind in enumerate(stated["layer_types"]):
        name = f"model.layers.{layer}.self_attn."
        if name + "k_proj.weight" not in stored:
            width = stated["head_dim"] if kind == "sliding_attention" else stated["global_head_dim"]
            unused = torch.ones(width * stated["num_key_value_heads"], stated["hidden_size"])
            norm = torch.ones(width)
            dtype = stored["model.norm.weight"].dtype
            for part, values in [("k_proj", unused), ("v_proj", unused.clone()), ("k_norm", norm)]:
                stored[f"{name}{part}.weight"] = values.to(dtype)
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})


def gemma3n(dtype, **more):
    # The engine takes it for granted that the first twenty layers cache keys and values, that the first ten are sparse, and how wide
    # the embeddings of layers are; the last tokens have none. It divides by one less than transformers where it measures how gates
    # spread, which shows where they are few.
    shared = dict(head_dim=16, sliding_window=16, num_hidden_layers=25, num_kv_shared_layers=5, laurel_rank=64, intermediate_size=1024)
    shared.update(vocab_size_per_layer_input=n_tokens(FEW_MERGES) - 8, **more)
    return Model(config("Gemma3nTextConfig", **shared), dtype, FEW_MERGES, files=("tokenizer.model",), max_error=1e-3, saved=unused,
                 weights=steady)


def steady(model):
    """What layers add is small beside what they add it to, or the many layers would blow up any difference."""
    for name, tensor in model.state_dict().items():
        if name.endswith("q_norm.weight"):
            tensor.mul_(0.25)
        elif name.endswith(("post_feedforward_layernorm.weight", "post_per_layer_input_norm.weight")):
            tensor.mul_(0.1)


def unused(folder):
    """Stores keys and values of layers that see those of earlier ones, as released checkpoints do."""
    path = folder / "model.safetensors"
    stored = safetensors.torch.load_file(path)
    for name in [name for name in stored if name.startswith("model.layers.0.self_attn.") and name[25] in "kv"]:
        stored.update({name.replace("layers.0", f"layers.{layer}"): stored[name].clone() for layer in range(20, 25)})
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})


MODELS = {
    "gemma3n": gemma3n(BF16),
    "gemma4": gemma4(BF16, attention_k_eq_v=True, num_global_key_value_heads=1, final_logit_softcapping=30.0),
    "gemma4-experts": gemma4(F32, attention_k_eq_v=True, num_global_key_value_heads=1, enable_moe_block=True, num_experts=4,
                             top_k_experts=2, moe_intermediate_size=32, final_logit_softcapping=30.0),
    # Every third layer sees everything; the last three see what the two before them cache.
    "gemma4-layers": gemma4(F32, released, hidden_size_per_layer_input=32, num_kv_shared_layers=3, use_double_wide_mlp=True,
                            layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
                            vocab_size_per_layer_input=32000),
    "gemma2": gemma("Gemma2Config", BF16, num_hidden_layers=4),
    "gemma3": gemma("Gemma3TextConfig", F32, num_hidden_layers=8),
}
