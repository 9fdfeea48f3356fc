"""Data sets as tensors, the map from images to the network's int8 inputs, batched augmentation.

Shapes: N = samples, H, W = height and width of the source images, S = image_size of the network,
I = inputs of the network.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from cli import UserError
from compiler.graph import INT8, Range
from lowbit import inputmap
from train.settings import Settings

CHUNK = 512  # images at a time: their intermediate results fit into a cache


@dataclass(frozen=True)
class Dataset:
    """Samples and labels (int64 [N]) of both splits, and the names of the classes.

    Samples are images, uint8 [N, H, W], or measured values, float64 [N, ..., C], where there are
    `channel_names`. An `input_map` brings those to int8 (`fitted` finds one). validation: samples
    and labels that the data set itself holds out, if it does.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    class_names: tuple
    channel_names: tuple = ()
    input_map: "inputmap.InputMap | inputmap.Affine | None" = None
    validation: tuple | None = None

    @property
    def classes(self):
        return len(self.class_names)

    @property
    def measured(self):
        """Whether samples are measured values, not images."""
        return bool(self.channel_names)

    def describe(self):
        """A line on the samples: how many, of which classes, and what was measured."""
        held = f", {len(self.validation[1])} to validate" if self.validation else ""
        text = (
            f"data: {len(self.train_labels)} samples to train{held}, {len(self.test_labels)} to "
            f"test; {self.classes} classes: {_some(self.class_names)}"
        )
        untested = sorted(set(range(self.classes)) - set(self.test_labels.tolist()))
        if untested:
            text += f"; not tested: {_some([self.class_names[index] for index in untested])}"
        if self.measured:
            text += f"; {len(self.channel_names)} columns: {_some(self.channel_names)}"
        return text

    def fitted(self, units):
        """(this data set with the map of its training split, warnings); images need none.

        units: `raw_units_per_value`, see `inputmap.fit`.
        """
        if not self.measured:
            return self, []
        fitted, warnings = inputmap.fit(self.train_images, self.channel_names, units)
        return replace(self, input_map=fitted), warnings

    def input_count(self, pixels):
        """The number of network inputs that a sample gives; images become `Pixels`."""
        return math.prod(self.test_images.shape[1:]) if self.measured else pixels.size**2

    def inputs(self, samples, pixels):
        """`samples` of this data set as network inputs, int8 [N, I]; images become `Pixels`."""
        return self.input_map(samples) if self.measured else pixels(samples)

    def hold_out(self, samples, seed):
        """(training part, validation samples and labels).

        They are those that the data set holds out itself, or `samples` random ones of its training
        split; None if neither.
        """
        if self.validation:
            if samples:
                raise UserError(
                    f"validation_samples={samples}, but the data set names "
                    f"{len(self.validation[1])} validation samples itself; use validation_samples=0"
                )
            return self, self.validation
        if not samples:
            return self, None
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
        return training, (self.train_images[held], self.train_labels[held])


def _some(names, most=10):
    """`names` as text, the first of them if they are many."""
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])


def numbered(name, count):
    """Names for `count` things that have none: "name 0", "name 1", ..."""
    return tuple(f"{name} {index}".strip() for index in range(count))


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
    """uint8 or float32 images [N, H, W] -> uint8 [N, size, size], rounded half up.

    8-bit images are computed exactly, in float64; augmented ones need no more than float32.
    """
    images = images if images.is_floating_point() else images.double()
    rows = resize_matrix(images.shape[1], size).to(images)
    columns = resize_matrix(images.shape[2], size).to(images)
    return (rows @ images @ columns.T + 0.5).floor().to(torch.uint8)


PIXEL_BITS = 7  # of an input by default: pixel >> 1
ROUNDINGS = {  # input_rounding: (pixels int32 0..255, how many bits are dropped) -> levels
    "floor": lambda pixels, dropped: pixels >> dropped,
    "nearest": lambda pixels, dropped: (pixels + ((1 << dropped) >> 1)) >> dropped,
}


