"""From a PyTorch model to C: train, convert, quantise to int8, compile it, check it.

Trains a small network on 1,347 handwritten digits of 8x8 pixels that scikit-learn brings with it,
less than a minute. litert-torch writes a float .tflite file, ai-edge-quantizer makes it int8.
Nothing else here needs these: pip install litert-torch, which brings both.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import contextlib
import io
import math
import tempfile

import to_c
import torch
from torch import nn

import cli

EXAMPLES = """examples:
  python examples/pytorch_to_c.py build/digits_torch.tflite
"""

BATCH = 64
CALIBRATION = 200  # samples that show the quantiser which values there are


def build():
    """A small convolutional network: [N, 1, 8, 8] from 0 to 1 -> logits [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(24, 32, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),  # so that Flatten has nothing to put into another order
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def channels_first(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def train(images, labels, epochs, seed):
    """The trained network, in eval mode."""
    torch.manual_seed(seed)
    images, labels = channels_first(images), torch.from_numpy(labels)
    network = build()
    optimizer = torch.optim.Adam(network.parameters())
    batches = math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def quantise(network, samples, litert_torch, quantizer, recipe):
    """The bytes of an int8 .tflite file that takes [1, height, width, channels].

    samples: float32 [N, height, width, channels].
    """
    network = litert_torch.to_channel_last_io(network, args=[0])  # else a TRANSPOSE in front
    folder = tempfile.TemporaryDirectory()
    with folder, contextlib.redirect_stdout(io.StringIO()):  # both tell of each of their steps
        path = str(Path(folder.name, "float.tflite"))
        litert_torch.convert(network, (torch.from_numpy(samples[:1]),)).export(path)
        model = quantizer.Quantizer(path, recipe.static_wi8_ai8())
        inputs = [{"args_0": x[None]} for x in samples[:CALIBRATION]]  # as litert_torch names it
        seen = model.calibrate({"serving_default": inputs})
        return bytes(model.quantize(seen).quantized_model)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, help="the .tflite file to write")
    parser.add_argument("--out", type=Path, help="folder for the C (default: build/NAME)")
    parser.add_argument("--epochs", type=int, default=20, help="of training (20)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    tools = [
        to_c.need(module, "litert-torch")
        for module in ("litert_torch", "ai_edge_quantizer.quantizer", "ai_edge_quantizer.recipe")
    ]
    (images, labels), test = to_c.digits()
    network = train(*to_c.shifted(images, labels), arguments.epochs, arguments.seed)
    with torch.no_grad():
        right = network(channels_first(test[0])).argmax(1) == torch.from_numpy(test[1])
    print(f"float: {100 * right.float().mean():.2f} % of {len(right)} images")
    cli.write_atomic(arguments.target, quantise(network, images, *tools))
    print(f"int8: {to_c.accuracy(arguments.target, *test):.2f} %")
    print(f"file={arguments.target} bytes={arguments.target.stat().st_size}")
    to_c.compile_and_check(arguments.target, arguments.out or Path("build", arguments.target.stem))


if __name__ == "__main__":
    cli.run(main)
