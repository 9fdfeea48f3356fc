"""CONV_2D and FULLY_CONNECTED as matrix products (pairs.h), built for this computer with the
meaning of their assembly in C, compute what TensorFlow Lite's reference does: on shapes that are in
no model, on the largest sums, and around every tie of each requantisation."""

from types import SimpleNamespace

import numpy as np
import pytest
from tflite_layers import ROUNDINGS, build, feed, fields_of, geometry, sums_of, tflite

from compiler.selection import Unfit, choose
from tinyengine import kernelrows, linear, packing

MAIN = r"""
int main(void) {
    int32_t v[26]; /* fields, bytes of input, records, scratch, which kernel */

    while (fread(v, 4, 26, stdin) == 26) {
        int32_t size = v[3] * v[4] * v[5];
        int8_t *input = take(v[22]), *output = malloc((size_t)size);
        uint32_t *records = take(v[23]);
        void *scratch = malloc((size_t)v[24]);
        te_conv_2d_pairs op = {{v[0], v[1], v[2]},
                               {v[3], v[4], v[5]},
                               {v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13]},
                               v[14], v[15], v[16], v[17], v[18], (te_rounding)v[19],
                               records, v[20], v[21]};

        (v[25] == 0   ? te_run_conv_2d_threes
         : v[25] == 1 ? te_run_conv_2d_pixels
                      : te_run_conv_2d_pairs)(&op, input, output, scratch);
        fwrite(output, 1, (size_t)size, stdout);
        free(input), free(output), free(records), free(scratch);
    }
    return 0;
}
"""
CONV_2D = kernelrows.PRODUCTS
FULLY_CONNECTED = kernelrows.KERNELS["FULLY_CONNECTED"][:3]
NAMES = [kernel.name for kernel in CONV_2D]  # as the program numbers them
NUMBERS = ("input_zero_point", "steps", "tiles", "parts", "record_words")
IN_PARTS = ("TE_PARTS", 2)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return build(tmp_path_factory.mktemp("products"), MAIN, [f"{name}.c" for name in NAMES])


@pytest.fixture(params=ROUNDINGS[:2])
def rounding(request, monkeypatch):
    """Either one, whether a line is found or not."""
    if request.param == "TE_SIGNED":
        monkeypatch.setattr(packing, "find", not_found)
    return request.param


def not_found(requantise, *_):
    """As linear.find, of channels none of which has a line."""
    channels = len(requantise.shifts)
    return *np.zeros((3, channels), np.int64), np.zeros(channels, bool)


@pytest.fixture(params=[2, 3])
def words(request, monkeypatch):
    """Of weights for a step of four channels; 3 wherever there are two pixels."""
    monkeypatch.setattr(packing, "CYCLES_PER_BYTE", 1 / 4 if request.param == 3 else 2**31)
    return request.param


def job(kernels, fields, rounding, words):
    """What the program reads in front of the input and the records, and the records."""
    choice = choose(SimpleNamespace(fields=fields, name="a product"), kernels)
    kernel, packed = choice.kernel, choice.packed
    one = packed["output"]["height"] * packed["output"]["width"] == 1
    name = "pixels" if one or rounding == "TE_PARTS" else "threes" if words == 3 else "pairs"
    assert (packed["rounding"], kernel.name) == (rounding, f"conv_2d_{name}")
    assert packed["parts"] == 1 or rounding == "TE_PARTS"
    head = [n for name in ("input", "output", "window") for n in packed[name].values()]
    head += [*(packed[name] for name in NUMBERS), ROUNDINGS.index(rounding)]
    head += [packed["lowest"], packed["highest"], int(np.prod([*packed["input"].values()]))]
    head += [packed["records"].nbytes, kernel.scratch(packed), NAMES.index(kernel.name)]
    return np.int32(head), packed["records"]


