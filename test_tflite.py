"""Prove that a compiled int8 TensorFlow Lite model computes what the reference computes.

Compiles the model to C, runs it on this computer in poisoned memory, and compares every value of
every operator with TensorFlow Lite's reference kernels (FULLY_CONNECTED: TensorFlow Lite Micro's).
Inputs: noise, constants, extremes, and a photo where the model takes one. Exits 1 on a difference.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import cli
from tinyengine import compiler, hostrun, oracle, selection

EXAMPLES = """examples:
  python test_tflite.py MODEL.tflite
  python test_tflite.py MODEL.tflite --inputs 10 --image photo.jpg
"""


def make_inputs(tensor, count, image, seed=0):
    """int8 [count, ...] for an input tensor: constants, the photo, extremes, and noise."""
    rng = np.random.default_rng(seed)
    shape, zero = tensor.shape, tensor.zero_point
    inputs = [np.full(shape, value) for value in (-128, 127, zero)]
    if image is not None:
        inputs.append(photo(image, shape))
    noise = (
        lambda: rng.integers(-128, 128, shape),
        lambda: rng.choice([-128, 127], shape),
        lambda: np.where(
            rng.random(shape) < 0.9, tensor.zero_point, rng.integers(-128, 128, shape)
        ),
    )
    inputs += [noise[i % len(noise)]() for i in range(count)]
    return np.array(inputs[:count], np.int8)


def photo(path, shape):
    """The image file, scaled to `shape` [1, height, width, 1 or 3], as int8."""
    from PIL import Image

    mode = {1: "L", 3: "RGB"}[shape[-1]]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert(mode).resize((shape[2], shape[1])), np.int16)
    return (pixels - 128).reshape(shape)


def takes_photos(tensor):
    return len(tensor.shape) == 4 and tensor.shape[-1] in (1, 3) and min(tensor.shape[1:3]) >= 16


def differences(compiled, program, content, inputs):
    """{index of an operator: how many of its values differ}, over all inputs."""
    reference, tensors = oracle.Oracle(content), compiled.graph.tensors
    wrong = dict.fromkeys((o.index for o in compiled.graph.operators), 0)
    for values in cli.progress(inputs, unit="input"):
        wanted = reference.run(values)
        (computed,) = hostrun.run(compiled, program, values[None])
        for operator, output in zip(compiled.graph.operators, computed):
            i = operator.outputs[0]
            different = output != tensors[i].left_of(wanted[i])
            wrong[operator.index] += int(np.count_nonzero(different))
    return wrong


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("--inputs", type=int, default=100, help="how many (default: 100)")
    parser.add_argument(
        "--image", type=Path, help="a photo; default: person.jpg beside the model, if there is one"
    )
    parser.add_argument("--optimise", choices=list(selection.OPTIMISE), default="speed")
    arguments = parser.parse_args()
    if arguments.inputs < 1:
        raise cli.UserError(f"--inputs {arguments.inputs} is not valid; it takes 1 or more")

    compiled = compiler.load(arguments.model, arguments.optimise)
    tensor = compiled.graph.tensors[compiled.graph.inputs[0]]
    image = arguments.image
    if image is None and (beside := arguments.model.with_name("person.jpg")).is_file():
        image = beside
    inputs = make_inputs(
        tensor, arguments.inputs, image if image and takes_photos(tensor) else None
    )
    with tempfile.TemporaryDirectory() as folder:
        program = hostrun.build(compiled, Path(folder))
        wrong = differences(compiled, program, arguments.model.read_bytes(), inputs)
    for operator in compiled.graph.operators:
        if wrong[operator.index]:
            print(f"{operator.kind} {operator.index}: {wrong[operator.index]} values differ")
    print(
        f"model={compiled.name} inputs={len(inputs)} differing_values={sum(wrong.values())} "
        f"arena={compiled.arena} scratch={compiled.scratch} floor={compiled.floor} "
        f"flash={compiled.files()[1]}"
    )
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    cli.run(main)
