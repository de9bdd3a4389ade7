"""Muse Glimmer: norms on both sides, gated attention, every fourth layer sees everything and knows no positions."""

from .checkpoint import BF16, F32
from .vision import vision

TEXT = dict(model_type="muse_glimmer_text", num_hidden_layers=8, head_dim=32, sliding_window=16)
VISION = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2, patch_size=4)


def muse(dtype, **more):
    return vision("MuseGlimmerConfig", dtype, VISION, dict(TEXT, **more), out_hidden_size=192, projector_hidden_size=40, norms=0.0)


MODELS = {
    "vision-muse-glimmer": muse(BF16),
    "vision-muse-glimmer-scaled": muse(F32, qk_scale_factor=1.5, output_multiplier=0.5, rope_parameters=dict(
        rope_type="default", rope_theta=500000.0)),
}
