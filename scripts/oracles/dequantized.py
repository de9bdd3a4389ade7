"""Writes what transformers makes of a checkpoint in FP8 when it is asked for floats: dequantized.py CHECKPOINT OUT."""

import json
import pathlib
import shutil
import sys

import torch
import transformers

checkpoint, out = map(pathlib.Path, sys.argv[1:3])
stated = json.loads((checkpoint / "config.json").read_text())["quantization_config"]
wanted = transformers.FineGrainedFP8Config(weight_block_size=stated["weight_block_size"], dequantize=True)
model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, quantization_config=wanted, dtype=torch.float32)
stored = {name: parameter.dtype for name, parameter in model.named_parameters()}
assert all(dtype == torch.float32 for name, dtype in stored.items() if "_proj" in name), stored
# What was no 8-bit float keeps its type until here.
model = model.float()
plain = type(model)(type(model.config)(**{
    name: value for name, value in model.config.to_dict().items() if name not in ("quantization_config", "dtype")}))
plain.load_state_dict(model.state_dict())
plain.save_pretrained(out)
for file in checkpoint.glob("token*"):
    shutil.copy(file, out)
