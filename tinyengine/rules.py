"""The exact rules of the operators that are left after lowering, in NumPy: what the C must compute.

A rule takes a step's fields, those of its description in C (kernels/tinyengine.h) as lowering.py or
pruning.py wrote them, and its activations, int8 [B, elements]. It returns its output, int8
[B, elements]. B = inputs that are computed at once, each as if it were alone. Every value is that
of the plain kernel, kernels/NAME.c.
"""

import itertools

import numpy as np

from compiler.csource import constants
from compiler.graph import INT32
from tinyengine import quantisation
from tinyengine.quantisation import doubling_high_multiply, rounding_shift

# --- what rules share


def _clamped(values, lowest=quantisation.LOWEST, highest=quantisation.HIGHEST):
    """int64 [B, ...] as an output."""
    return np.clip(values, lowest, highest).astype(np.int8).reshape(len(values), -1)


def _scaled(values, scale):
    """int64 values times one te_scale."""
    return quantisation.scaled(values, scale["multiplier"], scale["shift"])


def _requantised(fields, sums):
    """Sums [B, ..., channels] of products, without the bias, as an output."""
    accumulators = sums.astype(np.int64) + fields["bias"]
    return _clamped(quantisation.requantise(fields["requantise"], accumulators))


def _centred(fields, x):
    """The input with its zero point at 0, float64.

    Products are summed up in float64, for NumPy's matrix product of integers is slow. All are
    integers, and lowering keeps accumulators within int32, far below 2^53: no sum is rounded.
    """
    return x.astype(np.float64) - fields["input_zero_point"]


def _images(fields, x):
    return x.reshape(len(x), *(fields["input"][side] for side in ("height", "width", "channels")))


def _taps(fields, images):
    """What each tap of the window reads, the last column the fastest: [B, height, width, channels]
    of the output's height and width. images: [B, height, width, channels]; padding is 0."""
    window, padding, places = fields["window"], [], []
    for axis, side, edge in (("y", "height", "pad_top"), ("x", "width", "pad_left")):
        stride, dilation = window[f"stride_{axis}"], window[f"dilation_{axis}"]
        span = (fields["output"][side] - 1) * stride + 1  # of a tap, from its first to its last
        last = (window[side] - 1) * dilation
        beyond = span + last - window[edge] - fields["input"][side]
        padding.append((window[edge], max(beyond, 0)))
        places.append([slice(at, at + span, stride) for at in range(0, last + 1, dilation)])
    padded = np.pad(images, [(0, 0), *padding, (0, 0)])
    for rows, columns in itertools.product(*places):
        yield padded[:, rows, columns]


def _offsets(axes):
    """int64 [elements]: where in the input the elements of te_axis axes lie, in their order."""
    offsets = np.zeros(1, np.int64)
    for axis in axes:
        steps = np.arange(axis["size"]) * axis["stride"]
        offsets = (offsets[:, None] + steps).ravel()
    return offsets


# --- operators with weights


def conv_2d(fields, x):
    """Padding counts as the zero point."""
    weights = np.moveaxis(fields["weights"], 0, -1).astype(np.float64)
    by_tap = weights.reshape(-1, *weights.shape[2:])  # [taps, in channels, out channels]
    taps = _taps(fields, _centred(fields, _images(fields, x)))
    return _requantised(fields, sum(tap @ w for tap, w in zip(taps, by_tap)))


def depthwise_conv_2d(fields, x):
    """Output channel c reads input channel c / multiplier."""
    by_tap = fields["weights"].reshape(-1, fields["output"]["channels"])
    images = np.repeat(_centred(fields, _images(fields, x)), fields["multiplier"], axis=3)
    return _requantised(fields, sum(tap * w for tap, w in zip(_taps(fields, images), by_tap)))


def fully_connected(fields, x):
    """Rounds twice, as TensorFlow Lite Micro does."""
    rows = _centred(fields, x).reshape(len(x), fields["rows"], fields["inputs"])
    return _requantised(fields, rows @ fields["weights"].T.astype(np.float64))


# --- operators without weights


def average_pool_2d(fields, x):
    """Of what of a window is inside the input; halves round away from zero."""
    images = _images(fields, x).astype(np.int64)
    sums = sum(_taps(fields, images))
    counts = sum(_taps(fields, np.ones_like(images[:1])))
    means = np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)
    return _clamped(means, fields["lowest"], fields["highest"])


