"""How the sums of one window of a convolution are computed, as C for the loops of convolutions.py.

`Gathered`: by a kernel of LINEAR, over values that are brought together; `Grouped`: by a plain one
for each group. `Strip`: from lists that all windows of a row share (kernels/strips.c, pieces.c).
`Pairs`: windows of one position, two at a time, as code (straightline.py).
"""

from dataclasses import dataclass, replace
from functools import partial

from compiler.graph import Step
from compiler.selection import Choice, Kernel, Unfit, choose
from lowbit import kernelrows, layouts, straightline
from lowbit.maps import Windows

MOST_LISTS = 7  # BITNETMCU_STRIP_LISTS, where nothing is known of a network
ALIGNMENT = 4  # of what lies in scratch memory
FEW_WINDOWS = 3  # side by side, that are as many columns as a piece of a strip need not exceed
LEAST_ROOM = 78  # entries of a list of a piece
OTHERS = 16  # and those that it has room for besides those of a dense column


def aligned(size):
    return -(-size // ALIGNMENT) * ALIGNMENT


def row_bytes(windows):
    """From row to row of a map."""
    return windows.map_size[1] * windows.channels


def positions_of(windows):
    """Values of a strip: the rows of a map that a row of windows sees."""
    return windows.kernel[0] * row_bytes(windows)


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
        return self.windows.kernel_size * self.windows.channels

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
        if not self._together:
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
        yield from self.of_window(names, replace(place, inputs=(window,), outputs=(sums,)))

    def of_window(self, names, place):
        """Lines that bring the sums of the window at `place.inputs` to its outputs."""
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


@dataclass(frozen=True)
class Grouped(Gathered):
    """Group by group: its part of the window's values is brought together for a plain kernel."""

    groups: int

    @property
    def _group(self):
        """(Values, words of weights, outputs) of a group."""
        packed = self.choice.packed
        words, outputs = packed["words"].size, packed["layer"].outputs
        return packed["layer"].inputs, words // self.groups, outputs // self.groups

    @property
    def scratch(self):
        return super().scratch + aligned(self._group[0])

    def before(self, names, place, source):
        yield from super().before(names, place, source)
        yield f"int8_t *const {names('group')} = {place.scratch} + {super().scratch};"

    def of_window(self, names, place):
        (window,), (sums,), packed = place.inputs, place.outputs, self.choice.packed
        values, words, outputs = self._group
        channels, size = self.windows.channels, self.windows.kernel_size
        group, at = names("group"), names("channel")
        weights = kernelrows.weights_of(packed, place)
        yield "{"
        yield f"    const uint32_t *weights = {weights};"
        yield f"    int32_t *of_group = {sums};"
        yield f"    uint32_t {at};"
        yield ""
        yield f"    for ({at} = 0; {at} < {channels}; {at} += {channels // self.groups}) {{"
        run = f"{size}, {channels // self.groups}, {channels}"
        yield f"        BitNetMCU_gather({window} + {at}, {run}, {group});"
        function = self.choice.kernel.function
        yield f"        {function}({group}, weights, {values}, {outputs}, of_group);"
        yield f"        weights += {words};"
        yield f"        of_group += {outputs};"
        yield "    }"
        yield "}"
        yield from kernelrows.emit_corrections(packed, place)


@dataclass(frozen=True)
class Strip:
    """Lists of the set bits of a strip of the map, from which all windows of a row are summed.

    Piece by piece where the strip has more values than lists can name.
    """

    windows: Windows
    choice: Choice

    @property
    def _bits(self):
        return self.choice.packed["layer"].reads.bits

    @property
    def _whole(self):
        return self.choice.kernel is STRIPS

    @property
    def _column(self):
        """Values of a column of a strip."""
        return self.windows.kernel[0] * self.windows.channels

    @property
    def _at_once(self):
        """Columns that are listed at once, at most."""
        columns, width = self.windows.kernel[1], self.windows.map_size[1]
        if self._whole:
            return width
        return min(layouts.STRIP_POSITIONS // self._column, width, FEW_WINDOWS * columns)

    @property
    def _room(self):
        """Entries that a list has room for: all, or those of a dense column and, as most maps are
        sparse, a few others of one that are less so."""
        if self._whole:
            return positions_of(self.windows)
        return min(self._at_once * self._column, max(self._column + OTHERS, LEAST_ROOM))

    @property
    def scratch(self):
        return aligned(self._entries + MOST_LISTS * self._edges)

    @property
    def _entries(self):
        return self._bits * self._room

    @property
    def _edges(self):
        return self._at_once + 1

    @property
    def words(self):
        return f"({self._entries} + BITNETMCU_STRIP_LISTS * {self._edges} + 3) / {ALIGNMENT}"

    def before(self, names, place, source):
        windows, layer = self.windows, self.choice.packed["layer"]
        width, rows = windows.map_size[1], windows.kernel[0]
        sizes = (row_bytes(windows), width, rows, windows.channels)
        counts = (self._bits, self._room, self._entries)
        window = (windows.kernel[1], layer.outputs, layer.inputs)
        members = (*sizes, *counts, *window, kernelrows.weights_of(self.choice.packed, place))
        members += (*layouts.strip_constants(layer), rows * row_bytes(windows))
        values = ", ".join(map(str, members))
        kind = "BitNetMCU_strip"
        if not self._whole:
            stride, column = windows.stride[1], self._column
            steps = (stride, stride * column, stride * windows.channels, column)
            pieces = (self._at_once, self._room // column, *steps)
            kind, values = "BitNetMCU_pieces", f"{{{values}}}, {', '.join(map(str, pieces))}"
            yield f"BitNetMCU_scanned {names('scanned')};"
        yield f"static const {kind} {names('strip')} = {{{values}}};"
        yield f"uint8_t *const {names('lists')} = (uint8_t *)({place.scratch});"

    def row(self, names, source):
        if not self._whole:
            scanned = names("scanned")
            yield f"{scanned}.map = {source};"
            yield f"{scanned}.rest = {self.windows.map_size[1]};"
            yield f"{scanned}.scanned = {scanned}.first = 0;"
            return
        yield f"uint32_t {names('first')} = 0, {names('at')} = 0;"
        yield f"BitNetMCU_scan_strip({source}, &{names('strip')}, {names('lists')});"

    def position(self, names, place, source, sums):
        if self._whole:
            where = f"{names('first')}, {names('at')}, {sums}"
            yield f"BitNetMCU_window_nibbles({names('lists')}, &{names('strip')}, {where});"
        else:
            where = f"&{names('scanned')}, &{names('strip')}, {names('lists')}, {sums}"
            yield f"BitNetMCU_window_pieces({where});"
        place = replace(place, outputs=(sums,))
        yield from kernelrows.emit_corrections(self.choice.packed, place)

    def next_position(self, names):
        windows = self.windows
        stride = windows.stride[1]
        if not self._whole:
            return []
        return [
            f"{names('first')} += {stride};",
            f"{names('at')} += {stride * self._column};",
        ]

    def next_row(self, names):
        return []


@dataclass(frozen=True)
class Pairs:
    """The last stage, at two positions at a time."""

    choice: Choice
    scratch = 0

    def before(self, names, place, source):
        name = f"{place.prefix}_{names('code')}"
        place.constants.add(straightline.function(name, self.choice.packed["layer"]))
        yield f"uint32_t *const {names('pairs')} = (uint32_t *)(void *)({place.scratch});"

    def sums(self, names, place, sums, count):
        """Lines that bring the sums of `count` positions to `sums`."""
        packed = self.choice.packed
        yield f"{place.prefix}_{names('code')}({names('pairs')}, {sums});"
        for half in range(count):
            at = f"{sums} + {half * packed['layer'].outputs}" if half else sums
            yield from kernelrows.emit_corrections(packed, replace(place, outputs=(at,)))


def pack_piece(conv):
    """What kernels/strips.c is given for a `Convolution`, or pieces.c."""
    windows, layer = conv.windows, conv.layer
    if windows.padding != (0, 0):
        raise Unfit("maps with padding")
    # By columns of pixels, as positions of a strip are numbered.
    rows, columns = windows.kernel
    weights = layer.weights.reshape(layer.outputs, rows, columns, windows.channels)
    by_column = replace(layer, weights=weights.swapaxes(1, 2).reshape(layer.outputs, -1))
    return kernelrows.packed_layer(layer, layouts.pack_strips(by_column), 0)


def pack_strip(conv):
    """The same, if lists can name all values of a strip."""
    positions = positions_of(conv.windows)
    if positions > layouts.STRIP_POSITIONS:
        raise Unfit(f"strips of {positions} values, at most {layouts.STRIP_POSITIONS}")
    return pack_piece(conv)


def _kernel(name, function, pack, **options):
    return Kernel(
        name,
        function,
        kernelrows.ROOT / "kernels" / f"{name}.c",
        emit=None,  # a `Strip` calls it
        pack=pack,
        assembly=kernelrows.ROOT / "kernels" / "riscv" / f"{name}.S",
        formats=layouts.STRIP_FORMATS,
        **options,
    )


STRIPS = _kernel("strips", "BitNetMCU_window_nibbles", pack_strip)
PIECES = _kernel("pieces", "BitNetMCU_window_pieces", pack_piece, uses=(STRIPS,))


def window_of(conv, optimise, multiplier, in_pairs):
    """The kernel for a window of a `Convolution`, and how it is used.

    in_pairs: it may take two positions at a time.
    """
    if conv.groups > 1:
        plain = kernelrows.kernels_of(conv.layer.format)[-1]
        return Grouped(conv.windows, Choice(plain, plain.pack(conv.layer)), conv.groups)
    kernels = kernelrows.candidates(conv.layer, optimise, multiplier)
    ways = ()
    if optimise == "speed" and not multiplier:
        pairs = (straightline.KERNEL, conv.layer, Pairs)
        strips = [(kernel, conv, partial(Strip, conv.windows)) for kernel in (STRIPS, PIECES)]
        ways = (pairs, *strips) if in_pairs else strips
    skipped = ()
    for kernel, fields, used in ways:
        try:
            return used(Choice(kernel, kernel.pack(fields), skipped))
        except Unfit as reason:
            skipped += (f"{kernel.name}: {reason}",)
    choice = choose(Step(0, "LINEAR", [], [], conv.layer), kernels)
    return Gathered(conv.windows, replace(choice, skipped=skipped + choice.skipped))
