"""What the fast kernels of two operands (kernels/fast.h) are given, and why they are exact for it.

Each function takes a step's fields and returns those of the description in C, or raises Unfit with
a reason; then the plain kernel of tinyengine.h is the one to use.

All of them requantise as gemmlowp does, with te_rounded of simd.h. In front of the right shift it
takes one off where the sum is negative, gemmlowp where the sum's product with the multiplier is,
rounded. These differ only where that is 0, and half of 2^right, less one or not, shifts to 0.
"""

import itertools

import numpy as np

from compiler.graph import INT8
from compiler.selection import Unfit
from tinyengine import quantisation

HALF = (1 << 30, 0)
OPERANDS = ("input", "other")
INT8_VALUES = np.arange(INT8.lowest, INT8.highest + 1)
LARGEST_FACTOR = 1 << 30
# Factors by how much more than those of the scales. A little steeper, halves of both signs go away
# from zero.
NEAR = [(1, more) for more in itertools.product(range(-3, 4), repeat=2)]
NEAR.sort(key=lambda near: sum(map(abs, near[1])))
STEEPER = [1, *(1 + 2.0**-bits for bits in range(8, 16))]
NEAR += [(steeper, (0, 0)) for steeper in STEEPER[1:]]


def words(values):
    """Numbers as uint32."""
    return {name: value & 0xFFFFFFFF for name, value in values.items()}


def rows_of(axes):
    """({rows, size}, [(step, jump)] of both operands) of te_pair_axis axes.

    step: from value to value; jump: behind a row.
    """
    *others, rows, row = axes
    if any(axis["size"] > 1 for axis in others):
        raise Unfit("operands that are repeated along more than one dimension")
    sizes, moves = {"rows": rows["size"], "size": row["size"]}, []
    for name in ("input_stride", "other_stride"):
        step = row[name] if row["size"] > 1 else 1
        moves.append((step, rows[name] - row["size"] * step if rows["size"] > 1 else 0))
    return sizes, moves


def rounding(scale, zero_point):
    """The multiplier, addend and right shift of te_rounded for a te_scale and a zero point."""
    right = -scale["shift"]
    if not 1 <= right <= 22:
        raise Unfit("a multiplier outside 2^-23 .. 2^-1")
    addend = (zero_point << right) + (1 << (right - 1))
    return {"multiplier": scale["multiplier"], "addend": addend, "right": right}


def _ends(fields):
    """The clamp, and the operands that are constants: of all but extremes and PRELU."""
    return {name: fields[name] for name in ("lowest", "highest", "constants")}


def pack_sum_fast(fields):
    """For te_sum_fast, of ADD."""
    return _pack_sum(fields, 1)


def pack_difference_fast(fields):
    """For te_sum_fast, of SUB, and for te_squared_difference_fast.

    Squares are of differences of at most 2^7 * 255: doubled, they are below 2^31, and the square of
    the doubled difference is below 2^32.
    """
    return _pack_sum(fields, -1)


def _pack_sum(fields, sign):
    """sign: of the second operand."""
    layout, moves = rows_of(fields["axes"])
    scales = [fields["input_scale"], fields["other_scale"]]
    pairs = [(scale["multiplier"], scale["shift"]) for scale in scales]
    swapped = pairs[0] != HALF
    larger, other = (1, 0) if swapped else (0, 1)
    if pairs[larger] != HALF:
        raise Unfit("no input with the multiplier 1/2")
    shift, scale = fields["left_shift"], scales[other]
    left = shift + 1
    if pairs[other] == HALF:  # twice as much, halved exactly by the right shift
        left, scale = left + 1, scale | {"shift": -1}
    zero_points, signs = [fields[f"{name}_zero_point"] for name in ("input", "other")], (1, sign)
    layout |= {
        "input_jump": moves[larger][1],
        "other_jump": moves[other][1],
        "swapped": int(swapped),
    }
    values = {
        "other_factor": 1 << left,
        "other_offset": -zero_points[other] << left,
        **{f"other_{name}": value for name, value in rounding(scale, 0).items()},
        "input_offset": -signs[larger] * zero_points[larger] << shift,
        **rounding(fields["output_scale"], fields["output_zero_point"]),
    }
    factors = {"input_factor": signs[larger] << (shift - 1), "other_sign": signs[other]}
    steps = {"input_step": moves[larger][0], "other_step": moves[other][0]}
    return layout | words(values) | _ends(fields) | steps | words(factors)


def pack_add_linear(fields):
    """For te_sum_linear, of ADD."""
    return _pack_linear(fields, 1)


def pack_sub_linear(fields):
    """For te_sum_linear, of SUB."""
    return _pack_linear(fields, -1)


