"""Formats that checkpoints are quantized in: each stores a matrix as several tensors and says what they stand for."""

import dataclasses

import torch

E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0])
# Where AWQ puts the eight integers of a word.
INTERLEAVED = (0, 4, 1, 5, 2, 6, 3, 7)


@dataclasses.dataclass
class Format:
    """`store(name, matrix)` gives what is stored, by name, and the matrix that it stands for."""

    # The `quantization_config`.
    config: dict
    store: object
    # Ends of names of the tensors that it applies to.
    ends: tuple = ("_proj.weight",)


def blocks(matrix, rows, columns):
    """The largest magnitude of each block, and each element's block's."""
    padded = torch.nn.functional.pad(matrix, (0, -matrix.shape[1] % columns, 0, -matrix.shape[0] % rows))
    most = padded.abs().unflatten(0, (-1, rows)).unflatten(2, (-1, columns)).amax(dim=(1, 3)).clamp(min=1e-6)
    spread = most.repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    return most, spread[:matrix.shape[0], :matrix.shape[1]]


def fp8(rows, columns, end, scale_type, dtype=torch.float8_e4m3fn):
    """8-bit floats with a scale for each block of rows and columns, 0 meaning all of them."""
    def store(name, matrix):
        of = rows or matrix.shape[0], columns or matrix.shape[1]
        most, _ = blocks(matrix, *of)
        scales = (most / torch.finfo(dtype).max).to(scale_type)
        spread = scales.float().repeat_interleave(of[0], 0).repeat_interleave(of[1], 1)
        spread = spread[:matrix.shape[0], :matrix.shape[1]]
        codes = (matrix / spread).clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)
        scales = scales.reshape(()) if not rows and not columns else scales
        stored = {name: codes, name + end: scales}
        if end == "_scale" and scales.dim() == 0:
            stored[name.replace("weight", "input_scale")] = torch.tensor(0.5)
        return stored, codes.float() * spread
    return store


def integers(matrix, bits, group, symmetric, order=None):
    """Codes, zeros and scales of each row's groups; `order`: the group of each column."""
    order = torch.arange(matrix.shape[1]) // group if order is None else order
    n_groups = int(order.max()) + 1
    grouped = [matrix[:, order == index] for index in range(n_groups)]
    top = 2 ** bits - 1
    if symmetric:
        zeros = torch.full((matrix.shape[0], n_groups), 2 ** (bits - 1), dtype=torch.int64)
        scales = torch.stack([part.abs().amax(1) for part in grouped], 1) / (2 ** (bits - 1) - 1)
    else:
        low = torch.stack([part.amin(1).clamp(max=0) for part in grouped], 1)
        high = torch.stack([part.amax(1).clamp(min=0) for part in grouped], 1)
        scales = (high - low) / top
        zeros = (-low / scales.half().float()).round().clamp(1, top).to(torch.int64)
    scales = scales.half()
    codes = (matrix / scales.float()[:, order]).round().to(torch.int64) + zeros[:, order]
    codes = codes.clamp(0, top)
    return codes, zeros, scales, scales.float()[:, order] * (codes - zeros[:, order]).float()


def words(codes, bits, dim, places=None):
    """Codes along `dim` in 32-bit words, the last ones filled with zeros."""
    codes, per_word = codes.movedim(dim, -1), 32 // bits
    codes = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % per_word)).unflatten(-1, (-1, per_word))
    shifts = torch.tensor(places or range(per_word)) * bits
    packed = (codes << shifts).sum(-1)
    return torch.where(packed >= 2 ** 31, packed - 2 ** 32, packed).to(torch.int32).movedim(-1, dim).contiguous()


def packed(bits, group, symmetric):
    """compressed-tensors' integers."""
    def store(name, matrix):
        codes, zeros, scales, values = integers(matrix, bits, group, symmetric)
        stored = {name + "_packed": words(codes, bits, 1), name + "_scale": scales,
                  name + "_shape": torch.tensor(matrix.shape)}
        if not symmetric:
            stored[name + "_zero_point"] = words(zeros, bits, 0)
        return stored, values
    return store


def gptq(bits, group, second, act_order):
    def store(name, matrix):
        order = torch.arange(matrix.shape[1]) // group
        order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(1))] if act_order else order
        codes, zeros, scales, values = integers(matrix, bits, group, False, order)
        base = name.removesuffix("weight")
        return {base + "qweight": words(codes, bits, 1).T.contiguous(), base + "scales": scales.T.contiguous(),
                base + "qzeros": words(zeros.T - (0 if second else 1), bits, 1),
                base + "g_idx": order.to(torch.int32)}, values
    return store


