"""InternVL, in the form of transformers' class and in that of the checkpoints which bring their own code."""

import json

import safetensors.torch
import torch

from .checkpoint import BF16, F16, F32
from .vision import part, respelled, vision

VISION = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=4, num_attention_heads=4, image_size=[32, 32], patch_size=[4, 4])
NAMES = [
    ("multi_modal_projector.layer_norm.", "mlp1.0."), ("multi_modal_projector.linear_1.", "mlp1.1."),
    ("multi_modal_projector.linear_2.", "mlp1.3."), ("vision_tower.", "vision_model."),
    ("embeddings.cls_token", "embeddings.class_embedding"), ("embeddings.position_embeddings", "embeddings.position_embedding"),
    ("embeddings.patch_embeddings.projection.", "embeddings.patch_embedding."), ("encoder.layer.", "encoder.layers."),
    (".layernorm_before.", ".norm1."), (".layernorm_after.", ".norm2."), (".lambda_1", ".ls1"), (".lambda_2", ".ls2"),
    (".attention.projection_layer.", ".attn.proj."),
]


def inside(folder):
    """Spells names as the class itself does; the converter finds the encoder by the name of its class."""
    part("vision_config", architectures=["InternVisionModel"])(folder)
    respelled(("vision_tower.", "model.vision_tower."), ("multi_modal_projector.", "model.multi_modal_projector."))(folder)


def chat(folder):
    """Spells names and configuration as released checkpoints with their own code do: queries, keys and values in one."""
    path = folder / "model.safetensors"
    stored, split = {}, {}
    for name, tensor in safetensors.torch.load_file(path).items():
        for old, new in NAMES:
            name = name.replace(old, new)
        for at, kind in enumerate("qkv"):
            if f".attention.{kind}_proj." in name:
                split.setdefault(name.replace(f".attention.{kind}_proj.", ".attn.qkv."), {})[at] = tensor
                break
        else:
            stored[name] = tensor
    for name, parts in split.items():
        stored[name] = torch.cat([parts[at] for at in range(3)])
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    encoder = dict(stated.pop("vision_config"), architectures=["InternVisionModel"], model_type="intern_vit_6b")
    encoder.update(image_size=encoder["image_size"][0], patch_size=encoder["patch_size"][0],
                   qk_normalization=encoder.pop("use_qk_norm"), qkv_bias=encoder.pop("attention_bias"))
    path.write_text(json.dumps(dict(
        stated, architectures=["InternVLChatModel"], model_type="internvl_chat", llm_config=stated.pop("text_config"),
        vision_config=encoder, min_dynamic_patch=1, max_dynamic_patch=12)))


def internvl(dtype, saved, text, **more):
    return vision("InternVLConfig", dtype, dict(VISION, **more), dict(text), saved, tie_word_embeddings=False)


QWEN2 = dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"])
QWEN3 = dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=16)

MODELS = {
    "vision-internvl": internvl(BF16, inside, QWEN2, attention_bias=True),
    "vision-internvl-unbiased": internvl(F32, inside, QWEN3),
    "vision-internvl-chat": internvl(F16, chat, QWEN2, attention_bias=True),
    "vision-internvl-chat-unbiased": internvl(BF16, chat, QWEN3),
}
