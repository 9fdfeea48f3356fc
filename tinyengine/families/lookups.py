"""QUANTIZE, RELU, LOGISTIC and their like: what computes each value from one value, by a table.

Sources: tflite/kernels of google-ai-edge/LiteRT: activations.cc, elementwise.cc, exp.cc, neg.cc,
quantize.cc, LUTPopulate of internal/common.h, HardSwish of internal/reference/hard_swish.h. The
reference evaluates functions in float32 with the C library of its computer. Here their results are
rounded correctly, as in newer C libraries; in older ones a last bit can differ.
"""

import math

import numpy as np
import tflite

from compiler.graph import DTYPES, INT8
from tinyengine import channels, descriptions, measures, quantisation, shapes, tables
from tinyengine.kind import Kind, copy_row, plain, row
from tinyengine.quantisation import INT16, doubling_high_multiply, rounding_shift, saturated_16

HARD_SWISH_BITS = 7  # by which an input is shifted to the left
RELUISH_SCALE = np.float32(3) / np.float32(1 << 15)  # of Q0.15 that is 1 where x is 3
INVERSE_SQRT_SHIFT = 20  # fractional bits of RSQRT


def _table(compute):
    """How to describe an operator. compute: (attributes, input tensor, output tensor, int64 values)
    -> their results, a number each; the output cuts them off. The values are all of the input's
    type, in its order."""

    def describe(operator, tensors):
        x, y = descriptions.ends(operator, tensors)
        before, after = DTYPES[x.dtype], DTYPES[y.dtype]
        values = np.arange(before.lowest, before.highest + 1)
        results = np.clip(compute(operator.attributes, x, y, values), after.lowest, after.highest)
        table = np.empty(256, np.uint8)
        table[values & 255] = results.astype(np.int64) & 255
        return tables.fields(table, x, y)

    return describe


def lookup(fields, x):
    return fields["bytes"][x.view(np.uint8)].view(fields["to"])


def lookup_dtypes(fields):
    return fields["from"], fields["to"]


# --- fixed point


def _factor(x, y):
    """The te_scale from one tensor's scale to another's, whose quotient is rounded to float32."""
    return quantisation.quantise_multiplier(float(np.float32(x.scale) / np.float32(y.scale)))


def _rescaled(x, y, values):
    return quantisation.scaled(values - x.zero_point, *_factor(x, y)) + y.zero_point


def quantize(attributes, x, y, values):
    scale = quantisation.rescale(x.scale, y.scale)
    return quantisation.scaled(values - x.zero_point, *scale) + y.zero_point


def describe_quantize(operator, tensors):
    if descriptions.ends(operator, tensors)[0].dtype == "float32":  # an edge of the model
        return descriptions.copy(operator, tensors)
    return _table(quantize)(operator, tensors)


def _relu(activation):
    """RELU and others, which are also fused into operators as `activation`."""

    def compute(attributes, x, y, values):
        ends = quantisation.activation_range(activation, y.scale, y.zero_point)
        return np.clip(_rescaled(x, y, values), *ends)

    return compute


def leaky_relu(attributes, x, y, values):
    """Below the zero point the factor is another one."""
    alpha = np.float32(attributes["alpha"])
    factor = float(np.float32(x.scale) * alpha / np.float32(y.scale))
    scale = quantisation.quantise_multiplier(abs(factor))
    below = quantisation.scaled(values - x.zero_point, *scale) * (-1 if factor < 0 else 1)
    return np.where(values < x.zero_point, below + y.zero_point, _rescaled(x, y, values))


def absolute(attributes, x, y, values):
    distances = np.abs(values - x.zero_point)
    if x.scale != y.scale:
        distances = quantisation.scaled(distances, *_factor(x, y))
    return distances + y.zero_point


def negative(attributes, x, y, values):
    """Scales and zero points are not looked at, and -128 stays as it is."""
    return np.where(values == INT8.lowest, values, -values)


def hard_swish(attributes, x, y, values):
    """x * relu6(x + 3) / 6 in 16 bits; raises ValueError where these are not enough."""
    fine = np.float32(1 / (1 << HARD_SWISH_BITS)) * np.float32(x.scale)
    output, right = quantisation.quantise_multiplier(float(fine / np.float32(y.scale)))
    reluish, left = quantisation.quantise_multiplier(float(fine / RELUISH_SCALE))
    if not -15 <= right <= 0 or left > 31:
        raise ValueError(f"scales {x.scale:g}, {y.scale:g}; their quotient does not fit 16 bits")
    centred = (values - x.zero_point) << HARD_SWISH_BITS
    share = saturated_16(centred << max(left - 1, 0))  # from -1 to 1, then from 0 to 1
    share = _high_multiply_16(share, _upper_half(reluish), rounded=True)
    share = saturated_16(share << (left > 0))
    share = (rounding_shift(share, max(-left, 0)) + (1 << 15)) >> 1
    scaled = _high_multiply_16(centred, _upper_half(output), rounded=True)
    return rounding_shift(_high_multiply_16(share, scaled), -right) + y.zero_point


def _upper_half(multiplier):
    """A multiplier of 31 bits as one of 15."""
    return min((multiplier + (1 << 15)) >> 16, INT16.highest)


def _high_multiply_16(a, b, rounded=False):
    """a * b * 2^-15, towards zero or, if rounded, to the nearest."""
    product = a * b
    half = np.where(product < 0, (1 << 14) - 1, 1 << 14) * rounded
    return np.sign(product) * (np.abs(product) + half >> 15)


