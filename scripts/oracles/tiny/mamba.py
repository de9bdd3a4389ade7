"""Mamba, Falcon Mamba and Mamba-2."""

import transformers

from .checkpoint import BF16, BYTE_LEVEL, F32, Model

SIZES = dict(hidden_size=64, num_hidden_layers=3, bos_token_id=1, eos_token_id=2)
ONE = dict(SIZES, state_size=12, time_step_rank=8)
TWO = dict(SIZES, state_size=24, num_heads=8, head_dim=16)

MODELS = {
    "mamba": Model(transformers.MambaConfig(**ONE), BF16, BYTE_LEVEL),
    "mamba-untied": Model(transformers.MambaConfig(**ONE, tie_word_embeddings=False), F32, BYTE_LEVEL),
    "falcon-mamba": Model(transformers.FalconMambaConfig(**ONE, mixer_rms_eps=1e-5), BF16, BYTE_LEVEL),
    "mamba2": Model(transformers.Mamba2Config(**TWO, n_groups=2), BF16, BYTE_LEVEL),
    "mamba2-tied": Model(transformers.Mamba2Config(**TWO, n_groups=1, tie_word_embeddings=True), F32, BYTE_LEVEL),
}
