"""What lies between convolutions takes less memory: never whole where steps are executed together,
else as int16 where that is exact.
"""

from dataclasses import replace

from compiler.graph import DTYPES, Step
from compiler.operators import verify
from lowbit.maps import Channelled, Fused, Rows, Streamed, channelled, streamable

MOST_WIDE = 2  # positions: beside int16 the sums of one are int32, which takes as much


def fuse(graph):
    """The `Graph` with each convolution and the fixed shift behind it as one step, and with them
    what is added in front of the shift, the convolutions behind that see one position each, with
    theirs, and a max pool in front of the last shift or behind it, which is the same; and with the
    sums of a convolution as int16 where ShiftNorm reads them, which needs those of all positions.
    What is fused is streamed where one such step reads another's rows, or a map is padded; or
    executed channel by channel where convolutions are depthwise.

    All tensors keep their places; those that are no longer written are left.
    """
    steps, left = [], list(graph.operators)
    while left:
        found = _Run(graph, left)
        if found.stages:
            first, last = left[0], left[found.taken - 1]
            fields = Fused(tuple(found.stages), found.added, found.pool)
            inputs = first.inputs + found.others
            steps.append(Step(first.index, "FUSED", inputs, last.outputs, fields))
        else:
            steps.append(left[0])
        left = left[max(1, found.taken) :]
    graph = replace(graph, operators=steps)
    return verify(_narrowed(replace(graph, operators=list(_streamed(graph)))))


def _streamed(graph):
    """The steps of the `Graph`, those that can be executed row by row, or channel by channel, as
    one."""
    run = []
    for step in (*graph.operators, None):
        follows = step and step.kind == "FUSED" and streamable(step.fields)
        if follows and run:
            (value,) = run[-1].outputs
            follows = graph.consumers(value) == [step]
        if run and not follows:
            yield from _together(run)
            run = []
        if step and step.kind == "FUSED" and streamable(step.fields):
            run.append(step)
        elif step:
            yield step


def _together(run):
    """The steps for FUSED ones that follow one another: those of depthwise convolutions channel by
    channel, if maps that are whole in front of them or behind take no more than rows would."""
    fields = [step.fields for step in run]
    for first in range(len(run)):
        last = first + channelled(fields[first:])
        if last > first and _whole(fields, first, last) <= _rows(fields, first, last):
            if first:
                yield from _streams(run[:first])
            these = run[first:last]
            by_channel = Channelled(tuple(fields[first:last]))
            step = these[0]
            yield Step(step.index, "CHANNELLED", step.inputs, these[-1].outputs, by_channel)
            if run[last:]:
                yield from _together(run[last:])
            return
    yield from _streams(run)


def _streams(run):
    """Steps for FUSED ones that follow one another, as many of them together as take the least
    memory at once."""
    fields = [step.fields for step in run]
    best = [(0, 0, ())]  # of the first so many: bytes, how many steps, where each of them ends
    for last in range(1, len(run) + 1):
        best.append(
            min(
                (max(most, _alive(fields[first:last])), steps + 1, (*ends, last))
                for first, (most, steps, ends) in enumerate(best)
            )
        )
    first = 0
    for last in best[-1][2]:
        yield _as_one(run[first:last])
        first = last


def _alive(parts):
    """Bytes of the maps in front of `parts` and behind them, and of the rows that lie between."""
    rows = [
        rows.height * rows.width * windows.channels
        for number, part in enumerate(parts)
        for windows in [part.stages[0][0].windows]
        for rows in [Rows.of(part, part=True)]
        if number or windows.padding != (0, 0)
    ]
    return parts[0].stages[0][0].windows.inputs + sum(rows) + parts[-1].outputs


def _whole(parts, first, last):
    """Bytes of maps that are whole where parts `first` to `last` - 1 are a step of their own."""
    front = parts[first].stages[0][0].windows.inputs if first else 0
    return front + (parts[last - 1].outputs if last < len(parts) else 0)


