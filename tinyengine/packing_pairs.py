"""What the fast kernels of two operands (kernels/fast.h) are given, and why they are exact for it.

Each function takes a step's fields and returns those of the description in C, or raises Unfit with
a reason; then the plain kernel of tinyengine.h is the one to use.

All of them requantise as gemmlowp does, with te_rounded of simd.h. In front of the right shift it
takes one off where the sum is negative, gemmlowp where the sum's product with the multiplier is,
rounded. These differ only where that is 0, and half of 2^right, less one or not, shifts to 0.
"""

import numpy as np

from compiler.csource import constants
from compiler.graph import INT8
from compiler.selection import Unfit
from tinyengine import quantisation

ADD_LEFT_SHIFT = constants("tinyengine/kernels/add_rows.h")["ADD_LEFT_SHIFT"]
HALF = (1 << 30, 0)


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


def pack_add_fast(fields):
    """For te_add_fast."""
    packed = pack_sum_fast(fields)
    if (packed["input_step"], packed["other_step"]) != (1, 1):
        raise Unfit("an operand with one value for a row")
    if packed["input_factor"] != 1 << (ADD_LEFT_SHIFT - 1):
        raise Unfit(f"no shift by {ADD_LEFT_SHIFT}")
    return packed["sum"] | {"constants": fields["constants"]}


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
    ends = {name: fields[name] for name in ("lowest", "highest")}
    factors = {"input_factor": signs[larger] << (shift - 1), "other_sign": signs[other]}
    return {
        "sum": layout | words(values) | ends,
        "input_step": moves[larger][0],
        "other_step": moves[other][0],
        **words(factors),
        "constants": fields["constants"],
    }


def pack_mul_fast(fields):
    """For te_mul_fast."""
    layout, moves = rows_of(fields["axes"])
    zero_points = fields["input_zero_point"], fields["other_zero_point"]
    swapped = moves[0][0] == 0
    first, other = (1, 0) if swapped else (0, 1)
    layout |= {
        "input_jump": moves[first][1],
        "other_jump": moves[other][1],
        "swapped": int(swapped),
        "other_fixed": int(moves[other][0] == 0),
        "input_zero_point": zero_points[first],
        "other_zero_point": zero_points[other],
    }
    values = rounding(fields["scale"], fields["output_zero_point"])
    ends = {name: fields[name] for name in ("lowest", "highest", "constants")}
    return layout | words(values) | ends


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
