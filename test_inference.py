"""Prove that the exported C computes what PyTorch computes, on every test image.

Builds the shared library Bitnet_inf from build/BitNetMCU_model.h twice, without multiplications
and with them, runs all test images, and compares every layer's accumulators and shifts, and every
prediction, of both and of PyTorch with the integer model. Exits 1 on any difference.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import ctypes
import json
import os
import platform
import subprocess
import time
from pathlib import Path

import numpy as np
import torch

import cli
import exportquant
from BitNetMCU import BitLinear, shiftnorm_shift
from lowbit import integermodel
from lowbit.inputmap import InputMap
from train import checkpoint

EXAMPLES = """examples:
  python test_inference.py                       the network that exportquant.py wrote last
  python test_inference.py --build build/demo    the one in another folder
"""

ROOT = Path(__file__).resolve().parent
SUFFIX = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
CHUNK = 10_000  # images whose traces are in memory at a time


def build_library(build, multiplier):
    """Compile the shared library in the folder `build`; returns its path.

    multiplier: whether the C may multiply.
    """
    library = Path(build).resolve() / f"Bitnet_inf{'-multiplier' if multiplier else ''}{SUFFIX}"
    folder = Path(os.path.relpath(library.parent, ROOT))  # inside the project: free of its path
    if " " in str(folder):
        raise cli.UserError(f"make cannot build in '{folder}'; name a folder without spaces")
    command = [os.environ.get("MAKE", "make"), "-s", "-C", str(ROOT), "lib"]
    command += [
        f"BUILD={folder}",
        f"LIBRARY={folder / library.name}",
        f"MULTIPLIER={int(multiplier)}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise cli.UserError(
            f"cannot run {command[0]}: {error.strerror}; install make and a C compiler"
        )
    if done.returncode:
        raise cli.UserError(f"the C code does not compile: {' '.join(command)}\n{done.stderr}")
    return library


class Library:
    """The compiled network, called through ctypes."""

    def __init__(self, path, model):
        self.model = model
        self.library = ctypes.CDLL(str(path))
        self.library.Bitnet_inf_checkpoint.restype = ctypes.c_char_p
        pointer = np.ctypeslib.ndpointer
        self.library.Bitnet_inf.restype = None
        self.library.Bitnet_inf.argtypes = [
            pointer(np.int8, flags="C"),
            ctypes.c_uint32,
            pointer(np.uint32, flags="C"),
            pointer(np.int32, flags="C"),
        ]

    def quantise(self, raw):
        """Raw values int32 [B, I] -> inputs int8 [B, I], by BitNetMCU_quantise."""
        function = self.library.Bitnet_inf_quantise
        pointer = np.ctypeslib.ndpointer
        function.restype = None
        function.argtypes = [
            pointer(np.int32, flags="C"),
            ctypes.c_uint32,
            pointer(np.int8, flags="C"),
        ]
        inputs = np.zeros(raw.shape, np.int8)
        function(np.ascontiguousarray(raw), len(raw), inputs)
        return inputs

    @property
    def checkpoint(self):
        """The SHA-256 of the checkpoint that was exported, as hex digits."""
        return self.library.Bitnet_inf_checkpoint().decode()

    def execute(self, inputs):
        """Run int8 `inputs` [B, I]; returns (predictions [B], the `Trace` of each layer)."""
        sizes = [layer.outputs for layer in self.model.layers]
        trace = np.zeros((len(inputs), sum(sizes) + len(sizes)), np.int32)
        predictions = np.zeros(len(inputs), np.uint32)
        self.library.Bitnet_inf(np.ascontiguousarray(inputs), len(inputs), predictions, trace)
        traces = []
        at = 0
        for size in sizes:
            traces.append(integermodel.Trace(trace[:, at : at + size], trace[:, at + size]))
            at += size + 1
        return predictions.astype(np.int64), traces


def differing_values(traces, expected):
    """The number of accumulators and shifts in which two lists of `Trace` differ."""
    return sum(
        int((ours.accumulators != theirs.accumulators).sum() + (ours.shifts != theirs.shifts).sum())
        for ours, theirs in zip(traces, expected, strict=True)
    )


def raw_samples(input_map, samples, seed=0):
    """Raw values int32 [N, I] for BitNetMCU_quantise: of `samples`, random ones, and extremes."""
    raw = input_map.raw(samples)
    rng = np.random.default_rng(seed)
    count, inputs = raw.shape
    low, high = (
        np.tile(bound, inputs // input_map.channels).astype(np.int64)
        for bound in (input_map.low, input_map.high)
    )
    near = rng.integers(low - 1000, high + 1000, (1000, inputs))
    edges = np.stack([end + d for end in (low, high) for d in (-1, 0, 1)])
    limits = np.iinfo(np.int32)
    extremes = np.array([[limits.min], [-1], [0], [1], [limits.max]]) + 0 * low
    anywhere = rng.integers(limits.min, limits.max + 1, (1000, inputs))
    return np.concatenate([raw, near, edges, extremes, anywhere]).astype(np.int32)


def pytorch_traces(network, inputs):
    """The `Trace` of each layer as PyTorch computes it in eval mode, for int8 `inputs` [B, I]."""
    traces = []
    for layer, x in network.eval().outputs(inputs.float()):
        if isinstance(layer, BitLinear):
            shifts = shiftnorm_shift(x)[:, 0] if layer is not network.layers[-1] else x[:, 0] * 0
            traces.append(integermodel.Trace(x.numpy(), shifts.numpy()))
    return traces


def read_report(build):
    """The content of export.json in the folder `build`. Raises `UserError`."""
    path = Path(build) / exportquant.REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"checkpoint": str, "sha256": str, "needs_multiplier": bool}
        if all(isinstance(report[key], kind) for key, kind in kinds.items()):
            return report
    except OSError as error:
        raise cli.UserError(f"cannot read {path}: {error.strerror}; run exportquant.py first")
    except (ValueError, KeyError, TypeError):
        pass
    raise cli.UserError(f"{path} is damaged or from another version; run exportquant.py again")


def compare(build):
    """Run the network exported to `build` as C, integer model and PyTorch on all test images.

    Returns a dict: images; differing_values of PyTorch and the multiplication-free C, those of
    the C with multiplications, differing_predictions of any; for measured values differing_inputs
    of the C's map from raw values, on those of the test set and others; accuracies in percent. A
    network that was exported for a core with a multiplier has no multiplication-free C.
    """
    report = read_report(build)
    path = report["checkpoint"]
    trained = checkpoint.load(path)
    model = integermodel.lower(trained.network)
    flags = (report["needs_multiplier"], True)
    libraries = [Library(build_library(build, flag), model) for flag in flags]
    if any(not lib.checkpoint == report["sha256"] == trained.sha256 for lib in libraries):
        raise cli.UserError(
            f"{build} was not exported from the present {path}; run exportquant.py again"
        )

    dataset = checkpoint.load_data(trained)
    inputs = dataset.inputs(dataset.test_images, trained.settings.image_size)
    labels = dataset.test_labels
    differing = {"values": 0, "values_multiplier": 0, "predictions": 0}
    correct = {"c": 0, "pytorch": 0, "float": 0}
    with torch.no_grad():
        for part, truth in zip(inputs.split(CHUNK), labels.split(CHUNK)):
            in_c, with_multiplier = (library.execute(part.numpy()) for library in libraries)
            in_pytorch = pytorch_traces(trained.network, part)
            predicted = {
                "c": torch.from_numpy(in_c[0]),
                "pytorch": torch.from_numpy(in_pytorch[-1].accumulators).argmax(1),
                "float": trained.network.train()(part.float()).argmax(1),
            }
            expected = model.execute(part.numpy())
            differing["values"] += differing_values(in_c[1], expected)
            differing["values"] += differing_values(in_pytorch, expected)
            differing["values_multiplier"] += differing_values(with_multiplier[1], expected)
            for classes in (in_c[0], with_multiplier[0]):
                differing["predictions"] += int((classes != predicted["pytorch"].numpy()).sum())
            for executor, classes in predicted.items():
                correct[executor] += (classes == truth).sum().item()
    if isinstance(trained.input_map, InputMap):
        raw = raw_samples(trained.input_map, dataset.test_images)
        expected = trained.input_map.quantise(raw)
        differing["inputs"] = sum(
            int((library.quantise(raw) != expected).sum()) for library in libraries
        )
    result = {"images": len(inputs)}
    result |= {f"differing_{key}": count for key, count in differing.items()}
    result |= {f"accuracy_{key}": 100 * count / len(inputs) for key, count in correct.items()}
    return result


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", default="build", metavar="DIR", help="folder with the export")
    arguments = parser.parse_args()

    start = time.perf_counter()
    result = compare(arguments.build)
    result["seconds"] = time.perf_counter() - start
    decimals = {"seconds": 1}
    print(
        " ".join(
            f"{key}={value:.{decimals.get(key, 2)}f}"
            if isinstance(value, float)
            else f"{key}={value}"
            for key, value in result.items()
        )
    )
    return 1 if any(value for key, value in result.items() if key.startswith("differing")) else 0


if __name__ == "__main__":
    cli.run(main)