@dataclass(frozen=True)
class Pixels:
    """How an image becomes network inputs: its size S, and the bits of a pixel that are kept."""

    size: int
    bits: int = PIXEL_BITS
    rounding: str = "floor"

    @classmethod
    def of(cls, settings: Settings):
        return cls(settings.image_size, settings.input_bits, settings.input_rounding)

    @property
    def range(self):
        """The `Range` of an input: from 0, but with all 8 bits that of an int8."""
        if self.bits == 8:
            return INT8
        return Range(0, self.levels(torch.tensor([255])).item())

    @property
    def formula(self):
        """What an input is of a pixel 0..255, as C."""
        if self.bits == 8:
            return "a pixel - 128"
        dropped = 8 - self.bits
        if self.rounding == "floor":
            return f"a pixel >> {dropped}"
        most = f", {INT8.highest} at most" * (self.bits == 7)
        return f"(a pixel + {1 << dropped >> 1}) >> {dropped}{most}"

    def levels(self, pixels):
        """uint8 or int32 pixels 0..255, any shape, as inputs, int8; 128 does not fit and is 127."""
        if self.bits == 8:
            return (pixels.to(torch.int32) + INT8.lowest).to(torch.int8)
        rounded = ROUNDINGS[self.rounding](pixels.to(torch.int32), 8 - self.bits)
        return rounded.clamp(max=INT8.highest).to(torch.int8)

    def __call__(self, images):
        """uint8 or float images [N, H, W] -> network inputs, int8 [N, S*S]."""
        parts = [self.levels(resize(part, self.size)).flatten(1) for part in images.split(CHUNK)]
        return torch.cat(parts)


def augment(images, settings: Settings, generator):
    """Each image randomly rotated, shifted, scaled and sheared about its centre, and warped.

    images: uint8 [N, H, W]; generator: a torch.Generator on their device. Returns float32
    [N, H, W] in 0..255; what moves in from outside is 0.
    """

    def uniform(limit):
        return (torch.rand(len(images), device=images.device, generator=generator) * 2 - 1) * limit

    count, height, width = images.shape
    angle, shear = (uniform(math.radians(most)) for most in (settings.rotation, settings.shear))
    size = 1 + uniform(settings.scale)
    move_x, move_y = (2 * uniform(settings.shift) for _ in range(2))
    # Where each pixel comes from, the inverse of the visible distortion; coordinates run from -1
    # to 1. A sum of a row and a column per image: half the work of affine_grid's matrix products.
    cosine, sine, slant = angle.cos() / size, angle.sin() / size, shear.tan()
    x = (2 * torch.arange(width, device=images.device) + 1) / width - 1
    y = (2 * torch.arange(height, device=images.device)[:, None] + 1) / height - 1

    def plane(along_x, along_y, move):
        return along_x[:, None, None] * x + (along_y[:, None, None] * y + move[:, None, None])

    grid = torch.stack(
        [
            plane(cosine, slant * cosine - sine, move_x),
            plane(sine, slant * sine + cosine, move_y),
        ],
        dim=-1,
    )
    if settings.elastic_strength:
        grid = grid + elastic_field(
            images, settings.elastic_strength, settings.elastic_smoothness, generator
        )
    return F.grid_sample(images[:, None].float(), grid, align_corners=False)[:, 0]


def elastic_field(images, strength, smoothness, generator):
    """Random smooth displacements for `images` [N, H, W], as grid offsets [N, H, W, 2].

    Uniform noise for each pixel, blurred by a Gaussian (Simard, Steinkraus and Platt, "Best
    practices for convolutional neural networks applied to visual document analysis", ICDAR 2003).
    smoothness: the Gaussian's standard deviation; strength: the root mean square displacement;
    both in pixels.
    """
    count, height, width = images.shape
    noise = torch.rand(2 * count, height, width, device=images.device, generator=generator) * 2 - 1
    blurred = _blur_matrix(height, smoothness).to(images.device) @ noise
    blurred = blurred @ _blur_matrix(width, smoothness).to(images.device).T
    blurred = blurred.view(count, 2, height, width).permute(0, 2, 3, 1)
    pixels = blurred * (strength / blurred.square().mean().sqrt())
    return pixels * torch.tensor([2 / width, 2 / height], device=images.device)


def _blur_matrix(size, sigma):
    """A Gaussian blur of one axis, float32 [size, size]; outside there is nothing."""
    distance = torch.arange(size)[:, None] - torch.arange(size)[None, :]
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum(1).max()


def epoch_samples(images, inputs, labels, settings: Settings, generator):
    """What one epoch trains on: every sample as it is, and its augmented copies.

    images: the samples as loaded (only images can be augmented), [N, ...]; inputs: int8 [N, I],
    the same as network inputs; labels: int64 [N].
    Returns (inputs int8 [N * (1 + copies), I], labels), not shuffled.
    """
    copies, pixels = settings.augmented_copies, Pixels.of(settings)
    augmented = [
        pixels(augment(part, settings, generator))
        for _ in range(copies)
        for part in images.split(CHUNK)
    ]
    return torch.cat([inputs, *augmented]), labels.repeat(1 + copies)
