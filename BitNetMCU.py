"""Quantisation-aware training for networks that run as integers on small microcontrollers.

The integer contract
    In eval mode every module here computes, on integer-valued float tensors, exactly what the
    exported C computes: `BitLinear` and `BitConv2d` sum integer activations times integer weights,
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

Shapes: B = batch, I = inputs of the network or of a layer, O = outputs of a layer. Maps of
convolutions are [B, C, H, W], as PyTorch has them; in the C they lie pixel by pixel, the channels
of one side by side.
"""

import math

import torch
from torch import nn

from compiler.formats import FACTORS, FORMATS
from qat.layers import (
    BIAS_INPUT,
    BIAS_LIMIT,
    FLOAT,
    NORMED,
    WEIGHT_SCALES,
    BatchNormBitConv2d,
    BatchNormBitLinear,
    BatchNormed,
    BitConv1d,
    BitConv2d,
    BitLayer,
    BitLinear,
)
from qat.maps import (
    POOLS,
    SHAPING,
    ChannelsLast,
    Flatten,
    MaxPool2d,
    Residual,
    SumPool2d,
    Unflatten,
    described,
    folded,
)
from qat.masks import MaskingLayer
from qat.norms import ACTIVATIONS, NORMS
from qat.quantisers import CLIPPING, StraightThrough, centre, entropy, octav, quantise, unit_of
from qat.requantisers import (
    REQUANTISERS,
    FixedShiftReLU,
    FollowedShift,
    Requantiser,
    ShiftNormReLU,
    shiftnorm_shift,
)

__all__ = [  # all that the stages, and users' own networks, need of qat/
    "ACTIVATIONS",
    "BIAS_INPUT",
    "BIAS_LIMIT",
    "CLIPPING",
    "FACTORS",
    "FLOAT",
    "FORMATS",
    "LAYERS",
    "NORMED",
    "NORMS",
    "POOLS",
    "REQUANTISERS",
    "SHAPING",
    "WEIGHT_SCALES",
    "BatchNormBitConv2d",
    "BatchNormBitLinear",
    "BatchNormed",
    "BitConv1d",
    "BitConv2d",
    "BitLayer",
    "BitLinear",
    "ChannelsLast",
    "FixedShiftReLU",
    "Flatten",
    "MaskingLayer",
    "MaxPool2d",
    "Network",
    "Requantiser",
    "Residual",
    "ShiftNormReLU",
    "StraightThrough",
    "SumPool2d",
    "Unflatten",
    "as_in_memory",
    "centre",
    "elements",
    "entropy",
    "from_architecture",
    "octav",
    "quantise",
    "shapes_of",
    "shiftnorm_shift",
    "unit_of",
]


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
        exact = self.norm.homogeneous and not self.masks()
        return exact and all(layer.format for layer in self.bit_layers())

    def forward(self, x):
        x = self.layers[:-1](x)
        last = self.layers[-1]
        if not self.training and self.has_integer_form:
            return last(x)
        if last.bias is not None and self.norm.homogeneous:
            return last(x) / self.norm.magnitude(x) * last.scale  # its bias is scaled as its sums
        return last(self.norm(x)) * last.scale

    @property
    def inputs(self):
        """How many values it takes."""
        first = self.layers[0]
        if isinstance(first, Unflatten | ChannelsLast):
            return math.prod(first.settings["shape"])
        return self.bit_layers()[0].in_features

    @property
    def classes(self):
        """How many logits it gives."""
        return self.layers[-1].out_features

    def outputs(self, x):
        """Yields (layer, its output) for inputs [B, I]; in eval mode these are the contract's.

        Those of a `Residual` come before it.
        """
        for layer, _, written in _run(self.layers, x):
            yield layer, written

    @torch.no_grad()
    def values(self, x):
        """Yields what each step of the C writes, [B, elements], for inputs [B, I] in eval mode.

        That is before steps are fused, which then write less.
        """
        for layer, read, written in _run(self.layers, x):
            if not isinstance(layer, SHAPING):
                yield as_in_memory(written)
                yield from getattr(layer, "also_writes", lambda read: ())(read)

    def bit_layers(self):
        """The layers with weights, first to last."""
        return [layer for layer in each_of(self.layers) if isinstance(layer, BitLayer)]

    def masks(self):
        """Its `MaskingLayer`s, each once: of a network some of whose channels are to go."""
        found = [layer for layer in each_of(self.layers) if isinstance(layer, MaskingLayer)]
        return list(dict.fromkeys(found))

    def prepare(self, highest):
        """Before it is trained with inputs up to `highest`: what layers have to know of others."""
        layers = list(each_of(self.layers))
        biased = [i for i, layer in enumerate(layers) if getattr(layer, "has_bias", False)]
        for index, layer in enumerate(layers):
            if isinstance(layer, ShiftNormReLU) and index < max(biased, default=0):
                layer.be_aware()
        _tell_ranges(self.layers, highest)
        self.update_clipping()

    def update_clipping(self):
        for layer in self.bit_layers():
            layer.update_clipping()

    def follow_scales(self, follows):
        """Whether shifts that training learns still follow it."""
        for layer in each_of(self.layers):
            if isinstance(layer, FollowedShift):
                layer.follows = follows

    def forget_scales(self):
        """Shifts that training learns begin anew, with what the next batch shows."""
        for layer in each_of(self.layers):
            if isinstance(layer, FollowedShift):
                layer.largest.zero_()

    def folded(self):
        """This network with all batch normalisation folded into weights; itself if it has none."""
        if not any(isinstance(layer, BatchNormed) for layer in self.bit_layers()):
            return self
        network = Network(folded(self.layers), self.NormType).train(self.training)
        network.norm = self.norm
        return network

    def architecture(self):
        """What `from_architecture` builds this network from again, as plain data."""
        return {"NormType": self.NormType, "layers": described(self.layers)}


