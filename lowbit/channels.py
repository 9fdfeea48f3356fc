"""The kernels of CHANNELLED: convolutions one behind the other, a channel at a time.

No output of a depthwise convolution needs another channel, so all parts are done with one before
the next one is begun: of what lies between there is never more than the map of a channel.
"""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from compiler.graph import Step
from compiler.selection import Choice, Kernel, Unfit
from lowbit import convolutions, kernelrows, taps
from lowbit.maps import one_channel
from lowbit.windows import ALIGNMENT, Gathered, aligned

FUNCTION = """/* Channel by channel. */
static BITNETMCU_OWN_FRAME void {name}(const int8_t *map, int8_t *to, int8_t *memory) {{
{body}
}}

"""
LARGEST_TAP = 128
MOST_COLUMNS = 255  # and rows


def _size(part):
    """(rows, columns) of what a part writes."""
    return (part.pool or part.stages[0][0]).windows.positions


def _call(place, lines):
    """The call of a function with these lines, which it adds to the constants."""
    name = f"{place.prefix}_channels_{place.step.index}"
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    place.constants.add(FUNCTION.format(name=name, body=body))
    (source,), (target,) = place.inputs, place.outputs
    return f"{name}({source}, {target}, {place.scratch});"


# --- any part, by plain kernels


@dataclass(frozen=True)
class OneOutput(Gathered):
    """The sum of one output, `channel`, whose words are at `weights`. choice: for all outputs."""

    def of_window(self, names, place):
        (window,), (sums,), packed = place.inputs, place.outputs, self.choice.packed
        values, function = packed["layer"].inputs, self.choice.kernel.function
        yield f"{function}({window}, weights, {values}, 1, {sums});"
        yield from kernelrows.emit_corrections(packed, place, "channel")


@dataclass(frozen=True)
class Part:
    """A part of a CHANNELLED step: of one channel, `step`, and what convolutions.py makes of that.

    layer: the `Choice` for all channels. reads, writes: C for its maps.
    """

    step: Step
    packed: dict
    layer: Choice
    reads: str
    writes: str

    @property
    def weights(self):
        return f"weights_{self.step.index}"

    @property
    def words(self):
        """Of weights of a channel."""
        packed = self.layer.packed
        return packed["words"].size // packed["layer"].outputs


def _parts(step, at):
    """The `Part`s of a step, their maps from `at` on in its memory, and (C, size) of each map."""
    parts, maps = [], []
    whole = step.fields.parts
    windows = whole[0].stages[0][0].windows
    sizes = [windows.map_size, *map(_size, whole)]
    counts = [rows * columns for rows, columns in sizes]
    if windows.channels == 1:
        counts[0] = 0  # it is read where it is
    other = at + aligned(max(counts[0::2]))  # where every second map lies
    for number, count in enumerate(counts):
        maps.append((f"memory + {other if number % 2 else at}" if count else "map", count))
    for number, fused in enumerate(whole):
        ((conv, _),) = fused.stages
        plain = kernelrows.kernels_of(conv.layer.format)[-1]
        layer, one = Choice(plain, plain.pack(conv.layer)), one_channel(fused)
        index = step.index + number
        corrected = any(layer.packed[what] is not None for what in ("surplus", "factors"))
        more = [("const uint32_t *weights", f"weights_{index}")]
        more += [("uint32_t channel", "channel")] * corrected
        window = OneOutput(one.stages[0][0].windows, layer)
        packed = convolutions.packed_of(replace(step, kind="FUSED", fields=one), [window], more)
        own = replace(step, index=index, fields=one)
        parts.append(Part(own, packed, layer, maps[number][0], maps[number + 1][0]))
    return parts, maps, other + aligned(max(counts[1::2]))


def _emit_plain(packed, place):
    parts, channels = packed["parts"], packed["channels"]
    (read, read_count), *_, (written, count) = packed["maps"]
    lines = ["uint32_t channel;"]
    inside, behind = [], []
    if read_count:
        inside.append(f"BitNetMCU_gather(map + channel, {read_count}, 1, {channels}, {read});")
    for part in parts:
        own = replace(
            place,
            step=part.step,
            inputs=(part.reads,),
            outputs=(part.writes,),
            scratch="memory",
        )
        kernel = convolutions.kernel(part.step, part.packed)
        inside += kernel.emit(part.packed, own)
        weights = kernelrows.weights_of(part.layer.packed, own)
        lines.append(f"const uint32_t *{part.weights} = {weights};")
        behind.append(f"{part.weights} += {part.words};")
    inside.append(f"BitNetMCU_scatter({written}, {count}, to + channel, {channels});")
    lines += ["", f"for (channel = 0; channel < {channels}; channel++) {{"]
    lines += [f"    {line}" for line in (*inside, *behind)]
    yield _call(place, [*lines, "}"])


def _plain(step):
    at = convolutions.Memory((0,), size=ALIGNMENT).size  # the sum of one output
    parts, maps, size = _parts(step, at)
    kernels = [part.layer.kernel for part in parts]
    packed = {
        "parts": parts,
        "maps": maps,
        "channels": step.fields.channels,
        "layers": [part.layer for part in parts],
    }
    return Kernel(
        " > ".join(kernel.name for kernel in kernels),
        f"BitNetMCU_channels_{step.index}",
        kernelrows.PLAIN_SOURCE,
        _emit_plain,
        pack=lambda fields: packed,
        scratch=lambda packed: size,
        uses=(*kernels, kernelrows.FIXED_SHIFT_RELU, kernelrows.GATHER),
    )


# --- 3x3, by kernels/depthwise.c


