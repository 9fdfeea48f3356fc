"""MEAN: one value for what lies along some dimensions."""

import math

import numpy as np
import tflite

from compiler.graph import INT8
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


def describe_mean(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    reduced = reduced_axes(operator, tensors)
    pairs = list(zip(x.shape, descriptions.strides_of(x.shape)))
    count = math.prod(x.shape[i] for i in reduced)
    return {
        "kept": descriptions.axes([p for i, p in enumerate(pairs) if i not in reduced]),
        "reduced": descriptions.axes([pairs[i] for i in reduced]),
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": descriptions.scale(quantisation.mean_scale(x.scale, y.scale, count)),
    }


def mean(fields, x):
    """Of all `reduced` axes; the division is part of the scale."""
    places = rules.offsets(fields["kept"])[:, None] + rules.offsets(fields["reduced"])
    sums = (x.astype(np.int64) - fields["input_zero_point"])[:, places].sum(axis=2)
    return rules.clamped(rules.scaled(sums, fields["scale"]) + fields["output_zero_point"])


def mean_sizes(fields):
    kept = measures.count(fields["kept"])
    return kept * measures.count(fields["reduced"]), kept


def mean_bound(fields):
    zero_point = fields["input_zero_point"]
    furthest = max(INT8.highest - zero_point, zero_point - INT8.lowest)
    return measures.count(fields["reduced"]) * furthest


KINDS = (
    Kind(
        reduced_shape,
        describe_mean,
        row("MEAN", mean_sizes, mean, bound=mean_bound),
        tflite.ReducerOptions,
        {"keep_dims": plain("KeepDims")},
        inputs=(2, 2),
        constants=(1,),
    ),
)
