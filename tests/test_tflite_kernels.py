"""The plain kernels of tinyengine compute what TensorFlow Lite does, on every value of every case.

Each operator of `tflite_models.cases()` runs by itself, on the oracle's own inputs, in a program
that a C compiler makes of the kernels and of all descriptions.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SANITIZE, STRICT, compiler

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_micro  # noqa: E402
from tflite_models import cases, inputs  # noqa: E402

from tinyengine import importer, kernelrows, lowering, oracle, quantisation  # noqa: E402

KERNELS = ROOT / "tinyengine" / "kernels"
MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
CASES = dict(cases())
PLAIN = {kernels[-1].name for kernels in kernelrows.KERNELS.values()}
MAIN = """
typedef struct {
    void (*run)(int8_t *const *inputs, int8_t *output);
    size_t input_sizes[2], output_size;
} row;
static const row rows[] = {%s};

/* Buffers of their exact sizes, so that a sanitizer sees every access beyond them. */
int main(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int repeat = 0; repeat < %d; repeat++) {
            int8_t *inputs[2], *output = malloc(rows[i].output_size);
            for (int j = 0; j < 2; j++) {
                inputs[j] = malloc(rows[i].input_sizes[j] + !rows[i].input_sizes[j]);
                if (fread(inputs[j], 1, rows[i].input_sizes[j], stdin) != rows[i].input_sizes[j])
                    return 1;
            }
            rows[i].run(inputs, output);
            fwrite(output, 1, rows[i].output_size, stdout);
            free(inputs[0]), free(inputs[1]), free(output);
        }
    }
    return 0;
}
"""


def initialiser(value, name, tables):
    """C for a number, array or structure; arrays become tables of their own."""
    if isinstance(value, dict):
        fields = (f".{k} = {initialiser(v, f'{name}_{k}', tables)}" for k, v in value.items())
        return f"{{{', '.join(fields)}}}"
    if isinstance(value, np.ndarray):
        numbers = ", ".join(str(n) if n > -(2**31) else "INT32_MIN" for n in value.ravel().tolist())
        tables.append(f"static const {value.dtype}_t {name}[] = {{{numbers}}};")
        return name
    if isinstance(value, list):
        return f"{{{', '.join(initialiser(v, name, tables) for v in value)}}}"
    return str(int(value))


class Program:
    """C of operators to run, the bytes they read, and what they must write."""

    def __init__(self, models, repeats=6):
        self.expected = []  # (name of the case, kind, int8 [repeats, ...])
        self.stdin, text, rows = b"", ["#include <stdio.h>", "#include <stdlib.h>"], []
        text.append('#include "tinyengine.h"')
        rng = np.random.default_rng(1)
        for name, content in models.items():
            graph = lowering.describe(importer.parse(content, name))
            traces = oracle.run(content, inputs(content, rng, repeats))
            for operator in graph.operators:
                if not graph.row(operator).kernels:  # RESHAPE
                    continue
                place, kind = len(rows), operator.kind.lower()
                reads = operator.inputs
                tables = []
                value = initialiser(operator.fields, f"table_{place}", tables)
                arguments = ", ".join(f"inputs[{i}]" for i in range(len(reads)))
                text += [
                    *tables,
                    f"static const te_{kind} op_{place} = {value};",
                    f"static void run_{place}(int8_t *const *inputs, int8_t *output) {{",
                    f"    te_run_{kind}(&op_{place}, {arguments}, output, NULL);",
                    "}",
                ]
                sizes = [graph.tensors[i].size for i in reads] + [0] * (2 - len(reads))
                written = operator.outputs[0]
                size = graph.tensors[written].size
                rows.append(f"{{run_{place}, {{{sizes[0]}, {sizes[1]}}}, {size}}}")
                self.stdin += b"".join(trace[i].tobytes() for trace in traces for i in reads)
                self.expected.append((name, kind, np.stack([t[written] for t in traces])))
        self.text = "\n".join([*text, MAIN % (", ".join(rows), repeats)])

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
