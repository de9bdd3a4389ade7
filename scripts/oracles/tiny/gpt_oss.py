"""gpt-oss: experts in floats, and as the checkpoints of the real models have them."""

from .checkpoint import BF16, BYTE_LEVEL, F32, Model, config

# With `truncate` the ramp of the rotary encoding begins and ends at whole dimensions, as the engine has it.
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=32.0, beta_slow=1.0,
            truncate=True)


def gpt_oss(dtype, **more):
    return Model(config("GptOssConfig", num_hidden_layers=4, head_dim=32, num_local_experts=4, num_experts_per_tok=2,
                        sliding_window=16, rope_parameters=dict(YARN, rope_theta=150000.0)), dtype, BYTE_LEVEL, **more)


MODELS = {
    "gpt-oss": gpt_oss(F32),
    "gpt-oss-bf16": gpt_oss(BF16),
}
