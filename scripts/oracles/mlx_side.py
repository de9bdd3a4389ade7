"""What MLX and mlx-lm make of checkpoints, beside what was made for them: one JSON line for each job on standard input.

    mlx_side.py checkpoints OUT                writes OUT/{float32,float16,bfloat16}: weights of every sort for grids to hold
    mlx_side.py < jobs                         {"job": "same", "checkpoint", "ours", "mode", "bits", "group", "prompt", "n"}
                                               {"job": "mixed", "checkpoint", "recipe", "out"}
                                               {"job": "divergence", "checkpoint", "candidates", "text", "window", "windows"}

`same` converts the checkpoint with mlx-lm and compares every tensor, byte for byte, and what both generate greedily; with `laid_out`
the checkpoint of a gpt-oss in floats is first brought into MLX's names and shapes, which mlx-lm does for 4-bit ones alone. `mixed`
writes what one of mlx-lm's mixed recipes makes. `divergence` is the mean KL divergence, in nats, of each candidate's predictions
from the checkpoint's, over the second half of each window of the text."""

import contextlib
import json
import pathlib
import shutil
import sys
import tempfile

import mlx.core as mx
import mlx.utils
import mlx_lm
import numpy as np
import safetensors.torch
import torch
import transformers
from mlx_lm.generate import generate_step


def greedy(folder, prompt, n):
    """Tokens that a directory's model generates behind `prompt`, by mlx-lm's own loop; a text is tokenized first."""
    model, tokenizer = mlx_lm.load(str(folder))
    prompt = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    steps = generate_step(mx.array(prompt), model, max_tokens=n, sampler=lambda logits: mx.argmax(logits, axis=-1))
    return [int(token) for token, _ in steps]


def tensors(folder):
    found = {}
    for file in sorted(pathlib.Path(folder).glob("model*.safetensors")):
        found.update(mx.load(str(file)))
    return found


def content(array):
    words = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}[array.dtype.size]
    return np.array(array.view(words))


def differences(ours, theirs):
    lines = [f"{name}: only {side}" for side, a, b in (("ours", ours, theirs), ("theirs", theirs, ours))
             for name in sorted(set(a) - set(b))]
    for name in sorted(set(ours) & set(theirs)):
        a, b = ours[name], theirs[name]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            lines.append(f"{name}: ours {a.dtype} {a.shape}, theirs {b.dtype} {b.shape}")
            continue
        unequal = int((content(a) != content(b)).sum())
        if unequal:
            lines.append(f"{name}: {unequal} of {a.size} differ")
    return lines


