"""Tiny random models of vision and speech with what transformers computes of them, and ONNX's checker: one JSON line for each
job on standard input.

    {"job": "make", "kind", "folder"}      a checkpoint of a kind (vit, vit-bare, clip, clip-legacy, whisper, whisper-wide) in `folder`,
                                           with inputs and outputs in `folder`/reference.safetensors
    {"job": "check", "graph"}              runs ONNX's checker with shape inference; tells domains and the version of operators
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import torch
import transformers
from safetensors.numpy import save_file

SEED = 11


def disturbed(model):
    """Weights that matter everywhere: norms and biases too, and logits far apart."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.float().eval()


def vit(bare=False, **more):
    config = transformers.ViTConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=40,
                                    patch_size=8, num_labels=7, **more)
    model = disturbed((transformers.ViTModel if bare else transformers.ViTForImageClassification)(config))
    pixels = torch.randn(2, 3, 40, 40)
    made = model(pixels)
    named = {"last_hidden_state": made.last_hidden_state} if bare else {"logits": made.logits}
    return model, {"pixel_values": pixels}, named


def clip(end=3):
    text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=99,
                max_position_embeddings=20, eos_token_id=end, bos_token_id=1, pad_token_id=end)
    vision = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8)
    model = disturbed(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)))
    tokens = torch.randint(4, 90, (3, 12))
    # A legacy model's end is its largest token.
    for row, place in enumerate([11, 6, 9]):
        tokens[row, place:] = 98 if end == 2 else end
    pixels = torch.randn(2, 3, 32, 32)
    seen, read = model.vision_model(pixels), model.text_model(tokens)
    named = {
        "image_embeds": model.visual_projection(seen.pooler_output),
        "text_embeds": model.text_projection(read.pooler_output),
        "vision/last_hidden_state": seen.last_hidden_state,
        "text/last_hidden_state": read.last_hidden_state,
    }
    return model, {"pixel_values": pixels, "input_ids": tokens}, named


def whisper(**more):
    config = transformers.WhisperConfig(
        d_model=48, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=80, vocab_size=130, max_source_positions=60, max_target_positions=40, pad_token_id=1, bos_token_id=1,
        eos_token_id=1, decoder_start_token_id=2, suppress_tokens=None, begin_suppress_tokens=None, **more)
    model = disturbed(transformers.WhisperForConditionalGeneration(config))
    features, tokens = torch.randn(2, config.num_mel_bins, 120), torch.randint(3, 130, (2, 14))
    heard = model.model.encoder(features).last_hidden_state
    logits = model(features, decoder_input_ids=tokens).logits
    return model, {"input_features": features, "input_ids": tokens}, {"last_hidden_state": heard, "logits": logits}


KINDS = {
    "vit": vit,
    "vit-bare": lambda: vit(bare=True, hidden_act="gelu_pytorch_tanh", qkv_bias=False),
    "clip": clip,
    "clip-legacy": lambda: clip(end=2),
    "whisper": whisper,
    "whisper-wide": lambda: whisper(num_mel_bins=128, tie_word_embeddings=False, activation_function="relu"),
}


def make(job):
    torch.manual_seed(SEED)
    with torch.no_grad():
        model, inputs, outputs = KINDS[job["kind"]]()
    folder = pathlib.Path(job["folder"])
    model.save_pretrained(folder)
    plain = lambda tensors: {name: np.ascontiguousarray(tensor.detach().numpy()) for name, tensor in tensors.items()}
    save_file(plain(inputs) | plain(outputs), folder / "reference.safetensors")
    return {}


def check(job):
    onnx.checker.check_model(job["graph"], full_check=True)
    model = onnx.load(job["graph"], load_external_data=False)
    domains = sorted({node.domain for node in model.graph.node})
    return {"domains": domains, "opset": [entry.version for entry in model.opset_import]}


JOBS = {"make": make, "check": check}
if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(JOBS[job["job"]](job)), flush=True)
