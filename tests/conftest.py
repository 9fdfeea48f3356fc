"""What the tests share: random integer models, compiled harnesses, and script runs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cli
from compiler import hostrun
from compiler.formats import FACTORS, FORMATS
from compiler.trace import Layout
from lowbit import emission, lowering, pipeline
from lowbit.rules import IntegerLayer
from train import config, data, loaders

# A suite in the background of a shell has Ctrl-C ignored, and so would the programs that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", str(ROOT)]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


MEASURED = {  # what `settings`, of images, lack for measured values
    "augmented_copies": 0, "input_bits": 7, "input_rounding": "floor", "activation_bits": 7,
}  # fmt: skip


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.fixture
def settings():
    """A small configuration on the embedded data, to be changed by the tests."""
    return config.load(overrides=["dataset=Digits", "num_epochs=2", "widths=8,8"])


@pytest.fixture(scope="session")
def mnist():
    source = loaders.DATASETS["MNIST"]
    if source.missing(loaders.data_folder() / "MNIST" / "raw"):
        pytest.skip("no MNIST in $BITNETMCU_DATA or datasets/; training.py downloads it")
    return loaders.DATASETS["MNIST"]()


def random_network(rng, formats, sizes, factors=False, bias=False, reads=lowering.MEASURED):
    """The graph of layers with uniformly random weights; `sizes`: inputs, hidden widths, classes.

    factors, bias: every layer has a random one for each output.
    """
    layers = []
    for name, inputs, outputs in zip(formats, sizes, sizes[1:], strict=False):
        row = FORMATS[name]
        weights = rng.choice(row.levels, (outputs, inputs)).astype(np.int32)
        drawn = rng.choice(FACTORS, outputs).astype(np.int32) if factors else None
        biases = rng.integers(-100_000, 100_000, outputs) if bias else None
        layers.append(IntegerLayer(row, weights, drawn, biases))
    return lowering.chain_of(layers, reads)


def layers_of(graph):
    """The `IntegerLayer`s of a graph."""
    return [step.fields for step in graph.operators if step.kind == "LINEAR"]


def untrained(graph, input_map=None, channel_names=()):
    """What stands for the `Checkpoint` of a network that was never trained."""
    names, settings = data.numbered("", graph.output.size), config.load()
    return SimpleNamespace(
        name="test", sha256="0", settings=settings, class_names=names, confidence=None,
        input_map=input_map, channel_names=channel_names, pixels=data.Pixels.of(settings),
    )  # fmt: skip


def emitted_of(graph, optimise="size", multiplier=False, **given):
    """(the `Compiled` network, its `Emitted` C) of one that was never trained."""
    compiled = pipeline.compile_network(graph, optimise, multiplier)
    return compiled, emission.emit(compiled, untrained(graph, **given))


def header_of(graph, *options, **given):
    """The text of BitNetMCU_model.h for a network that was never trained."""
    return emitted_of(graph, *options, **given)[1].files["BitNetMCU_model.h"]


OWN_HEAD = (
    "from torch import nn\nimport BitNetMCU\n"
    "from BitNetMCU import BitConv1d, BitConv2d, BitLinear, FixedShiftReLU, Residual, SumPool2d\n"
    "def zeros(layer):\n    nn.init.zeros_(layer.weight)\n    return layer\n"
)


def write_own(folder, layers, extra=""):
    """A network of a user's own in `folder`, as the setting `model` names it.

    layers: arguments of its nn.Sequential, of i inputs and c classes; extra: more of its file.
    """
    file = folder / "own.py"
    file.write_text(
        f"{OWN_HEAD}class Own(nn.Sequential):\n    def __init__(self, i, c, config):\n"
        f"        super().__init__({layers})\n{extra}"
    )
    return f"{file}:Own"


def extreme_inputs(rng, size, reads=lowering.MEASURED):
    """int8 [N, size] in a `Range`: all at its ends, single spikes, sparse and dense noise."""
    low, high = reads.lowest, reads.highest
    constants = [np.full((1, size), value) for value in (0, 1, high, low)]
    spikes = np.where(np.arange(size) == rng.permutation(size)[:8, None], high, 0)
    dense = rng.integers(low, high + 1, (8, size))
    sparse = rng.integers(low, high + 1, (8, size)) * (rng.random((8, size)) < 0.2)
    return np.concatenate([*constants, spikes, dense, sparse]).astype(np.int8)


def assert_same(graph, ours, expected):
    """Two executors agree on every value of every step."""
    assert not Layout.of(graph).differences(ours, expected)


def links(command):
    """Whether the compiler `command` can make a program here."""
    with tempfile.TemporaryDirectory() as folder:
        target = str(Path(folder) / "probe")
        command = [*command, "-x", "c", "-", "-o", target]
        source = "int main(void){return 0;}"
        return subprocess.run(command, input=source, text=True, capture_output=True).returncode == 0


def compiler(name, flags=()):
    """The command for compiler `name` with `flags`, or a skip where it cannot link them."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed; make toolchain installs it")
    if not links([name, *flags]):
        pytest.skip(f"{name} cannot link {' '.join(flags)} here; make toolchain may help")
    return [name, *flags]


@cache
def sanitizing():
    """The command of CC, with sanitizers where it has them."""
    name = os.environ.get("CC", "cc")
    if links([name, *SANITIZE]):
        return (name, *SANITIZE)
    cli.warn(f"{name} has no sanitizers here: without them")
    return (name, "-O1")


@pytest.fixture(scope="session")
def build_harness():
    """(graph, folder) -> `hostrun.Harness`, with sanitizers where the compiler has them."""

    def build(graph, folder, optimise="size", multiplier=False):
        compiled, emitted = emitted_of(graph, optimise, multiplier)
        define = f"-DBITNETMCU_MULTIPLIER={int(multiplier)}"
        return hostrun.build(compiled, emitted, folder, [*sanitizing(), define])

    return build


def run_script(*arguments, **environment):
    """Run a Python script of the project as a user would; returns the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


run_script.python = sys.executable


def refused(done):
    """The one line that a script gives for a user's mistake."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line
