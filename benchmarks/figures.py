"""Draw the figures of docs/: how the method works, what committed networks learned, and how."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import csv
import statistics

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

import BitNetMCU
import cli
import study
from lowbit import lowering
from train import checkpoint, config, plots
from train.plots import pyplot

EXAMPLES = """examples:
  python benchmarks/figures.py                                         all figures of docs/
  python benchmarks/figures.py --curves modeldata/NAME.csv --out build/plots   those of one run
"""

WINDOWS = checkpoint.MODELDATA / "WindowMNIST-MNIST-4bitsym-0c935144.pth"
DOCS = Path(__file__).resolve().parent.parent / "docs"
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
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axis.set_ylabel(unit)
        plots.legend(axis)
    figure.suptitle(Path(path).stem)
    plots.save(figure, target)


def draw_estimator(_, target):
    """A quantiser, and the gradient that the straight-through estimator lets pass."""
    weights = torch.linspace(-1.25, 1.25, 1001, requires_grad=True)
    row = BitNetMCU.FORMATS["2bitsym"]
    maxw = torch.tensor(1.0)
    rounded = BitNetMCU.quantise(row, weights.detach(), maxw) * BitNetMCU.unit_of(row, maxw)
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
    left.set_ylim(-1.4, 2.1)  # room for the legend
    left.legend(loc="upper left")
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
    axis.set_title("the levels of each number format")
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
            rounded = BitNetMCU.quantise(row, weights, maxw) * BitNetMCU.unit_of(row, maxw)
            return ((rounded - weights).square().mean() / rms**2).item()

        (line,) = axis.loglog(clips / rms, [error(clip) for clip in clips], label=name)
        chosen = BitNetMCU.octav(weights.reshape(1, -1), row.clip_bits).item()
        axis.plot(chosen / rms, error(chosen), "o", color=line.get_color())
    axis.set_xlabel("clip value, in root mean squares of the weights (dots: OCTAV)")
    axis.set_ylabel("squared error / squared weight")
    axis.set_title("first layer of the committed 12 kB network")
    plots.legend(axis)
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
    axis.set_title("ShiftNorm and ReLU of four layers")
    plots.legend(axis)
    plots.save(figure, target)


def draw_accuracies(_, target):
    """Accuracy of each format and weight scale at about 12 kB, from docs/formats.csv."""
    groups = {}
    for row in study.read_rows(DOCS / "formats.csv"):
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
    axis.legend(loc="lower left")  # below all accuracies, which need the whole width for names
    plots.save(figure, target)


def draw_boxes(axis, rows, x, y, width=0.62, colours=None):
    """Text in boxes: rows of strings from (x, y) to the right and downwards."""
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            at = (x + c * width, y - r * 0.75)
            colour = colours(r, c) if colours else "white"
            box = pyplot.Rectangle(at, width, 0.6, facecolor=colour, edgecolor="black", lw=0.8)
            axis.add_patch(box)
            axis.text(at[0] + width / 2, at[1] + 0.3, text, ha="center", va="center", fontsize=8)


def draw_lists(axis):
    """The bits of activations, and the list of rows for each bit."""
    activations = (5, 0, 12, 3)
    axis.set_title("one list of rows for each bit", fontsize=10)
    bits = [[f"{x >> k & 1}" for k in (3, 2, 1, 0)] for x in activations]
    draw_boxes(
        axis,
        bits,
        1.6,
        4,
        colours=lambda r, c: "#f5b971" if bits[r][c] == "1" else "white",
    )
    for r, x in enumerate(activations):
        axis.text(1.4, 4.3 - 0.75 * r, f"x{r} = {x}", ha="right", va="center", fontsize=8)
    for c, k in enumerate((3, 2, 1, 0)):
        listed = [f"row {r}" for r, x in enumerate(activations) if x >> k & 1]
        axis.text(1.9 + c * 0.62, 4.8, f"bit {k}", ha="center", fontsize=7)
        axis.text(5.1, 4.3 - 0.75 * c, f"bit {k}: {', '.join(listed)}", fontsize=8, va="center")
    axis.text(0.1, 0.6, "x1 is 0: it is in no list and costs nothing", fontsize=8, style="italic")


def draw_nibbles(axis):
    """A word of eight nibbles, split into two words of 8-bit lanes."""
    axis.set_title("nibbles: eight 4-bit weights at once", fontsize=10)
    names = ["q7", "q3", "q5", "q1", "q6", "q2", "q4", "q0"]
    draw_boxes(axis, [names], 1.2, 4.3, colours=lambda r, c: ("#9ecae1", "#f5b971")[c % 2])
    axis.text(1.1, 4.6, "W", ha="right", va="center", fontsize=9)
    odd, even = names[::2], names[1::2]
    draw_boxes(axis, [odd], 1.2, 2.7, 1.24, lambda r, c: "#9ecae1")
    draw_boxes(axis, [even], 1.2, 1.3, 1.24, lambda r, c: "#f5b971")
    axis.text(1.1, 3.0, "B", ha="right", va="center", fontsize=9)
    axis.text(1.1, 1.6, "A", ha="right", va="center", fontsize=9)
    axis.text(1.2, 3.55, "B += (W >> 4) & 0x0f0f0f0f      8-bit lanes", fontsize=8)
    axis.text(1.2, 2.1, "A += W, at the end A - (B << 4)", fontsize=8)
    axis.text(1.2, 0.6, "17 rows of up to 15 fit into a lane of 255", fontsize=8, style="italic")


def draw_planes(axis):
    """Full adders on whole words."""
    axis.set_title("planes: 32 one-bit weights at once", fontsize=10)
    words = [
        ["row a", "0 1 1 0 1 0 0 1"],
        ["row b", "1 1 0 0 1 0 1 0"],
        ["row c", "1 1 1 0 0 0 0 0"],
    ]
    for r, (name, bits) in enumerate(words):
        axis.text(1.3, 4.6 - 0.75 * r, name, ha="right", va="center", fontsize=8)
        draw_boxes(axis, [bits.split()], 1.5, 4.3 - 0.75 * r, 0.5)
    sums = [[0] * 8, [0] * 8]
    for c in range(8):
        count = sum(int(bits.split()[c]) for _, bits in words)
        sums[0][c], sums[1][c] = count & 1, count >> 1
    axis.annotate("", (3.5, 1.95), (3.5, 2.7), arrowprops={"arrowstyle": "->"})
    axis.text(3.7, 2.3, "5 logic operations", fontsize=8, va="center")
    for r, name in enumerate(("sum, worth 1", "carry, worth 2")):
        axis.text(1.3, 1.6 - 0.75 * r, name, ha="right", va="center", fontsize=8)
        draw_boxes(axis, [map(str, sums[r])], 1.5, 1.3 - 0.75 * r, 0.5, lambda r, c: "#c7e9c0")


def draw_shifts(axis):
    """A shift that puts negative products into the upper half."""
    axis.set_title("shifts: x times a signed power of two", fontsize=10)
    for y, sign, amount, cells in (
        (4.1, "+", "3", ["0", "x << 3"]),
        (2.6, "-", "16 + 3", ["x << 3", "0"]),
    ):
        axis.text(1.2, y + 0.75, f"weight {sign}8: shift x by {amount}", fontsize=8)
        draw_boxes(
            axis,
            [cells],
            1.2,
            y,
            2.4,
            lambda r, c, cells=cells: ("white", "#f5b971")[cells[c] != "0"],
        )
    axis.text(2.4, 2.25, "upper 16 bits", ha="center", fontsize=8)
    axis.text(4.8, 2.25, "lower 16 bits", ha="center", fontsize=8)
    axis.text(1.2, 1.2, "one addition sums both halves;\nin the end: lower - upper", fontsize=8)


def draw_kernels(_, target):
    """What the fast kernels do with a word of weights."""
    figure, axes = pyplot.subplots(2, 2, figsize=(WIDTH, 6))
    for axis, draw in zip(axes.flat, (draw_lists, draw_nibbles, draw_planes, draw_shifts)):
        axis.set_xlim(-0.6, 7.4)
        axis.set_ylim(0.2, 5.2)
        axis.axis("off")
        draw(axis)
    figure.suptitle("what the fast kernels do with a word of weights")
    plots.save(figure, target)


def draw_windows(_, target):
    """The kernels of the committed network of windows."""
    trained = checkpoint.load(WINDOWS)
    plots.first_layer(lowering.lower(trained.network, trained.reads), None, target)


FIGURES = {
    "kernels.png": draw_kernels,
    "accuracies.png": draw_accuracies,
    "estimator.png": draw_estimator,
    "formats.png": draw_formats,
    "octav.png": draw_octav,
    "shiftnorm.png": draw_shiftnorm,
    "windows.png": draw_windows,
    "curves.png": lambda trained, target: draw_curves(trained.path.with_suffix(".csv"), target),
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", metavar="CSV", help="only the curves of this training run")
    parser.add_argument("--out", type=Path, default=DOCS, metavar="DIR", help="folder to draw into")
    arguments = parser.parse_args()
    with pyplot.rc_context(plots.STYLE):
        if arguments.curves:
            draw_curves(arguments.curves, arguments.out / "curves.png")
            print(f"picture={arguments.out / 'curves.png'}")
            return
        name = config.run_name(config.load(overrides=["model=FCMNIST"]))
        trained = checkpoint.load(checkpoint.MODELDATA / f"{name}.pth")
        for name, draw in FIGURES.items():
            draw(trained, arguments.out / name)
            print(f"picture={arguments.out / name}")


if __name__ == "__main__":
    cli.run(main)
