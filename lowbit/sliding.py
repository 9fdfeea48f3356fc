"""Windows of readings as a stream: a run gets what is new, and nothing is computed twice.

A network of windows [T, C] is to say every N readings what the last T are. Where a layer's windows
are as far apart as N allows, most of its outputs are those of the run before, N readings on: it
computes the new ones, and the map that they belong to slides. (Known from audio and video, as in
Rybakov et al., "Streaming keyword spotting on mobile devices", arXiv 2005.06720.)

`slide` makes such a graph of a lowered one: tensors keep their content from run to run, and steps
SLIDE them on. SLIDE brings new readings behind those that stay; what a layer computes is written
there (SLIDE_WITHIN), once others have made room. After ceil(T / N) runs values are those of the
window, exactly.
"""

from dataclasses import dataclass, replace

import numpy as np

from cli import UserError
from compiler.graph import STATE, WITHIN, Step, Tensor
from compiler.operators import verify
from lowbit.rules import Slide

KEEPS = ("layers", "input")  # what is kept: maps of layers, as far as they slide; all readings
WORTH = 0.25  # part of the multiply-accumulates that more memory has to save
WINDOWED = ("CONVOLUTION", "MAX_POOL", "SUM_POOL", "MAX_POOL_32", "SUM_POOL_32")


