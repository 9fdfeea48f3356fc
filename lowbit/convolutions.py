"""The kernels of convolutions: functions that loop over the positions of a map.

In the loops are the stages of a step, one after the other: the sums of a window (windows.py), and
what is behind them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from compiler.emission import Place
from compiler.selection import Kernel
from lowbit import kernelrows, lanes
from lowbit.maps import Add, Convolution
from lowbit.poolrows import ADD, add_line
from lowbit.rules import FixedShift
from lowbit.windows import Pairs, aligned, row_bytes, window_of

FUNCTION = """/* {comment} */
static BITNETMCU_OWN_FRAME void {name}({parameters}) {{
{body}
}}

"""


def _names(number):
    return lambda word: f"{word}_{number}"


def _loops(window, index, inside, after=(), pool=None):
    """Lines that run `inside`, lines for one position, at all positions of the first window, and
    `after` it those of the next one; with a `Pool`, only behind all positions of one of its rows.
    """
    names = _names(index)
    rows, columns = window.windows.positions
    stride = window.windows.stride[0] * row_bytes(window.windows)
    inside = [*inside, *window.next_position(names)]
    variables, row = "y, x", []
    if pool:
        (rows, columns), (down, right) = pool.windows.positions, pool.windows.kernel
        variables += ", i, j"
        inside = [*_for("i", right, inside), *after]
        back = f"to -= {columns * pool.windows.channels};"
    else:
        inside += after
    row = [*window.row(names, "row"), "", *_for("x", columns, inside), *window.next_row(names)]
    row.append(f"row += {stride};")
    if pool:
        forth = back.replace("-=", "+=")
        row = [*_for("j", down, [*row, back]), forth]
    return [f"uint32_t {variables};", "", *_for("y", rows, row)]


def _for(variable, count, inside):
    """Lines that run the lines `inside` so many times."""
    head = f"for ({variable} = {count}; {variable} > 0; {variable}--) {{"
    return [head, *_indented(inside), "}"]


def _indented(lines, depth=1):
    return [f"{'    ' * depth}{line}" if line else "" for line in lines]


@dataclass(frozen=True)
class Stage:
    """A stage of a step, at one position, in the function that executes it.

    number: in the step; window: how it is computed; place: as its kernel takes it. behind: what
    brings its sums to what it writes, (sums, outputs, count of positions, to, *half) -> lines; None
    where those are what it writes. C for where its values lie: reads, sums, writes, and at: the
    memory of its sums. pooled: what it writes is the largest of several positions.
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
    pooled: bool = False

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
            yield from _indented(self.positions(2))
            yield "}"
            yield "half ^= 1;"
            return
        if self.number:  # a map of one
            yield from self.window.row(self.names, self.reads)
        yield from self.window.position(self.names, self.place, "map", self.sums)
        if self.behind:
            yield from self.behind(self.sums, self.outputs, 1, *self.writes)

    def next_position(self):
        """Lines behind those of one position of the last stage, or of all of a window of a pool."""
        return [] if self.in_pairs and not self.pooled else [f"to += {self.outputs};"]

    def positions(self, count):
        """Lines for one or two positions of `Pairs`."""
        yield from self.window.sums(self.names, self.place, self.sums, count)
        if self.behind:
            yield from self.behind(self.sums, self.outputs, count, *self.writes)
        if not self.pooled:
            yield f"to += {count * self.outputs};"


def _stages(packed, place, words):
    """The `Stage`s of a step. words: the memory that the first window needs."""
    memory, windows, found, reads = Memory.of(packed), packed["windows"], [], "map"
    for number, (window, (conv, behind)) in enumerate(zip(windows, packed["stages"])):
        works_in = f"memory + {memory.windows[number - 1]}" if number else words
        index = place.step.index + number
        own = replace(place, step=replace(place.step, index=index), scratch=works_in)
        stage = Stage(number, window, conv.layer.outputs, own, behind, reads)
        stage = replace(stage, pooled=bool(packed["pool"]))
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
    stack, and not there while kernels of other steps have their frames, unless the arena has room
    for it. What stages need for one position is the arena's."""
    first, words = packed["windows"][0], "(int8_t *)words"
    if packed["in_arena"]:
        words = f"memory + {Memory.of(packed).size}"
    stages = _stages(packed, place, words)
    last, inside, behind = stages[-1], [], []
    lines = [f"uint32_t words[{first.words}];"] * bool(first.scratch and not packed["in_arena"])
    lines.append("const int8_t *row = map;")
    pool = packed["pool"]
    for stage in stages:
        lines += stage.before()
        inside += stage.position()
    if last.in_pairs:
        lines.append("uint32_t half = 0;")
        behind = last.positions(1) if first.windows.count % 2 and not pool else ()
    loops = _loops(first, place.step.index, inside, last.next_position(), pool)
    if pool:  # what is there before the first of a window: less than any activation, or the same
        yield f"BitNetMCU_clear({place.outputs[0]}, {pool.outputs});"
        loops = ["{", *_indented(loops), "}"]
    yield _defined(packed, place, [*lines, *loops, *behind])


