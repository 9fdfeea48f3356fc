"""Run the firmware over the test set on the desk and compare it with the integer contract.

First the demo runs as the chip would run it. Then, for each image, BitNetMCU_infer of the very
firmware that would be flashed is called with the image in the demo's place (on Cortex-M, of a
program that reads the images itself). Logits and predictions are compared; of a second build what
every step writes. Two more inputs are the largest value everywhere, and the one with the most bits
that are set, about the most work. Exits 1 on any difference.

Windows of a stream come piece by piece, one window after the other. An answer is that of a window's
last run, which has to be that of the whole window; cycles are those of a run: the mean is of last
runs, as first ones may have zeros, the most of all.
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
import exportquant
from compiler import operators
from compiler.trace import Layout, Result
from lowbit import fusion, lowering
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


def run_network(build, graph, inputs, layout=None):
    """(`Result`, `machine.Run`) of one of BUILDS for int8 `inputs` [B, I]; layout: of its trace."""
    runner, elf = build
    traced = layout.dtype() if layout else []
    logits = ("logits", np.int32, (graph.output.size,))
    done = runner.run(elf, inputs.tobytes())
    rows = done.rows([*traced, ("class", np.int32), ("count", np.int32), logits], len(inputs))
    values = layout.values(rows) if layout else {}
    return Result(values, rows["logits"], rows["class"], rows["count"]), done


def run_all(builds, graph, inputs, windows=None):
    """Run int8 `inputs` [B, I] through firmware and trace build, as BUILDS gives them.

    windows: the lowered graph of whole windows and the `sliding.Stream` as which `graph` runs.
    Returns (classes [B], counts [B * runs], differing values, the `machine.Run`s of the firmware).
    """
    firmware, tracer = builds
    results, runs, differing, layout = [], [], 0, Layout.of(graph)
    last = windows[1].last if windows else np.asarray
    for part in cli.progress(np.array_split(inputs, -(-len(inputs) // CHUNK)), unit="chunk"):
        of_windows = operators.run(windows[0], part) if windows else None
        part = windows[1].pieces_of(part) if windows else part
        expected = operators.execute(graph, part)
        logits = expected[graph.outputs[0]]
        if windows:
            differing += np.count_nonzero(last(logits) != of_windows)
        result, done = run_network(firmware, graph, part)
        results.append(result)
        runs.append(done)
        differing += np.count_nonzero(result.output != logits)
        differing += np.count_nonzero(result.predictions != logits.argmax(1))
        traced, _ = run_network(tracer, graph, part, layout)
        differing += layout.differing(traced.values, expected)
    classes, counts = (
        np.concatenate(parts) for parts in zip(*((last(r.predictions), r.counts) for r in results))
    )
    return classes, counts, differing, runs


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


def densest(highest):
    """The value of 0..highest with the most bits that are set."""
    return max(range(highest + 1), key=lambda value: (value.bit_count(), value))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True)
    parser.add_argument("--build", required=True, type=Path, help="folder of the firmware")
    parser.add_argument("--network", metavar="FILE", help="its checkpoint")
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

    exported, trained = exportquant.exported_checkpoint(arguments.build, arguments.network)
    whole, stream = lowering.lower(trained.network, trained.reads), exportquant.stream_of(exported)
    graph = fusion.fuse(exportquant.graph_of(trained, exported))
    windows = (whole, stream) if stream else None
    inputs, labels = checkpoint.test_data(trained)
    inputs, labels = (tensor[: arguments.images].numpy() for tensor in (inputs, labels))
    highest = graph.input.range.highest
    filled = [np.full(whole.input.size, value, np.int8) for value in (highest, densest(highest))]
    _, counts, differing_filled, _ = run_all(builds, graph, np.array(filled), windows)
    dense, most_bits = stream.last(counts) if stream else counts
    classes, counts, differing, runs = run_all(builds, graph, inputs, windows)
    counts_of = firmware.counts
    needs = budget.read(arguments.build / "firmware.elf")
    report = {
        "target": arguments.target,
        "model": trained.name,
        "images": len(inputs),
        "mismatches": int(differing + differing_filled),
        "accuracy": f"{100 * np.mean(classes == labels):.2f}",
        f"{counts_of}_mean": round((stream.last(counts) if stream else counts).mean()),
        f"{counts_of}_max": int(counts.max()),
        f"{counts_of}_dense": int(dense),
        f"{counts_of}_most_bits": int(most_bits),
        **needs.totals,
        "stack": needs.stack,
    }
    if stream:
        report |= {"runs": len(counts), "every": stream.every, "keep": stream.keep}
        report |= {"state": exported["state"]}
    print(f"{counts_of} per inference: {counts.min()} at least, {counts.max()} at most")
    line = " ".join(f"{key}={value}" for key, value in report.items())
    if runs[0].counted:
        print_details(counts, runs)
        report["instructions_mean"] = round(executed(runs) / len(counts))
    budget.read(elf).check_stack(max(run.stack for run in (demo, *runs)))
    cli.write_atomic(arguments.build / "emulate.json", json.dumps(report, indent=1) + "\n")
    print(line)
    return 1 if report["mismatches"] else 0


if __name__ == "__main__":
    cli.run(main)
