"""Many small compiled models in one program, which traces every operator of all of them."""

import os
import subprocess
from pathlib import Path

import joblib
import numpy as np

import check_tflite
from tinyengine import compiler, hostrun, oracle, selection

REPEATS = 6
TABLE = """#include "tflite_batch.h"
%s
const Model models[] = {%s};
const uint32_t model_count = sizeof models / sizeof *models, repeats = %d;
"""


class Batch:
    """cases: {name: bytes of a .tflite file}. kernels: names of those that are used."""

    def __init__(self, cases, optimise):
        self.cases = cases
        self.models = [
            compiler.compile_model(content, f"case_{i}", optimise=optimise)
            for i, content in enumerate(cases.values())
        ]
        self.inputs = [
            check_tflite.make_inputs(m.graph.tensors[m.graph.inputs[0]], REPEATS, seed=seed)
            for seed, m in enumerate(self.models)
        ]
        self.choices = [choice for m in self.models for choice in m.choices]
        self.kernels = {choice.kernel.name for choice in self.choices}

    @property
    def stdin(self):
        """What the program reads."""
        return b"".join(inputs.tobytes() for inputs in self.inputs)

    def build(self, folder, command, sources):
        """Builds the program in `folder` with the compiler `command`; returns its path.

        sources: with a main() and harness_trace(), as tflite_host.c.
        """

        def compile_one(compiled):
            place = folder / compiled.name
            hostrun.write(compiled, place)
            options = ["-DTE_TRACE=harness_trace", "-DHARNESS_MODEL_C"]
            options += ["-include", place / "harness_plan.h", f"-I{place}"]
            options += [f"-I{selection.KERNELS}", "-c", place / "model.c"]
            subprocess.run([*command, *options, "-o", place / "model.o"], check=True)
            return place / "model.o"

        parallel = joblib.Parallel(os.cpu_count(), prefer="threads")
        objects = parallel(map(joblib.delayed(compile_one), self.models))
        names = [compiled.name for compiled in self.models]
        declared = "\n".join(
            f"int8_t *{n}_input(void);\nconst int8_t *{n}_run(void);" for n in names
        )
        outputs = [m.graph.tensors[m.graph.outputs[0]].size for m in self.models]
        rows = ", ".join(
            f"{{{name}_input, {name}_run, {x[0].size}, {size}}}"
            for name, x, size in zip(names, self.inputs, outputs)
        )
        (folder / "table.c").write_text(TABLE % (declared, rows, REPEATS))
        files = [folder / "table.c", *sources, *selection.sources(self.choices), *objects]
        options = [f"-I{Path(__file__).parent}", f"-I{selection.KERNELS}"]
        subprocess.run([*command, *options, "-o", folder / "all", *files], check=True)
        return folder / "all"

    def check(self, output, bounds=None):
        """Asserts that the program's output is what the oracle computes, on every value.

        bounds: of each model, the bytes of stack that it may use, if the program tells what it did.
        """
        computed, wrong = np.frombuffer(output, np.int8), []
        for step, (name, compiled, inputs) in enumerate(zip(self.cases, self.models, self.inputs)):
            graph = compiled.graph
            reference = oracle.Oracle(self.cases[name], graph.inputs[0])
            written = [(f"{o.kind} {o.index}", o.outputs[0]) for o in graph.operators]
            written.append(("output", graph.outputs[0]))
            for values in inputs:
                wanted = reference.run(values)
                for what, i in written:
                    left = graph.tensors[i].left_of(wanted[i])
                    if not np.array_equal(computed[: left.size], left):
                        wrong.append(f"{name}: {what}")
                    computed = computed[left.size :]
            if bounds:
                used = int.from_bytes(computed[:4].tobytes(), "little")
                wrong += [f"{name}: {used} bytes of stack, bound {bounds[step]}"] * (
                    not 0 < used <= bounds[step]
                )
                computed = computed[4:]
        assert not wrong, wrong
        assert not computed.size
