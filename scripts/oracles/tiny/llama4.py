"""Llama 4's text models."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

LLAMA_3 = dict(rope_type="llama3", factor=16.0, low_freq_factor=1.0, high_freq_factor=1.0, rope_theta=500000.0,
               original_max_position_embeddings=128)


def llama4(dtype, **more):
    return Model(config("Llama4TextConfig", num_hidden_layers=5, head_dim=32, intermediate_size_mlp=128,
                        num_local_experts=4, pad_token_id=0, **more), dtype, BYTE_LEVEL)


MODELS = {
    "llama4": llama4(BF16, rope_parameters=LLAMA_3),
    "llama4-interleaved": llama4(F32, interleave_moe_layer_step=2),
}
