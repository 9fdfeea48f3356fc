"""From TensorFlow Lite's operators to those that kernels execute, fused and with all numbers ready.

`lower` runs the passes in their order. Tensors keep their indices, so that each that is left can be
compared with the model's own. After lowering, an operator's attributes are the fields of its
description in C (kernels/tinyengine.h): numbers, arrays, and dicts for structures.
"""

import math
from dataclasses import replace

import numpy as np

from cli import UserError
from compiler.csource import constants
from tinyengine import quantisation, shapes

RANK = constants("tinyengine/kernels/tinyengine.h")["TE_RANK"]
SOFTMAX_SIZE = 512  # from here on the sum of exponentials could leave int32, in the reference too


def lower(graph, source="model"):
    """The lowered `Graph`. Raises `UserError` for models that cannot be executed exactly."""
    try:
        shapes.check(graph)
        for step in (describe, *PASSES):
            graph = step(graph)
    except ValueError as error:
        raise UserError(f"{source}: {error}")
    if not graph.operators:
        raise UserError(f"{source}: nothing is left to compute; the output is the input")
    return graph


# --- descriptions: each operator on its own, before operators are merged


def describe(graph):
    """All operators with the fields of their C descriptions for attributes."""
    operators = []
    for operator in graph.operators:
        try:
            attributes = DESCRIBE[operator.kind](operator, graph.tensors)
        except ValueError as error:
            raise ValueError(f"{operator.kind} {operator.index}: {error}")
        operators.append(replace(operator, attributes=attributes))
    return replace(graph, operators=operators)


def _ends(operator, tensors):
    return tensors[operator.inputs[0]], tensors[operator.outputs[0]]


def _shape(shape):
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


def _weighted(operator, tensors, axis, outputs, multipliers_of):
    """What all operators with weights share: weights, bias, requantise, input_zero_point."""
    x, y = _ends(operator, tensors)
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
    multipliers, shifts = multipliers_of(x.scale, weights.scales, y.scale, outputs)
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
    return {"input": _shape(x.shape), "window": fields}


def _conv_2d(operator, tensors):
    x, y = _ends(operator, tensors)
    outputs, height, width, _ = tensors[operator.inputs[1]].shape
    return {
        **_window(operator, height, width, x),
        "output": _shape(y.shape),
        **_weighted(operator, tensors, 0, outputs, quantisation.convolution_multipliers),
    }


def _depthwise_conv_2d(operator, tensors):
    x, y = _ends(operator, tensors)
    _, height, width, outputs = tensors[operator.inputs[1]].shape
    return {
        **_window(operator, height, width, x),
        "output": _shape(y.shape),
        "multiplier": outputs // _shape(x.shape)["channels"],
        **_weighted(operator, tensors, 3, outputs, quantisation.convolution_multipliers),
    }


