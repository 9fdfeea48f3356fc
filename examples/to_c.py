"""What keras_to_c.py and pytorch_to_c.py share: the digits, and the way from .tflite to C."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np

import cli
from compiler.operators import execute
from tinyengine import pipeline

ROOT = Path(__file__).resolve().parent.parent
TEST = 450  # of the digits, the last: by other writers than the first


def need(module, package):
    """The module `module`; raises `UserError` with the way to `package`, which is not ours."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise cli.UserError(
            f"{module} cannot be loaded ({' '.join(str(error).split())}); "
            f"run '{sys.executable} -m pip install {package}'"
        )


def digits():
    """((images, labels) to train, to test): scikit-learn's, float32 [N, 8, 8, 1] from 0 to 1."""
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = np.float32(bunch.images[..., None] / 16)
    labels = bunch.target.astype(np.int64)
    return (images[:-TEST], labels[:-TEST]), (images[-TEST:], labels[-TEST:])


def shifted(images, labels):
    """The images, and each moved by one pixel in four directions; [5 * N, 8, 8, 1], [5 * N]."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))
    moved = [wide[:, y : y + images.shape[1], x : x + images.shape[2]] for y, x in places]
    return np.concatenate(moved), np.tile(labels, len(places))


def accuracy(path, images, labels):
    """The share of images that the int8 model at `path` classifies as labelled, in percent.

    Computed by the compiler's integer rules, which the C follows on every value.
    """
    graph = pipeline.load(path).graph
    tensor = graph.input
    levels = np.rint(images / tensor.scale) + tensor.zero_point
    levels = levels.clip(tensor.range.lowest, tensor.range.highest).astype(tensor.dtype)
    outputs = execute(graph, levels)[graph.outputs[0]]
    return 100 * np.mean(outputs.argmax(axis=1) == labels)


def compile_and_check(path, folder):
    """Runs the two scripts that turn the .tflite file at `path` into C and prove it."""
    for command in (
        ["compile_tflite.py", path, "--out", folder],
        ["check_tflite.py", path, "--inputs", 20],
    ):
        script, *arguments = map(str, command)
        print(f"\n$ python {script} {' '.join(arguments)}", flush=True)
        status = subprocess.run([sys.executable, ROOT / script, *arguments]).returncode
        if status:
            raise cli.UserError(f"{script} ended with status {status}; its output says why")
    print(
        f"\nThe C is in {folder}: model.h is what your program includes, report.txt says what to "
        f"compile.\nTo run it on a simulated Cortex-M4: make -C mcu tflite MODEL={path.resolve()} "
        "TARGET=cortex-m4"
    )