def add(fields, x, other):
    """Both are shifted to the left, so that little is lost by the scales that they get."""

    def addend(values, name):
        centred = values.astype(np.int64) - fields[f"{name}_zero_point"]
        return _scaled(centred << fields["left_shift"], fields[f"{name}_scale"])

    total = _scaled(addend(x, "input") + addend(other, "other"), fields["output_scale"])
    return _clamped(total + fields["output_zero_point"], fields["lowest"], fields["highest"])


def mean(fields, x):
    """Of all `reduced` axes; the division is part of the scale."""
    places = _offsets(fields["kept"])[:, None] + _offsets(fields["reduced"])
    sums = (x.astype(np.int64) - fields["input_zero_point"])[:, places].sum(axis=2)
    return _clamped(_scaled(sums, fields["scale"]) + fields["output_zero_point"])


def quantize(fields, x):
    """From int8 to int8, of another scale and zero point."""
    values = _scaled(x.astype(np.int64) - fields["input_zero_point"], fields["scale"])
    return _clamped(values + fields["output_zero_point"])


def pad(fields, x):
    """With one value, on both sides of each axis."""
    axes = fields["axes"]
    padding = [(0, 0), *((axis["before"], axis["after"]) for axis in axes)]
    values = x.reshape(len(x), *(axis["size"] for axis in axes))
    return np.pad(values, padding, constant_values=fields["value"]).reshape(len(x), -1)


def transpose(fields, x):
    """A copy with strides."""
    return x[:, _offsets(fields["axes"])]


# --- SOFTMAX: gemmlowp's exponential and reciprocal, with the names of kernels/softmax.c

SOFTMAX = constants("tinyengine/kernels/softmax.c")
INPUT_BITS, SUM_BITS = SOFTMAX["INPUT_BITS"], SOFTMAX["SUM_BITS"]  # fractional: Q5.26, Q12.19
E_TO_MINUS_EIGHTH, THIRD = 1895147668, 715827883  # Q0.31
# e^-(2^k) of k = -2 .. 4, Q0.31
FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
ONE, START, SLOPE = 1 << 29, 1515870810, -1010580540  # Q2.29: 1, 48/17, -32/17


def softmax(fields, x):
    """In fixed point; what is below the lowest difference counts as e to minus infinity."""
    values = x.reshape(len(x), fields["rows"], fields["size"]).astype(np.int64)
    differences = values - values.max(axis=2, keepdims=True)
    exponentials = _exponential(_scaled(differences, fields["input_scale"]))
    exponentials[differences < fields["lowest_difference"]] = 0
    sums = rounding_shift(exponentials, 31 - SUM_BITS).sum(axis=2, keepdims=True)
    # The highest power of 2 in a sum, which is at least 1: sums are exact as float64.
    doublings = np.frexp(sums)[1] - 1 - SUM_BITS
    factors = _reciprocal_of_one_plus((sums << (31 - SUM_BITS - doublings)) - (1 << 31))
    products = doubling_high_multiply(factors, exponentials)
    return _clamped(rounding_shift(products, doublings + 31 - 8) + quantisation.LOWEST)


def _exponential(x):
    """e^x, Q0.31, of x <= 0, Q5.26: the fraction by a series, then a factor for each bit above."""
    quarter = 1 << (INPUT_BITS - 2)
    fraction = (x & (quarter - 1)) - quarter
    result = _exponential_of_a_quarter(fraction << (31 - INPUT_BITS))
    for k, factor in enumerate(FACTORS):
        there = (fraction - x) & (quarter << k) != 0
        result = np.where(there, doubling_high_multiply(result, factor), result)
    return np.where(x == 0, INT32.highest, result)


def _exponential_of_a_quarter(x):
    """e^x, Q0.31, of x from -1/4 up to but not including 0, Q0.31: the series of t = x + 1/8."""
    t = x + (1 << 28)
    t2 = doubling_high_multiply(t, t)
    t3, t4 = doubling_high_multiply(t2, t), doubling_high_multiply(t2, t2)
    tail = doubling_high_multiply(rounding_shift(t4, 2) + t3, THIRD) + t2
    series = t + rounding_shift(tail, 1)
    return E_TO_MINUS_EIGHTH + doubling_high_multiply(E_TO_MINUS_EIGHTH, series)


def _reciprocal_of_one_plus(x):
    """1 / (1 + x), Q0.31, of x from 0 to 1, Q0.31, by Newton's method; of 0 it saturates."""
    half = (x + (1 << 31)) >> 1
    guess = START + doubling_high_multiply(half, SLOPE)
    for _ in range(3):
        error = ONE - doubling_high_multiply(half, guess)
        guess = guess + (doubling_high_multiply(guess, error) << 2)
    return np.minimum(guess << 1, INT32.highest)
