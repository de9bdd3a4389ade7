"""One tiny checkpoint: what it is made of, writing it, and what transformers computes with it.

Shapes are small, seeds fixed, so that a checkpoint is the same wherever it is made."""

import dataclasses
import json
import pathlib
import random
import shutil
import tempfile

import safetensors.torch
import torch
import transformers

FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16
NAMES = {F32: "F32", F16: "F16", BF16: "BF16"}
# Positions that the reference logits cover.
N_POSITIONS = 64
# Where the tokenizers come from: set by tiny_models.py before the families are read.
BYTE_LEVEL = SENTENCEPIECE = TOKENIZERS = pathlib.Path()


@dataclasses.dataclass
class Model:
    """A configuration of transformers, the type of the weights, the folder of the tokenizer."""

    config: object
    dtype: torch.dtype
    tokenizer: pathlib.Path
    # The class that has the weights.
    auto: str = "AutoModelForCausalLM"
    # Files of the tokenizer's folder that go with it.
    files: tuple = FILES
    # What to write as tokenizer_config.json instead.
    settings: dict | None = None
    # Parts of tokenizer.json to put in the place of its own.
    parts: dict | None = None
    # Ids beyond the tokenizer's own.
    beyond: int = 0
    # Largest size of a shard.
    shard: str = "10GB"
    # Whether rotary parameters are spelled as in files of older versions.
    old_rope: bool = False
    # Whether types are mixed and headers shuffled.
    mixed: bool = False
    # The format that matrices are quantized in, one of formats.py.
    format: object = None
    # Whether llama.cpp's converter reads it.
    converted: bool = True
    # Whether the engine runs it: llama.cpp's converter writes more than its engine reads.
    runs: bool = True
    # What the weights of norms are near: what makes attention tell positions apart.
    norms: float = 1.0
    # Largest difference of logits, relative to the largest logit: what another order of summing leaves. ggml looks GELU
    # up in a table of 16-bit floats, which leaves more.
    max_error: float = 2e-5
    # Further files, by name, as what their JSON says.
    beside: dict = dataclasses.field(default_factory=dict)
    # The part that reads texts, where the whole asks for an image.
    reads: str = ""
    # What a decoder that is read with makes of its logits.
    scores: object = None
    # Called with the model after its weights were drawn, and with the folder after it was saved.
    weights: object = None
    saved: object = None

    def write(self, folder):
        """Writes the checkpoint, and reference.st: `tokens`, the `logits` after each or what `reference` has instead, and
        their `max_error`."""
        self.config.get_text_config().vocab_size = n_tokens(self.tokenizer) + self.beyond
        torch.manual_seed(len(folder.name))
        made = getattr(transformers, self.auto)
        model = rounded(getattr(made, "from_config", made)(self.config), self.dtype).eval()
        with torch.no_grad():
            # Buffers that are stored are weights as well: biases of routers.
            for name, parameter in model.state_dict().items():
                parameter.copy_(torch.randn_like(parameter) * 0.05)
                if "norm" in name.lower() and name.endswith(".weight"):
                    parameter.add_(self.norms)
            if self.weights:
                self.weights(model)
        model.save_pretrained(folder, max_shard_size=self.shard)
        if self.mixed:
            for shard in sorted(folder.glob("*.safetensors")):
                shuffle(shard)
        for file in self.files:
            if (self.tokenizer / file).is_file():
                shutil.copy(self.tokenizer / file, folder / file)
        for file, stated in self.beside.items():
            (folder / file).write_text(json.dumps(stated))
        if self.old_rope:
            respell_rope(folder / "config.json")
        if self.parts:
            stated = json.loads((folder / "tokenizer.json").read_text())
            (folder / "tokenizer.json").write_text(json.dumps(dict(stated, **self.parts)))
        if self.settings:
            (folder / "tokenizer_config.json").write_text(json.dumps(self.settings))
        if self.saved:
            self.saved(folder)
        if self.format:
            model = quantize(folder, self.format, self.auto)
        if not self.converted:
            (folder / "unconverted").touch()
        if self.runs and not self.mixed:
            stated = dict(reference(model, self.scores, self.reads), max_error=torch.tensor([self.max_error]))
            safetensors.torch.save_file(stated, folder / "reference.st")


