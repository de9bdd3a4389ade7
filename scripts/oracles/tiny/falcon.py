"""Falcon-H1: attention and a Mamba-2 beside each other, with a multiplier for nearly every matrix."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

MULTIPLIERS = dict(key_multiplier=0.5, attention_in_multiplier=1.5, attention_out_multiplier=0.75, ssm_in_multiplier=1.25,
                   ssm_out_multiplier=0.3, ssm_multipliers=[0.5, 0.7, 0.9, 1.1, 1.3], mlp_multipliers=[0.8, 0.6],
                   lm_head_multiplier=0.4, embedding_multiplier=5.6)


def hybrid(dtype, **more):
    return Model(config("FalconH1Config", head_dim=24, mamba_d_conv=4, mamba_d_state=24, mamba_d_head=16, **MULTIPLIERS,
                        rope_parameters=dict(rope_type="default", rope_theta=1e11), **more), dtype, BYTE_LEVEL)


MODELS = {
    "falcon-h1": hybrid(BF16, mamba_d_ssm=112, mamba_n_heads=7),
    "falcon-h1-norm": hybrid(F32, mamba_d_ssm=128, mamba_n_heads=8, mamba_n_groups=2, mamba_rms_norm=True,
                             mamba_norm_before_gate=False),
}
