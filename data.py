"""Data sets as tensors, the fixed resize to the network's input, and batched augmentation.

Shapes: N = images, H, W = height and width of the source images, S = image_size of the network.
"""

import contextlib
import io
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from cli import UserError


@dataclass(frozen=True)
class Dataset:
    """Images uint8 [N, H, W] and labels int64 [N] of both splits, and the number of classes."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    classes: int

    def hold_out(self, samples, seed):
        """(training part, validation part): the test split is `samples` random training images."""
        count = len(self.train_labels)
        if samples >= count:
            raise UserError(
                f"validation_samples={samples} leaves nothing to train on; "
                f"the training set has {count} images, so use 0 to {count - 1}"
            )
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        held, kept = order[:samples], order[samples:]
        training = replace(
            self, train_images=self.train_images[kept], train_labels=self.train_labels[kept]
        )
        validation = replace(
            training, test_images=self.train_images[held], test_labels=self.train_labels[held]
        )
        return training, validation


def data_folder():
    """Where downloaded data sets lie: $BITNETMCU_DATA, else `datasets`."""
    return Path(os.environ.get("BITNETMCU_DATA") or "datasets")


def _torchvision(name):
    """The data set class `name` of torchvision, downloaded when its files are missing."""
    from torchvision import datasets  # not needed, and not loaded, for the embedded data

    folder = data_folder()
    raw = folder / name / "raw"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            present = getattr(datasets, name)(folder, train=True, download=False)
    except RuntimeError:  # "Dataset not found"
        present = None
        print(f"downloading {name} to {raw}", flush=True)
    try:
        train = present or getattr(datasets, name)(folder, train=True, download=True)
        test = getattr(datasets, name)(folder, train=False)
        return Dataset(train.data, train.targets, test.data, test.targets, len(train.classes))
    except Exception as error:  # whatever the network, the file system or the files bring up
        resources = [Path(url).stem for url, _ in getattr(datasets, name).resources]
        missing = [file for file in resources if not (raw / file).is_file()]
        problem = (
            f"these files are missing: {', '.join(missing)}" if missing else "a file is broken"
        )
        raise UserError(
            f"{name} could not be loaded ({' '.join(str(error).split())}): {problem}; put them, "
            f"unpacked, into {raw} (or set BITNETMCU_DATA to the folder that holds {name}/raw), "
            "or work offline on the embedded data with dataset=Digits"
        )


def _digits():
    """1,797 handwritten 8x8 digits from scikit-learn (UCI Optical Recognition, test part).

    The last 450 images are the test set. The file's order, which follows the writers, is kept: a
    shuffled split would put the same hands into both parts.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return Dataset(images[:-450], labels[:-450], images[-450:], labels[-450:], 10)


DATASETS = {
    "MNIST": lambda: _torchvision("MNIST"),
    "Digits": _digits,
}


def load(config):
    """The data set that `config["dataset"]` names. Raises `UserError` if it cannot be had."""
    return DATASETS[config["dataset"]]()


def resize_matrix(size_in, size_out):
    """The antialiased bilinear resize of one axis, float64 [size_out, size_in].

    A triangle filter as wide as the larger pixel, the same map as torchvision's resize with
    `antialias=True`. Its entries are multiples of 2^-22 that add up to 1 in each row: applied to
    both axes of 8-bit images, every product and sum is exact in float64 (8 + 22 + 22 bits), so
    the result depends neither on the machine nor on the order of the sums.
    """
    ratio = size_in / size_out
    reach = max(ratio, 1.0)
    centre = (np.arange(size_out)[:, None] + 0.5) * ratio
    distance = np.abs(np.arange(size_in)[None, :] + 0.5 - centre) / reach
    weights = np.clip(1 - distance, 0, None)
    units = np.round(weights / weights.sum(1, keepdims=True) * 2**22)
    rows = np.arange(size_out)
    units[rows, units.argmax(1)] += 2**22 - units.sum(1)
    return torch.from_numpy(units / 2**22)


def resize(images, size):
    """uint8 or float images [N, H, W] -> uint8 [N, size, size], rounded half up."""
    rows = resize_matrix(images.shape[1], size).to(images.device)
    columns = resize_matrix(images.shape[2], size).to(images.device)
    return (rows @ images.double() @ columns.T + 0.5).floor().to(torch.uint8)


def to_inputs(images, size):
    """uint8 or float images [N, H, W] -> network inputs, int8 [N, S*S], 0..127 (pixel >> 1)."""
    return (resize(images, size) >> 1).to(torch.int8).flatten(1)


def augment(images, config, generator):
    """Each image randomly rotated, shifted, scaled and sheared about its centre.

    images: uint8 [N, H, W]; generator: a torch.Generator on their device. Returns float32
    [N, H, W] in 0..255; what moves in from outside is 0.
    """

    def uniform(limit):
        return (torch.rand(len(images), device=images.device, generator=generator) * 2 - 1) * limit

    angle, shear = (uniform(math.radians(config[key])) for key in ("rotation", "shear"))
    size = 1 + uniform(config["scale"])
    # Output to input coordinates, which run from -1 to 1: the inverse of the visible distortion.
    cosine, sine, slant = angle.cos() / size, angle.sin() / size, shear.tan()
    matrix = torch.stack(
        [
            torch.stack([cosine, slant * cosine - sine, 2 * uniform(config["shift"])], dim=1),
            torch.stack([sine, slant * sine + cosine, 2 * uniform(config["shift"])], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(matrix, (len(images), 1, *images.shape[1:]), align_corners=False)
    return F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]


def epoch_samples(images, inputs, labels, config, generator, chunk=4096):
    """What one epoch trains on: every image as it is, and its augmented copies.

    images: uint8 [N, H, W]; inputs: int8 [N, S*S], the same resized; labels: int64 [N].
    Returns (inputs int8 [N * (1 + copies), S*S], labels), not shuffled.
    """
    copies = config["augmented_copies"]
    augmented = [
        to_inputs(augment(part, config, generator), config["image_size"])
        for _ in range(copies)
        for part in images.split(chunk)
    ]
    return torch.cat([inputs, *augmented]), labels.repeat(1 + copies)