def _fully_connected(operator, tensors):
    x, _ = _ends(operator, tensors)
    outputs, inputs = tensors[operator.inputs[1]].shape
    if operator.attributes["weights_format"] != 0:
        raise ValueError("shuffled weights")
    sizes = {"rows": x.size // inputs, "inputs": inputs, "outputs": outputs}
    return sizes | _weighted(
        operator, tensors, 0, outputs, quantisation.fully_connected_multipliers
    )


def _average_pool_2d(operator, tensors):
    x, y = _ends(operator, tensors)
    _same_quantisation(x, y)
    fields = operator.attributes
    return {
        **_window(operator, fields["window_y"], fields["window_x"], x),
        "output": _shape(y.shape),
        **_clamp(operator, y),
    }


def _same_quantisation(x, y):
    if (x.scale, x.zero_point) != (y.scale, y.zero_point):
        raise ValueError(
            f"from scale {x.scale:g}, zero point {x.zero_point} to {y.scale:g}, {y.zero_point}; "
            "supported are equal ones"
        )


def _add(operator, tensors):
    x, y = _ends(operator, tensors)
    other = tensors[operator.inputs[1]]
    return {
        "size": x.size,
        **_scales(quantisation.add_parameters(x.scale, other.scale, y.scale)),
        "input_zero_point": x.zero_point,
        "other_zero_point": other.zero_point,
        "output_zero_point": y.zero_point,
        **_clamp(operator, y),
    }


def _strides(shape):
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _axes(pairs):
    """(size, stride) pairs as te_axis, filled up in front."""
    if len(pairs) > RANK:
        raise ValueError(f"{len(pairs)} dimensions; supported are {RANK}")
    return [{"size": n, "stride": s} for n, s in [(1, 0)] * (RANK - len(pairs)) + pairs]


def _mean(operator, tensors):
    x, y = _ends(operator, tensors)
    reduced = shapes.axes(operator, tensors)
    pairs = list(zip(x.shape, _strides(x.shape)))
    count = math.prod(x.shape[i] for i in reduced)
    return {
        "kept": _axes([p for i, p in enumerate(pairs) if i not in reduced]),
        "reduced": _axes([pairs[i] for i in reduced]),
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": _scale(quantisation.mean_scale(x.scale, y.scale, count)),
    }


def _softmax(operator, tensors):
    x, y = _ends(operator, tensors)
    if (y.scale, y.zero_point) != (1 / 256, -128):
        raise ValueError(f"an output of scale {y.scale:g}, zero point {y.zero_point}")
    size = x.shape[-1] if x.shape else 1
    if size >= SOFTMAX_SIZE:
        raise ValueError(f"rows of {size} values; supported are fewer than {SOFTMAX_SIZE}")
    return {
        "rows": x.size // size,
        "size": size,
        **_scales(quantisation.softmax_parameters(operator.attributes["beta"], x.scale)),
    }


def _quantize(operator, tensors):
    x, y = _ends(operator, tensors)
    if x.dtype == "float32":
        return {}  # an edge, or an error that fold_edges finds
    return {
        "size": x.size,
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": _scale(quantisation.rescale(x.scale, y.scale)),
    }


def _pad(operator, tensors):
    x, y = _ends(operator, tensors)
    _same_quantisation(x, y)
    axes = [
        {"size": n, "before": int(before), "after": int(after)}
        for n, (before, after) in zip(x.shape, shapes.paddings(operator, tensors))
    ]
    none = {"size": 1, "before": 0, "after": 0}
    return {"axes": [none] * (RANK - len(axes)) + axes, "value": x.zero_point}


def _transpose(operator, tensors):
    x, y = _ends(operator, tensors)
    _same_quantisation(x, y)
    pairs = list(zip(x.shape, _strides(x.shape)))
    return {"axes": _axes([pairs[i] for i in shapes.permutation(operator, tensors)])}


def _reshape(operator, tensors):
    _same_quantisation(*_ends(operator, tensors))
    return {}


DESCRIBE = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _average_pool_2d,
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "DEQUANTIZE": lambda operator, tensors: {},
    "FULLY_CONNECTED": _fully_connected,
    "MEAN": _mean,
    "PAD": _pad,
    "QUANTIZE": _quantize,
    "RESHAPE": _reshape,
    "SOFTMAX": _softmax,
    "TRANSPOSE": _transpose,
}


# --- passes: operators that need not be executed, one after the other


def _repeat(fold):
    """A pass: `fold(graph, operator)` of one operator after the other, as long as one returns a
    graph; None means that there is nothing to do for it."""

    def run(graph):
        while True:
            folded = (fold(graph, operator) for operator in graph.operators)
            found = next((result for result in folded if result is not None), None)
            if found is None:
                return graph
            graph = found

    return run


def without(graph, gone, old, new, changed=()):
    """The graph without the operator `gone`, where readers of tensor `old` read `new`.

    changed: operators that take the place of those with the same index.
    """

    def moved(i):
        return new if i == old else i

    changed = {operator.index: operator for operator in changed}
    operators = [changed.get(o.index, o) for o in graph.operators if o.index != gone.index]
    return replace(
        graph,
        operators=[replace(o, inputs=[moved(i) for i in o.inputs]) for o in operators],
        outputs=[moved(i) for i in graph.outputs],
    )