def check(program, kernels, chosen, *cases):
    """cases: fields of a step, its input, its sums, its Requantise. chosen: rounding and words."""
    parts = []
    for fields, x, _, _ in cases:
        head, records = job(kernels, fields, *chosen)
        parts += [head, x, records]
    got = feed(program, *parts)
    for fields, x, sums, requantise in cases:
        wanted = tflite(sums, requantise).ravel()
        assert (got[: wanted.size] == wanted).all(), (x.shape, fields["weights"].shape)
        got = got[wanted.size :]
    assert not got.size


def convolution(layer, x, out, window):
    """A case of `check`."""
    return fields_of(x.shape, layer, out, window), x, sums_of(x, layer, out, window), layer[3]


def fully_connected(layer, x):
    """The same. layer: with weights [outputs, inputs]; x: [rows, inputs]."""
    weights, bias, zero_point, requantise = layer
    sums = (x.astype(np.int64) - zero_point) @ weights.astype(np.int64).T + bias
    fields = {"rows": len(x), "inputs": x.shape[1], "outputs": len(weights)}
    fields |= {"input_zero_point": zero_point, "weights": weights, "bias": bias}
    return fields | {"requantise": vars(requantise)}, x, sums, requantise


def random_requantise(rng, rounding, channels, terms):
    """Multipliers that bring sums of `terms` products to int8, for a rounding."""
    shift = int(np.log2(70 * 70 * terms**0.5 / 60))
    if rounding == "TE_LINEAR":  # larger ones are not always found
        shift = min(shift, 7)
    shifts = -rng.integers(shift - 1, shift + 3, channels)
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, channels)
    zero_point, lowest = (-128, rng.choice([-128, -100])) if rounding == "TE_LINEAR" else (7, -128)
    return packing.Requantise(multipliers, shifts, zero_point, int(lowest), rng.choice([90, 127]))


def random_layer(rng, rounding, shape):
    """No weight is 0, or all channels of a small one might be constant."""
    weights = rng.integers(20, 128, shape, np.int8) * rng.choice(np.int8([-1, 1]), shape)
    terms = weights[0].size
    bias = (rng.integers(-4000, 4000, len(weights)) * terms**0.5).astype(int)
    requantise = random_requantise(rng, rounding, len(weights), terms)
    return weights, bias, int(rng.integers(-128, 128)), requantise


def random_case(rng, rounding, shape, channels, window, same):
    """Of a convolution; None where the window does not fit."""
    out, window = geometry(shape, window, same)
    if min(out) < 1:
        return None
    layer = random_layer(rng, rounding, (channels, *window[:2], shape[2]))
    return convolution(layer, rng.integers(-128, 128, shape, np.int8), out, window)


CONVOLUTIONS = [  # input, output channels, window height, width, strides, dilations
    ((5, 5, 8), 6, (1, 1, 1, 1, 1, 1)),
    ((3, 3, 16), 5, (1, 1, 1, 1, 1, 1)),
    ((2, 5, 7), 4, (1, 1, 1, 1, 1, 1)),
    ((1, 5, 3), 1, (1, 1, 1, 1, 1, 1)),
    ((1, 7, 150), 5, (1, 1, 1, 1, 1, 1)),  # a tile at a time
    ((7, 8, 9), 8, (1, 1, 1, 1, 1, 1)),  # many of them, then some, then one pixel
    ((6, 7, 5), 3, (1, 1, 2, 2, 1, 1)),
    ((9, 8, 3), 8, (3, 3, 2, 2, 1, 1)),
    ((8, 7, 16), 4, (3, 3, 1, 1, 1, 1)),
    ((13, 10, 1), 5, (10, 4, 2, 2, 1, 1)),
    ((9, 9, 4), 4, (3, 3, 1, 1, 2, 2)),
    ((7, 9, 2), 2, (3, 5, 1, 2, 2, 1)),
    ((4, 3, 1), 7, (5, 5, 1, 1, 1, 1)),
    ((12, 6, 6), 9, (2, 3, 3, 1, 1, 1)),
    ((6, 21, 3), 6, (2, 2, 1, 1, 1, 1)),
    ((5, 23, 2), 5, (2, 3, 1, 2, 1, 1)),
    ((9, 1, 6), 5, (4, 1, 1, 1, 2, 1)),
    ((6, 5, 4), 6, (6, 5, 1, 1, 1, 1)),  # all of the input at once
]


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("shape, channels, window", CONVOLUTIONS)
def test_convolution_is_exact(program, shape, channels, window, same, rounding, words):
    rng = np.random.default_rng(sum(shape) + channels)
    case = random_case(rng, rounding, shape, channels, window, same)
    if case is None:
        pytest.skip("the window does not fit")
    check(program, CONV_2D, (rounding, words), case)


