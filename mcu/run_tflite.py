"""A compiled TensorFlow Lite model on a target under QEMU: built by `make tflite`, run, compared.

    python mcu/run_tflite.py compile MODEL.tflite --build DIR     what the firmware is built from
    python mcu/run_tflite.py run MODEL.tflite --build DIR --target cortex-m4

`run` compares every value of every operator with the reference, and prints instructions per
operator, beside what its multiplications and bytes need, which three take most of that, and the
whole model, one line for machines last.
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
from compiler import report, trace
from compiler.trace import Layout, Result
from tinyengine import emission, kernelrows, measures, oracle, pipeline


def compile_for_target(compiled, emitted, build):
    """What compile_tflite.py writes, tflite_plan.h, and kernels.mk, the list of its kernels."""
    plan = f'#include "model.h"\n\n{emission.access(compiled, "tflite")}'
    names = " ".join(path.stem for path in emitted.kernels)
    files = {"tflite_plan.h": plan, "kernels.mk": f"TFLITE_KERNELS = {names}\n"}
    facts = report.facts(compiled, emitted)
    files |= report.contents(emitted, facts, report.table(facts))
    for name, text in files.items():
        cli.write_atomic(build / name, text)


def run_firmware(graph, arguments, inputs, layout=None):
    """(`Result`, {tensor: instructions of its step [inputs]}) of a run under QEMU.

    Its stack must stay within its bound. layout: of the trace of a trace build.
    """
    elf = arguments.build / f"tflite{'-trace' if layout else ''}.elf"
    qemu = machine.Qemu(machine.facts(f"targets/{arguments.target}.mk")["MACHINE"])
    given = trace.inputs_of(graph, inputs)
    done = qemu.run(elf, given.tobytes())
    budget.read(elf).check_stack(done.stack)
    traced = layout.dtype(counted=True) if layout else []
    output = ("output", np.uint8, (trace.bytes_of(graph, graph.outputs),))
    rows = done.rows([*traced, output, ("count", np.uint32)], len(given))
    values = layout.values(rows) if layout else {}
    returned = trace.outputs_of(graph, rows["output"])
    return Result(values, returned, counts=rows["count"]), {i: rows[f"count {i}"] for i in values}


def run(compiled, constants, arguments):
    """Prints the comparison; returns how many values differ."""
    graph, layout = compiled.graph, Layout.of(compiled.graph)
    inputs = check_tflite.make_inputs(graph.input, arguments.inputs)
    result, _ = run_firmware(graph, arguments, inputs)
    traced, counts = run_firmware(graph, arguments, inputs, layout)
    reference = oracle.Oracle(arguments.model.read_bytes(), graph.inputs[0])
    wanted = check_tflite.wanted_of(graph, reference, inputs)
    different = layout.differing(traced.values, wanted)
    ends = [result.output] if len(graph.outputs) == 1 else result.output
    different += sum(np.count_nonzero(a != wanted[i]) for i, a in zip(graph.outputs, ends))
    print(f"{'':>4}  {'':18} {'':26} {'counted':>10} {'needed':>10}")
    steps = []
    for step, choice in zip(graph.operators, compiled.choices):
        count = int(counts[step.outputs[0]].mean())
        needed = measures.needed(*report.work(graph, step))
        print(f"{step.index:>4}  {step.kind:18} {choice.kernel.name:26} {count:>10} {needed:>10}")
        steps.append((step.name, count, needed))
    print(f"most instructions for what they need: {measures.worst(steps)}")
    needs = budget.read(arguments.build / "tflite.elf")
    report.draw_plan(compiled, arguments.build / "memory.png", needs.depths)
    print(
        f"model={compiled.name} inputs={len(inputs)} differing_values={different} "
        f"arena={compiled.arena} scratch={compiled.scratch} floor={compiled.floor} "
        f"flash={needs.totals['flash']} constants={constants} ram={needs.totals['ram']} "
        f"target={arguments.target} instructions={int(result.counts.mean())}"
    )
    return different


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["compile", "run"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--build", type=Path, required=True, metavar="DIR")
    parser.add_argument("--optimise", choices=kernelrows.OPTIMISE, default="speed")
    parser.add_argument("--inputs", type=int, default=4)
    parser.add_argument("--target", help="to run on")
    arguments = parser.parse_args()
    compiled = pipeline.load(arguments.model, arguments.optimise)
    emitted = emission.emit(compiled)
    if arguments.action == "compile":
        compile_for_target(compiled, emitted, arguments.build)
        return 0
    return 1 if run(compiled, emitted.constants, arguments) else 0


if __name__ == "__main__":
    cli.run(main)
