"""Families that differ from Llama in few ways: biases, norms, activations, where norms stand."""

from .checkpoint import BF16, BYTE_LEVEL, F16, F32, TOKENIZERS, Model, config

# ggml looks GELU up in a table of 16-bit floats.
GELU = 1e-3
# The converter asks for a tokenizer.model.
WITH_MODEL = dict(tokenizer=TOKENIZERS / "llama2", files=("tokenizer.json", "tokenizer.model", "tokenizer_config.json"))
LLAMA_3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=500000.0,
               original_max_position_embeddings=128)
SLIDING = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]

MODELS = {
    "seed-oss": Model(config("SeedOssConfig", head_dim=32), BF16, BYTE_LEVEL),
    "seed-oss-tied": Model(config("SeedOssConfig", head_dim=32, attention_bias=False, tie_word_embeddings=True), F32,
                           BYTE_LEVEL),
    "arcee": Model(config("ArceeConfig", head_dim=32), BF16, BYTE_LEVEL),
    "arcee-llama3": Model(config("ArceeConfig", rope_parameters=LLAMA_3, tie_word_embeddings=True), F32, BYTE_LEVEL),
    "starcoder2": Model(config("Starcoder2Config", pad_token_id=0), BF16, BYTE_LEVEL, max_error=GELU),
    "starcoder2-untied": Model(config("Starcoder2Config", pad_token_id=0, tie_word_embeddings=False), F16, BYTE_LEVEL,
                               max_error=GELU),
    "stablelm": Model(config("StableLmConfig"), BF16, BYTE_LEVEL),
    "stablelm-bias": Model(config("StableLmConfig", use_qkv_bias=True), F32, BYTE_LEVEL),
    "exaone4": Model(config("Exaone4Config", sliding_window=None, layer_types=["full_attention"] * 3), BF16, BYTE_LEVEL),
    # The engine looks for windows in models of 64 layers.
    "exaone4-sliding": Model(config("Exaone4Config", num_hidden_layers=64, sliding_window=16, layer_types=SLIDING * 16), F32,
                             BYTE_LEVEL),
    "ernie4.5": Model(config("Ernie4_5Config", head_dim=32), BF16, **WITH_MODEL),
    "nemotron": Model(config("NemotronConfig"), BF16, **WITH_MODEL),
}
