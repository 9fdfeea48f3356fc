"""The firmware's figures: committed networks x kernels in SRAM or flash -> docs/firmware.csv.

Builds each, runs all test images in the emulator, and prints a Markdown table.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import checkpoint
import cli
import config
import study
import training

EXAMPLES = """examples:
  python mcu/measure.py                          all test images, some minutes
  python mcu/measure.py --images 200 --out build/firmware.csv
"""

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "studies" / "fc.yaml"
COLUMNS = {
    "weights": "weights, bytes",
    "kernels": "kernels in",
    "flash": "flash",
    "demo_images": "of it images",
    "code_and_constants": "code",
    "code_and_data_copied_to_RAM": "copied to RAM",
    "ram": "RAM",
    "code": "of it code",
    "variables": "variables",
    "worst_stack": "worst stack",
    "cycles_mean": "cycles mean",
    "cycles_min": "min",
    "cycles_max": "max",
    "ms": "ms at 48 MHz",
    "accuracy": "accuracy %",
    "mismatches": "mismatches",
}


def measure(path, kernels, images):
    """Build and emulate one firmware for CH32V003; returns its row."""
    command = ["make", "-C", str(ROOT / "mcu"), "emulate", f"MODEL={path}", f"KERNELS={kernels}"]
    command += [f"IMAGES={images}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise cli.UserError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    build = ROOT / "mcu" / "build" / f"CH32V003-{kernels}-debug" / path.stem
    with (build / "emulate.csv").open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    row["kernels"] = "SRAM" if kernels == "sram" else "flash"
    row["weight_bytes"] = json.loads((build / "export.json").read_text())["weight_bytes"]
    for name, size in re.findall(r"^  ([\w ]+): (\d+)$", (build / "budget.txt").read_text(), re.M):
        row[name.replace(" ", "_")] = size
    row["ms"] = f"{int(row['cycles_mean']) / 48_000:.2f}"
    return row


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "firmware.csv")
    arguments = parser.parse_args()

    runs = study.expand(config.read_yaml(STUDY), STUDY)
    models = [
        checkpoint.MODELDATA / f"{config.run_name(settings)}.pth"
        for settings in runs
        if settings["seed"] == runs[0]["seed"]
    ]
    cases = [(path, kernels) for path in models for kernels in ("sram", "flash")]
    rows = [measure(*case, arguments.images) for case in cli.progress(cases, unit="firmware")]
    cli.write_atomic(arguments.out, training.csv_text(rows))
    print(f"| {' | '.join(COLUMNS.values())} |")
    print(f"|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(str(row[key]) for key in COLUMNS)} |")
    return 1 if any(row["mismatches"] != "0" for row in rows) else 0


if __name__ == "__main__":
    cli.run(main)
