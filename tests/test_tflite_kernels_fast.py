"""The kernels of two operands for cores with DSP extension, built for this computer with the
meaning of their instructions in C, compute what TensorFlow Lite's reference does, for all pairs of
values."""

import numpy as np
import pytest
from tflite_layers import KERNELS, build, execute, tflite

from compiler.selection import Unfit
from tinyengine import packing, packing_pairs

LINEAR, SUM, SQUARED_DIFFERENCE, MUL, PRELU, LINEAR_MUL = range(6)  # as the program below counts
MAIN = r"""
int main(void) {
    int32_t head[7]; /* kernel, integers, words, input, output, in place, no scratch */

    while (fread(head, 4, 7, stdin) == 7) {
        int32_t *v = take(4 * head[1]);
        uint32_t *r = take(4 * head[2]);
        int8_t *input = take(head[3]), *output = head[5] ? input : malloc((size_t)head[4]);
        const int8_t *other = input + v[0];
        te_sum_linear linear;
        te_sum_fast sum;
        te_mul_fast product;
        te_mul_linear linear_product;
        te_prelu_fast prelu;

        if (head[0] == 0) {
            memcpy(&linear, r, sizeof linear);
            te_run_sum_linear(&linear, input, other, output, 0);
        } else if (head[0] < 3) {
            memcpy(&sum, r, sizeof sum);
            (head[0] == 1 ? te_run_sum_fast : te_run_squared_difference_fast)(&sum, input, other,
                                                                             output, 0);
        } else if (head[0] == 3) {
            memcpy(&product, r, sizeof product);
            te_run_mul_fast(&product, input, other, output, 0);
        } else if (head[0] == 5) {
            memcpy(&linear_product, r, sizeof linear_product);
            te_run_mul_linear(&linear_product, input, other, output, 0);
        } else { /* its table behind them */
            memcpy(&prelu, r, 32);
            prelu.positive = (const int8_t *)(r + 8);
            te_run_prelu_fast(&prelu, input, other, output, 0);
        }
        fwrite(output, 1, (size_t)head[4], stdout);
        free(v), free(r);
        if (output != input)
            free(output);
        free(input);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    sources = [path.name for end in ("fast", "linear") for path in KERNELS.glob(f"*_{end}.c")]
    return build(tmp_path_factory.mktemp("fast"), MAIN, sources)


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
