"""The kernels of convolutions: loops over the positions of a map, around kernels of one window.

A `Window` is how the sums of one position are computed: by a kernel of LINEAR over the gathered
values of the window, or from lists that all windows of a row share (kernels/strips.c).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from compiler.emission import Place
from compiler.graph import Step
from compiler.selection import Choice, Kernel, Unfit, choose
from lowbit import kernelrows, layouts, straightline
from lowbit.rules import Convolution, Windows

MOST_LISTS = 7  # BITNETMCU_STRIP_LISTS, where nothing is known of a network
ALIGNMENT = 4  # of what lies in scratch memory


def aligned(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Gathered:
    """The values of a window are brought together, unless they lie so, for a kernel of LINEAR."""

    windows: Windows
    choice: Choice

    @property
    def _padded(self):
        return self.windows.padding != (0, 0)

    @property
    def _together(self):
        """Whether the values of a window lie side by side in the map."""
        rows, columns = self.windows.kernel
        return not self._padded and (rows == 1 or columns == self.windows.map_size[1])

    @property
    def _values(self):
        rows, columns = self.windows.kernel
        return rows * columns * self.windows.channels

    @property
    def scratch(self):
        return 0 if self._together else aligned(self._values)

    @property
    def words(self):
        """The same in words, as C."""
        return str(self.scratch // ALIGNMENT)

    def before(self, names, place, source):
        """Lines in front of all loops. names: makes a name of its own for each word; source: the
        map."""
        if self.scratch:
            yield f"int8_t *const {names('window')} = {place.scratch};"
        if self._padded:
            windows = self.windows
            sizes = (*windows.map_size, windows.channels, row_bytes(windows))
            fields = (*sizes, *windows.kernel)
            values = ", ".join(map(str, fields))
            yield f"static const BitNetMCU_padded {names('padded')} = {{{values}}};"
            top = -windows.padding[0]
            yield f"int32_t {names('top')} = {top}, {names('line')} = {top * row_bytes(windows)};"

    def row(self, names, source):
        """Lines at the beginning of a row of windows, whose first one begins at `source`."""
        if self._padded:
            left = -self.windows.padding[1]
            yield f"int32_t {names('left')} = {left};"
            place = f"{names('line')} + {left * self.windows.channels}"
            yield f"int32_t {names('place')} = {place};"
        else:
            yield f"const int8_t *{names('corner')} = {source};"

    def position(self, names, place, source, sums):
        """Lines that bring the sums of one position to `sums`."""
        windows, window = self.windows, names("window")
        rows, columns = windows.kernel
        if self._padded:
            where = ", ".join(names(word) for word in ("padded", "top", "left", "place"))
            yield f"BitNetMCU_gather_padded({source}, &{where}, {window});"
        elif not self._together:
            sizes = f"{rows}, {columns * windows.channels}, {row_bytes(windows)}"
            yield f"BitNetMCU_gather({names('corner')}, {sizes}, {window});"
        else:
            window = names("corner")
        place = replace(place, inputs=(window,), outputs=(sums,))
        yield from self.choice.kernel.emit(self.choice.packed, place)

    def next_position(self, names):
        stride = self.windows.stride[1]
        if self._padded:
            advance = stride * self.windows.channels
            return [f"{names('left')} += {stride};", f"{names('place')} += {advance};"]
        return [f"{names('corner')} += {stride * self.windows.channels};"]

    def next_row(self, names):
        if not self._padded:
            return []
        stride = self.windows.stride[0]
        advance = stride * row_bytes(self.windows)
        return [f"{names('top')} += {stride};", f"{names('line')} += {advance};"]


def row_bytes(windows):
    """From row to row of a map."""
    return windows.map_size[1] * windows.channels


@dataclass(frozen=True)
class Strip:
    """Lists of the set bits of a strip of the map, from which all windows of a row are summed."""

    windows: Windows
    choice: Choice

    @property
    def _bits(self):
        return self.choice.packed["layer"].reads.bits

    @property
    def scratch(self):
        return aligned(self._entries + MOST_LISTS * self._edges)

    @property
    def _entries(self):
        return self._bits * positions_of(self.windows)

    @property
    def _edges(self):
        return self.windows.map_size[1] + 1

    @property
    def words(self):
        return f"({self._entries} + BITNETMCU_STRIP_LISTS * {self._edges} + 3) / {ALIGNMENT}"

    def before(self, names, place, source):
        windows, packed = self.windows, self.choice.packed
        width, rows = windows.map_size[1], windows.kernel[0]
        layer = packed["layer"]
        sizes = (row_bytes(windows), width, rows, windows.channels)
        counts = (self._bits, positions_of(windows), self._entries)
        window = (windows.kernel[1], layer.outputs, layer.inputs)
        members = (*sizes, *counts, *window, kernelrows.weights_of(packed, place))
        members += (*layouts.strip_constants(layer), rows * row_bytes(windows))
        values = ", ".join(map(str, members))
        yield f"static const BitNetMCU_strip {names('strip')} = {{{values}}};"
        yield f"uint8_t *const {names('lists')} = (uint8_t *)({place.scratch});"

    def row(self, names, source):
        yield f"uint32_t {names('first')} = 0, {names('at')} = 0;"
        yield f"BitNetMCU_scan_strip({source}, &{names('strip')}, {names('lists')});"

    def position(self, names, place, source, sums):
        where = f"{names('first')}, {names('at')}, {sums}"
        yield f"BitNetMCU_window_nibbles({names('lists')}, &{names('strip')}, {where});"
        place = replace(place, outputs=(sums,))
        yield from kernelrows.emit_corrections(self.choice.packed, place)

    def next_position(self, names):
        windows = self.windows
        stride = windows.stride[1]
        return [
            f"{names('first')} += {stride};",
            f"{names('at')} += {stride * windows.kernel[0] * windows.channels};",
        ]

    def next_row(self, names):
        return []


@dataclass(frozen=True)
class Pairs:
    """The last stage, at two positions at a time, as code (straightline.py)."""

    choice: Choice
    scratch = 0

    def before(self, names, place, source):
        name = f"{place.prefix}_{names('code')}"
        place.constants.text += straightline.function(name, self.choice.packed["layer"])
        yield f"uint32_t *const {names('pairs')} = (uint32_t *)(void *)({place.scratch});"

    def sums(self, names, place, sums, count):
        """Lines that bring the sums of `count` positions to `sums`."""
        packed = self.choice.packed
        yield f"{place.prefix}_{names('code')}({names('pairs')}, {sums});"
        for half in range(count):
            at = f"{sums} + {half * packed['layer'].outputs}" if half else sums
            yield from kernelrows.emit_corrections(packed, replace(place, outputs=(at,)))


def positions_of(windows):
    """Values of a strip: the rows of a map that a row of windows sees."""
    return windows.kernel[0] * row_bytes(windows)


def pack_strip(conv):
    """What kernels/strips.c is given for a `Convolution`."""
    windows, layer = conv.windows, conv.layer
    if windows.padding != (0, 0):
        raise Unfit("maps with padding")
    positions, most = positions_of(windows), layouts.STRIP_POSITIONS
    if positions > most:
        raise Unfit(f"strips of {positions} values, at most {most}")
    # By columns of pixels, as positions of a strip are numbered.
    rows, columns = windows.kernel
    weights = layer.weights.reshape(layer.outputs, rows, columns, windows.channels)
    by_column = replace(layer, weights=weights.swapaxes(1, 2).reshape(layer.outputs, -1))
    return kernelrows.packed_layer(layer, layouts.pack_strips(by_column), 0)


STRIPS = Kernel(
    "strips",
    "BitNetMCU_window_nibbles",
    kernelrows.ROOT / "kernels" / "strips.c",
    emit=None,  # a `Strip` calls it
    pack=pack_strip,
    assembly=kernelrows.ROOT / "kernels" / "riscv" / "strips.S",
    formats=layouts.STRIP_FORMATS,
)


def window_of(conv, optimise, multiplier, in_pairs):
    """The kernel for a window of a `Convolution`, and how it is used.

    in_pairs: it may take two positions at a time.
    """
    kernels = kernelrows.candidates(conv.layer, optimise, multiplier)
    ways = ()
    if optimise == "speed" and not multiplier:
        pairs = (straightline.KERNEL, conv.layer, Pairs)
        strip = (STRIPS, conv, partial(Strip, conv.windows))
        ways = (pairs, strip) if in_pairs else (strip,)
    skipped = ()
    for kernel, fields, used in ways:
        try:
            return used(Choice(kernel, kernel.pack(fields), skipped))
        except Unfit as reason:
            skipped += (f"{kernel.name}: {reason}",)
    choice = choose(Step(0, "LINEAR", [], [], conv.layer), kernels)
    return Gathered(conv.windows, replace(choice, skipped=skipped + choice.skipped))


# --- loops

FUNCTION = """/* {comment} */
static BITNETMCU_OWN_FRAME void {name}(const int8_t *map, {parameters}) {{
{body}
}}