def awq(name, matrix, group=32):
    codes, zeros, scales, values = integers(matrix, 4, group, False)
    base = name.removesuffix("weight")
    return {base + "qweight": words(codes.T, 4, 1, INTERLEAVED), base + "scales": scales.T.contiguous(),
            base + "qzeros": words(zeros.T, 4, 1, INTERLEAVED)}, values


def nearest(matrix):
    """Codes of 4-bit floats, two in a byte."""
    codes = (matrix.unsqueeze(-1) - E2M1).abs().argmin(-1)
    return codes, (codes[..., ::2] | codes[..., 1::2] << 4).to(torch.uint8)


def mxfp4(name, matrix):
    """Powers of two for groups of 32, stored as their exponents."""
    exponents = (blocks(matrix, 1, 32)[0] / 6).log2().ceil()
    spread = (2.0 ** exponents).repeat_interleave(32, 1)
    codes, halves = nearest(matrix / spread)
    return halves, (exponents + 127).to(torch.uint8), E2M1[codes] * spread


def packed_mxfp4(name, matrix):
    halves, exponents, values = mxfp4(name, matrix)
    return {name + "_packed": halves, name + "_scale": exponents}, values


def expert_mxfp4(name, stack):
    """gpt-oss's: the transposed matrices of all experts, in blocks of 16 bytes."""
    parts = [mxfp4(name, matrix.T) for matrix in stack]
    halves, exponents, values = (torch.stack(part) for part in zip(*parts))
    return {name + "_blocks": halves.unflatten(-1, (-1, 16)), name + "_scales": exponents}, values.transpose(1, 2)


def nvfp4(names):
    """4-bit floats with an 8-bit scale for each 16 and one for all. `names`: of codes, scales, scale of all, scale of
    activations, the last two as reciprocals with compressed-tensors."""
    def store(name, matrix):
        base, inverse = name.removesuffix("weight"), names[0] != "weight"
        whole = matrix.abs().amax() / (6 * 448)
        scales = (blocks(matrix, 1, 16)[0] / 6 / whole).to(torch.float8_e4m3fn)
        spread = scales.float().repeat_interleave(16, 1)
        codes, halves = nearest(matrix / (spread * whole))
        stored = [halves, scales, 1 / whole if inverse else whole, torch.tensor(0.25)]
        whole = 1 / (1 / whole) if inverse else whole
        return {base + part: tensor for part, tensor in zip(names, stored)}, E2M1[codes] * spread * whole
    return store


def compressed(format_name, **weights):
    weights = dict(dict(num_bits=4, type="int", strategy="group", symmetric=True), **weights)
    return dict(quant_method="compressed-tensors", format=format_name,
                config_groups=dict(group_0=dict(targets=["Linear"], weights=weights)))


FORMATS = {
    "fp8": Format(dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[32, 16]),
                  fp8(32, 16, "_scale_inv", torch.float32)),
    # Blocks that divide nothing, scales in 16 bits, and the other kind of float.
    "fp8-odd": Format(dict(quant_method="fp8", fmt="e5m2", activation_scheme="dynamic", weight_block_size=[40, 24]),
                      fp8(40, 24, "_scale_inv", torch.bfloat16, torch.float8_e5m2)),
    "fp8-channel": Format(compressed("float-quantized", type="float", num_bits=8, strategy="channel"),
                          fp8(1, 0, "_scale", torch.bfloat16)),
    "fp8-static": Format(dict(quant_method="modelopt", quant_algo="FP8"), fp8(0, 0, "_scale", torch.float32)),
    "packed4": Format(compressed("pack-quantized", group_size=32), packed(4, 32, True)),
    "packed8-asymmetric": Format(compressed("pack-quantized", num_bits=8, group_size=16, symmetric=False),
                                 packed(8, 16, False)),
    "packed-mxfp4": Format(compressed("mxfp4-pack-quantized", type="float", group_size=32), packed_mxfp4),
    "gptq": Format(dict(quant_method="gptq", bits=4, group_size=32, desc_act=True), gptq(4, 32, False, True)),
    "gptq8": Format(dict(quant_method="gptq", bits=8, group_size=32, checkpoint_format="gptq_v2"),
                    gptq(8, 32, True, False)),
    "awq": Format(dict(quant_method="awq", bits=4, group_size=32, version="gemm", zero_point=True), awq),
    "mxfp4": Format(dict(quant_method="mxfp4"), expert_mxfp4, ("experts.gate_up_proj", "experts.down_proj")),
    "nvfp4": Format(dict(quant_method="modelopt", quant_algo="NVFP4", group_size=16),
                    nvfp4(("weight", "weight_scale", "weight_scale_2", "input_scale"))),
    "packed-nvfp4": Format(
        compressed("nvfp4-pack-quantized", type="float", group_size=16, strategy="tensor_group"),
        nvfp4(("weight_packed", "weight_scale", "weight_global_scale", "input_global_scale"))),
}
