"""Draw the figures of docs/: how the method works, and how the committed network was trained."""

import argparse
import csv
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import BitNetMCU
import checkpoint
import cli
import config
import plots
import study
from plots import pyplot

EXAMPLES = """examples:
  python docs/plots.py                                all figures of docs/
  python docs/plots.py --curves modeldata/NAME.csv --out build/plots    the curves of one run
"""

WIDTH = 9  # inches: a page


def read_epochs(path):
    """The columns of a training CSV as float arrays [epochs]."""
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    except OSError as error:
        raise cli.UserError(f"cannot read {path}: {error.strerror}; name a CSV of training.py")
    except (IndexError, ValueError, TypeError):
        raise cli.UserError(f"{path} is not a CSV of training.py; name one in modeldata/")


def draw_curves(path, target):
    """Loss, accuracy, entropy and positive activations against epochs, from a training CSV."""
    epochs = read_epochs(path)
    if not {"epoch", "train_loss", "train_accuracy"} <= epochs.keys():
        raise cli.UserError(f"{path} is not a CSV of training.py; name one in modeldata/")
    panels = (
        ("loss", "cross-entropy, nats", ("train_loss", "validation_loss")),
        ("accuracy", "percent", ("train_accuracy", "validation_accuracy")),
        ("entropy of the weights", "bits per weight", "entropy"),
        ("activations that are not zero", "fraction", "positive"),
    )
    figure, axes = pyplot.subplots(2, 2, figsize=(WIDTH, 6))
    for axis, (title, unit, columns) in zip(axes.flat, panels):
        if isinstance(columns, str):
            named = {f"layer {k[len(columns) :]}": k for k in epochs if k.startswith(columns)}
        else:
            named = {key.split("_")[0]: key for key in columns if key in epochs}
        for label, key in named.items():
            axis.plot(epochs["epoch"], epochs[key], label=label)
        axis.set_title(title)
        axis.set_xlabel("epoch")
        axis.set_ylabel(unit)
        axis.legend()
    plots.save(figure, target)


def draw_estimator(_, target):
    """A quantiser, and the gradient that the straight-through estimator lets pass."""
    weights = torch.linspace(-1.25, 1.25, 1001, requires_grad=True)
    row = BitNetMCU.FORMATS["2bitsym"]
    maxw = torch.tensor(1.0)
    rounded = row.quantise(weights.detach(), maxw) * row.scale(maxw)
    BitNetMCU.StraightThrough.apply(weights, rounded).sum().backward()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(WIDTH, 3.2))
    left.plot(weights.detach(), weights.detach(), color="grey", linestyle="--", label="w")
    left.plot(weights.detach(), rounded, label="rounded to 2bitsym, clip 1")
    left.set_title("forward: rounded")
    left.set_ylabel("weight used")
    right.plot(weights.detach(), weights.grad)
    right.set_ylim(-0.1, 1.5)
    right.set_title("backward: as if it had not been")
    right.set_ylabel("gradient that passes")
    left.legend()
    for axis in (left, right):
        axis.set_xlabel("weight w")
    plots.save(figure, target)


def draw_formats(_, target):
    """The levels of each format as fractions of its clip value."""
    rows = list(BitNetMCU.FORMATS.values())
    figure, axis = pyplot.subplots(figsize=(WIDTH, 0.55 * len(rows) + 1.2))
    for y, row in enumerate(rows):
        levels = np.array(row.levels) / row.clip
        axis.plot(levels, np.full(len(levels), y), "|", markersize=18, markeredgewidth=1.5)
    axis.set_yticks(range(len(rows)), [f"{row.name} ({row.bits:.3g} bit)" for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlabel("level, as a fraction of the clip value")
    plots.save(figure, target)


def draw_octav(trained, target):
    """Mean squared rounding error against the clip value, with OCTAV's choice, for one layer."""
    weights = trained.network.bit_layers()[0].weight.detach()
    rms = weights.square().mean().sqrt()
    clips = np.geomspace(0.4, 16, 160) * rms.item()
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.8))
    for name in ("2bitsym", "4bitsym", "FP130", "8bit"):
        row = BitNetMCU.FORMATS[name]

        def error(clip, row=row):
            maxw = torch.tensor(clip, dtype=torch.float32)
            rounded = row.quantise(weights, maxw) * row.scale(maxw)
            return ((rounded - weights).square().mean() / rms**2).item()

        (line,) = axis.loglog(clips / rms, [error(clip) for clip in clips], label=name)
        chosen = BitNetMCU.octav(weights.reshape(1, -1), row.clip_bits).item()
        axis.plot(chosen / rms, error(chosen), "o", color=line.get_color())
    axis.set_xlabel("clip value, in root mean squares of the weights (dots: OCTAV)")
    axis.set_ylabel("squared error / squared weight")
    axis.set_title("first layer of the committed 12 kB network")
    axis.legend()
    plots.save(figure, target)


def draw_shiftnorm(_, target):
    """ShiftNorm and ReLU of accumulators, for layers with different largest values."""
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.6))
    module = BitNetMCU.ShiftNormReLU(aware=False).eval()
    for largest in (120, 250, 500, 1000):
        values = torch.arange(-100.0, largest + 1)
        shift = int(BitNetMCU.shiftnorm_shift(values[None]))
        label = f"largest {largest}: shift by {shift}"
        axis.plot(values, module(values[None])[0], label=label)
    axis.axhspan(64, 127, color="orange", alpha=0.12, label="where the largest lands")
    axis.set_xlabel("accumulator")
    axis.set_ylabel("activation")
    axis.legend()
    plots.save(figure, target)


def draw_accuracies(_, target):
    """Accuracy of each format and weight scale at about 12 kB, from docs/formats.csv."""
    groups = {}
    for row in study.read_rows(Path(__file__).parent / "formats.csv"):
        if int(row["weight_bytes"]) > 10_000:
            key = (row["QuantType"], row["WScale"])
            groups.setdefault(key, []).append(float(row["accuracy"]))
    names = [name for name in BitNetMCU.FORMATS if (name, "PerTensor") in groups]
    figure, axis = pyplot.subplots(figsize=(WIDTH, 3.6))
    for scale, offset in (("PerTensor", -0.12), ("PerOutput", 0.12)):
        values = [groups[name, scale] for name in names]
        means, deviations = (list(map(f, values)) for f in (statistics.mean, statistics.stdev))
        positions = np.arange(len(names)) + offset
        axis.errorbar(positions, means, deviations, fmt="o", capsize=4, label=scale)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("test accuracy, percent")
    axis.set_title("about 12 kB of weights, 12 epochs, mean and sd of 5 seeds")
    axis.legend()
    plots.save(figure, target)


FIGURES = {
    "accuracies.png": draw_accuracies,
    "estimator.png": draw_estimator,
    "formats.png": draw_formats,
    "octav.png": draw_octav,
    "shiftnorm.png": draw_shiftnorm,
    "curves.png": lambda trained, target: draw_curves(trained.path.with_suffix(".csv"), target),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", metavar="CSV", help="only the curves of this training run")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent, metavar="DIR", help="folder to draw into"
    )
    arguments = parser.parse_args()
    with pyplot.rc_context(plots.STYLE):
        if arguments.curves:
            draw_curves(arguments.curves, arguments.out / "curves.png")
            print(f"picture={arguments.out / 'curves.png'}")
            return
        trained = checkpoint.load(checkpoint.MODELDATA / f"{config.run_name(config.load())}.pth")
        for name, draw in FIGURES.items():
            draw(trained, arguments.out / name)
            print(f"picture={arguments.out / name}")


if __name__ == "__main__":
    cli.run(main)
