"""The plain kernels of tinyengine compute what TensorFlow Lite does, on every value of every case.

Each operator of `tflite_models.cases()` runs by itself, on the oracle's own inputs, in a program
that a C compiler makes of the kernels and of all descriptions.
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SANITIZE, STRICT, compiler

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_micro  # noqa: E402
from tflite_builder import inputs  # noqa: E402
from tflite_models import cases  # noqa: E402

from compiler.emission import C_TYPES, Constants, Place  # noqa: E402
from tinyengine import importer, kernelrows, lowering, oracle, quantisation  # noqa: E402

KERNELS = ROOT / "tinyengine" / "kernels"
MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
CASES = dict(cases())
PLAIN = {kernels[-1].name for kernels in kernelrows.KERNELS.values()}
MAIN = """
typedef struct {
    void (*run)(int8_t *const *inputs, int8_t *const *outputs, int8_t *scratch);
    size_t inputs[MOST], outputs[MOST], scratch; /* bytes */
} row;
static const row rows[] = {%s};

/* Buffers of their exact sizes, so that a sanitizer sees every access beyond them. */
int main(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int repeat = 0; repeat < %d; repeat++) {
            int8_t *inputs[MOST], *outputs[MOST], *scratch = malloc(rows[i].scratch + 1);
            for (int j = 0; j < MOST; j++) {
                inputs[j] = malloc(rows[i].inputs[j] + !rows[i].inputs[j]);
                outputs[j] = malloc(rows[i].outputs[j] + !rows[i].outputs[j]);
                if (fread(inputs[j], 1, rows[i].inputs[j], stdin) != rows[i].inputs[j])
                    return 1;
            }
            rows[i].run(inputs, outputs, scratch);
            free(scratch);
            for (int j = 0; j < MOST; j++) {
                fwrite(outputs[j], 1, rows[i].outputs[j], stdout);
                free(inputs[j]), free(outputs[j]);
            }
        }
    }
    return 0;
}
"""


class Program:
    """C of operators to run, the bytes they read, and what they must write."""

    def __init__(self, models, repeats=6):
        self.expected = []  # (name of the case, name of the kernel, int8 [bytes])
        self.stdin, self.rows, self.functions, self.constants = b"", [], [], Constants()
        self.most = 0  # inputs or outputs
        rng = np.random.default_rng(1)
        for name, content in models.items():
            graph = lowering.describe(importer.parse(content, name))
            traces = oracle.run(content, inputs(content, rng, repeats))
            for step in graph.operators:
                if graph.row(step).kernels:  # RESHAPE has none
                    self._add(name, graph, step, traces)
        includes = [f"#include <{name}.h>" for name in ("stdio", "stdlib", "string")]
        includes.append('#include "tinyengine.h"')
        includes.append(f"enum {{ MOST = {self.most} }};")
        main = MAIN % (", ".join(self.rows), repeats)
        self.text = "\n".join([*includes, self.constants.text, *self.functions, main])

    def _add(self, name, graph, step, traces):
        """A step, with the inputs that it has in each of the traces, and what it must write."""
        kernel, number = graph.row(step).kernels[-1], len(self.rows)
        packed = kernel.pack(step.fields)
        names = {
            t: f"({C_TYPES[graph.tensors[t].dtype]} *)(void *){what}[{i}]"
            for what, end in (("inputs", step.inputs), ("outputs", step.outputs))
            for i, t in enumerate(end)
        }
        ends = [[names[t] for t in end] for end in (step.inputs, step.outputs)]
        states = [t for t in step.inputs if t in step.outputs]  # what lies in outputs is written
        place = Place(replace(step, index=number), "", *ends, "scratch", self.constants)
        self.functions += [
            f"static void run_{number}(int8_t *const *inputs, int8_t *const *outputs, "
            "int8_t *scratch) {",
            "    (void)inputs, (void)outputs, (void)scratch;",
            *(
                f"    memcpy({names[t]}, inputs[{step.inputs.index(t)}], {graph.tensors[t].bytes});"
                for t in states
            ),
            *kernel.emit(packed, place),
            "}",
        ]
        self.most = max(self.most, len(step.inputs), len(step.outputs))
        sizes = [
            ", ".join(str(graph.tensors[i].bytes) for i in end)
            for end in (step.inputs, step.outputs)
        ]
        self.rows.append(
            f"{{run_{number}, {{{sizes[0]}}}, {{{sizes[1]}}}, {kernel.scratch(packed)}}}"
        )
        before = {}
        for t in states:
            tensor = graph.tensors[t]
            before[t] = np.full(tensor.size, tensor.initial, tensor.dtype)
        for trace in traces:
            self.stdin += b"".join((trace | before)[t].tobytes() for t in step.inputs)
            before = {t: trace[t] for t in states}
        wanted = b"".join(trace[i].tobytes() for trace in traces for i in step.outputs)
        self.expected.append((name, kernel.name, np.frombuffer(wanted, np.int8)))

    def differences(self, folder, command, *flags):
        """{name of a case: what the compiled kernels write wrongly}, empty if they are right."""
        (folder / "operators.c").write_text(self.text)
        sources = [folder / "operators.c", *(KERNELS / f"{name}.c" for name in sorted(PLAIN))]
        binary = folder / "operators"
        command = [*command, *STRICT, *flags, "-I", KERNELS, "-o", binary, *sources]
        subprocess.run(command, check=True)
        done = subprocess.run([binary], input=self.stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        written, at, wrong = np.frombuffer(done.stdout, np.int8), 0, {}
        for name, kind, values in self.expected:
            count = np.count_nonzero(written[at : at + values.size] != values.ravel())
            at += values.size
            if count:
                wrong.setdefault(name, []).append(f"{kind}: {count} of {values.size} differ")
        assert at == written.size
        return wrong


@pytest.fixture(scope="module")
def program():
    return Program(CASES)


@pytest.fixture(scope="module")
def differences(program, tmp_path_factory):
    return program.differences(tmp_path_factory.mktemp("gcc"), compiler("gcc"), *SANITIZE)


@pytest.mark.parametrize("name", CASES)
def test_plain_kernels_match_the_oracle(name, differences):
    assert name not in differences, differences[name]


def test_kernels_of_clang_match_the_oracle(program, tmp_path):
    assert not program.differences(tmp_path, compiler("clang"), "-O2")


def test_all_kernels_are_covered(program):
    assert {kind for _, kind, _ in program.expected} == PLAIN


@pytest.mark.parametrize("name", [n for n in CASES if "thresholds" in n])
def test_an_error_of_2_to_the_minus_24_in_a_multiplier_shows(name, tmp_path, monkeypatch):
    """The threshold cases can fail: they would with scales multiplied in float32."""
    exact = quantisation.quantise_multiplier
    monkeypatch.setattr(
        quantisation,
        "quantise_multiplier",
        lambda factor: (exact(factor)[0] + 64, exact(factor)[1]),
    )
    program = Program({name: CASES[name]})
    assert program.differences(tmp_path, compiler("gcc"), "-O0")


def test_fully_connected_models_run_as_in_tensorflow_lite_micro(rng):
    """ad01 is FULLY_CONNECTED only: the chain of one-operator models must be the whole model."""
    path = MODELS / "ad01_int8.tflite"
    if not path.exists():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    content = path.read_bytes()
    micro = tflite_micro.runtime.Interpreter.from_bytes(content)
    batch = inputs(content, rng, 20)
    (output,) = importer.parse(content).outputs
    for values, trace in zip(batch, oracle.run(content, batch)):
        micro.set_input(values, 0)
        micro.invoke()
        np.testing.assert_array_equal(trace[output], micro.get_output(0))
