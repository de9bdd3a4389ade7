"""Tiny random models of vision and speech with what transformers computes of them, and ONNX's checker: one JSON line for each
job on standard input.

    {"job": "make", "kind", "folder"}      a checkpoint of a kind (vit, vit-bare, vit-wide, clip, clip-legacy, whisper, whisper-wide) in `folder`,
                                           with inputs and outputs in `folder`/reference.safetensors
    {"job": "speak", "folder"}             a tiny Whisper with tokenizer and configurations in `folder`, sounds in `folder`/sounds.safetensors, and
                                           the segments that transformers' `generate` gives for each
    {"job": "mel", "sound", "bands", "out"}   the features of 32-bit floats at 16 kHz, by PyTorch and by NumPy
    {"job": "pixels", "picture", "kind", "folder"}   an image processor's configuration, the picture's bytes and its tensor
    {"job": "check", "graph"}              runs ONNX's checker with shape inference; tells domains and the version of operators
"""

import json
import pathlib
import sys

import numpy as np
import onnx
import torch
import transformers
from safetensors.numpy import save_file

SEED = 11


def disturbed(model):
    """Weights that matter everywhere: norms and biases too, and logits far apart."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model.float().eval()


def vit(bare=False, **more):
    config = transformers.ViTConfig(hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=40,
                                    patch_size=8, num_labels=7, **more)
    model = disturbed((transformers.ViTModel if bare else transformers.ViTForImageClassification)(config))
    pixels = torch.randn(2, 3, 40, 40)
    made = model(pixels)
    named = {"last_hidden_state": made.last_hidden_state} if bare else {"logits": made.logits}
    return model, {"pixel_values": pixels}, named


def vit_wide():
    """Large enough for eight bits to matter: classes by which of many pictures are told apart."""
    config = transformers.ViTConfig(hidden_size=128, num_hidden_layers=6, num_attention_heads=4, intermediate_size=512, image_size=64,
                                    patch_size=8, num_labels=10)
    return disturbed(transformers.ViTForImageClassification(config)), {}, {}


def clip(end=3):
    text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=99,
                max_position_embeddings=20, eos_token_id=end, bos_token_id=1, pad_token_id=end)
    vision = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=32, patch_size=8)
    model = disturbed(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)))
    tokens = torch.randint(4, 90, (3, 12))
    # A legacy model's end is its largest token.
    for row, place in enumerate([11, 6, 9]):
        tokens[row, place:] = 98 if end == 2 else end
    pixels = torch.randn(2, 3, 32, 32)
    seen, read = model.vision_model(pixels), model.text_model(tokens)
    named = {
        "image_embeds": model.visual_projection(seen.pooler_output),
        "text_embeds": model.text_projection(read.pooler_output),
        "vision/last_hidden_state": seen.last_hidden_state,
        "text/last_hidden_state": read.last_hidden_state,
    }
    return model, {"pixel_values": pixels, "input_ids": tokens}, named


def whisper(**more):
    config = transformers.WhisperConfig(
        d_model=48, encoder_layers=2, decoder_layers=3, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=80, vocab_size=130, max_source_positions=60, max_target_positions=40, pad_token_id=1, bos_token_id=1,
        eos_token_id=1, decoder_start_token_id=2, suppress_tokens=None, begin_suppress_tokens=None, **more)
    model = disturbed(transformers.WhisperForConditionalGeneration(config))
    features, tokens = torch.randn(2, config.num_mel_bins, 120), torch.randint(3, 130, (2, 14))
    heard = model.model.encoder(features).last_hidden_state
    logits = model(features, decoder_input_ids=tokens).logits
    return model, {"input_features": features, "input_ids": tokens}, {"last_hidden_state": heard, "logits": logits}


KINDS = {
    "vit": vit,
    "vit-bare": lambda: vit(bare=True, hidden_act="gelu_pytorch_tanh", qkv_bias=False),
    "vit-wide": vit_wide,
    "clip": clip,
    "clip-legacy": lambda: clip(end=2),
    "whisper": whisper,
    "whisper-wide": lambda: whisper(num_mel_bins=128, tie_word_embeddings=False, activation_function="relu"),
}


def make(job):
    torch.manual_seed(SEED)
    with torch.no_grad():
        model, inputs, outputs = KINDS[job["kind"]]()
    folder = pathlib.Path(job["folder"])
    model.save_pretrained(folder)
    plain = lambda tensors: {name: np.ascontiguousarray(tensor.detach().numpy()) for name, tensor in tensors.items()}
    save_file(plain(inputs) | plain(outputs), folder / "reference.safetensors")
    return {}


def sounds(random):
    """A window of tones and noise, one that is longer than three, and one that changes."""
    def one(seconds, tones):
        time = np.arange(int(seconds * 16000)) / 16000
        waves = sum(np.sin(2 * np.pi * tone * time * (1 + 0.3 * at * time)) for at, tone in enumerate(tones))
        return (0.2 * waves * np.exp(-((time * 3) % 1)) + 0.02 * random.standard_normal(len(time))).astype(np.float32)

    return {"one": one(1.0, [220, 700]), "long": one(3.37, [150, 900, 2500]), "other": one(1.0, [3000, 90])}


# Words, then the end, the beginning, two languages, two tasks, no times, and times.
WORDS, END, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, NO_TIMES, MARKS = 100, 100, 101, 102, 103, 104, 105, 106, 51


def speak(job):
    from tokenizers import Tokenizer, models

    torch.manual_seed(SEED)
    folder = pathlib.Path(job["folder"])
    config = transformers.WhisperConfig(
        d_model=48, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=96,
        decoder_ffn_dim=96, vocab_size=NO_TIMES + 1 + MARKS, max_source_positions=50, max_target_positions=40, pad_token_id=END,
        bos_token_id=END, eos_token_id=END, decoder_start_token_id=START)
    model = disturbed(transformers.WhisperForConditionalGeneration(config))
    languages = {"<|en|>": ENGLISH, "<|de|>": GERMAN}
    tasks = {"translate": TRANSLATE, "transcribe": TRANSCRIBE}
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=START, eos_token_id=END, pad_token_id=END, bos_token_id=END, max_length=40, is_multilingual=True,
        lang_to_id=languages, task_to_id=tasks, no_timestamps_token_id=NO_TIMES, max_initial_timestamp_index=20,
        suppress_tokens=[5, 17, START], begin_suppress_tokens=[7, END], return_timestamps=False)
    model.save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(chunk_length=1)
    extractor.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({f"w{at}": at for at in range(WORDS)}, unk_token="w0"))
    marks = ["<|endoftext|>", "<|startoftranscript|>", *languages, "<|translate|>", "<|transcribe|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens(marks)
    tokenizer.add_special_tokens([f"<|{at / 50:.2f}|>" for at in range(MARKS)])
    tokenizer.save(str(folder / "tokenizer.json"))
    made = sounds(np.random.default_rng(SEED))
    save_file(made, folder / "sounds.safetensors")
    wanted = [("one", dict(language="en", task="transcribe")), ("one", dict(language="de", task="translate", return_timestamps=True)),
              ("other", dict(task="transcribe", return_timestamps=True)), ("other", dict(task="transcribe")),
              ("long", dict(language="de", task="transcribe", return_timestamps=True)),
              ("long", dict(task="translate", return_timestamps=True))]
    answers = []
    for sound, more in wanted:
        taken = extractor(made[sound], sampling_rate=16000, return_tensors="pt", truncation=False, return_attention_mask=True,
                          padding="longest" if sound == "long" else "max_length")
        with torch.no_grad():
            told = model.generate(taken.input_features, attention_mask=taken.attention_mask, return_segments=True, **more)
        answers.append({"sound": sound, **more, "segments": [
            {"start": float(one["start"]), "end": float(one["end"]), "tokens": one["tokens"].tolist()} for one in told["segments"][0]]})
    return {"answers": answers}


def mel(job):
    extractor = transformers.WhisperFeatureExtractor(feature_size=job["bands"])
    sound = np.fromfile(job["sound"], np.float32)
    padding = {"padding": "longest", "truncation": False} if len(sound) > extractor.n_samples else {}
    features = extractor(sound, sampling_rate=16000, return_tensors="np", **padding).input_features[0]
    padded = np.pad(sound, (0, max(0, extractor.n_samples - len(sound))))
    by_numpy = extractor._np_extract_fbank_features(padded[None], "cpu")[0]
    save_file({"torch": np.ascontiguousarray(features, np.float32), "numpy": np.ascontiguousarray(by_numpy, np.float32)}, job["out"])
    return {}


def pixels(job):
    from PIL import Image

    picture = Image.open(job["picture"]).convert("RGB")
    if job["kind"] == "small":
        picture = picture.resize((97, 61))
    folder = pathlib.Path(job["folder"])
    folder.mkdir(exist_ok=True)
    clip = transformers.CLIPImageProcessorPil
    processor = {
        "vit": lambda: transformers.ViTImageProcessorPil(),
        "clip": lambda: clip(),
        "small": lambda: clip(size={"shortest_edge": 60}, crop_size={"height": 81, "width": 120}),
        "lanczos": lambda: transformers.ViTImageProcessorPil(size={"height": 301, "width": 500}, resample=1),
    }[job["kind"]]()
    processor.save_pretrained(folder)
    tensor = processor(picture, return_tensors="np")["pixel_values"]
    save_file({"rgb": np.ascontiguousarray(np.asarray(picture)), "pixel_values": np.ascontiguousarray(tensor, np.float32)},
              folder / "reference.safetensors")
    return {}


def check(job):
    onnx.checker.check_model(job["graph"], full_check=True)
    model = onnx.load(job["graph"], load_external_data=False)
    domains = sorted({node.domain for node in model.graph.node})
    return {"domains": domains, "opset": [entry.version for entry in model.opset_import]}


JOBS = {"make": make, "speak": speak, "mel": mel, "pixels": pixels, "check": check}
if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(JOBS[job["job"]](job)), flush=True)
