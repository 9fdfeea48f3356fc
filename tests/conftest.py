"""What the tests share: random integer models, compiled harnesses, and script runs."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import BitNetMCU
import test_inference
from lowbit import emission, selection
from lowbit.integermodel import IntegerLayer, IntegerModel, Trace
from train import config, data, loaders

# A suite in the background of a shell has Ctrl-C ignored, and so would the programs that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", str(ROOT)]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


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


def random_model(rng, formats, sizes, factors=False, bias=False):
    """An `IntegerModel` with uniformly random weights; `sizes`: inputs, hidden widths, classes.

    factors, bias: every layer has a random one for each output.
    """
    layers = []
    for name, inputs, outputs in zip(formats, sizes, sizes[1:], strict=False):
        row = BitNetMCU.FORMATS[name]
        weights = rng.choice(row.levels, (outputs, inputs)).astype(np.int32)
        drawn = rng.choice(BitNetMCU.FACTORS, outputs).astype(np.int32) if factors else None
        biases = rng.integers(-100_000, 100_000, outputs) if bias else None
        layers.append(IntegerLayer(row, weights, drawn, biases))
    return IntegerModel(tuple(layers))


def header_of(
    model, optimise="size", signed=True, multiplier=False, input_map=None, channel_names=()
):
    """The text of BitNetMCU_model.h for a model that was never trained."""
    names = data.numbered("", model.classes)
    trained = SimpleNamespace(
        name="test", sha256="0", settings=config.load(), class_names=names, confidence=None,
        input_map=input_map, channel_names=channel_names,
    )  # fmt: skip
    choices = selection.choose(model, optimise, signed, multiplier)
    return emission.model_header(model, trained, choices)


def extreme_inputs(rng, size, signed=True):
    """int8 [N, size]: all 0, all 127, all -128, single spikes, sparse and dense noise."""
    low = -128 if signed else 0
    constants = [np.full((1, size), value) for value in (0, 1, 127, low)]
    spikes = np.where(np.arange(size) == rng.permutation(size)[:8, None], 127, 0)
    dense = rng.integers(low, 128, (8, size))
    sparse = rng.integers(low, 128, (8, size)) * (rng.random((8, size)) < 0.2)
    return np.concatenate([*constants, spikes, dense, sparse]).astype(np.int8)


def assert_same(ours, expected):
    """Two lists of `Trace` agree on every value."""
    assert test_inference.differing_values(ours, expected) == 0


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


@pytest.fixture(scope="session")
def build_harness():
    """(model, folder) -> `Harness`, with sanitizers where the compiler has them."""
    command = [os.environ.get("CC", "cc"), *SANITIZE]
    if not links(command):
        command = [os.environ.get("CC", "cc"), "-O1"]
    return lambda model, folder, **options: Harness(model, folder, command, **options)


class Harness:
    """An exported model compiled into a program of its own, so that sanitizers can watch it."""

    def __init__(self, model, folder, command, optimise="size", multiplier=False):
        self.model = model
        self.program = folder / "harness"
        (folder / "BitNetMCU_model.h").write_text(header_of(model, optimise, multiplier=multiplier))
        sources = [ROOT / "tests/harness.c", ROOT / "BitNetMCU_lib.c", *selection.sources()]
        flags = [*STRICT, f"-DBITNETMCU_MULTIPLIER={int(multiplier)}", "-I", folder]
        subprocess.run([*command, *flags, "-o", self.program, *sources], check=True)

    def execute(self, inputs):
        """Run int8 `inputs` [B, I]; returns (predictions [B], the `Trace` of each layer)."""
        done = subprocess.run([self.program], input=inputs.tobytes(), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        rows = np.frombuffer(done.stdout, np.int32).reshape(len(inputs), -1)
        traces = []
        at = 1
        for layer in self.model.layers:
            end = at + layer.outputs
            traces.append(Trace(rows[:, at:end], rows[:, end]))
            at = end + 1
        return rows[:, 0], traces


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
