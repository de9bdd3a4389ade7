"""Tokenizes with the Hugging Face library: library_ids.py TOKENIZER_JSON TEXTS OUT.

TEXTS is a JSON list of texts; OUT gets a list of [ids, ids with special tokens, text of the latter]."""

import json
import sys

import tokenizers

tokenizer_json, texts, out = sys.argv[1:]
tokenizer = tokenizers.Tokenizer.from_file(tokenizer_json)
tokenizer.no_padding()
tokenizer.no_truncation()
# Version 0.23 prints special tokens that are matched in the normalized text, even when asked to skip them.
special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
rows = []
with open(texts, encoding="utf-8") as file:
    for text in json.load(file):
        ids = tokenizer.encode(text, add_special_tokens=True).ids
        kept = [id for id in ids if id not in special]
        text_of_kept = tokenizer.decode(kept, skip_special_tokens=False)
        rows.append([tokenizer.encode(text, add_special_tokens=False).ids, ids, text_of_kept])
with open(out, "w", encoding="utf-8") as file:
    json.dump(rows, file)
