"""Images per second on this computer, one core: the exported C against PyTorch in float32.

Compiles the committed 12 kB network with the kernels for computers and with the portable ones, and
runs all test images. PyTorch runs a float32 network of the same shape at batch sizes 1 and 1,024,
in the same process. Writes docs/bench-host.csv. What counts are the ratios.
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
from train import checkpoint, config

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


def pytorch_rate(sizes, inputs, batch):
    """Images per second of a float32 network with layers of `sizes`, `batch` images at a time."""
    layers = [torch.nn.Linear(*pair, bias=False) for pair in zip(sizes, sizes[1:])]
    modules = [module for layer in layers for module in (layer, torch.nn.ReLU())]
    network = torch.nn.Sequential(*modules[:-1])
    part = inputs[: 2_000 if batch == 1 else len(inputs)].float()
    with torch.inference_mode():
        return rate(lambda: [network(x) for x in part.split(batch)], len(part))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench-host.csv")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = checkpoint.MODELDATA / f"{config.run_name(config.load(overrides=['model=FCMNIST']))}.pth"
    trained = checkpoint.load(path)
    inputs, _ = checkpoint.test_data(trained)
    layers = trained.network.bit_layers()
    sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]

    rates = {"C, for computers": c_rate(path, "host", inputs.numpy())}
    rates["C, plain"] = c_rate(path, "size", inputs.numpy())
    for batch in (1, 1024):
        rates[f"PyTorch float32, batch {batch}"] = pytorch_rate(sizes, inputs, batch)
    ours = rates["C, for computers"]
    rows = [
        {"executor": name, "images_per_second": round(r), "ours_is_faster_by": f"{ours / r:.2f}"}
        for name, r in rates.items()
    ]
    cli.write_atomic(arguments.out, cli.csv_text(rows))
    print(
        "| executor | images per second, one core | C for computers is faster by |\n|---|---|---|"
    )
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")


if __name__ == "__main__":
    cli.run(main)
