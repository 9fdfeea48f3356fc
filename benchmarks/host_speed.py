"""Images per second on this computer, one core: the exported C against PyTorch in float32.

Compiles the committed network of windows and the fully connected one with the kernels for computers
and with the portable ones, and runs all test images. PyTorch runs a float32 network of the same
shape at batch sizes 1 and 1,024, in the same process. Writes docs/bench-host.csv. What counts are
the ratios.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
import time

import torch

import cli
import exportquant
import test_inference
from compiler import operators
from lowbit import fusion, lowering
from qat.layers import BitConv2d, BitLinear
from train import checkpoint, config
from train.models import PRESETS

EXAMPLES = """examples:
  python benchmarks/host_speed.py
"""

ROOT = Path(__file__).resolve().parent.parent
FLAGS = "-O3 -march=native"
REPEATS = 5  # the best counts: all else is the machine's other work


def rate(run, images):
    """Images per second of `run()`, the best of REPEATS."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return images / min(times)


def c_rate(path, optimise, inputs):
    """Images per second of the exported C; it must agree with the integer model on every value."""
    build = ROOT / "build" / f"bench-host-{optimise}"
    exportquant.export(path, build, optimise=optimise)
    os.environ["CFLAGS"] = FLAGS
    library = test_inference.build_library(build, multiplier=True)
    trained = checkpoint.load(path)
    graph = fusion.fuse(lowering.lower(trained.network, trained.reads))
    library = test_inference.Library(library, graph)
    expected = operators.execute(graph, inputs)
    if library.layout.differing(library.run(inputs).values, expected):
        raise cli.UserError(f"the C of --optimise {optimise} differs from the rules")
    return rate(lambda: library.run(inputs), len(inputs))


def float_twin(module):
    """A float32 module of the shape of one of a `BitNetMCU.Network`."""
    if isinstance(module, BitLinear):
        return torch.nn.Linear(module.in_features, module.out_features, bias=False)
    if isinstance(module, BitConv2d):
        channels = module.in_channels, module.out_channels
        geometry = module.kernel_size, module.stride, module.padding
        return torch.nn.Conv2d(*channels, *geometry, bias=False)
    if isinstance(module, (torch.nn.Flatten, torch.nn.Unflatten)):
        return module
    return torch.nn.ReLU()


def pytorch_rate(network, inputs, batch):
    """Images per second of a float32 network of the same shape, `batch` images at a time."""
    network = torch.nn.Sequential(*map(float_twin, network.layers))
    part = inputs[: 2_000 if batch == 1 else len(inputs)].float()
    with torch.inference_mode():
        return rate(lambda: [network(x) for x in part.split(batch)], len(part))


def measure(model):
    """The rows of the committed network of a preset."""
    name = config.run_name(config.load(overrides=[f"model={model}"]))
    path = checkpoint.MODELDATA / f"{name}.pth"
    trained = checkpoint.load(path)
    inputs, _ = checkpoint.test_data(trained)
    rates = {"C, for computers": c_rate(path, "host", inputs.numpy())}
    rates["C, plain"] = c_rate(path, "size", inputs.numpy())
    for batch in (1, 1024):
        rates[f"PyTorch float32, batch {batch}"] = pytorch_rate(trained.network, inputs, batch)
    return [
        {
            "network": model,
            "executor": executor,
            "images_per_second": round(rate),
            "ours_is_faster_by": f"{rates['C, for computers'] / rate:.2f}",
        }
        for executor, rate in rates.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench-host.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for model in cli.progress(PRESETS, unit="network") for row in measure(model)]
    cli.write_atomic(arguments.out, cli.csv_text(rows))
    print(
        "| network | executor | images per second, one core | C for computers is faster by |\n"
        "|---|---|---|---|"
    )
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")


if __name__ == "__main__":
    cli.run(main)
