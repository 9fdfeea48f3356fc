"""MEAN, REDUCE_MAX, REDUCE_MIN: one value for what lies along some dimensions."""

import numpy as np
import tflite

from compiler.graph import INT8
from compiler.selection import nothing
from tinyengine import descriptions, measures, quantisation, rules
from tinyengine.kind import Kind, plain, row


def reduced_axes(operator, tensors):
    """The dimensions that are reduced, sorted."""
    rank = len(tensors[operator.inputs[0]].shape)
    found = {int(a) for a in tensors[operator.inputs[1]].data.ravel()}
    if not found or not all(-rank <= a < rank for a in found):
        raise ValueError(f"axes {sorted(found)} of {rank} dimensions")
    return sorted({a % rank for a in found})


def reduced_shape(operator, tensors):
    shape, reduced = tensors[operator.inputs[0]].shape, reduced_axes(operator, tensors)
    if operator.attributes["keep_dims"]:
        return tuple(1 if i in reduced else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in reduced)


def _axes(operator, tensors):
    shape, reduced = tensors[operator.inputs[0]].shape, reduced_axes(operator, tensors)
    pairs = list(zip(shape, descriptions.strides_of(shape)))
    return {
        "kept": descriptions.axes([p for i, p in enumerate(pairs) if i not in reduced]),
        "reduced": descriptions.axes([pairs[i] for i in reduced]),
    }


def describe_mean(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    axes = _axes(operator, tensors)
    scale = quantisation.mean_scale(x.scale, y.scale, measures.count(axes["reduced"]))
    return {
        **axes,
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": descriptions.scale(scale),
    }


def describe_extreme(operator, tensors):
    descriptions.same_quantisation(*descriptions.ends(operator, tensors))
    return _axes(operator, tensors)


def _taken(fields, x):
    """The input as int64 [B, elements of the output, what is reduced to each]."""
    places = rules.offsets(fields["kept"])[:, None] + rules.offsets(fields["reduced"])
    return x.astype(np.int64)[:, places]


def mean(fields, x):
    """Of all `reduced` axes; the division is part of the scale."""
    sums = (_taken(fields, x) - fields["input_zero_point"]).sum(axis=2)
    return rules.clamped(rules.scaled(sums, fields["scale"]) + fields["output_zero_point"])


def reduce_max(fields, x):
    return rules.clamped(_taken(fields, x).max(axis=2))


def reduce_min(fields, x):
    return rules.clamped(_taken(fields, x).min(axis=2))


def reduction_sizes(fields):
    kept = measures.count(fields["kept"])
    return kept * measures.count(fields["reduced"]), kept


def mean_bound(fields):
    zero_point = fields["input_zero_point"]
    furthest = max(INT8.highest - zero_point, zero_point - INT8.lowest)
    return measures.count(fields["reduced"]) * furthest


def _kind(name, describe, rule, bound):
    return Kind(
        reduced_shape,
        describe,
        row(name, reduction_sizes, rule, bound=bound),
        tflite.ReducerOptions,
        {"keep_dims": plain("KeepDims")},
        inputs=(2, 2),
        constants=(1,),
    )


KINDS = (
    _kind("MEAN", describe_mean, mean, mean_bound),
    _kind("REDUCE_MAX", describe_extreme, reduce_max, nothing),
    _kind("REDUCE_MIN", describe_extreme, reduce_min, nothing),
)