@pytest.mark.parametrize("outputs", [*range(1, 10), 16])
def test_every_rest_of_a_run_and_of_pixels_is_exact(program, rng, outputs, rounding, words):
    """Runs from one byte on, in one row and in three; one pixel, pairs, an odd one."""
    cases = []
    for run in (*range(1, 10), 13):
        for width, height in ((1, 1), (run, 1), (1, 3), (run, 3)):
            for lines, columns in ((1, 1), (1, 2), (1, 3), (1, 5), (2, 3), (3, 3), (3, 2)):
                window = height, width, 1, 1 + (run + columns) % 2, 1, 1
                shape = lines + height - 1, (columns - 1) * window[3] + width, run // width
                cases.append(random_case(rng, rounding, shape, outputs, window, False))
    check(program, CONV_2D, (rounding, words), *cases)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fully_connected_is_exact(program, rng, rows, rounding, words):
    cases = []
    for inputs in (1, 2, 3, 7, 8, 13, 40, 64, 127, 128, 130):
        for outputs in (1, 2, 3, 4, 5, 10):
            x = rng.integers(-128, 128, (rows, inputs), np.int8)
            layer = random_layer(rng, rounding, (outputs, inputs))
            cases.append(fully_connected(layer, x))
    check(program, FULLY_CONNECTED, (rounding, words), *cases)


def largest(rng, weights, x):
    """x, its first row changed so that a random output's sum is the largest, or the least."""
    first = np.where(rng.choice([-1, 1]) * weights[rng.integers(len(weights))] > 0, 127, -128)
    return np.concatenate([first[None].astype(np.int8), x[1:]])


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "inputs, outputs", [(3136, 32), (3136, 3), (3136, 5), (1401, 4), (1998, 1), (1999, 9)]
)
def test_fully_connected_in_parts_is_exact(program, rng, inputs, outputs, rows):
    layer = random_layer(rng, "TE_PARTS", (outputs, inputs))
    x = largest(rng, layer[0], rng.integers(-128, 128, (rows, inputs), np.int8))
    case = fully_connected(layer, x)
    assert np.abs(case[2]).max() > 2**23
    check(program, FULLY_CONNECTED, IN_PARTS, case)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("outputs", [2, 6, 8])
@pytest.mark.parametrize(
    "shape, window",
    [
        ((1, 5, 1500), (1, 1, 1, 1, 1, 1)),
        ((4, 5, 301), (2, 3, 1, 2, 1, 1)),
        ((3, 9, 303), (1, 5, 2, 2, 1, 1)),  # of one run
        ((5, 4, 202), (3, 3, 1, 1, 2, 1)),
        ((4, 6, 250), (2, 3, 1, 1, 1, 2)),
    ],
)
def test_convolution_in_parts_is_exact(program, rng, shape, window, outputs, same):
    check(program, CONV_2D, IN_PARTS, random_case(rng, "TE_PARTS", shape, outputs, window, same))


@pytest.mark.parametrize("top, left", [(0, 1), (1, 0)])
def test_padding_in_front_is_exact_in_parts(program, rng, top, left):
    """And nowhere else, as that of a PAD."""
    layer = random_layer(rng, "TE_PARTS", (5, 1, 4, 303))
    x = rng.integers(-128, 128, (2, 5, 303), np.int8)
    window = 1, 4, 1, 1, 1, 1, top, left
    check(program, CONV_2D, IN_PARTS, convolution(layer, x, (2 + top, 2 + left), window))


