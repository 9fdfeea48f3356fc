"""SOFTMAX, LOG_SOFTMAX: by gemmlowp's fixed point, with the names of kernels/exponential.h.

Sums of exponentials are Q12.19 in int32: rows of 4095 values and fewer cannot leave it. TensorFlow
Lite aborts in SOFTMAX where such a sum is 512 or more, as of 512 equal values: there, the output is
what the same arithmetic gives with wider shifts.
"""

import numpy as np
import tflite

from compiler.csource import constants
from compiler.graph import DTYPES, INT8, INT32
from tinyengine import descriptions, quantisation, rules, shapes
from tinyengine.kind import Kind, plain, row
from tinyengine.quantisation import doubling_high_multiply, rounding_shift

C = constants("tinyengine/kernels/exponential.h")
INPUT_BITS, SUM_BITS = C["INPUT_BITS"], C["SUM_BITS"]  # fractional: Q5.26, Q12.19
LARGEST_ROW = (1 << 31 - SUM_BITS) - 1
TOLERANCE = 0.001  # of an output's scale
LOG_SCALE, LOG_ZERO_POINT = 1 / 16, INT8.highest
E_TO_MINUS_EIGHTH, THIRD = 1895147668, 715827883  # Q0.31
# e^-(2^k) of k = -2 .. 4, Q0.31
FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
ONE, START, SLOPE = 1 << 29, 1515870810, -1010580540  # Q2.29: 1, 48/17, -32/17
# Of the logarithm, Q0.31: sqrt(1/2), log(2), and with c = sqrt(sqrt(1/2)): c, 11/240c, 2c - 1/c,
# 1/4c, 1/20c.
SQRT_HALF, LOG_2, CENTER, A3 = 1518500250, 1488522236, 1805811301, 117049297
B0, B1, B2 = 1057819769, 638450708, 127690142


