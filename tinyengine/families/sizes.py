"""EXPAND_DIMS, SQUEEZE, and what computes the shapes of a model, as SHAPE.

The latter vanish when a model is imported (constants.py), or else are refused.
"""

import tflite

from compiler.selection import always
from tinyengine import descriptions, measures
from tinyengine.kind import Kind, copy_row, plain


def expanded_shape(operator, tensors):
    x, axis = (tensors[i] for i in operator.inputs)
    rank, place = len(x.shape) + 1, int(axis.data.item())
    if not -rank <= place < rank:
        raise ValueError(f"a dimension {place} of {rank}")
    place %= rank
    return (*x.shape[:place], 1, *x.shape[place:])


def squeezed_shape(operator, tensors):
    """Without the named dimensions; with none named, without all of size 1."""
    shape, axes = tensors[operator.inputs[0]].shape, operator.attributes["axes"]
    rank = len(shape)
    gone = {i % rank for i in axes if -rank <= i < rank} if axes else set(range(rank))
    if axes and any(not -rank <= i < rank or shape[i] != 1 for i in axes):
        raise ValueError(f"dimensions {axes} of shape {list(shape)}")
    return tuple(n for i, n in enumerate(shape) if n != 1 or i not in gone)


def describe(operator, tensors):
    descriptions.same_quantisation(*descriptions.ends(operator, tensors))
    return descriptions.copy(operator, tensors)


def of_shapes_only(operator, tensors):
    """Of what `constants.fold` has left."""
    raise ValueError("supported is only what follows from shapes and constants")


def squeezed_axes(options):
    axes = options.SqueezeDimsAsNumpy()
    return [] if isinstance(axes, int) else [int(i) for i in axes]


def _copying(kind, shape, options=None, attributes=None, **inputs):
    return Kind(
        shape,
        describe,
        copy_row(kind, measures.same_sizes),
        options,
        attributes or {},
        identity=always,
        **inputs,
    )


def _of_shapes(kind, options=None, attributes=None, inputs=(2, 2)):
    return Kind(
        of_shapes_only,
        of_shapes_only,
        copy_row(kind, measures.same_sizes),
        options,
        attributes or {},
        inputs,
        either=(0, 1),
    )


KINDS = (
    _copying("EXPAND_DIMS", expanded_shape, inputs=(2, 2), constants=(1,)),
    _copying("SQUEEZE", squeezed_shape, tflite.SqueezeOptions, {"axes": squeezed_axes}),
    _of_shapes("SHAPE", inputs=(1, 1)),
    _of_shapes("REDUCE_PROD", tflite.ReducerOptions, {"keep_dims": plain("KeepDims")}),
    _of_shapes("CAST", inputs=(1, 1)),
    _of_shapes("FILL"),
    _of_shapes("BROADCAST_TO"),
)
