"""Inputs for the ONNX models of the shared data, and onnxruntime's own quantizer on them.

    onnx_side.py inputs SHARED OUT        raw tensors: OUT/{photo,crop_*}.f32, OUT/speech.f32, OUT/digits.u8, OUT/labels.u8
    onnx_side.py static MODEL OUT INPUTS KIND   quantize_static (by channel, min-max, after its own preparation) with the digits,
                                                faces, speech or pictures of the folder INPUTS
    onnx_side.py dynamic MODEL OUT              quantize_dynamic
    onnx_side.py yolo OUT                       a random graph in the shape of a YOLO detector
"""
import gzip
import pathlib
import sys
import wave

import numpy as np

SEED = 7


def picture(image):
    """Pixels as the detector wants them: 320 by 240, RGB, (x − 127) / 128, channels first."""
    pixels = np.asarray(image.convert("RGB").resize((320, 240)), np.float32)
    return ((pixels - 127) / 128).transpose(2, 0, 1)[None]


def inputs(shared, out):
    from PIL import Image, ImageEnhance

    shared, out = pathlib.Path(shared), pathlib.Path(out)
    photo = Image.open(shared / "sample.jpg")
    picture(photo).tofile(out / "photo.f32")
    # Calibration never sees the photo itself: parts of it, mirrored, darker and lighter.
    random = np.random.default_rng(SEED)
    width, height = photo.size
    for number in range(32):
        part = random.uniform(0.45, 0.9)
        left, top = random.uniform(0, 1 - part, 2) * (width, height)
        crop = photo.crop((left, top, left + part * width, top + part * height))
        if number % 2:
            crop = crop.transpose(Image.FLIP_LEFT_RIGHT)
        crop = ImageEnhance.Brightness(crop).enhance(random.uniform(0.6, 1.4))
        picture(crop).tofile(out / f"crop_{number:02}.f32")
    # The header claims more than the file has.
    data = (shared / "vad_test.wav").read_bytes()
    at = data.index(b"data") + 8
    np.frombuffer(data[at : at + (len(data) - at) // 2 * 2], "<i2").astype(np.float32).__truediv__(32768).tofile(out / "speech.f32")
    rate = int.from_bytes(data[24:28], "little")
    (out / "speech.rate").write_text(str(rate))
    digits = gzip.decompress((shared / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    (out / "digits.u8").write_bytes(digits)
    (out / "labels.u8").write_bytes(gzip.decompress((shared / "t10k-labels-idx1-ubyte.gz").read_bytes())[8:])


def feeds(folder, kind, model):
    """What the Rust side calibrates with, too."""
    folder = pathlib.Path(folder)
    if kind == "digits":
        pixels = np.fromfile(folder / "digits.u8", np.uint8).reshape(-1, 1, 1, 28, 28)[9800:].astype(np.float32)
        yield from ({"input.1": (one / 255 - 0.1307) / 0.3081} for one in pixels)
    elif kind == "faces":
        for file in sorted(folder.glob("crop_*.f32")):
            yield {"input": np.fromfile(file, np.float32).reshape(1, 3, 240, 320)}
    elif kind == "pictures":
        for file in sorted(folder.glob("picture_*.f32")):
            pixels = np.fromfile(file, np.float32)
            side = int((len(pixels) / 3) ** 0.5)
            yield {"pixel_values": pixels.reshape(1, 3, side, side)}
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(model)
        names = [one.name for one in session.get_inputs()]
        sound = np.fromfile(folder / "speech.f32", np.float32)[: 8 * 16000]
        state, before = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32)
        for at in range(0, len(sound) - 511, 512):
            step = np.concatenate([before, sound[at : at + 512]])[None]
            feed = {"input": step, "state": state, "sr": np.array(16000, np.int64)}
            feed = {name: feed[name] for name in names}
            yield feed
            _, state = session.run(None, feed)
            before = step[0, -64:]


def quantize_static(model, out, folder, kind):
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.feeds = feeds(folder, kind, model)

        def get_next(self):
            return next(self.feeds, None)

    prepared = out + ".prepared"
    quant_pre_process(model, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(prepared, out, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True)


def quantize_dynamic(model, out):
    from onnxruntime import quantization

    quantization.quantize_dynamic(model, out, per_channel=True)


def yolo(out):
    """Strided convolutions with SiLU, a concatenation of scales, and one output of boxes in pixels and scores below 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(SEED)
    nodes, constants = [], []

    def constant(name, value):
        constants.append(numpy_helper.from_array(value, name))
        return name

    def convolution(x, inputs, outputs, size, stride, activation=True):
        name = f"conv{len(nodes)}"
        weight = random.standard_normal((outputs, inputs, size, size)).astype(np.float32) * np.sqrt(2 / (inputs * size * size))
        bias = (random.standard_normal(outputs) * 0.1).astype(np.float32)
        arguments = [x, constant(f"{name}_w", weight.astype(np.float32)), constant(f"{name}_b", bias)]
        nodes.append(helper.make_node("Conv", arguments, [name], name, strides=[stride] * 2, pads=[size // 2] * 4))
        if not activation:
            return name
        nodes.append(helper.make_node("Sigmoid", [name], [f"{name}_s"], f"{name}_sigmoid"))
        nodes.append(helper.make_node("Mul", [name, f"{name}_s"], [f"{name}_a"], f"{name}_mul"))
        return f"{name}_a"

    classes, side = 8, 160
    x, width, heads = "images", 3, []
    for level in range(4):
        x = convolution(x, width, 16 << min(level, 2), 3, 2)
        width = 16 << min(level, 2)
        y = convolution(convolution(x, width, width, 3, 1), width, width, 3, 1)
        nodes.append(helper.make_node("Add", [x, y], [f"sum{level}"], f"add{level}"))
        x = f"sum{level}"
        if level < 2:
            continue
        cells = (side >> (level + 1)) ** 2
        parts = []
        for kind, channels in [("box", 4), ("score", classes)]:
            head = convolution(convolution(x, width, width, 3, 1), width, channels, 1, 1, activation=False)
            shape = constant(f"{kind}{level}_shape", np.array([1, channels, cells], np.int64))
            nodes.append(helper.make_node("Reshape", [head, shape], [f"{kind}{level}"], f"{kind}{level}_reshape"))
            parts.append(f"{kind}{level}")
        heads.append(parts)
    for at, kind in enumerate(["boxes", "scores"]):
        nodes.append(helper.make_node("Concat", [parts[at] for parts in heads], [kind], f"{kind}_concat", axis=2))
    nodes.append(helper.make_node("Mul", ["boxes", constant("stride", np.array(64, np.float32))], ["pixels"], "pixels_mul"))
    nodes.append(helper.make_node("Sigmoid", ["scores"], ["likely"], "scores_sigmoid"))
    nodes.append(helper.make_node("Concat", ["pixels", "likely"], ["output0"], "output_concat", axis=1))
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "yolo", [value("images", ["batch", 3, side, side])], [value("output0", None)], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, out)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    {"inputs": inputs, "static": quantize_static, "dynamic": quantize_dynamic, "yolo": yolo}[command](*rest)
