"""Winograd's F(4x4, 3x3) in integers computes what TensorFlow Lite's reference does, on every value
of random and of extreme weights and inputs, also where tiles and channels are cut off."""

import numpy as np
import pytest
from tflite_layers import ROUNDINGS, build, feed, fields_of, geometry, random_layer, sums_of, tflite

from compiler.selection import Unfit
from tinyengine import packing, packing_winograd

MAIN = r"""
int main(void) {
    int32_t v[17]; /* fields, then bytes of input, scratch, weights, records */

    while (fread(v, 4, 17, stdin) == 17) {
        int32_t size = v[3] * v[4] * v[5];
        int8_t *input = take(v[13]), *output = malloc((size_t)size);
        uint32_t *weights = take(v[15]), *records = take(v[16]);
        void *scratch = malloc((size_t)v[14]);
        te_conv_2d_winograd op = {{v[0], v[1], v[2]}, {v[3], v[4], v[5]}, v[6], v[7], v[8], v[9],
                                  (te_rounding)v[10], weights, records, v[11], v[12]};

        te_run_conv_2d_winograd(&op, input, output, scratch);
        fwrite(output, 1, (size_t)size, stdout);
        free(input), free(output), free(weights), free(records), free(scratch);
    }
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("winograd"), MAIN, ["conv_2d_winograd.c"])


def run(program, packed, x):
    shapes = [n for name in ("input", "output") for n in packed[name].values()]
    names = "pad_top", "pad_left", "input_zero_point", "transformed"
    head = [*shapes, *(packed[name] for name in names), ROUNDINGS.index(packed["rounding"])]
    head += [packed["lowest"], packed["highest"]]
    arrays = x, packed["weights"], packed["records"]
    sizes = [array.nbytes for array in arrays]
    head += [sizes[0], packing_winograd.scratch(packed), *sizes[1:]]
    return feed(program, np.int32(head), *arrays)


def expected(x, layer, out, window):
    return tflite(sums_of(x, layer, out, window), layer[3]).ravel()


SHAPES = [  # input, output channels
    ((4, 4, 4), 2),
    ((8, 8, 8), 4),
    ((12, 16, 4), 3),
    ((5, 7, 16), 5),
    ((9, 6, 3), 8),
    ((3, 3, 1), 1),
    ((7, 13, 5), 2),
    ((8, 11, 40), 4),
    ((17, 21, 6), 3),
    ((6, 6, 7), 7),
    ((1, 9, 4), 2),
    ((10, 1, 12), 1),
]


@pytest.fixture(params=[True, False])
def held(request, monkeypatch):
    """Both ways to hold the weights, whether it pays or not."""
    monkeypatch.setattr(packing_winograd, "in_flash", lambda *_: request.param)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("shape, outputs", SHAPES)
def test_winograd_is_exact(program, shape, outputs, same, relu):
    rng = np.random.default_rng(sum(shape) + outputs)
    out, window = geometry(shape, (3, 3, 1, 1, 1, 1), same)
    if min(out) < 1:
        pytest.skip("the window does not fit")
    layer = random_layer(rng, (outputs, 3, 3, shape[2]), outputs, 9 * shape[2], relu)
    x = rng.integers(-128, 128, shape, np.int8)
    fields = fields_of(shape, layer, out, window)
    packed = packing_winograd.pack_conv_2d_winograd(fields)
    assert (run(program, packed, x) == expected(x, layer, out, window)).all()


def extreme(rng, shape, kind):
    """All values at their ends: alike, as in checks, by channel, or at random."""
    if kind == "random":
        return rng.choice(np.int8([-128, 127]), shape)
    signs = {"lowest": 0, "highest": 1, "checked": np.indices(shape).sum(0) % 2}
    return np.full(shape, -128, np.int8) + np.uint8(255 * signs[kind]).astype(np.int8)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("pad_top, pad_left", [(0, 2), (1, 0), (2, 2)])
def test_any_padding_of_two_is_exact(program, rng, pad_top, pad_left):
    """As that of a PAD in front."""
    shape, out, window = (6, 5, 8), (8, 7), (3, 3, 1, 1, 1, 1, pad_top, pad_left)
    layer = random_layer(rng, (4, 3, 3, 8), 4, 72, False)
    x = rng.integers(-128, 128, shape, np.int8)
    fields = fields_of(shape, layer, out, window)
    packed = packing_winograd.pack_conv_2d_winograd(fields)
    assert (run(program, packed, x) == expected(x, layer, out, window)).all()


KINDS = ["lowest", "highest", "checked", "random"]


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
@pytest.mark.parametrize("of_inputs", KINDS)
@pytest.mark.parametrize("of_weights", KINDS)
def test_extremes_are_exact(program, rng, of_weights, of_inputs, zero_point):
    shape, out, window = (9, 8, 8), *geometry((9, 8), (3, 3, 1, 1, 1, 1), True)
    requantise = packing.Requantise(np.full(3, 3 << 29), np.array([-12, -10, -8]), 3, -128, 127)
    weights = extreme(rng, (3, 3, 3, 8), of_weights)
    layer = weights, rng.integers(-9999, 9999, 3), zero_point, requantise
    x = extreme(rng, shape, of_inputs)
    fields = fields_of(shape, layer, out, window)
    packed = packing_winograd.pack_conv_2d_winograd(fields)
    assert (run(program, packed, x) == expected(x, layer, out, window)).all()


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    "shift, most, channels, relu",
    [(-5, 2**19, 8, 1), (-8, 2**22, 64, 1), (-11, 2**25, 256, 1), (-18, 2**25, 256, 0)],
)
def test_the_largest_sums_are_exact(program, rng, shift, most, channels, relu, sign):
    """A sum of `most` is too large for TE_RELU, or 64 of it for int32; here it is one less."""
    shape, (out, window) = (6, 7, channels), geometry((6, 7), (3, 3, 1, 1, 1, 1), True)
    zero_point = -128 if relu else 3
    requantise = packing.Requantise(
        np.array([(1 << 31) - 1]), np.array([shift]), zero_point, -128, 127
    )
    size = round(1.5 * most / (9 * 255 * channels))  # one end at `most`, the other at half of it
    weights = rng.choice(np.int8([-size, size]), channels) * np.ones((1, 3, 3, 1), np.int8)
    taps = weights.reshape(1, -1).astype(np.int64)
    _, (least,), (greatest,) = packing.accumulator_ranges(taps, np.zeros(1), 11)
    bias = np.array([most - 1 - greatest if sign > 0 else 1 - most - least], np.int64)
    x = np.where(sign * weights[0, :1, :1] > 0, 127, -128) + np.zeros(shape)
    x[:2] = rng.integers(-128, 128, x[:2].shape)
    x, layer = x.astype(np.int8), (weights, bias, 11, requantise)
    fields = fields_of(shape, layer, out, window)
    packed = packing_winograd.pack_conv_2d_winograd(fields)
    assert packed["rounding"] == ("TE_RELU" if relu else "TE_SIGNED")
    assert (run(program, packed, x) == expected(x, layer, out, window)).all()
    larger = fields | {"bias": bias + sign}
    if most < 2**25:
        assert packing_winograd.pack_conv_2d_winograd(larger)["rounding"] == "TE_SIGNED"
    else:
        with pytest.raises(Unfit, match="not below 2\\^25"):
            packing_winograd.pack_conv_2d_winograd(larger)


def test_transformed_inputs_and_weights_fit_int16():
    """Inputs are read as 0 .. 255: of each position the sums of positive and of negative terms."""
    positive, negative = (
        np.clip(sign * packing_winograd.INPUT, 0, None).sum(1) for sign in (1, -1)
    )
    for one, two in ((positive, negative), (negative, positive)):
        assert 255 * (np.outer(one, one) + np.outer(two, two)).max() < 2**15
        assert 255 * (np.outer(one, two) + np.outer(two, one)).max() <= 2**15
    assert 128 * np.abs(packing_winograd.WEIGHTS).sum(1).max() ** 2 < 2**15


def test_matrices_are_those_of_a_convolution(rng):
    matrices = packing_winograd.INPUT, packing_winograd.WEIGHTS, packing_winograd.OUTPUT
    (b, g, a), d, w = matrices, rng.integers(-128, 128, (6, 6)), rng.integers(-128, 128, (3, 3))
    patches = np.lib.stride_tricks.sliding_window_view(d, (3, 3))
    sums = np.einsum("yxab,ab->yx", patches, w)
    assert (a @ ((g @ w @ g.T) * (b @ d @ b.T)) @ a.T == 576 * sums).all()


def small(**others):
    """Fields of a layer from 64 channels to 16."""
    requantise = packing.Requantise(np.full(16, 1 << 30), np.full(16, -18), 0, -128, 127)
    out, window = geometry((8, 8), (3, 3, 1, 1, 1, 1), True)
    layer = np.ones((16, 3, 3, 64), np.int8), np.zeros(16, int), 0, requantise
    return fields_of((8, 8, 64), layer, out, window) | others


@pytest.mark.parametrize(
    "others, words",
    [
        ({"groups": 2}, "one group"),
        ({"weights": np.ones((16, 3, 2, 64), np.int8)}, "windows of 3x3"),
        ({"bias": np.full(16, 2**25 + 2**18)}, "not below"),
        ({"input": {"height": 8, "width": 8, "channels": 256}}, "bytes of scratch"),
        ({"input": {"height": 8, "width": 8, "channels": 2}}, "half would be zeros"),
        ({"output": {"height": 13, "width": 8, "channels": 16}}, "nothing but padding"),
        ({"output": {"height": 1, "width": 1, "channels": 1}}, "a fifth fewer cycles"),
    ],
)
def test_what_does_not_fit_or_pay_is_refused(others, words):
    with pytest.raises(Unfit, match=words):
        packing_winograd.pack_conv_2d_winograd(small(**others))


def test_weights_are_transformed_in_flash_where_many_tiles_read_them():
    def in_flash(side, channels):
        shape = {"height": side, "width": side, "channels": channels}
        return packing_winograd.in_flash(shape, shape)

    assert in_flash(32, 16) and in_flash(16, 32) and not in_flash(8, 64)
