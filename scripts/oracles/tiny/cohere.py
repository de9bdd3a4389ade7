"""Cohere 1 (Command R, and with norms on heads R+) and 2 (Command R7B). Of the latter, the converter asks for the share of
a head that is rotated."""

import json

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config


def as_released(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), rotary_pct=1.0)))


def trained_for_more(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), model_max_length=1024)))


MODELS = {
    "cohere": Model(config("CohereConfig", logit_scale=0.25, pad_token_id=0), BF16, BYTE_LEVEL, saved=trained_for_more),
    # The engine looks for norms of heads in models of 64 layers and more.
    "cohere-norms": Model(config("CohereConfig", num_hidden_layers=64, use_qk_norm=True, pad_token_id=0), F32, BYTE_LEVEL),
    "cohere2": Model(config("Cohere2Config", num_hidden_layers=5, sliding_window=16, pad_token_id=0), BF16, BYTE_LEVEL,
                     saved=as_released),
}
