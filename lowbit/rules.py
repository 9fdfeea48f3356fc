"""The integer rules of low-bit networks: the contract (docs/contract.md), in NumPy.

They are the reference executor, independent of PyTorch's arithmetic. The C and the network's eval
mode must agree with them on every value of every step. What a rule needs beside its inputs are the
fields of its step, one of the dataclasses here.

Shapes: B = batch, I, O = inputs and outputs of a layer, P = positions of a convolution. A map lies
in memory row by row, position by position, the channels of one side by side.
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
class Windows:
    """The windows of a map that a convolution sees: all sizes are (rows, columns).

    map_size: of the map, kernel: of a window, stride: from one to the next, padding: rows and
    columns of zeros around the map. channels: of the map.
    """

    map_size: tuple
    channels: int
    kernel: tuple
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)

    @property
    def positions(self):
        """How many windows there are, (rows, columns)."""
        sizes = zip(self.map_size, self.kernel, self.stride, self.padding)
        return tuple((size + 2 * pad - kernel) // stride + 1 for size, kernel, stride, pad in sizes)

    @property
    def count(self):
        rows, columns = self.positions
        return rows * columns

    @property
    def inputs(self):
        """Values of the map."""
        rows, columns = self.map_size
        return rows * columns * self.channels

    @property
    def one_position(self):
        """Whether a window is one position of the map, and there is one for each."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    def of(self, activations):
        """Integers [B, inputs] -> the windows [B, P, values of a window], row by row."""
        maps = activations.reshape(len(activations), *self.map_size, self.channels)
        maps = np.pad(maps, [(0, 0), *((pad, pad) for pad in self.padding), (0, 0)])
        found = np.lib.stride_tricks.sliding_window_view(maps, self.kernel, axis=(1, 2))
        found = found[:, :: self.stride[0], :: self.stride[1]]  # [B, rows, columns, C, kernel]
        return np.moveaxis(found, 3, 5).reshape(len(activations), self.count, -1)


@dataclass(frozen=True)
class Convolution:
    """An `IntegerLayer` over each of the `windows` of a map.

    Its inputs are the values of a window, row by row, the channels of a position side by side.
    """

    layer: IntegerLayer
    windows: Windows

    @property
    def outputs(self):
        """Accumulators: the channels of one position side by side."""
        return self.windows.count * self.layer.outputs


def convolution(fields, activations):
    """Integers [B, I] -> accumulators int32 [B, P * O]."""
    windows = fields.windows.of(activations)
    sums = linear(fields.layer, windows.reshape(-1, windows.shape[2]))
    return sums.reshape(len(activations), fields.outputs)


@dataclass(frozen=True)
class Fused:
    """Convolutions, each with a fixed shift behind it, executed position by position.

    stages: pairs (`Convolution`, `FixedShift`). All but the first see one position each, so that of
    what lies between them only one position's values are kept, and nothing is written.
    """

    stages: tuple

    @property
    def last(self):
        """The last `FixedShift`."""
        return self.stages[-1][1]


def fused(fields, activations):
    """Integers [B, I] -> activations int8 [B, P * O] of the last stage."""
    for conv, shift in fields.stages:
        activations = fixed_shift_relu(shift, convolution(conv, activations))
    return activations


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
