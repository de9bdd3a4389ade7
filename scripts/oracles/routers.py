#!/usr/bin/env python3
"""Which experts transformers' routers choose: routers.py MODEL TOKENS N_USED, where TOKENS is JSON, a list of windows of ids.

Prints JSON: for each layer how often each expert is among the first N_USED at the positions of each window's second half that
have a next token, which are those that the evaluator scores.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    model_path, tokens_path, n_used = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with open(tokens_path, encoding="utf-8") as file:
        windows = json.load(file)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32).eval()
    counts = None
    for window in windows:
        with torch.no_grad():
            routed = model(torch.tensor([window]), output_router_logits=True).router_logits
        first, last = len(window) // 2, len(window) - 1
        # Some versions put all tokens of a layer into rows, others keep the batch.
        chosen = [layer.reshape(len(window), -1)[first:last].topk(n_used).indices for layer in routed]
        if counts is None:
            counts = [torch.zeros(layer.shape[-1], dtype=torch.long) for layer in routed]
        for count, experts in zip(counts, chosen):
            count += torch.bincount(experts.flatten(), minlength=len(count))
    print(json.dumps([count.tolist() for count in counts]))


main()
