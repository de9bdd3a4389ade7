"""What transformers makes of prompts with pictures: pictures.py OUT CHECKPOINT...

A folder below OUT for each, called like it, gets `0.png` and `1.png`, of a size that needs no scaling, and `pictures.st`: `tokens`, with -1 and -2 once for each of the
two pictures, and the `logits` after the last token."""

import json
import pathlib
import struct
import sys
import zlib

import safetensors.torch
import torch
import transformers

SIZE = 32


def write_png(path, pixels):
    """Eight bits, three colours, unfiltered rows."""
    rows = b"".join(b"\0" + row.numpy().tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def patches(picture, vision):
    """Patches in the order in which Qwen's encoders merge them, each picture standing for two frames."""
    size, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    grid = SIZE // size
    cut = picture.expand(frames, -1, -1, -1).reshape(1, frames, 3, grid // merge, merge, size, grid // merge, merge, size)
    return cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(grid * grid, -1), [1, grid, grid]


def write(checkpoint, out):
    out.mkdir(parents=True)
    torch.manual_seed(7)
    # Built as the reference is: rotary frequencies were rounded with the weights.
    stored = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    model = type(stored)(stored.config).eval()
    model.load_state_dict(stored.state_dict())
    stated = json.loads((checkpoint / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(stated[name]).reshape(3, 1, 1) for name in ["image_mean", "image_std"])
    pictures = []
    for number in range(2):
        pixels = torch.randint(0, 256, (SIZE, SIZE, 3), dtype=torch.uint8)
        write_png(out / f"{number}.png", pixels)
        pictures.append((pixels.permute(2, 0, 1) / 255 - mean) / std)
    config = model.config
    # The classes' own ids lie beyond small vocabularies; texts have none below 100.
    image = 50
    config.image_token_id = image
    vision = config.vision_config
    if hasattr(vision, "spatial_merge_size") and hasattr(vision, "temporal_patch_size"):
        cut = [patches(picture, vision) for picture in pictures]
        given = dict(pixel_values=torch.cat([values for values, _ in cut]), image_grid_thw=torch.tensor([grid for _, grid in cut]))
        n_tokens = (SIZE // vision.patch_size // vision.spatial_merge_size) ** 2
    else:
        given = dict(pixel_values=torch.stack(pictures))
        patch = vision.patch_size if isinstance(vision.patch_size, int) else vision.patch_size[0]
        merged = dict(Gemma3Config=lambda: config.mm_tokens_per_image,
                      InternVLConfig=lambda: int((SIZE // patch) ** 2 * config.downsample_ratio ** 2))
        n_tokens = merged[type(config).__name__]()
    texts = [torch.randint(100, config.get_text_config().vocab_size // 2, (n,)).tolist() for n in [5, 3, 7]]
    ids = texts[0] + [image] * n_tokens + texts[1] + [image] * n_tokens + texts[2]
    kinds = torch.tensor([[int(token == image) for token in ids]])
    if "Gemma3" in type(config).__name__:
        given["token_type_ids"] = kinds
    elif "image_grid_thw" in given:
        given["mm_token_type_ids"] = kinds
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), use_cache=False,
                       **given).logits[0]
    tokens = texts[0] + [-1] + texts[1] + [-2] + texts[2]
    safetensors.torch.save_file(dict(tokens=torch.tensor(tokens, dtype=torch.int32), logits=logits[-len(texts[2]):].contiguous()),
                                out / "pictures.st")


for place in map(pathlib.Path, sys.argv[2:]):
    write(place, pathlib.Path(sys.argv[1]) / place.name)