LAYERS = {
    layer.__name__: layer
    for layer in (BitLinear, BitConv2d, ShiftNormReLU, FixedShiftReLU, Residual, *POOLS, *SHAPING)
} | ACTIVATIONS


def each_of(layers):
    """Yields `layers` in the order in which they run, those of a `Residual` in front of it."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from each_of(layer.layers)
        yield layer


def _run(layers, x):
    """Yields (layer, what it reads, what it gives) for `each_of` the layers."""
    for layer in layers:
        inner = x
        if isinstance(layer, Residual):
            for step in _run(layer.layers, x):
                yield step
                inner = step[2]
        written = layer.added(inner, x) if isinstance(layer, Residual) else layer(x)
        yield layer, inner, written
        x = written


def _tell_ranges(layers, highest):
    """Tells layers the largest value that they read; returns that of what the last one gives."""
    for layer in layers:
        if isinstance(layer, BitLayer):
            layer.read_up_to(highest)
        elif isinstance(layer, Residual):
            layer.bits = highest.bit_length()
            _tell_ranges(layer.layers, highest)
        elif isinstance(layer, Requantiser):
            highest = layer.highest
    return highest


def elements(shape):
    """How many values a sample of `shape` has."""
    return math.prod(shape)


def as_in_memory(x):
    """Activations or accumulators of any shape as the C has them, [B, elements]."""
    return (x.movedim(1, -1) if x.ndim > 2 else x).flatten(1)


def shapes_of(layers, shape):
    """Yields (layer, shape of what it gives for a sample), for inputs of `shape`, a tuple.

    Raises ValueError where a layer cannot read what is in front of it.
    """
    for layer in layers:
        shape = getattr(layer, "output_shape", tuple)(shape)
        yield layer, shape


def from_architecture(architecture):
    """The `Network` whose `architecture()` this is, with weights yet to be loaded."""
    return Network(_built(architecture["layers"]), architecture["NormType"])


def _built(descriptions):
    layers = []
    for settings in map(dict, descriptions):
        kind = LAYERS[settings.pop("kind")]
        if kind is Residual:
            settings["layers"] = _built(settings["layers"])
        layers.append(kind(**settings))
    return layers
