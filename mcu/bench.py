"""Cycles and bytes of the committed networks: model x kernel x placement x target.

Writes docs/bench.csv. Each firmware is built, runs test images in the emulator (QEMU for Cortex-M,
which counts instructions), and is compared with the integer model on every value of every layer.
Where it, or the build that records its steps, does not fit its target, the row has no figures of a
run, and too_large names the one that does not: firmware, or trace (host, host-trace of Cortex-M).
Arguments key=value,value select a part: target, model, kernel, placement. The yardstick of a
selected model and target (kernel bittest in SRAM) always runs with it: speedup is relative to it,
in the same run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import itertools
import json
import os
import subprocess

import budget
import link
import machine

import cli
import exportquant
import workers
from train import checkpoint

EXAMPLES = """examples:
  python mcu/bench.py                                     all of it, 1,000 images each
  python mcu/bench.py target=CH32V003 model=fc12k         a part, less than a minute
  python mcu/bench.py kernel=assembly,c placement=auto --images 10000 --out build/firmware.csv
"""

ROOT = Path(__file__).resolve().parent.parent
MODELS = {  # the committed networks
    "fc12k": "FCMNIST-MNIST-4bitsym-34f0e50b",
    "fc1k": "FCMNIST-MNIST-2bitsym+4bitsym-9c379a45",
    "fp130": "FCMNIST-MNIST-FP130-dc780966",
    "nf4": "FCMNIST-MNIST-NF4-e8f6f359",
    "binary12k": "FCMNIST-MNIST-Binary-2b83eba3",
    "2bitsym11k": "FCMNIST-MNIST-2bitsym-fab8baaf",
    "windows1k": "WindowMNIST-MNIST-4bitsym-7e48226c",
    "windows6k": "WindowMNIST-MNIST-4bitsym-c3e1e8f4",
    "windows7k": "WindowMNIST-MNIST-4bitsym-0c935144",
    "windows8k": "WindowMNIST-MNIST-4bitsym-b3120c13",
    "windows8k48": "WindowMNIST-MNIST-4bitsym+2bitsym-4f93fa37",
    "conv6k": "ConvMNIST-MNIST-4bitsym-797e648b",
    # Inputs and activations of 7 bits:
    "fc12k-7": "FCMNIST-MNIST-4bitsym-3f24ea0e",
    "fc1k-7": "FCMNIST-MNIST-2bitsym-cbcb089d",
    "fp130-7": "FCMNIST-MNIST-FP130-bb14324e",
    "nf4-7": "FCMNIST-MNIST-NF4-3a490da1",
    "binary12k-7": "FCMNIST-MNIST-Binary-c9ee3c2f",
    "2bitsym11k-7": "FCMNIST-MNIST-2bitsym-b1cbebfd",
    "binary-7": "FCMNIST-MNIST-Binary-e4f34a5a",
    "ternary-7": "FCMNIST-MNIST-Ternary-f960370f",
    "2bitsym-7": "FCMNIST-MNIST-2bitsym-4ef7f907",
}
KERNELS = ("bittest", "plain", "c", "assembly")
PLACEMENTS = ("auto", *link.PLACES)
TARGETS = ("CH32V003", "CH32V002", "cortex-m0")
KEYS = {"target": TARGETS, "model": tuple(MODELS), "kernel": KERNELS, "placement": PLACEMENTS}
YARDSTICK = "bittest"
YARDSTICK_IMAGES = 1000
COLUMNS = (
    "model",
    "kernel",
    "placement",
    "target",
    "images",
    "cycles_mean",
    "cycles_max",
    "instructions_mean",
    "code_bytes",
    "flash_bytes",
    "ram_bytes",
    "speedup",
    "cycles_dense",
    "accuracy",
    "mismatches",
    "too_large",
)


def sensible(case):
    """Whether a combination exists and tells something."""
    kernel, placement = case["kernel"], case["placement"]
    if case["target"] == "cortex-m0":  # flash without wait states
        return kernel != "assembly" and placement == "flash"
    if placement in ("windows", "sums") and not case["model"].startswith("windows"):
        return False
    if placement == "auto":  # the firmware as it is built by default
        return kernel in ("assembly", "c")
    if kernel in ("bittest", "plain"):  # all of their code is inner loops
        return placement not in ("inner", "windows", "sums")
    return True


def yardstick_of(case):
    place = "flash" if case["target"] == "cortex-m0" else "sram"
    return case | {"kernel": YARDSTICK, "placement": place}


def select(arguments):
    """The cases that the "key=value" `arguments` name, each with its yardstick first."""
    chosen = dict(KEYS)
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key not in KEYS:
            raise cli.UserError(
                f"'{argument}' selects nothing; {cli.suggest(key, KEYS)}keys are: {', '.join(KEYS)}"
            )
        chosen[key] = tuple(value.split(","))
        for each in chosen[key]:
            if each not in KEYS[key]:
                options = ", ".join(KEYS[key])
                raise cli.UserError(
                    f"{key}={each} is not known; {cli.suggest(each, KEYS[key])}"
                    f"choose one of: {options}"
                )
    cases = []
    for values in itertools.product(*chosen.values()):
        case = dict(zip(KEYS, values))
        if sensible(case):
            cases += [yardstick_of(case), case]
    cases = [dict(items) for items in dict.fromkeys(tuple(case.items()) for case in cases)]
    if not cases:
        raise cli.UserError(f"{' '.join(arguments)} selects nothing that can be built")
    return cases


def export(model, optimise, multiplier, folder):
    """Export a network of MODELS once for all firmware that shares its headers."""
    path = checkpoint.MODELDATA / f"{MODELS[model]}.pth"
    exportquant.export(path, folder, optimise=optimise, multiplier=multiplier)
    command = [sys.executable, ROOT / "mcu" / "demo_images.py", "--build", folder, "--images", "4"]
    subprocess.run(command, check=True, capture_output=True)


def exported(case, out):
    """(model, optimise, multiplier, folder) of the export that a case needs."""
    optimise = machine.facts("Makefile")[f"OPTIMISE_{case['kernel']}"]
    multiplier = "HAS_MULTIPLIER" in machine.facts(f"targets/{case['target']}.mk")
    return case["model"], optimise, multiplier, out / f"{case['model']}-{optimise}-{multiplier}"


def measure(case, images, out):
    """Build and run one firmware; returns its row, without those of a run if it does not fit."""
    path = checkpoint.MODELDATA / f"{MODELS[case['model']]}.pth"
    if case["kernel"] == YARDSTICK:  # slow, and the same for all images but for a few cycles
        images = min(images, YARDSTICK_IMAGES)
    command = ["make", "-s", "-C", str(ROOT / "mcu"), "emulate", f"MODEL={path}"]
    command += [f"TARGET={case['target']}", f"KERNELS={case['kernel']}"]
    command += [f"PLACE={case['placement']}", f"IMAGES={images}"]
    command.append(f"EXPORTED={exported(case, out)[-1]}")
    # Emulators and options are built side by side: a folder for each target and kernel.
    builds = out / "-".join(case.values())
    command += [f"OUT={builds}", f"PYTHON={sys.executable}"]
    for old in builds.glob("*/*/*.json"):  # that of the export, too: all is linked again
        old.unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    measured = list(builds.glob(f"*/{path.stem}/emulate.json"))
    linked = builds.glob(f"*/{path.stem}/*.budget.json")
    budgets = {file.name.split(".")[0]: budget.read(file.with_suffix("")) for file in linked}
    too_large = [name for name, needs in budgets.items() if needs.excess]
    if "firmware" not in budgets or not (measured or too_large):
        raise cli.UserError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    needs = budgets["firmware"]
    row = dict.fromkeys(COLUMNS, "") | case | {"images": images}
    row["code_bytes"] = needs.flash["code and constants"]
    row["code_bytes"] += needs.flash["code and data copied to RAM"]
    row |= {f"{kind}_bytes": total for kind, total in needs.totals.items()}
    row["too_large"] = " ".join(too_large)
    if measured:
        figures = json.loads(measured[0].read_text(encoding="utf-8"))
        row |= {key: figures[key] for key in COLUMNS if key in figures and key not in case}
    return row


def add_speedups(rows):
    """Fill the column speedup: the yardstick's mean, in the same target, over the row's own."""
    by_case = {tuple(row[key] for key in KEYS): row for row in rows}
    for row in rows:
        case = {key: row[key] for key in KEYS}
        yardstick = by_case[tuple(yardstick_of(case).values())]
        for counter in ("cycles_mean", "instructions_mean"):
            if row[counter] and yardstick[counter] and not row["speedup"]:
                row["speedup"] = f"{int(yardstick[counter]) / int(row[counter]):.1f}"


def table(rows):
    """`rows` as a Markdown table."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(r[c]) for c in COLUMNS)} |" for r in rows)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000, help="the first so many test images")
    parser.add_argument("--out", type=Path, metavar="CSV", help="default: docs/bench.csv for all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("select", nargs="*", metavar="key=value", help=f"{', '.join(KEYS)}")
    arguments = parser.parse_intermixed_args()
    cases = select(arguments.select)
    if arguments.jobs < 1:
        raise cli.UserError(f"--jobs {arguments.jobs} is not valid; it takes 1 or more")
    if arguments.images < 1000 and not (arguments.select or arguments.out):
        raise cli.UserError(
            f"--images {arguments.images} is too few for docs/bench.csv; name another file with "
            "--out, or take 1000"
        )
    # A part goes elsewhere, so that it does not replace the whole.
    default = ROOT / ("build/bench.csv" if arguments.select else "docs/bench.csv")

    folder = ROOT / "mcu" / "build" / "bench"
    exports = dict.fromkeys(exported(case, folder) for case in cases)
    list(workers.run(export, exports, arguments.jobs))
    measured = workers.run(
        measure, [(case, arguments.images, folder) for case in cases], arguments.jobs
    )
    rows = []
    for row in cli.progress(measured, total=len(cases), unit="firmware"):
        rows.append(row)  # the yardstick of a model and target comes first
        add_speedups(rows)
        cli.write_atomic(arguments.out or default, cli.csv_text(rows))
    print(table(rows))
    print(f"csv={arguments.out or default}")
    return 1 if any(row["mismatches"] not in (0, "") for row in rows) else 0


if __name__ == "__main__":
    cli.run(main)
