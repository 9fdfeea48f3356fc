"""What follows from shapes and constants alone is computed when a model is imported.

With an open batch a converter writes the shapes of a model as operators: SHAPE, STRIDED_SLICE, PACK
in front of a RESHAPE. As the batch is one, all of these are known. The file gives a placeholder for
each size that it leaves open, so shapes that follow from such values are computed, too.
"""

import math
from dataclasses import replace

import numpy as np

from tinyengine.operators import KINDS

INTEGERS = ("int32", "int64")  # types of shapes and indices
LARGEST = 1 << 16  # elements of a shape, or of an index: more is a damaged file


def fold(graph):
    """The imported graph without operators whose output is known: it is a constant now.

    Raises ValueError for values that do not go together, IndexError for an index that is not there.
    """
    tensors, left, resized = list(graph.tensors), [], set()
    for operator in graph.operators:
        value = _value(operator, tensors)
        if value is not None:
            (output,) = operator.outputs
            tensors[output] = replace(tensors[output], shape=value.shape, data=value)
            continue
        left.append(operator)
        for i, shape in zip(operator.outputs, _new_shapes(operator, tensors, resized)):
            if shape != tensors[i].shape:
                tensors[i] = replace(tensors[i], shape=shape)
                resized.add(i)
    return replace(graph, tensors=tensors, operators=left)


def _value(operator, tensors):
    """The output of an operator on shapes, None where it is not known yet."""
    inputs, output = [tensors[i] for i in operator.inputs if i >= 0], tensors[operator.outputs[0]]
    if output.dtype not in INTEGERS or output.data is not None:
        return None
    if operator.kind == "SHAPE":
        return np.array(inputs[0].shape, output.dtype)
    known = all(tensor.data is not None and tensor.size <= LARGEST for tensor in inputs)
    if operator.kind not in VALUES or not known:
        return None
    value = VALUES[operator.kind](operator.attributes, *(tensor.data for tensor in inputs))
    return None if value is None else np.array(value, output.dtype, order="C")


def _new_shapes(operator, tensors, resized):
    """The shapes of the outputs, where the file can have others: none if it cannot."""
    if operator.kind == "RESHAPE":
        shape = _reshaped(operator, tensors)
        return [] if shape is None else [shape]
    if not resized & {*operator.inputs}:
        return []
    try:
        found = KINDS[operator.kind].shape(operator, tensors)
    except ValueError:  # found again, and reported, when all shapes are checked
        return []
    return [tuple(shape) for shape in (found if isinstance(found, list) else [found])]


def _reshaped(operator, tensors):
    """The shape that a RESHAPE is given as a constant; None if there is none, or none that fits."""
    x, given = tensors[operator.inputs[0]], operator.inputs[1:]
    if not given or given[0] < 0 or tensors[given[0]].data is None:
        return None
    shape = [int(n) for n in tensors[given[0]].data.ravel()]
    rest = math.prod(n for n in shape if n != -1)
    if shape.count(-1) > 1 or rest < 1 or x.size % rest:
        return None
    shape = tuple(x.size // rest if n == -1 else n for n in shape)
    return shape if min(shape, default=1) > 0 and math.prod(shape) == x.size else None


# --- operators on shapes, in NumPy: (attributes, *constants) -> output, None for what is not known


def _strided_slice(attributes, x, begin, end, strides):
    """Masks have a bit for each index, the lowest for the first."""
    if any(attributes[name] for name in ("ellipsis_mask", "new_axis_mask", "offset")):
        return None
    index = []
    for place, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        bit = 1 << place
        if attributes["shrink_axis_mask"] & bit:
            index.append(int(first))
            continue
        ends = (("begin_mask", first), ("end_mask", last))
        first, last = (None if attributes[mask] & bit else int(n) for mask, n in ends)
        index.append(slice(first, last, int(step)))
    return x[tuple(index)]


def _slice(attributes, x, begin, size):
    ends = [None if n < 0 else b + n for b, n in zip(begin, size, strict=True)]
    return x[tuple(slice(b, e) for b, e in zip(begin, ends))]


def _filled(attributes, shape, value):
    return np.full(shape, value) if math.prod(map(int, shape)) <= LARGEST else None


def _unfused(function):
    """Arithmetic that no activation cuts off."""
    return lambda attributes, *values: (
        function(*values) if attributes["activation"] == "NONE" else None
    )


VALUES = {
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "PACK": lambda attributes, *values: np.stack(values, attributes["axis"]),
    "CONCATENATION": lambda attributes, *values: np.concatenate(values, attributes["axis"]),
    "GATHER": lambda attributes, x, indices: (
        None if attributes["batch_dims"] else np.take(x, indices, attributes["axis"])
    ),
    "REDUCE_PROD": lambda attributes, x, axes: np.prod(
        x, tuple(int(n) for n in axes.ravel()), keepdims=attributes["keep_dims"]
    ),
    "CAST": lambda attributes, x: x,
    "FILL": _filled,
    "BROADCAST_TO": lambda attributes, x, shape: _filled({}, shape, x),
    "ADD": _unfused(np.add),
    "SUB": _unfused(np.subtract),
    "MUL": _unfused(np.multiply),
    "RESHAPE": lambda attributes, x, *shape: x.reshape(*shape or [attributes["new_shape"]]),
    "EXPAND_DIMS": lambda attributes, x, axis: np.expand_dims(x, int(axis.item())),
    "SQUEEZE": lambda attributes, x: np.squeeze(x, tuple(attributes["axes"]) or None),
}
assert VALUES.keys() <= KINDS.keys()
