"""Writes tiny checkpoints with random weights, one per mechanism: tiny_models.py OUT BYTE_LEVEL SENTENCEPIECE TOKENIZERS.

Shapes are small, seeds fixed. Tokenizers are copied from the checkpoints BYTE_LEVEL and SENTENCEPIECE and from the
folders gpt2, llama2 and SmolLM2-135M-Instruct below TOKENIZERS."""

import json
import pathlib
import random
import shutil
import sys

import safetensors.torch
import torch
import transformers as t

out, byte_level, sentencepiece, tokenizers = map(pathlib.Path, sys.argv[1:])
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
LLAMA_3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=128)
LINEAR = dict(rope_type="linear", factor=4.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=128, beta_fast=16.0, beta_slow=2.0)
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

# Tokens as objects, templates as a list, added tokens stated twice: how checkpoints of Llama 2's time look.
TOKEN = dict(__type="AddedToken", lstrip=False, normalized=True, rstrip=False, single_word=False)
LLAMA_2_SETTINGS = dict(
    tokenizer_class="LlamaTokenizer", add_bos_token=True, add_eos_token=False, add_prefix_space=True, pad_token=None,
    bos_token=dict(TOKEN, content="<s>"), eos_token=dict(TOKEN, content="</s>"), unk_token=dict(TOKEN, content="<unk>"),
    added_tokens_decoder={
        "0": dict(content="<unk>", special=True), "1": dict(content="<s>", special=True),
        "2": dict(content="</s>", special=True), "32000": dict(content="<|im_end|>", special=False),
        "32001": dict(content="\u2581two\u2581words", special=False)},
    chat_template=[dict(name="default", template="{{ messages }}\n"), dict(name="tool use", template="{{ tools }}")],
)


def config(kind, **more):
    return getattr(t, kind)(**dict(
        dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2), **more))


def moe(**more):
    return config("Qwen3MoeConfig", head_dim=32, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                  decoder_sparse_step=1, **more)


# name: configuration, type, tokenizer; then files to copy, settings of the tokenizer, ids beyond its own,
# shard size, whether rotary parameters are spelled as in older files, whether types are mixed and headers shuffled
MODELS = {
    "llama": (config("LlamaConfig"), F16, sentencepiece),
    "llama-tied-sharded": (config("LlamaConfig", tie_word_embeddings=True), BF16, sentencepiece, dict(shard="100KB")),
    "llama-3-scaled": (config("LlamaConfig", rope_scaling=LLAMA_3, rope_theta=500000.0), BF16, byte_level),
    "llama-3-scaled-old": (config("LlamaConfig", rope_scaling=LLAMA_3, rope_theta=500000.0, head_dim=32), F16, byte_level,
                           dict(old=True)),
    "llama-linear": (config("LlamaConfig", rope_scaling=LINEAR, num_key_value_heads=4), BF16, byte_level, dict(old=True)),
    "llama-yarn": (config("LlamaConfig", rope_scaling=YARN, head_dim=32), BF16, byte_level),
    "llama-bias": (config("LlamaConfig", attention_bias=True, mlp_bias=True), F32, sentencepiece),
    "llama-tokenizer-model": (config("LlamaConfig"), BF16, tokenizers / "llama2",
                              dict(files=FILES + ("tokenizer.model",), settings=LLAMA_2_SETTINGS, beyond=5)),
    "llama-tokenizer-model-alone": (config("LlamaConfig"), BF16, tokenizers / "llama2",
                                    dict(files=("tokenizer.model",))),
    "llama-tokenizer-json": (config("LlamaConfig"), BF16, tokenizers / "llama2"),
    "llama-smol": (config("LlamaConfig", tie_word_embeddings=True), BF16, tokenizers / "SmolLM2-135M-Instruct"),
    "llama-mixed": (config("LlamaConfig"), F32, sentencepiece, dict(shard="100KB", mixed=True)),
    "mistral": (config("MistralConfig", sliding_window=None), BF16, sentencepiece),
    "mixtral": (config("MixtralConfig", num_local_experts=4, num_experts_per_tok=2), BF16, sentencepiece),
    "qwen3": (config("Qwen3Config", head_dim=32, tie_word_embeddings=True), BF16, byte_level),
    "qwen3-untied": (config("Qwen3Config", head_dim=32, tie_word_embeddings=False), F32, byte_level, dict(beyond=7)),
    "qwen3-bias": (config("Qwen3Config", head_dim=16, attention_bias=True), F16, byte_level),
    "qwen3-gpt2": (config("Qwen3Config", head_dim=16), BF16, tokenizers / "gpt2", dict(beyond=15)),
    "qwen3-moe": (moe(), BF16, byte_level, dict(shard="100KB")),
    "qwen3-moe-mixed": (moe(), BF16, byte_level, dict(shard="100KB", mixed=True)),
    "qwen3-moe-tied": (moe(tie_word_embeddings=True), F32, byte_level),
}


def n_tokens(folder):
    if (folder / "config.json").is_file():
        return json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    return 1 + max([*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"])])


NAMES = {F32: "F32", F16: "F16", BF16: "BF16"}


def shuffle(path):
    """Stores the tensors of a file in another order, in the header and in the data, each in one of three types."""
    tensors = list(safetensors.torch.load_file(path).items())
    random.Random(path.name).shuffle(tensors)
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for at, (name, tensor) in enumerate(tensors):
        dtype = (F32, F16, BF16)[at % 3]
        values = tensor.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = dict(dtype=NAMES[dtype], shape=list(tensor.shape), data_offsets=[len(data), len(data) + len(values)])
        data += values
    # The data in the order given, the header in one more.
    names = list(header)
    random.Random(path.name + "header").shuffle(names)
    text = json.dumps({name: header[name] for name in names}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


for name, (settings, dtype, tokenizer, *more) in MODELS.items():
    more = more[0] if more else {}
    folder = out / name
    settings.vocab_size = n_tokens(tokenizer) + more.get("beyond", 0)
    torch.manual_seed(len(name))
    model = t.AutoModelForCausalLM.from_config(settings).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder, max_shard_size=more.get("shard", "10GB"))
    if more.get("mixed"):
        for shard in sorted(folder.glob("*.safetensors")):
            shuffle(shard)
    for file in more.get("files", FILES):
        if (tokenizer / file).is_file():
            shutil.copy(tokenizer / file, folder / file)
    if more.get("old"):
        stated = json.loads((folder / "config.json").read_text())
        rope = stated.pop("rope_parameters")
        stated["rope_theta"] = rope.pop("rope_theta")
        stated["rope_scaling"] = {"type": rope["rope_type"], **rope}
        (folder / "config.json").write_text(json.dumps(stated))
    if "settings" in more:
        (folder / "tokenizer_config.json").write_text(json.dumps(more["settings"]))
