"""Layers without weights between maps: pools, residuals, and what only changes shapes.

Shapes: B = batch, C = channels, H, W = rows and columns.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from cli import UserError
from qat.layers import pair
from qat.requantisers import FollowedShift


class Flatten(nn.Flatten):
    """Activations [B, C, H, W] -> [B, C * H * W]: no step of the C, only an order of weights."""

    def __init__(self):
        super().__init__()
        self.settings = {}

    def output_shape(self, shape):
        return (torch.Size(shape).numel(),)


class Unflatten(nn.Unflatten):
    """Inputs [B, C * H * W] -> [B, C, H, W]. shape: (C, H, W)."""

    def __init__(self, shape):
        self.settings = {"shape": [int(size) for size in shape]}
        super().__init__(1, self.settings["shape"])

    def output_shape(self, shape):
        size = torch.Size(self.settings["shape"]).numel()
        if list(shape) != [size]:
            raise ValueError(f"takes {size} values")
        return tuple(self.settings["shape"])


class ChannelsLast(nn.Module):
    """Inputs [B, H * W * C], the channels of a position side by side -> [B, C, H, W].

    shape: (H, W, C), or (T, C) of a sequence, which becomes [B, C, 1, T].
    """

    def __init__(self, shape):
        super().__init__()
        self.settings = {"shape": [int(size) for size in shape]}
        if not 2 <= len(shape) <= 3 or min(self.settings["shape"]) < 1:
            raise UserError(
                f"ChannelsLast takes (time, channels) or (rows, columns, channels), not {shape}"
            )

    @property
    def size(self):
        """(rows, columns)"""
        *size, _ = self.settings["shape"]
        return (1, *size)[-2:]

    @property
    def channels(self):
        return self.settings["shape"][-1]

    def forward(self, x):
        return x.view(-1, *self.size, self.channels).movedim(-1, 1)

    def output_shape(self, shape):
        if list(shape) != [math.prod(self.settings["shape"])]:
            raise ValueError(f"takes {math.prod(self.settings['shape'])} values")
        return (self.channels, *self.size)

    def extra_repr(self):
        return str(tuple(self.settings["shape"]))


SHAPING = (Flatten, Unflatten, ChannelsLast)  # they change no value


class _Pool(nn.Module):
    """A map [B, C, H, W] -> [B, C, H', W'], each value one of the windows of a map.

    kernel_size, stride (the kernel's if None): whole numbers, or (rows, columns). The last rows and
    columns that fill no window are left out.
    """

    reads = "any"

    def __init__(self, kernel_size, stride=None):
        super().__init__()
        self.kernel_size = pair(kernel_size)
        self.stride = self.kernel_size if stride is None else pair(stride)
        if min(*self.kernel_size, *self.stride) < 1:
            raise UserError(
                f"kernel_size={self.kernel_size}, stride={self.stride} of a {type(self).__name__} "
                "are not valid; both are 1 or more"
            )
        self.settings = {"kernel_size": list(self.kernel_size), "stride": list(self.stride)}

    def output_shape(self, shape):
        if len(shape) != 3:
            raise ValueError("takes maps")
        sizes = zip(shape[1:], self.kernel_size, self.stride)
        steps = [(size - kernel) // stride for size, kernel, stride in sizes]
        if min(steps) < 0:
            raise ValueError(f"takes maps of at least {'x'.join(map(str, self.kernel_size))}")
        return (shape[0], *(step + 1 for step in steps))

    def extra_repr(self):
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())


class MaxPool2d(_Pool):
    """The largest value of each window: of activations, or of accumulators, which is the same."""

    def forward(self, x):
        return F.max_pool2d(x, self.kernel_size, self.stride)


class SumPool2d(_Pool):
    """The sum of each window: of activations, or of accumulators; accumulators in any case.

    That is an average pool whose division is left to the requantiser behind it.
    """

    writes = "accumulators"

    def forward(self, x):
        size = math.prod(self.kernel_size)
        if self.training or not x.equal(x.round()):
            return F.avg_pool2d(x, self.kernel_size, self.stride) * size
        sums = (F.avg_pool2d(x.double(), self.kernel_size, self.stride) * size).round()
        exact = sums.numel() == 0 or sums.abs().max() < 2**24  # as float32 holds it
        return sums.to(x.dtype) if exact else sums


class Residual(FollowedShift):
    """Layers that end in accumulators, and what they read added to those: [B, C, H, W] both.

    What is read is multiplied by 2^shift, a constant: it is brought to the size of accumulators
    that training sees, as `FixedShiftReLU` brings those to that of activations. A FixedShiftReLU
    belongs behind it.
    """

    reads, writes = "activations", "accumulators"

    def __init__(self, layers, bits=7):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.bits = bits

    @property
    def settings(self):
        return {"layers": described(self.layers), "bits": self.bits}

    def added(self, accumulators, x):
        """accumulators + x * 2^shift, of what the layers give and what they read."""
        shift = self.shift_of(F.relu(accumulators.detach()))
        return accumulators + torch.ldexp(x.to(accumulators.dtype), shift)

    def forward(self, x):
        return self.added(self.layers(x), x)

    def output_shape(self, shape):
        found = shape
        for layer in self.layers:
            found = getattr(layer, "output_shape", tuple)(found)
        if tuple(found) != tuple(shape):
            raise ValueError(
                f"adds maps of {'x'.join(map(str, found))}, as its layers give, to what it reads"
            )
        return tuple(found)

    def folded(self):
        residual = Residual(folded(self.layers), self.bits).train(self.training)
        residual.shift, residual.largest, residual.follows = self.shift, self.largest, self.follows
        return residual


def folded(layers):
    """`layers` with all batch normalisation folded into weights."""
    return [getattr(layer, "folded", lambda layer=layer: layer)() for layer in layers]


POOLS = (MaxPool2d, SumPool2d)


def described(layers):
    """Layers as plain data, which `BitNetMCU.from_architecture` takes."""
    return [{"kind": type(layer).__name__, **getattr(layer, "settings", {})} for layer in layers]
