"""Quantisation-aware training for networks that run as integers on small microcontrollers.

The integer contract
    In eval mode every module here computes, on integer-valued float tensors, exactly what the
    exported C computes: `BitLinear` sums integer activations times integer weights,
    `ShiftNormReLU` brings the sums back to 0..127 with one shift per sample. In training mode the
    same modules let gradients through their rounding steps (the straight-through estimator,
    Bengio et al., arXiv 1308.3432).

Why there is only one normalisation
    Without biases, ReLU networks are positively homogeneous: scaling a hidden activation vector
    scales the logits and nothing else. Any per-sample scale is therefore removed by the one
    normalisation in front of the last layer, in the forward and in the backward pass, and hidden
    layers work on integers from end to end.

Shapes: B = batch, I = in_features, O = out_features.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from cli import UserError

ACTIVATION_MAX = 127  # int8 activations; ReLU leaves the negative half unused

FLOAT = "None"  # QuantType of a network that is trained in floating point and never exported


@dataclass(frozen=True)
class Format:
    """One number format for weights: one row of the table that every stage reads.

    levels: the integers a weight can be, in code order (a weight is stored as its index).
    clip: the integer that the clip value `maxw` stands for, the outer edge of the last cell.
    clip_bits: bits of the uniform quantiser for which OCTAV chooses `maxw`; those of the format,
        but for FP130 the 8 binary orders of magnitude that it spans.
    centred: the mean of the weights is subtracted before they are rounded.
    """

    name: str
    bits: int
    levels: tuple
    clip: float
    clip_bits: int
    centred: bool = False

    @cached_property
    def sorted_levels(self):
        return torch.tensor(sorted(self.levels), dtype=torch.float32)

    @cached_property
    def spacing(self):
        """The distance between neighbouring levels; 0 if it varies."""
        steps = self.sorted_levels.diff()
        return steps[0].item() if (steps == steps[0]).all() else 0

    @cached_property
    def thresholds(self):
        return (self.sorted_levels[1:] + self.sorted_levels[:-1]) / 2

    def quantise(self, weights, maxw):
        """Round float `weights`, any shape, to the nearest level; ties go to the larger one.

        maxw: clip value > 0, in units of the weights. Returns integer-valued float32, same shape.
        """
        if self.centred:  # the mean in float64, so that no sign depends on the order of a sum
            weights = weights - weights.double().mean().to(weights.dtype)
        scaled = weights / self.scale(maxw)
        if not self.spacing:
            index = torch.bucketize(scaled, self.thresholds.to(weights.device), right=True)
            return self.sorted_levels.to(weights.device)[index]
        # The same for evenly spaced levels, five times as fast and as exact.
        scaled = scaled / self.spacing
        below = scaled.floor()
        offset = 0.5 if self.levels[0] / self.spacing % 1 else (scaled - below >= 0.5).float()
        return ((below + offset) * self.spacing).clamp(min(self.levels), max(self.levels))

    def scale(self, maxw):
        """The float weight that one integer unit stands for."""
        return maxw / self.clip


def _odd(count):
    """`count` levels ..., -3, -1, 1, 3, ...: the half-integer levels of a format, doubled."""
    return tuple(range(1 - count, count, 2))


_POWERS = tuple(sign * 2**exponent for sign in (1, -1) for exponent in range(8))

FORMATS = {
    row.name: row
    for row in (
        Format("Binary", 1, _odd(2), clip=2, clip_bits=1, centred=True),  # sign(w - mean)
        Format("2bitsym", 2, _odd(4), clip=4, clip_bits=2),  # +-0.5, +-1.5, doubled
        Format("4bitsym", 4, _odd(16), clip=16, clip_bits=4),  # +-0.5 .. +-7.5, doubled
        Format("FP130", 4, _POWERS, clip=192, clip_bits=8),  # +-2^0 .. +-2^7
        Format("8bit", 8, tuple(range(-128, 128)), clip=128, clip_bits=8),
    )
}

WEIGHT_SCALES = ("PerTensor",)


def octav(weights, bits, iterations=100):
    """The clip value with the least mean squared error for a uniform quantiser of `bits` bits.

    Newton's iteration of Sakr et al., "Optimal clipping and magnitude-aware differentiation for
    improved quantization-aware training", 2022 (arXiv 2206.06501). weights: any shape, not all
    zero. Returns a float, in units of the weights.
    """
    magnitude = weights.detach().double().abs().flatten()
    clip = magnitude.mean()
    for _ in range(iterations):
        outside = magnitude > clip
        inside = (magnitude > 0) & ~outside
        updated = magnitude[outside].sum() / (4.0**-bits / 3 * inside.sum() + outside.sum())
        converged = torch.isclose(updated, clip, rtol=1e-7, atol=0)
        clip = updated
        if converged:
            break
    return clip.item()


CLIPPING = {  # maxw_algo: (weights, bits, maxw_quantscale) -> clip value
    "octav": lambda weights, bits, _: octav(weights, bits),
    "prop": lambda weights, _, quantscale: quantscale * weights.detach().abs().mean().item(),
}

NORMS = {  # NormType: activations [B, I] -> their magnitude [B, 1], never 0
    "RMS": lambda x: x.square().mean(-1, keepdim=True).add(1e-12).sqrt(),
    "Lin": lambda x: x.abs().mean(-1, keepdim=True).add(1e-6),
}

ACTIVATIONS = {  # name: module; ReLU is the one the integer contract knows
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
}


class StraightThrough(torch.autograd.Function):
    """Forward: `target`, exactly. Backward: as if it had been `value`."""

    @staticmethod
    def forward(ctx, value, target):
        return target.view_as(target)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def entropy(values):
    """Shannon entropy in bits per element of a tensor of discrete values, any shape."""
    counts = torch.unique(values, return_counts=True)[1].double()
    return torch.special.entr(counts / counts.sum()).sum().item() / math.log(2)


class BitLinear(nn.Linear):
    """A fully connected layer without bias: integer activations [B, I] -> accumulators [B, O].

    The float `weight` [O, I] is what training changes; `integer_weights()` is what it computes
    with. `maxw` (a buffer) is the clip value, set by `update_clipping`.
    """

    def __init__(
        self, in_features, out_features, QuantType, maxw_algo="octav", maxw_quantscale=3.2
    ):
        super().__init__(in_features, out_features, bias=False)
        if QuantType not in (*FORMATS, FLOAT):
            raise UserError(
                f"QuantType '{QuantType}' is not known; "
                f"choose one of: {', '.join(FORMATS)}, {FLOAT}"
            )
        self.format = FORMATS.get(QuantType)  # None: floating point
        self.maxw_algo = maxw_algo
        self.maxw_quantscale = maxw_quantscale
        self.register_buffer("maxw", torch.tensor(1.0))
        self.update_clipping()

    def update_clipping(self):
        """Set `maxw` from the present weights."""
        if self.format:
            clip = CLIPPING[self.maxw_algo](
                self.weight, self.format.clip_bits, self.maxw_quantscale
            )
            self.maxw.fill_(clip)

    @property
    def scale(self):
        """The float weight that one integer unit stands for; 1 in a floating point layer."""
        return self.format.scale(self.maxw) if self.format else torch.ones_like(self.maxw)

    def integer_weights(self):
        """The weights [O, I] that the C has, as integer-valued float32."""
        return self.format.quantise(self.weight.detach(), self.maxw)

    def forward(self, x):
        if not self.format:
            return F.linear(x, self.weight)
        integers = self.integer_weights()
        if self.training:
            return F.linear(x, StraightThrough.apply(self.weight / self.scale, integers))
        # float32 holds integers exactly up to 2^24; one bit is left for ShiftNorm's rounding.
        exact = torch.float32 if 128 * integers.abs().sum(1).max() < 2**23 else torch.float64
        return F.linear(x.to(exact), integers.to(exact))

    def extra_repr(self):
        return f"{super().extra_repr()}, QuantType={self.format.name if self.format else FLOAT}"


_POWERS_OF_HALF = torch.tensor([0.5**shift for shift in range(32)])  # exact, unlike pow()


def shiftnorm_shift(accumulators):
    """The contract's shift of each sample: max(0, bit_length(max(0, largest)) - 7).

    accumulators: integer-valued [B, O]. Returns int64 [B, 1].
    """
    largest = accumulators.amax(-1, keepdim=True).clamp(min=0)
    return (torch.frexp(largest).exponent.long() - 7).clamp(min=0)  # of an integer: its bit length


class ShiftNormReLU(nn.Module):
    """Accumulators [B, O] -> activations 0..127 [B, O]: ReLU and one scale per sample.

    Eval mode is the contract: with s from `shiftnorm_shift`,
    out = min(127, (a + ((1 << s) >> 1)) >> s) for a > 0, else 0. Training mode does the same when
    `aware`; otherwise it scales each sample's largest value to 127, as a float quantiser would.
    """

    def __init__(self, aware):
        super().__init__()
        self.aware = aware

    def forward(self, accumulators):
        positive = F.relu(accumulators)
        if self.training and not self.aware:
            largest = positive.amax(-1, keepdim=True).detach()
            scaled = positive * (ACTIVATION_MAX / largest.clamp(min=1))
        else:
            halves = _POWERS_OF_HALF.to(accumulators.device)
            scaled = positive * halves[shiftnorm_shift(accumulators.detach())]
        integers = (scaled.detach() + 0.5).floor().clamp(max=ACTIVATION_MAX)
        return StraightThrough.apply(scaled, integers) if self.training else integers.float()

    def extra_repr(self):
        return f"aware={self.aware}"


class Network(nn.Module):
    """A chain of layers that ends in a `BitLinear`.

    Takes int8 inputs as a float tensor [B, I]. In training mode it returns float logits [B, O] for
    the loss: the last layer's input is normalised and its weights are in their float scale. In
    eval mode it returns the last layer's accumulators, the integers of the C.
    """

    def __init__(self, layers, NormType):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.norm = NORMS[NormType]

    def forward(self, x):
        x = self.layers[:-1](x)
        last = self.layers[-1]
        if self.training or not last.format:
            return last(x / self.norm(x)) * last.scale
        return last(x)

    def outputs(self, x):
        """Yields (layer, its output) for inputs [B, I]; in eval mode these are the contract's."""
        for layer in self.layers:
            x = layer(x)
            yield layer, x

    def bit_layers(self):
        """The layers with weights, first to last."""
        return [layer for layer in self.layers if isinstance(layer, BitLinear)]

    def update_clipping(self):
        for layer in self.bit_layers():
            layer.update_clipping()


