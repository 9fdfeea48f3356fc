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

Why the first layer may have a bias
    The same property makes such a network blind to the level and the amplitude of its inputs. A
    bias of the first layer, whose inputs have a fixed scale, gives it eyes for both and leaves all
    that follows homogeneous. Behind ShiftNorm, whose scale changes with the sample, a bias says
    less.

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

BIAS_INPUT = ACTIVATION_MAX  # a bias is the weight of an input that always has this value

FLOAT = "None"  # QuantType of a network that is trained in floating point and never exported


@dataclass(frozen=True)
class Format:
    """One number format for weights: one row of the table that every stage reads.

    levels: the integers a weight can be, in code order (a weight is stored as its index).
    per_word: codes in a 32-bit word of the C.
    clip: the integer that the clip value `maxw` stands for, the outer edge of the last cell; for
        NF4, whose levels are not even, where OCTAV's clip gives the least squared error.
    clip_bits: bits of the uniform quantiser for which OCTAV chooses `maxw`; those of the format,
        but for FP130 the 8 binary orders of magnitude that it spans.
    centred: the mean of the weights is subtracted before they are rounded.
    absmean: one integer unit is the mean magnitude of the weights, whatever `maxw_algo`.
    kernel: the C kernel that serves it, where it shares one.
    """

    name: str
    levels: tuple
    per_word: int
    clip: float
    clip_bits: float = None
    centred: bool = False
    absmean: bool = False
    kernel: str = None

    def __post_init__(self):
        object.__setattr__(self, "clip_bits", self.clip_bits or self.bits)
        object.__setattr__(self, "kernel", self.kernel or self.name)

    @cached_property
    def bits(self):
        """The information a code can hold; what it takes in the C is 32 / per_word."""
        return math.log2(len(self.levels))

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

    def centre(self, weights):
        """`weights` as they are rounded: less their mean, where the format says so."""
        if not self.centred:
            return weights
        # The mean in float64, so that no sign depends on the order of a sum.
        return weights - weights.double().mean().to(weights.dtype)

    def quantise(self, weights, maxw):
        """Round float `weights`, any shape, to the nearest level; ties go to the larger one.

        maxw: clip value > 0, in units of the weights; broadcast against them. Returns
        integer-valued float32, same shape.
        """
        scaled = self.centre(weights) / self.scale(maxw)
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

# The quantiles of a normal distribution of QLoRA (Dettmers et al., arXiv 2305.14314, appendix E),
# of which the largest is 1, times 127 and rounded.
_NF4 = (-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127)

FORMATS = {
    row.name: row
    for row in (
        Format("Binary", _odd(2), 32, clip=2, centred=True),  # sign(w - mean)
        Format("BinarySym", _odd(2), 32, clip=2, kernel="Binary"),  # sign(w)
        Format("Ternary", (-1, 0, 1), 20, clip=1.5, absmean=True),  # 3^20 < 2^32
        Format("2bitsym", _odd(4), 16, clip=4),  # +-0.5, +-1.5, doubled
        Format("4bit", tuple(range(-8, 8)), 8, clip=8),
        Format("4bitsym", _odd(16), 8, clip=16),  # +-0.5 .. +-7.5, doubled
        Format("FP130", _POWERS, 8, clip=192, clip_bits=8),  # +-2^0 .. +-2^7
        Format("NF4", _NF4, 8, clip=110),
        Format("5bitsym", _odd(32), 6, clip=32),  # +-0.5 .. +-15.5, doubled
        Format("8bit", tuple(range(-128, 128)), 4, clip=128),
    )
}

# PerOutput: the factors that an output's accumulator can be multiplied by, each the sum of two
# powers of two, so that two shifts and an addition do it.
FACTORS = tuple(sorted({2**a + 2**b for a in range(4) for b in range(4)}))  # 2 .. 16

WEIGHT_SCALES = ("PerTensor", "PerOutput")


def octav(weights, bits, iterations=100):
    """The clip values with the least mean squared error for a uniform quantiser of `bits` bits.

    Newton's iteration of Sakr et al., "Optimal clipping and magnitude-aware differentiation for
    improved quantization-aware training", 2022 (arXiv 2206.06501). weights: [R, N], no row all
    zero. Returns float64 [R], one clip value for each row, in units of the weights.
    """
    magnitude = weights.detach().double().abs()
    clip = magnitude.mean(1)
    for _ in range(iterations):
        outside = magnitude > clip[:, None]
        inside = (magnitude > 0) & ~outside
        cut_off = (magnitude * outside).sum(1)
        updated = cut_off / (4.0**-bits / 3 * inside.sum(1) + outside.sum(1))
        converged = torch.isclose(updated, clip, rtol=1e-7, atol=0).all()
        clip = updated
        if converged:
            break
    return clip