def _rows(parts, first, last):
    """Bytes of the rows that would be kept instead."""
    kept = parts[max(first, 1) : last + 1]
    sizes = ((Rows.of(part), part.stages[0][0].windows.channels) for part in kept)
    return sum(rows.height * rows.width * channels for rows, channels in sizes)


def _as_one(run):
    """One step for FUSED ones that follow one another."""
    first, last = run[0], run[-1]
    if len(run) == 1 and first.fields.stages[0][0].windows.padding == (0, 0):
        return first
    fields = Streamed(tuple(step.fields for step in run))
    return Step(first.index, "STREAMED", first.inputs, last.outputs, fields)


class _Run:
    """The `stages`, what is `added` and the `pool` of a `Fused` at the beginning of `steps`.

    taken: of the steps; others: tensors that it reads besides.
    """

    def __init__(self, graph, steps):
        self._graph, self._steps = graph, steps
        self.stages, self.added, self.pool, self.others, self.taken = [], None, None, [], 0
        while self._take_stage() and not (self.added or self.pool):
            pass
        if self.stages and not self.pool:
            self._take_pool()

    def _next(self, at, kind, reads):
        """The step `at` places behind what is taken, if it is that kind and the only reader."""
        place = self.taken + at
        if place >= len(self._steps) or self._steps[place].kind != kind:
            return None
        step = self._steps[place]
        only = reads is None or [step] == self._graph.consumers(reads)
        return step if only and reads in (None, step.inputs[0]) else None

    def _take_stage(self):
        """Whether a convolution follows that can be fused, with all that is to be fused with it."""
        before = self._steps[self.taken - 1].outputs[0] if self.stages else None
        conv = self._next(0, "CONVOLUTION", before)
        if conv is None or (self.stages and not conv.fields.one_position):
            return False
        at, value, added, pool = 1, conv.outputs[0], None, None
        if step := self._next(at, "ADD", value):
            added, at, value = step, at + 1, step.outputs[0]
        if step := self._next(at, "MAX_POOL_32", value):
            pool, at, value = step, at + 1, step.outputs[0]
        shift = self._next(at, "FIXED_SHIFT_RELU", value)
        if shift is None or (pool and not _fusible(pool, added)):
            return False
        fields = shift.fields
        if pool:  # of activations, so what is shifted is the map in front of it
            fields = replace(fields, size=pool.fields.windows.inputs)
            self.pool = replace(pool.fields, reads=fields.writes)
        if added:
            self.added, self.others = added.fields, [added.inputs[1]]
        self.stages.append((conv.fields, fields))
        self.taken += at + 1
        return True

    def _take_pool(self):
        pool = self._next(0, "MAX_POOL", self._steps[self.taken - 1].outputs[0])
        if pool and _fusible(pool, self.added):
            self.pool = pool.fields
            self.taken += 1


def _fusible(pool, added):
    """Whether positions can be brought to the pool's windows as they come, each to one; what is
    added must be read at all."""
    windows = pool.fields.windows
    covered = tuple(n * size for n, size in zip(windows.positions, windows.kernel))
    return windows.kernel == windows.stride and (not added or covered == windows.map_size)


def _narrowed(graph):
    """The `Graph` with steps of 16 bits where ShiftNorm reads a convolution whose sums all fit."""
    steps, tensors = list(graph.operators), list(graph.tensors)
    for at, (conv, norm) in enumerate(zip(graph.operators, graph.operators[1:])):
        if (conv.kind, norm.kind) != ("CONVOLUTION", "SHIFTNORM_RELU"):
            continue
        (i,) = conv.outputs
        if conv.fields.windows.count > MOST_WIDE and DTYPES["int16"].holds(tensors[i].range):
            steps[at : at + 2] = (replace(step, kind=f"{step.kind}_16") for step in (conv, norm))
            tensors[i] = replace(tensors[i], dtype="int16")
    return replace(graph, operators=steps, tensors=tensors)
