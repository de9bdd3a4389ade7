"""SmolLM3."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

MODELS = {
    "smollm3": Model(config("SmolLM3Config", num_hidden_layers=5, pad_token_id=0, tie_word_embeddings=False), BF16, BYTE_LEVEL),
    "smollm3-tied": Model(config("SmolLM3Config", num_hidden_layers=4, pad_token_id=0, head_dim=32,
                                 tie_word_embeddings=True), F32, BYTE_LEVEL),
}
