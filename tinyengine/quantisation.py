"""The constants of the kernels, computed from scales and zero points as TensorFlow Lite does.

Every function is pure. Scales are float32, as in the model file, and products of them are rounded
where TensorFlow Lite rounds them: one bit more or less in a multiplier changes outputs. A te_scale
is a pair (multiplier, shift) for a factor of multiplier * 2^(shift - 31).

Sources: tflite/kernels of google-ai-edge/LiteRT, tensorflow/lite/micro/kernels of
tensorflow/tflite-micro; each function names the file.
"""

import math

import numpy as np

from compiler.graph import DTYPES, INT8

INT16 = DTYPES["int16"]
LOWEST, HIGHEST = INT8.lowest, INT8.highest
ADD_LEFT_SHIFT = 20
SQUARED_DIFFERENCE_LEFT_SHIFT = 7
SOFTMAX_INTEGER_BITS = 5  # of the exponent of e, a fixed-point number of 32 bits
LARGEST_ACCUMULATOR = 2**31 - 256  # leaves room to add a zero point


def round_half_away(x):
    """The nearest integer; halves away from zero, as C's round()."""
    return math.floor(x + 0.5) if x >= 0 else math.ceil(x - 0.5)


def quantise_multiplier(factor):
    """The te_scale (multiplier, shift) of a factor >= 0: 31 bits, halves away from zero.

    Factors below about 2^-32 give (0, 0), which makes everything zero, as in QuantizeMultiplier of
    internal/quantization_util.cc. Raises ValueError for factors from 2^31 on.
    """
    if not 0 <= factor < 2**31:
        raise ValueError(f"a factor of {factor}; supported are those from 0 to 2^31")
    fraction, shift = math.frexp(factor)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, shift = 2**30, shift + 1
    return (multiplier, shift) if shift >= -31 else (0, 0)


def doubling_high_multiply(a, b):
    """int64 a * b * 2^-31, halves round up: te_doubling_high_multiply of kernels/requantise.h.

    a, b: within int32, as int64; not both -2^31, where the C saturates.
    """
    return (a * b + (1 << 30)) >> 31


def rounding_shift(values, shifts):
    """int64 values * 2^-shifts, halves round away from zero: te_rounding_shift. shifts: >= 0."""
    half = (np.int64(1) << shifts) >> 1
    return (values + half - ((values < 0) & (shifts > 0))) >> shifts


def saturated_16(values):
    """Within int16."""
    return np.clip(values, INT16.lowest, INT16.highest)


def scaled(values, multipliers, shifts):
    """int64 values times te_scales, elementwise: te_scaled, which loses what leaves int32."""
    values, multipliers, shifts = (np.asarray(a, np.int64) for a in (values, multipliers, shifts))
    shifted = (values << np.maximum(shifts, 0)).astype(np.int32).astype(np.int64)
    product = doubling_high_multiply(shifted, multipliers)
    return rounding_shift(product, np.maximum(-shifts, 0))


def requantise(to, accumulators):
    """int64 [..., channels] to the values of an output: a te_requantise, with its clamp."""
    values = scaled(accumulators, to["multipliers"], to["shifts"])
    return np.clip(values + to["zero_point"], to["lowest"], to["highest"])


