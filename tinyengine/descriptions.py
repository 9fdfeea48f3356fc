"""The fields of each step: what the description of its kernel in C (kernels/tinyengine.h) holds.

Numbers, arrays, and dicts for structures, computed from an operator of the model and its tensors.
Here is what the families of operators share. What cannot be executed exactly raises ValueError.
"""

import math

import numpy as np

from compiler.csource import constants
from tinyengine import quantisation, shapes

RANK = constants("tinyengine/kernels/tinyengine.h")["TE_RANK"]


def ends(operator, tensors):
    """The tensors of an operator's first input and its output."""
    return tensors[operator.inputs[0]], tensors[operator.outputs[0]]


def shape_fields(shape):
    """A shape as te_shape."""
    return dict(zip(("height", "width", "channels"), shapes.height_width_channels(shape)))


def clamp(operator, output):
    """The range that a fused activation leaves of the output."""
    lowest, highest = quantisation.activation_range(
        operator.attributes["activation"], output.scale, output.zero_point
    )
    return {"lowest": lowest, "highest": highest}


def scale(pair):
    """A (multiplier, shift) pair as te_scale."""
    return dict(zip(("multiplier", "shift"), pair))


def scales(fields):
    """Fields with their (multiplier, shift) pairs as te_scale."""
    return {k: scale(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def window(operator, height, width, x):
    """The fields of an image `x` and of a window that goes over it."""
    fields, *_ = shapes.window(
        operator.attributes, height, width, shapes.height_width_channels(x.shape)[:2]
    )
    return {"input": shape_fields(x.shape), "window": fields}


def same_quantisation(x, y):
    """Raises ValueError for tensors of different scales or zero points."""
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise ValueError(
            f"from scale {x.scale:g}, zero point {x.zero_point} to {y.scale:g}, {y.zero_point}; "
            "supported are equal ones"
        )


def strides_of(shape):
    """Elements from one index to the next, by dimension."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def axes(pairs):
    """(size, stride) pairs as te_axis, filled up in front."""
    if len(pairs) > RANK:
        raise ValueError(f"{len(pairs)} dimensions; supported are {RANK}")
    return [{"size": n, "stride": s} for n, s in [(1, 0)] * (RANK - len(pairs)) + pairs]


def copy(operator, tensors):
    """Of operators that leave no step behind them."""
    return {"size": ends(operator, tensors)[0].size}


def turned(fields):
    """Fields of an operator with a window, with height and width exchanged."""
    others = {"height": "width", "width": "height", "pad_top": "pad_left", "pad_left": "pad_top"}
    for name in ("stride", "dilation"):
        others |= {f"{name}_y": f"{name}_x", f"{name}_x": f"{name}_y"}
    turned = {
        name: {others.get(side, side): size for side, size in fields[name].items()}
        for name in ("input", "output", "window")
    }
    weights = np.ascontiguousarray(fields["weights"].swapaxes(1, 2))
    return fields | turned | {"weights": weights}
