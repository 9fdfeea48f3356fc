"""Export a trained network to C: build/BitNetMCU_model.h and ten test images beside it."""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import BitNetMCU
import cli
from lowbit import emission, integermodel, selection
from train import checkpoint, confidence, data

EXAMPLES = """examples:
  python exportquant.py                        the network that training.py wrote last
  python exportquant.py modeldata/NAME.pth     any other
  python exportquant.py --plots build/plots    with pictures of its weights and mistakes
  python exportquant.py --optimise speed       larger in flash, where that saves time
  python exportquant.py --name digits          digits_infer(), for programs with two networks
"""

MODEL_HEADER = f"{emission.NAME}_model.h"
TEST_DATA_HEADER = "BitNetMCU_MNIST_test_data.h"
REPORT = "export.json"


def describe_layer(layer, choice):
    """What the weights of an `IntegerLayer` use of their format, as a dict for the report."""
    size = layer.weights.size
    counts = Counter(layer.weights.flatten().tolist())
    entropy = BitNetMCU.entropy(torch.from_numpy(layer.weights))
    return {
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "format": layer.format.name,
        "kernel": choice.kernel.name,
        "proven": choice.kernel.proven(layer),
        "skipped_kernels": list(choice.skipped),
        "bits": layer.format.bits,
        "weights": size,
        "bytes": choice.kernel.pack(layer).nbytes,
        "factor_bytes": 0 if layer.factors is None else layer.outputs,
        "bias": layer.bias is not None,
        "surplus_bytes": 0 if selection.surplus(layer, choice) is None else 4 * layer.outputs,
        "levels_percent": {
            level: 100 * counts[level] / size for level in sorted(layer.format.levels)
        },
        "entropy": entropy,
        "entropy_bytes": size * entropy / 8,
        "capacity_percent": 100 * entropy / layer.format.bits,
    }


def describe(model, choices):
    """The report on an `IntegerModel`: its layers, totals and buffers, ready for JSON.

    choices: a `selection.Choice` for each layer.
    """
    layers = [describe_layer(*pair) for pair in zip(model.layers, choices, strict=True)]
    buffers = [
        {"name": b.name, "bytes": b.bytes, "layers": list(b.layers)}
        for b in emission.plan_buffers(model)
    ]
    return {
        "layers": layers,
        "weights": sum(layer["weights"] for layer in layers),
        "weight_bytes": sum(
            layer[part] for layer in layers for part in ("bytes", "factor_bytes", "surplus_bytes")
        ),
        "entropy_bytes": sum(layer["entropy_bytes"] for layer in layers),
        "buffers": buffers,
        "buffer_bytes": sum(buffer["bytes"] for buffer in buffers),
    }


def describe_empty_input(model, class_names):
    """What an `IntegerModel` makes of an input that is 0 everywhere, as a dict for the report."""
    logits = model.logits(np.zeros((1, model.inputs), np.int8))
    return {
        "class": class_names[logits[0].argmax()],
        "margin": int(confidence.margins(logits)[0]),
    }


def raw_units(trained):
    """{channel: raw units per value} of a `Checkpoint`; empty for images."""
    return dict(zip(trained.channel_names, getattr(trained.input_map, "units", ())))


def format_report(report):
    """The report as lines to read."""
    lines = []
    for index, layer in enumerate(report["layers"], start=1):
        used = [percent for percent in layer["levels_percent"].values() if percent]
        bias = f" and {layer['surplus_bytes']} of bias" if layer["bias"] else ""
        factors = f" and {layer['factor_bytes']} of factors" if layer["factor_bytes"] else ""
        lines.append(
            f"layer {index}: {layer['inputs']} -> {layer['outputs']}  {layer['format']}, "
            f"{layer['weights']} weights\n"
            f"  levels used: {len(used)} of {len(layer['levels_percent'])}, "
            f"entropy {layer['entropy']:.2f} of {layer['bits']:.2f} bits per weight "
            f"({layer['capacity_percent']:.1f} %)\n"
            f"  {layer['bytes']} bytes packed for the kernel {layer['kernel']} "
            f"({8 * layer['bytes'] / layer['weights']:.2f} bits per weight){bias}{factors}; "
            f"{layer['entropy_bytes']:.0f} bytes if entropy-coded"
        )
        lines += [f"  {layer['kernel']}: {layer['proven']}"] * bool(layer["proven"])
        lines += [f"  not {reason}" for reason in layer["skipped_kernels"]]
        if len(layer["levels_percent"]) <= 16:
            shares = (f"{level}: {share:.1f}" for level, share in layer["levels_percent"].items())
            lines.append("  percent of weights at each level: " + "  ".join(shares))
    lines.append(
        f"total: {report['weights']} weights, {report['weight_bytes']} bytes of flash; "
        f"{report['entropy_bytes']:.0f} bytes if entropy-coded"
    )
    lines.append(f"buffers of BitNetMCU_infer, on the stack, {report['buffer_bytes']} bytes:")
    for buffer in report["buffers"]:
        first, last = buffer["layers"][0], buffer["layers"][-1]
        lines.append(f"  {buffer['name']}: {buffer['bytes']} bytes, layers {first} to {last}")
    if report["class_names"] != list(data.numbered("", len(report["class_names"]))):
        lines.append(f"classes, from 0: {', '.join(report['class_names'])}")
    lines += confidence.lines(report["confidence"])
    empty, threshold = report["empty_input"], report["confidence"]["threshold"]
    verdict = "below" if empty["margin"] < threshold else "NOT below"
    lines.append(
        f"  an empty input, all 0, gives class '{empty['class']}' with a margin of "
        f"{empty['margin']}: {verdict} the threshold"
    )
    units = report["raw_units_per_value"].items()
    shown = [f"{name}: {value:g}" for name, value in units]
    if len({value for _, value in units}) == 1:
        shown = [f"all channels: {shown[0].rpartition(' ')[2]}"]
    if shown:
        lines.append(f"raw units per value, for BitNetMCU_quantise: {', '.join(shown)}")
    lines.append(
        f"accuracy on {report['test_images']} test images: {report['accuracy']:.2f} % as integers, "
        f"{report['accuracy_float']:.2f} % with training's float scales"
    )
    return "\n".join(lines)


