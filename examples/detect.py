"""Detect persons, or what else a model knows, in a photo, and draw boxes around them.

Compiles an int8 TensorFlow Lite detector in the style of YOLOv3, such as MCUNetV2's of persons, to
C, runs that on this computer, and turns its three outputs into boxes. Prints a line for each, the
best first: x0 y0 x1 y1 score class, in pixels of the photo.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import io
import tempfile

import numpy as np
from PIL import Image, ImageDraw, ImageOps

import cli
from compiler import hostrun
from tinyengine import emission, pipeline

EXAMPLES = """examples:
  python examples/detect.py MODEL.tflite photo.jpg --out build/boxes.png
"""

# {stride of an output: widths and heights in pixels of the model's input}: the nine anchors of
# YOLOv3 (Redmon and Farhadi, 2018, arXiv:1804.02767), shared out as the evaluation of MCUNetV2's
# detector does it (github.com/mit-han-lab/mcunet, eval_det.py), whose defaults are ours, too.
ANCHORS = {
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}


def strides_of(graph, name):
    """The stride of each output of a detector's graph. Raises `UserError` for any other graph."""
    inputs, outputs = ([graph.tensors[i] for i in ends] for ends in (graph.inputs, graph.outputs))
    shape, depth = inputs[0].shape, outputs[0].last_dimension
    height, width = shape[1:3] if len(shape) == 4 else (0, 0)
    grids = {(1, height / stride, width / stride, depth): stride for stride in ANCHORS}
    strides = [grids.get(tensor.shape, 0) for tensor in outputs]
    fits = len(inputs) == 1 and shape == (1, height, width, 3) and sorted(strides) == [*ANCHORS]
    quantised = all(tensor.scales is not None for tensor in (*inputs, *outputs))
    if not (fits and quantised and depth in range(18, depth + 1, 3)):
        shapes = [" and ".join(str(list(t.shape)) for t in ends) for ends in (inputs, outputs)]
        raise cli.UserError(
            f"{name}: {shapes[0]} to {shapes[1]} is no detector; it takes quantised [1, H, W, 3] "
            "to [1, H / S, W / S, 3 * (5 + classes)] for S of 8, 16 and 32"
        )
    return strides


def read_photo(path):
    """The photo, upright, in RGB. Raises `UserError`."""
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders raise all kinds of them for damaged files
        reason = getattr(error, "strerror", None) or "no image, or a damaged one"
        raise cli.UserError(f"{path} cannot be read ({reason}); name a JPEG or PNG file")


def run(compiled, photo):
    """Real outputs [rows, columns, channels] of a `Compiled` model's C for a photo."""
    graph, ends = compiled.graph, compiled.graph.input.range
    _, height, width, _ = graph.input.shape
    pixels = np.float32(photo.resize((width, height))) / 127.5 - 1  # stretched, from -1 to 1
    levels = np.rint(pixels / graph.input.scale) + graph.input.zero_point
    levels = levels.clip(ends.lowest, ends.highest).astype(graph.input.dtype)
    with tempfile.TemporaryDirectory() as folder:
        harness = hostrun.build(compiled, emission.emit(compiled), Path(folder))
        outputs = harness.run(levels[None]).output
    pairs = zip(outputs, (graph.tensors[i] for i in graph.outputs))
    return [t.scale * (v.reshape(t.shape[1:]) - float(t.zero_point)) for v, t in pairs]


def decode(values, stride):
    """(boxes [N, 4]: x0 y0 x1 y1 in pixels of the input, scores [N, classes]) of an output.

    values: real, [rows, columns, 3 * (5 + classes)]; of each anchor: x, y, log width, log height,
    objectness, classes.
    """
    values = values.reshape(*values.shape[:2], len(ANCHORS[stride]), -1)
    shares = (1 + np.tanh(values / 2)) / 2  # the sigmoid, which so does not overflow
    y, x = np.indices(values.shape[:3])[:2]
    centres = (np.stack([x, y], axis=-1) + shares[..., :2]) * stride
    halves = ANCHORS[stride] * np.exp(values[..., 2:4]) / 2
    boxes = np.concatenate([centres - halves, centres + halves], axis=-1).reshape(-1, 4)
    return boxes, (shares[..., 4:5] * shares[..., 5:]).reshape(len(boxes), -1)


def suppress(boxes, scores, iou):
    """Indices of the boxes [N, 4] that greedy non-maximum suppression leaves, the best first.

    iou: the intersection over the union above which the worse of two boxes is dropped.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept, left = [], np.argsort(-scores, kind="stable")
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = (high - low).clip(0).prod(axis=1)
        left = left[common <= iou * (areas[best] + areas[left] - common)]
    return kept


def detect(outputs, strides, threshold, iou):
    """[(score, class, box [4])], the best first, of a detector's outputs, all as of `decode`."""
    boxes, scores = map(np.concatenate, zip(*map(decode, outputs, strides)))
    found = []
    for label, column in enumerate(scores.T):
        likely = np.flatnonzero(column >= threshold)
        kept = likely[suppress(boxes[likely], column[likely], iou)]
        found += [(column[i], label, boxes[i]) for i in kept]
    return sorted(found, key=lambda each: -each[0])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("photo", type=Path, help="a JPEG or PNG file")
    parser.add_argument("--out", type=Path, help="the .png file to draw the boxes into")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score (default: 0.3)")
    iou = "intersection over union above which the worse of two boxes is dropped (default: 0.45)"
    parser.add_argument("--iou", type=float, default=0.45, help=iou)
    arguments = parser.parse_args()
    for name, value in (("threshold", arguments.threshold), ("iou", arguments.iou)):
        if not 0 <= value <= 1:
            raise cli.UserError(f"--{name} {value} is not between 0 and 1")
    if arguments.out and arguments.out.suffix.lower() != ".png":
        raise cli.UserError(f"--out {arguments.out} is no PNG file; name one, as boxes.png")

    photo, compiled = read_photo(arguments.photo), pipeline.load(arguments.model)
    strides = strides_of(compiled.graph, arguments.model)
    found = detect(run(compiled, photo), strides, arguments.threshold, arguments.iou)
    _, height, width, _ = compiled.graph.input.shape
    scale, ends = np.array(photo.size) / (width, height), np.tile(photo.size, 2) - 1
    canvas, line = ImageDraw.Draw(photo), max(2, photo.width // 250)
    for score, label, box in found:
        x0, y0, x1, y1 = np.rint(box * np.tile(scale, 2)).clip(0, ends).astype(int).tolist()
        print(f"{x0} {y0} {x1} {y1} {score:.3f} {label}")
        canvas.rectangle((x0, y0, x1, y1), outline="red", width=line)
        canvas.text((x0 + 2 * line, y0 + line), f"{score:.2f}", "red", font_size=8 * line)
    if arguments.out:
        content = io.BytesIO()
        photo.save(content, "PNG")
        cli.write_atomic(arguments.out, content.getvalue())
    print(f"boxes={len(found)} model={compiled.name} arena={compiled.arena}")


if __name__ == "__main__":
    cli.run(main)
