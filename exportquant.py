"""Export a trained network to C: build/BitNetMCU_model.h and ten test images beside it."""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import os
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

import BitNetMCU
import cli
from compiler import operators
from compiler import report as reports
from lowbit import emission, kernelrows, lowering, pipeline, sliding
from train import checkpoint, confidence, data

EXAMPLES = """examples:
  python exportquant.py                        the network that training.py wrote last
  python exportquant.py modeldata/NAME.pth     any other
  python exportquant.py --plots build/plots    with pictures of its weights and mistakes
  python exportquant.py --optimise speed       larger in flash, where that saves time
  python exportquant.py --name digits          digits_infer(), for programs with two networks
  python exportquant.py --every 16             windows of a sequence as a stream, 16 readings a run
"""

MODEL_HEADER = f"{emission.NAME}_model.h"  # what tools include, whatever a network's name is
TEST_DATA_HEADER = "BitNetMCU_MNIST_test_data.h"
REPORT = "export.json"
PLAN = "memory.png"


def describe_layer(choice):
    """What the weights of a layer use of their format, as a dict for the report."""
    packed = choice.packed
    layer = packed["layer"]
    size = layer.weights.size
    counts = Counter(layer.weights.flatten().tolist())
    entropy = BitNetMCU.entropy(torch.from_numpy(layer.weights))
    per_output = {
        key: 0 if packed[key] is None else packed[key].nbytes for key in ("factors", "surplus")
    }
    return {
        "inputs": layer.inputs,
        "outputs": layer.outputs,
        "format": layer.format.name,
        "kernel": choice.kernel.name,
        "proven": choice.kernel.proven(layer),
        "skipped_kernels": list(choice.skipped),
        "bits": layer.format.bits,
        "weights": size,
        "bytes": packed["words"].nbytes,
        "factor_bytes": per_output["factors"],
        "bias": layer.bias is not None,
        "surplus_bytes": per_output["surplus"],
        "levels_percent": {level: 100 * counts[level] / size for level in layer.format.ascending},
        "entropy": entropy,
        "entropy_bytes": size * entropy / 8,
        "capacity_percent": 100 * entropy / layer.format.bits,
    }


def describe(compiled):
    """The report on the weights of a `Compiled` network, ready for JSON."""
    layers = [describe_layer(choice) for choice in pipeline.layers_of(compiled)]
    return {
        "layers": layers,
        "weights": sum(layer["weights"] for layer in layers),
        "weight_bytes": sum(
            layer[part] for layer in layers for part in ("bytes", "factor_bytes", "surplus_bytes")
        ),
        "entropy_bytes": sum(layer["entropy_bytes"] for layer in layers),
        "buffer_bytes": compiled.arena,
    }


def streams(graph, trained, every, keep, compile_graph):
    """(`sliding.Stream`, the `Compiled` network that runs as that, {one of KEEPS: its
    `sliding.Cost`}) of the lowered `graph` of windows.

    keep: one of KEEPS, or "auto": what `sliding.choice` says. Raises `UserError`.
    """
    ways, costs = {}, {}
    for each in sliding.KEEPS:
        stream = sliding.of_windows(graph, trained.input_map, every, each)
        ways[each] = stream, compile_graph(sliding.slide(graph, stream))
        costs[each] = sliding.Cost.of(ways[each][1])
    return *ways[sliding.choice(costs) if keep == "auto" else keep], costs


def stream_of(report):
    """The `sliding.Stream` that a report is of; None where a run takes a whole sample."""
    return sliding.Stream(**report["stream"]) if report.get("stream") else None


def graph_of(trained, report):
    """The lowered graph of a `Checkpoint` that a report is of."""
    graph, stream = lowering.lower(trained.network, trained.reads, trained.name), stream_of(report)
    return sliding.slide(graph, stream) if stream else graph


def describe_empty_input(graph, class_names):
    """What a network makes of an input that is 0 everywhere, as a dict for the report."""
    logits = operators.run(graph, np.zeros((1, graph.input.size), np.int8))
    return {
        "class": class_names[logits[0].argmax()],
        "margin": int(confidence.margins(logits)[0]),
    }


def raw_units(trained):
    """{channel: raw units per value} of a `Checkpoint`; empty for images."""
    return dict(zip(trained.channel_names, getattr(trained.input_map, "units", ())))


def _layer_lines(index, layer):
    """What `format_report` says of the layer with that number."""
    used = [percent for percent in layer["levels_percent"].values() if percent]
    bias = f" and {layer['surplus_bytes']} of bias" if layer["bias"] else ""
    factors = f" and {layer['factor_bytes']} of factors" if layer["factor_bytes"] else ""
    yield (
        f"layer {index}: {layer['inputs']} -> {layer['outputs']}  {layer['format']}, "
        f"{layer['weights']} weights"
    )
    yield (
        f"  levels used: {len(used)} of {len(layer['levels_percent'])}, "
        f"entropy {layer['entropy']:.2f} of {layer['bits']:.2f} bits per weight "
        f"({layer['capacity_percent']:.1f} %)"
    )
    yield (
        f"  {layer['bytes']} bytes packed for the kernel {layer['kernel']} "
        f"({8 * layer['bytes'] / layer['weights']:.2f} bits per weight){bias}{factors}; "
        f"{layer['entropy_bytes']:.0f} bytes if entropy-coded"
    )
    if layer["proven"]:
        yield f"  {layer['kernel']}: {layer['proven']}"
    yield from (f"  not {reason}" for reason in layer["skipped_kernels"])
    if len(layer["levels_percent"]) <= 16:
        shares = (f"{level}: {share:.1f}" for level, share in layer["levels_percent"].items())
        yield "  percent of weights at each level: " + "  ".join(shares)