def config(kind, plain=False, **more):
    """A configuration of the class called `kind`, tiny wherever `more` says nothing; `plain`: the class's own there."""
    return getattr(transformers, kind)(**more if plain else dict(
        dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2), **more))


def rounded(model, dtype):
    """The model with weights of another type; what is computed from the configuration is no weight."""
    computed = {name: buffer.clone() for name, buffer in model.named_buffers() if name not in model.state_dict()}
    model = model.to(dtype)
    for name, buffer in model.named_buffers():
        if name in computed:
            buffer.data = computed[name]
    return model


def quantize(folder, form, auto):
    """Stores the matrices of a checkpoint in another format, and returns the model that it then stands for."""
    path, stated = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    stored, values = {}, {}
    for name, tensor in safetensors.torch.load_file(path).items():
        values[name] = tensor.float()
        parts = {name: tensor}
        if name.endswith(form.ends):
            parts, values[name] = form.store(name, values[name])
        stored.update(parts)
    with tempfile.TemporaryDirectory() as plain:
        plain = pathlib.Path(plain)
        (plain / "config.json").write_text(json.dumps(dict(stated, dtype="float32")))
        values = {name: tensor.contiguous() for name, tensor in values.items()}
        safetensors.torch.save_file(values, plain / "model.safetensors", metadata={"format": "pt"})
        model = getattr(transformers, auto).from_pretrained(plain, dtype=F32).eval()
    stored = {name: tensor.contiguous() for name, tensor in stored.items()}
    safetensors.torch.save_file(stored, path, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(dict(stated, quantization_config=form.config)))
    return model


def reference(model, scores, reads):
    """What the model computes in 32-bit floats from the weights as they are stored. With `scores`, a function of the
    logits, what it is read for."""
    # Built anew: rotary frequencies were rounded with the weights.
    weights = model.float().state_dict()
    model = type(model)(model.config).eval()
    model.load_state_dict(weights)
    model = getattr(model, reads) if reads else model
    tokens = torch.randint(3, model.config.get_text_config().vocab_size - 8, (1, N_POSITIONS))
    stated = dict(tokens=tokens[0].to(torch.int32))
    with torch.no_grad():
        if "T5For" in type(model).__name__:
            # What the encoder reads, and what the decoder writes after its start.
            prompt, tokens[0, 0] = torch.flip(tokens, [1]), model.config.decoder_start_token_id
            logits = model(input_ids=prompt, decoder_input_ids=tokens, use_cache=False).logits[0]
            return dict(prompt=prompt[0].to(torch.int32), tokens=tokens[0].to(torch.int32), logits=logits.contiguous())
        if scores:
            stated["scores"] = scores(model(input_ids=tokens).logits[0]).contiguous()
        elif "CausalLM" in type(model).__name__ or "ConditionalGeneration" in type(model).__name__:
            return dict(stated, logits=model(input_ids=tokens, use_cache=False).logits[0].contiguous())
        # What reads: a vector for each token, and scores of the whole where there is a classifier.
        base = model.base_model
        stated["vectors"] = base(input_ids=tokens).last_hidden_state[0].contiguous()
        if "SequenceClassification" in type(model).__name__:
            stated["scores"] = model(input_ids=tokens).logits[0].contiguous()
    return stated


def n_tokens(folder):
    if (folder / "config.json").is_file():
        return json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    return 1 + max([*ids, *(token["id"] for token in tokenizer["added_tokens"])])


def respell_rope(path):
    stated = json.loads(path.read_text())
    rope = stated.pop("rope_parameters")
    stated["rope_theta"] = rope.pop("rope_theta")
    stated["rope_scaling"] = {"type": rope["rope_type"], **rope}
    path.write_text(json.dumps(stated))


def shuffle(path):
    """Stores the tensors of a file in another order, in the header and in the data, each in one of three types."""
    tensors = list(safetensors.torch.load_file(path).items())
    random.Random(path.name).shuffle(tensors)
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for at, (name, tensor) in enumerate(tensors):
        dtype = (F32, F16, BF16)[at % 3]
        values = tensor.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()
        header[name] = dict(dtype=NAMES[dtype], shape=list(tensor.shape), data_offsets=[len(data), len(data) + len(values)])
        data += values
    # The data in the order given, the header in one more.
    names = list(header)
    random.Random(path.name + "header").shuffle(names)
    text = json.dumps({name: header[name] for name in names}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
