"""Runs llama.cpp's own converter: convert.py SOURCE_TREE (MODEL OUT TYPE PRE_TOKENIZER PART)... PART is `model`, or
`mmproj` for its projector.

The converter looks pre-tokenizers up by a hash and raises on those it has never seen; PRE_TOKENIZER is the
name to write instead. It reads configurations through transformers, whose classes give every Nemotron-H experts and spell
MiMo's rotary settings and Kimi K2.5's encoder in another way: for these it gets config.json as it is. It refuses DeepSeek V3.2 whose tokenizer does not add BOS, as those at
hand do not: the check is left out."""

import json
import pathlib
import sys

tree, *jobs = sys.argv[1:]
sys.path[:0] = [tree, tree + "/gguf-py"]

import convert_hf_to_gguf  # noqa: E402
from conversion import base, get_model_class  # noqa: E402
from conversion.base import TextModel  # noqa: E402
from conversion.deepseek import DeepseekV32Model  # noqa: E402


class AsWritten(base.AutoConfig):
    @classmethod
    def from_pretrained(cls, folder, **more):
        stated = json.loads((pathlib.Path(folder) / "config.json").read_text())
        if stated.get("model_type") in ("nemotron_h", "mimo_v2_flash", "kimi_k25"):
            raise ValueError("read config.json instead")
        return super().from_pretrained(folder, **more)


base.AutoConfig = AsWritten
DeepseekV32Model.set_vocab = TextModel._set_vocab_gpt2

# Of these, layers that predict further tokens are kept.
KEPT = ["Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", "Glm4MoeLiteForCausalLM"]


def exports_predictions(architecture):
    try:
        return get_model_class(architecture).supports_mtp_export
    except NotImplementedError:
        # The class of the part that writes is named beside that part.
        return False


for model, out, kind, pre, part in zip(*[iter(jobs)] * 5):
    TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=pre: pre
    # Other layers that predict further tokens are left out where the converter can leave them out.
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", kind, "--outfile", out]
    config = json.loads(pathlib.Path(model, "config.json").read_text())
    architecture = config["architectures"][0]
    predicts = architecture in KEPT and config.get("num_nextn_predict_layers", 0) > 0
    if part == "mmproj":
        sys.argv.append("--mmproj")
    elif exports_predictions(architecture):
        # What one conversion asked for stays with the class.
        get_model_class(architecture).no_mtp = False
        if not predicts:
            sys.argv.append("--no-mtp")
    convert_hf_to_gguf.main()
