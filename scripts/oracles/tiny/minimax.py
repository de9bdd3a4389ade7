"""MiniMax-M2. Released configurations state the gate and how much of a head is rotated in fields of their own."""

import json

from .checkpoint import BF16, BYTE_LEVEL, Model, config


def as_released(folder):
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    stated["rope_theta"] = stated.pop("rope_parameters")["rope_theta"]
    path.write_text(json.dumps(dict(stated, scoring_func="sigmoid", rotary_dim=16, use_qk_norm=True)))


MODELS = {
    "minimax-m2": Model(config("MiniMaxM2Config", head_dim=32, intermediate_size=48, num_local_experts=4,
                               num_experts_per_tok=2, rotary_dim=16), BF16, BYTE_LEVEL, saved=as_released),
}
