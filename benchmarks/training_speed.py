"""Training speed: the tensor pipeline against a per-sample torchvision/PIL pipeline, in one run.

Both train the same network with the same augmentation on the same images: the network of windows,
then the fully connected one. The per-sample pipeline is the usual one: PIL images, RandomAffine and
Resize in a DataLoader with one worker per core. They take turns for several rounds; the figures are
the medians. Writes docs/bench-training.csv; with other settings, key=value as training.py takes
them, it trains one network and only prints.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import os
import statistics
import time

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import cli
from train import config, data, epochs, loaders, models, optimizers

EXAMPLES = """examples:
  python benchmarks/training_speed.py
  python benchmarks/training_speed.py --samples 60000 --rounds 1
  python benchmarks/training_speed.py batch_size=256
"""


class PerSample(Dataset):
    """The images as PIL images, augmented and resized one at a time."""

    def __init__(self, images, labels, settings):
        self.images, self.labels, self.pixels = images, labels, data.Pixels.of(settings)
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomAffine(
                    settings.rotation,
                    (settings.shift,) * 2,
                    (1 - settings.scale, 1 + settings.scale),
                    settings.shear,
                    transforms.InterpolationMode.BILINEAR,
                ),
                transforms.Resize((settings.image_size,) * 2),
                transforms.PILToTensor(),
            ]
        )

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.pixels.levels(self.transform(self.images[index])), self.labels[index]


COMPARED = ("WindowMNIST", "FCMNIST")


def make_network(settings, dataset):
    torch.manual_seed(settings.seed)
    network = models.build(settings, settings.image_size**2, dataset.classes)
    return network, optimizers.build(settings, network)


def tensor_epoch(dataset, settings, samples):
    """Seconds for one epoch of `samples` augmented images through training.py's functions."""
    network, chosen = make_network(settings, dataset)
    images, labels = dataset.train_images[:samples], dataset.train_labels[:samples]
    generator = torch.Generator().manual_seed(0)
    nothing = torch.empty(0, settings.image_size**2, dtype=torch.int8)
    start = time.perf_counter()
    inputs, _ = data.epoch_samples(images, nothing, labels, settings, generator)
    epochs.train_epoch(network, chosen, (inputs, labels), settings, generator, epoch=1)
    return time.perf_counter() - start


def pil_epoch(dataset, settings, samples):
    """Seconds for one epoch of `samples` augmented images fed by the per-sample pipeline."""
    network, chosen = make_network(settings, dataset)
    images = PerSample(dataset.train_images[:samples], dataset.train_labels[:samples], settings)
    loader = DataLoader(
        images,
        settings.batch_size,
        shuffle=True,
        num_workers=os.cpu_count(),
        persistent_workers=True,
    )
    start = time.perf_counter()
    network.train()
    for inputs, labels in loader:
        loss = torch.nn.functional.cross_entropy(network(inputs.flatten(1).float()), labels)
        network.zero_grad()
        loss.backward()
        for optimizer in chosen:
            optimizer.step()
    return time.perf_counter() - start


PIPELINES = {"tensors": tensor_epoch, "per-sample PIL": pil_epoch}


def measure(settings, most, rounds):
    """The rows of one network, for epochs of at most so many samples."""
    dataset = loaders.load(settings)
    samples = min(most, len(dataset.train_labels))
    seconds = {name: [] for name in PIPELINES}
    for _ in cli.progress(range(rounds), unit="round"):
        for name, epoch in PIPELINES.items():
            seconds[name].append(epoch(dataset, settings, samples))
    rates = {name: samples / statistics.median(times) for name, times in seconds.items()}
    return [
        {
            "network": settings.model,
            "pipeline": name,
            "samples": samples,
            "samples_per_second": round(rate),
            "faster_by": f"{rate / min(rates.values()):.1f}",
        }
        for name, rate in rates.items()
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("changes", nargs="*", metavar="key=value")
    parser.add_argument("--samples", type=int, default=20_000, help="images in an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.samples < 1 or arguments.rounds < 1:
        raise cli.UserError("--samples and --rounds take 1 or more")

    rows = []
    for changes in [arguments.changes] if arguments.changes else [[f"model={m}"] for m in COMPARED]:
        settings = config.load(overrides=["augmented_copies=1", *changes])
        rows += measure(settings, arguments.samples, arguments.rounds)
    if not arguments.changes:
        docs = Path(__file__).resolve().parent.parent / "docs"
        cli.write_atomic(docs / "bench-training.csv", cli.csv_text(rows))
    for row in rows:
        print(
            f"{row['network']:12} {row['pipeline']:15} {row['samples_per_second']:8} samples per "
            f"second {row['faster_by']:5} times"
        )
    print(f"cores={os.cpu_count()} rounds={arguments.rounds}")


if __name__ == "__main__":
    cli.run(main)