def taps_of(part, channel, multiplier=False):
    """(bytes, bytes of code) as `taps.pack_depthwise` gives them. Raises `Unfit`."""
    ((conv, shift),) = part.stages
    layer = conv.layer
    factor = 1 if layer.factors is None else int(layer.factors[channel])
    bias = 0 if layer.bias is None else int(layer.bias[channel])
    weights = layer.weights[channel] * factor
    if np.abs(weights).max() > LARGEST_TAP:
        raise Unfit(f"weights times their factor reach {np.abs(weights).max()}, past {LARGEST_TAP}")
    highest = layer.reads.highest
    return taps.pack_depthwise(weights, factor * bias, shift.shift, highest, multiplier)


def pack(fields, multiplier=False):
    """What kernels/depthwise.c is given for a `maps.Channelled`. Raises `Unfit`."""
    for part in fields.parts:
        ((conv, _),) = part.stages
        windows = conv.windows
        if windows.kernel != (3, 3) or windows.stride != (1, 1) or windows.padding != (0, 0):
            raise Unfit("for 3x3 windows of maps without padding, one apart")
        if part.pool and part.pool.windows.kernel != (2, 2):
            raise Unfit("for pools of 2x2")
        if conv.layer.reads.signed:
            raise Unfit(f"inputs may be negative, down to {conv.layer.reads.lowest}")
        if max(windows.map_size) > MOST_COLUMNS:
            raise Unfit(f"maps of more than {MOST_COLUMNS} rows or columns")
    channels = range(fields.channels)
    found = [[taps_of(part, channel, multiplier) for part in fields.parts] for channel in channels]
    layers, kernel = [], MULTIPLYING if multiplier else KERNEL
    for number, part in enumerate(fields.parts):
        own = np.array([byte for row in found for byte in row[number][0]], np.uint8)
        layers.append(Choice(kernel, kernelrows.packed_layer(part.stages[0][0].layer, own, 0)))
        layers[-1].packed.update(surplus=None, factors=None)  # they are in the taps
    return {
        "fields": fields,
        "function": kernel.function,
        "layers": layers,
        "taps": np.array([byte for row in found for part, _ in row for byte in part], np.uint8),
        "code": max(code for row in found for _, code in row),
    }


@dataclass(frozen=True)
class Memory:
    """What kernels/depthwise.c works in, in words.

    maps: those of a channel, which all parts write over, in the arena. kept: the map that all
    channels read, in pairs, 0 where each has its own; to make pairs of it for each channel would
    take a quarter of the time. code: what the kernel writes. They are on the stack of a function,
    as frames of other kernels are then, so that the arena is no larger than a layer behind needs.
    """

    maps: int
    kept: int
    code: int

    @classmethod
    def of(cls, packed):
        fields = packed["fields"]
        windows = fields.parts[0].stages[0][0].windows
        first, *others = (_words(size) for size in (windows.map_size, *map(_size, fields.parts)))
        code = aligned(packed["code"]) // ALIGNMENT
        if windows.channels > 1:
            return cls(max(first, *others), 0, code)
        return cls(max(others), first, code)


def _words(size):
    """Of a map of one channel in pairs."""
    rows, columns = size
    return -(-rows // 2) * columns


def _emit(packed, place):
    fields, memory = packed["fields"], Memory.of(packed)
    channels, name = fields.channels, f"{place.prefix}_weights_{place.step.index}"
    bytes_of = place.constants.array(name, packed["taps"])
    stages = []
    for part in fields.parts:
        ((conv, shift),) = part.stages
        members = (*conv.windows.map_size, shift.writes.highest, int(bool(part.pool)))
        stages.append(f"{{{', '.join(map(str, members))}}}")
    windows = fields.parts[0].stages[0][0].windows
    rows, columns = windows.map_size
    kept = f"kept[{memory.kept}], " if memory.kept else ""
    lines = [
        f"static const BitNetMCU_depthwise stages[] = {{{', '.join(stages)}}};",
        "uint32_t *const maps = (uint32_t *)(void *)memory;",
        f"uint32_t {kept}code[{memory.code}], channel;",
        f"const uint8_t *taps = {bytes_of};",
        "",
        "code[0] = 0;",
    ]
    pair = f"BitNetMCU_pair_rows({{}}, {rows}, {columns}, {windows.channels}, {{}});"
    lines += [pair.format("map", "kept")] * bool(kept)
    lines.append(f"for (channel = {channels}; channel > 0; channel--) {{")
    inside = [] if kept else [pair.format("map++", "maps")]
    for number in range(len(stages)):
        read = "kept" if kept and not number else "maps"
        stage = f"stages + {number}" if number else "stages"
        inside.append(f"taps = {packed['function']}({read}, {stage}, taps, maps, code);")
    rows, columns = _size(fields.parts[-1])
    inside.append(f"BitNetMCU_unpair_rows(maps, {rows}, {columns}, {channels}, to++);")
    lines += [f"    {line}" for line in inside]
    yield _call(place, [*lines, "}"])


KERNEL = Kernel(
    "depthwise",
    "BitNetMCU_depthwise_3x3",
    kernelrows.ROOT / "kernels" / "depthwise.c",
    _emit,
    pack=pack,
    scratch=lambda packed: ALIGNMENT * Memory.of(packed).maps,
    assembly=kernelrows.ROOT / "kernels" / "riscv" / "depthwise.S",
)
MULTIPLYING = replace(
    KERNEL,
    function="BitNetMCU_multiply_3x3",
    pack=partial(pack, multiplier=True),
    multiplier=True,
)
PARTS = Kernel("channelled", "", kernelrows.PLAIN_SOURCE, None)  # a row's; `candidates` makes them


def candidates(step, optimise="size", multiplier=False):
    """The kernels for a CHANNELLED step, the last one of plain kernels."""
    fast = [MULTIPLYING if multiplier else KERNEL]
    return (*(fast if optimise == "speed" else []), _plain(step))
