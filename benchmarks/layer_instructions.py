"""Single layers beside CMSIS-NN's kernels for their shapes: instructions and cycles on a Cortex-M4.

CMSIS-NN's figures are executed instructions, measured with the same compiler and counter (GCC 12.2
-O2). Layers of models that others published are those of the model, of the folder that
BITNETMCU_MODELS or --models names; the others are made here, with weights of random values. Writes
docs/bench-layers.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
import tempfile
from dataclasses import dataclass

import estimate_cycles
from tflite_builder import Builder

import cli

ROOT = Path(__file__).resolve().parent.parent

EXAMPLES = """examples:
  BITNETMCU_MODELS=folder python benchmarks/layer_instructions.py
  python benchmarks/layer_instructions.py --models folder --out build/bench-layers.csv
"""


class Small(Builder):
    """Makes models whose weights are about as large as trained ones are."""

    def constant(self, data, *arguments, **options):
        return super().constant(data // 4 if data.dtype == "int8" else data, *arguments, **options)


@dataclass(frozen=True)
class Layer:
    """A layer, and the instructions of CMSIS-NN for its shape.

    model, index: where it is an operator of a published model; shape, build: else its input, and
    (builder, input) -> its output.
    """

    name: str
    cmsis_nn: int
    model: str = ""
    index: int = 0
    shape: tuple = ()
    build: object = None


def depthwise(kernel, padding):
    """`Layer.build` of a depthwise convolution with a kernel (height, width)."""
    options = {"kernel": kernel, "padding": padding, "activation": "RELU", "zero_point": -128}
    return lambda builder, x: builder.convolution(x, x.shape[3], depthwise=True, **options)


LAYERS = (
    Layer("depthwise 10x8, stride 2, 1 to 8 channels", 1_441_480, "tflm_micro_speech", 1),
    Layer(
        "depthwise 5x5, stride 2, 1 to 8 channels",
        10_428_040,
        "silabs_fingerprint_signature_generator",
        0,
    ),
    Layer("depthwise 3x3, stride 2, 1 to 8 channels", 1_840_280, "tflm_person_detect", 0),
    Layer("depthwise 10x1 on 24x1x128", 236_840, "mlc_str_ww_ref", 4),
    Layer("depthwise 15x1 on 15x1x128", 21_280, "mlc_str_ww_ref", 6),
    Layer(
        "depthwise 9x1 on 132x1x96",
        1_376_160,
        shape=(1, 132, 1, 96),
        build=depthwise((9, 1), "VALID"),
    ),
    Layer("depthwise 5x1 on 28x1x128", 253_600, "mlc_str_ww_ref", 2),
    Layer("depthwise 3x1 on 30x1x40", 80_520, "mlc_str_ww_ref", 0),
    Layer(
        "depthwise 9x9 on 24x24x32",
        5_993_880,
        shape=(1, 24, 24, 32),
        build=depthwise((9, 9), "SAME"),
    ),
    Layer(
        "fully connected 3136 to 32",
        189_920,
        shape=(1, 3136),
        build=lambda builder, x: builder.fully_connected(x, 32, "RELU", zero_point=-128),
    ),
    Layer(
        "average pool 2x2, stride 2, on 48x48x24",
        586_360,
        shape=(1, 48, 48, 24),
        build=lambda builder, x: builder.pool("AVERAGE_POOL_2D", x, (2, 2), (2, 2)),
    ),
)


def published(models, name):
    """The file of a published model in the folder `models` or in those in it."""
    found = sorted(Path(models).rglob(f"{name}.tflite")) if models else []
    if not found:
        raise cli.UserError(
            f"no {name}.tflite in {models}; name its folder with --models or BITNETMCU_MODELS"
        )
    return found[0]


def made(layer, folder):
    """The file of a model of the layer alone."""
    builder = Small(1)
    x = builder.value(layer.shape, 0.05, -128)
    file = Path(folder) / "layer.tflite"
    file.write_bytes(builder.model(x, layer.build(builder, x)))
    return file


def row(layer, models, folder, wait_states):
    """Of the table."""
    model = published(models, layer.model) if layer.model else made(layer, folder)
    found = estimate_cycles.estimate(model, wait_states=wait_states, operators=True)
    (operator,) = (each for each in found.operators if each[0].index == layer.index)
    step, kernel, cost, needed = operator
    return {
        "layer": layer.name,
        "model": layer.model,
        "kernel": kernel,
        "instructions": cost.instructions,
        "cycles": cost.cycles,
        f"cycles_{wait_states}_wait_states": cost.cycles + cost.stalls,
        "needed": needed,
        "cmsis_nn_instructions": layer.cmsis_nn,
        "ratio": f"{layer.cmsis_nn / cost.instructions:.2f}",
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, default=os.environ.get("BITNETMCU_MODELS"))
    parser.add_argument("--wait-states", type=int, default=5, help="of one column (default: 5)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "bench-layers.csv")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for layer in cli.progress(LAYERS, unit="layer"):
            rows.append(row(layer, arguments.models, folder, arguments.wait_states))
    cli.write_atomic(arguments.out, cli.csv_text(rows))
    print("| layer | instructions | cycles | CMSIS-NN, instructions | fewer by |")
    print("|---|---|---|---|---|")
    for each in rows:
        print(
            f"| {each['layer']} | {each['instructions']:,} | {each['cycles']:,} "
            f"| {each['cmsis_nn_instructions']:,} | {each['ratio']} times |"
        )
    print(f"csv={arguments.out}")


if __name__ == "__main__":
    cli.run(main)
