"""Many small compiled models in one program, which traces every operator of all of them."""

import os
from pathlib import Path

import joblib
import numpy as np

import check_tflite
from compiler import hostrun, selection, trace
from compiler.trace import Layout
from tinyengine import emission, kernelrows, oracle, pipeline

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
            pipeline.compile_model(content, f"case_{i}", optimise=optimise)
            for i, content in enumerate(cases.values())
        ]
        self.inputs = [
            check_tflite.make_inputs(m.graph.input, REPEATS, seed=seed)
            for seed, m in enumerate(self.models)
        ]
        self.choices = [choice for m in self.models for choice in m.choices]
        self.kernels = {choice.kernel.name for choice in self.choices}

    @property
    def stdin(self):
        """What the program reads."""
        return b"".join(
            trace.inputs_of(m.graph, inputs).tobytes()
            for m, inputs in zip(self.models, self.inputs)
        )

    def build(self, folder, command, sources):
        """Builds the program in `folder` with the compiler `command`; returns its path.

        sources: with a main() and record(), as tflite_host.c.
        """

        def compile_one(compiled):
            place, emitted = folder / compiled.name, emission.emit(compiled)
            hostrun.write(emitted, place)
            options = ["-c", *hostrun.RECORDED, f"-I{place}", *hostrun.includes(emitted)]
            return hostrun.compile_c(
                place / "model.o", [place / emitted.source], *options, compiler=command
            )

        parallel = joblib.Parallel(os.cpu_count(), prefer="threads")
        objects = parallel(map(joblib.delayed(compile_one), self.models))
        names = [compiled.name for compiled in self.models]
        declared = "\n".join(
            f'#include "{n}/model.h"\n{emission.access(m, f"of_{n}")}'
            for n, m in zip(names, self.models)
        )
        rows = ", ".join(
            f"{{of_{n}_inputs, of_{n}_outputs, {len(m.graph.inputs)}, {len(m.graph.outputs)}, "
            f"of_{n}_input_bytes, of_{n}_output_bytes}}"
            for n, m in zip(names, self.models)
        )
        (folder / "table.c").write_text(TABLE % (declared, rows, REPEATS))
        files = [folder / "table.c", *sources, *selection.sources(self.choices), *objects]
        options = [f"-I{path}" for path in (Path(__file__).parent, hostrun.HERE, kernelrows.FOLDER)]
        return hostrun.compile_c(folder / "all", files, *options, compiler=command)

    def check(self, output, bounds=None):
        """Asserts that the program's output is what the oracle computes, on every value.

        bounds: of each model, the bytes of stack that it may use, if the program tells what it did.
        """
        computed, wrong = np.frombuffer(output, np.uint8), []
        for step, (name, compiled, inputs) in enumerate(zip(self.cases, self.models, self.inputs)):
            graph, layout = compiled.graph, Layout.of(compiled.graph)
            reference = oracle.Oracle(self.cases[name], graph.inputs[0])
            wanted = check_tflite.wanted_of(graph, reference, inputs)
            size = layout.bytes + trace.bytes_of(graph, graph.outputs)
            rows = computed[: len(inputs) * size].reshape(len(inputs), size)
            computed = computed[len(inputs) * size :]
            wrong += [f"{name}: {what}" for what in layout.differences(layout.read(rows), wanted)]
            ends = rows[:, layout.bytes :]
            if not np.array_equal(ends, trace.written(graph, graph.outputs, wanted)):
                wrong.append(f"{name}: output")
            if bounds:
                used = int.from_bytes(computed[:4].tobytes(), "little")
                wrong += [f"{name}: {used} bytes of stack, bound {bounds[step]}"] * (
                    not 0 < used <= bounds[step]
                )
                computed = computed[4:]
        assert not wrong, wrong
        assert not computed.size