def respelled(checkpoint, work):
    """The checkpoint with its configuration as mlx-lm reads it: transformers 5 has other places for some fields."""
    folder = work / "checkpoint"
    folder.mkdir()
    for file in pathlib.Path(checkpoint).iterdir():
        if file.name != "config.json" and file.is_file():
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((pathlib.Path(checkpoint) / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    found = dict(num_experts=config.get("num_local_experts"), rope_theta=rope.get("rope_theta"))
    if "full_attention" in rope:
        found.update(rope_theta=rope["full_attention"]["rope_theta"],
                     rope_local_base_freq=rope["sliding_attention"]["rope_theta"])
    if rope.get("rope_type", "default") != "default":
        found.update(rope_scaling=rope)
    config.update({key: value for key, value in found.items() if value is not None and config.get(key) is None})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def lay_out(folder):
    """Experts of a gpt-oss in floats under MLX's names, gate and up apart, turned."""
    file = folder / "model.safetensors"
    stored, found = mx.load(str(file)), {}
    for name, value in stored.items():
        if name.endswith("experts.gate_up_proj"):
            for part, start in (("gate_proj", 0), ("up_proj", 1)):
                found[name.replace("gate_up_proj", f"{part}.weight")] = mx.contiguous(value.swapaxes(1, 2)[:, start::2])
        elif name.endswith("experts.down_proj"):
            found[name + ".weight"] = mx.contiguous(value.swapaxes(1, 2))
        elif name.endswith("gate_up_proj_bias"):
            for part, start in (("gate_proj", 0), ("up_proj", 1)):
                found[name.replace("gate_up_proj_bias", f"{part}.bias")] = mx.contiguous(value[:, start::2])
        else:
            found[name.replace("down_proj_bias", "down_proj.bias")] = value
    file.unlink()
    mx.save_safetensors(str(file), found, metadata={"format": "pt"})


def same(job):
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        theirs, checkpoint = work / "theirs", respelled(job["checkpoint"], work)
        if job.get("laid_out"):
            lay_out(checkpoint)
        with contextlib.redirect_stdout(sys.stderr):
            mlx_lm.convert(str(checkpoint), str(theirs), quantize=True, q_group_size=job["group"], q_bits=job["bits"],
                           q_mode=job["mode"])
        told = dict(differences=differences(tensors(job["ours"]), tensors(theirs)), n_tensors=len(tensors(theirs)))
        if job.get("n"):
            told.update(ours=greedy(job["ours"], job["prompt"], job["n"]), theirs=greedy(theirs, job["prompt"], job["n"]))
        return told


def mixed(job):
    with contextlib.redirect_stdout(sys.stderr):
        mlx_lm.convert(job["checkpoint"], job["out"], quantize=True, q_group_size=64, quant_predicate=job["recipe"])
    return dict(weights_bytes=sum(file.stat().st_size for file in pathlib.Path(job["out"]).glob("model*.safetensors")))


def dequantized(folder):
    """What a directory's weights stand for, under the checkpoint's names (experts apart), for transformers: MLX's own products take
    seconds for each window on a processor."""
    quantization = json.loads((folder / "config.json").read_text())["quantization"]
    stored, found = tensors(folder), {}
    for name, value in stored.items():
        module = name.rsplit(".", 1)[0]
        if name.endswith((".scales", ".biases")):
            continue
        if module + ".scales" in stored:
            grid = quantization.get(module, quantization)
            value = mx.dequantize(value, stored[module + ".scales"], stored.get(module + ".biases"),
                                  group_size=grid["group_size"], bits=grid["bits"], mode=grid.get("mode", "affine"))
        value = torch.tensor(np.array(value.astype(mx.float32)))
        if "switch_mlp" in name:
            found.update({name.replace("switch_mlp", f"experts.{at}"): value[at].clone() for at in range(len(value))})
        else:
            found[name] = value
    return found


def opened(checkpoint, weights=None):
    load = transformers.AutoModelForCausalLM.from_pretrained
    if weights is None:
        return load(checkpoint, dtype=torch.float32).eval()
    with tempfile.TemporaryDirectory() as work:
        shutil.copy(pathlib.Path(checkpoint) / "config.json", work)
        safetensors.torch.save_file(weights, work + "/model.safetensors", metadata={"format": "pt"})
        return load(work, dtype=torch.float32).eval()


def divergence(job):
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["checkpoint"])
    tokens = tokenizer.encode(pathlib.Path(job["text"]).read_text(), add_special_tokens=False)
    n, size = job["windows"], job["window"]
    starts = [at * (len(tokens) - size) // max(n - 1, 1) for at in range(n)]
    windows = [torch.tensor([tokens[start:start + size]]) for start in starts]

    def log_probabilities(model):
        with torch.no_grad():
            return [model(window).logits[0, size // 2:].double().log_softmax(-1) for window in windows]

    originals = log_probabilities(opened(job["checkpoint"]))
    told = []
    for folder in map(pathlib.Path, job["candidates"]):
        rows = log_probabilities(opened(job["checkpoint"], dequantized(folder)))
        klds = [float((p.exp() * (p - q)).sum(-1).mean()) for p, q in zip(originals, rows)]
        told.append(dict(kld=float(np.mean(klds)), error=float(np.std(klds) / np.sqrt(n))))
    return dict(candidates=told, n_positions=n * (size - size // 2))


def checkpoints(out):
    """Rows of many magnitudes, groups of nothing, of one number, of one sign, of few numbers (which are often in the middle
    between two codes), with an outlier."""
    config = dict(model_type="llama", architectures=["LlamaForCausalLM"], vocab_size=4096, hidden_size=256, intermediate_size=384,
                  num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=64, rms_norm_eps=1e-6,
                  rope_theta=10000.0, max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
                  hidden_act="silu", attention_bias=False, mlp_bias=False)
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (4096, 256), "lm_head.weight": (4096, 256), "model.norm.weight": (256,),
              f"{layer}input_layernorm.weight": (256,), f"{layer}post_attention_layernorm.weight": (256,),
              f"{layer}self_attn.q_proj.weight": (256, 256), f"{layer}self_attn.k_proj.weight": (128, 256),
              f"{layer}self_attn.v_proj.weight": (128, 256), f"{layer}self_attn.o_proj.weight": (256, 256),
              f"{layer}mlp.gate_proj.weight": (384, 256), f"{layer}mlp.up_proj.weight": (384, 256),
              f"{layer}mlp.down_proj.weight": (256, 384)}
    for dtype in ("float32", "float16", "bfloat16"):
        random = np.random.default_rng(7)
        weights = {}
        for name, shape in shapes.items():
            values = random.standard_normal(shape)
            if len(shape) == 2:
                values *= 2.0 ** random.integers(-12, 9, (shape[0], 1))
                kinds = random.integers(0, 12, (shape[0], shape[1] // 16)).repeat(16, axis=1)
                values = np.where(kinds == 0, 0.0, values)
                values = np.where(kinds == 1, values[:, :1], values)
                values = np.where(kinds == 2, abs(values), values)
                values = np.where(kinds == 3, np.round(values * 4) / 4, values)
                values = np.where(kinds == 4, np.round(values), values)
                values[:, 5] *= 16
            weights[name] = mx.array(values.astype(np.float32)).astype(getattr(mx, dtype))
        folder = out / dtype
        folder.mkdir(parents=True)
        mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(dict(config, torch_dtype=dtype)))


JOBS = dict(same=same, mixed=mixed, divergence=divergence)

if sys.argv[1:2] == ["checkpoints"]:
    checkpoints(pathlib.Path(sys.argv[2]))
else:
    mx.set_default_device(mx.cpu)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(JOBS[job["job"]](job)), flush=True)
