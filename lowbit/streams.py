"""The kernel of STREAMED: convolutions one behind the other, row by row.

Each part is a function that writes the next row of its map. It keeps the rows that it reads, with
zeros around them where the map is padded, and has the part in front of it write those that it
lacks. So of a map between two parts there are never more rows than a row of windows sees, as in
line buffers of hardware (for microcontrollers: Lin et al., "MCUNetV2", arXiv 2110.15352, which
computes rows of patches anew that this keeps).
"""

import contextlib
from dataclasses import dataclass, replace

from compiler.graph import Step
from compiler.selection import Choice, Kernel, Unfit, choose
from lowbit import convolutions, kernelrows, lanes
from lowbit.maps import Rows, one_row
from lowbit.windows import aligned, row_bytes

FUNCTION = """/* Writes the next row. */
static BITNETMCU_OWN_FRAME void {name}(const int8_t *map, int8_t *to, int8_t *memory) {{
    int32_t *const next = (int32_t *)(void *)memory + {number};
{body}
}}

"""
KEEPS = """    static const BitNetMCU_rows rows = {{{members}}};
    int8_t *const kept = memory + {at};
    uint32_t i;

{clear}    for (i = {times}; i > 0; i--) {{
        int8_t *row = kept + {left};
        uint32_t fresh = BitNetMCU_roll(kept, &rows, *next);

        if (fresh < {height})
            row += {stay};
        for (; fresh > 0; fresh--, row += {row_bytes}, *next += {inside}) {{
            if (*next >= 0 && *next < {map_bytes})
                {write}
            else
                BitNetMCU_clear(row, {inside});
        }}
        {windows}
    }}"""
READS = """    uint32_t i;

{clear}    for (i = {times}; i > 0; i--) {{
        const int8_t *const row = map + *next;

        *next += {step};
        {windows}
    }}"""
DRIVER = """/* Writes all rows. */
static BITNETMCU_OWN_FRAME void {name}(const int8_t *map, int8_t *to, int8_t *memory) {{
    int32_t *const next = (int32_t *)(void *)memory;
    uint32_t y;

{begin}
    for (y = {rows}; y > 0; y--, to += {row_bytes})
        {write}
}}

"""


@dataclass(frozen=True)
class Part:
    """A part of a STREAMED step: `step` and `choice` are those of the `one_row` that it writes.

    whole: its `maps.Fused`; times: that it is executed for a row, where each time it takes one of
    the rows of windows that a pool makes one of. at: where its rows lie in the arena's scratch
    memory. Where the next row that it reads begins in its map, in bytes, is in that memory, too.
    """

    number: int
    whole: object
    step: Step
    choice: Choice
    times: int = 1
    at: int = 0

    @property
    def windows(self):
        return self.whole.stages[0][0].windows

    @property
    def rows(self):
        return Rows.of(self.whole, self.times > 1)

    @property
    def row_bytes(self):
        """Of a row that is kept."""
        return self.rows.width * self.windows.channels

    @property
    def keeps(self):
        """Whether it has rows of its own; they are the map's where that is there, not padded."""
        return self.number > 0 or self.windows.padding != (0, 0)

    @property
    def bytes(self):
        return aligned(self.rows.height * self.row_bytes) if self.keeps else 0

    @property
    def writes(self):
        """(rows, bytes of a row) of its map."""
        part = self.whole.pool.windows.positions if self.whole.pool else self.windows.positions
        channels = self.whole.outputs // (part[0] * part[1])
        return part[0], part[1] * channels

    @property
    def first(self):
        """Where its map begins, with its padding, as it counts."""
        return -self.windows.padding[0] * self.map_row if self.keeps else 0

    @property
    def map_row(self):
        """Bytes of a row of the map that it reads, without padding."""
        return row_bytes(self.windows)