def _pack_linear(fields, sign):
    """A factor for each operand, and an offset: proven by all pairs of values.

    sign: of the second operand. The factors are next to what the scales are together.
    """
    layout, moves = rows_of(fields["axes"])
    scales, to = [fields[f"{name}_scale"] for name in OPERANDS], fields["output_scale"]
    together = _factor(to) * 2.0 ** (fields["left_shift"] + 24)
    exact = [s * _factor(scale) * together for s, scale in zip((1, sign), scales)]
    if max(map(abs, exact)) >= LARGEST_FACTOR:
        raise Unfit(f"an operand that is multiplied by {LARGEST_FACTOR >> 24} or more")
    wanted = _sums_of_all(fields, sign)
    for steeper, more in NEAR:
        factors = [round(factor * steeper) + n for factor, n in zip(exact, more)]
        sums = np.add.outer(*(factor * (INT8_VALUES << 8) >> 16 for factor in factors))
        offset = _offset(sums, wanted, fields["lowest"], fields["highest"])
        if offset is not None:
            break
    else:
        raise Unfit("no linear function of both values gives all their sums")
    first, layout = _fixed_last(layout, moves)
    if first:
        factors.reverse()
    values = {"factor": factors[0], "other_factor": factors[1], "offset": offset}
    return layout | words(values) | _ends(fields)


def _fixed_last(layout, moves):
    """(which operand comes first, layout with both jumps): one value for a row comes second."""
    first, other = (1, 0) if moves[0][0] == 0 else (0, 1)
    return first, layout | {
        "input_jump": moves[first][1],
        "other_jump": moves[other][1],
        "swapped": first,
        "other_fixed": int(moves[other][0] == 0),
    }


def _factor(scale):
    """What a te_scale multiplies by."""
    return scale["multiplier"] * 2.0 ** (scale["shift"] - 31)


def _sums_of_all(fields, sign):
    """int64 [256, 256]: outputs of all pairs of values, of ADD, or of SUB where sign is -1."""
    addends = []
    for name in OPERANDS:
        values, scale = INT8_VALUES - fields[f"{name}_zero_point"], fields[f"{name}_scale"]
        shifted = values << fields["left_shift"]
        addends.append(quantisation.scaled(shifted, scale["multiplier"], scale["shift"]))
    scale, sums = fields["output_scale"], np.add.outer(addends[0], sign * addends[1])
    outputs = quantisation.scaled(sums, scale["multiplier"], scale["shift"])
    return np.clip(outputs + fields["output_zero_point"], fields["lowest"], fields["highest"])


def _offset(sums, wanted, lowest, highest):
    """What added to sums, of 16 bits behind the point, gives 128 more than what is wanted, rounded
    down and cut off, or None if nothing does."""
    steps = wanted - INT8.lowest << 16
    least = np.where(wanted > lowest, steps - sums, -(1 << 31)).max()
    most = np.where(wanted < highest, steps + (1 << 16) - 1 - sums, 1 << 31).min()
    offset = int(least + most) // 2
    fits = np.abs(sums).max() + abs(offset) < 1 << 31
    return offset if least <= most and fits else None


def pack_mul_linear(fields):
    """For te_mul_linear: proven by all products."""
    layout, scale = _product_layout(fields), fields["scale"]
    products = np.multiply.outer(*(INT8_VALUES - fields[f"{name}_zero_point"] for name in OPERANDS))
    products = np.unique(products)
    wanted = quantisation.scaled(products, scale["multiplier"], scale["shift"])
    wanted = np.clip(wanted + fields["output_zero_point"], fields["lowest"], fields["highest"])
    exact = _factor(scale) * 2.0**34
    for steeper in STEEPER:
        factor = round(exact * steeper)
        if factor >= 1 << 31:
            raise Unfit("a product that is multiplied by 1/8 or more")
        offset = _offset(
            factor * (products << 14) >> 32, wanted, fields["lowest"], fields["highest"]
        )
        if offset is not None:
            break
    else:
        raise Unfit("no linear function of products gives all their outputs")
    return layout | words({"factor": factor, "offset": offset}) | _ends(fields)


def _product_layout(fields):
    first, layout = _fixed_last(*rows_of(fields["axes"]))
    zero_points = fields["input_zero_point"], fields["other_zero_point"]
    return layout | {
        "input_zero_point": zero_points[first],
        "other_zero_point": zero_points[1 - first],
    }


def pack_mul_fast(fields):
    """For te_mul_fast."""
    layout = _product_layout(fields)
    values = rounding(fields["scale"], fields["output_zero_point"])
    return layout | words(values) | _ends(fields)


def pack_extreme_fast(fields):
    """For te_maximum_fast and te_minimum_fast."""
    _, layout = _fixed_last(*rows_of(fields["axes"]))
    return layout | {"constants": fields["constants"]}


def pack_prelu_fast(fields):
    """For te_prelu_fast."""
    layout, moves = rows_of(fields["axes"])
    _, (alpha_step, alpha_jump) = moves  # the input is as large as the output
    if alpha_step != 1:
        raise Unfit("an alpha with one value for a row")
    zero_point = fields["input_zero_point"]
    inputs, scale = np.arange(INT8.highest + 1 - zero_point), fields["positive_scale"]
    outputs = quantisation.scaled(inputs, scale["multiplier"], scale["shift"])
    outputs = np.clip(outputs + fields["output_zero_point"], INT8.lowest, INT8.highest)
    layout |= {
        "alpha_jump": alpha_jump,
        "input_zero_point": zero_point,
        "alpha_zero_point": fields["other_zero_point"],
    }
    values = words(rounding(fields["negative_scale"], fields["output_zero_point"]))
    tables = {"positive": outputs.astype(np.int8), "constants": fields["constants"]}
    return layout | values | tables