def test_the_largest_sums_of_parts_are_exact(program):
    """Of halves they would be beyond 2^23."""
    requantise = packing.Requantise(np.full(4, 3 << 29), np.full(4, -18), 7, -128, 127)
    weights = np.int8([127, -127, 127, 127])[:, None, None, None] + np.zeros((2, 1, 520), np.int8)
    layer = weights, np.zeros(4, int), 0, requantise
    x = np.int8([[-128], [127]] * 2).reshape(2, 2, 1).repeat(520, 2)
    case = convolution(layer, x, (1, 2), (2, 1, 1, 1, 1, 1, 0, 0))
    assert np.abs(case[2]).max() == 2 * 520 * 127 * 128 > 2**24
    check(program, CONV_2D, IN_PARTS, case)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("window", [(1, 1, 1, 1, 1, 1), (1, 3, 1, 2, 1, 1), (2, 2, 1, 1, 1, 1)])
def test_large_biases_are_exact(program, rng, window, same):
    """Sums beyond 2^23 that are of one part."""
    out, window = geometry((4, 5, 13), window, same)
    weights, _, zero_point, _ = random_layer(rng, "TE_PARTS", (5, *window[:2], 13))
    bias = 2**24 + rng.integers(-(2**21), 2**21, 5)
    requantise = packing.Requantise(np.full(5, 3 << 29), np.full(5, -18), -20, -128, 127)
    x = rng.integers(-128, 128, (4, 5, 13), np.int8)
    case = convolution((weights, bias, zero_point, requantise), x, out, window)
    assert CONV_2D[1].pack(case[0])["parts"] == 1
    check(program, CONV_2D, IN_PARTS, case)


MOST = {"TE_LINEAR": linear.LARGEST_SUM, "TE_SIGNED": 2**23 - 1}  # of sums
BEYOND = {"TE_LINEAR": "TE_SIGNED", "TE_SIGNED": "TE_PARTS"}


@pytest.mark.parametrize("rounding", MOST)
def test_the_largest_sums_are_exact(program, rounding, words):
    """Of four channels, each at the end of its range, of all signs beside one another; one more is
    for another rounding."""
    inputs = MOST[rounding] // (127 * 128)
    rest = MOST[rounding] - inputs * 127 * 128
    shift, zero_point = (-7, -128) if rounding == "TE_LINEAR" else (-15, 7)
    requantise = packing.Requantise(
        np.array([1 << 30, 1500000000, 1700000000, (1 << 31) - 1]),
        np.full(4, shift),
        zero_point,
        -128,
        127,
    )
    cases = []
    for signs in np.ndindex(2, 2, 2, 2):
        signs = 2 * np.array(signs) - 1
        weights = (127 * signs[:, None]).astype(np.int8).repeat(inputs, 1)
        layer = weights, -signs * rest, 0, requantise
        case = fully_connected(layer, np.int8([[-128] * inputs, [127] * inputs]))
        fields, _, sums, _ = case
        assert (sums[0] == -signs * MOST[rounding]).all()
        cases.append(case)
        larger = fields | {"bias": -signs * (rest + 1)}
        job(FULLY_CONNECTED, larger, BEYOND[rounding], 2 if rounding == "TE_SIGNED" else words)
    check(program, FULLY_CONNECTED, (rounding, words), *cases)


def test_the_largest_weights_are_exact(program, rng, rounding, words):
    """-128 beside whatever it may be beside."""
    weights = np.int8([(127, 127, 127, 127), (-128, 127, -128, 127), (127, -128, 0, 0)])
    if words == 2:
        weights = np.append(weights, np.int8([(-128, -128, 0, -128)]), 0)
    weights = weights[rng.integers(0, len(weights), 40)].T
    requantise = random_requantise(rng, rounding, 4, 40)
    x = rng.choice(np.int8([-128, 127]), (9, 40))
    case = fully_connected((weights, rng.integers(-99, 99, 4), 3, requantise), x)
    check(program, FULLY_CONNECTED, (rounding, words), case)