def _stream_lines(report):
    """What `format_report` says of a network that runs as a stream."""
    stream = stream_of(report)
    if not stream:
        return
    yield (
        f"a stream: each run takes {stream.every} readings and classifies the last "
        f"{stream.window}, from run {stream.pieces} on; from run to run it keeps "
        f"{report['state']} bytes"
    )
    costs = {keep: sliding.Cost(**cost) for keep, cost in report["stream_costs"].items()}
    ways = {"layers": "what layers computed", "input": "the readings only"}
    same = costs["layers"].macs == costs["input"].macs
    if same:
        ways = {"input": "the readings only, as no layer can keep what it computed"}
    for keep, words in ways.items():
        cost = costs[keep]
        chosen = ": this one" if same or keep == stream.keep else f" (--keep {keep})"
        yield (
            f"  keeping {words}: {cost.macs} multiply-accumulates a run, {cost.state} bytes from "
            f"run to run, {cost.arena} while it runs{chosen}"
        )
    if report["stream_better"]:
        yield f"  with --every {report['stream_better']} more layers would keep what they computed"


def format_report(report):
    """The report as lines to read."""
    lines = []
    for index, layer in enumerate(report["layers"], start=1):
        lines += _layer_lines(index, layer)
    lines.append(
        f"total: {report['weights']} weights, {report['weight_bytes']} bytes of flash; "
        f"{report['entropy_bytes']:.0f} bytes if entropy-coded"
    )
    lines.append(
        f"no input has more than {report['bits']} bits: compiled with "
        f"-DBITNETMCU_BITS={report['bits']}, kernels are smaller and faster"
    )
    if report["strip_highest"]:
        highest = report["strip_highest"]
        lines.append(
            f"no strip of windows holds more than {highest}: compiled with "
            f"-DBITNETMCU_STRIP_HIGHEST={highest}, their kernel is faster and needs less stack"
        )
    lines.append(f"memory of the network, on the stack while it runs: {report['arena']} bytes")
    lines += _stream_lines(report)
    lines += [f"  {line}" for line in reports.table(report, skipped=False).splitlines()]
    if report["set_bits"]:  # not in files of older versions
        each = ", ".join(f"{count:.0f}" for count in report["set_bits"])
        lines.append(
            f"one bits of a sample's input, and of the activations behind each layer: {each}"
        )
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


def export(
    path,
    build,
    pictures=None,
    optimise="size",
    multiplier=False,
    name=emission.NAME,
    draw_plan=False,
    every=None,
    keep="auto",
):
    """Write the C of the checkpoint at `path` into the folder `build`, with all that it needs.

    pictures: a folder for pictures of the network. optimise: one of `kernelrows.OPTIMISE`.
    multiplier: the C may need a core that has one. name: what the network's functions and macros
    begin with; other than the default, its header is NAME_model.h, and BitNetMCU_model.h stands for
    it. draw_plan: also write a picture of the memory plan. every: of a sequence, the new readings
    that a run takes, None for all of a window; keep: one of `sliding.KEEPS`, or "auto". Returns the
    report (the content of export.json). Raises `UserError` before anything is written.
    """
    check_name(name)
    build = Path(build)
    trained = checkpoint.load(path)
    graph = lowering.lower(trained.network, trained.reads, trained.name)
    samples = checkpoint.samples_of(trained)
    dataset = checkpoint.load_data(trained) if pictures or trained.confidence is None else None
    if trained.confidence is None:  # a file of an older version
        known = dataset.inputs(dataset.train_images, trained.pixels).numpy()
        logits = operators.run(graph, known)
        sure = confidence.measure(logits, dataset.train_labels.numpy(), "training")
        trained = replace(trained, confidence=sure)
    inputs, labels = samples.inputs.numpy(), samples.labels.numpy()

    def compile_graph(graph):
        return pipeline.compile_network(graph, optimise, multiplier, trained.sha256)

    stream, costs = None, {}
    if every is None:
        compiled = compile_graph(graph)
    else:
        stream, compiled, costs = streams(graph, trained, every, keep, compile_graph)
    emitted = emission.emit(compiled, trained, name, stream)
    report = {"name": trained.name, "checkpoint": relative(path, build)}
    report |= reports.facts(compiled, emitted) | describe(compiled)
    report |= {"optimise": optimise, "multiplier": multiplier, "bits": emission.bits_of(compiled)}
    report |= describe_stream(graph, stream, costs)
    report["strip_highest"] = emission.strip_highest_of(compiled)
    report["needs_multiplier"] = any(c.kernel.multiplier for c in compiled.choices)
    report |= describe_training(trained, graph) | {"test_images": samples.of_test_samples}

    cli.check_folder(build)
    files = reports.contents(emitted, report, format_report(report), REPORT)
    logits = operators.run(graph, inputs)
    inputs = stream.pieces_of(inputs) if stream else inputs
    files[TEST_DATA_HEADER] = emission.test_data_header(inputs, labels, logits, trained)
    for file, text in files.items():
        cli.write_atomic(build / file, text)
    if draw_plan:
        reports.draw_plan(compiled, build / PLAN)
    if pictures:
        from train import plots  # slow to load, and seldom wanted

        tests = dataset.inputs(dataset.test_images, trained.pixels).numpy()
        for picture in plots.draw(pictures, trained, graph, tests, dataset.test_labels.numpy()):
            print(f"picture={picture}")
    return report


