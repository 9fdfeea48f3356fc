"""The integer model: what is exported, and the exact rules by which it runs.

This is the reference executor of the integer contract (see BitNetMCU.py), in NumPy integers and
independent of PyTorch's arithmetic. The C and the network's eval mode must agree with it on every
value of every layer.

Shapes: B = images, I, O = inputs and outputs of a layer.
"""

from dataclasses import dataclass

import numpy as np

from BitNetMCU import ACTIVATION_MAX, BitLinear, Format, ShiftNormReLU
from cli import UserError

INT32_MAX = 2**31 - 1
DOUBLED = 64  # plain kernels form this multiple of the sum of all inputs, for any format


@dataclass(frozen=True)
class IntegerLayer:
    """A fully connected layer: integer weights int32 [O, I], each one of `format.levels`.

    factors: int32 [O], each one of `BitNetMCU.FACTORS`, by which sums are multiplied; None where
    all outputs have the same scale. bias: int64 [O], added to the sums before that; None without.
    """

    format: Format
    weights: np.ndarray
    factors: np.ndarray | None = None
    bias: np.ndarray | None = None

    @property
    def outputs(self):
        return self.weights.shape[0]

    @property
    def inputs(self):
        return self.weights.shape[1]

    def codes(self):
        """The weights as indices into `format.levels`, uint32 [O, I]."""
        order = np.argsort(self.format.levels)
        ascending = np.array(self.format.levels)[order]
        return order[np.searchsorted(ascending, self.weights)].astype(np.uint32)

    def accumulate(self, activations):
        """int32 activations [B, I] -> accumulators int32 [B, O]."""
        sums = activations @ self.weights.T
        if self.bias is not None:
            sums = sums + self.bias.astype(np.int32)
        return sums if self.factors is None else sums * self.factors

    def bound(self):
        """The largest magnitude that int32 must hold, whatever the int8 inputs.

        Of sums on the way (weights counted from the lowest level), and of the accumulators with
        2^23, the most that ShiftNorm adds to round. A bias may be past any integer type.
        """
        span = max(DOUBLED, max(self.format.levels) - min(self.format.levels))
        rows = 128.0 * np.abs(self.weights).sum(axis=1)  # exact below 2^53
        if self.bias is not None:
            rows = rows + np.abs(self.bias)
        if self.factors is not None:
            rows = rows * self.factors
        return max(128 * self.inputs * span, int(rows.max())) + 2**23


@dataclass(frozen=True)
class Trace:
    """The value of one layer for a batch: accumulators int32 [B, O] and shifts int32 [B]."""

    accumulators: np.ndarray
    shifts: np.ndarray


@dataclass(frozen=True)
class IntegerModel:
    """Fully connected layers with ShiftNorm and ReLU between them."""

    layers: tuple

    @property
    def inputs(self):
        return self.layers[0].inputs

    @property
    def classes(self):
        return self.layers[-1].outputs

    def execute(self, inputs):
        """Run int8 `inputs` [B, I]; returns the `Trace` of each layer, the last with the logits."""
        traces = []
        activations = inputs.astype(np.int32)
        for layer in self.layers:
            accumulators = layer.accumulate(activations)
            if layer is self.layers[-1]:
                shifts = np.zeros(len(inputs), np.int32)
            else:
                shifts = shiftnorm_shifts(accumulators)
                activations = shiftnorm_relu(accumulators, shifts)
            traces.append(Trace(accumulators, shifts))
        return traces

    def logits(self, inputs):
        """The last layer's accumulators for int8 `inputs` [B, I], int32 [B, O]."""
        return self.execute(inputs)[-1].accumulators

    def predict(self, inputs):
        """The class of each of the int8 `inputs` [B, I], int64 [B]: the first largest logit."""
        return self.logits(inputs).argmax(axis=1)


def shiftnorm_shifts(accumulators):
    """int32 [B, O] -> max(0, bit_length(max(0, largest of the row)) - 7), int32 [B]."""
    largest = accumulators.max(axis=1).tolist()
    return np.array([max(0, max(0, m).bit_length() - 7) for m in largest], np.int32)


def shiftnorm_relu(accumulators, shifts):
    """int32 [B, O] -> activations 0..127, int32 [B, O]: a rounding shift of what is positive."""
    half = ((1 << shifts) >> 1)[:, None]
    rounded = (np.maximum(accumulators, 0) + half) >> shifts[:, None]
    return np.minimum(rounded, ACTIVATION_MAX).astype(np.int32)


def lower(network):
    """The integer model of a trained `BitNetMCU.Network`.

    Raises `UserError` for a layer or norm that has no integer rule, and for accumulators that
    could leave int32.
    """
    if not network.norm.homogeneous:
        raise UserError(
            f"NormType={network.NormType} subtracts means, which the integer contract has no rule "
            "for; train with NormType=RMS or NormType=Lin to export"
        )
    layers = []
    for index, module in enumerate(network.layers):
        expected = BitLinear if index % 2 == 0 else ShiftNormReLU
        if not isinstance(module, expected) or getattr(module, "format", True) is None:
            raise UserError(
                f"layer {index} ({module}) has no integer form; only BitLinear layers with an "
                "integer QuantType, and ReLU between them, can be exported"
            )
        if expected is BitLinear:
            layers.append(_lower_layer(index, module))
    return IntegerModel(tuple(layers))


def _lower_layer(index, module):
    weights = module.integer_weights().cpu().numpy().astype(np.int32)
    factors = None
    if module.factors is not None:
        factors = module.factors[:, 0].cpu().numpy().astype(np.int32)
    bias = module.integer_bias()
    if bias is not None:
        bias = bias.clamp(-(2**53), 2**53).cpu().numpy().astype(np.int64)  # too large is refused
    layer = IntegerLayer(module.format, weights, factors, bias)
    if layer.bound() > INT32_MAX:
        raise UserError(
            f"layer {index} could reach {layer.bound()}, past int32 ({INT32_MAX}); "
            "use fewer inputs or fewer bits"
        )
    return layer
