"""CONCATENATION, PACK, SPLIT, SPLIT_V, UNPACK: tensors put together along a dimension, or apart.

Fields: the whole tensor has `rows` rows, and in each of them `parts`: `offset` and `bytes` in a
row. Of one row, `offset` is where in the whole tensor all of a part lies. `constants`: by part, an
int8 array of one that is no activation, else None.
"""

import math

import numpy as np
import tflite

from tinyengine import descriptions
from tinyengine.families.copies import integers
from tinyengine.kind import CLAMP, Kind, plain, row

MOST = 1024  # parts


def _axis(axis, rank):
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank} dimensions")
    return axis % rank


def _parts(rows, sizes):
    """Fields without constants. sizes: elements of the parts."""
    widths = [size // rows for size in sizes]
    offsets = np.cumsum([0, *widths[:-1]]).tolist()
    parts = [{"offset": at, "bytes": width} for at, width in zip(offsets, widths)]
    return {"rows": rows, "parts": parts, "constants": [None] * len(parts)}


def _total(fields):
    """Elements of the whole."""
    return fields["rows"] * sum(part["bytes"] for part in fields["parts"])


def _part_sizes(fields):
    """Elements of each part that is an activation."""
    return tuple(
        fields["rows"] * part["bytes"]
        for part, constant in zip(fields["parts"], fields["constants"])
        if constant is None
    )


# --- together


def concatenated_shape(operator, tensors):
    if operator.attributes["activation"] != "NONE":
        raise ValueError(f"activation {operator.attributes['activation']}; supported is NONE")
    first, *others = (tensors[i].shape for i in operator.inputs)
    axis = _axis(operator.attributes["axis"], len(first))
    for shape in others:
        if len(shape) != len(first) or any(
            n != m for i, (n, m) in enumerate(zip(shape, first)) if i != axis
        ):
            raise ValueError(f"{list(first)} and {list(shape)} along dimension {axis}")
    total = sum(tensors[i].shape[axis] for i in operator.inputs)
    return (*first[:axis], total, *first[axis + 1 :])


def packed_shape(operator, tensors):
    first, *others = (tensors[i].shape for i in operator.inputs)
    axis = _axis(operator.attributes["axis"], len(first) + 1)
    if any(shape != first for shape in others):
        raise ValueError("inputs of several shapes")
    return (*first[:axis], len(operator.inputs), *first[axis:])


def describe_joined(operator, tensors):
    xs, y = [tensors[i] for i in operator.inputs], tensors[operator.outputs[0]]
    for x in xs:
        descriptions.same_quantisation(x, y)
    constants = [None if x.data is None else x.data.ravel() for x in xs]
    axis = _axis(operator.attributes["axis"], len(y.shape))
    rows = math.prod(y.shape[:axis])
    return _parts(rows, [x.size for x in xs]) | {"constants": constants}


def joined(fields, *xs):
    xs, found = iter(xs), []
    for part, constant in zip(fields["parts"], fields["constants"]):
        values = next(xs) if constant is None else constant
        found.append(values.reshape(-1, fields["rows"], part["bytes"]))
    batch = max(len(values) for values in found)
    whole = np.concatenate([np.broadcast_to(v, (batch, *v.shape[1:])) for v in found], axis=2)
    return whole.reshape(batch, -1)


def joined_sizes(fields):
    return *_part_sizes(fields), _total(fields)


# --- apart


def _whole(operator, tensors):
    """The input of a SPLIT is its second one."""
    return tensors[operator.inputs[operator.kind == "SPLIT"]]


def _split_axis(operator, tensors):
    place = {"SPLIT": 0, "SPLIT_V": 2}[operator.kind]
    (axis,) = integers(operator, tensors, place, 1)
    return _axis(axis, len(_whole(operator, tensors).shape))


def split_shapes(operator, tensors):
    shape, count = _whole(operator, tensors).shape, len(operator.outputs)
    axis = _split_axis(operator, tensors)
    n = shape[axis]
    if operator.kind == "SPLIT":
        sizes = [n // count] * count
    else:
        sizes = integers(operator, tensors, 1, count)
        rest = n - sum(size for size in sizes if size != -1)
        sizes = [rest if size == -1 else size for size in sizes]
    if sum(sizes) != n or min(sizes) < 1 or operator.attributes["count"] != count:
        raise ValueError(f"{n} values as {sizes}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def unpacked_shapes(operator, tensors):
    shape = _whole(operator, tensors).shape
    axis = _axis(operator.attributes["axis"], len(shape))
    if not shape[axis] == len(operator.outputs) == operator.attributes["count"]:
        raise ValueError(f"{len(operator.outputs)} outputs of {shape[axis]} values")
    return [(*shape[:axis], *shape[axis + 1 :])] * shape[axis]


def _describe_apart(operator, tensors, axis):
    x, ys = _whole(operator, tensors), [tensors[i] for i in operator.outputs]
    for y in ys:
        descriptions.same_quantisation(x, y)
    return _parts(math.prod(x.shape[:axis]), [y.size for y in ys])


def describe_split(operator, tensors):
    return _describe_apart(operator, tensors, _split_axis(operator, tensors))


def describe_unpack(operator, tensors):
    rank = len(_whole(operator, tensors).shape)
    return _describe_apart(operator, tensors, _axis(operator.attributes["axis"], rank))


def apart(fields, x):
    rows = x.reshape(len(x), fields["rows"], -1)
    ends = np.cumsum([part["bytes"] for part in fields["parts"]])[:-1]
    return tuple(part.reshape(len(x), -1) for part in np.split(rows, ends, axis=2))


def apart_sizes(fields):
    return _total(fields), *_part_sizes(fields)


def is_identity(fields):
    """Whether there is one part, which is the whole."""
    return len(fields["parts"]) == 1


def _joining(kind, shape, options, attributes):
    return Kind(
        shape,
        describe_joined,
        row(kind, joined_sizes, joined),
        options,
        attributes,
        inputs=(1, MOST),
        either=tuple(range(MOST)),
        identity=is_identity,
    )


def _splitting(kind, shape, describe, options, attributes, **inputs):
    return Kind(
        shape,
        describe,
        row(kind, apart_sizes, apart),
        options,
        attributes,
        outputs=(1, MOST),
        identity=is_identity,
        **inputs,
    )


AXIS = {"axis": plain("Axis")}
COUNT = {"count": plain("NumSplits")}
KINDS = (
    _joining("CONCATENATION", concatenated_shape, tflite.ConcatenationOptions, AXIS | CLAMP),
    _joining("PACK", packed_shape, tflite.PackOptions, AXIS),
    _splitting(
        "SPLIT",
        split_shapes,
        describe_split,
        tflite.SplitOptions,
        COUNT,
        inputs=(2, 2),
        constants=(0,),
    ),
    _splitting(
        "SPLIT_V",
        split_shapes,
        describe_split,
        tflite.SplitVOptions,
        COUNT,
        inputs=(3, 3),
        constants=(1, 2),
    ),
    _splitting(
        "UNPACK",
        unpacked_shapes,
        describe_unpack,
        tflite.UnpackOptions,
        AXIS | {"count": plain("Num")},
    ),
)
