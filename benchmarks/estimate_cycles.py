"""Estimate the cycles of compiled TensorFlow Lite models on a Cortex-M4 from what they execute.

The firmware is that of `make -C mcu tflite`, on a board with 4 MB of flash and of RAM. The rules,
and what wait states of the flash cost, stand in cortex_m4.py. --operators prints each operator,
from the build that is traced, and the three that take most of what their multiplications and bytes
need. cycle_model_m4.py holds the model against published cycles.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
import subprocess
import tempfile
from dataclasses import dataclass

import cortex_m4
from cortex_m4 import Cost

import check_tflite
import cli
from compiler import report
from compiler.emission import identifier
from compiler.trace import Layout
from tinyengine import measures, pipeline

EXAMPLES = """examples:
  python benchmarks/estimate_cycles.py models/*.tflite
  python benchmarks/estimate_cycles.py --operators --wait-states 5 models/kws_ref_model.tflite
"""

ROOT = Path(__file__).resolve().parent.parent
TARGET = "cortex-m4"
MEMORIES = {"FLASH_SIZE": "4194304", "SRAM_SIZE": "4194304"}  # more than most chips have


@dataclass(frozen=True)
class Estimate:
    """What a model takes in one inference.

    whole: its `Cost`. operators: [(step, kernel's name, `Cost`, what its multiplications and bytes
    need)], none where nobody asked.
    """

    compiled: object
    whole: Cost
    operators: list


def build(model, folder):
    """The folder of the firmware of the .tflite file `model`, built in `folder`."""
    command = ["make", "-es", "-C", ROOT / "mcu", "tflite-build", f"MODEL={model.resolve()}"]
    command += [f"TARGET={TARGET}", f"OUT={folder}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | MEMORIES)
    if done.returncode:
        raise cli.UserError(f"{model} cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return Path(folder) / f"{TARGET}-tflite-speed" / model.stem


def run(machine, compiled, inputs):
    """The `Cost`s of one inference up to each mark, the mean of all `inputs`; each is a list of the
    values of every input of the model."""
    prefix, several = identifier(compiled.name), len(compiled.graph.inputs) > 1
    names = [f"{prefix}_input{f'_{n}' if several else ''}" for n in range(len(inputs[0]))]
    if f"{prefix}_reset" in machine.symbols:
        machine.call(f"{prefix}_reset")
    runs = []
    for values in inputs:
        for name, each in zip(names, values, strict=True):
            machine.engine.mem_write(machine.call(name), each.tobytes())
        machine.call(f"{prefix}_run")
        runs.append(machine.costs)
    return [Cost.mean(costs) for costs in zip(*runs)]


def by_step(graph, costs):
    """[`Cost`] of each step of a graph; costs: up to each mark, one for each output of a step."""
    found, at = [], 0
    for step in graph.operators:
        found.append(Cost.total(costs[at : at + len(step.outputs)]))
        at += len(step.outputs)
    return found


def estimate(model, inputs=1, wait_states=0, operators=False):
    """The `Estimate` of the .tflite file `model`, the mean of `inputs` inputs."""
    compiled = pipeline.load(model)
    graph = compiled.graph
    tensors = [graph.tensors[i] for i in graph.inputs]
    given = list(zip(*check_tflite.all_inputs(tensors, inputs), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        built = build(model, folder)
        machine = cortex_m4.Machine(built / "tflite.elf", wait_states)
        (whole,) = run(machine, compiled, given)
        if not operators:
            return Estimate(compiled, whole, [])
        marks = len(Layout.of(graph).fields)
        options = {"mark": "record", "most": marks + 1}
        traced = cortex_m4.Machine(built / "tflite-trace.elf", wait_states, **options)
        costs = by_step(graph, run(traced, compiled, given))
    rows = [
        (step, choice.kernel.name, cost, measures.needed(*report.work(graph, step)))
        for step, choice, cost in zip(graph.operators, compiled.choices, costs, strict=True)
    ]
    return Estimate(compiled, whole, rows)


def print_operators(found):
    """A line for each operator, and the three that take most of what they need."""
    head = ("instructions", "cycles", "stalls", "needed")
    print(f"{'':>4}  {'':18} {'':26} {' '.join(f'{name:>12}' for name in head)}")
    for step, kernel, cost, needed in found.operators:
        numbers = (cost.instructions, cost.cycles, cost.stalls, needed)
        numbers = " ".join(f"{number:>12}" for number in numbers)
        print(f"{step.index:>4}  {step.kind:18} {kernel:26} {numbers}")
    worst = measures.worst((s.name, cost.cycles, need) for s, _, cost, need in found.operators)
    print(f"most cycles for what they need: {worst}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help=".tflite files")
    parser.add_argument("--inputs", type=int, default=1, help="the mean of so many (default: 1)")
    parser.add_argument(
        "--wait-states", type=int, default=0, help="of the flash, in cycles (default: 0)"
    )
    parser.add_argument("--operators", action="store_true", help="print each of them, too")
    arguments = parser.parse_args()
    for name, least in (("inputs", 1), ("wait_states", 0)):
        value = getattr(arguments, name)
        if value < least:
            option = name.replace("_", "-")
            raise cli.UserError(f"--{option} {value} is not valid; it takes {least} or more")
    for model in arguments.models:
        found = estimate(model, arguments.inputs, arguments.wait_states, arguments.operators)
        if arguments.operators:
            print_operators(found)
        whole = found.whole
        print(
            f"model={model.stem} instructions={whole.instructions} "
            f"cycles={whole.cycles + whole.stalls} wait_states={arguments.wait_states} "
            f"stalls={whole.stalls}",
            flush=True,
        )


if __name__ == "__main__":
    cli.run(main)
