"""Writes the tiny checkpoints of tiny/*.py: tiny_models.py OUT BYTE_LEVEL SENTENCEPIECE TOKENIZERS [WORDS].

Tokenizers are copied from the checkpoints BYTE_LEVEL and SENTENCEPIECE and from the folders below TOKENIZERS. With
WORDS, only the checkpoints whose name has one of them: they are separated by commas."""

import importlib
import pathlib
import pkgutil
import sys

import tiny
from tiny import checkpoint

out, *sources = map(pathlib.Path, sys.argv[1:5])
checkpoint.BYTE_LEVEL, checkpoint.SENTENCEPIECE, checkpoint.TOKENIZERS = sources
words = (sys.argv[5] if len(sys.argv) > 5 else "").split(",")
for module in pkgutil.iter_modules(tiny.__path__):
    models = getattr(importlib.import_module(f"tiny.{module.name}"), "MODELS", {})
    for name, model in models.items():
        if any(word in name for word in words):
            model.write(out / name)
