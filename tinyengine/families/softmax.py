"""SOFTMAX, with gemmlowp's exponential and reciprocal, and the names of kernels/softmax.c."""

import numpy as np
import tflite

from compiler.csource import constants
from compiler.graph import INT8, INT32
from tinyengine import descriptions, quantisation, rules, shapes
from tinyengine.kind import Kind, plain, row
from tinyengine.quantisation import doubling_high_multiply, rounding_shift

LARGEST_ROW = 511  # of more values the reference aborts
SOFTMAX = constants("tinyengine/kernels/softmax.c")
INPUT_BITS, SUM_BITS = SOFTMAX["INPUT_BITS"], SOFTMAX["SUM_BITS"]  # fractional: Q5.26, Q12.19
E_TO_MINUS_EIGHTH, THIRD = 1895147668, 715827883  # Q0.31
# e^-(2^k) of k = -2 .. 4, Q0.31
FACTORS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
ONE, START, SLOPE = 1 << 29, 1515870810, -1010580540  # Q2.29: 1, 48/17, -32/17


def describe_softmax(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    if (y.scale, y.zero_point) != (1 / 256, INT8.lowest):
        raise ValueError(f"an output of scale {y.scale:g}, zero point {y.zero_point}")
    size = x.shape[-1] if x.shape else 1
    if size > LARGEST_ROW:
        raise ValueError(f"rows of {size} values; supported are up to {LARGEST_ROW}")
    scales = quantisation.softmax_parameters(operator.attributes["beta"], x.scale)
    return {"rows": x.size // size, "size": size, **descriptions.scales(scales)}


def softmax(fields, x):
    """In fixed point; what is below the lowest difference counts as e to minus infinity."""
    values = x.reshape(len(x), fields["rows"], fields["size"]).astype(np.int64)
    differences = values - values.max(axis=2, keepdims=True)
    exponentials = _exponential(rules.scaled(differences, fields["input_scale"]))
    exponentials[differences < fields["lowest_difference"]] = 0
    sums = rounding_shift(exponentials, 31 - SUM_BITS).sum(axis=2, keepdims=True)
    # The highest power of 2 in a sum, which is at least 1: sums are exact as float64.
    doublings = np.frexp(sums)[1] - 1 - SUM_BITS
    factors = _reciprocal_of_one_plus((sums << (31 - SUM_BITS - doublings)) - (1 << 31))
    products = doubling_high_multiply(factors, exponentials)
    return rules.clamped(rounding_shift(products, doublings + 31 - 8) + quantisation.LOWEST)


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


def softmax_sizes(fields):
    return (fields["rows"] * fields["size"],) * 2


def softmax_bound(fields):
    """Of the sum of exponentials, each at most 1."""
    return fields["size"] << SUM_BITS


KINDS = (
    Kind(
        shapes.same,
        describe_softmax,
        row("SOFTMAX", softmax_sizes, softmax, bound=softmax_bound),
        tflite.SoftmaxOptions,
        {"beta": plain("Beta")},
    ),
)
