"""The kernels of convolutions: loops over the positions of a map, around kernels of one window.

A `Window` is how the sums of one position are computed: by a kernel of LINEAR over the gathered
values of the window, or from lists that all windows of a row share (kernels/strips.c).
"""

from dataclasses import dataclass, replace
from functools import partial

from compiler.graph import Step
from compiler.selection import Choice, Kernel, Unfit, choose
from lowbit import kernelrows, layouts, straightline
from lowbit.rules import Convolution, Windows

MOST_LISTS = 8  # BITNETMCU_BITS, where it is not defined
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
        return f"({self._entries} + BITNETMCU_BITS * {self._edges} + 3) / {ALIGNMENT}"

    def before(self, names, place, source):
        windows, packed = self.windows, self.choice.packed
        width, rows = windows.map_size[1], windows.kernel[0]
        layer = packed["layer"]
        sizes = (row_bytes(windows), width, rows, windows.channels)
        counts = (self._bits, positions_of(windows), self._entries)
        window = (windows.kernel[1], layer.outputs, layer.inputs)
        members = (*sizes, *counts, *window, kernelrows.weights_of(packed, place))
        values = ", ".join(f"{member}" for member in (*members, *layouts.strip_constants(layer)))
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


def _emit(packed, place):
    """A function of its own: the memory that the first window needs, for all of a row, is on its
    stack, and not there while kernels of other steps have their frames. What stages need for one
    position is the arena's."""
    (source,), (target,) = place.inputs, place.outputs
    fused, stages, index = packed["fused"], packed["stages"], place.step.index
    memory, lines, inside, reads = Memory.of(packed), [], [], "map"
    first, last = packed["windows"][0], len(stages) - 1
    if first.scratch:
        lines.append(f"uint32_t words[{first.words}];")
    lines.append("const int8_t *row = map;")
    for number, (window, (conv, shift)) in enumerate(zip(packed["windows"], stages)):
        names, sums = _names(index + number), "to"
        own_step = replace(place.step, index=index + number)
        works_in = f"memory + {memory.windows[number - 1]}" if number else "(int8_t *)words"
        at = replace(place, step=own_step, scratch=works_in)
        if fused:
            sums = names("sums")
            here = f"memory + {memory.sums[number]}"
            lines.append(f"int32_t *const {sums} = (int32_t *)(void *)({here});")
        lines += window.before(names, at, reads)
        if isinstance(window, Pairs):
            break
        if number:
            inside += window.row(names, reads)
        inside += window.position(names, at, "map", sums)
        if fused:
            requantise = partial(_requantise, sums, conv.layer.outputs, shift)
            if number < last and isinstance(packed["windows"][number + 1], Pairs):
                pairs = _names(index + number + 1)("pairs")
                inside.append(requantise(pairs, "pairs", ", half"))
                continue
            reads = "to" if number == last else here  # over the sums
            inside.append(requantise(reads))
    outputs = stages[-1][0].layer.outputs
    behind = []
    if isinstance(window, Pairs):
        both, one = (
            [*window.sums(names, at, sums, count), _requantise(sums, count * outputs, shift, "to")]
            for count in (2, 1)
        )
        advance = f"to += {2 * outputs};"
        inside += ["if (half) {", *_indented([*both, advance]), "}", "half ^= 1;"]
        lines.append("uint32_t half = 0;")
        behind = one if first.windows.count % 2 else []
    else:
        inside.append(f"to += {outputs};")
    lines += [*_loops(first, index, inside), *behind]
    if fused:
        _define(place, "is left of it", "int8_t *to, int8_t *memory", lines)
    else:
        _define(place, "its windows sum to", "int32_t *to", lines)
    arguments = [source, target, *[place.scratch] * fused]
    yield f"{place.prefix}_windows_{index}({', '.join(arguments)});"


