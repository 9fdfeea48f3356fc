"""Export a trained network to C: build/BitNetMCU_model.h and ten test images beside it."""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch

import BitNetMCU
import cheader
import checkpoint
import cli
import integermodel

EXAMPLES = """examples:
  python exportquant.py                        the network that training.py wrote last
  python exportquant.py modeldata/NAME.pth     any other
  python exportquant.py --plots build/plots    with pictures of its weights and mistakes
"""

MODEL_HEADER = "BitNetMCU_model.h"
TEST_DATA_HEADER = "BitNetMCU_MNIST_test_data.h"
REPORT = "export.json"
TEST_IMAGES = 10


def describe_layer(layer):
    """What the weights of an `IntegerLayer` use of their format, as a dict for the report."""
    size = layer.weights.size
    counts = Counter(layer.weights.flatten().tolist())
    bits = layer.format.bits
    entropy = BitNetMCU.entropy(torch.from_numpy(layer.weights))
    return {
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "format": layer.format.name,
        "bits": bits,
        "weights": size,
        "bytes": cheader.pack(layer.codes(), bits).nbytes,
        "levels_percent": {
            level: 100 * counts[level] / size for level in sorted(layer.format.levels)
        },
        "entropy": entropy,
        "capacity_percent": 100 * entropy / bits,
    }


def describe(model):
    """The report on an `IntegerModel`: its layers, totals and buffers, ready for JSON."""
    layers = [describe_layer(layer) for layer in model.layers]
    buffers = [
        {"name": b.name, "bytes": b.bytes, "layers": list(b.layers)}
        for b in cheader.plan_buffers(model)
    ]
    return {
        "layers": layers,
        "weights": sum(layer["weights"] for layer in layers),
        "weight_bytes": sum(layer["bytes"] for layer in layers),
        "entropy_bytes": sum(layer["weights"] * layer["entropy"] for layer in layers) / 8,
        "buffers": buffers,
        "buffer_bytes": sum(buffer["bytes"] for buffer in buffers),
    }


def format_report(report):
    """The report as lines to read."""
    lines = []
    for index, layer in enumerate(report["layers"], start=1):
        used = [percent for percent in layer["levels_percent"].values() if percent]
        lines.append(
            f"layer {index}: {layer['inputs']} -> {layer['outputs']}  {layer['format']} "
            f"({layer['bits']} bits)  {layer['weights']} weights, {layer['bytes']} bytes\n"
            f"  levels used: {len(used)} of {len(layer['levels_percent'])}, "
            f"entropy {layer['entropy']:.2f} bits per weight, "
            f"{layer['capacity_percent']:.1f} % of the capacity"
        )
        if len(layer["levels_percent"]) <= 16:
            shares = (f"{level}: {share:.1f}" for level, share in layer["levels_percent"].items())
            lines.append("  percent of weights at each level: " + "  ".join(shares))
    lines.append(
        f"total: {report['weights']} weights, {report['weight_bytes']} bytes of flash "
        f"({report['entropy_bytes']:.0f} bytes of information)"
    )
    lines.append(f"buffers of BitNetMCU_infer, on the stack, {report['buffer_bytes']} bytes:")
    for buffer in report["buffers"]:
        first, last = buffer["layers"][0], buffer["layers"][-1]
        lines.append(f"  {buffer['name']}: {buffer['bytes']} bytes, layers {first} to {last}")
    lines.append(
        f"accuracy on {report['test_images']} test images: {report['accuracy']:.2f} % as integers, "
        f"{report['accuracy_float']:.2f} % with training's float scales"
    )
    return "\n".join(lines)


def choose_test_images(labels, classes, count=TEST_IMAGES):
    """Indices of `count` test images: the first of each class, then the second of each, ..."""
    by_class = [torch.nonzero(labels == label).flatten().tolist() for label in range(classes)]
    rounds = range(max(map(len, by_class)))
    return [found[k] for k in rounds for found in by_class if k < len(found)][:count]


def export(path, build, pictures=None):
    """Write the headers and export.json for the checkpoint at `path` into the folder `build`.

    pictures: a folder for pictures of the network. Returns the report (the content of
    export.json). Raises `UserError` before anything is written.
    """
    trained = checkpoint.load(path)
    model = integermodel.lower(trained.network)
    tensors = checkpoint.test_data(trained)
    inputs, labels = (tensor.numpy() for tensor in tensors[:2])
    chosen = choose_test_images(*tensors[1:])
    logits = model.execute(inputs[chosen])[-1].accumulators

    report = {"name": trained.name, "checkpoint": str(Path(path).resolve())}
    report |= {"sha256": trained.sha256, **describe(model)}
    report["test_images"] = len(labels)
    report["accuracy"] = 100 * float(np.mean(model.predict(inputs) == labels))
    report["accuracy_float"] = trained.metrics["test_accuracy_float"]

    build = Path(build)
    cli.check_folder(build)
    header = cheader.model_header(model, trained)
    cli.write_atomic(build / MODEL_HEADER, header)
    cli.write_atomic(
        build / TEST_DATA_HEADER,
        cheader.test_data_header(inputs[chosen], labels[chosen], logits, trained),
    )
    cli.write_atomic(build / REPORT, json.dumps(report, indent=2) + "\n")
    if pictures:
        import plots  # slow to load, and seldom wanted

        for picture in plots.draw(pictures, trained.network, model, inputs, labels):
            print(f"picture={picture}")
    return report


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkpoint", nargs="?", help="a .pth file; otherwise the one training.py wrote last"
    )
    parser.add_argument("--build", default="build", metavar="DIR", help="folder for the headers")
    parser.add_argument("--plots", metavar="DIR", help="also draw weights and mistakes into DIR")
    arguments = parser.parse_args()

    path = arguments.checkpoint or checkpoint.newest(arguments.build)
    print(f"exporting {path}")
    report = export(path, arguments.build, arguments.plots)
    print(format_report(report))
    print(
        f"model={report['name']} weight_bytes={report['weight_bytes']} "
        f"buffer_bytes={report['buffer_bytes']} accuracy={report['accuracy']:.2f} "
        f"header={Path(arguments.build) / MODEL_HEADER}"
    )


if __name__ == "__main__":
    cli.run(main)
