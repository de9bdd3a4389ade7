"""OLMo 1, 2 and 3, dense and with experts."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

MODELS = {
    "olmo": Model(config("OlmoConfig", pad_token_id=0), BF16, BYTE_LEVEL),
    "olmo-clipped": Model(config("OlmoConfig", pad_token_id=0, clip_qkv=0.5, tie_word_embeddings=True), F32, BYTE_LEVEL),
    "olmo2": Model(config("Olmo2Config", pad_token_id=0), BF16, BYTE_LEVEL),
    "olmo3": Model(config("Olmo3Config", pad_token_id=0, num_hidden_layers=5, sliding_window=16), BF16, BYTE_LEVEL),
    "olmoe": Model(config("OlmoeConfig", pad_token_id=0, num_key_value_heads=4, num_experts=4, num_experts_per_tok=2), BF16, BYTE_LEVEL,
                   shard="100KB"),
}
