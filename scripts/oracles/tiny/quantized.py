"""Checkpoints in every format that they are quantized in."""

from . import gpt_oss
from .checkpoint import BF16, F16, BYTE_LEVEL, Model, config
from .formats import FORMATS
from .qwen import moe


def dense(name, dtype=BF16, **more):
    return Model(config("Qwen3Config", head_dim=32, intermediate_size=128), dtype, BYTE_LEVEL, format=FORMATS[name],
                 **more)


MODELS = {
    **{f"quantized-{name}": dense(name) for name in ("fp8", "fp8-odd", "fp8-channel", "fp8-static", "packed4",
                                                     "packed8-asymmetric", "nvfp4", "packed-nvfp4")},
    **{f"quantized-{name}": dense(name, F16) for name in ("gptq", "gptq8")},
    # llama.cpp's converter reads these two not at all, or not for this family.
    "quantized-awq": dense("awq", F16, converted=False),
    "quantized-packed-mxfp4": dense("packed-mxfp4", converted=False),
    "quantized-nvfp4-moe": Model(moe(moe_intermediate_size=64), BF16, BYTE_LEVEL, format=FORMATS["nvfp4"]),
    "quantized-fp8-moe": Model(moe(), BF16, BYTE_LEVEL, format=FORMATS["fp8"]),
    "gpt-oss-mxfp4": gpt_oss.gpt_oss(BF16, format=FORMATS["mxfp4"]),
}
