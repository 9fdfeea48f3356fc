"""What the fields of a step say of it: sizes, accumulators, multiplications.

They do not look at the graph, and so can check it.
"""

import math

import numpy as np

from compiler.graph import INT8
from tinyengine import quantisation, rules

# --- (elements of each input ..., elements of the output)


def _elements(shape):
    return shape["height"] * shape["width"] * shape["channels"]


def image_sizes(fields):
    return _elements(fields["input"]), _elements(fields["output"])


def fully_connected_sizes(fields):
    return fields["rows"] * fields["inputs"], fields["rows"] * fields["outputs"]


def add_sizes(fields):
    return (fields["size"],) * 3


def same_sizes(fields):
    return (fields["size"],) * 2


def softmax_sizes(fields):
    return (fields["rows"] * fields["size"],) * 2


def _count(axes):
    return math.prod(axis["size"] for axis in axes)


def mean_sizes(fields):
    kept = _count(fields["kept"])
    return kept * _count(fields["reduced"]), kept


def pad_sizes(fields):
    after = math.prod(sum(axis.values()) for axis in fields["axes"])
    return _count(fields["axes"]), after


def transpose_sizes(fields):
    return (_count(fields["axes"]),) * 2


# --- the largest magnitude that an int32 accumulator of the plain kernel can reach, for any input


def convolution_bound(fields):
    """Of CONV_2D and FULLY_CONNECTED: output channels come first."""
    return _weighted_bound(fields, fields["weights"])


def depthwise_bound(fields):
    return _weighted_bound(fields, np.moveaxis(fields["weights"], 3, 0))


def _weighted_bound(fields, by_output):
    zero_point = fields["input_zero_point"]
    return int(quantisation.accumulator_bounds(by_output, fields["bias"], zero_point).max())


def average_pool_2d_bound(fields):
    """With the half of the count that rounds the division."""
    count = math.prod(
        min(fields["window"][side], fields["input"][side]) for side in ("height", "width")
    )
    return count * INT8.largest + count // 2


def mean_bound(fields):
    zero_point = fields["input_zero_point"]
    furthest = max(INT8.highest - zero_point, zero_point - INT8.lowest)
    return _count(fields["reduced"]) * furthest


def softmax_bound(fields):
    """Of the sum of exponentials, each at most 1."""
    return fields["size"] << rules.SUM_BITS


# --- multiply-accumulates; padding counts as if it were multiplied


def window_macs(fields):
    return fields["output"]["height"] * fields["output"]["width"] * fields["weights"].size


def fully_connected_macs(fields):
    return fields["rows"] * fields["weights"].size


def weight_bytes(fields):
    """Bytes of weights and biases, before a kernel packs them."""
    return fields["weights"].nbytes + fields["bias"].nbytes
