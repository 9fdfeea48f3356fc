"""The kernel of a convolution and a pool of two rows: weights as code, two rows of windows at once.

A word holds a value of the map and the one below it, 16 bits each, for two windows one below the
other; so does a sum. What a column of such windows sees is brought together once, and all windows
that see it share it. Sums stay in their lanes until the largest of a window of the pool is known,
so that only this is shifted and clipped.
"""

import numpy as np

from compiler.selection import Choice, Kernel, Unfit
from lowbit import kernelrows, straightline
from lowbit.windows import row_bytes

ZERO = 2**14  # what stands for 0 in a lane: sums from -ZERO to ZERO - 1 fit 15 bits
MOST_WEIGHTS = 640  # of several magnitudes
MOST_SIGNS = 2600  # of one magnitude, not counting zeros: some three bytes of code each

FUNCTION = """/* Two rows of windows at a time, the largest sum of each window of the pool. */
static BITNETMCU_OWN_FRAME void {name}(const int8_t *map, int8_t *to) {{
{before}
    uint32_t most[{outputs}], y, x, i;
    const int8_t *row = map;

{begin}    for (y = {rows}; y > 0; y--, row += {down}) {{
        const int8_t *next = {first};

        for (x = {pools}; x > 0; x--, to += {outputs}) {{
            uint32_t seen = 0;

            for (i = 0; i < {outputs}; i++)
                most[i] = {zero}u;
            for (i = {right}; i > 0; i--) {{
                {take}
            }}
            if (seen)
                BitNetMCU_fixed_shift_lanes(most, {outputs}, to, {shift}, {highest});
            else
                BitNetMCU_clear(to, {outputs});
        }}
    }}
}}

"""
BY_COLUMN = {
    "before": """    static const BitNetMCU_columns sees = {{{members}}};
    uint32_t words[{words}], *columns[{width}];""",
    "begin": """    for (i = 0; i < {width}; i++)
        columns[i] = words + (i {times});
""",
    "first": "BitNetMCU_next_columns(row, &sees, columns, {behind})",
    "take": """next = BitNetMCU_next_columns(next, &sees, columns, {stride});
                if ({any})
                    seen |= {code}((const uint32_t *const *)columns, most);""",
}
DIRECTLY = {
    "before": "",
    "begin": "",
    "first": "row",
    "take": """seen |= {code}(next, most);
                next += {right_values};""",
}
FEW = 16  # words of a window: they are brought together where they are summed


def pack(fused):
    """What the C is given for a `maps.Fused` step. Raises `Unfit` where it would be inexact, or
    large."""
    if len(fused.stages) > 1 or fused.added or not fused.pool:
        raise Unfit("more than a convolution and a pool, or less")
    ((conv, _),), pool = fused.stages, fused.pool.windows
    layer, windows = conv.layer, conv.windows
    if conv.groups > 1 or windows.padding != (0, 0) or pool.kernel[0] != 2:
        raise Unfit("for pools of two rows, maps without padding, and one group")
    if windows.stride[1] > windows.kernel[1]:
        raise Unfit("windows leave out columns")
    if layer.factors is not None or layer.reads.signed:
        raise Unfit("for unsigned inputs and one scale of weights")
    if layer.format.spacing not in (1, 2) or layer.format.highest > straightline.MOST_MAGNITUDE:
        raise Unfit(f"weights of {layer.format.name} are too far apart for sums")
    magnitudes, signs = np.unique(np.abs(layer.weights)), np.count_nonzero(layer.weights)
    small = layer.weights.size <= MOST_WEIGHTS
    if not small and (len(magnitudes[magnitudes > 0]) > 1 or signs > MOST_SIGNS):
        raise Unfit(f"{layer.weights.size} weights, at most {MOST_WEIGHTS} as code")
    if not signs:
        raise Unfit("all weights are 0")
    bias = np.zeros(layer.outputs, np.int64) if layer.bias is None else layer.bias
    highest = layer.reads.highest
    most = (np.maximum(layer.weights, 0).sum(1) * highest + bias).max()
    least = (np.minimum(layer.weights, 0).sum(1) * highest + bias).min()
    if most >= ZERO or least < -ZERO:
        raise Unfit(f"sums from {least} to {most}, past 15 bits")
    packed = kernelrows.packed_layer(layer, np.zeros(0, np.uint32), 0)
    return {"fused": fused, "bias": bias, "layers": [Choice(KERNEL, packed)]}


