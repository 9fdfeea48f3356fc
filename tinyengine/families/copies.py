"""PAD, RESHAPE, TRANSPOSE: what moves values, and leaves them as they are."""

import math

import numpy as np

from tinyengine import descriptions, measures, rules
from tinyengine.kind import Kind, copy_row, row


def paddings(operator, tensors):
    """int64 [rank, 2] of a PAD: how much before and after, in each dimension."""
    data = tensors[operator.inputs[1]].data
    rank = len(tensors[operator.inputs[0]].shape)
    if data.shape != (rank, 2) or data.min() < 0 or data.max() > 1 << 16:
        raise ValueError(f"paddings {data.tolist()} for {rank} dimensions")
    return data.astype(np.int64)


def pad_shape(operator, tensors):
    shape = tensors[operator.inputs[0]].shape
    return tuple(int(n + p.sum()) for n, p in zip(shape, paddings(operator, tensors)))


def permutation(operator, tensors):
    """Of a TRANSPOSE: dimension i of the output is dimension permutation[i] of the input."""
    found = tuple(int(i) for i in tensors[operator.inputs[1]].data.ravel())
    if sorted(found) != list(range(len(tensors[operator.inputs[0]].shape))):
        raise ValueError(f"permutation {list(found)}")
    return found


def transposed_shape(operator, tensors):
    shape = tensors[operator.inputs[0]].shape
    return tuple(shape[i] for i in permutation(operator, tensors))


def reshaped_shape(operator, tensors):
    before, after = (tensor.shape for tensor in descriptions.ends(operator, tensors))
    if math.prod(after) != math.prod(before):
        raise ValueError(f"{list(before)} to {list(after)}")
    return after


def describe_pad(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    axes = [
        {"size": n, "before": int(before), "after": int(after)}
        for n, (before, after) in zip(x.shape, paddings(operator, tensors))
    ]
    none = {"size": 1, "before": 0, "after": 0}
    return {"axes": [none] * (descriptions.RANK - len(axes)) + axes, "value": x.zero_point}


def describe_transpose(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    pairs = list(zip(x.shape, descriptions.strides_of(x.shape)))
    return {"axes": descriptions.axes([pairs[i] for i in permutation(operator, tensors)])}


def describe_reshape(operator, tensors):
    descriptions.same_quantisation(*descriptions.ends(operator, tensors))
    return descriptions.copy(operator, tensors)


def pad(fields, x):
    """With one value, on both sides of each axis."""
    axes = fields["axes"]
    padding = [(0, 0), *((axis["before"], axis["after"]) for axis in axes)]
    values = x.reshape(len(x), *(axis["size"] for axis in axes))
    return np.pad(values, padding, constant_values=fields["value"]).reshape(len(x), -1)


def transpose(fields, x):
    """A copy with strides."""
    return x[:, rules.offsets(fields["axes"])]


def pad_sizes(fields):
    after = math.prod(sum(axis.values()) for axis in fields["axes"])
    return measures.count(fields["axes"]), after


def transpose_sizes(fields):
    return (measures.count(fields["axes"]),) * 2


WITH_CONSTANT = {"inputs": (2, 2), "constants": (1,)}
KINDS = (
    Kind(pad_shape, describe_pad, row("PAD", pad_sizes, pad), **WITH_CONSTANT),
    Kind(
        reshaped_shape,
        describe_reshape,
        copy_row("RESHAPE", measures.same_sizes),
        inputs=(1, 2),
        constants=(1,),
    ),
    Kind(
        transposed_shape,
        describe_transpose,
        row("TRANSPOSE", transpose_sizes, transpose),
        **WITH_CONSTANT,
    ),
)
