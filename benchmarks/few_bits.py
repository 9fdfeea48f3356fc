"""What few bits of inputs and activations give: cycles and bytes of firmware with BITNETMCU_BITS.

Random networks 256-64-64-64-10, one for each kind of fast kernel. Their inputs are 0..8, about 100
of them not 0, and their activations have 4 bits. The same network and inputs run with kernels for
8 bits and with those for 4. Prints a table; every logit is compared with the rules.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "mcu"))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import itertools
import json
import subprocess
import tempfile
from types import SimpleNamespace

import budget
import demo_images
import emulate
import link
import machine
import numpy as np

import cli
from compiler import operators
from compiler.formats import FORMATS
from compiler.graph import Range
from lowbit import emission, lowering, pipeline
from lowbit.rules import IntegerLayer
from train import config, data

EXAMPLES = """examples:
  python benchmarks/few_bits.py
  python benchmarks/few_bits.py --place flash
"""

ROOT = Path(__file__).resolve().parent.parent
SIZES = (256, 64, 64, 64, 10)
LARGEST = 8  # input
LISTED = 100  # inputs that are not 0, about
BITS = 4
KERNELS = {"nibbles": "4bitsym", "planes": "2bitsym", "shifts": "FP130", "pairs": "NF4"}
COLUMNS = (
    *("kernel", "BITNETMCU_BITS", "mean cycles", "at most", f"all inputs {LARGEST}"),
    *("flash", "RAM", "kernels in SRAM"),
)


def network(rng, name):
    """The graph of a random network of a format."""
    chain = lowering.Chain(name, SIZES[0], Range(0, LARGEST))
    for inputs, outputs in itertools.pairwise(SIZES):
        if chain.layers:
            chain.shiftnorm_relu(Range(0, 2**BITS - 1))
        weights = rng.choice(FORMATS[name].levels, (outputs, inputs)).astype(np.int32)
        chain.linear(IntegerLayer(FORMATS[name], weights))
    return chain.graph()


def export(graph, inputs, bits, folder):
    """What the firmware's Makefile takes from a folder (EXPORTED), for `bits`."""
    classes = [str(label) for label in range(graph.output.size)]
    settings = config.load(overrides=["model=FCMNIST"])
    untrained = SimpleNamespace(
        name=graph.name, sha256="0", settings=settings, class_names=classes, confidence=None,
        input_map=None, channel_names=(), pixels=data.Pixels.of(settings),
    )  # fmt: skip
    compiled = pipeline.compile_network(graph, "speed")
    files = emission.emit(compiled, untrained).files
    files["demo_images.h"] = demo_images.header(inputs[:1], [0])
    files["export.json"] = json.dumps({"bits": bits})
    folder.mkdir(parents=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")


def build(exported, place, out):
    """The firmware, and the emulator that runs it."""
    model = exported / "export.json"  # what names the folder of the firmware, and is no network
    command = ["make", "-s", "-C", str(ROOT / "mcu"), "TARGET=CH32V003", f"PLACE={place}"]
    command += [f"MODEL={model}", f"EXPORTED={exported}", f"OUT={out}", f"PYTHON={sys.executable}"]
    done = subprocess.run([*command, "all", "emulator"], capture_output=True, text=True)
    if done.returncode:
        raise cli.UserError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    (elf,) = out.glob("*/export/firmware.elf")
    return elf, machine.Emulator(out / "emulator")


def measure(kernel, bits, place, images):
    """A row of the table."""
    rng = np.random.default_rng(1)
    graph = network(rng, KERNELS[kernel])
    inputs = rng.integers(1, LARGEST + 1, (images, SIZES[0]))
    inputs = np.where(rng.random(inputs.shape) < LISTED / SIZES[0], inputs, 0).astype(np.int8)
    inputs = np.concatenate([inputs, np.full((1, SIZES[0]), LARGEST, np.int8)])
    with tempfile.TemporaryDirectory() as folder:
        export(graph, inputs, bits, Path(folder) / "exported")
        elf, emulator = build(Path(folder) / "exported", place, Path(folder) / "out")
        result, _ = emulate.run_network((emulator, elf), graph, inputs)
        needs = budget.read(elf)
    if not np.array_equal(result.output, operators.run(graph, inputs)):
        raise cli.UserError(f"{kernel} with BITNETMCU_BITS={bits} differs from the rules")
    *cycles, dense = result.counts
    return (
        *(kernel, bits, round(np.mean(cycles)), max(cycles), dense),
        *needs.totals.values(),
        link.PLACES[needs.place].kernels,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--place", choices=["auto", "inner", "flash"], default="auto")
    parser.add_argument("--kernels", nargs="+", choices=KERNELS, default=list(KERNELS))
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for kernel, bits in itertools.product(arguments.kernels, (8, BITS)):
        row = measure(kernel, bits, arguments.place, arguments.images)
        print(f"| {' | '.join(x if isinstance(x, str) else f'{x:,}' for x in row)} |", flush=True)


if __name__ == "__main__":
    cli.run(main)