def check_name(name):
    """Refuse a `name` that C functions cannot begin with, or that this project's own do."""
    reserved = name != emission.NAME and name.upper() == emission.NAME.upper()
    if reserved or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise cli.UserError(
            f"--name {name} is not valid; it takes a C name that is not {emission.NAME}'s, "
            "as digits"
        )


def export(path, build, pictures=None, optimise="size", multiplier=False, name=emission.NAME):
    """Write the headers and export.json for the checkpoint at `path` into the folder `build`.

    pictures: a folder for pictures of the network. optimise: one of `selection.OPTIMISE`.
    multiplier: the C may need a core that has one. name: what the network's functions and macros
    begin with; other than the default, its header is NAME_model.h, and BitNetMCU_model.h stands for
    it. Returns the report (the content of export.json). Raises `UserError` before anything is
    written.
    """
    check_name(name)
    trained = checkpoint.load(path)
    model = integermodel.lower(trained.network)
    samples = checkpoint.samples_of(trained)
    dataset = checkpoint.load_data(trained) if pictures or trained.confidence is None else None
    if trained.confidence is None:  # a file of an older version
        known = dataset.inputs(dataset.train_images, trained.settings.image_size).numpy()
        sure = confidence.measure(model.logits(known), dataset.train_labels.numpy(), "training")
        trained = replace(trained, confidence=sure)
    inputs, labels = samples.inputs.numpy(), samples.labels.numpy()
    logits = model.logits(inputs)

    report = {"name": trained.name, "checkpoint": str(Path(path).resolve())}
    signed = trained.input_map is not None
    choices = selection.choose(model, optimise, signed, multiplier)
    report |= {"sha256": trained.sha256, **describe(model, choices)}
    report["needs_multiplier"] = any(choice.kernel.multiplier for choice in choices)
    report |= {"class_names": list(trained.class_names), "confidence": trained.confidence}
    report["empty_input"] = describe_empty_input(model, trained.class_names)
    report["raw_units_per_value"] = raw_units(trained)
    report["test_images"] = samples.of_test_samples
    report["accuracy"] = trained.metrics["test_accuracy"]
    report["accuracy_float"] = trained.metrics["test_accuracy_float"]

    build = Path(build)
    cli.check_folder(build)
    header = emission.model_header(model, trained, choices, name)
    cli.write_atomic(build / f"{name}_model.h", header)
    if name != emission.NAME:
        cli.write_atomic(build / MODEL_HEADER, emission.alias_header(name, trained))
    cli.write_atomic(
        build / TEST_DATA_HEADER,
        emission.test_data_header(inputs, labels, logits, trained),
    )
    cli.write_atomic(build / REPORT, json.dumps(report, indent=2) + "\n")
    if pictures:
        from train import plots  # slow to load, and seldom wanted

        tests = dataset.inputs(dataset.test_images, trained.settings.image_size).numpy()
        for picture in plots.draw(pictures, trained, model, tests, dataset.test_labels.numpy()):
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
    parser.add_argument(
        "--optimise",
        choices=selection.OPTIMISE,
        default="size",
        help="choose kernels for: size (few bytes, the default), speed (microcontrollers), host "
        "(computers), bittest (a yardstick to measure against)",
    )
    parser.add_argument(
        "--multiplier",
        action="store_true",
        help="for a core that has one, and kernels that need it",
    )
    parser.add_argument(
        "--name",
        default=emission.NAME,
        help="what the network's functions and macros begin with, for programs with several",
    )
    parser.add_argument("--plots", metavar="DIR", help="also draw weights and mistakes into DIR")
    arguments = parser.parse_args()

    path = arguments.checkpoint or checkpoint.newest(arguments.build)
    print(f"exporting {path}")
    report = export(
        path,
        arguments.build,
        arguments.plots,
        arguments.optimise,
        arguments.multiplier,
        arguments.name,
    )
    print(format_report(report))
    print(
        f"model={report['name']} weight_bytes={report['weight_bytes']} "
        f"buffer_bytes={report['buffer_bytes']} accuracy={report['accuracy']:.2f} "
        f"header={Path(arguments.build) / f'{arguments.name}_model.h'}"
    )


if __name__ == "__main__":
    cli.run(main)