"""


def _names(number):
    return lambda word: f"{word}_{number}"


def _loops(window, index, inside):
    """Lines that run `inside`, lines for one position, at all positions of the first window."""
    names = _names(index)
    rows, columns = window.windows.positions
    stride = window.windows.stride[0] * row_bytes(window.windows)
    yield "uint32_t y, x;"
    yield ""
    yield f"for (y = {rows}; y > 0; y--) {{"
    yield from _indented(window.row(names, "row"))
    yield ""
    yield f"    for (x = {columns}; x > 0; x--) {{"
    yield from _indented(inside, 2)
    yield from _indented(window.next_position(names), 2)
    yield "    }"
    yield from _indented(window.next_row(names))
    yield f"    row += {stride};"
    yield "}"


def _indented(lines, depth=1):
    return [f"{'    ' * depth}{line}" if line else "" for line in lines]


@dataclass(frozen=True)
class Stage:
    """A stage of a step, at one position, in the function that executes it.

    number: in the step; window: how it is computed; place: as its kernel takes it. behind: what
    brings its sums to what it writes, (sums, count, to, *half) -> a line; None where those are
    what it writes. C for where its values lie: reads, sums, writes, and at: the memory of its sums.
    """

    number: int
    window: object
    outputs: int
    place: Place
    behind: Callable | None
    reads: str
    sums: str = "to"
    at: str = ""
    writes: tuple = ("to",)

    @property
    def names(self):
        return _names(self.place.step.index)

    def before(self):
        """Lines in front of all loops."""
        if self.at:
            yield f"int32_t *const {self.sums} = (int32_t *)(void *)({self.at});"
        yield from self.window.before(self.names, self.place, self.reads)

    @property
    def in_pairs(self):
        return isinstance(self.window, Pairs)

    def position(self):
        """Lines for one position, `half` of two where they are taken in pairs."""
        if self.in_pairs:
            yield "if (half) {"
            yield from _indented([*self.positions(2), f"to += {2 * self.outputs};"])
            yield "}"
            yield "half ^= 1;"
            return
        if self.number:  # a map of one
            yield from self.window.row(self.names, self.reads)
        yield from self.window.position(self.names, self.place, "map", self.sums)
        if self.behind:
            yield self.behind(self.sums, self.outputs, *self.writes)

    def positions(self, count):
        """Lines for one or two positions of `Pairs`."""
        yield from self.window.sums(self.names, self.place, self.sums, count)
        if self.behind:
            yield self.behind(self.sums, count * self.outputs, *self.writes)


def _stages(packed, place, words):
    """The `Stage`s of a step. words: the memory that the first window needs."""
    memory, windows, found, reads = Memory.of(packed), packed["windows"], [], "map"
    for number, (window, (conv, behind)) in enumerate(zip(windows, packed["stages"])):
        works_in = f"memory + {memory.windows[number - 1]}" if number else words
        index = place.step.index + number
        own = replace(place, step=replace(place.step, index=index), scratch=works_in)
        stage = Stage(number, window, conv.layer.outputs, own, behind, reads)
        if behind:
            reads = f"memory + {memory.sums[number]}"
            stage = replace(stage, sums=stage.names("sums"), at=reads)
        if window is not windows[-1]:  # over its sums, or where two are brought together
            in_pairs = isinstance(windows[number + 1], Pairs)
            pairs = (_names(index + 1)("pairs"), "half")
            stage = replace(stage, writes=pairs if in_pairs else (reads,))
        found.append(stage)
    return found


def _emit(packed, place):
    """A function of its own: the memory that the first window needs, for all of a row, is on its
    stack, and not there while kernels of other steps have their frames. What stages need for one
    position is the arena's."""
    stages, first = _stages(packed, place, "(int8_t *)words"), packed["windows"][0]
    last, inside, behind = stages[-1], [], []
    lines = [f"uint32_t words[{first.words}];"] * bool(first.scratch)
    lines.append("const int8_t *row = map;")
    for stage in stages:
        lines += stage.before()
        inside += stage.position()
    if last.in_pairs:
        lines.append("uint32_t half = 0;")
        behind = last.positions(1) if first.windows.count % 2 else ()
    else:
        inside.append(f"to += {last.outputs};")
    lines += [*_loops(first, place.step.index, inside), *behind]
    yield _defined(packed, place, lines)


