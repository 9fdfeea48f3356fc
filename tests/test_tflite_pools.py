"""The kernels of pools, reductions and lookups, plain and fast, in place and not, compute what the
rules say: on shapes that are in no model, in buffers of their exact sizes."""

import subprocess
from collections import Counter

import numpy as np
import pytest
from conftest import SANITIZE, STRICT, compiler

pytest.importorskip("tflite")

from compiler.emission import Constants, Place  # noqa: E402
from compiler.graph import Step  # noqa: E402
from compiler.selection import Unfit  # noqa: E402
from tinyengine import channels, descriptions, kernelrows, shapes  # noqa: E402
from tinyengine.operators import ROWS  # noqa: E402

RUNS = 3
CASES = 60  # random ones of each kind
MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "fast.h"

%s
typedef struct {
    void (*run)(int8_t *input, int8_t *output);
    size_t input, output;
    int in_place;
} row;
static const row rows[] = {%s};

int main(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int run = 0; run < %d; run++) {
            int8_t *input = malloc(rows[i].input);
            int8_t *output = rows[i].in_place ? input : malloc(rows[i].output);
            if (fread(input, 1, rows[i].input, stdin) != rows[i].input)
                return 1;
            rows[i].run(input, output);
            fwrite(output, 1, rows[i].output, stdout);
            free(input);
            if (!rows[i].in_place)
                free(output);
        }
    }
    return 0;
}
"""


def pool(rng, small):
    """Fields of a pool; small: of sizes for which padding and in place matter."""
    size = rng.integers(1, 8 if small else 19, 2)
    window, stride = rng.integers(1, 5 if small else 19, 2), rng.integers(1, 4, 2)
    if rng.random() < 0.5:
        window[:] = rng.choice([2, 3])
        stride[:] = rng.choice([1, 2])
    attributes = dict(zip(("stride_y", "stride_x"), stride.tolist()))
    fits = bool(np.all(window <= size))
    attributes["padding"] = str(rng.choice(["SAME", "VALID"])) if fits else "SAME"
    fields, *output = shapes.window(attributes, *window.tolist(), size.tolist())
    depth = int(rng.integers(1, 14))
    ends = sorted(rng.integers(-128, 128, 2).tolist()) if rng.random() < 0.3 else (-128, 127)
    return {
        "input": descriptions.shape_fields((*size.tolist(), depth)),
        "output": descriptions.shape_fields((*output, depth)),
        "window": fields,
        **dict(zip(("lowest", "highest"), ends)),
    }


def reduction(rng, small):
    """Fields of a reduction over some axes, or over all pixels of an image."""
    shape = rng.integers(1, 6 if small else 13, rng.integers(1, 5)).tolist()
    reduced = rng.random(len(shape)) < 0.5
    if rng.random() < 0.5 and len(shape) > 1:
        reduced[:] = [*[True] * (len(shape) - 1), False]
    pairs = list(zip(shape, descriptions.strides_of(shape)))
    of = {name: [p for p, r in zip(pairs, reduced) if r == there] for name, there in AXES.items()}
    return {name: descriptions.axes(some) for name, some in of.items()}


def mean(rng, small):
    scale = {"multiplier": int(rng.integers(1 << 30, 1 << 31)), "shift": -int(rng.integers(0, 9))}
    zero_points = rng.integers(-128, 128, 2).tolist()
    names = ("input_zero_point", "output_zero_point")
    fields = reduction(rng, small)
    if rng.random() < 0.3:  # a TRANSPOSE folded into it
        fields["kept"] = fields["kept"][::-1]
    return fields | dict(zip(names, zero_points)) | {"scale": scale}


def lookup(rng, small):
    table = rng.permutation(256).astype(np.uint8)
    types = {"from": str(rng.choice(TYPES)), "to": str(rng.choice(TYPES))}
    return {"size": int(rng.integers(1, 40)), "channels": 1, "bytes": table} | types


AXES = {"kept": False, "reduced": True}
TYPES = ("int8", "uint8")
KINDS = {
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
    "MEAN": mean,
    "REDUCE_MAX": reduction,
    "REDUCE_MIN": reduction,
    "QUANTIZE": lookup,
}


class Program:
    """C of many steps, each with all kernels that take it."""

    def __init__(self):
        self.stdin, self.wanted, self.kernels, self.counts = b"", [], [], Counter()
        constants, functions, rows, rng = Constants(), [], [], np.random.default_rng(7)
        for kind, fields_of in KINDS.items():
            for case in range(CASES):
                fields = fields_of(rng, case % 2 == 0)
                inputs, outputs = ROWS[kind].sizes(fields)
                x = rng.integers(-128, 128, (RUNS, inputs)).astype(np.int8)
                x[0] = rng.choice([-128, 127], inputs)
                given = x.view(fields.get("from", "int8"))
                wanted = ROWS[kind].rule(fields, given).reshape(RUNS, outputs)
                for kernel, in_place in self._kernels(kind, fields):
                    number = len(rows)
                    step = Step(number, kind, [], [], fields)
                    place = Place(step, "", ("input",), ("output",), "NULL", constants)
                    body = "\n".join(kernel.emit(kernel.pack(fields), place))
                    head = f"static void run_{number}(int8_t *input, int8_t *output)"
                    functions.append(f"{head} {{\n{body}\n}}")
                    rows.append(f"{{run_{number}, {inputs}, {outputs}, {int(in_place)}}}")
                    self.stdin += x.tobytes()
                    self.wanted.append((f"{kernel.name} {fields}", wanted.tobytes()))
                    self.kernels.append(kernel)
                    self.counts[kernel.name, in_place] += 1
        text = constants.text + "\n".join(functions)
        self.text = MAIN % (text, ", ".join(rows), RUNS)

    def _kernels(self, kind, fields):
        """(kernel, whether in place) of all that take the step."""
        for kernel in ROWS[kind].kernels:
            try:
                kernel.pack(fields)
            except Unfit:
                continue
            yield kernel, False
            if kernel.in_place(fields):
                yield kernel, True

    def wrong(self, folder, command):
        """Names of what is not computed as the rules say, when built by a compiler."""
        (folder / "main.c").write_text(self.text)
        files = [folder / "main.c", *{kernel.source for kernel in self.kernels}]
        options = [*STRICT, f"-I{kernelrows.FOLDER}", "-o", folder / "main"]
        subprocess.run([*command, *options, *files], check=True)
        done = subprocess.run([folder / "main"], input=self.stdin, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        wrong, at = [], 0
        for name, wanted in self.wanted:
            wrong += [name] * (done.stdout[at : at + len(wanted)] != wanted)
            at += len(wanted)
        assert at == len(done.stdout)
        return wrong


@pytest.fixture(scope="module")
def program():
    return Program()


@pytest.mark.parametrize("command", [(*compiler("gcc"), *SANITIZE), (*compiler("clang"), "-O2")])
def test_kernels_compute_what_the_rules_say(program, command, tmp_path):
    assert not program.wrong(tmp_path, command)


def test_all_kernels_run_in_place_where_they_can(program):
    for kind in KINDS:
        for kernel in ROWS[kind].kernels:
            assert program.counts[kernel.name, False] > 10
    for name in ("max_pool_2d", "max_pool_2d_fast", "average_pool_2d", "average_pool_2d_fast"):
        assert program.counts[name, True] > 10
    assert program.counts["lookup", True] == CASES


def test_the_factor_of_an_average_divides_every_sum_exactly():
    """As average_pool_2d_fast.c does it, for every count and sum that there can be."""
    for count in range(3, kernelrows.LARGEST_AVERAGE + 1):
        sums = np.arange(-128 * count, 127 * count + 1)
        factor = (2**32 - 1) // count + 1
        bias = (128 * count + (count - 1) // 2 << 16) // count + 3
        one_more = (sums >= 0) & (count % 2 == 0)
        means = (factor * (sums + one_more) >> 16) + bias
        exact = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
        assert factor < 2**31 and (sums + one_more).max() < 2**15
        assert np.array_equal((means >> 16) - 128, exact)


def test_the_interval_of_a_lookup_holds_its_values(rng):
    for _ in range(50):
        fields = lookup(rng, False) | {"from": "int8"}
        lowest, highest = sorted(rng.integers(-128, 128, 2).tolist())
        values = np.arange(lowest, highest + 1, dtype=np.int8)
        results = ROWS["QUANTIZE"].rule(fields, values[None]).astype(int)
        found = channels.interval_lookup(fields, np.array([[lowest, highest]]))
        assert found.tolist() == [[results.min(), results.max()]]
