"""What the Python package onnxruntime makes of graphs with static ranges: one JSON line for each job on standard input.

    {"job": "divergence", "checkpoint", "graph", "windows"}
    {"job": "greedy", "graph", "prompt", "n"}
    {"job": "quantize", "graph", "windows", "work", "out", "smooth", "leave"}
    {"job": "operators", "graph", "work"}

`divergence` is the mean over all tokens of `windows`, read each from nothing, of the Kullback-Leibler divergence (nats) of what a
graph foretells on the CPU provider from what transformers does in 32-bit floats, with how often the likeliest token is the same.
`greedy` generates `n` tokens, reading all again for each. `quantize` is onnxruntime's own `quantize_static` by channel and
min-max, symmetric, of what flows into a graph's products but those whose output is named in `leave`, after its own preparation; `smooth` asks for
its SmoothQuant. `operators` counts what the graph's nodes have become when the CPU provider runs them."""

import collections
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quant_pre_process, quantize_static

REFERENCES = {}


def session(graph, **settings):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    for name, value in settings.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def feeds(ports, tokens):
    given = {"input_ids": np.array([tokens], dtype=np.int64), "attention_mask": np.ones((1, len(tokens)), dtype=np.int64)}
    for port in ports:
        if port.name not in given:
            given[port.name] = np.zeros((1, port.shape[1], 0, port.shape[3]), dtype=np.float32)
    return given


def logits_of(graph):
    run = session(graph)
    return lambda tokens: run.run(["logits"], feeds(run.get_inputs(), tokens))[0][0]


def references(checkpoint, windows):
    key = (checkpoint, json.dumps(windows))
    if key not in REFERENCES:
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        with torch.no_grad():
            REFERENCES[key] = [torch.log_softmax(model(torch.tensor([window])).logits[0], -1) for window in windows]
    return REFERENCES[key]


def divergence(job):
    logits = logits_of(job["graph"])
    sum_of, same, n = 0.0, 0, 0
    for window, reference in zip(job["windows"], references(job["checkpoint"], job["windows"])):
        got = torch.log_softmax(torch.from_numpy(logits(window)), -1)
        sum_of += float((reference.exp() * (reference - got)).sum())
        same += int((reference.argmax(-1) == got.argmax(-1)).sum())
        n += len(window)
    return {"kld": sum_of / n, "same": same / n}


def greedy(job):
    logits, tokens = logits_of(job["graph"]), list(job["prompt"])
    for _ in range(job["n"]):
        tokens.append(int(logits(tokens)[-1].argmax()))
    return {"tokens": tokens[len(job["prompt"]):]}


class Windows(CalibrationDataReader):
    def __init__(self, graph, windows):
        ports = session(graph).get_inputs()
        self.rest = iter([feeds(ports, window) for window in windows])

    def get_next(self):
        return next(self.rest, None)


def quantize(job):
    whole, plain = (str(pathlib.Path(job["work"]) / name) for name in ("whole.onnx", "plain.onnx"))
    onnx.save(onnx.load(job["graph"]), whole)
    quant_pre_process(whole, plain, skip_symbolic_shape=True)
    options = {"ActivationSymmetric": True, "WeightSymmetric": True,
               "OpTypesToExcludeOutputQuantization": ["MatMul"]}
    if job["smooth"]:
        options["SmoothQuant"] = True
    leave = [node.name for node in onnx.load(plain).graph.node if set(node.output) & set(job["leave"])]
    try:
        quantize_static(plain, job["out"], Windows(plain, job["windows"]), quant_format=QuantFormat.QDQ,
                        op_types_to_quantize=["MatMul"], per_channel=True, activation_type=QuantType.QInt8,
                        weight_type=QuantType.QInt8, nodes_to_exclude=leave, extra_options=options)
    except RuntimeError as error:
        if "neural-compressor" not in str(error):
            raise
        return {"refused": str(error)}
    return {"refused": None}


def operators(job):
    path = str(pathlib.Path(job["work"]) / "optimized.onnx")
    session(job["graph"], optimized_model_filepath=path)
    graph = onnx.load(path, load_external_data=False).graph
    return dict(collections.Counter(node.op_type for node in graph.node))


JOBS = {"divergence": divergence, "greedy": greedy, "quantize": quantize, "operators": operators}
for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(JOBS[job["job"]](job)), flush=True)