def _emit_pairs(packed, place):
    """All positions of a map, two at a time; where their number is odd, the last but one twice."""
    (source,), (target,) = place.inputs, place.outputs
    names = _names(place.step.index)
    (window,), ((conv, _),) = packed["windows"], packed["stages"]
    inputs, outputs, count = conv.layer.inputs, conv.layer.outputs, conv.windows.count
    lines = [f"uint32_t words[{inputs}], left;"]
    lines += window.before(names, replace(place, scratch="words"), "map")
    both = [
        f"BitNetMCU_gather_pairs(map, map + {inputs}, {inputs}, {names('pairs')});",
        *window.sums(names, place, "to", 2),
    ]
    advance = [f"map += {2 * inputs};", f"to += {2 * outputs};"]
    lines += ["", f"for (left = {count // 2}; left > 0; left--) {{"]
    lines += [*_indented([*both, *advance]), "}"]
    if count % 2:
        lines += [f"map -= {inputs};", f"to -= {outputs};", *both]
    _define(place, "its windows sum to", "int32_t *to", lines)
    yield f"{place.prefix}_{names('windows')}({source}, {target});"


def _define(place, what, parameters, lines):
    """Adds the function that executes a step to the constants."""
    place.constants.text += FUNCTION.format(
        name=f"{place.prefix}_windows_{place.step.index}",
        comment=f"Writes what {what}.",
        parameters=parameters,
        body="\n".join(_indented(lines)),
    )


def _requantise(sums, count, shift, to, kind="relu", more=""):
    arguments = f"{sums}, {count}, {to}, {shift.shift}, {shift.writes.highest}{more}"
    return f"BitNetMCU_fixed_shift_{kind}({arguments});"


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
        if not packed["fused"]:
            return cls()
        outputs = [conv.layer.outputs for conv, _ in packed["stages"]]
        if isinstance(packed["windows"][-1], Pairs):
            others = cls.of(packed | {key: packed[key][:-1] for key in ("windows", "stages")})
            at = max(others.size, 8 * outputs[-1])
            return cls((*others.sums, 0), (*others.windows, at), at + 4 * outputs[-2])
        sums = [sum(map(aligned, outputs[:number])) for number in range(len(outputs))]
        ends = [at + 4 * count for at, count in zip(sums, outputs)]
        needed = [end + window.scratch for end, window in zip(ends[1:], packed["windows"][1:])]
        return cls(tuple(sums), tuple(ends[1:]), max([ends[0], *needed]))


PARTS = Kernel("parts", "", kernelrows.PLAIN_SOURCE, None)  # a row's; `candidates` makes them


def candidates(step, optimise="size", multiplier=False):
    """The kernels for a step of CONVOLUTION or FUSED: one, made of those of its windows."""
    multiplier = multiplier or optimise == "host"
    fused = step.kind == "FUSED"
    stages = step.fields.stages if fused else ((step.fields, None),)
    windows = []
    for number, (conv, _) in enumerate(stages):
        if number:  # executed position by position: a map of one
            conv = Convolution(conv.layer, replace(conv.windows, map_size=(1, 1)))
        in_pairs = 0 < number == len(stages) - 1
        if not fused:
            in_pairs = conv.windows.one_position and conv.windows.count > 1
        windows.append(window_of(conv, optimise, multiplier, in_pairs))
    choices = [window.choice for window in windows]
    packed = {"fused": fused, "windows": windows, "stages": stages, "layers": choices}
    uses = [choice.kernel for choice in choices] + [kernelrows.FIXED_SHIFT_RELU] * fused
    kernel = Kernel(
        "+".join(choice.kernel.name for choice in choices),
        f"BitNetMCU_windows_{step.index}",
        kernelrows.PLAIN_SOURCE,
        _emit_pairs if not fused and isinstance(windows[0], Pairs) else _emit,
        pack=lambda fields: packed,
        scratch=lambda packed: Memory.of(packed).size,
        uses=tuple(uses),
    )
    return (kernel,)
