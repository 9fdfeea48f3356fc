"""The integer rules of what reads maps: convolutions, pools, and what is added to them.

Shapes: B = batch, I, O = inputs and outputs of a layer, P = positions of a convolution or a pool. A
map lies in memory row by row, position by position, the channels of one side by side.
"""

from dataclasses import dataclass, replace

import numpy as np

from compiler.graph import Range
from lowbit.rules import IntegerLayer, fixed_shift_relu, linear


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
    def kernel_size(self):
        """Positions of the map in a window."""
        rows, columns = self.kernel
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
    groups: each reads its part of the channels and gives its part of the outputs, one after the
    other; the weights of an output are those for its group's channels. Depthwise: as many groups as
    channels.
    """

    layer: IntegerLayer
    windows: Windows
    groups: int = 1

    @property
    def outputs(self):
        """Accumulators: the channels of one position side by side."""
        return self.windows.count * self.layer.outputs

    @property
    def group_channels(self):
        """Channels of the map that each group reads."""
        return self.windows.channels // self.groups

    @property
    def one_position(self):
        """Whether it is a layer of its own for each position of the map."""
        return self.groups == 1 and self.windows.one_position

    @property
    def depthwise(self):
        """Whether each channel has an output of its own, which reads no other."""
        return self.groups == self.windows.channels == self.layer.outputs

    def layer_of(self, group):
        """The `IntegerLayer` of a group, from 0."""
        layer, own = self.layer, self.layer.outputs // self.groups
        part = slice(group * own, (group + 1) * own)
        return replace(
            layer,
            weights=layer.weights[part],
            factors=None if layer.factors is None else layer.factors[part],
            bias=None if layer.bias is None else layer.bias[part],
        )


def convolution(fields, activations):
    """Integers [B, I] -> accumulators int32 [B, P * O]."""
    windows = fields.windows.of(activations)
    by_group = windows.reshape(-1, fields.windows.kernel_size, fields.groups, fields.group_channels)
    sums = [
        linear(fields.layer_of(group), by_group[:, :, group].reshape(len(by_group), -1))
        for group in range(fields.groups)
    ]
    return np.concatenate(sums, axis=1).reshape(len(activations), fields.outputs)


@dataclass(frozen=True)
class Pool:
    """What is left of each of the `windows` of a map, channel by channel. reads: what it can hold.

    Windows have no padding; the last rows and columns that fill none are left out.
    """

    windows: Windows
    reads: Range

    @property
    def outputs(self):
        return self.windows.count * self.windows.channels

    @property
    def sums(self):
        """The `Range` of the sum of a window."""
        size = self.windows.kernel_size
        return Range(size * self.reads.lowest, size * self.reads.highest)


def _pooled(fields, values, of):
    windows = fields.windows.of(values)
    shape = (len(values), fields.windows.count, -1, fields.windows.channels)
    return of(windows.reshape(shape), axis=2).reshape(len(values), fields.outputs)


def max_pool(fields, values):
    """Integers [B, I] -> the largest of each window [B, P * C], of the same dtype."""
    return _pooled(fields, values, np.max)


def sum_pool(fields, values):
    """Integers [B, I] -> the sums of each window, int32 [B, P * C]."""
    return _pooled(fields, values.astype(np.int32), np.sum)


@dataclass(frozen=True)
class Add:
    """`size` activations times 2^shift, added to accumulators.

    reads, adds: what accumulators, and activations, can be.
    """

    size: int
    shift: int
    reads: Range
    adds: Range

    @property
    def writes(self):
        """The `Range` of the sums."""
        low, high = (end << self.shift for end in (self.adds.lowest, self.adds.highest))
        return Range(self.reads.lowest + low, self.reads.highest + high)


def add(fields, accumulators, activations):
    """int32 [B, O] and int8 [B, O] -> accumulators int32 [B, O]."""
    return accumulators + (activations.astype(np.int32) << fields.shift)


@dataclass(frozen=True)
class Fused:
    """Convolutions, each with a fixed shift behind it, executed position by position.

    stages: pairs (`Convolution`, `FixedShift`). All but the first see one position each, so that of
    what lies between them only one position's values are kept, and nothing is written. added: the
    `Add` in front of the last shift, which makes a second input; pool: the max `Pool` of the
    activations; each None where there is none.
    """

    stages: tuple
    added: Add | None = None
    pool: Pool | None = None

    @property
    def last(self):
        """The last `FixedShift`."""
        return self.stages[-1][1]

    @property
    def outputs(self):
        return self.pool.outputs if self.pool else self.last.size


def fused(fields, activations, *added):
    """Integers [B, I], and what is added, [B, P * O] -> activations int8 of the last stage."""
    for conv, shift in fields.stages:
        sums = convolution(conv, activations)
        if fields.added and shift is fields.last:
            sums = add(fields.added, sums, *added)
        activations = fixed_shift_relu(shift, sums)
    return max_pool(fields.pool, activations) if fields.pool else activations


def streamable(fused):
    """Whether the rows of a `Fused` step can be written one after the other, from a few rows of the
    map at a time: each of those is still needed, or the next one, when it comes."""
    return not fused.added and Rows.of(fused).advance <= Rows.of(fused).height


@dataclass(frozen=True)
class Rows:
    """The rows of a map, with its padding, that one row of what a `Fused` step writes is made of.

    height, width: how many there are, and positions in each; advance: from those of one row to
    those of the next.
    """

    height: int
    width: int
    advance: int

    @classmethod
    def of(cls, fused, part=False):
        """part: of only one row of windows, of those that a pool makes one of."""
        windows = fused.stages[0][0].windows
        down = fused.pool.windows.kernel[0] if fused.pool and not part else 1
        height = windows.kernel[0] + (down - 1) * windows.stride[0]
        return cls(height, windows.map_size[1] + 2 * windows.padding[1], down * windows.stride[0])


def one_row(fused, part=False):
    """The `Fused` step that writes one row of what `fused` does, of its `Rows` as a map.

    part: of one row of windows, of those that a pool makes one of.
    """
    rows, stages, size = Rows.of(fused, part), [], None
    for conv, shift in fused.stages:
        size = size or (rows.height, rows.width)
        windows = replace(conv.windows, map_size=size, padding=(0, 0))
        conv, size = replace(conv, windows=windows), windows.positions
        stages.append((conv, replace(shift, size=conv.outputs)))
    pool = fused.pool
    if pool:
        kernel, stride = ((size[0], axes[1]) for axes in (pool.windows.kernel, pool.windows.stride))
        windows = replace(pool.windows, map_size=size, kernel=kernel, stride=stride)
        pool = replace(pool, windows=windows)
    return Fused(tuple(stages), pool=pool)


@dataclass(frozen=True)
class Streamed:
    """`Fused` steps, executed row by row: of what lies between only `Rows` are kept.

    parts: each reads what the one before it writes.
    """

    parts: tuple


def streamed(fields, activations):
    """Integers [B, I] -> activations int8 [B, P * O] of the last part. Of `Channelled`, too."""
    for part in fields.parts:
        activations = fused(part, activations)
    return activations


@dataclass(frozen=True)
class Channelled(Streamed):
    """`Fused` steps of one stage, executed channel by channel: of what lies between only a channel
    is kept.

    All are depthwise, but the first one may be any convolution of a map of one channel.
    """

    @property
    def channels(self):
        """Of all maps but the first one."""
        return self.parts[0].stages[0][0].layer.outputs


def channelled(parts):
    """How many of `Fused` steps, each of which reads what the one before it writes, can be
    executed channel by channel, from the first on: 0 if none of them has several channels."""
    count, several = 0, False
    for part in parts:
        conv, _ = part.stages[0]
        able = conv.depthwise or (not count and conv.windows.channels == 1)
        if not able or len(part.stages) > 1 or part.added:
            break
        count, several = count + 1, several or conv.windows.channels > 1
    return count if several else 0


def one_channel(fused):
    """The `Fused` step that does what a part of `Channelled` does, of the first channel alone."""
    ((conv, shift),) = fused.stages
    layer = replace(conv, groups=conv.layer.outputs).layer_of(0)
    conv = Convolution(layer, replace(conv.windows, channels=1))
    shift = replace(shift, size=conv.outputs)
    pool = fused.pool and replace(fused.pool, windows=replace(fused.pool.windows, channels=1))
    return Fused(((conv, shift),), pool=pool)
