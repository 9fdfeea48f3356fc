"""What CONTRIBUTING.md says of a new number format, and of a new operator, is all that it takes."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, assert_same, extreme_inputs
from torch import nn

import BitNetMCU
import exportquant
import test_inference
import training
from compiler import operators
from compiler.formats import FORMATS
from compiler.graph import STATE, Tensor
from compiler.operators import Row
from compiler.selection import Kernel
from lowbit import kernelrows, lowering
from lowbit.rules import IntegerLayer

NAME = "3bitsym"
STEPS = (  # file, the line before, what is added: steps 1 and 2 of CONTRIBUTING.md
    (
        "compiler/formats.py",
        r'^ +Format\("2bitsym".*\n',
        f'        Format("{NAME}", _odd(8), 10, clip=8),\n',
    ),
    (
        "BitNetMCU_inference.c",
        r"^static int32_t level_2bitsym.*\n",
        f"static int32_t level_{NAME}(int32_t sum, int32_t x) "
        "{ return sum + sum - times_4(x, 7); }\n",
    ),
    (
        "BitNetMCU_inference.c",
        r"^FC_KERNEL\(BitNetMCU_fc_2bitsym,.*\n",
        f"FC_KERNEL(BitNetMCU_fc_{NAME}, 10, word & 7, word >> 3, times_4, level_{NAME})\n",
    ),
    (
        "BitNetMCU_inference.h",
        r"^BitNetMCU_fc BitNetMCU_fc_2bitsym;.*\n",
        f"BitNetMCU_fc BitNetMCU_fc_{NAME};\n",
    ),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with one more format."""
    folder = tmp_path_factory.mktemp("contributing") / "project"
    left_out = (".git", ".venv", "build", "datasets", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*left_out))
    for name, before, added in STEPS:
        text = (folder / name).read_text()
        text, count = re.subn(before, lambda line, new=added: line[0] + new, text, flags=re.M)
        assert count == 1, (name, before)
        (folder / name).write_text(text)
    return folder


def run(project, *arguments):
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_a_new_format_goes_from_training_to_c(project, tmp_path):
    settings = ("dataset=Digits", "num_epochs=3", "widths=20,9", f"QuantType={NAME}")
    folders = ("--out", tmp_path, "--build", tmp_path)
    run(project, "training.py", *settings, *folders)
    for optimise in kernelrows.OPTIMISE:
        run(project, "exportquant.py", "--build", tmp_path, "--optimise", optimise)
        parity = run(project, "test_inference.py", "--build", tmp_path).splitlines()[-1]
        assert "differing_values=0 differing_values_multiplier=0" in parity
        header = (tmp_path / "BitNetMCU_model.h").read_text()
        assert ("BitNetMCU_fc_halfwords" if optimise == "host" else f"fc_{NAME}") in header


def test_the_tests_take_a_new_format(project):
    """All are collected; those that take every row pass, formats alone and in one network."""
    quiet = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    collected = run(project, *quiet, "--collect-only")
    assert len(re.findall(rf"\[.*{NAME}.*\]", collected)) > 20
    chosen = f"{NAME} and (test_formats or exported_c and size and True)"
    chosen += " or formats_mix or every or QuantType"
    files = ("formats", "parity", "fast_kernels", "config")
    passed = run(project, *quiet, *(f"tests/test_{name}.py" for name in files), "-k", chosen)
    assert re.search(r"\d+ passed", passed) and "failed" not in passed


# --- an operator of low-bit networks: a module, its rule, its row, a kernel that is C of its own


class Reverse(nn.Module):
    """Activations in the opposite order."""

    reads = writes = "activations"

    def forward(self, x):
        return x.flip(-1)


def emit_reverse(size, place):
    (x,), (y,) = place.inputs, place.outputs
    yield f"for (uint32_t i = 0; i < {size}; i++)"
    yield f"    {y}[i] = {x}[{size - 1} - i];"


REVERSE = Row(
    "REVERSE",
    sizes=lambda size: (size, size),
    rule=lambda size, x: x[:, ::-1],
    kernels=(Kernel("reverse", "", None, emit_reverse),),
)


def lower_reverse(chain, module):
    size, read, index = chain.last.size, chain.last.range, len(chain.steps)
    chain.step("REVERSE", size, Tensor(f"reversed_{index}", (size,), "int8", range=read))


OWN = """from torch import nn
from BitNetMCU import LAYERS, BitLinear
class Own(nn.Sequential):
    def __init__(self, i, c, config):
        Reverse, wide = LAYERS["Reverse"], BitLinear(i, 9, "4bitsym")
        super().__init__(wide, nn.ReLU(), Reverse(), Reverse(), BitLinear(9, c, "8bit"))
"""


def test_a_new_operator_goes_from_training_to_c(monkeypatch, tmp_path, settings):
    monkeypatch.setitem(lowering.ROWS, "REVERSE", REVERSE)
    monkeypatch.setitem(lowering.MODULES, Reverse, lower_reverse)
    monkeypatch.setitem(BitNetMCU.LAYERS, "Reverse", Reverse)
    (tmp_path / "own.py").write_text(OWN)
    own = replace(settings, model=f"{tmp_path / 'own.py'}:Own")
    path = training.train(own, tmp_path, report=str)
    exportquant.export(path, tmp_path / "build", optimise="speed")
    parity = test_inference.compare(tmp_path / "build")
    assert parity["differing_values"] == parity["differing_values_multiplier"] == 0
    assert "reversed_3[i] = reversed_2[8 - i]" in (tmp_path / "build/BitNetMCU_model.h").read_text()


# --- an operator with state: what its input was in the run before


def emit_delay(size, place):
    (x, before), (y, _) = place.inputs, place.outputs
    yield f"for (uint32_t i = 0; i < {size}; i++) {{"
    yield f"    {y}[i] = {before}[i];"
    yield f"    {before}[i] = {x}[i];"
    yield "}"


DELAY = Row(
    "DELAY",
    sizes=lambda size: (size,) * 4,
    rule=lambda size, x, before: (before, x),
    kernels=(Kernel("delay", "", None, emit_delay),),
)


def test_an_operator_with_state_goes_to_c(monkeypatch, tmp_path, rng, build_harness):
    monkeypatch.setitem(lowering.ROWS, "DELAY", DELAY)
    chain = lowering.Chain("delayed", 20, lowering.MEASURED)
    state = Tensor("before", (20,), "int8", storage=STATE)
    chain.step("DELAY", 20, Tensor("delayed", (20,), "int8"), state)
    chain.steps[-1].inputs.append(chain.steps[-1].outputs[1])
    weights = rng.integers(-8, 8, (4, 20)).astype(np.int32)
    chain.linear(IntegerLayer(FORMATS["4bit"], weights))
    graph, images = chain.graph(), extreme_inputs(rng, 20)
    expected = operators.execute(graph, images)
    delayed = np.concatenate([np.zeros((1, 20), np.int8), images[:-1]])
    assert np.array_equal(expected[graph.outputs[0]], delayed @ weights.T)
    assert_same(graph, build_harness(graph, tmp_path).run(images).values, expected)
