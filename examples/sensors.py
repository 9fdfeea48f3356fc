"""Simulated sensors, each a data set on which a network without bias or scales is blind.

Writes one .npz per kind into a folder, and the first as .csv, too:
  temperature  three thermometers in degrees Celsius: cold, ok, hot. Only the level tells.
  amplitude    64 values of an accelerometer: idle, walk, run. Only the amplitude tells.
  mixed        accelerations in g, rates in degrees/s and pressure in Pa: lying, turning, climbing.
  constant     nine features of three classes, and one that is 1e6 in all samples.
  outlier      the same nine, with one value of 1e6 among all.
  onefeature   one feature of which two thresholds tell the class, with noise.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import csv
import io

import numpy as np

import cli

EXAMPLES = """examples:
  python examples/sensors.py build/sensors
  python training.py dataset=build/sensors/temperature.csv augmented_copies=0 widths=32,32
"""


def temperature(labels, rng):
    level = np.array([8.0, 21.0, 34.0])[labels]
    return level[:, None] + rng.normal(0, 1.5, (len(labels), 3))


def amplitude(labels, rng):
    phase = rng.uniform(0, 2 * np.pi, (len(labels), 1))
    size = np.array([0.5, 1.0, 2.0])[labels] * rng.uniform(0.85, 1.15, len(labels))
    wave = np.sin(phase + 2 * np.pi * np.arange(64) / 25)
    return size[:, None] * (wave + rng.normal(0, 0.05, (len(labels), 64)))


def mixed(labels, rng):
    count = len(labels)
    acceleration = rng.normal([0, 0, 1], 0.1, (count, 3))
    rate = rng.normal(0, 5, (count, 3)) + (labels == 1)[:, None] * rng.normal(120, 30, (count, 3))
    pressure = rng.normal(101_300, 20, (count, 1)) - (labels == 2)[:, None] * 400
    return np.concatenate([acceleration, rate, pressure], axis=1)


def clusters(labels, rng):
    centres = np.random.default_rng(1).normal(0, 2, (3, 9))
    return centres[labels] + rng.normal(0, 0.8, (len(labels), 9))


def constant(labels, rng):
    return np.concatenate([clusters(labels, rng), np.full((len(labels), 1), 1e6)], axis=1)


def outlier(labels, rng):
    x = clusters(labels, rng)
    x[len(x) // 2, 4] = 1e6
    return x


def onefeature(labels, rng):
    return np.array([-1.5, 0.0, 1.5])[labels][:, None] + rng.normal(0, 0.5, (len(labels), 1))


KINDS = {  # name: (function of labels [N] and a generator -> samples, training and test samples)
    "temperature": (temperature, 3000, 600),
    "amplitude": (amplitude, 3000, 600),
    "mixed": (mixed, 3000, 600),
    "constant": (constant, 600, 200),
    "outlier": (outlier, 600, 200),
    "onefeature": (onefeature, 600, 200),
}
CSV_CLASSES = ("cold", "ok", "hot")


def simulate(name, seed):
    """{array name: array} of the kind `name`, with three classes."""
    function, train, test = KINDS[name]
    rng = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", train), ("test", test)):
        labels = rng.integers(0, 3, count)
        arrays |= {f"x_{split}": function(labels, rng), f"y_{split}": labels}
    return arrays


def csv_text(arrays):
    """The temperatures as CSV, with names of sensors, classes and splits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["inside", "outside", "water", "split", "label"])
    for split in ("train", "test"):
        for row, label in zip(arrays[f"x_{split}"], arrays[f"y_{split}"], strict=True):
            writer.writerow([*(f"{value:.2f}" for value in row), split, CSV_CLASSES[label]])
    return text.getvalue()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where to write the files")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    cli.check_folder(arguments.folder)
    for name in KINDS:
        arrays = simulate(name, arguments.seed)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        cli.write_atomic(arguments.folder / f"{name}.npz", buffer.getvalue())
        if name == "temperature":
            cli.write_atomic(arguments.folder / f"{name}.csv", csv_text(arrays))
    print(f"files={len(KINDS) + 1} folder={arguments.folder}")


if __name__ == "__main__":
    cli.run(main)
