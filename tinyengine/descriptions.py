"""The fields of each step: what the description of its kernel in C (kernels/tinyengine.h) holds.

Numbers, arrays, and dicts for structures, computed from an operator of the model and its tensors.
The functions named after operators take (operator, tensors) and raise ValueError for what cannot be
executed exactly.
"""

import math

import numpy as np

from compiler.csource import constants
from compiler.graph import INT8
from tinyengine import quantisation, shapes

RANK = constants("tinyengine/kernels/tinyengine.h")["TE_RANK"]
SOFTMAX_SIZE = 512  # from here on the reference aborts


def ends(operator, tensors):
    """The tensors of an operator's first input and its output."""
    return tensors[operator.inputs[0]], tensors[operator.outputs[0]]


def shape_fields(shape):
    """A shape as te_shape."""
    return dict(zip(("height", "width", "channels"), shapes.height_width_channels(shape)))


def _clamp(operator, output):
    lowest, highest = quantisation.activation_range(
        operator.attributes["activation"], output.scale, output.zero_point
    )
    return {"lowest": lowest, "highest": highest}


def _scale(pair):
    return dict(zip(("multiplier", "shift"), pair))


def _scales(fields):
    """Fields with their (multiplier, shift) pairs as te_scale."""
    return {k: _scale(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _weighted(operator, tensors, axis, outputs):
    """What all operators with weights share: weights, bias, requantise, input_zero_point."""
    x, y = ends(operator, tensors)
    weights = tensors[operator.inputs[1]]
    if weights.dtype != "int8" or weights.scales is None:
        raise ValueError(f"weights of type {weights.dtype}; supported are int8 with scales")
    if np.any(weights.zero_points != 0):
        raise ValueError("weights with zero points; supported are symmetric ones")
    if len(weights.scales) not in (1, outputs) or (
        len(weights.scales) > 1 and weights.axis != axis
    ):
        raise ValueError(f"{len(weights.scales)} scales along axis {weights.axis} of the weights")
    bias = np.zeros(outputs, np.int32)
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        tensor = tensors[operator.inputs[2]]
        if tensor.dtype != "int32" or tensor.size != outputs:
            raise ValueError(f"a bias of {tensor.size} values of type {tensor.dtype}")
        bias = tensor.data.ravel()
    multipliers, shifts = quantisation.convolution_multipliers(
        x.scale, weights.scales, y.scale, outputs
    )
    by_output = np.moveaxis(weights.data, axis, 0)
    bounds = quantisation.accumulator_bounds(by_output, bias, x.zero_point)
    if not quantisation.fits(bounds, shifts):
        raise ValueError("accumulators could leave int32")
    return {
        "input_zero_point": x.zero_point,
        "weights": weights.data,
        "bias": bias,
        "requantise": {
            "multipliers": multipliers,
            "shifts": shifts,
            "zero_point": y.zero_point,
            **_clamp(operator, y),
        },
    }


def _window(operator, height, width, x):
    fields, *_ = shapes.window(
        operator.attributes, height, width, shapes.height_width_channels(x.shape)[:2]
    )
    return {"input": shape_fields(x.shape), "window": fields}


def conv_2d(operator, tensors):
    x, y = ends(operator, tensors)
    outputs, height, width, _ = tensors[operator.inputs[1]].shape
    return {
        **_window(operator, height, width, x),
        "output": shape_fields(y.shape),
        **_weighted(operator, tensors, 0, outputs),
    }


def depthwise_conv_2d(operator, tensors):
    x, y = ends(operator, tensors)
    _, height, width, outputs = tensors[operator.inputs[1]].shape
    return {
        **_window(operator, height, width, x),
        "output": shape_fields(y.shape),
        "multiplier": outputs // shape_fields(x.shape)["channels"],
        **_weighted(operator, tensors, 3, outputs),
    }


def fully_connected(operator, tensors):
    x, _ = ends(operator, tensors)
    outputs, inputs = tensors[operator.inputs[1]].shape
    if operator.attributes["weights_format"] != 0:
        raise ValueError("shuffled weights")
    sizes = {"rows": x.size // inputs, "inputs": inputs, "outputs": outputs}
    return sizes | _weighted(operator, tensors, 0, outputs)


def average_pool_2d(operator, tensors):
    x, y = ends(operator, tensors)
    _same_quantisation(x, y)
    fields = operator.attributes
    return {
        **_window(operator, fields["window_y"], fields["window_x"], x),
        "output": shape_fields(y.shape),
        **_clamp(operator, y),
    }


def _same_quantisation(x, y):
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise ValueError(
            f"from scale {x.scale:g}, zero point {x.zero_point} to {y.scale:g}, {y.zero_point}; "
            "supported are equal ones"
        )


def add(operator, tensors):
    x, y = ends(operator, tensors)
    other = tensors[operator.inputs[1]]
    return {
        "size": x.size,
        **_scales(quantisation.add_parameters(x.scale, other.scale, y.scale)),
        "input_zero_point": x.zero_point,
        "other_zero_point": other.zero_point,
        "output_zero_point": y.zero_point,
        **_clamp(operator, y),
    }


def strides_of(shape):
    """Elements from one index to the next, by dimension."""
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _axes(pairs):
    """(size, stride) pairs as te_axis, filled up in front."""
    if len(pairs) > RANK:
        raise ValueError(f"{len(pairs)} dimensions; supported are {RANK}")
    return [{"size": n, "stride": s} for n, s in [(1, 0)] * (RANK - len(pairs)) + pairs]


def mean(operator, tensors):
    x, y = ends(operator, tensors)
    reduced = shapes.axes(operator, tensors)
    pairs = list(zip(x.shape, strides_of(x.shape)))
    count = math.prod(x.shape[i] for i in reduced)
    return {
        "kept": _axes([p for i, p in enumerate(pairs) if i not in reduced]),
        "reduced": _axes([pairs[i] for i in reduced]),
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": _scale(quantisation.mean_scale(x.scale, y.scale, count)),
    }


def softmax(operator, tensors):
    x, y = ends(operator, tensors)
    if (y.scale, y.zero_point) != (1 / 256, INT8.lowest):
        raise ValueError(f"an output of scale {y.scale:g}, zero point {y.zero_point}")
    size = x.shape[-1] if x.shape else 1
    if size >= SOFTMAX_SIZE:
        raise ValueError(f"rows of {size} values; supported are fewer than {SOFTMAX_SIZE}")
    return {
        "rows": x.size // size,
        "size": size,
        **_scales(quantisation.softmax_parameters(operator.attributes["beta"], x.scale)),
    }


def quantize(operator, tensors):
    x, y = ends(operator, tensors)
    if x.dtype == "float32":  # an edge, or an error that lowering finds
        return copy(operator, tensors)
    return {
        "size": x.size,
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": _scale(quantisation.rescale(x.scale, y.scale)),
    }


def pad(operator, tensors):
    x, y = ends(operator, tensors)
    _same_quantisation(x, y)
    axes = [
        {"size": n, "before": int(before), "after": int(after)}
        for n, (before, after) in zip(x.shape, shapes.paddings(operator, tensors))
    ]
    none = {"size": 1, "before": 0, "after": 0}
    return {"axes": [none] * (RANK - len(axes)) + axes, "value": x.zero_point}


def transpose(operator, tensors):
    x, y = ends(operator, tensors)
    _same_quantisation(x, y)
    pairs = list(zip(x.shape, strides_of(x.shape)))
    return {"axes": _axes([pairs[i] for i in shapes.permutation(operator, tensors)])}


def copy(operator, tensors):
    """Of operators that leave no step behind them."""
    return {"size": ends(operator, tensors)[0].size}


def reshape(operator, tensors):
    _same_quantisation(*ends(operator, tensors))
    return copy(operator, tensors)
