"""Prove that the exported C computes what PyTorch computes, on every test image.

Builds the shared library Bitnet_inf of the exported C twice, without multiplications and with them,
runs all test images, and compares what every step writes, and every prediction, of both and of
PyTorch with the rules of the integer contract. Exits 1 on any difference.

Windows of a stream (exportquant.py --every) come piece by piece, one window after the other: all
steps of all runs are compared, and the logits of a window's last run with those of the whole one.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import ctypes
import platform
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import cli
import exportquant
from compiler import hostrun, operators
from compiler.report import KERNELS
from compiler.trace import Layout, Result
from lowbit import fusion, lowering, sliding
from lowbit.inputmap import InputMap
from train import checkpoint

EXAMPLES = """examples:
  python test_inference.py                       the network that exportquant.py wrote last
  python test_inference.py --build build/demo    the one in another folder
"""

ROOT = Path(__file__).resolve().parent
SUFFIX = {"Darwin": ".dylib", "Windows": ".dll"}.get(platform.system(), ".so")
PUSHED = 100  # windows of a stream that come reading by reading, too
CHUNK = 10_000  # images whose traces are in memory at a time


def build_library(build, multiplier):
    """Compile the shared library of the network exported to the folder `build`; returns its path.

    Of nothing but what lies there. multiplier: whether the C may multiply.
    """
    build = Path(build)
    sources = exportquant.read_report(build)["sources"][1:]  # the network is in the library's file
    kernels = [build / name for name in sources if name.endswith(".c")]
    flags = [f"-DBITNETMCU_MULTIPLIER={int(multiplier)}", f"-I{build}", f"-I{build / KERNELS}"]
    library = build / f"Bitnet_inf{'-multiplier' if multiplier else ''}{SUFFIX}"
    shared = ["-fPIC", "-shared"]
    return hostrun.compile_c(library, [ROOT / "BitNetMCU_lib.c", *kernels], *shared, *flags)


class Library:
    """The compiled network, called through ctypes."""

    def __init__(self, path, graph):
        self.graph, self.layout = graph, Layout.of(graph)
        # A copy: of a path that was loaded before, the loader gives what lay there then.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            self.library = ctypes.CDLL(shutil.copy(path, folder))
        self.library.Bitnet_inf_checkpoint.restype = ctypes.c_char_p
        pointer = np.ctypeslib.ndpointer
        self.library.Bitnet_inf.restype = None
        self.library.Bitnet_inf.argtypes = [
            pointer(np.int8, flags="C"),
            ctypes.c_uint32,
            pointer(np.uint32, flags="C"),
            pointer(np.uint8, flags="C"),
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

    def push(self, raw):
        """Raw readings int32 [R, C] of a stream, one by one -> (classes [R], logits [R, O]), -1
        where BitNetMCU_push returns none yet."""
        function, pointer = self.library.Bitnet_inf_push, np.ctypeslib.ndpointer
        function.restype = None
        function.argtypes = [
            pointer(np.int32, flags="C"),
            ctypes.c_uint32,
            pointer(np.int32, flags="C"),
            pointer(np.int32, flags="C"),
            pointer(np.uint8, flags="C"),
        ]
        classes = np.zeros(len(raw), np.int32)
        logits = np.zeros((len(raw), self.graph.output.size), np.int32)
        traced = np.zeros((len(raw), self.layout.bytes), np.uint8)
        function(np.ascontiguousarray(raw), len(raw), classes, logits, traced)
        return classes, logits

    @property
    def checkpoint(self):
        """The SHA-256 of the checkpoint that was exported, as hex digits."""
        return self.library.Bitnet_inf_checkpoint().decode()

    def run(self, inputs):
        """The `Result` for int8 `inputs` [B, I]."""
        records = np.zeros((len(inputs), self.layout.bytes), np.uint8)
        predictions = np.zeros(len(inputs), np.uint32)
        self.library.Bitnet_inf(np.ascontiguousarray(inputs), len(inputs), predictions, records)
        values = self.layout.read(records)
        return Result(values, values[self.graph.outputs[0]], predictions.astype(np.int64))


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


def pytorch_values(network, graph, inputs):
    """The values of all steps by tensor, as PyTorch computes them in eval mode, of int8 [B, I]."""
    values = network.eval().values(inputs.float())
    outputs = [i for step in graph.operators for i in step.outputs]
    return {
        i: value.numpy().astype(graph.tensors[i].dtype)
        for i, value in zip(outputs, values, strict=True)
    }


def differing_pushes(library, raw, input_map, stream, graph):
    """Where BitNetMCU_push of the readings of raw windows int32 [B, I], one after the other, gives
    other classes, or other logits with them, than `graph` of each window on the way."""
    readings = raw.reshape(-1, stream.channels)
    classes, logits = library.push(readings)
    ends = np.arange(stream.window, len(readings) + 1, stream.every)
    windows = np.stack([readings[end - stream.window : end].ravel() for end in ends])
    expected = operators.run(graph, input_map.quantise(windows))
    wanted = np.full(len(readings), -1)
    wanted[ends - 1] = expected.argmax(1)
    return int((classes != wanted).sum() + (logits[ends - 1] != expected).sum())


def compare(build):
    """Run the network exported to `build` as C, by its rules and in PyTorch on all test images.

    PyTorch's values are those of all steps, the C's those of the steps that it executes, some of
    them fused. Returns a dict: images; differing_values of PyTorch and the multiplication-free C,
    those of the C with multiplications, differing_predictions of any; for measured values
    differing_inputs of the C's map from raw values, on those of the test set and others; of a
    stream differing_windows, its logits that are not those of the whole window, and
    differing_pushes, where reading by reading gives another class; accuracies in percent, of a
    stream those of a window's last run. A network that was exported for a core with a multiplier
    has no multiplication-free C.
    """
    report, trained = exportquant.exported_checkpoint(build)
    graph = lowering.lower(trained.network, trained.reads)
    stream = exportquant.stream_of(report)
    lowered = sliding.slide(graph, stream) if stream else graph
    executed = fusion.fuse(lowered)
    layout, of_all = Layout.of(executed), Layout.of(graph)
    flags = (report["needs_multiplier"], True)
    libraries = [Library(build_library(build, flag), executed) for flag in flags]
    if any(library.checkpoint != trained.sha256 for library in libraries):
        raise cli.UserError(
            f"{build} has the C of another network than its {exportquant.REPORT} says; run "
            "exportquant.py again"
        )

    dataset = checkpoint.load_data(trained)
    inputs = dataset.inputs(dataset.test_images, trained.pixels)
    labels = dataset.test_labels
    last = stream.last if stream else np.asarray  # of its runs, that of a window
    differing = {"values": 0, "values_multiplier": 0, "predictions": 0}
    differing |= {"windows": 0} if stream else {}
    correct = {"c": 0, "pytorch": 0, "float": 0}
    with torch.no_grad():
        for part, truth in zip(inputs.split(CHUNK), labels.split(CHUNK)):
            given = stream.pieces_of(part.numpy()) if stream else part.numpy()
            in_c, with_multiplier = (library.run(given) for library in libraries)
            in_pytorch = pytorch_values(trained.network, graph, part)
            predicted = {
                "c": torch.from_numpy(last(in_c.predictions)),
                "pytorch": torch.from_numpy(in_pytorch[graph.outputs[0]]).argmax(1),
                "float": trained.network.train()(part.float()).argmax(1),
            }
            expected = operators.execute(graph, part.numpy())
            differing["values"] += of_all.differing(in_pytorch, expected)
            logits = expected[graph.outputs[0]]
            if stream:
                expected = operators.execute(lowered, given)
                of_runs = last(expected[graph.outputs[0]])
                differing["windows"] += int((of_runs != logits).sum())
            differing["values"] += layout.differing(in_c.values, expected)
            differing["values_multiplier"] += layout.differing(with_multiplier.values, expected)
            for each in (in_c, with_multiplier):
                wrong = last(each.predictions) != predicted["pytorch"].numpy()
                differing["predictions"] += int(wrong.sum())
            for executor, classes in predicted.items():
                correct[executor] += (classes == truth).sum().item()
    if isinstance(trained.input_map, InputMap):
        differing |= compare_raw(libraries, trained.input_map, dataset.test_images, stream, graph)
    result = {"images": len(inputs)}
    if stream:
        result["runs"] = len(inputs) * stream.pieces
    result |= {f"differing_{key}": count for key, count in differing.items()}
    result |= {f"accuracy_{key}": 100 * count / len(inputs) for key, count in correct.items()}
    return result


def compare_raw(libraries, input_map, samples, stream, graph):
    """What of `compare` is about raw values of an `InputMap`: differing inputs, and pushes."""
    raw = raw_samples(input_map, samples)
    raw = stream.pieces_of(raw) if stream else raw
    expected = input_map.quantise(raw)
    found = {"inputs": sum(int((each.quantise(raw) != expected).sum()) for each in libraries)}
    if stream:
        raw = input_map.raw(samples[:PUSHED])
        found["pushes"] = sum(
            differing_pushes(library, raw, input_map, stream, graph) for library in libraries
        )
    return found


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