def candidates(step, optimise="size", multiplier=False):
    """The kernels for a STREAMED step: one, made of those of its parts."""
    parts, index, at = [], step.index, 4 * len(step.fields.parts)
    for number, whole in enumerate(step.fields.parts):
        part = replace(_part(number, whole, index, optimise, multiplier), at=at)
        at += part.bytes
        index += len(whole.stages)
        parts.append(part)
    kernels = [part.choice.kernel for part in parts]
    layers = [choice for part in parts for choice in part.choice.packed["layers"]]
    packed = {"parts": parts, "layers": layers, "scratch": at}
    scratch = max(part.choice.scratch for part in parts)
    return (
        Kernel(
            " > ".join(kernel.name for kernel in kernels),
            f"BitNetMCU_rows_{step.index}",
            kernelrows.PLAIN_SOURCE,
            _emit,
            pack=lambda fields: packed,
            scratch=lambda packed: at + scratch,
            uses=(*kernels, kernelrows.GATHER),
        ),
    )


def _part(number, whole, index, optimise, multiplier):
    """The `Part` that writes all rows of windows of a row at once, if there is a kernel for that,
    else one after the other, which takes fewer rows."""
    row = Step(index, "FUSED", [], [], one_row(whole))
    ways = lanes.candidates(optimise, multiplier)
    with contextlib.suppress(Unfit):
        for kernel in ways:
            return Part(number, whole, row, Choice(kernel, kernel.pack(row.fields)))
    row = replace(row, fields=one_row(whole, part=True))
    choice = choose(row, convolutions.candidates(row, optimise, multiplier))
    times = whole.pool.windows.kernel[0] if whole.pool else 1
    return Part(number, whole, row, choice, times)


PARTS = Kernel("streamed", "", kernelrows.PLAIN_SOURCE, None)  # a row's; `candidates` makes them


def _emit(packed, place):
    """The call of a function that has the last part write its rows."""
    parts, (source,), (target,) = packed["parts"], place.inputs, place.outputs
    for part in parts:
        _define(part, packed, place)
    last = parts[-1]
    begin = [f"    next[{part.number}] = {part.first};" for part in parts]
    rows, row_bytes = last.writes
    name = f"{place.prefix}_stream_{place.step.index}"
    place.constants.add(
        DRIVER.format(
            name=name,
            begin="\n".join(begin),
            rows=rows,
            row_bytes=row_bytes,
            write=_call(last, place, "to"),
        )
    )
    yield f"{name}({source}, {target}, {place.scratch});"


def _call(part, place, to):
    """C that has a part write its next row."""
    return f"{place.prefix}_row_{part.step.index}(map, {to}, memory);"


def _define(part, packed, place):
    """Adds the function of a part to the constants."""
    reads = "kept" if part.keeps else "row"
    scratch = f"memory + {packed['scratch']}"
    own = replace(place, step=part.step, inputs=(reads,), outputs=("to",), scratch=scratch)
    *clear, windows = part.choice.kernel.emit(part.choice.packed, own)
    rows, map_windows, inside = part.rows, part.windows, part.map_row
    common = {
        "clear": "".join(f"    {line}\n" for line in clear),
        "times": part.times,
        "windows": windows,
    }
    if part.keeps:
        stay = (rows.height - rows.advance) * part.row_bytes
        members = (part.first, rows.height, rows.advance, rows.height * part.row_bytes, stay)
        write = f"BitNetMCU_gather(map + *next, 1, {inside}, 0, row);"
        if part.number:
            write = _call(packed["parts"][part.number - 1], place, "row")
        body = KEEPS.format(
            members=", ".join(map(str, members)),
            at=part.at,
            left=map_windows.padding[1] * map_windows.channels,
            height=rows.height,
            stay=stay,
            row_bytes=part.row_bytes,
            map_bytes=map_windows.map_size[0] * inside,
            write=write,
            inside=inside,
            **common,
        )
    else:
        body = READS.format(step=rows.advance * inside, **common)
    place.constants.add(
        FUNCTION.format(name=f"{place.prefix}_row_{part.step.index}", number=part.number, body=body)
    )
