"""Classify image files, or rows of .npz and .csv files, with a trained network, as the C would."""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch

import cli
from compiler import operators
from lowbit import fusion, lowering
from train import checkpoint, confidence, loaders, measured

EXAMPLES = """examples:
  python predict.py modeldata/NAME.pth digit.png other.png    images, as the network was trained on
  python predict.py modeldata/NAME.pth readings.csv           each row: columns as in the training
  python predict.py modeldata/NAME.pth readings.npz --json    the array x, else x_test

A margin is how much the best logit is above the second; 99 % of the right answers have at least the
threshold's. Networks trained on MNIST want light digits on black.
"""


def read_inputs(trained, path):
    """[(name, int8 inputs [1, I]), ...] for the samples in the file at `path`."""
    if measured.is_measured(path):
        if trained.input_map is None:
            raise cli.UserError(f"{path}: {trained.name} takes images, not measured values")
        samples = read_samples(trained, path)
        inputs = trained.input_map(samples).numpy()
        return [(f"{path}[{index}]", row[None]) for index, row in enumerate(inputs)]
    if trained.input_map is not None:
        raise cli.UserError(f"{path}: {trained.name} takes rows of an .npz or .csv file")
    size = trained.settings.image_size
    image = loaders.read_images([Path(path)], size, path)
    return [(str(path), trained.pixels(image).numpy())]


def read_samples(trained, path):
    """The samples in an .npz or .csv file as float64 [N, ..., C]. Raises `UserError`."""
    inputs, names = trained.network.inputs, trained.channel_names
    if Path(path).suffix.lower() == ".csv":
        return torch.from_numpy(_csv_samples(path, names, inputs))
    arrays = measured.read_arrays(path)
    x = arrays.get("x", arrays.get("x_test"))
    if x is None or x.dtype.kind not in "iufb":
        raise cli.UserError(f"{path} has no array x of numbers; it has: {', '.join(arrays)}")
    if x.ndim < 2 or np.prod(x.shape[1:]) != inputs or (names and x.shape[-1] != len(names)):
        raise cli.UserError(
            f"{path}: x has the shape {x.shape}; {trained.name} takes samples of {inputs} values, "
            f"the last axis of {len(names) or 'any'}"
        )
    if not len(x) or not np.isfinite(x).all():
        raise cli.UserError(f"{path}: x is empty, or has values that are not finite (nan or inf)")
    return torch.from_numpy(x.astype(np.float64))


def _csv_samples(path, names, inputs):
    """float64 [N, ..., C] from a .csv file: columns by name, or by place if training had none."""
    table = measured.read_table(path)
    columns = [name for name in table if name not in (measured.LABEL, measured.SPLIT)]
    if names and not all(re.fullmatch(r"(feature|channel) \d+", name) for name in names):
        columns = names
    elif len(columns) != inputs:
        raise cli.UserError(
            f"{path} has {len(columns)} columns of numbers; the network takes {inputs}"
        )
    samples = measured.numbers(path, table, columns)
    return samples.reshape(len(samples), -1, len(names) or inputs)


def classify(trained, graph, samples):
    """One dict for each of [(name, int8 inputs [1, I]), ...]: class, name, margin, whether sure."""
    logits = operators.run(graph, np.concatenate([inputs for _, inputs in samples]))
    classes, margins = logits.argmax(axis=1).tolist(), confidence.margins(logits).tolist()
    threshold = trained.confidence["threshold"] if trained.confidence else None
    return [
        {
            "sample": name,
            "class": index,
            "class_name": trained.class_names[index],
            "margin": margin,
            "sure": None if threshold is None else margin >= threshold,
        }
        for (name, _), index, margin in zip(samples, classes, margins, strict=True)
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", help="a .pth file that training.py wrote")
    parser.add_argument("files", nargs="+", metavar="FILE", help="images, .npz or .csv files")
    parser.add_argument("--json", action="store_true", help="a JSON list instead of lines")
    arguments = parser.parse_args()

    sys.stdout.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    trained = checkpoint.load(arguments.checkpoint)
    graph = fusion.fuse(lowering.lower(trained.network, trained.reads))
    samples = [sample for file in arguments.files for sample in read_inputs(trained, file)]
    found = classify(trained, graph, samples)
    if arguments.json:
        json.dump(found, sys.stdout, indent=1)
        print()
        return
    sure = {True: "sure", False: "unsure", None: "no threshold: trained by an older version"}
    for each in found:
        print(
            f"{each['sample']}: {each['class_name']}  margin {each['margin']} "
            f"({sure[each['sure']]})"
        )


if __name__ == "__main__":
    cli.run(main)