def _emit_pairs(packed, place):
    """All positions of a map, two at a time; where their number is odd, the last but one twice."""
    (stage,), ((conv, _),) = _stages(packed, place, "words"), packed["stages"]
    inputs, outputs, count = conv.layer.inputs, conv.layer.outputs, conv.windows.count
    lines = [f"uint32_t words[{inputs}], left;", *stage.before()]
    both = [
        f"BitNetMCU_gather_pairs(map, map + {inputs}, {inputs}, {stage.names('pairs')});",
        *stage.positions(2),
    ]
    advance = [f"map += {2 * inputs};", f"to += {2 * outputs};"]
    lines += ["", f"for (left = {count // 2}; left > 0; left--) {{"]
    lines += [*_indented([*both, *advance]), "}"]
    if count % 2:
        lines += [f"map -= {inputs};", f"to -= {outputs};", *both]
    yield _defined(packed, place, lines)


def _defined(packed, place, lines):
    """The call of the function that executes a step, which it adds to the constants."""
    (source,), (target,), kind = place.inputs, place.outputs, packed["kind"]
    name, parameters, arguments = f"{place.prefix}_windows_{place.step.index}", "", ""
    if Memory.of(packed).size:
        parameters, arguments = ", int8_t *memory", f", {place.scratch}"
    place.constants.text += FUNCTION.format(
        name=name,
        comment=f"Writes what {kind.comment}.",
        parameters=f"{kind.ctype} *to{parameters}",
        body="\n".join(_indented(lines)),
    )
    return f"{name}({source}, {target}{arguments});"


