"""What an encoder-decoder of transformers answers, greedily: answers.py MODEL N_TOKENS TEXTS OUT.

TEXTS is a JSON list; OUT gets the ids of one answer each, without the decoder's start, the end included."""

import json
import sys

import torch
import transformers

model, n_tokens, texts, out = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(model)
network = transformers.AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32).eval()
with open(texts, encoding="utf-8") as file:
    texts = json.load(file)
rows = []
for text in texts:
    prompt = tokenizer(text, return_tensors="pt")
    answer = network.generate(**prompt, max_new_tokens=int(n_tokens), do_sample=False, num_beams=1)
    rows.append(answer[0][1:].tolist())
with open(out, "w", encoding="utf-8") as file:
    json.dump(rows, file)
