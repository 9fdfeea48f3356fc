"""The integer rules of low-bit networks: the contract (docs/contract.md), in NumPy.

They are the reference executor, independent of PyTorch's arithmetic. The C and the network's eval
mode must agree with them on every value of every step. What a rule needs beside its inputs are the
fields of its step, one of the dataclasses here.

Shapes: B = batch, I, O = inputs and outputs of a layer. What is made of maps is in maps.py.
"""

from dataclasses import dataclass

import numpy as np

from compiler.formats import Format
from compiler.graph import INT8, INT32, UINT7, Range

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
    """The largest magnitude that int32 must hold, whatever the inputs: of sums on the way, too.

    Plain kernels count weights from the lowest level, and form multiples of the sum of all inputs.
    """
    span = max(DOUBLED, layer.format.highest - layer.format.lowest)
    return max(layer.reads.largest * layer.inputs * span, largest_accumulator(layer))


def largest_accumulator(layer):
    """The largest magnitude of an accumulator. A bias may be past any integer type."""
    rows = float(layer.reads.largest) * np.abs(layer.weights).sum(axis=1)  # exact below 2^53
    if layer.bias is not None:
        rows = rows + np.abs(layer.bias)
    if layer.factors is not None:
        rows = rows * layer.factors
    return int(rows.max())


def accumulator_range(layer):
    """The `Range` of accumulators."""
    largest = largest_accumulator(layer)
    return Range(-largest, largest)


@dataclass(frozen=True)
class ShiftNorm:
    """ShiftNorm and ReLU over a layer of `size` accumulators. writes: what activations can be.

    reads: what accumulators can be.
    """

    size: int
    reads: Range = INT32
    writes: Range = UINT7

    @property
    def most_shift(self):
        """The largest shift that there can be."""
        return max(0, self.reads.highest.bit_length() - self.writes.bits)


def shiftnorm_relu(fields, accumulators):
    """int32 [B, O] -> (activations int8 [B, O], shifts int32 [B, 1]), one shift for each sample."""
    shifts = shifts_of(accumulators, fields.writes)
    return rounded(accumulators, shifts, fields.writes), shifts[:, None]


@dataclass(frozen=True)
class FixedShift:
    """A constant shift and ReLU over a layer of `size` accumulators, which saturates."""

    size: int
    shift: int
    reads: Range = INT32
    writes: Range = UINT7

    @property
    def most_shift(self):
        return self.shift


def rounding_bound(fields):
    """What int32 must hold of a requantiser: the largest accumulator, and the half that rounds."""
    return fields.reads.largest + ((1 << fields.most_shift) >> 1)


def fixed_shift_relu(fields, accumulators):
    """int32 [B, O] -> activations int8 [B, O]."""
    shifts = np.full(len(accumulators), fields.shift, np.int64)
    return rounded(accumulators.astype(np.int64), shifts, fields.writes)


@dataclass(frozen=True)
class Slide:
    """The last `size` of values that are kept from run to run, and of the `count` that come behind
    them. reads: what they can be."""

    size: int
    count: int
    reads: Range


def slide(fields, kept, fresh):
    """Integers [B, size] and [B, count] -> what is kept from now on, [B, size]."""
    return np.concatenate([kept, fresh], axis=1)[:, -fields.size :]


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
