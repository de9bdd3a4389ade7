"""MiMo V2 Flash, with its layers stated as in released configurations."""

import json

from .checkpoint import BF16, BYTE_LEVEL, Model, config


def as_released(folder):
    path = folder / "config.json"
    stated = json.loads(path.read_text())
    kinds, rope = stated.pop("layer_types"), stated.pop("rope_parameters")
    stated.update(
        hybrid_layer_pattern=[int(kind == "sliding_attention") for kind in kinds],
        moe_layer_freq=[int(kind == "sparse") for kind in stated.pop("mlp_layer_types")],
        rope_theta=rope["full_attention"]["rope_theta"], swa_rope_theta=rope["sliding_attention"]["rope_theta"],
        partial_rotary_factor=rope["full_attention"]["partial_rotary_factor"],
        swa_num_attention_heads=stated["num_attention_heads"], swa_num_key_value_heads=2 * stated["num_key_value_heads"],
        swa_head_dim=stated["head_dim"], swa_v_head_dim=stated["v_head_dim"], topk_method="noaux_tc", scoring_func="sigmoid",
        layernorm_epsilon=stated.pop("rms_norm_eps"), add_swa_attention_sink_bias=True, add_full_attention_sink_bias=False)
    path.write_text(json.dumps(stated))


MODELS = {
    "mimo2": Model(config("MiMoV2FlashConfig", num_hidden_layers=6, num_attention_heads=8, num_key_value_heads=2, head_dim=24,
                          v_head_dim=16, sliding_window=16, n_routed_experts=4, num_experts_per_tok=2,
                          moe_intermediate_size=32, vocab_size=4096), BF16, BYTE_LEVEL, saved=as_released),
}