def _fold_edge(graph, operator):
    """A QUANTIZE of a float input and a DEQUANTIZE to a float output: the C boundary is int8."""
    x, y = operator.inputs[0], operator.outputs[0]
    if operator.kind == "QUANTIZE" and graph.tensors[x].dtype == "float32":
        if [x] != graph.inputs or len(graph.consumers(x)) > 1:
            raise ValueError(f"QUANTIZE {operator.index} of a float tensor inside the model")
        return replace(without(graph, operator, x, y), inputs=[y])
    if operator.kind == "DEQUANTIZE":
        if [y] != graph.outputs or graph.consumers(y):
            raise ValueError(f"DEQUANTIZE {operator.index} inside the model")
        return without(graph, operator, y, x)
    return None


def _fold_unread(graph, operator):
    """An operator whose output nobody needs."""
    y = operator.outputs[0]
    if y in graph.outputs or graph.consumers(y):
        return None
    return without(graph, operator, y, y)


def _fold_copy(graph, operator):
    """What leaves all bytes as they are: RESHAPE, and TRANSPOSE, PAD, QUANTIZE that do nothing."""
    if not _is_copy(operator, graph.tensors):
        return None
    return without(graph, operator, operator.outputs[0], operator.inputs[0])


def _is_copy(operator, tensors):
    if operator.kind == "RESHAPE":
        return True
    if operator.kind == "PAD":
        return all(a["before"] == a["after"] == 0 for a in operator.attributes["axes"])
    if operator.kind == "TRANSPOSE":
        moved = [a["stride"] for a in operator.attributes["axes"] if a["size"] > 1]
        return moved == sorted(moved, reverse=True)
    if operator.kind == "QUANTIZE":
        x, y = _ends(operator, tensors)
        return (x.scale, x.zero_point) == (y.scale, y.zero_point)
    return False


def _fold_pad(graph, operator):
    """A PAD of height and width into the windows of the convolutions that read it."""
    if operator.kind != "PAD":
        return None
    x, y = operator.inputs[0], operator.outputs[0]
    *outer, rows, columns, channels = operator.attributes["axes"]
    others = any(a["before"] or a["after"] for a in (*outer, channels))
    readers = graph.consumers(y)
    padded = _shape(graph.tensors[y].shape) if not others else None
    for reader in readers:  # behind a RESHAPE, rows and columns are others
        convolution = reader.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
        if not convolution or reader.attributes["input"] != padded:
            return None
    if others or y in graph.outputs:
        return None
    changed = []
    for reader in readers:
        window = dict(reader.attributes["window"])
        window["pad_top"] += rows["before"]
        window["pad_left"] += columns["before"]
        fields = {"window": window, "input": _shape(graph.tensors[x].shape)}
        changed.append(replace(reader, attributes=reader.attributes | fields))
    return without(graph, operator, y, x, changed)


def _fold_transpose(graph, operator):
    """A TRANSPOSE into the strides of the MEANs that read it, or into the model's input."""
    if operator.kind != "TRANSPOSE":
        return None
    x, y = operator.inputs[0], operator.outputs[0]
    readers = graph.consumers(y)
    if y in graph.outputs:
        return None
    if all(reader.kind == "MEAN" for reader in readers):
        shape = graph.tensors[y].shape
        axes = operator.attributes["axes"][RANK - len(shape) :]
        strides = {s: a["stride"] for s, a in zip(_strides(shape), axes) if a["size"] > 1}
        changed = [_with_strides(reader, strides) for reader in readers]
        return without(graph, operator, y, x, changed)
    if [x] == graph.inputs and len(graph.consumers(x)) == 1:
        return replace(without(graph, operator, x, y), inputs=[y])
    return None


def _with_strides(operator, strides):
    """A MEAN of a tensor with other strides. strides: {as it is: as it will be}."""
    fields = {
        name: [a | {"stride": strides[a["stride"]]} if a["size"] > 1 else a for a in axes]
        for name, axes in operator.attributes.items()
        if name in ("kept", "reduced")
    }
    return replace(operator, attributes=operator.attributes | fields)


# Transposes before copies: behind a RESHAPE, strides would be those of another shape.
PASSES = [
    _repeat(fold) for fold in (_fold_unread, _fold_edge, _fold_transpose, _fold_copy, _fold_pad)
]