def mean_magnitude(weights):
    """float64 [R] of `weights` [R, N]."""
    return weights.detach().double().abs().mean(1)


CLIPPING = {  # maxw_algo: (weights [R, N], bits, maxw_quantscale) -> clip values [R]
    "octav": lambda weights, bits, _: octav(weights, bits),
    "prop": lambda weights, _, quantscale: quantscale * mean_magnitude(weights),
}


class MagnitudeNorm(nn.Module):
    """Activations [B, I] divided by their magnitude [B, 1]: one scale per sample, never 0.

    A scale of the last layer's input changes no decision, so the C needs none of it.
    """

    homogeneous = True

    def __init__(self, magnitude):
        super().__init__()
        self.magnitude = magnitude

    def forward(self, x):
        return x / self.magnitude(x)


class BatchNorm(nn.BatchNorm1d):
    """Activations [B, I] with mean 0 and variance 1 per feature; no learnt scale or bias."""

    homogeneous = False

    def __init__(self, features):
        super().__init__(features, affine=False)

    def forward(self, x):
        if len(x) == 1 and self.training:  # no variance in a last batch of one
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(x)


class LayerNorm(nn.LayerNorm):
    """Activations [B, I] with mean 0 and variance 1 per sample; no learnt scale or bias."""

    homogeneous = False

    def __init__(self, features):
        super().__init__(features, elementwise_affine=False)


def root_mean_square(x):
    return x.square().mean(-1, keepdim=True).add(1e-12).sqrt()


def mean_absolute(x):
    return x.abs().mean(-1, keepdim=True).add(1e-6)


