"""Cohere 2 (Command R7B). The converter asks for the share of a head that is rotated."""

import json

from .checkpoint import BF16, BYTE_LEVEL, Model, config


def as_released(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), rotary_pct=1.0)))


MODELS = {
    "cohere2": Model(config("Cohere2Config", num_hidden_layers=5, sliding_window=16, pad_token_id=0), BF16, BYTE_LEVEL,
                     saved=as_released),
}