@dataclass(frozen=True)
class Stream:
    """How windows become a stream: `window` readings of `channels` values, a run `every` so many.

    keep: one of KEEPS.
    """

    window: int
    channels: int
    every: int
    keep: str = "layers"

    @property
    def pieces(self):
        """Runs until a window is complete."""
        return -(-self.window // self.every)

    @property
    def lead(self):
        """Readings that the first piece of a window has too many: zeros, which no one looks at."""
        return self.pieces * self.every - self.window

    def pieces_of(self, windows):
        """Integers [B, T * C] -> the inputs of runs, [B * pieces, N * C], a window's in a row."""
        padded = np.pad(windows, [(0, 0), (self.lead * self.channels, 0)])
        return padded.reshape(-1, self.every * self.channels)

    def last(self, values):
        """Of `values` [B * pieces, ...] of runs those of the last run of each window, [B, ...]."""
        return values[self.pieces - 1 :: self.pieces]


def of_windows(graph, input_map, every, keep="layers"):
    """The `Stream` of a lowered graph of windows, its `inputmap.InputMap`, and `every` so many
    readings. Raises `UserError` where there is none."""
    if input_map is None:
        raise UserError(
            "--every is for measured values in the order of time, [time, channels]; this network "
            "reads images: leave --every out"
        )
    *size, _ = graph.input.shape
    channels = getattr(input_map, "channels", graph.input.size)
    window = graph.input.size // channels
    if size and size[0] > 1:
        rows = "x".join(map(str, size))
        raise UserError(
            f"--every is for measured values in the order of time, [time, channels]; this network "
            f"reads maps of {rows}: leave --every out"
        )
    if window == 1:
        raise UserError(
            f"--every is for measured values in the order of time, [time, channels]; samples of "
            f"this network are {channels} features without time: leave --every out"
        )
    if not 1 <= every <= window:
        raise UserError(
            f"--every {every} is not valid; a window has {window} readings, so it takes 1 to "
            f"{window}"
        )
    return Stream(window, channels, every, keep)


def slide(graph, stream):
    """The lowered `Graph` that does with the new readings of a run, integers [N * C], what `graph`
    does with the window [T * C] that they complete.

    From the input on, steps that work on windows in time or value by value compute what is new: a
    window step reads a map that slides and has as many positions as those windows see. It goes as
    far as maps have one row without padding, and strides divide what is new; the map that is there
    slides whole, and the steps behind it are as they were. Only int8 is kept: sums as int32 would
    take four times the memory.
    """
    if stream.every == stream.window:
        return graph
    if stream.keep == "layers":
        graph = _pooled_behind(graph)
    return _Sliding(graph, stream).graph()


def _pooled_behind(graph):
    """The `Graph` with max pools of sums behind the shift instead, which is the same: there they
    are int8, and may slide."""
    steps, tensors = list(graph.operators), list(graph.tensors)
    for at, (pool, shift) in enumerate(zip(graph.operators, graph.operators[1:])):
        if (pool.kind, shift.kind) != ("MAX_POOL_32", "FIXED_SHIFT_RELU"):
            continue
        (source,), (between,), (target,) = pool.inputs, pool.outputs, shift.outputs
        if shift.inputs != [between] or len(graph.consumers(between)) > 1:
            continue
        sums, pooled, left = (graph.tensors[i] for i in (source, between, target))
        size = replace(shift.fields, size=sums.size)
        reads = replace(pool.fields, reads=left.range)
        tensors[between] = replace(left, shape=sums.shape)
        tensors[target] = replace(left, name=pooled.name)
        steps[at : at + 2] = (
            replace(shift, inputs=[source], outputs=[between], fields=size),
            replace(pool, kind="MAX_POOL", inputs=[between], outputs=[target], fields=reads),
        )
    return replace(graph, operators=steps, tensors=tensors)


def _fresh(graph, stream):
    """{index of a tensor: its new positions in a run}, in order, of those that need not be
    computed anew; the last one is int8."""
    (value,), fresh = graph.inputs, stream.every
    found = {value: fresh}
    kept = dict(found)
    for step in graph.operators if stream.keep == "layers" else ():
        (written, *more), readers = step.outputs, graph.consumers(value)
        if readers != [step] or more or written in graph.outputs:
            break
        if step.kind in WINDOWED:
            windows = step.fields.windows
            rows, stride = windows.map_size[0], windows.stride[1]
            if rows > 1 or windows.padding != (0, 0) or fresh % stride:
                break
            if fresh // stride >= windows.count:
                break
            if graph.tensors[value].dtype != "int8" and seen(windows, fresh) != fresh:
                break
            fresh //= stride
        elif step.kind != "FIXED_SHIFT_RELU":
            break
        value = written
        found[value] = fresh
        if graph.tensors[value].dtype == "int8":
            kept = dict(found)
    return kept


def better(graph, stream):
    """The number of new readings, nearest to `stream.every`, with which more layers keep what they
    computed; None where there is none."""
    layers = len(_fresh(graph, stream))
    others = (replace(stream, every=n) for n in range(1, stream.window))
    found = [other.every for other in others if len(_fresh(graph, other)) > layers]
    return min(found, key=lambda n: abs(n - stream.every), default=None)


def seen(windows, fresh):
    """Positions, the last ones of a map of one row, that the `windows` see that are new with
    `fresh` positions, and what is left behind the last window."""
    (_, size), (_, kernel), (_, stride) = windows.map_size, windows.kernel, windows.stride
    return fresh - stride + kernel + (size - kernel) % stride


class _Sliding:
    """Makes the graph of `slide`, step by step."""

    def __init__(self, graph, stream):
        self._whole, self._fresh = graph, _fresh(graph, stream)
        self._tensors, self._steps = list(graph.tensors), []
        (i,) = graph.inputs
        self._tensors[i] = replace(graph.input, shape=(1, stream.window, stream.channels))

    def graph(self):
        last, taken = list(self._fresh)[-1], len(self._fresh) - 1
        _, positions, _ = self._tensors[last].shape
        for i, fresh in self._fresh.items():
            _, _, channels = self._tensors[i].shape
            self._tensors[i] = replace(self._tensors[i], shape=(1, fresh, channels))
        whole = self._whole
        for step in whole.operators[:taken]:
            self._take(step)
        state = self._slides(last, positions)
        for step in whole.operators[taken:]:
            inputs = [state if i == last else i for i in step.inputs]
            self._steps.append(replace(step, inputs=inputs))
        return verify(replace(whole, operators=self._steps, tensors=self._tensors))

    def _take(self, step):
        """A step that computes what is new."""
        (value,), fields = step.inputs, step.fields
        if step.kind in WINDOWED:
            positions = seen(fields.windows, self._fresh[value])
            value = self._slides(value, positions)
            fields = replace(fields, windows=replace(fields.windows, map_size=(1, positions)))
        else:
            fields = replace(fields, size=self._tensors[value].size)
        self._steps.append(replace(step, inputs=[value], fields=fields))

    def _slides(self, value, positions):
        """The index of a tensor that keeps the last `positions` of the map of which `value` is
        new; `value` itself where that is all of them."""
        fresh = self._tensors[value]
        rows, new, channels = fresh.shape
        if new == positions:
            return value
        shape = (rows, positions, channels)
        kept = Tensor(f"kept_{fresh.name}", shape, "int8", range=fresh.range, storage=STATE)
        self._tensors.append(kept)
        state = len(self._tensors) - 1
        index = self._steps[-1].index if self._steps else 0
        fields, kind = Slide(kept.size, fresh.size, fresh.range), "SLIDE"
        if value not in self._whole.inputs and new < positions:
            self._tensors[value] = replace(fresh, storage=WITHIN)
            kind = "SLIDE_WITHIN"
        self._steps.append(Step(index, kind, [state, value], [state], fields))
        return state


@dataclass(frozen=True)
class Cost:
    """What a run of a compiled stream takes: multiply-accumulates; bytes of memory that keeps its
    content, and of the arena."""

    macs: int
    state: int
    arena: int

    @classmethod
    def of(cls, compiled):
        graph = compiled.graph
        macs = sum(graph.row(step).costs(graph, step)[0] for step in graph.operators)
        return cls(macs, compiled.state, compiled.arena)

    @property
    def memory(self):
        return self.state + self.arena


def choice(costs):
    """Which of KEEPS to take of {one of them: its `Cost`}.

    Layers that keep what they computed never compute more. Time is spent again in each run, so
    they may take more memory, if they save a good part of it (WORTH): else the next larger network
    would be the better use of it.
    """
    layers, whole = costs["layers"], costs["input"]
    if layers.macs == whole.macs:
        return "input"
    saves = layers.macs <= (1 - WORTH) * whole.macs
    return "layers" if saves or layers.memory <= whole.memory else "input"