def rsqrt(attributes, x, y, values):
    _without_negatives(x)
    factor = 1 / float(np.sqrt(np.float32(x.scale)) * np.float32(y.scale))
    multiplier, shift = quantisation.quantise_multiplier(factor)
    results = [INT8.highest]  # of 0
    for value in range(1, 256):
        inverse, right = _inverse_square_root(value)
        fine = quantisation.scaled(1, inverse, INVERSE_SQRT_SHIFT - right)
        result = quantisation.scaled(fine, multiplier, shift - INVERSE_SQRT_SHIFT)
        results.append(int(result) + y.zero_point)
    return np.array(results)


def _inverse_square_root(n):
    """(multiplier, shift) of 1 / sqrt(n) = multiplier * 2^(-31 - shift), by Newton's method.

    As GetInvSqrtQuantizedMultiplierExp of internal/common.h. n: 1 to 255. Numbers are Q3.28.
    """
    if n == 1:
        return DTYPES["int32"].highest, 0
    pairs = (31 - n.bit_length()) // 2 - 1
    half = int(rounding_shift(np.int64(n << 2 * pairs >> 1), 1))
    guess, three_halves = 1 << 28, 3 << 27
    for _ in range(5):
        cube = doubling_high_multiply(doubling_high_multiply(guess, guess), guess) << 6
        step = doubling_high_multiply(half, cube)
        guess = (doubling_high_multiply(three_halves, guess) - step) << 3
    half_sqrt_2 = 1518500250
    return doubling_high_multiply(guess, half_sqrt_2), 11 - pairs


def _without_negatives(x):
    if x.zero_point != INT8.lowest:
        raise ValueError(f"an input of zero point {x.zero_point}; negative values have no root")


# --- float32


def sqrt(attributes, x, y, values):
    """Cut off, not rounded."""
    _without_negatives(x)
    roots = np.sqrt(_real(x, values)) / np.float32(y.scale)
    return np.trunc(roots.astype(np.float64)) + y.zero_point


def _function(function):
    """A table of function(attributes, output tensor, float32 values) -> float32."""

    def compute(attributes, x, y, values):
        with np.errstate(over="ignore"):
            results = function(attributes, y, _real(x, values)) * (1 / np.float32(y.scale))
        nearest = np.sign(results) * np.floor(np.abs(results.astype(np.float64)) + 0.5)
        return np.trunc(nearest.astype(np.float32) + np.float32(y.zero_point))

    return compute


def _real(x, values):
    """float32: what values of a tensor stand for."""
    return np.float32(x.scale) * (values - x.zero_point).astype(np.float32)


def _each(function, values):
    """A function of float64 for each of float32 values, rounded to float32."""

    def finite(value):
        try:
            return function(value)
        except OverflowError:
            return math.inf

    with np.errstate(over="ignore"):
        return np.array([finite(value) for value in values.tolist()], np.float64).astype(np.float32)


def logistic(attributes, y, real):
    if y.scale != 1 / 256:
        raise ValueError(f"an output of scale {y.scale:g}, not 1/256")
    return 1 / (1 + _each(math.exp, -real))


def logarithm(attributes, y, real):
    """What has none becomes the lowest output."""
    lowest = np.float32(INT8.lowest - y.zero_point) * np.float32(y.scale)
    return np.where(real > 0, _each(math.log, np.where(real > 0, real, 1)), lowest)


def gelu(attributes, y, real):
    half = np.float32(0.5) * real
    if not attributes["approximate"]:
        return half * _each(math.erfc, real * np.float32(-math.sqrt(0.5)))
    inner = real + np.float32(0.044715) * real * real * real
    return half * (1 + _each(math.tanh, np.float32(math.sqrt(2 / math.pi)) * inner))


def _kind(name, describe, options=None, attributes=None, dtypes=("int8",)):
    return Kind(
        shapes.same,
        describe,
        row(name, measures.same_sizes, lookup, dtypes=lookup_dtypes),
        options,
        attributes or {},
        dtypes=dtypes,
        pruning=channels.LOOKUP,
        identity=tables.is_identity,
    )


ALPHA = {"alpha": plain("Alpha")}
APPROXIMATE = {"approximate": plain("Approximate")}
KINDS = (
    Kind(shapes.same, descriptions.copy, copy_row("DEQUANTIZE", measures.same_sizes)),
    _kind("ABS", _table(absolute)),
    _kind("EXP", _table(_function(lambda attributes, y, real: _each(math.exp, real)))),
    _kind("GELU", _table(_function(gelu)), tflite.GeluOptions, APPROXIMATE),
    _kind("HARD_SWISH", _table(hard_swish)),
    _kind("LEAKY_RELU", _table(leaky_relu), tflite.LeakyReluOptions, ALPHA),
    _kind("LOG", _table(_function(logarithm))),
    _kind("LOGISTIC", _table(_function(logistic))),
    _kind("NEG", _table(negative)),
    _kind("QUANTIZE", describe_quantize, dtypes=("int8", "uint8")),
    _kind("RELU", _table(_relu("RELU"))),
    _kind("RELU6", _table(_relu("RELU6"))),
    _kind("RELU_0_TO_1", _table(_relu("RELU_0_TO_1"))),
    _kind("RELU_N1_TO_1", _table(_relu("RELU_N1_TO_1"))),
    _kind("RSQRT", _table(rsqrt)),
    _kind("SQRT", _table(sqrt)),
    _kind("TANH", _table(_function(lambda attributes, y, real: _each(math.tanh, real)))),
)
