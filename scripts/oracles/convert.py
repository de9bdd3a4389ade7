"""Runs llama.cpp's own converter: convert.py SOURCE_TREE (MODEL OUT TYPE PRE_TOKENIZER)...

The converter looks pre-tokenizers up by a hash and raises on those it has never seen; PRE_TOKENIZER is the
name to write instead."""

import sys

tree, *jobs = sys.argv[1:]
sys.path[:0] = [tree, tree + "/gguf-py"]

import convert_hf_to_gguf  # noqa: E402
from conversion.base import TextModel  # noqa: E402

for model, out, kind, pre in zip(*[iter(jobs)] * 4):
    TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=pre: pre
    sys.argv = ["convert_hf_to_gguf.py", model, "--outtype", kind, "--outfile", out]
    convert_hf_to_gguf.main()
