"""What transformers makes of texts: sentence_vectors.py MODEL POOLING TEXTS OUT.

TEXTS is a JSON list; OUT gets one row of numbers per text: with a POOLING of mean, cls or last, its vector with a length
of one; with rank, the scores of the first text paired with it."""

import json
import sys

import torch
import transformers

model, pooling, texts, out = sys.argv[1:]
tokenizer = transformers.AutoTokenizer.from_pretrained(model)
auto = transformers.AutoModelForSequenceClassification if pooling == "rank" else transformers.AutoModel
network = auto.from_pretrained(model, dtype=torch.float32).eval()
rows = []
with open(texts, encoding="utf-8") as file, torch.no_grad():
    texts = json.load(file)
for text in texts:
    with torch.no_grad():
        if pooling == "rank":
            # The engine counts both texts as the first of a pair.
            pair = tokenizer(texts[0], text, return_tensors="pt")
            pair.pop("token_type_ids", None)
            rows.append(network(**pair).logits[0].tolist())
            continue
        states = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
    vector = dict(mean=states.mean(0), cls=states[0], last=states[-1])[pooling]
    rows.append(torch.nn.functional.normalize(vector, dim=0).tolist())
with open(out, "w", encoding="utf-8") as file:
    json.dump(rows, file)
