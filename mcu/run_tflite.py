"""A compiled TensorFlow Lite model on a target under QEMU: built by `make tflite`, run, compared.

    python mcu/run_tflite.py compile MODEL.tflite --build DIR     what the firmware is built from
    python mcu/run_tflite.py run MODEL.tflite --build DIR --target cortex-m4

`run` compares every value of every operator with the reference, and prints instructions per
operator and for the whole model, one line for machines last.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse

import budget
import machine
import numpy as np

import check_tflite
import cli
from tinyengine import compiler, emission, oracle, selection


def compile_for_target(compiled, build):
    """model.c, model.h, tflite_plan.h and kernels.mk, the list of its kernels, in `build`."""
    prefix = emission.identifier(compiled.name)
    files, _ = compiled.files()
    files["tflite_plan.h"] = f"""#include "model.h"

#define TFLITE_INPUT {prefix}_input
#define TFLITE_RUN {prefix}_run
#define TFLITE_INPUT_BYTES {prefix.upper()}_INPUT_BYTES
#define TFLITE_OUTPUT_BYTES {prefix.upper()}_OUTPUT_BYTES

void tflite_trace(const int8_t *output, uint32_t bytes);
#ifdef TRACE_BUILD
#define TE_TRACE(step, output, bytes) tflite_trace(output, bytes)
#endif
"""
    sources = [*selection.sources(compiled.choices), *selection.assembly(compiled.choices)]
    names = " ".join(path.stem for path in sources)
    files["kernels.mk"] = f"TFLITE_KERNELS = {names}\n"
    for name, text in files.items():
        cli.write_atomic(build / name, text)


def record(compiled, trace):
    """The fields of what a firmware writes for an input, with each operator's in a trace build."""
    tensors = compiled.graph.tensors
    fields = []
    for step, operator in enumerate(compiled.graph.operators if trace else ()):
        fields.append((f"values {step}", np.int8, (tensors[operator.outputs[0]].size,)))
        fields.append((f"instructions {step}", np.uint32))
    output = ("output", np.int8, (tensors[compiled.graph.outputs[0]].size,))
    return [*fields, output, ("instructions", np.uint32)]


def run_firmware(compiled, arguments, inputs, trace):
    """The `record`s of a run under QEMU, whose stack must stay within its bound."""
    elf = arguments.build / f"tflite{'-trace' * trace}.elf"
    qemu = machine.Qemu(machine.facts(f"targets/{arguments.target}.mk")["MACHINE"])
    done = qemu.run(elf, inputs.tobytes())
    budget.read(elf).check_stack(done.stack)
    return done.rows(record(compiled, trace), len(inputs))


def run(compiled, arguments):
    """Prints the comparison; returns how many values differ."""
    tensor = compiled.graph.tensors[compiled.graph.inputs[0]]
    inputs = check_tflite.make_inputs(tensor, arguments.inputs)
    results, trace = (run_firmware(compiled, arguments, inputs, each) for each in (False, True))
    different, graph = 0, compiled.graph
    reference = oracle.Oracle(arguments.model.read_bytes(), graph.inputs[0])
    for row, traced, values in zip(results, trace, inputs):
        wanted = reference.run(values)
        different += np.count_nonzero(row["output"] != wanted[graph.outputs[0]].ravel())
        for step, operator in enumerate(graph.operators):
            i = operator.outputs[0]
            left = graph.tensors[i].left_of(wanted[i])
            different += np.count_nonzero(traced[f"values {step}"] != left)
    for step, (operator, choice) in enumerate(zip(compiled.graph.operators, compiled.choices)):
        count = int(trace[f"instructions {step}"].mean())
        print(f"{operator.index:>4}  {operator.kind:18} {choice.kernel.name:26} {count:>10}")
    needs = budget.read(arguments.build / "tflite.elf").totals
    print(
        f"model={compiled.name} inputs={len(inputs)} differing_values={different} "
        f"arena={compiled.arena} scratch={compiled.scratch} floor={compiled.floor} "
        f"flash={needs['flash']} constants={compiled.files()[1]} ram={needs['ram']} "
        f"target={arguments.target} instructions={int(results['instructions'].mean())}"
    )
    return different


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["compile", "run"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--build", type=Path, required=True, metavar="DIR")
    parser.add_argument("--optimise", choices=list(selection.OPTIMISE), default="speed")
    parser.add_argument("--inputs", type=int, default=4)
    parser.add_argument("--target", help="to run on")
    arguments = parser.parse_args()
    compiled = compiler.load(arguments.model, arguments.optimise)
    if arguments.action == "compile":
        compile_for_target(compiled, arguments.build)
        return 0
    return 1 if run(compiled, arguments) else 0


if __name__ == "__main__":
    cli.run(main)
