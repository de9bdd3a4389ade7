"""Nemotron-H: Mamba-2, attention and feed-forwards as layers of their own."""

import json

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

KINDS = {"M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe"}
EXPERTS = ("moe_latent_size", "moe_intermediate_size", "moe_shared_expert_intermediate_size", "n_shared_experts",
           "num_experts_per_tok", "n_group", "topk_group", "n_routed_experts", "routed_scaling_factor")


def nemotron(letters, dtype, **more):
    """The configuration says in letters what each layer is, as released ones do, and limits no time step."""

    def as_released(folder):
        path = folder / "config.json"
        stated = json.loads(path.read_text())
        for field in ("layers_block_type", "time_step_limit") + (() if "E" in letters else EXPERTS):
            stated.pop(field, None)
        stated.update(hybrid_override_pattern=letters, num_hidden_layers=len(letters))
        path.write_text(json.dumps(stated))

    kinds = [KINDS[letter] for letter in letters]
    settings = config("NemotronHConfig", layers_block_type=kinds, num_hidden_layers=len(kinds), head_dim=24,
                      mamba_num_heads=8, mamba_head_dim=16, n_groups=2, ssm_state_size=24, pad_token_id=0,
                      num_experts_per_tok=2, moe_intermediate_size=96, **more)
    return Model(settings, dtype, BYTE_LEVEL, saved=as_released)


MODELS = {
    "nemotron-h": nemotron("M-*-M", BF16),
    "nemotron-h-moe": nemotron("ME*EM", BF16, n_routed_experts=4, moe_shared_expert_intermediate_size=40,
                               routed_scaling_factor=2.5),
    "nemotron-h-latent": nemotron("ME*EM", F32, n_routed_experts=4, moe_shared_expert_intermediate_size=40,
                                  moe_latent_size=48, norm_topk_prob=False),
}
