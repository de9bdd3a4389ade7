"""GLM-4 and GLM-4.5. Their tokens of turns are added to the tokenizer: the converter asks for them by name."""

import json

import safetensors.torch
import torch

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config, n_tokens

TOKENS = ["<|endoftext|>", "[gMASK]", "<|user|>", "<|observation|>"]


def added():
    """The tokens added to the tokenizer, with those of GLM behind."""
    stated = json.loads((BYTE_LEVEL / "tokenizer.json").read_text())["added_tokens"]
    own = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    new = [text for text in TOKENS if text not in [token["content"] for token in stated]]
    return stated + [dict(own, id=n_tokens(BYTE_LEVEL) + at, content=text) for at, text in enumerate(new)]


def with_prediction(n_layers):
    """The last of so many layers once more, as one that predicts the token after the next."""
    def saved(folder):
        path = folder / "model.safetensors"
        tensors = safetensors.torch.load_file(path)
        for name, tensor in list(tensors.items()):
            if name.startswith(f"model.layers.{n_layers - 1}."):
                tensors[name.replace(f"layers.{n_layers - 1}.", f"layers.{n_layers}.")] = tensor.clone()
        torch.manual_seed(7)
        norm, embedding = tensors["model.norm.weight"], tensors["model.embed_tokens.weight"]
        width = norm.shape[0]
        own = dict(
            eh_proj=torch.randn(width, 2 * width) / width**0.5, enorm=torch.rand(width) + 0.5,
            hnorm=torch.rand(width) + 0.5, embed_tokens=embedding.float() + 0.02 * torch.randn(embedding.shape),
        )
        for name, tensor in own.items():
            tensors[f"model.layers.{n_layers}.{name}.weight"] = tensor.to(norm.dtype)
        tensors[f"model.layers.{n_layers}.shared_head.norm.weight"] = norm.clone()
        tensors[f"model.layers.{n_layers}.shared_head.head.weight"] = embedding.roll(3, 0).clone()
        safetensors.torch.save_file(tensors, path, metadata=dict(format="pt"))
    return saved


def glm(kind, dtype, saved=None, **more):
    settings = dict(dict(head_dim=32, eos_token_id=2, bos_token_id=None, pad_token_id=0), **more)
    return Model(config(kind, **settings), dtype, BYTE_LEVEL, parts=dict(added_tokens=added()), beyond=4, saved=saved)


def experts(dtype, **more):
    settings = dict(dict(num_nextn_predict_layers=0, first_k_dense_replace=1), **more)
    return glm("Glm4MoeConfig", dtype, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, **settings)


MODELS = {
    "glm4": glm("Glm4Config", BF16),
    "glm4-moe": experts(BF16, use_qk_norm=True, routed_scaling_factor=2.5),
    "glm4-moe-bias": experts(F32, attention_bias=True, norm_topk_prob=False, n_shared_experts=2),
    "glm4-moe-prediction": experts(BF16, num_nextn_predict_layers=1, saved=with_prediction(3)),
}