def _emit_pairs(packed, place):
    """All positions of a map, two at a time; where their number is odd, the last but one twice."""
    (stage,), ((conv, _),) = _stages(packed, place, "words"), packed["stages"]
    inputs, outputs, count = conv.layer.inputs, conv.layer.outputs, conv.windows.count
    lines = [f"uint32_t words[{inputs}], left;", *stage.before()]
    both = [
        f"BitNetMCU_gather_pairs(map, map + {inputs}, {inputs}, {stage.names('pairs')});",
        *stage.positions(2),
    ]
    lines += ["", *_for("left", count // 2, [*both, f"map += {2 * inputs};"])]
    if count % 2:
        back = [f"map -= {inputs};", f"to -= {outputs};"]
        back += [f"added -= {outputs};"] * (len(place.inputs) > 1)
        lines += [*back, *both]
    yield _defined(packed, place, lines)


def _defined(packed, place, lines):
    """The call of the function that executes a step, which it adds to the constants."""
    kind, name = packed["kind"], f"{place.prefix}_windows_{place.step.index}"
    parameters, arguments = ["const int8_t *map", f"{kind.ctype} *to"], [*place.inputs]
    arguments.insert(1, *place.outputs)
    if len(place.inputs) > 1:
        parameters.append("const int8_t *added")
    if _scratch(packed):
        parameters.append("int8_t *memory")
        arguments.append(place.scratch)
    for parameter, argument in packed["more"]:
        parameters.append(parameter)
        arguments.append(argument)
    place.constants.add(
        FUNCTION.format(
            name=name,
            comment=f"Writes what {kind.comment}.",
            parameters=", ".join(parameters),
            body="\n".join(_indented(lines)),
        )
    )
    return f"{name}({', '.join(arguments)});"


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


@dataclass(frozen=True)
class Requantise:
    """What is behind a convolution of a FUSED step, see `Stage`."""

    shift: FixedShift
    added: Add | None = None
    pooled: bool = False

    def __call__(self, sums, outputs, count, to, half=None):
        size = count * outputs
        if self.added:
            yield add_line(self.added, sums, size, "added", sums)
            yield f"added += {size};"
        ends = f"{self.shift.shift}, {self.shift.writes.highest}"
        if half is not None:
            yield f"BitNetMCU_fixed_shift_pairs({sums}, {size}, {to}, {ends}, {half});"
        elif self.pooled:
            for at in range(0, size, outputs):
                these = f"{sums} + {at}" if at else sums
                yield f"BitNetMCU_fixed_shift_max({these}, {outputs}, {to}, {ends});"
        else:
            yield f"BitNetMCU_fixed_shift_relu({sums}, {size}, {to}, {ends});"


def _stages_of(fused):
    """As a `Kind` has them."""
    *stages, (conv, shift) = fused.stages
    last = Requantise(shift, fused.added, bool(fused.pool))
    return (*((each, Requantise(behind)) for each, behind in stages), (conv, last))


def _narrow(sums, outputs, count, to):
    yield f"{kernelrows.NARROW.function}({sums}, {count * outputs}, {to});"


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
        _stages_of,
        (kernelrows.FIXED_SHIFT_RELU, ADD),
    ),
}
PARTS = Kernel("parts", "", kernelrows.PLAIN_SOURCE, None)  # a row's; `candidates` makes them


def candidates(step, optimise="size", multiplier=False):
    """The kernels for a step of one of KINDS, the last one made of those of its windows."""
    of_windows = kernel(step, pack(step, optimise, multiplier))
    return (*(lanes.candidates(optimise, multiplier) if step.kind == "FUSED" else ()), of_windows)


def pack(step, optimise="size", multiplier=False):
    """What `kernel` is made of: the windows of all stages, and what is behind them."""
    multiplier = multiplier or optimise == "host"
    kind = KINDS[step.kind]
    stages, windows = kind.stages(step.fields), []
    pool = getattr(step.fields, "pool", None)
    for number, (conv, _) in enumerate(stages):
        if number:  # executed position by position: a map of one
            conv = Convolution(conv.layer, replace(conv.windows, map_size=(1, 1)))
        in_pairs = number == len(stages) - 1
        if pool:  # both of two in one window of the pool
            in_pairs &= number > 0 and pool.windows.kernel[1] % 2 == 0
        if not number:
            in_pairs &= conv.one_position and conv.windows.count >= kind.pairs
        windows.append(window_of(conv, optimise, multiplier, in_pairs))
    return packed_of(step, windows)


def packed_of(step, windows, more=()):
    """What `kernel` is made of, with the windows of all stages.

    more: pairs of C, a parameter of the function that executes the step, and its argument.
    """
    kind = KINDS[step.kind]
    return {
        "kind": kind,
        "windows": windows,
        "stages": kind.stages(step.fields),
        "layers": [window.choice for window in windows],
        "pool": getattr(step.fields, "pool", None),
        "more": more,
        "in_arena": False,
    }


def _scratch(packed):
    first = packed["windows"][0].scratch if packed["in_arena"] else 0
    return Memory.of(packed).size + first


def kernel(step, packed):
    """The `Kernel` of what `pack` found."""
    choices, windows = packed["layers"], packed["windows"]
    return Kernel(
        "+".join(choice.kernel.name for choice in choices),
        f"BitNetMCU_windows_{step.index}",
        kernelrows.PLAIN_SOURCE,
        _emit_pairs if isinstance(windows[0], Pairs) else _emit,
        pack=lambda fields: packed,
        scratch=_scratch,
        uses=(*(choice.kernel for choice in choices), *packed["kind"].uses, kernelrows.GATHER),
    )
