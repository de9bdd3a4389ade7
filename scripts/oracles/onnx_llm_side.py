"""What onnxruntime-genai, ONNX's checker and transformers make of what was written for them: one JSON line for each job on
standard input.

    {"job": "logits", "checkpoint", "grid", "rows", "tokens", "n", "out"}
    {"job": "serve", "folder", "prompt", "n"}
    {"job": "check", "graph"}

`logits` lets transformers compute, in 32-bit floats, with every matrix of the checkpoint on ggml's grid `grid` (Q4_0, Q8_0 or
none; the embedding, and the output that shares it, on `rows` where that is given), and writes the logits after each token to `out`;
the answer has `n` tokens that it generates greedily behind them. `serve` generates with onnxruntime-genai. `check` runs
ONNX's checker with shape inference, and tells the domains of the graph's operators."""

import json
import pathlib
import sys

import gguf
import numpy as np
import onnx
import onnxruntime_genai
import torch
import transformers


def on_grid(weights, name):
    grid = gguf.GGMLQuantizationType[name]
    rows = np.ascontiguousarray(weights.reshape(-1, weights.shape[-1]))
    return gguf.quants.dequantize(gguf.quants.quantize(rows, grid), grid).reshape(weights.shape)


def model_on_grid(checkpoint, grid, rows):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    tied = model.config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        is_router = name.endswith((".mlp.gate.weight", ".router.weight", "block_sparse_moe.gate.weight"))
        if grid is None or weight.ndim < 2 or weight.shape[-1] % 32 or is_router:
            continue
        embeds = "embed_tokens" in name or (tied and name == "lm_head.weight")
        own = rows if rows and embeds else grid
        weight.copy_(torch.from_numpy(on_grid(weight.detach().numpy(), own)))
    return model


def logits(job):
    model = model_on_grid(job["checkpoint"], job["grid"], job.get("rows"))
    tokens = torch.tensor([job["tokens"]])
    with torch.no_grad():
        rows = model(tokens).logits[0].numpy().astype("<f4")
        made = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=job["n"],
                              min_new_tokens=job["n"], do_sample=False)
    pathlib.Path(job["out"]).write_bytes(rows.tobytes())
    return {"tokens": made[0].tolist()[len(job["tokens"]):]}


def serve(job):
    model = onnxruntime_genai.Model(job["folder"])
    parameters = onnxruntime_genai.GeneratorParams(model)
    length = len(job["prompt"]) + job["n"]
    parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(job["prompt"])
    tokens = []
    while len(tokens) < job["n"] and not generator.is_done():
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return {"tokens": tokens}


def check(job):
    onnx.checker.check_model(job["graph"], full_check=True)
    graph = onnx.load(job["graph"], load_external_data=False).graph
    return {"domains": sorted({node.domain for node in graph.node})}


JOBS = {"logits": logits, "serve": serve, "check": check}
for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(JOBS[job["job"]](job)), flush=True)
