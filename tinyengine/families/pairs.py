"""ADD, SUB, MUL, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE, PRELU: two tensors, element by element.

Either may be repeated along some dimensions, as in NumPy, and either may be a constant.
"""

import math

import numpy as np
import tflite

from compiler.graph import INT8
from tinyengine import descriptions, measures, quantisation, rules
from tinyengine.kind import CLAMP, Kind, row

ZERO_POINTS = "input_zero_point", "other_zero_point"


# --- how the elements of both go together


def pair_shape(operator, tensors):
    one, other = (tensors[i].shape for i in operator.inputs)
    try:
        return np.broadcast_shapes(one, other)
    except ValueError:
        raise ValueError(f"inputs of shapes {list(one)} and {list(other)}")


def prelu_shape(operator, tensors):
    x, shape = tensors[operator.inputs[0]].shape, pair_shape(operator, tensors)
    if shape != x:
        raise ValueError(f"an alpha that repeats the input {list(x)} to {list(shape)}")
    return shape


def pair_axes(one, other):
    """The dimensions of the output of shapes `one` and `other` as te_pair_axis, filled up in front.

    Neighbours along which both are repeated alike, or neither, are one axis; the strides of the
    last one are 0 or 1.
    """
    shape = np.broadcast_shapes(one, other)
    strides = []
    for operand in (one, other):
        operand = (1,) * (len(shape) - len(operand)) + tuple(operand)
        steps = zip(operand, descriptions.strides_of(operand))
        strides.append([stride if n > 1 else 0 for n, stride in steps])
    axes = []
    for n, *steps in zip(shape, *strides):
        if axes and axes[-1][1:] == [n * step for step in steps]:
            axes[-1] = [axes[-1][0] * n, *steps]
        elif n > 1:
            axes.append([n, *steps])
    if len(axes) > descriptions.RANK:
        raise ValueError(f"{list(one)} and {list(other)}, repeated along too many dimensions")
    names = "size", "input_stride", "other_stride"
    filled = [[1, 0, 0]] * (descriptions.RANK - len(axes)) + axes
    return [dict(zip(names, axis)) for axis in filled]


def pair(operator, tensors):
    """(both inputs, the output, the fields that all kinds have).

    constants: int8 values by input, None for an activation; they are no part of the description,
    but inputs of the kernel.
    """
    inputs = [tensors[i] for i in operator.inputs]
    fields = {
        "axes": pair_axes(*(x.shape for x in inputs)),
        "constants": [x.data if x.data is None else x.data.ravel() for x in inputs],
    }
    return inputs, tensors[operator.outputs[0]], fields


def zero_points(inputs, y):
    names = *ZERO_POINTS, "output_zero_point"
    return {name: tensor.zero_point for name, tensor in zip(names, (*inputs, y))}


def with_table(rule, operator, fields):
    """The fields, with a table of the rule's 256 values if the output depends on one value only.

    So it does if one operand is a single constant, or both are the same tensor. table: int8 [256],
    of the inputs -128 to 127.
    """
    constants, same = fields["constants"], len(set(operator.inputs)) == 1
    if not same and not any(values is not None and values.size == 1 for values in constants):
        return fields
    every = np.arange(INT8.lowest, INT8.highest + 1, dtype=np.int8)
    strides = {f"{name}_stride": int(c is None) for name, c in zip(("input", "other"), constants)}
    axes = [*fields["axes"][:-1], {"size": every.size} | strides]
    inputs = [every[None] for values in constants if values is None]
    return fields | {"table": rule(fields | {"axes": axes}, *inputs)[0]}


def operands(fields, *inputs):
    """Both operands as int64 [B or 1, elements of the output], constants among them."""
    given = iter(inputs)
    for name, values in zip(("input", "other"), fields["constants"]):
        values = next(given) if values is None else values[None]
        axes = [{"size": a["size"], "stride": a[f"{name}_stride"]} for a in fields["axes"]]
        yield values.astype(np.int64)[:, rules.offsets(axes)]


def centred(fields, *inputs):
    """Both operands less their zero points."""
    for name, values in zip(ZERO_POINTS, operands(fields, *inputs)):
        yield values - fields[name]


def pair_sizes(fields):
    """Of the inputs that are no constants, and of the output."""
    sizes = [
        math.prod(axis["size"] for axis in fields["axes"] if axis[f"{name}_stride"])
        for name, values in zip(("input", "other"), fields["constants"])
        if values is None
    ]
    return (*sizes, measures.count(fields["axes"]))


def constant_bytes(fields):
    return sum(values.nbytes for values in fields["constants"] if values is not None)


# --- fields and rules


