"""The integer rules of low-bit networks: the contract (docs/contract.md), in NumPy.

They are the reference executor, independent of PyTorch's arithmetic. The C and the network's eval
mode must agree with them on every value of every step. What a rule needs beside its inputs are the
fields of its step, one of the dataclasses here.

Shapes: B = batch, I, O = inputs and outputs of a layer.
"""

from dataclasses import dataclass

import numpy as np

from compiler.formats import Format
from compiler.graph import INT8, UINT7, Range

DOUBLED = 64  # plain kernels form this multiple of the sum of all inputs, for any format


@dataclass(frozen=True)
class IntegerLayer:
    """A fully connected layer: integer weights int32 [O, I], each one of `format.levels`.

    factors: int32 [O], each one of `formats.FACTORS`, by which sums are multiplied; None where
    all outputs have the same scale. bias: int64 [O], added to the sums before that; None without.
    reads: what its inputs can be.
    """

    format: Format
    weights: np.ndarray
    factors: np.ndarray | None = None
    bias: np.ndarray | None = None
    reads: Range = INT8

    @property
    def outputs(self):
        return self.weights.shape[0]

    @property
    def inputs(self):
        return self.weights.shape[1]

    def codes(self):
        """The weights as indices into `format.levels`, uint32 [O, I]."""
        order = np.argsort(self.format.levels)
        return order[np.searchsorted(self.format.ascending, self.weights)].astype(np.uint32)


def linear(layer, activations):
    """Integers [B, I] -> accumulators int32 [B, O]."""
    sums = activations.astype(np.int32) @ layer.weights.T
    if layer.bias is not None:
        sums = sums + layer.bias.astype(np.int32)
    return sums if layer.factors is None else sums * layer.factors


def linear_bound(layer):
    """The largest magnitude that int32 must hold, whatever the inputs.

    Of sums on the way (weights counted from the lowest level), and of the accumulators with 2^23,
    the most that ShiftNorm adds to round. A bias may be past any integer type.
    """
    span = max(DOUBLED, layer.format.highest - layer.format.lowest)
    largest = layer.reads.largest
    rows = float(largest) * np.abs(layer.weights).sum(axis=1)  # exact below 2^53
    if layer.bias is not None:
        rows = rows + np.abs(layer.bias)
    if layer.factors is not None:
        rows = rows * layer.factors
    return max(largest * layer.inputs * span, int(rows.max())) + 2**23


@dataclass(frozen=True)
class ShiftNorm:
    """ShiftNorm and ReLU over a layer of `size` accumulators. writes: what activations can be."""

    size: int
    writes: Range = UINT7


def shiftnorm_relu(fields, accumulators):
    """int32 [B, O] -> (activations int8 [B, O], shifts int32 [B, 1]), one shift for each sample."""
    shifts = shifts_of(accumulators, fields.writes)
    return rounded(accumulators, shifts, fields.writes), shifts[:, None]


def shifts_of(accumulators, writes=UINT7):
    """int32 [B]: max(0, bit length of max(0, largest of the row) - bits of an activation)."""
    bits = writes.highest.bit_length()
    largest = accumulators.max(axis=1).tolist()
    return np.array([max(0, max(0, m).bit_length() - bits) for m in largest], np.int32)


def rounded(accumulators, shifts, writes=UINT7):
    """Activations, int8 [B, O]: a rounding shift of what is positive, saturated."""
    half = ((1 << shifts) >> 1)[:, None]
    values = (np.maximum(accumulators, 0) + half) >> shifts[:, None]
    return np.minimum(values, writes.highest).astype(np.int8)
