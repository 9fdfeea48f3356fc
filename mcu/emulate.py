"""Run the firmware over the test set in the emulator and compare it with the integer model.

For each image, BitNetMCU_infer of the very firmware that would be flashed is called with the image
in the demo's place. Logits and predictions are compared; a second build that reports every layer
is compared on every accumulator and shift. After the test images comes one more input, 127
everywhere: the most work there can be. Exits 1 on any difference.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import os
import subprocess
import tempfile

import budget
import numpy as np

import cli
import test_inference
from lowbit import integermodel
from train import checkpoint

EXAMPLES = """example:
  make -s -C mcu emulate TARGET=CH32V003 IMAGES=1000
"""

CHUNK = 500  # images a run of the emulator
CLOCK_KHZ = 48_000
TRACE_FLASH = 65_536  # bytes; also in the Makefile
CLASSES = ("alu", "mul", "load_sram", "load_flash", "load_io", "store", "taken", "not_taken")


def run_emulator(command, elf, inputs, words, trace=False):
    """Call BitNetMCU_infer in `elf` for int8 `inputs` [B, I].

    command: the emulator and its options; words: int32 values that it writes for each image.
    Returns (values int32 [B, words], statistics as a dict).
    """
    with tempfile.TemporaryDirectory() as folder:
        images, results = Path(folder) / "images", Path(folder) / "results"
        images.write_bytes(inputs.tobytes())
        options = ["--images", images, "--results", results]
        if trace:  # its extra code need not fit into the target
            options += ["--trace", "--flash", str(TRACE_FLASH)]
        done = subprocess.run([*command, *options, elf], capture_output=True, text=True)
        if done.returncode:
            raise cli.UserError(f"{elf}: {done.stderr.strip()}")
        values = np.frombuffer(results.read_bytes(), np.int32).reshape(len(inputs), words)
    return values, json.loads(done.stdout.splitlines()[-1])


def differing_layers(values, expected):
    """Differing accumulators and shifts of a trace build's `values` [B, words]."""
    traces, at = [], 0
    for trace in expected:
        end = at + trace.accumulators.shape[1]
        traces.append(integermodel.Trace(values[:, at:end], values[:, end]))
        at = end + 1
    return test_inference.differing_values(traces, expected)


def cpu_seconds():
    """CPU time of the processes that have ended; other programs beside them do not count."""
    times = os.times()
    return times.children_user + times.children_system


def run_all(command, build, model, inputs):
    """Run all `inputs` through firmware and trace build.

    Returns (predictions [B], cycles [B], differing values, statistics summed over the images,
    seconds of CPU time that the firmware took to emulate).
    """
    predictions, cycles, total, differing, seconds = [], [], {}, 0, 0.0
    layer_words = sum(layer.outputs + 1 for layer in model.layers)
    for part in cli.progress(np.array_split(inputs, -(-len(inputs) // CHUNK)), unit="chunk"):
        expected = model.execute(part)
        logits = expected[-1].accumulators
        start = cpu_seconds()
        values, statistics = run_emulator(
            command, build / "firmware.elf", part, 2 + logits.shape[1]
        )
        seconds += cpu_seconds() - start
        differing += int((values[:, 2:] != logits).sum())
        differing += int((values[:, 0] != logits.argmax(1)).sum())
        predictions.append(values[:, 0])
        cycles.append(values[:, 1])
        for key, value in statistics.items():
            known = total.get(key, 0)
            total[key] = max(known, value) if key in ("stack", "ram_touched") else known + value
        words = layer_words + 2 + logits.shape[1]
        values, _ = run_emulator(command, build / "trace.elf", part, words, trace=True)
        differing += differing_layers(values[:, :layer_words], expected)
    return np.concatenate(predictions), np.concatenate(cycles), differing, total, seconds


def print_details(cycles, total, seconds, images):
    """What the cycle-modelled emulator knows beyond the last line."""
    classes = (f"{key} {total[key] / images:.0f}" for key in CLASSES if total[key])
    print(f"instructions per inference: {total['instructions'] / images:.0f}, of these:")
    print(f"  {', '.join(classes)}")
    print(
        f"time per inference at 48 MHz: {cycles.mean() / CLOCK_KHZ:.2f} ms mean, "
        f"{cycles.max() / CLOCK_KHZ:.2f} ms at most"
    )
    print(f"bytes of SRAM touched: {total['ram_touched']}")
    speed = total["instructions"] / max(seconds, 0.01) / 1e6  # the clock has ticks of 10 ms
    print(f"emulator: {speed:.0f} million instructions per second of CPU time")


def demo_stack(path):
    """The deepest stack of the demo's own run, whose output is at `path`; 0 if there is none."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return json.loads(lines[-1])["stack"] if lines and lines[-1].startswith("{") else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", required=True)
    parser.add_argument("--build", required=True, type=Path, help="folder of the firmware")
    parser.add_argument("--images", type=int, default=10_000, help="the first so many test images")
    parser.add_argument(
        "--counter", choices=("cycles", "instructions"), default="cycles", help="what it counts"
    )
    parser.add_argument(
        "--stack-bound", metavar="ELF", default="firmware.elf", help="whose bound holds"
    )
    parser.add_argument("command", nargs="+", help="the emulator and its options")
    arguments = parser.parse_args()
    if arguments.images < 1:
        raise cli.UserError(f"--images {arguments.images} is not valid; it takes 1 or more")

    trained = checkpoint.load(test_inference.read_report(arguments.build)["checkpoint"])
    model = integermodel.lower(trained.network)
    inputs, labels = checkpoint.test_data(trained)
    inputs, labels = (tensor[: arguments.images].numpy() for tensor in (inputs, labels))
    dense = np.full((1, model.inputs), 127, np.int8)
    *_, dense_counts, differing_dense, _, _ = run_all(
        arguments.command, arguments.build, model, dense
    )
    predictions, counts, differing, total, seconds = run_all(
        arguments.command, arguments.build, model, inputs
    )
    needs = budget.read(arguments.build / "firmware.elf")
    total["stack"] = max(total["stack"], demo_stack(arguments.build / "demo.txt"))
    bound = budget.read(arguments.build / arguments.stack_bound).stack
    counter = arguments.counter
    row = {
        "target": arguments.target,
        "model": trained.name,
        "images": len(inputs),
        "mismatches": differing + differing_dense,
        "accuracy": f"{100 * np.mean(predictions == labels):.2f}",
        f"{counter}_mean": round(counts.mean()),
        f"{counter}_min": counts.min(),
        f"{counter}_max": counts.max(),
        f"{counter}_dense": dense_counts[0],
        **needs.totals,
        "stack": needs.stack,
    }
    line = " ".join(f"{k}={v}" for k, v in row.items() if not k.endswith("_min"))
    if counter == "cycles":
        row["instructions_mean"] = round(total["instructions"] / len(inputs))
    print(f"{counter} per inference: {counts.min()} at least, {counts.max()} at most")
    if counter == "cycles":
        print_details(counts, total, seconds, len(inputs))
    print(f"deepest stack seen: {total['stack']} bytes, static bound {bound} bytes")
    cli.write_atomic(arguments.build / "emulate.csv", cli.csv_text([row]))
    print(line)
    if total["stack"] > bound:
        raise cli.UserError("the stack went deeper than its static bound")
    return 1 if row["mismatches"] else 0


if __name__ == "__main__":
    cli.run(main)