@pytest.mark.parametrize("all_of_them", [False, True])
@pytest.mark.parametrize("rounding", ROUNDINGS[:3])
def test_constant_channels_are_exact(program, rng, rounding, all_of_them):
    """Too small a multiplier, and too large a bias of either sign."""
    inputs = 2000 if rounding == "TE_PARTS" else 24
    weights, bias, zero_point, requantise = random_layer(rng, rounding, (7, inputs))
    requantise.shifts[2::5] = -31
    bias[3], bias[4] = 2**28, -(2**28)
    few = slice(2, 5) if all_of_them else slice(None)
    requantise.shifts, requantise.multipliers = requantise.shifts[few], requantise.multipliers[few]
    x = rng.integers(-128, 128, (3, inputs), np.int8)
    case = fully_connected((weights[few], bias[few], zero_point, requantise), x)
    check(program, FULLY_CONNECTED, ("TE_LINEAR" if all_of_them else rounding, 2), case)


def bringing(sums, inputs):
    """x int8 [sums, 1 + inputs] whose product with the weights 1, 127, 127 ... has these sums."""
    rest = (sums + 63) // 127
    each, more = np.divmod(rest, inputs)
    x = each[:, None] + (np.arange(inputs) < more[:, None])
    return np.concatenate([(sums - 127 * rest)[:, None], x], 1).clip(-128, 127).astype(np.int8)


@pytest.mark.parametrize(
    "rounding, shift",
    [
        *(("TE_LINEAR", shift) for shift in (-4, -5, -8, -10)),
        *(("TE_SIGNED", shift) for shift in (-1, -4, -8, -11, -14)),
        *(("TE_PARTS", shift) for shift in (-16, -17)),
    ],
)
def test_every_rounding_is_exact_near_every_tie(program, rng, rounding, shift, words):
    """All channels have the same weights, and sums near the ties of each of them."""
    multipliers = np.append(
        rng.integers(1 << 30, 1 << 31, 3), [1 << 30, (1 << 30) + 1, (1 << 31) - 1]
    )
    zero_point = -128 if rounding == "TE_LINEAR" else 7
    requantise = packing.Requantise(multipliers, np.full(6, shift), zero_point, -128, 127)
    steps = 2 * np.arange(-129 - zero_point, 129 - zero_point) + 1
    ties = np.round(steps * 2.0 ** (30 - shift) / multipliers[:, None]).astype(np.int64)
    sums = np.unique(ties.ravel()[:, None] + np.arange(-2, 3))
    inputs = int(np.abs(sums).max() // 127**2 + 1)
    weights = np.full((6, 1 + inputs), 127, np.int8)
    weights[:, 0] = 1
    case = fully_connected((weights, np.zeros(6, int), 0, requantise), bringing(sums, inputs))
    assert (case[2] == sums[:, None]).all()
    chosen = IN_PARTS if rounding == "TE_PARTS" else (rounding, words)
    check(program, FULLY_CONNECTED, chosen, case)


def test_what_does_not_fit_is_refused():
    one = packing.Requantise(np.array([1 << 30] * 3), np.array([-8] * 3), 0, -128, 127)
    weights = np.int8([0, -1, -128])[:, None, None, None].repeat(4, 3)
    with pytest.raises(Unfit, match="-128 beside a negative one"):
        packing.pack_product(weights, np.zeros(3), 0, one, (4, 4), "conv_2d_pairs")
    large, bias = np.full((3, 1, 1, 600), 127, np.int8), np.zeros(3, int)
    one.shifts = np.array([-8, -23, -8])
    with pytest.raises(Unfit, match="a multiplier outside"):
        packing.pack_product(large, bias, 0, one, (4, 4), "conv_2d_pairs")
    one.shifts = np.array([1, -8, -8])
    with pytest.raises(Unfit, match="multiplied by 2 or more"):
        packing.pack_product(large, bias, 0, one, (4, 4), "conv_2d_pairs")
    one.shifts, one.zero_point = np.full(3, -22), -20
    with pytest.raises(Unfit, match="sums of 2\\^30"):
        packing.pack_product(large, bias + 2**30, 0, one, (4, 4), "conv_2d_pairs")
