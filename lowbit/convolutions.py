"""The kernels of convolutions: functions that loop over the positions of a map.

In the loops are the stages of a step, one after the other: the sums of a window (windows.py), and
what is behind them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from compiler.emission import Place
from compiler.selection import Kernel
from lowbit import kernelrows
from lowbit.rules import Convolution
from lowbit.windows import Pairs, aligned, row_bytes, window_of

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