def activation_range(activation, scale, zero_point):
    """(lowest, highest) int8 output with an activation, RELU6 for example.

    scale, zero_point: of the output. Divides in float32, as CalculateActivationRangeQuantized of
    kernel_util.cc. Raises ValueError for other activations.
    """

    def quantised(value):
        with np.errstate(over="ignore"):
            quotient = np.float32(value) / np.float32(scale)
        return zero_point + round_half_away(float(np.clip(quotient, -(2.0**31), 2.0**31)))

    ends = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6)}
    ends |= {"RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)}
    if activation not in ends:
        raise ValueError(f"activation {activation}; supported are {', '.join(ends)}")
    lowest, highest = ends[activation]
    return (
        LOWEST if lowest is None else max(LOWEST, quantised(lowest)),
        HIGHEST if highest is None else min(HIGHEST, quantised(highest)),
    )


def _arrays(factors):
    multipliers, shifts = zip(*map(quantise_multiplier, factors))
    return np.array(multipliers, np.int32), np.array(shifts, np.int8)


def convolution_multipliers(input_scale, weight_scales, output_scale, channels):
    """(multipliers int32 [channels], shifts int8 [channels]) of convolutions and FULLY_CONNECTED.

    weight_scales: one for each output channel, or one for all. All in double, as
    PopulateConvolutionQuantizationParams of kernel_util.cc. Older sources of FULLY_CONNECTED
    (GetQuantizedConvolutionMultipler) round the product of the two scales to float32 if all weights
    share one; the tflite_micro package of the tests does not, as their cases
    fully_connected_thresholds show.
    """
    scales = np.broadcast_to(np.asarray(weight_scales, np.float32).astype(np.float64), channels)
    return _arrays(_double(input_scale) * scales / _double(output_scale))


def add_parameters(input_scale, other_scale, output_scale, left_shift=ADD_LEFT_SHIFT, power=1):
    """The te_add fields left_shift, input_scale, other_scale, output_scale (te_scales), by name.

    power: 2 if the sum is squared. Of kernels/add.cc, sub.cc, squared_difference.cc. Raises
    ValueError where the output's scale is so much smaller than the inputs' that TensorFlow Lite
    aborts, or shifts by a negative number.
    """
    one, other = _double(input_scale), _double(other_scale)
    twice = 2 * max(one, other)
    output = (twice / 2**left_shift) ** power / _double(output_scale)
    if output >= 1:
        raise ValueError(f"scales {one:g} and {other:g} to {_double(output_scale):g}, too small")
    return {
        "left_shift": left_shift,
        "input_scale": quantise_multiplier(one / twice),
        "other_scale": quantise_multiplier(other / twice),
        "output_scale": quantise_multiplier(output),
    }


def product_scale(input_scale, other_scale, output_scale):
    """The te_scale of products, computed in float32: of kernels/mul.cc, and of PRELU,
    kernels/activations.cc, where what is not multiplied has an other_scale of 1."""
    with np.errstate(over="ignore", under="ignore"):
        factor = np.float32(input_scale) * np.float32(other_scale) / np.float32(output_scale)
    return quantise_multiplier(float(factor))


def rescale(input_scale, output_scale):
    """The te_scale from one scale to another: of QUANTIZE, kernels/quantize.cc."""
    return quantise_multiplier(_double(input_scale) / _double(output_scale))


def mean_scale(input_scale, output_scale, count):
    """The te_scale of MEAN over `count` elements.

    The multiplier of the two scales is divided by the count, rounded down, with as many bits more
    as stay in 31 and leave the shift in range: QuantizedMeanOrSum of internal/reference/reduce.h.
    """
    multiplier, shift = rescale(input_scale, output_scale)
    more = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << more) // count, shift - more


def softmax_parameters(beta, input_scale):
    """The te_softmax fields input_scale (a te_scale) and lowest_difference, by name.

    Of PreprocessSoftmaxScaling and CalculateInputRadius of internal/quantization_util.cc. Raises
    ValueError where beta and scale are so small that TensorFlow Lite aborts.
    """
    fractional_bits = 31 - SOFTMAX_INTEGER_BITS
    factor = min(_double(beta) * _double(input_scale) * 2**fractional_bits, 2.0**31 - 1)
    if not factor > 1:
        raise ValueError(f"SOFTMAX with beta {_double(beta)}, input scale {_double(input_scale)}")
    multiplier, shift = quantise_multiplier(factor)
    largest = (2**SOFTMAX_INTEGER_BITS - 1) * 2**fractional_bits >> shift
    return {"input_scale": (multiplier, shift), "lowest_difference": -largest}


def reciprocal_scale(multiplier, shift):
    """The te_scale from Q5.26 back to differences of inputs, of the te_scale there.

    Of PreprocessLogSoftmaxScalingExp of internal/quantization_util.cc. Raises ValueError where
    TensorFlow Lite aborts.
    """
    factor = 2 ** (31 - shift) / multiplier
    if not factor < 1:
        raise ValueError(f"LOG_SOFTMAX with an input scale of {1 / factor / 2**26:g}")
    return quantise_multiplier(factor)


def accumulator_bounds(weights, bias, input_zero_point):
    """int64 [channels]: no accumulator of a channel gets larger than this, with either sign.

    weights: int8 [channels, ...], of the output channels; bias: int32 [channels].
    """
    furthest = max(HIGHEST - input_zero_point, input_zero_point - LOWEST)
    sums = np.abs(np.asarray(weights, np.int64)).reshape(len(weights), -1).sum(axis=1)
    return furthest * sums + np.abs(np.asarray(bias, np.int64))


def fits(bounds, shifts):
    """Whether accumulators up to `bounds` pass a te_requantise with `shifts` without overflow."""
    shifted = np.asarray(bounds, object) * 2 ** np.maximum(shifts, 0).astype(object)
    return bool(np.all(shifted <= LARGEST_ACCUMULATOR))


def _double(scale):
    """A float32 of the model file as the double that C makes of it."""
    return float(np.float32(scale))
