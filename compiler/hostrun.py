"""Compiles C on this computer, and runs compiled networks there, in poisoned memory."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cli import UserError
from compiler import trace
from compiler.compiled import Compiled
from compiler.graph import ARENA
from compiler.trace import Layout, Result

HERE = Path(__file__).resolve().parent
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
RECORDED = ("-include", HERE / "record.h")  # for a generated network: its steps are recorded


def default_compiler():
    """The compiler of this computer and its flags, which CC and CFLAGS may name."""
    return (*os.environ.get("CC", "cc").split(), *os.environ.get("CFLAGS", "-O2").split())


def compile_c(target, sources, *flags, compiler=None):
    """Makes `target` of C `sources`, without a warning; returns its path. Raises `UserError`.

    flags: beside WARNINGS, as "-c", "-shared", "-Ifolder"; compiler: a command, by default
    `default_compiler`.
    """
    command = [*(compiler or default_compiler()), *WARNINGS, *flags, "-o", target, *sources]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"cannot run {command[0]}: {error.strerror}; install a C compiler")
    if done.returncode:
        raise UserError(
            f"the C code does not compile: {' '.join(map(str, command))}\n{done.stderr}"
        )
    return Path(target)


@dataclass(frozen=True)
class Harness:
    """A compiled network in a program of its own, which `run` feeds."""

    compiled: Compiled
    program: Path

    def run(self, inputs):
        """The `Result` for `inputs`, as `graph.by_input` takes them. Raises `UserError`."""
        graph = self.compiled.graph
        layout, given = Layout.of(graph), trace.inputs_of(graph, inputs)
        done = subprocess.run([self.program], input=given.tobytes(), capture_output=True)
        size = layout.bytes + trace.bytes_of(graph, graph.outputs)
        if done.returncode or len(done.stdout) != len(given) * size:
            raise UserError(
                f"{self.program} failed ({done.returncode}): {done.stderr.decode(errors='replace')}"
            )
        rows = np.frombuffer(done.stdout, np.uint8).reshape(len(given), size)
        return Result(layout.read(rows), trace.outputs_of(graph, rows[:, layout.bytes :]))


def build(compiled, emitted, folder, compiler=None):
    """The `Harness` of a `Compiled` network in `folder`, with the files that were `emitted`."""
    write(emitted, folder)
    (folder / "harness_plan.h").write_text(plan_header(compiled, emitted.run))
    flags = [f"-I{folder}", f"-I{HERE}", *includes(emitted)]
    network = folder / "network.o"
    compile_c(network, [folder / emitted.source], "-c", *RECORDED, *flags, compiler=compiler)
    kernels = [path for path in emitted.kernels if path.suffix == ".c"]
    sources = [HERE / "harness.c", network, *kernels]
    program = compile_c(folder / "harness", sources, *flags, compiler=compiler)
    return Harness(compiled, program)


def write(emitted, folder):
    """The files of `emitted` C into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in emitted.files.items():
        (folder / name).write_text(text)


def includes(emitted):
    """Flags for the folders of headers that `emitted` C includes."""
    return [f"-I{folder}" for folder in sorted({path.parent for path in emitted.headers})]


def plan_header(compiled, run):
    """The text of harness_plan.h: what is alive in the arena after each step, and the function
    `run`, C that executes the network."""
    graph, last = compiled.graph, len(compiled.graph.operators) - 1
    ranges, counts, offsets = [], [], []
    written = [len(step.outputs) for step in graph.operators]
    writers = {
        graph.tensors[i].name: n for n, step in enumerate(graph.operators) for i in step.outputs
    }
    for number, step in enumerate(graph.operators):
        live = [b for b in compiled.blocks if writers.get(b.name, b.first) <= number < b.last]
        if number == last:
            ends = {graph.tensors[i].name for i in graph.outputs}
            live = [b for b in compiled.blocks if b.name in ends]
        spans = sorted({(compiled.plan.offsets[b.name], b.size) for b in live})
        ranges.append(", ".join(f"{{{start}, {start + size}}}" for start, size in spans))
        counts.append(len(spans))
        value = step.outputs[0]
        offsets.append(compiled.offset(value) if graph.tensors[value].storage == ARENA else -1)
    rows = ",\n    ".join(f"{{{row or '{0, 0}'}}}" for row in ranges)
    return f"""#define ARENA_BYTES {compiled.arena}u
#define INPUT_BYTES {trace.bytes_of(graph, graph.inputs)}
#define OUTPUT_BYTES {trace.bytes_of(graph, graph.outputs)}

static const int32_t value_offsets[] = {{{", ".join(map(str, offsets))}}};
static const uint32_t written_counts[] = {{{", ".join(map(str, written))}}};
static const uint32_t live_counts[] = {{{", ".join(map(str, counts))}}};
static const Range live_after[][{max([1, *counts])}] = {{
    {rows},
}};

{run}"""
