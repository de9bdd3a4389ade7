"""Gemma 2 and 3."""

from .checkpoint import BF16, F32, FILES, TOKENIZERS, Model, config

FILES_OF_SENTENCEPIECE = FILES + ("tokenizer.model",)
SHARED = dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=16)


def gemma(kind, dtype, tokenizer=TOKENIZERS / "llama2", **more):
    return Model(config(kind, **SHARED, **more), dtype, tokenizer, files=FILES_OF_SENTENCEPIECE, norms=0.0,
                 max_error=2e-3)


MODELS = {
    "gemma2": gemma("Gemma2Config", BF16, num_hidden_layers=4),
    "gemma3": gemma("Gemma3TextConfig", F32, num_hidden_layers=8),
}
