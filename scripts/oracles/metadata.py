"""Metadata that llama.cpp's converter writes for configurations without weights: metadata.py SOURCE_TREE < CASES > ANSWERS.

CASES is a JSON list of {directory, config, generation, card, total}; each answer holds `keys`, a list of [key, type,
value] in the order written (floats as the hex of their four bytes), and `factors`, the generated rope_freqs."""

import json
import logging
import pathlib
import struct
import sys
import tempfile

tree = sys.argv[1]
sys.path[:0] = [tree, tree + "/gguf-py"]

import convert_hf_to_gguf  # noqa: E402,F401
import gguf  # noqa: E402
from conversion import get_model_class  # noqa: E402

logging.disable(logging.CRITICAL)


def plain(value):
    if isinstance(value, float):
        return struct.pack("<f", value).hex()
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def answer(case):
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / case["directory"]
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(case["config"]))
        if case.get("generation") is not None:
            (folder / "generation_config.json").write_text(json.dumps(case["generation"]))
        if case.get("card") is not None:
            (folder / "README.md").write_text(case["card"])
        text = case["config"].get("text_config", {})
        model_class = get_model_class(text.get("architectures", case["config"]["architectures"])[0])
        model = model_class(folder, gguf.LlamaFileType.MOSTLY_BF16, folder / "out.gguf")
        metadata = gguf.Metadata.load(None, folder, None, case["total"])
        if metadata.size_label is None and case["total"] > 0:
            metadata.size_label = gguf.size_label(case["total"], case["total"], 0, 0)
        model.set_type()
        metadata.set_gguf_meta_model(model.gguf_writer)
        model.set_gguf_parameters()
        model.gguf_writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        factors = [tensor.numpy().tolist() for _, tensor in model.generate_extra_tensors()]
        keys = []
        for key, value in model.gguf_writer.kv_data[0].items():
            kind = value.type.name
            convert = {"FLOAT32": float, "ARRAY": list}.get(kind, lambda own: own)
            keys.append([key, kind, plain(convert(value.value))])
        return {"keys": keys, "factors": plain(factors[0]) if factors else None}


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
