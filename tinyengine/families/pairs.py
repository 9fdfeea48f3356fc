"""ADD: two tensors, element by element."""

import numpy as np
import tflite

from tinyengine import descriptions, quantisation, rules
from tinyengine.kind import CLAMP, Kind, row


def add_shape(operator, tensors):
    one, other = (tensors[i].shape for i in operator.inputs)
    if one != other:
        raise ValueError(f"inputs of shapes {list(one)} and {list(other)}; no broadcasting")
    return one


def describe_add(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    other = tensors[operator.inputs[1]]
    return {
        "size": x.size,
        **descriptions.scales(quantisation.add_parameters(x.scale, other.scale, y.scale)),
        "input_zero_point": x.zero_point,
        "other_zero_point": other.zero_point,
        "output_zero_point": y.zero_point,
        **descriptions.clamp(operator, y),
    }


def add(fields, x, other):
    """Both are shifted to the left, so that little is lost by the scales that they get."""

    def addend(values, name):
        centred = values.astype(np.int64) - fields[f"{name}_zero_point"]
        return rules.scaled(centred << fields["left_shift"], fields[f"{name}_scale"])

    total = rules.scaled(addend(x, "input") + addend(other, "other"), fields["output_scale"])
    return rules.clamped(total + fields["output_zero_point"], fields["lowest"], fields["highest"])


def add_sizes(fields):
    return (fields["size"],) * 3


KINDS = (
    Kind(
        add_shape,
        describe_add,
        row("ADD", add_sizes, add, colour="#fbe3b4"),
        tflite.AddOptions,
        CLAMP,
        inputs=(2, 2),
    ),
)
