"""OLMo 2."""

from .checkpoint import BF16, BYTE_LEVEL, Model, config

MODELS = {"olmo2": Model(config("Olmo2Config", pad_token_id=0), BF16, BYTE_LEVEL)}