@dataclass(frozen=True)
class Memory:
    """The arena's scratch memory for what is there of one position.

    sums, windows: offsets of the sums of each stage, and of what the windows behind the first one
    work in; size: bytes in all. Activations lie over the sums that they come from.
    """

    sums: tuple = ()
    windows: tuple = ()
    size: int = 0

    @classmethod
    def of(cls, packed):
        windows, stages = packed["windows"], packed["stages"]
        outputs = [conv.layer.outputs for conv, _ in stages]
        if stages[-1][1] is None:  # sums are what is written
            return cls()
        if isinstance(windows[-1], Pairs):
            both = 8 * outputs[-1]
            if len(stages) == 1:
                return cls((0,), size=both)
            others = cls.of({"windows": windows[:-1], "stages": stages[:-1]})
            at = max(others.size, both)
            return cls((*others.sums, 0), (*others.windows, at), at + 4 * outputs[-2])
        sums = [sum(map(aligned, outputs[:number])) for number in range(len(outputs))]
        ends = [at + 4 * count for at, count in zip(sums, outputs)]
        needed = [end + window.scratch for end, window in zip(ends[1:], windows[1:])]
        return cls(tuple(sums), tuple(ends[1:]), max([ends[0], *needed]))


# --- the steps that they execute


def _requantise(shift, sums, count, to, half=None):
    kind, more = ("relu", "") if half is None else ("pairs", f", {half}")
    arguments = f"{sums}, {count}, {to}, {shift.shift}, {shift.writes.highest}{more}"
    return f"BitNetMCU_fixed_shift_{kind}({arguments});"


def _narrow(sums, count, to):
    return f"{kernelrows.NARROW.function}({sums}, {count}, {to});"


@dataclass(frozen=True)
class Kind:
    """Steps of one kind. ctype: of the values that they write; comment: what those are.

    stages: fields -> pairs (`Convolution`, what is `behind` it in a `Stage`). uses: kernels of
    what is behind. pairs: from so many positions on, a first stage may take two at a time.
    """

    ctype: str
    comment: str
    stages: Callable
    uses: tuple = ()
    pairs: float = math.inf


SUMS = "its windows sum to"
KINDS = {
    "CONVOLUTION": Kind("int32_t", SUMS, lambda conv: ((conv, None),), pairs=2),
    "CONVOLUTION_16": Kind(
        "int16_t",
        SUMS,
        lambda conv: ((conv, _narrow),),
        (kernelrows.NARROW,),
        pairs=5,  # of up to four, the sums of two would take what int16 saves
    ),
    "FUSED": Kind(
        "int8_t",
        "is left of it",
        lambda fused: tuple((conv, partial(_requantise, shift)) for conv, shift in fused.stages),
        (kernelrows.FIXED_SHIFT_RELU,),
    ),
}
PARTS = Kernel("parts", "", kernelrows.PLAIN_SOURCE, None)  # a row's; `candidates` makes them


def candidates(step, optimise="size", multiplier=False):
    """The kernels for a step of one of KINDS: one, made of those of its windows."""
    multiplier = multiplier or optimise == "host"
    kind = KINDS[step.kind]
    stages, windows = kind.stages(step.fields), []
    for number, (conv, _) in enumerate(stages):
        if number:  # executed position by position: a map of one
            conv = Convolution(conv.layer, replace(conv.windows, map_size=(1, 1)))
        in_pairs = number == len(stages) - 1
        if not number:
            in_pairs &= conv.windows.one_position and conv.windows.count >= kind.pairs
        windows.append(window_of(conv, optimise, multiplier, in_pairs))
    choices = [window.choice for window in windows]
    packed = {"kind": kind, "windows": windows, "stages": stages, "layers": choices}
    uses = [*(choice.kernel for choice in choices), *kind.uses]
    kernel = Kernel(
        "+".join(choice.kernel.name for choice in choices),
        f"BitNetMCU_windows_{step.index}",
        kernelrows.PLAIN_SOURCE,
        _emit_pairs if isinstance(windows[0], Pairs) else _emit,
        pack=lambda fields: packed,
        scratch=lambda packed: Memory.of(packed).size,
        uses=tuple(uses),
    )
    return (kernel,)