class FCMNIST(Network):
    """A fully connected network with two or three hidden layers, `widths` wide."""

    def __init__(self, inputs, classes, config):
        sizes = [inputs, *config["widths"], classes]
        layers = []
        for size_in, size_out in zip(sizes, sizes[1:]):
            if layers:
                layers.append(activation(config))
            layers.append(
                BitLinear(
                    size_in,
                    size_out,
                    config["QuantType"],
                    config["maxw_algo"],
                    config["maxw_quantscale"],
                )
            )
        super().__init__(layers, config["NormType"])


def activation(config):
    """The module between two layers: a float activation by name, or the contract's."""
    if config["QuantType"] == FLOAT:
        return ACTIVATIONS[config["activation"]]()
    if config["activation"] != "ReLU":
        raise UserError(
            f"activation '{config['activation']}' is not part of the integer contract; "
            f"use activation=ReLU, or train a float network with QuantType={FLOAT}"
        )
    return ShiftNormReLU(aware=config["shiftnorm_aware"])


MODELS = {"FCMNIST": FCMNIST}


def build_model(config, inputs, classes):
    """The network that `config` (see config.py) names, for `inputs` values and `classes` classes.

    `config["model"]` is a class of MODELS or a user's own as file.py:Class. Raises `UserError` for
    a class that is not known and for a combination that cannot be built.
    """
    name = config["model"]
    if name in MODELS:
        return MODELS[name](inputs, classes, config)
    if ".py:" in name:
        import usermodel  # it builds on this module

        return usermodel.build(name, inputs, classes, config)
    raise UserError(
        f"model '{name}' is not known; choose one of: {', '.join(MODELS)}, or file.py:Class"
    )
