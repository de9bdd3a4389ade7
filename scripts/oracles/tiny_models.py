"""Writes tiny checkpoints with random weights, one per mechanism: tiny_models.py OUT TOKENIZER_BYTE_LEVEL TOKENIZER_SENTENCEPIECE.

Shapes are small, seeds fixed; the tokenizers are copied from the two given folders."""

import json
import pathlib
import shutil
import sys

import torch
import transformers as t

out, byte_level, sentencepiece = map(pathlib.Path, sys.argv[1:])
common = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=128)
MODELS = {
    "llama": (t.LlamaConfig(**common), torch.float16, sentencepiece, "10GB"),
    "llama-tied-sharded": (t.LlamaConfig(tie_word_embeddings=True, **common), torch.bfloat16, sentencepiece, "100KB"),
    "llama-3-scaled": (t.LlamaConfig(rope_scaling=llama3, rope_theta=500000.0, **common), torch.bfloat16, byte_level, "10GB"),
    "llama-bias": (t.LlamaConfig(attention_bias=True, **common), torch.float32, sentencepiece, "10GB"),
    "mistral": (t.MistralConfig(sliding_window=None, **common), torch.bfloat16, sentencepiece, "10GB"),
    "mixtral": (t.MixtralConfig(num_local_experts=4, num_experts_per_tok=2, **common), torch.bfloat16, sentencepiece, "10GB"),
    "qwen3": (t.Qwen3Config(head_dim=32, tie_word_embeddings=True, **common), torch.bfloat16, byte_level, "10GB"),
    "qwen3-untied": (t.Qwen3Config(head_dim=32, tie_word_embeddings=False, **common), torch.float32, byte_level, "10GB"),
    "qwen3-moe": (t.Qwen3MoeConfig(head_dim=32, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                   decoder_sparse_step=1, **common), torch.bfloat16, byte_level, "100KB"),
}
for name, (config, dtype, tokenizer, shard) in MODELS.items():
    torch.manual_seed(len(name))
    folder = out / name
    config.vocab_size = json.load(open(tokenizer / "config.json"))["vocab_size"]
    model = t.AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder, max_shard_size=shard)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / file, folder / file)