def describe_softmax(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    fields = softmax_fields(operator, x, y)
    return fields | {"exponentials": _table(fields)}


def softmax_fields(operator, x, y):
    """te_softmax. Its output is as fine as its type allows."""
    ends, scale = DTYPES[y.dtype], 1 / (DTYPES[y.dtype].span + 1)
    if abs(y.scale - scale) > TOLERANCE * scale or y.zero_point != ends.lowest:
        raise ValueError(f"an output of scale {y.scale:g}, zero point {y.zero_point}")
    return _rows(x, operator.attributes["beta"])


def describe_log_softmax(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    if (y.scale, y.zero_point) != (LOG_SCALE, LOG_ZERO_POINT):
        raise ValueError(f"an output of scale {y.scale:g}, zero point {y.zero_point}")
    softmax = _rows(x, beta=1)
    factor = softmax["input_scale"]
    back = quantisation.reciprocal_scale(factor["multiplier"], factor["shift"])
    fields = {"softmax": softmax, "difference_scale": descriptions.scale(back)}
    return fields | {"exponentials": _table(softmax)}


def _rows(x, beta):
    """te_softmax of the rows of an input."""
    size = x.shape[-1] if x.shape else 1
    if size > LARGEST_ROW:
        raise ValueError(f"rows of {size} values; supported are up to {LARGEST_ROW}")
    scales = quantisation.softmax_parameters(beta, x.scale)
    return {"rows": x.size // size, "size": size, **descriptions.scales(scales)}


def _table(fields):
    """int32 [n]: e to each difference 0, -1, ..., Q0.31, as far as one adds to a sum of Q12.19."""
    differences = -np.arange(1 << 8, dtype=np.int64)
    table = _exponential(rules.scaled(differences, fields["input_scale"]))
    table[differences < fields["lowest_difference"]] = 0
    return table[: np.flatnonzero(rounding_shift(table, 31 - SUM_BITS))[-1] + 1].astype(np.int32)


def softmax(fields, x, dtype="int8"):
    """In fixed point; what is below the lowest difference counts as e to minus infinity."""
    _, exponentials, sums = _exponentials(fields, x)
    # The highest power of 2 in a sum, which is at least 1: sums are exact as float64.
    doublings = np.frexp(sums)[1] - 1 - SUM_BITS
    factors = _reciprocal_of_one_plus((sums << (31 - SUM_BITS - doublings)) - (1 << 31))
    products = doubling_high_multiply(factors, exponentials)
    ends = DTYPES[dtype]
    shares = rounding_shift(products, doublings + 31 - ends.span.bit_length()) + ends.lowest
    return np.clip(shares, ends.lowest, ends.highest).astype(dtype).reshape(len(x), -1)


def log_softmax(fields, x):
    """In fixed point: each less the logarithm of the sum of exponentials."""
    rows = fields["softmax"]
    differences, _, sums = _exponentials(rows, x)
    logarithms = _logarithm(sums)
    back = rules.scaled(INT32.lowest + logarithms, fields["difference_scale"])
    lowest = np.maximum(rows["lowest_difference"] - 1, back)
    exponents = rules.scaled(differences, rows["input_scale"]) - logarithms
    values = rounding_shift(exponents, np.int64(INPUT_BITS - 4)) + LOG_ZERO_POINT
    return rules.clamped(np.where(differences > lowest, values, quantisation.LOWEST))


def _exponentials(fields, x):
    """[B, rows, size], all int64: values less the largest of their row, e to these, Q0.31, and the
    sums of rows, Q12.19."""
    values = x.reshape(len(x), fields["rows"], fields["size"]).astype(np.int64)
    differences = values - values.max(axis=2, keepdims=True)
    exponentials = _exponential(rules.scaled(differences, fields["input_scale"]))
    exponentials[differences < fields["lowest_difference"]] = 0
    sums = rounding_shift(exponentials, 31 - SUM_BITS).sum(axis=2, keepdims=True)
    return differences, exponentials, sums


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


def _logarithm(x):
    """log(x), Q5.26, of x >= 1, Q12.19: of r = x * 2^-n near c, and n * log(2), n as Q6.25."""
    one, quarter = 1 << 25, 1 << 23
    zeros = _leading_zeros(x)
    r = np.minimum(doubling_high_multiply(x << (zeros - 1), SQRT_HALF) << 1, INT32.highest)
    others = _leading_zeros(doubling_high_multiply(x, SQRT_HALF)) - 1
    r = np.minimum(r, np.minimum(x << others, INT32.highest))
    n = np.maximum((12 - zeros) * one + quarter, (12 - others) * one - quarter)
    q = 2 * (r - CENTER)
    q2 = doubling_high_multiply(q, q)
    numerator = doubling_high_multiply(q, r)
    numerator += doubling_high_multiply(doubling_high_multiply(q, q2), A3)
    below = B0 + q + doubling_high_multiply(B2, q2)
    below = doubling_high_multiply(r + CENTER + 1 >> 1, below) + doubling_high_multiply(B1, q)
    reciprocal = _reciprocal_of_one_plus(below)
    log_r = doubling_high_multiply(rounding_shift(numerator, np.int64(6)), reciprocal)
    return np.minimum(doubling_high_multiply(n, LOG_2) + log_r << 1, INT32.highest)


def _leading_zeros(x):
    """Of int32 above 0."""
    return 32 - np.frexp(x)[1].astype(np.int64)


def softmax_sizes(fields):
    return (fields["rows"] * fields["size"],) * 2


def log_softmax_sizes(fields):
    return softmax_sizes(fields["softmax"])


def softmax_bound(fields):
    """Of the sum of exponentials, each at most 1."""
    return fields["size"] << SUM_BITS


def log_softmax_bound(fields):
    return softmax_bound(fields["softmax"])


KINDS = (
    Kind(
        shapes.same,
        describe_softmax,
        row("SOFTMAX", softmax_sizes, softmax, bound=softmax_bound),
        tflite.SoftmaxOptions,
        {"beta": plain("Beta")},
    ),
    Kind(
        shapes.same,
        describe_log_softmax,
        row("LOG_SOFTMAX", log_softmax_sizes, log_softmax, bound=log_softmax_bound),
    ),
)
