"""The kernels for cores with DSP extension, built for this computer with the meaning of their
instructions in C, compute what TensorFlow Lite's reference does: on shapes that are in no model."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from compiler.selection import Unfit
from tinyengine import kernelrows, packing, packing_pairs, packing_parts

CONV_2D, FULLY_CONNECTED = 0, 2  # as the program below counts
LINEAR, SUM, SQUARED_DIFFERENCE, MUL, PRELU, LINEAR_MUL = range(3, 9)
KERNELS = Path(__file__).parent.parent / "tinyengine/kernels"
MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fast.h"

static void *take(int32_t bytes) { /* to the byte, for the sanitizer to see what lies outside */
    void *memory = malloc((size_t)bytes);
    if (bytes && fread(memory, 1, (size_t)bytes, stdin) != (size_t)bytes)
        exit(2);
    return memory;
}

int main(void) {
    int32_t head[7]; /* kernel, integers, words, input, output, in place, scratch */

    while (fread(head, 4, 7, stdin) == 7) {
        int32_t *v = take(4 * head[1]);
        uint32_t *r = take(4 * head[2]);
        int8_t *input = take(head[3]), *output = head[5] ? input : malloc((size_t)head[4]);
        void *scratch = malloc((size_t)head[6]);

        if (head[0] == 0) {
            te_shape in = {v[2], v[3], v[4]}, out = {v[5], v[6], v[7]};
            te_window window = {v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]};

            te_conv_2d_pairs op = {in, out, window, v[16], v[17], (te_rounding)v[18],
                                   r,  v[0], v[1]};

            te_run_conv_2d_pairs(&op, input, output, scratch);
        } else if (head[0] == 2) {
            te_fully_connected_pairs op = {v[2], v[3], v[4], (te_rounding)v[5], r, v[0], v[1]};

            te_run_fully_connected_pairs(&op, input, output, scratch);
        } else { /* two operands, one behind the other, and the words of the description */
            const int8_t *other = input + v[0];
            te_sum_linear linear;
            te_sum_fast sum;
            te_mul_fast product;
            te_mul_linear linear_product;
            te_prelu_fast prelu;

            if (head[0] == 3) {
                memcpy(&linear, r, sizeof linear);
                te_run_sum_linear(&linear, input, other, output, 0);
            } else if (head[0] < 6) {
                memcpy(&sum, r, sizeof sum);
                (head[0] == 4 ? te_run_sum_fast : te_run_squared_difference_fast)(
                    &sum, input, other, output, 0);
            } else if (head[0] == 6) {
                memcpy(&product, r, sizeof product);
                te_run_mul_fast(&product, input, other, output, 0);
            } else if (head[0] == 8) {
                memcpy(&linear_product, r, sizeof linear_product);
                te_run_mul_linear(&linear_product, input, other, output, 0);
            } else { /* its table behind them */
                memcpy(&prelu, r, 32);
                prelu.positive = (const int8_t *)(r + 8);
                te_run_prelu_fast(&prelu, input, other, output, 0);
            }
        }
        fwrite(output, 1, (size_t)head[4], stdout);
        free(scratch), free(v), free(r);
        if (output != input)
            free(output);
        free(input);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fast")
    (folder / "main.c").write_text(MAIN)
    names = ("pairs", "fast", "linear")
    sources = [path for name in names for path in KERNELS.glob(f"*_{name}.c")]
    flags = "-std=c99 -O1 -g -Wall -Wextra -Werror -pedantic -fsanitize=address,undefined"
    flags += " -fno-sanitize-recover=all"
    compiler = os.environ.get("CC", "gcc")
    subprocess.run(
        [compiler, *flags.split(), f"-I{KERNELS}", "main.c", *sources, "-o", "fast"],
        cwd=folder,
        check=True,
    )
    return folder / "fast"


def run(program, kernel, packed, integers, x, out_size, scratch, in_place=0):
    """Runs one kernel. packed: what packing.py made; integers: the fields before records."""
    integers = [packed["lowest"], packed["highest"], *integers]
    return execute(program, kernel, integers, packed["records"], x, out_size, in_place, scratch)


def execute(program, kernel, integers, words, x, out_size, in_place, scratch=0):
    head = [kernel, len(integers), len(words), x.size, out_size, in_place, scratch]
    parts = (np.int32(head), np.int32(integers), words, x)
    stdin = b"".join(part.tobytes() for part in parts)
    done = subprocess.run(program, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.int8)


def tflite(accumulators, requantise):
    """gemmlowp, as it is written there: with truncating division and a remainder."""
    out = np.zeros(accumulators.shape, np.int8)
    for channel in range(accumulators.shape[-1]):
        shift = -int(requantise.shifts[channel])
        product = accumulators[..., channel] * int(requantise.multipliers[channel])
        nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
        value = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
        rest = value & ((1 << shift) - 1)
        value = (value >> shift) + (rest > ((1 << shift) - 1 >> 1) + (value < 0))
        out[..., channel] = np.clip(
            value + requantise.zero_point, requantise.lowest, requantise.highest
        )
    return out


def random_requantise(rng, channels, terms, relu):
    """Multipliers that bring sums of `terms` products of int8 to int8, and a few tiny ones."""
    shift = int(np.log2(70 * 70 * terms**0.5 / 60))
    shifts = -rng.integers(shift - 1, shift + 3, channels)
    if not relu:
        shifts[rng.random(channels) < 0.1] = -28
    zero_point = -128 if relu else int(rng.integers(-128, 128))
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, channels)
    if rng.random() < 0.4:  # an activation that cuts inside of int8
        zero_point = min(zero_point, 50)
        return packing.Requantise(multipliers, shifts, zero_point, max(-100, zero_point), 90)
    return packing.Requantise(multipliers, shifts, zero_point, -128, 127)


def windows(x, window, out, zero_point):
    """The input less its zero point: [height, width, window height, window width, channels]."""
    kh, kw, sy, sx, dy, dx, top, left = window
    reach = (out[0] * sy + kh * dy, out[1] * sx + kw * dx)
    padded = np.full((top + x.shape[0] + reach[0], left + x.shape[1] + reach[1], x.shape[2]), 0)
    padded[top : top + x.shape[0], left : left + x.shape[1]] = x.astype(np.int64) - zero_point
    rows = np.arange(out[0])[:, None] * sy + np.arange(kh) * dy
    columns = np.arange(out[1])[:, None] * sx + np.arange(kw) * dx
    return padded[rows[:, None, :, None], columns[None, :, None, :]]


def random_layer(rng, weights_shape, out_channels, terms, relu):
    weights = rng.integers(-127, 128, weights_shape, np.int8)
    bias = rng.integers(-20000, 20000, out_channels)
    return (
        weights,
        bias,
        int(rng.integers(-128, 128)),
        random_requantise(rng, out_channels, terms, relu),
    )


CONVOLUTIONS = [  # input, output channels, window height, width, strides, dilations
    ((5, 5, 8), 6, (1, 1, 1, 1, 1, 1)),
    ((3, 3, 16), 5, (1, 1, 1, 1, 1, 1)),
    ((2, 5, 7), 4, (1, 1, 1, 1, 1, 1)),
    ((1, 5, 3), 1, (1, 1, 1, 1, 1, 1)),
    ((6, 7, 5), 3, (1, 1, 2, 2, 1, 1)),
    ((9, 8, 3), 8, (3, 3, 2, 2, 1, 1)),
    ((8, 7, 16), 4, (3, 3, 1, 1, 1, 1)),
    ((13, 10, 1), 5, (10, 4, 2, 2, 1, 1)),
    ((9, 9, 4), 4, (3, 3, 1, 1, 2, 2)),
    ((7, 9, 2), 2, (3, 5, 1, 2, 2, 1)),
    ((4, 3, 1), 7, (5, 5, 1, 1, 1, 1)),
    ((12, 6, 6), 9, (2, 3, 3, 1, 1, 1)),
]


def placed(size, window, same):
    """Output size and padding before, in one direction."""
    kernel, stride, dilation = window
    reach = (kernel - 1) * dilation + 1
    if not same:
        return (size - reach) // stride + 1, 0
    out = -(-size // stride)
    return out, max(0, (out - 1) * stride + reach - size) // 2


def geometry(shape, window, same):
    kh, kw, sy, sx, dy, dx = window
    height, top = placed(shape[0], (kh, sy, dy), same)
    width, left = placed(shape[1], (kw, sx, dx), same)
    return (height, width), (*window, top, left)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("shape, channels, window", CONVOLUTIONS)
def test_convolution_by_pairs_is_exact(program, shape, channels, window, same, relu):
    rng = np.random.default_rng(sum(shape) + channels)
    out, window = geometry(shape, window, same)
    if out[0] * out[1] < 3 or min(out) < 1:
        pytest.skip("the window does not fit three times")
    weights, bias, zero_point, requantise = random_layer(
        rng, (channels, *window[:2], shape[2]), channels, np.prod([*window[:2], shape[2]]), relu
    )
    x = rng.integers(-128, 128, shape, np.int8)
    sums = np.einsum(
        "yxabc,oabc->yxo", windows(x, window, out, zero_point), weights.astype(np.int64)
    )
    packed = packing.pack_conv_2d_pairs(weights, bias, zero_point, requantise, out)
    integers = [*shape, *out, channels, *window, zero_point, packed["steps"]]
    integers.append(packed["rounding"] == "TE_RELU")
    scratch = packing_parts.scratch_of_pairs(
        packed | {"window": {"width": window[1]}, "input": {"channels": shape[2]}}
    )
    got = run(program, CONV_2D, packed, integers, x, out[0] * out[1] * channels, scratch)
    assert (got == tflite(sums + bias, requantise).ravel()).all()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "rows, inputs, outputs", [(1, 8, 4), (1, 64, 10), (2, 13, 3), (1, 3, 1), (3, 40, 8), (2, 56, 5)]
)
def test_fully_connected_by_pairs_is_exact(program, rows, inputs, outputs, relu):
    rng = np.random.default_rng(inputs)
    weights, bias, zero_point, requantise = random_layer(
        rng, (outputs, inputs), outputs, inputs, relu
    )
    x = rng.integers(-128, 128, (rows, inputs), np.int8)
    sums = (x.astype(np.int64) - zero_point) @ weights.astype(np.int64).T + bias
    packed = packing.pack_fully_connected_pairs(weights, bias, zero_point, requantise)
    integers = [rows, inputs, outputs, packed["rounding"] == "TE_RELU"]
    scratch = kernelrows.fully_connected_pairs_scratch({"inputs": inputs})
    got = run(program, FULLY_CONNECTED, packed, integers, x, rows * outputs, scratch)
    assert (got == tflite(sums, requantise).ravel()).all()


@pytest.mark.parametrize("shift", [-1, -4, -5, -8, -11, -12, -22])
@pytest.mark.parametrize("relu", [False, True])
def test_every_rounding_is_exact_near_every_tie(program, shift, relu):
    """One input and one weight of 1; the bias takes the sum through all ties, of both signs."""
    rng = np.random.default_rng(-shift)
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, 512)
    multipliers[:3] = [1 << 30, (1 << 30) + 1, (1 << 31) - 1]
    steps = np.concatenate([np.arange(-130, 131), rng.integers(-130, 131, 512 - 261)])
    ties = (2 * steps + 1) * 2.0 ** (30 - shift) / multipliers
    bias = np.round(np.clip(ties, -(2**22), 2**22)).astype(np.int64)
    zero_point = -128 if relu else 7
    requantise = packing.Requantise(multipliers, np.full(512, shift), zero_point, -128, 127)
    weights = np.zeros((512, 8), np.int8)
    weights[:, 0] = 1
    packed = packing.pack_fully_connected_pairs(weights, bias, 0, requantise)
    for x in range(-3, 4):
        inputs = np.array([[x, 0, 0, 0, 0, 0, 0, 0]], np.int8)
        integers = [1, 8, 512, packed["rounding"] == "TE_RELU"]
        got = run(program, FULLY_CONNECTED, packed, integers, inputs, 512, 16)
        assert (got == tflite((bias + x)[None], requantise).ravel()).all()


PAIRS = {  # of a kind: the packing of a kernel, and as what the program counts it
    "linear ADD": (packing_pairs.pack_add_linear, LINEAR),
    "linear SUB": (packing_pairs.pack_sub_linear, LINEAR),
    "ADD": (packing_pairs.pack_sum_fast, SUM),
    "SUB": (packing_pairs.pack_difference_fast, SUM),
    "SQUARED_DIFFERENCE": (packing_pairs.pack_difference_fast, SQUARED_DIFFERENCE),
    "linear MUL": (packing_pairs.pack_mul_linear, LINEAR_MUL),
    "MUL": (packing_pairs.pack_mul_fast, MUL),
    "PRELU": (packing_pairs.pack_prelu_fast, PRELU),
}
SUMS = list(PAIRS)[:5]


def run_pair(program, kind, fields, one, two, in_place=0):
    """Runs a kernel of two operands. fields: those of the step besides its clamp."""
    fields = LIMITS | {"constants": [None, None]} | fields
    pack, kernel = PAIRS[kind]
    packed = pack(fields)
    out_size = np.prod([axis["size"] for axis in fields["axes"]])
    words = [n & 0xFFFFFFFF for name, n in packed.items() if name not in ("constants", "positive")]
    table = packed.get("positive", np.zeros(0, np.int8))
    words = np.append(np.uint32(words), np.pad(table, (0, -len(table) % 4)).view(np.uint32))
    x = np.concatenate([one, two])
    return execute(program, kernel, [one.size], words, x, out_size, in_place)


def quantized(factor):
    """A te_scale."""
    fraction, shift = np.frexp(factor)
    return {"multiplier": int(round(fraction * 2**31)), "shift": int(shift)}


def requantised(accumulators, scale, zero_point=0, lowest=-128, highest=127):
    multipliers = packing.Requantise(
        [scale["multiplier"]], [scale["shift"]], zero_point, lowest, highest
    )
    return tflite(accumulators.reshape(-1, 1), multipliers).ravel()


def sums(kind, fields, one, two):
    """Of two operands; what TensorFlow Lite scales has more bits than an output."""
    total = np.zeros(one.size, np.int64)
    for name, values, factor in (("input", one, 1), ("other", two, 1 if "ADD" in kind else -1)):
        scale = fields[f"{name}_scale"]
        centred = values.astype(np.int64) - fields[f"{name}_zero_point"]
        value = (centred << fields["left_shift"]) * scale["multiplier"] + (1 << 30) >> 31
        half = (1 << -scale["shift"] >> 1) - (value < 0) * (scale["shift"] < 0)
        total += factor * (value + half >> -scale["shift"])
    total = total**2 if kind == "SQUARED_DIFFERENCE" else total
    return requantised(total, fields["output_scale"], fields["output_zero_point"])


def products(fields, one, two):
    accumulators = (one.astype(np.int64) - fields["input_zero_point"]) * (
        two.astype(np.int64) - fields["other_zero_point"]
    )
    return requantised(accumulators, fields["scale"], fields["output_zero_point"])


def axes(*found):
    """te_pair_axis axes of (size, stride of input, stride of other)."""
    names = "size", "input_stride", "other_stride"
    return [dict(zip(names, axis)) for axis in [(1, 0, 0)] * (5 - len(found)) + list(found)]


LIMITS = {"lowest": -128, "highest": 127}
ZERO_POINTS = [(3, -128, -128), (-7, 127, 5), (-128, 0, 127)]
EVERY_PAIR = [v.ravel().astype(np.int8) for v in np.mgrid[-128:128, -128:128]]
TOGETHER = axes((1 << 16, 1, 1))


def zero_point_fields(zero_points):
    names = "input_zero_point", "other_zero_point", "output_zero_point"
    return dict(zip(names, zero_points))


def sum_fields(kind, zero_points, ratio, larger):
    """larger: which input has the larger scale."""
    scales = [quantized(0.5), quantized(0.5 * ratio)]
    if larger:
        scales.reverse()
    left_shift, factor = (7, 0.01 / 2**12) if kind == "SQUARED_DIFFERENCE" else (20, 1.4 / 2**20)
    if "linear" in kind and ratio != 1:  # ties of both signs are on no line with other values
        factor = 2**0.5 / 2**20
    fields = zero_point_fields(zero_points) | {"axes": TOGETHER, "left_shift": left_shift}
    names = "input_scale", "other_scale", "output_scale"
    return fields | dict(zip(names, [*scales, quantized(factor)]))


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("larger", [0, 1])
@pytest.mark.parametrize("ratio", [1.0, 0.83, 0.31, 0.002])
@pytest.mark.parametrize("zero_points", ZERO_POINTS)
def test_sums_are_exact_for_all_pairs_of_values(program, zero_points, ratio, larger, kind):
    fields = sum_fields(kind, zero_points, ratio, larger)
    got = run_pair(program, kind, fields, *EVERY_PAIR)
    assert (got == sums(kind, fields, *EVERY_PAIR)).all()


@pytest.mark.parametrize("factor", [0.4999, 0.25, 0.0123, 0.00097, 3e-5, 2e-7])
@pytest.mark.parametrize("zero_points", ZERO_POINTS)
@pytest.mark.parametrize("kind", ["linear MUL", "MUL"])
def test_products_are_exact_for_all_pairs_of_values(program, zero_points, factor, kind):
    if kind == "linear MUL" and (factor > 1 / 8 or zero_points == ZERO_POINTS[1]):
        pytest.skip("too large a factor, or no linear function")
    fields = zero_point_fields(zero_points) | {"scale": quantized(factor), "axes": TOGETHER}
    expected = products(fields, *EVERY_PAIR)
    assert (run_pair(program, kind, fields, *EVERY_PAIR) == expected).all()
    ends = {"lowest": -20, "highest": 90}
    got = run_pair(program, kind, fields | ends, *EVERY_PAIR, in_place=1)
    assert (got == expected.clip(-20, 90)).all()


@pytest.mark.parametrize("factor", [0.4999, 0.0123, 3e-5])
@pytest.mark.parametrize("zero_points", ZERO_POINTS)
def test_prelu_is_exact_for_all_pairs_of_values(program, zero_points, factor):
    fields = zero_point_fields(zero_points) | {"axes": TOGETHER}
    fields |= {"positive_scale": quantized(0.83), "negative_scale": quantized(factor)}
    one, two = EVERY_PAIR
    centred = one.astype(np.int64) - zero_points[0]
    positive = requantised(centred, fields["positive_scale"], zero_points[2])
    negative = products(fields | {"scale": fields["negative_scale"]}, one, two)
    got = run_pair(program, "PRELU", fields, one, two, in_place=1)
    assert (got == np.where(centred >= 0, positive, negative)).all()


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "layout",
    [
        axes((3, 7, 0), (7, 1, 1)),  # an image and its channels
        axes((4, 0, 8), (8, 1, 1)),
        axes((6, 5, 1), (5, 1, 0)),  # and its pixels
        axes((6, 1, 9), (9, 0, 1)),
        axes((11, 0, 1)),
        axes((3, 1, 0), (4, 0, 1)),  # a column and a row
        axes((1, 0, 0)),
        axes((13, 1, 1)),
    ],
)
def test_operands_are_repeated(program, rng, layout, kind):
    offsets = np.zeros((1, 2), np.int64)
    for axis in layout:
        strides = axis["input_stride"], axis["other_stride"]
        offsets = offsets[:, None] + np.arange(axis["size"])[:, None] * strides
        offsets = offsets.reshape(-1, 2)
    one, two = (rng.integers(-128, 128, n + 1).astype(np.int8) for n in offsets.max(0))
    repeated = one[offsets[:, 0]], two[offsets[:, 1]]
    size, *steps = layout[-1].values()
    if kind == "PRELU" and (one.size < len(offsets) or (steps == [1, 0] and size > 1)):
        pytest.skip("an input that is repeated, or one alpha for a row")
    if kind in SUMS:
        fields = sum_fields(kind, ZERO_POINTS[1], 0.31, 1) | {"axes": layout}
        expected = sums(kind, fields, *repeated)
    else:
        scale, positive = quantized(0.0123), quantized(0.83)
        zero_points = ZERO_POINTS[0 if kind == "linear MUL" else 1]
        fields = zero_point_fields(zero_points) | {"axes": layout, "scale": scale}
        fields |= {"negative_scale": scale, "positive_scale": positive}
        expected = products(fields, *repeated)
    if kind == "PRELU":
        centred = repeated[0].astype(np.int64) - ZERO_POINTS[1][0]
        expected = np.where(
            centred < 0, expected, requantised(centred, positive, ZERO_POINTS[1][2])
        )
    assert (run_pair(program, kind, fields, one, two) == expected).all()


def test_operands_that_do_not_fit_are_refused():
    fields = sum_fields("ADD", ZERO_POINTS[0], 0.31, 0)
    fields |= {"constants": [None, None]} | LIMITS
    with pytest.raises(Unfit, match="more than one dimension"):
        packing_pairs.pack_sum_fast(fields | {"axes": axes((2, 8, 0), (2, 0, 4), (4, 1, 1))})
    with pytest.raises(Unfit, match="no input with the multiplier 1/2"):
        packing_pairs.pack_sum_fast(fields | {"input_scale": quantized(0.4)})
    ties = sum_fields("ADD", ZERO_POINTS[1], 0.31, 0) | {"constants": [None, None]}
    with pytest.raises(Unfit, match="no linear function"):  # ties of 0.7 * input of both signs
        packing_pairs.pack_add_linear(ties | LIMITS)
    with pytest.raises(Unfit, match="multiplied by 64 or more"):
        packing_pairs.pack_add_linear(fields | {"output_scale": quantized(130 / 2**20)})
    with pytest.raises(Unfit, match="a multiplier outside"):
        packing_pairs.pack_mul_fast(fields | {"scale": quantized(0.5)})
    with pytest.raises(Unfit, match="multiplied by 1/8 or more"):
        packing_pairs.pack_mul_linear(fields | {"scale": quantized(0.2)})
    with pytest.raises(Unfit, match="no linear function of products"):
        packing_pairs.pack_mul_linear(ties | LIMITS | {"scale": quantized(0.0123)})


def test_weights_that_do_not_fit_are_refused():
    one = packing.Requantise(np.array([1 << 30] * 2), np.array([-8] * 2), 0, -128, 127)
    many = np.full((2, 1, 1, 1024), 127, np.int8)
    with pytest.raises(Unfit, match="not below 2\\^23"):
        packing.pack_conv_2d_pairs(many, np.zeros(2), 0, one, (4, 4))
    lowest = np.full((2, 1, 1, 4), -128, np.int8)
    with pytest.raises(Unfit, match="-128"):
        packing.pack_conv_2d_pairs(lowest, np.zeros(2), 0, one, (4, 4))
    with pytest.raises(Unfit, match="fewer than 3"):
        packing.pack_conv_2d_pairs(lowest, np.zeros(2), 0, one, (1, 2))
