"""Runs compiled models on this computer, operator by operator, in poisoned memory."""

import subprocess
from pathlib import Path

import numpy as np

from cli import UserError
from tinyengine import emission, selection

HARNESS = Path(__file__).resolve().parent / "harness.c"
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]


def write(compiled, folder):
    """model.c and model.h, and what the harness needs to know, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files, _ = compiled.files()
    for name, text in {**files, "harness_plan.h": _plan_header(compiled)}.items():
        (folder / name).write_text(text)


def build(compiled, folder, compiler=("cc", "-O2")):
    """Compiles the model and the harness in `folder`; returns the program's path."""
    write(compiled, folder)
    program = folder / "harness"
    command = [*compiler, *WARNINGS, f"-I{folder}", f"-I{selection.KERNELS}"]
    command += ["-DTE_TRACE=harness_trace", "-include", str(folder / "harness_plan.h")]
    command += ["-o", program, folder / "model.c", HARNESS, *selection.sources(compiled.choices)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"cannot run {compiler[0]}: {error.strerror}; install a C compiler")
    if done.returncode:
        raise UserError(
            f"the C code does not compile: {' '.join(map(str, command))}\n{done.stderr}"
        )
    return program


def run(compiled, program, inputs):
    """What the operators compute: a list, for each of the `inputs` (int8 [N, ...]), of a list of
    flat int8 arrays, one for each operator's output, and the model's output."""
    inputs = np.ascontiguousarray(inputs, np.int8)
    done = subprocess.run([program], input=inputs.tobytes(), capture_output=True)
    written = [o.outputs[0] for o in compiled.graph.operators] + compiled.graph.outputs
    sizes = [compiled.graph.tensors[i].size for i in written]
    if done.returncode or len(done.stdout) != len(inputs) * sum(sizes):
        raise UserError(
            f"{program} failed ({done.returncode}): {done.stderr.decode(errors='replace')}"
        )
    values = np.frombuffer(done.stdout, np.int8).reshape(len(inputs), sum(sizes))
    return [np.split(row, np.cumsum(sizes)[:-1]) for row in values]


def _plan_header(compiled):
    prefix = emission.identifier(compiled.name)
    ranges, counts = [], []
    for step in range(len(compiled.graph.operators)):
        live = [b for b in compiled.blocks if b.first <= step < b.last]
        if step == len(compiled.graph.operators) - 1:
            live = [b for b in compiled.blocks if b.kind == "output"]
        spans = sorted({(compiled.plan.offsets[b.name], b.size) for b in live})
        ranges.append(", ".join(f"{{{start}, {start + size}}}" for start, size in spans))
        counts.append(len(spans))
    rows = ",\n    ".join(f"{{{row or '{0, 0}'}}}" for row in ranges)
    inputs, outputs = (
        compiled.graph.tensors[i].size for i in compiled.graph.inputs + compiled.graph.outputs
    )
    return f"""#ifndef HARNESS_PLAN_H
#define HARNESS_PLAN_H

#include "model.h"

#define HARNESS_ARENA ({prefix}_input() - {compiled.offset(compiled.graph.inputs[0])})
#define HARNESS_BYTES {compiled.arena}u
#define HARNESS_INPUT {inputs}
#define HARNESS_OUTPUT {outputs}
#define HARNESS_MODEL_INPUT {prefix}_input
#define HARNESS_RUN {prefix}_run

typedef struct {{
    uint32_t start, end;
}} Range;

void harness_trace(uint32_t step, const int8_t *output, uint32_t bytes);

#ifndef HARNESS_MODEL_C
static const uint32_t live_counts[] = {{{", ".join(map(str, counts))}}};
static const Range live_after[][{max([1, *counts])}] = {{
    {rows},
}};
#endif

#endif
"""