def _emit(packed, place):
    ((conv, shift),), pool = packed["fused"].stages, packed["fused"].pool.windows
    windows, prefix, index = conv.windows, place.prefix, place.step.index
    width, column = windows.kernel[1], windows.kernel[0] * windows.channels
    line, (down, right) = row_bytes(windows), windows.stride
    code = f"{prefix}_code_{index}"
    place.constants.add(_code(code, packed))
    rows, pools = pool.positions
    members = (windows.kernel[0], windows.channels, line, down * line, width)
    # A window of zeros leaves what 0 becomes, unless there is a bias.
    any_of = " | ".join(f"columns[{i}][{column}]" for i in range(width))
    values = {
        "name": f"{prefix}_windows_{index}",
        "code": code,
        "members": ", ".join(map(str, members)),
        "words": width * (column + 1),
        "width": width,
        "times": straightline.times("i", column + 1),
        "rows": rows,
        "down": 2 * down * line,
        "behind": width - right,
        "pools": pools,
        "right": pool.kernel[1],
        "right_values": right * windows.channels,
        "stride": right,
        "any": "1" if packed["bias"].any() else any_of,
        "outputs": conv.layer.outputs,
        "zero": ZERO * 0x10001,
        "shift": shift.shift,
        "highest": shift.writes.highest,
    }
    way = DIRECTLY if conv.layer.inputs <= FEW else BY_COLUMN
    values |= {key: text.format(**values) for key, text in way.items()}
    place.constants.add(FUNCTION.format(**values))
    (source,), (target,) = place.inputs, place.outputs
    yield f"{values['name']}({source}, {target});"


CODE = """/* Adds up two windows, and keeps the largest sums as `most`. Returns 0 if none can be. */
static BITNETMCU_OWN_FRAME uint32_t {name}(const {reads}, uint32_t *most) {{
    uint32_t x, both;
{body}
    return 1;
}}

"""


def _code(name, packed):
    """The C of a function that sums two windows, and keeps what is larger than it was."""
    ((conv, _),), bias = packed["fused"].stages, packed["bias"]
    layer, (rows, columns) = conv.layer, conv.windows.kernel
    weights = layer.weights.reshape(layer.outputs, rows, columns, -1).swapaxes(1, 2)
    weights = weights.reshape(layer.outputs, columns, -1)
    if layer.inputs <= FEW:
        reads, lines, words = "int8_t *map", list(_brought(conv, bias.any())), _own_word
    else:
        reads, lines, words = "uint32_t *const *columns", ["const uint32_t *column;"], None
    for first, count in straightline.groups(layer.outputs):
        some = slice(first, first + count)
        lines += _group(weights[some], bias[some].tolist(), layer.format.spacing, first, words)
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return CODE.format(name=name, reads=reads, body=body)


def _own_word(number, i, count):
    return f"words[{number * count + i}]"


def _brought(conv, has_bias):
    """Lines that bring the words of two windows together, column by column."""
    windows, line = conv.windows, row_bytes(conv.windows)
    (rows, columns), channels = windows.kernel, windows.channels
    yield f"uint32_t words[{conv.layer.inputs}];"
    yield ""
    places = [
        x * channels + y * line + c
        for x in range(columns)
        for y in range(rows)
        for c in range(channels)
    ]
    below = windows.stride[0] * line
    for i, at in enumerate(places):
        yield f"words[{i}] = (uint32_t)map[{at}] | (uint32_t)map[{at + below}] << 16;"
    if not has_bias:
        yield f"if (!({' | '.join(f'words[{i}]' for i in range(len(places)))}))"
        yield "    return 0;"


def _group(weights, bias, spacing, first, words):
    """Lines for the outputs from `first` on that have these `weights` and biases [O].

    weights: [O, columns, words of a column]. words: (column, word of it, words of a column) -> C of
    a word; None: of `column`, which is one of `columns`.
    """
    sums = (f"s{o} = {(ZERO + value) * 0x10001}u" for o, value in enumerate(bias))
    yield "{"
    yield f"    uint32_t {', '.join(sums)};"
    yield ""
    for number in range(weights.shape[1]):
        if not words:
            yield f"    column = columns[{number}];"
        for i in np.flatnonzero(weights[:, number].any(axis=0)):
            word = words(number, i, weights.shape[2]) if words else f"column[{i}]"
            lines = straightline.input_lines(word, weights[:, number, i], spacing)
            yield from (f"    {line}" for line in lines)
    for o in range(len(weights)):
        # In each lane the most significant bit says whether what is there is the larger one.
        yield f"    both = (most[{first + o}] | 0x80008000u) - s{o};"
        yield "    x = both & 0x80008000u;"
        yield f"    most[{first + o}] = s{o} + (both & (x - (x >> 15)));"
    yield "}"


KERNEL = Kernel(
    "lanes",
    "BitNetMCU_fixed_shift_lanes",
    kernelrows.PLAIN_SOURCE,
    _emit,
    pack=pack,
    assembly=kernelrows.GATHERING,
)


def candidates(optimise, multiplier):
    """The kernels to try before others for a FUSED step."""
    return (KERNEL,) if optimise == "speed" and not multiplier else ()