def describe_stream(graph, stream, costs):
    """The report's part on a stream, from its `sliding.Stream` or None, and what ways cost."""
    layers = stream and replace(stream, keep="layers")
    return {
        "stream": stream and asdict(stream),
        "stream_costs": {each: asdict(cost) for each, cost in costs.items()},
        "stream_better": sliding.better(graph, layers) if stream else None,
    }


def describe_training(trained, graph):
    """The report's part on what training found, from a `Checkpoint`."""
    return {
        "class_names": list(trained.class_names),
        "confidence": trained.confidence,
        "empty_input": describe_empty_input(graph, trained.class_names),
        "raw_units_per_value": raw_units(trained),
        "set_bits": [v for k, v in trained.metrics.items() if k.startswith("bits")],
        "accuracy": trained.metrics["test_accuracy"],
        "accuracy_float": trained.metrics["test_accuracy_float"],
    }


def relative(path, folder):
    """`path` as seen from `folder`, where there is a way: the two can then move together."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return str(Path(path).resolve())


def exported_checkpoint(build, network=None):
    """(report, `Checkpoint`) of what was exported to the folder `build`.

    network: the path of the checkpoint; by default the one that export.json names, which has to be
    where it was, as seen from there. Raises `UserError`, also if it was changed since.
    """
    report = read_report(build)
    path = Path(network or report["checkpoint"])
    if not path.is_file():
        raise cli.UserError(
            f"{Path(build) / REPORT} names {path}, which is not there; run exportquant.py again"
        )
    trained = checkpoint.load(path)
    if trained.sha256 != report["sha256"]:
        raise cli.UserError(
            f"{build} was not exported from the present {path}; run exportquant.py again"
        )
    return report, trained


def read_report(build):
    """The content of export.json in the folder `build`; its "checkpoint" as a path from here.

    Raises `UserError`.
    """
    path = Path(build) / REPORT
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"checkpoint": str, "sha256": str, "needs_multiplier": bool, "multiplier": bool}
        whole = all(isinstance(report[key], kind) for key, kind in kinds.items())
        whole &= report["optimise"] in kernelrows.OPTIMISE
        if whole and report["sources"] and all(isinstance(x, str) for x in report["sources"]):
            return report | {"checkpoint": os.path.normpath(Path(build) / report["checkpoint"])}
    except OSError as error:
        raise cli.UserError(f"cannot read {path}: {error.strerror}; run exportquant.py first")
    except (ValueError, KeyError, TypeError):
        pass
    raise cli.UserError(f"{path} is damaged or from another version; run exportquant.py again")


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
        choices=kernelrows.OPTIMISE,
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
    parser.add_argument(
        "--every",
        type=int,
        metavar="N",
        help="for sequences: a run takes N new readings and classifies the window that they end",
    )
    parser.add_argument(
        "--keep",
        choices=("auto", *sliding.KEEPS),
        default="auto",
        help="with --every, from run to run: what layers computed, which saves time, or the input "
        "only; auto takes the first, unless it needs more memory and saves little",
    )
    parser.add_argument("--plots", metavar="DIR", help="also draw weights and mistakes into DIR")
    arguments = parser.parse_args()

    if arguments.every is None and arguments.keep != "auto":
        raise cli.UserError(f"--keep {arguments.keep} is of a stream; name its --every N, too")
    path = arguments.checkpoint or checkpoint.newest(arguments.build)
    print(f"exporting {path}")
    choices = ("optimise", "multiplier", "name", "every", "keep")
    given = {choice: getattr(arguments, choice) for choice in choices}
    report = export(path, arguments.build, arguments.plots, draw_plan=True, **given)
    print(format_report(report))
    print(
        f"model={report['name']} weight_bytes={report['weight_bytes']} "
        f"buffer_bytes={report['buffer_bytes']} accuracy={report['accuracy']:.2f} "
        f"header={Path(arguments.build) / f'{arguments.name}_model.h'}"
    )


if __name__ == "__main__":
    cli.run(main)
