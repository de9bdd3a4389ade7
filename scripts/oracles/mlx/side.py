"""mlx-lm, asked by tests: a line of JSON in, a line out.

{"job": "generate", "folder": F, "prompt": [ids], "n": N}: what mlx-lm's own loop writes greedily.
{"job": "greedy", ...}: the first of the likeliest by the model's logits themselves; mlx-lm's loop chooses by their 16-bit
differences from a sum, among which more are equal.
"""

import json
import pathlib
import sys

import mlx.core as mx
import numpy as np
from mlx_lm.generate import generate_step
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model


def generate(model, prompt, n):
    steps = generate_step(mx.array(prompt), model, max_tokens=n)
    return [int(token) for (token, _), _ in zip(steps, range(n))]


def greedy(model, prompt, n):
    cache = make_prompt_cache(model)
    if len(prompt) > 1:
        model(mx.array(prompt[:-1])[None], cache=cache)
        mx.eval([layer.state for layer in cache])
    token, made = prompt[-1], []
    while len(made) < n:
        logits = model(mx.array([[token]]), cache=cache)[0, -1].astype(mx.float32)
        token = int(np.argmax(np.array(logits)))
        made.append(token)
    return made


JOBS = {"generate": generate, "greedy": greedy}
for line in sys.stdin:
    job = json.loads(line)
    model, _ = load_model(pathlib.Path(job["folder"]))
    print(json.dumps({"tokens": JOBS[job["job"]](model, job["prompt"], job["n"])}), flush=True)
