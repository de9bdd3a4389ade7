"""Kimi-VL and Kimi K2.5: MoonViT in front of DeepSeek V3's decoder."""

import json

import safetensors.torch
import torch

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config
from .deepseek import LATENT, V3, biased
from .vision import MEAN, STD

# The converter takes 16 heads for granted where it rearranges them.
WIDTH, INNER, N_LAYERS, N_HEADS, PATCH, SIDE = 128, 80, 3, 16, 4, 8
TEXT = 64


def linear(name, rows, columns):
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def encoder():
    shapes = {"patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": (WIDTH,),
              "patch_embed.pos_emb.weight": (SIDE, SIDE, WIDTH), **norm("encoder.final_layernorm", WIDTH)}
    for at in range(N_LAYERS):
        block = f"encoder.blocks.{at}."
        shapes.update({**norm(block + "norm0", WIDTH), **norm(block + "norm1", WIDTH), **linear(block + "wqkv", 3 * WIDTH, WIDTH),
                       **linear(block + "wo", WIDTH, WIDTH), **linear(block + "mlp.fc0", INNER, WIDTH),
                       **linear(block + "mlp.fc1", WIDTH, INNER)})
    return {"vision_tower." + name: shape for name, shape in shapes.items()}


def written(folder, shapes, **whole):
    """Puts an encoder of random weights in front of the decoder. No class of transformers has these names."""
    path = folder / "model.safetensors"
    stored = {"language_model." + name: tensor for name, tensor in safetensors.torch.load_file(path).items()}
    dtype = stored["language_model.model.norm.weight"].dtype
    generator = torch.Generator().manual_seed(len(folder.name))
    stored.update({name: (torch.randn(shape, generator=generator) * 0.05).to(dtype) for name, shape in shapes.items()})
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps(dict(text_config=json.loads(path.read_text()), **whole)))


def kimi_vl(folder):
    shapes = dict(encoder(), **norm("multi_modal_projector.pre_norm", WIDTH),
                  **linear("multi_modal_projector.linear_1", 4 * WIDTH, 4 * WIDTH),
                  **linear("multi_modal_projector.linear_2", TEXT, 4 * WIDTH))
    written(folder, shapes, architectures=["KimiVLForConditionalGeneration"], model_type="kimi_vl", vision_config=dict(
        model_type="moonvit", patch_size=PATCH, init_pos_emb_height=SIDE, init_pos_emb_width=SIDE, num_attention_heads=N_HEADS,
        num_hidden_layers=N_LAYERS, hidden_size=WIDTH, intermediate_size=INNER, merge_kernel_size=[2, 2]))


def kimi_k25(folder):
    shapes = dict(encoder(), **norm("mm_projector.pre_norm", WIDTH), **linear("mm_projector.proj.0", 4 * WIDTH, 4 * WIDTH),
                  **linear("mm_projector.proj.2", TEXT, 4 * WIDTH))
    written(folder, shapes, architectures=["KimiK25ForConditionalGeneration"], model_type="kimi_k25", vision_config=dict(
        model_type="", patch_size=PATCH, init_pos_emb_height=SIDE, init_pos_emb_width=SIDE, init_pos_emb_time=4,
        vt_num_attention_heads=N_HEADS, vt_num_hidden_layers=N_LAYERS, vt_hidden_size=WIDTH, vt_intermediate_size=INNER,
        merge_kernel_size=[2, 2], mm_hidden_size=WIDTH, projector_ln_eps=1e-5, projector_hidden_act="gelu",
        text_hidden_size=TEXT))


def kimi(dtype, saved):
    processor = {"preprocessor_config.json": dict(media_proc_cfg=dict(image_mean=MEAN, image_std=STD, in_patch_limit=4096))}
    return Model(config("DeepseekV3Config", **dict(LATENT, **V3)), dtype, BYTE_LEVEL, weights=biased, saved=saved, beside=processor)


MODELS = {
    "vision-kimi-vl": kimi(BF16, kimi_vl),
    "vision-kimi-k2.5": kimi(F32, kimi_k25),
}
