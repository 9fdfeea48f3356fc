"""Prove that a compiled int8 TensorFlow Lite model computes what the reference computes.

Compiles the model to C, runs it on this computer in poisoned memory, and compares every value of
every operator with TensorFlow Lite's reference kernels (FULLY_CONNECTED: TensorFlow Lite Micro's).
Inputs: noise, constants, extremes, and a photo where the model takes one. Exits 1 on a difference.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

import cli
from compiler import hostrun
from compiler.graph import INT8
from compiler.trace import Layout
from tinyengine import emission, kernelrows, oracle, pipeline

EXAMPLES = """examples:
  python check_tflite.py MODEL.tflite
  python check_tflite.py MODEL.tflite --inputs 10 --image photo.jpg
"""


def make_inputs(tensor, count, image=None, seed=0):
    """int8 [count, ...] for an input tensor: the photo, noise, constants, extremes, more noise.

    image: a file, or None. Raises `UserError` for a count below 1.
    """
    if count < 1:
        raise cli.UserError(f"{count} inputs are not enough; it takes 1 or more")
    rng = np.random.default_rng(seed)
    shape, zero = tensor.shape, tensor.zero_point
    ends = tensor.range.lowest, tensor.range.highest

    def anything():
        return rng.integers(*ends, shape, endpoint=True)

    inputs = [photo(image, shape)] if image else []
    inputs.append(anything())
    inputs += [np.full(shape, value) for value in (*ends, zero)]
    noise = (
        lambda: rng.choice(ends, shape),
        lambda: np.where(rng.random(shape) < 0.9, zero, anything()),
        anything,
    )
    inputs += [noise[i % len(noise)]() for i in range(count)]
    return np.array(inputs[:count], np.int8)


def takes_photos(tensor):
    return len(tensor.shape) == 4 and tensor.shape[-1] in (1, 3) and min(tensor.shape[1:3]) >= 16


def photo(path, shape):
    """The image file, scaled to `shape` [1, height, width, 1 or 3], as int8."""
    mode = {1: "L", 3: "RGB"}[shape[-1]]
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode).resize((shape[2], shape[1])), np.int16)
    except UnidentifiedImageError:
        raise cli.UserError(f"{path} is no image that can be read; name a JPEG or PNG file")
    return (pixels + INT8.lowest).reshape(shape)


def choose_image(named, model, tensor):
    """The photo to use: the `named` one, or person.jpg beside the model; None if none fits."""
    if named is not None and not takes_photos(tensor):
        raise cli.UserError(f"--image {named}: the model takes {list(tensor.shape)}, no photo")
    beside = model.with_name("person.jpg")
    return named or (beside if takes_photos(tensor) and beside.is_file() else None)


def wanted_of(graph, reference, inputs):
    """{index of a tensor: what the `oracle.Oracle` says of it, [inputs, elements]}, of steps."""
    runs = [reference.run(values) for values in inputs]
    computed = [i for step in graph.operators for i in step.outputs]
    return {i: np.array([graph.tensors[i].left_of(run[i]) for run in runs]) for i in computed}


def differences(harness, content, inputs):
    """{name of a step's output, or "output": how many of its values differ}, where some do."""
    graph = harness.compiled.graph
    reference, layout, wrong = oracle.Oracle(content, graph.inputs[0]), Layout.of(graph), Counter()
    for values in cli.progress(inputs, unit="input"):
        wanted = wanted_of(graph, reference, values[None])
        computed = harness.run(values[None])
        wrong.update(layout.differences(computed.values, wanted))
        wrong["output"] += int(np.count_nonzero(computed.output != wanted[graph.outputs[0]]))
    return +wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("--inputs", type=int, default=100, help="how many (default: 100)")
    parser.add_argument(
        "--image", type=Path, help="a photo; default: person.jpg beside the model, if there is one"
    )
    parser.add_argument(
        "--optimise",
        choices=kernelrows.OPTIMISE,
        default="speed",
        help="speed: fast kernels, without dead channels; none: plain ones (default: speed)",
    )
    arguments = parser.parse_args()
    compiled = pipeline.load(arguments.model, arguments.optimise)
    tensor = compiled.graph.input
    image = choose_image(arguments.image, arguments.model, tensor)
    inputs = make_inputs(tensor, arguments.inputs, image)
    with tempfile.TemporaryDirectory() as folder:
        emitted = emission.emit(compiled)
        harness = hostrun.build(compiled, emitted, Path(folder))
        wrong = differences(harness, arguments.model.read_bytes(), inputs)
    for name, count in wrong.items():
        print(f"{name}: {count} values differ")
    print(
        f"model={compiled.name} inputs={len(inputs)} differing_values={sum(wrong.values())} "
        f"arena={compiled.arena} scratch={compiled.scratch} floor={compiled.floor} "
        f"flash={emitted.constants}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    cli.run(main)
