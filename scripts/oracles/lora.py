"""Writes adapters for a checkpoint and what peft merges them to: lora.py CHECKPOINT OUT.

Below OUT, for each case: `N` and, where there are two, `N.second` with the adapters, `N.merged` with the checkpoint that
merge_and_unload leaves."""

import pathlib
import shutil
import sys

import peft
import torch
import transformers

checkpoint, out = map(pathlib.Path, sys.argv[1:3])
MLP = ["gate_proj", "up_proj", "down_proj"]
CASES = {
    "plain": [dict(r=4, lora_alpha=6, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", *MLP])],
    "root": [dict(r=4, lora_alpha=6, use_rslora=True, target_modules=["q_proj", "v_proj"])],
    "patterns": [dict(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "up_proj"], rank_pattern={"q_proj": 2},
                      alpha_pattern={r"layers\.1\..*": 9, "v_proj": 1})],
    "outside": [dict(r=3, lora_alpha=6, target_modules=["embed_tokens", "lm_head", "k_proj"])],
    "saved": [dict(r=3, lora_alpha=6, target_modules=["down_proj"], modules_to_save=["lm_head", "embed_tokens"])],
    "several": [dict(r=2, lora_alpha=6, target_modules=["q_proj", "down_proj"]),
                dict(r=5, lora_alpha=1, target_modules=["q_proj", "k_proj"])],
}

for name, configs in CASES.items():
    torch.manual_seed(len(name))
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    for config, end in zip(configs, ["", ".second"]):
        model = peft.get_peft_model(model, peft.LoraConfig(**config))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key or "modules_to_save" in key:
                    parameter.copy_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(out / f"{name}{end}")
        model = model.merge_and_unload()
    model.save_pretrained(out / f"{name}.merged")
    for file in checkpoint.glob("token*"):
        shutil.copy(file, out / f"{name}.merged")
