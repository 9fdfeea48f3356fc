"""Pictures of an exported network: what its weights, its first layer and its mistakes look like."""

import io
from pathlib import Path

import matplotlib
import numpy as np

import cli
from compiler import operators
from compiler.graph import UINT7

matplotlib.use("Agg")  # files only: no window, no display needed
from matplotlib import pyplot  # noqa: E402

STYLE = {
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "savefig.dpi": 110,
}
MISREAD_SHOWN = 40
FIRST_LAYER_SHOWN = 64


def save(figure, path):
    """Write a figure as PNG, atomically and without dates or versions, and close it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    pyplot.close(figure)
    cli.write_atomic(path, buffer.getvalue())


def grid(count, columns, size):
    """A figure of `count` axes in `columns`, each `size` inches wide; the others are hidden."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(size * columns, size * rows), squeeze=False
    )
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, axes.flat[:count]


def legend(axis):
    """A legend to the right of an axis, where it hides no curve."""
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))


def weight_histograms(network, path):
    """Each layer's float weights, with the levels to which they are rounded as lines."""
    layers = network.bit_layers()
    figure, axes = grid(len(layers), 2, 5)
    figure.set_figheight(3.2 * -(-len(layers) // 2))
    for index, (axis, layer) in enumerate(zip(axes, layers), start=1):
        weights = layer.weight.detach()
        if layer.format.centred:
            weights = weights - weights.mean()
        axis.hist(weights.flatten().numpy(), bins=100, color="steelblue")
        levels = np.array(layer.format.levels) * layer.scale.item()
        for level in levels if len(levels) <= 16 else (levels.min(), levels.max()):
            axis.axvline(level, color="darkorange", linewidth=0.8)
        outputs, inputs = layer.weight.flatten(1).shape
        axis.set_title(f"layer {index}: {inputs} to {outputs}")
        axis.set_xlabel("weight before rounding (lines: levels)")
        axis.set_ylabel("number of weights")
    figure.suptitle("weights of each layer, and the levels to which they are rounded")
    save(figure, path)


def first_layer(graph, size, path):
    """The integer weights of the first layer's outputs as images, the largest norm first.

    size: (rows, columns) of the image that a fully connected layer reads; what a convolution reads
    is as large as its kernel.
    """
    step = next(step for step in graph.operators if step.kind in ("CONVOLUTION", "LINEAR"))
    fields = step.fields
    convolution = step.kind == "CONVOLUTION"
    layer, size = (fields.layer, fields.windows.kernel) if convolution else (fields, size)
    order = np.argsort(-np.linalg.norm(layer.weights, axis=1), kind="stable")
    shown = layer.weights[order[:FIRST_LAYER_SHOWN]]
    figure, axes = grid(len(shown), 16 if len(shown) > 32 else 8, 0.75)
    # Room for the colour bar and the title, however few outputs there are.
    figure.set_size_inches(max(figure.get_figwidth(), 6) + 1, max(figure.get_figheight(), 2) + 0.7)
    limit = np.abs(layer.weights).max()
    for axis, row in zip(axes, shown):
        image = axis.imshow(row.reshape(size), cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_axis_off()
    words = ", ".join(graph.row(step).details(graph, step)[0])  # shape and format
    title = f"weights of {len(shown)} of {layer.outputs} outputs, the largest norm first"
    figure.suptitle(f"first layer, {words}:\n{title}")
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="integer weight")
    save(figure, path)


def confusion_matrix(labels, predictions, class_names, path):
    """How many samples of each class (row) were read as which class (column)."""
    classes = len(class_names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(14, 3 + 0.45 * classes)
    figure, axis = pyplot.subplots(figsize=(side + 1, side))
    mistakes = np.where(np.eye(classes, dtype=bool), np.nan, share)
    most = max(np.nanmax(mistakes), 1)  # percent; without mistakes all is white
    image = axis.imshow(mistakes, cmap="Oranges", vmin=0, vmax=most)
    if classes <= 26:
        for row, column in zip(*counts.nonzero()):
            dark = row != column and share[row, column] > most / 2
            style = {"ha": "center", "va": "center", "color": "white" if dark else "black"}
            axis.text(column, row, counts[row, column], fontsize=8, **style)
        slanted = {"rotation": 45, "ha": "right"} if max(map(len, class_names)) > 2 else {}
        axis.set_xticks(range(classes), class_names, **slanted)
        axis.set_yticks(range(classes), class_names)
    axis.grid(False)
    axis.set_xlabel("predicted class")
    axis.set_ylabel("true class")
    axis.set_title(f"{(labels == predictions).sum()} of {len(labels)} test samples right")
    figure.colorbar(image, label="misread, percent of the true class", shrink=0.8)
    save(figure, path)


def misread(inputs, labels, predictions, class_names, size, path):
    """The first misread test images with their true and predicted classes."""
    wrong = np.flatnonzero(labels != predictions)
    shown = wrong[:MISREAD_SHOWN]
    figure, axes = grid(max(len(shown), 1), 10, 0.95)
    figure.set_figheight(0.6 + 1.15 * -(-max(len(shown), 1) // 10))
    for axis, index in zip(axes, shown):
        image = inputs[index].reshape(size, size)
        axis.imshow(image, cmap="gray_r", vmin=UINT7.lowest, vmax=UINT7.highest)
        truth, seen = class_names[labels[index]], class_names[predictions[index]]
        axis.set_title(f"{truth} as {seen}", fontsize=9)
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{len(shown)} of {len(wrong)} misread test images: true class as predicted")
    save(figure, path)


def draw(folder, trained, graph, inputs, labels):
    """Write all pictures of a network into `folder`; returns their paths.

    trained: its `Checkpoint`; graph: it, lowered; inputs: int8 [N, I] and labels [N] of the
    test set. Pictures of images are left out where the inputs are measured values.
    """
    folder = Path(folder)
    paths = [folder / "weights.png", folder / "confusion.png"]
    predictions = operators.run(graph, inputs).argmax(axis=1)
    with pyplot.rc_context(STYLE):
        names = trained.class_names
        weight_histograms(trained.network, paths[0])
        confusion_matrix(labels, predictions, names, paths[1])
        if trained.input_map is None:
            size = trained.settings.image_size
            paths += [folder / "first_layer.png", folder / "misread.png"]
            first_layer(graph, (size, size), paths[2])
            misread(inputs, labels, predictions, names, size, paths[3])
    return paths