def describe_addends(operator, tensors, **parameters):
    """Of what scales both inputs alike first."""
    inputs, y, fields = pair(operator, tensors)
    scales = quantisation.add_parameters(*(x.scale for x in inputs), y.scale, **parameters)
    return fields | descriptions.scales(scales) | zero_points(inputs, y)


def describe_sum(rule):
    """Of ADD and SUB."""

    def describe(operator, tensors):
        fields = describe_addends(operator, tensors)
        ends = descriptions.clamp(operator, tensors[operator.outputs[0]])
        return with_table(rule, operator, fields | ends)

    return describe


def describe_squared_difference(operator, tensors):
    left_shift = quantisation.SQUARED_DIFFERENCE_LEFT_SHIFT
    fields = describe_addends(operator, tensors, left_shift=left_shift, power=2)
    ends = {"lowest": INT8.lowest, "highest": INT8.highest}
    return with_table(squared_difference, operator, fields | ends)


def addends(fields, *inputs):
    """Both are shifted to the left, so that little is lost by the scales that they get."""
    for name, values in zip(("input_scale", "other_scale"), centred(fields, *inputs)):
        yield rules.scaled(values << fields["left_shift"], fields[name])


def output_of(fields, accumulators, scale="output_scale"):
    values = rules.scaled(accumulators, fields[scale]) + fields["output_zero_point"]
    return rules.clamped(values, fields["lowest"], fields["highest"])


def add(fields, *inputs):
    one, other = addends(fields, *inputs)
    return output_of(fields, one + other)


def sub(fields, *inputs):
    one, other = addends(fields, *inputs)
    return output_of(fields, one - other)


def squared_difference(fields, *inputs):
    one, other = addends(fields, *inputs)
    return output_of(fields, (one - other) ** 2)


def describe_mul(operator, tensors):
    inputs, y, fields = pair(operator, tensors)
    scale = quantisation.product_scale(*(x.scale for x in inputs), y.scale)
    fields |= zero_points(inputs, y) | {"scale": descriptions.scale(scale)}
    return with_table(mul, operator, fields | descriptions.clamp(operator, y))


def mul(fields, *inputs):
    one, other = centred(fields, *inputs)
    return output_of(fields, one * other, "scale")


def product_bound(fields):
    return math.prod(
        max(INT8.highest - fields[name], fields[name] - INT8.lowest) for name in ZERO_POINTS
    )


def describe_prelu(operator, tensors):
    (x, alpha), y, fields = pair(operator, tensors)
    fields |= zero_points((x, alpha), y) | {
        "positive_scale": descriptions.scale(quantisation.product_scale(x.scale, 1, y.scale)),
        "negative_scale": descriptions.scale(
            quantisation.product_scale(x.scale, alpha.scale, y.scale)
        ),
    }
    return with_table(prelu, operator, fields)


def prelu(fields, *inputs):
    x, alpha = centred(fields, *inputs)
    positive = rules.scaled(x, fields["positive_scale"])
    negative = rules.scaled(x * alpha, fields["negative_scale"])
    return rules.clamped(np.where(x >= 0, positive, negative) + fields["output_zero_point"])


def describe_extremum(rule):
    """Of what compares values, whatever their scales are, as TensorFlow Lite does."""

    def describe(operator, tensors):
        _, _, fields = pair(operator, tensors)
        return with_table(rule, operator, fields)

    return describe


def maximum(fields, *inputs):
    return rules.clamped(np.maximum(*operands(fields, *inputs)))


def minimum(fields, *inputs):
    return rules.clamped(np.minimum(*operands(fields, *inputs)))


def pair_row(kind, rule, **options):
    return row(kind, pair_sizes, rule, weights=constant_bytes, colour="#fbe3b4", **options)


PAIR = {"inputs": (2, 2), "either": (0, 1)}
KINDS = (
    Kind(pair_shape, describe_sum(add), pair_row("ADD", add), tflite.AddOptions, CLAMP, **PAIR),
    Kind(pair_shape, describe_extremum(maximum), pair_row("MAXIMUM", maximum), **PAIR),
    Kind(pair_shape, describe_extremum(minimum), pair_row("MINIMUM", minimum), **PAIR),
    Kind(
        pair_shape,
        describe_mul,
        pair_row("MUL", mul, bound=product_bound),
        tflite.MulOptions,
        CLAMP,
        **PAIR,
    ),
    Kind(prelu_shape, describe_prelu, pair_row("PRELU", prelu, bound=product_bound), **PAIR),
    Kind(
        pair_shape,
        describe_squared_difference,
        pair_row("SQUARED_DIFFERENCE", squared_difference),
        **PAIR,
    ),
    Kind(pair_shape, describe_sum(sub), pair_row("SUB", sub), tflite.SubOptions, CLAMP, **PAIR),
)
