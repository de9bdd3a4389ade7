"""LFM2: short convolutions and attention, dense and with experts."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

LAYERS = ["conv", "full_attention", "conv", "conv", "full_attention"]


def lfm(kind, dtype, layers=LAYERS, **more):
    settings = dict(dict(conv_L_cache=4, layer_types=layers, num_hidden_layers=len(layers), pad_token_id=0), **more)
    return Model(config(kind, **settings), dtype, BYTE_LEVEL)


MODELS = {
    "lfm2": lfm("Lfm2Config", BF16, block_auto_adjust_ff_dim=False),
    "lfm2-adjusted": lfm("Lfm2Config", F32, intermediate_size=200, block_auto_adjust_ff_dim=True, block_multiple_of=48,
                         block_ffn_dim_multiplier=1.25, tie_word_embeddings=False, conv_L_cache=3),
    "lfm2-moe": lfm("Lfm2MoeConfig", BF16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                    num_dense_layers=2),
}
