"""Run the firmware over the test set on the desk and compare it with the integer model.

First the demo runs as the chip would run it. Then, for each image, BitNetMCU_infer of the very
firmware that would be flashed is called with the image in the demo's place (on Cortex-M, of a
program that reads the images itself). Logits and predictions are compared; a second build that
reports every layer is compared on every accumulator and shift. After the test images comes one
more input, 127 everywhere: the most work there can be. Exits 1 on any difference.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
from collections import Counter

import budget
import machine
import numpy as np

import cli
import test_inference
from lowbit import integermodel
from train import checkpoint

EXAMPLES = """example:
  make -s -C mcu emulate TARGET=CH32V003 IMAGES=1000
"""

CHUNK = 500  # images a run


def emulator_builds(facts, arguments):
    """The firmware itself and its trace build, in our emulator."""
    for name, options in (("firmware", ()), ("trace", ("--trace",))):
        elf = arguments.build / f"{name}.elf"
        limits = budget.read(elf).limits
        memory = ("--flash", str(limits["flash"]), "--sram", str(limits["ram"]))
        flags = facts["EMULATOR_FLAGS"].split()
        yield machine.Emulator(arguments.emulator, *memory, *flags, *options), elf


def qemu_builds(facts, arguments):
    """Programs of cortexm/host.c, which read the images themselves."""
    for name in ("host", "host-trace"):
        yield machine.Qemu(facts["MACHINE"]), arguments.build / f"{name}.elf"


# FAMILY of a target: the (machine, ELF file) of what takes the images, and of its trace build.
BUILDS = {"riscv": emulator_builds, "cortexm": qemu_builds}


def differing_layers(values, expected):
    """Differing accumulators and shifts of a trace build's `values` [B, words]."""
    traces, at = [], 0
    for trace in expected:
        end = at + trace.accumulators.shape[1]
        traces.append(integermodel.Trace(values[:, at:end], values[:, end]))
        at = end + 1
    return test_inference.differing_values(traces, expected)


def record(model):
    """The fields of what a firmware writes for an image."""
    logits = ("logits", np.int32, (model.classes,))
    return [("prediction", np.int32), ("count", np.int32), logits]


def run_all(builds, model, inputs):
    """Run int8 `inputs` [B, I] through firmware and trace build, as BUILDS gives them.

    Returns (records [B] of the firmware, differing values, the runs of the firmware).
    """
    (firmware, elf), (tracer, trace_elf) = builds
    layers = ("layers", np.int32, (sum(layer.outputs + 1 for layer in model.layers),))
    records, runs, differing = [], [], 0
    for part in cli.progress(np.array_split(inputs, -(-len(inputs) // CHUNK)), unit="chunk"):
        expected = model.execute(part)
        logits = expected[-1].accumulators
        runs.append(firmware.run(elf, part.tobytes()))
        records.append(runs[-1].rows(record(model), len(part)))
        differing += np.count_nonzero(records[-1]["logits"] != logits)
        differing += np.count_nonzero(records[-1]["prediction"] != logits.argmax(1))
        traced = tracer.run(trace_elf, part.tobytes()).rows([layers, *record(model)], len(part))
        differing += differing_layers(traced["layers"], expected)
    return np.concatenate(records), differing, runs


def executed(runs):
    """How many instructions the emulator executed in `runs`."""
    return sum(run.counted["instructions"] for run in runs)


def print_details(cycles, runs):
    """What the emulator knows beyond the last line, from its `runs` over the images."""
    counted = [run.counted for run in runs]
    classes = sum((Counter(summary["classes"]) for summary in counted), Counter())
    instructions = executed(runs)
    shares = (f"{name} {count / len(cycles):.0f}" for name, count in classes.items())
    print(f"instructions per inference: {instructions / len(cycles):.0f}, of these:")
    print(f"  {', '.join(shares)}")
    mhz = counted[0]["mhz"]
    print(
        f"time per inference at {mhz} MHz: {cycles.mean() / mhz / 1000:.2f} ms mean, "
        f"{cycles.max() / mhz / 1000:.2f} ms at most"
    )
    print(f"bytes of SRAM touched: {max(summary['ram_touched'] for summary in counted)}")
    seconds = max(sum(run.seconds for run in runs), 0.01)  # the clock has ticks of 10 ms
    speed = instructions / seconds / 1e6
    print(f"emulator: {speed:.0f} million instructions per second of CPU time")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True)
    parser.add_argument("--build", required=True, type=Path, help="folder of the firmware")
    parser.add_argument("--images", type=int, default=10_000, help="the first so many test images")
    parser.add_argument("--emulator", metavar="FILE", help="for the chips that it knows")
    arguments = parser.parse_args()
    if arguments.images < 1:
        raise cli.UserError(f"--images {arguments.images} is not valid; it takes 1 or more")

    facts = machine.facts(f"targets/{arguments.target}.mk")
    builds = list(BUILDS[facts["FAMILY"]](facts, arguments))
    (firmware, elf), _ = builds
    demo = firmware.run(arguments.build / "firmware.elf")
    print(demo.console, end="", flush=True)

    trained = checkpoint.load(test_inference.read_report(arguments.build)["checkpoint"])
    model = integermodel.lower(trained.network)
    inputs, labels = checkpoint.test_data(trained)
    inputs, labels = (tensor[: arguments.images].numpy() for tensor in (inputs, labels))
    dense, differing_dense, _ = run_all(builds, model, np.full((1, model.inputs), 127, np.int8))
    records, differing, runs = run_all(builds, model, inputs)
    counts, counts_of = records["count"], firmware.counts
    needs = budget.read(arguments.build / "firmware.elf")
    report = {
        "target": arguments.target,
        "model": trained.name,
        "images": len(inputs),
        "mismatches": int(differing + differing_dense),
        "accuracy": f"{100 * np.mean(records['prediction'] == labels):.2f}",
        f"{counts_of}_mean": round(counts.mean()),
        f"{counts_of}_max": int(counts.max()),
        f"{counts_of}_dense": int(dense["count"][0]),
        **needs.totals,
        "stack": needs.stack,
    }
    print(f"{counts_of} per inference: {counts.min()} at least, {counts.max()} at most")
    line = " ".join(f"{key}={value}" for key, value in report.items())
    if runs[0].counted:
        print_details(counts, runs)
        report["instructions_mean"] = round(executed(runs) / len(inputs))
    budget.read(elf).check_stack(max(run.stack for run in (demo, *runs)))
    cli.write_atomic(arguments.build / "emulate.json", json.dumps(report, indent=1) + "\n")
    print(line)
    return 1 if report["mismatches"] else 0


if __name__ == "__main__":
    cli.run(main)
