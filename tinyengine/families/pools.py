"""AVERAGE_POOL_2D, MAX_POOL_2D."""

import math

import numpy as np
import tflite

from compiler.graph import INT8
from compiler.selection import nothing
from tinyengine import channels, descriptions, measures, rules
from tinyengine.kind import CLAMP, PADDING, STRIDES, Kind, plain, row
from tinyengine.shapes import height_width_channels, window


def pool_shape(operator, tensors):
    height, width, channels = height_width_channels(tensors[operator.inputs[0]].shape)
    rows, columns = (operator.attributes[name] for name in ("window_y", "window_x"))
    _, h, w = window(operator.attributes, rows, columns, (height, width))
    return (1, h, w, channels)


def describe_pool_2d(operator, tensors):
    """The reference does not rescale: tensors of different scales mean an error of a converter."""
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    fields = operator.attributes
    return {
        **descriptions.window(operator, fields["window_y"], fields["window_x"], x),
        "output": descriptions.shape_fields(y.shape),
        **descriptions.clamp(operator, y),
    }


def average_pool_2d(fields, x):
    """Of what of a window is inside the input; halves round away from zero."""
    images = rules.images(fields, x).astype(np.int64)
    sums = sum(rules.taps(fields, images))
    counts = sum(rules.taps(fields, np.ones_like(images[:1])))
    means = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    return rules.clamped(means, fields["lowest"], fields["highest"])


def average_pool_2d_bound(fields):
    """With the half of the count that rounds the division."""
    count = math.prod(
        min(fields["window"][side], fields["input"][side]) for side in ("height", "width")
    )
    return count * INT8.largest + count // 2


def max_pool_2d(fields, x):
    """Of what of a window is inside the input."""
    heights = rules.images(fields, x).astype(np.int64) - INT8.lowest  # padding is 0, the lowest
    largest = np.max(list(rules.taps(fields, heights)), axis=0)
    return rules.clamped(largest + INT8.lowest, fields["lowest"], fields["highest"])


def _kind(name, rule, bound):
    return Kind(
        pool_shape,
        describe_pool_2d,
        row(name, measures.image_sizes, rule, bound=bound),
        tflite.Pool2DOptions,
        STRIDES | PADDING | CLAMP | WINDOW,
        pruning=channels.POOL_2D,
    )


WINDOW = {"window_y": plain("FilterHeight"), "window_x": plain("FilterWidth")}
KINDS = (
    _kind("AVERAGE_POOL_2D", average_pool_2d, average_pool_2d_bound),
    _kind("MAX_POOL_2D", max_pool_2d, nothing),
)