NORMS = {  # NormType: number of features -> module that normalises the last layer's input [B, I]
    "RMS": lambda _: MagnitudeNorm(root_mean_square),
    "Lin": lambda _: MagnitudeNorm(mean_absolute),
    "BatchNorm": BatchNorm,  # these two shift as well: trained and compared, not exported
    "LayerNorm": LayerNorm,
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
    """A fully connected layer: integer activations [B, I] -> accumulators [B, O].

    The float `weight` [O, I] is what training changes; `integer_weights()` is what it computes
    with. `maxw` (a buffer) is the clip value, set by `update_clipping`. With WScale PerOutput the
    clip value of output o is maxw * factors[o], and its accumulator is multiplied by factors[o]
    (a buffer, integer-valued float32 [O, 1]), so that all have one scale again. A float `bias` [O]
    is in units of a weight times `BIAS_INPUT`, so that it learns as fast as weights do; it is
    rounded to an integer of any size, not to a level of the format.
    """

    def __init__(
        self,
        in_features,
        out_features,
        QuantType,
        maxw_algo="octav",
        maxw_quantscale=3.2,
        WScale="PerTensor",
        bias=False,
    ):
        super().__init__(in_features, out_features, bias=bias)
        for kind, value, options in (
            ("QuantType", QuantType, (*FORMATS, FLOAT)),
            ("WScale", WScale, WEIGHT_SCALES),
            ("maxw_algo", maxw_algo, CLIPPING),
        ):
            if value not in options:
                raise UserError(
                    f"{kind} '{value}' is not known; choose one of: {', '.join(options)}"
                )
        self.format = FORMATS.get(QuantType)  # None: floating point
        self.maxw_algo = maxw_algo
        self.maxw_quantscale = maxw_quantscale
        self.register_buffer("maxw", torch.tensor(1.0))
        per_output = self.format and WScale == "PerOutput"
        self.register_buffer("factors", torch.ones(out_features, 1) if per_output else None)
        self.update_clipping()

    def update_clipping(self):
        """Set `maxw`, and `factors` if there are any, from the present weights."""
        if not self.format:
            return
        weights = self.format.centre(self.weight.detach())
        if self.factors is None:
            self.maxw.fill_(self._clip(weights.reshape(1, -1)).item())
            return
        clips = self._clip(weights)
        unit = clips.max() / FACTORS[-1]
        choices = torch.tensor(FACTORS, dtype=torch.float64, device=clips.device)
        between = (choices[1:] * choices[:-1]).sqrt()  # the nearest by ratio
        self.factors.copy_(choices[torch.bucketize(clips / unit, between)][:, None])
        self.maxw.fill_(unit.item())

    def _clip(self, weights):
        """Clip values [R] for rows of weights [R, N]."""
        if self.format.absmean:
            clips = self.format.clip * mean_magnitude(weights)
        else:
            algorithm = CLIPPING[self.maxw_algo]
            clips = algorithm(weights, self.format.clip_bits, self.maxw_quantscale)
        # Zeros have no clip value of their own: any will do, if one can divide by it.
        return clips.nan_to_num(0).clamp(min=1e-30)

    @property
    def scale(self):
        """The float weight that one integer unit stands for; 1 in a floating point layer."""
        return self.format.scale(self.maxw) if self.format else torch.ones_like(self.maxw)

    def integer_weights(self):
        """The weights [O, I] that the C has, as integer-valued float32."""
        clip = self.maxw if self.factors is None else self.maxw * self.factors
        return self.format.quantise(self.weight.detach(), clip)

    def integer_factors(self):
        """What the accumulators are multiplied by: integer-valued float32 [O, 1], or 1."""
        return 1 if self.factors is None else self.factors

    def integer_bias(self):
        """What is added to the sums, before factors: integer-valued float64 [O]; None without."""
        if self.bias is None:
            return None
        unit = self.scale.double() * torch.as_tensor(self.integer_factors()).double().flatten()
        return (self.bias.detach().double() * BIAS_INPUT / unit).round()

    def forward(self, x):
        if not self.format:
            return F.linear(x, self.weight, self.bias if self.bias is None else self._scaled_bias())
        factors = self.integer_factors()
        effective, bias = self.integer_weights() * factors, self.integer_bias()
        if bias is not None:
            bias = bias * torch.as_tensor(factors, device=bias.device).flatten()
        if self.training:
            if bias is not None:
                bias = StraightThrough.apply(self._scaled_bias(), bias.float())
            return F.linear(x, StraightThrough.apply(self.weight / self.scale, effective), bias)
        # float32 holds integers exactly up to 2^24; one bit is left for ShiftNorm's rounding.
        reach = 128 * effective.abs().sum(1) + (0 if bias is None else bias.abs())
        exact = torch.float32 if reach.max() < 2**23 else torch.float64
        return F.linear(x.to(exact), effective.to(exact), bias if bias is None else bias.to(exact))

    def _scaled_bias(self):
        """The float bias [O] in the units of the accumulators."""
        return self.bias * (BIAS_INPUT / self.scale)

    def extra_repr(self):
        text = f"{super().extra_repr()}, QuantType={self.format.name if self.format else FLOAT}"
        return text if self.factors is None else f"{text}, WScale=PerOutput"


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
        self.NormType = NormType
        self.norm = NORMS[NormType](self.layers[-1].in_features)

    @property
    def has_integer_form(self):
        """Whether eval mode computes the integers of the C."""
        return self.norm.homogeneous and all(layer.format for layer in self.bit_layers())

    def forward(self, x):
        x = self.layers[:-1](x)
        last = self.layers[-1]
        if not self.training and self.has_integer_form:
            return last(x)
        if last.bias is not None and self.norm.homogeneous:
            return last(x) / self.norm.magnitude(x) * last.scale  # its bias is scaled as its sums
        return last(self.norm(x)) * last.scale

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


BIASES = {  # bias: index of a layer -> whether it has one
    "none": lambda index: False,
    "first": lambda index: index == 0,
    "all": lambda index: True,
}


class FCMNIST(Network):
    """A fully connected network with two or three hidden layers, `widths` wide."""

    def __init__(self, inputs, classes, config):
        sizes = [inputs, *config["widths"], classes]
        layers = []
        has_bias = BIASES[config["bias"]]
        formats = layer_formats(config)
        for index, (QuantType, size_in, size_out) in enumerate(zip(formats, sizes, sizes[1:])):
            if layers:
                layers.append(activation(config))
            layers.append(
                BitLinear(
                    size_in,
                    size_out,
                    QuantType,
                    config["maxw_algo"],
                    config["maxw_quantscale"],
                    config["WScale"],
                    has_bias(index),
                )
            )
        super().__init__(layers, config["NormType"])


def layer_formats(config):
    """The QuantType of each layer of a `config` with one for all, or a list of them."""
    given, layers = config["QuantType"], len(config["widths"]) + 1
    if isinstance(given, str):
        return [given] * layers
    if len(given) != layers:
        raise UserError(
            f"QuantType names {len(given)} formats for {layers} layers "
            f"({layers - 1} hidden and the last); name one for all, or one for each"
        )
    return given


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
