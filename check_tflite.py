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
from compiler.trace import Layout
from tinyengine import emission, kernelrows, oracle, pipeline

EXAMPLES = """examples:
  python check_tflite.py MODEL.tflite
  python check_tflite.py MODEL.tflite --inputs 10 --image photo.jpg
"""


def make_inputs(tensor, count, image=None, seed=0):
    """[count, ...] for an input tensor: the photo, noise, constants, extremes, more noise.

    image: a file, or None. Raises `UserError` for a count below 1.
    """
    if count < 1:
        raise cli.UserError(f"{count} inputs are not enough; it takes 1 or more")
    rng = np.random.default_rng(seed)
    shape, zero = tensor.shape, 0 if tensor.zero_points is None else tensor.zero_point
    ends = tensor.range.lowest, tensor.range.highest

    def anything():
        return rng.integers(*ends, shape, endpoint=True)

    inputs = [photo(image, tensor)] if image else []
    inputs.append(anything())
    inputs += [np.full(shape, value) for value in (*ends, zero)]
    noise = (
        lambda: rng.choice(ends, shape),
        lambda: np.where(rng.random(shape) < 0.9, zero, anything()),
        anything,
    )
    inputs += [noise[i % len(noise)]() for i in range(count)]
    return np.array(inputs[:count], tensor.dtype)


def takes_photos(tensor):
    image = len(tensor.shape) == 4 and tensor.shape[-1] in (1, 3) and min(tensor.shape[1:3]) >= 16
    return image and tensor.dtype in ("int8", "uint8")


def photo(path, tensor):
    """The image file, scaled to the shape [1, height, width, 1 or 3] of an input tensor.

    Pixels as they are for uint8, from -128 on for int8.
    """
    shape, mode = tensor.shape, {1: "L", 3: "RGB"}[tensor.shape[-1]]
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode).resize((shape[2], shape[1])), np.int16)
    except UnidentifiedImageError:
        raise cli.UserError(f"{path} is no image that can be read; name a JPEG or PNG file")
    return (pixels + tensor.range.lowest).reshape(shape)


def choose_image(named, model, tensors):
    """The photo to use: the `named` one, or person.jpg beside the model; None if none fits."""
    photos = any(takes_photos(tensor) for tensor in tensors)
    if named is not None and not photos:
        shapes = " and ".join(str(list(tensor.shape)) for tensor in tensors)
        raise cli.UserError(f"--image {named}: the model takes {shapes}, no photo")
    beside = model.with_name("person.jpg")
    return named or (beside if photos and beside.is_file() else None)


def all_inputs(tensors, count, image=None):
    """As `make_inputs`, of each input tensor of a model; the photo where it fits."""
    return [
        make_inputs(tensor, count, image if takes_photos(tensor) else None, seed)
        for seed, tensor in enumerate(tensors)
    ]


def each_run(graph, inputs):
    """The inputs of each run as `oracle.Oracle.run` takes them.

    inputs: [runs, ...], or where the graph has several inputs, a list of that for each.
    """
    return list(inputs if len(graph.inputs) == 1 else zip(*inputs, strict=True))


def wanted_of(graph, reference, inputs):
    """{index of a tensor: what the `oracle.Oracle` says of it, [runs, elements]}, of steps."""
    runs = [reference.run(values) for values in each_run(graph, inputs)]
    computed = [*graph.inputs, *(i for step in graph.operators for i in step.outputs)]
    return {i: np.array([graph.tensors[i].left_of(run[i]) for run in runs]) for i in computed}


def differences(harness, content, inputs):
    """{name of a step's output, or "output": how many of its values differ}, where some do.

    inputs: as of `each_run`. Those on which the reference aborts are left out, with a warning.
    Raises `UserError` if it does on all of them.
    """
    graph = harness.compiled.graph
    reference, layout, wrong = oracle.Oracle(content, graph.inputs), Layout.of(graph), Counter()
    several, compared = len(graph.inputs) > 1, 0
    runs = each_run(graph, inputs)
    # What a state keeps follows from all inputs before, so these are one sequence.
    sequences = [runs] if graph.state else [[values] for values in runs]
    for sequence in cli.progress(sequences, unit="input"):
        given = [np.array(each) for each in zip(*sequence)] if several else np.array(sequence)
        try:
            wanted = wanted_of(graph, reference, given)
        except oracle.Aborted as error:
            if graph.state:
                raise
            cli.warn(f"{error}; such inputs are left out")
            continue
        compared += 1
        computed = harness.run(given)
        wrong.update(layout.differences(computed.values, wanted))
        outputs = computed.output if len(graph.outputs) > 1 else [computed.output]
        for i, output in zip(graph.outputs, outputs, strict=True):
            wrong["output"] += int(np.count_nonzero(output != wanted[i]))
    if not compared:
        raise cli.UserError("TensorFlow Lite aborts on every input; try more with --inputs")
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
    tensors = [compiled.graph.tensors[i] for i in compiled.graph.inputs]
    image = choose_image(arguments.image, arguments.model, tensors)
    inputs = all_inputs(tensors, arguments.inputs, image)
    inputs = inputs if len(inputs) > 1 else inputs[0]
    with tempfile.TemporaryDirectory() as folder:
        emitted = emission.emit(compiled)
        harness = hostrun.build(compiled, emitted, Path(folder))
        wrong = differences(harness, arguments.model.read_bytes(), inputs)
    for name, count in wrong.items():
        print(f"{name}: {count} values differ")
    print(
        f"model={compiled.name} inputs={arguments.inputs} differing_values={sum(wrong.values())} "
        f"arena={compiled.arena} scratch={compiled.scratch} floor={compiled.floor} "
        f"flash={emitted.constants}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    cli.run(main)
