"""The TFLite engine on every model, and beside its peers where these were measured: one table.

Each model is compiled, compared with the reference on 100 inputs on this computer, then on a few
under QEMU as a Cortex-M4, whose executed instructions are counted; with plain kernels, too, where
there are figures of peers. Cycles are modelled (cortex_m4.py). Writes docs/bench-tflite.csv,
docs/bench-tflite-operators.csv with every operator beside what it needs, and
docs/tinyengine-memory.png. Models come from the folder that BITNETMCU_MODELS or --models names, and
from those in it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
import subprocess

import estimate_cycles
from layer_instructions import LAYERS

import cli
from compiler import report
from tinyengine import measures, pipeline

ROOT = Path(__file__).resolve().parent.parent

EXAMPLES = """examples:
  BITNETMCU_MODELS=folder python benchmarks/tflite_instructions.py
  python benchmarks/tflite_instructions.py --models folder --inputs 10 --out build/bench-tflite.csv
"""

# Executed instructions on a Cortex-M4 (QEMU mps2-an386 -icount shift=0, GCC 12.2) and bytes of RAM,
# measured for the same models: TensorFlow Lite Micro with CMSIS-NN, and MIT's TinyEngine, where it
# supports the model, with its RAM where that was measured.
PEERS = {
    "vww_96_int8": (24_100_000, 100_708, "24.4M, wrong result", ""),
    "kws_ref_model": (7_700_000, 22_820, "unsupported", ""),
    "pretrainedResnet_quant": (29_860_000, 54_996, "wrong result", ""),
    "ad01_int8": (583_000, 2_580, "0.802M", ""),
    "mcunet_vww": (49_170_000, 219_808, "43.35M", 93_992),
}
LAYER_PEERS = {(layer.model, layer.index): layer.cmsis_nn for layer in LAYERS if layer.model}
WAIT_STATES = 5  # of the flash, in one column: an STM32F4 at its highest clock
CYCLES = f"cycles_{WAIT_STATES}_wait_states"
DRAWN = "mcunet_vww"  # whose memory is a picture beside the table
COLUMNS = ("model", "kernels", "target", "inputs", "differing_values", "arena", "scratch", "floor")
COLUMNS += ("flash", "constants", "ram", "instructions", "cycles", CYCLES)
COLUMNS += ("cmsis_nn_instructions", "ratio")
COLUMNS += ("cmsis_nn_arena", "tinyengine_instructions", "tinyengine_ram")


def beside(path, name):
    """The CSV file of more rows beside that at `path`."""
    return path.with_name(f"{path.stem}-{name}{path.suffix}")


def place(path):
    """In the table: those with peers first, by name."""
    return path.stem not in PEERS, path.stem


def last_line(command):
    """The key=value pairs of the last line that `command` prints."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = done.stdout.strip().splitlines()
    if done.returncode not in (0, 1) or not lines or "differing_values" not in lines[-1]:
        raise cli.UserError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()[-500:]}")
    return dict(pair.split("=", 1) for pair in lines[-1].split())


def measure(model, kernels, inputs, target="cortex-m4"):
    """One row of the table."""
    host = last_line(
        [sys.executable, "check_tflite.py", model, "--inputs", str(inputs), "--optimise", kernels]
    )
    memories = [f"{name}={size}" for name, size in estimate_cycles.MEMORIES.items()]
    command = ["env", *memories, "make", "-es", "-C", "mcu", "tflite"]
    command += [f"MODEL={model.resolve()}", f"TARGET={target}"]
    command += [f"OPTIMISE={kernels}", f"PYTHON={sys.executable}"]
    found = last_line(command)
    row = {key: found.get(key, "") for key in COLUMNS} | {"kernels": kernels}
    row["inputs"] = host["inputs"]
    row["differing_values"] = int(host["differing_values"]) + int(found["differing_values"])
    if model.stem in PEERS:
        instructions, arena, tinyengine, ram = PEERS[model.stem]
        row |= {"cmsis_nn_instructions": instructions, "cmsis_nn_arena": arena}
        row["ratio"] = f"{instructions / int(found['instructions']):.2f}"
        row |= {"tinyengine_instructions": tinyengine, "tinyengine_ram": ram}
    return row


def operators(found):
    """Rows of an `estimate_cycles.Estimate`, one for each operator."""
    graph, rows = found.compiled.graph, []
    for step, kernel, cost, needed in found.operators:
        words, more = graph.row(step).details(graph, step)
        macs, size = report.work(graph, step)
        rows.append(
            {
                "model": found.compiled.name,
                "operator": step.index,
                "kind": step.kind,
                "kernel": kernel,
                "output": "x".join(map(str, graph.tensors[step.outputs[0]].shape)),
                "words": " ".join([*words, *more]),
                "macs": macs,
                "bytes": size,
                "instructions": cost.instructions,
                "cycles": cost.cycles,
                CYCLES: cost.cycles + cost.stalls,
                "needed": needed,
                "times_needed": f"{cost.cycles / max(needed, 1):.1f}",
                "cmsis_nn_instructions": LAYER_PEERS.get((found.compiled.name, step.index), ""),
            }
        )
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("BITNETMCU_MODELS"))
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench-tflite.csv")
    arguments = parser.parse_args()
    models = sorted(Path(arguments.models or ".").rglob("*.tflite"), key=place)
    if arguments.models is None or not models:
        raise cli.UserError(
            f"no .tflite files in {arguments.models}; name a folder with --models or "
            "BITNETMCU_MODELS (the models are those of MLPerf Tiny and of MCUNet)"
        )
    rows, steps = [], []
    cases = [
        (model, kernels)
        for model in models
        for kernels in (("none", "speed") if model.stem in PEERS else ("speed",))
    ]
    for model, kernels in cli.progress(cases, unit="model"):
        rows.append(measure(model, kernels, arguments.inputs))
        if kernels == "speed":
            found = estimate_cycles.estimate(model, 4, WAIT_STATES, operators=True)
            cycles = found.whole.cycles
            rows[-1] |= {"cycles": cycles, CYCLES: cycles + found.whole.stalls}
            steps += operators(found)
            worst = measures.worst((s.name, c.cycles, need) for s, _, c, need in found.operators)
            print(f"{model.stem}: most cycles for what they need: {worst}", flush=True)
            cli.write_atomic(beside(arguments.out, "operators"), cli.csv_text(steps))
        cli.write_atomic(arguments.out, cli.csv_text(rows))
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(str(row[c]) for c in COLUMNS)} |")
    for model in models:
        if model.stem == DRAWN:
            target = arguments.out.with_name("tinyengine-memory.png")
            report.draw_plan(pipeline.load(model), target)
    print(f"csv={arguments.out}")
    return 1 if any(row["differing_values"] for row in rows) else 0


if __name__ == "__main__":
    cli.run(main)
