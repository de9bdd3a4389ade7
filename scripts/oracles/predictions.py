"""What the layer of GLM-4.5 and GLM-4.7 Flash for the token after the next expects: a job per line, {"folder", "tokens", "n"}; answers
{"tokens"}, the `n` likeliest tokens behind the last of `tokens`, one behind the other.

Transformers leaves that layer out, so its parts are put together here, as the model's authors and vLLM's glm4_moe_mtp do: the
embedding of each token and the state that the other layers had before it (behind the last norm), each normalised, side by
side through `eh_proj`, a decoder layer like the others, `shared_head`."""

import json
import pathlib
import sys

import safetensors.torch
import torch
from transformers import AutoConfig, AutoModelForCausalLM


def parts(folder, config, kind):
    """The layer's norms, and the matrices that no other layer has."""
    front = f"model.layers.{config.num_hidden_layers}."
    tensors = safetensors.torch.load_file(pathlib.Path(folder, "model.safetensors"))
    weight = lambda name: tensors[f"{front}{name}.weight"].float()
    norms = {}
    for name in ("enorm", "hnorm", "shared_head.norm"):
        norms[name] = kind(config.hidden_size, eps=config.rms_norm_eps)
        norms[name].weight.data = weight(name)
    return norms, {name: weight(name) for name in ("eh_proj", "embed_tokens", "shared_head.head")}


def expect(job):
    config = AutoConfig.from_pretrained(job["folder"])
    model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32).eval()
    norms, rest = parts(job["folder"], config, type(model.model.norm))
    # A model of one more layer takes the layer's other matrices out of the same folder.
    deeper = AutoConfig.from_pretrained(job["folder"])
    deeper.num_hidden_layers += 1
    if getattr(deeper, "mlp_layer_types", None):
        deeper.mlp_layer_types = [*deeper.mlp_layer_types, "sparse"]
    layer = AutoModelForCausalLM.from_pretrained(job["folder"], config=deeper, dtype=torch.float32).eval()
    layer = layer.model.layers[config.num_hidden_layers]
    tokens, found = list(job["tokens"]), []
    with torch.no_grad():
        states = model.model(torch.tensor([tokens[:-1]])).last_hidden_state[0]
        states = torch.cat([torch.zeros(1, config.hidden_size), states])
        while len(found) < job["n"]:
            n = len(tokens)
            embedded = rest["embed_tokens"][torch.tensor(tokens)]
            joined = torch.cat([norms["enorm"](embedded), norms["hnorm"](states)], -1) @ rest["eh_proj"].T
            places = torch.arange(n)[None]
            mask = torch.full((n, n), float("-inf")).triu(1)[None, None]
            rotary = model.model.rotary_emb(joined[None], places)
            out = layer(joined[None], attention_mask=mask, position_ids=places, position_embeddings=rotary)
            out = out[0] if isinstance(out, tuple) else out
            out = norms["shared_head.norm"](out.reshape(n, -1))
            logits = out[-1] @ rest["shared_head.head"].T
            found.append(int(logits.argmax()))
            tokens.append(found[-1])
            states = torch.cat([states, out[-1:]])
    return {"tokens": found}


for line in sys.stdin:
    print(json.dumps(expect(json.loads(line))), flush=True)
