"""The fast kernels of DEPTHWISE_CONV_2D, built for this computer with the meaning of their assembly
in C, compute what TensorFlow Lite's reference does: also in place, on shapes that are in no model,
and around every tie of the requantisation."""

import numpy as np
import pytest
from tflite_layers import build, execute, geometry, random_layer, tflite, windows

from compiler.selection import Unfit
from tinyengine import kernelrows, packing

MAIN = r"""
int main(void) {
    int32_t head[7]; /* kernel, integers, words, input, output, in place, scratch */

    while (fread(head, 4, 7, stdin) == 7) {
        int32_t *v = take(4 * head[1]), *w = v + 14;
        uint32_t *r = take(4 * head[2]);
        int8_t *input = take(head[3]), *output = head[5] ? input : malloc((size_t)head[4]);
        void *scratch = malloc((size_t)head[6]);
        te_shape in = {v[0], v[1], v[2]}, out = {v[3], v[4], v[5]};
        te_window window = {v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13]};

        if (head[0] == 0) {
            te_depthwise_conv_2d_3x3 op = {in,   out, window, w[0], w[1],
                                           w[2], w[3], r,     w[4], w[5]};
            te_run_depthwise_conv_2d_3x3(&op, input, output, scratch);
        } else if (head[0] == 1) {
            te_depthwise_conv_2d_taps op = {in, out, window, w[0], (int8_t *)(r + w[1]),
                                            r,  w[2], w[3]};
            te_run_depthwise_conv_2d_taps(&op, input, output, scratch);
        } else if (head[0] == 2) {
            te_depthwise_conv_2d_low op = {in, w[0], w[1], r, w[2], w[3]};
            te_run_depthwise_conv_2d_low(&op, input, output, scratch);
        } else if (head[0] == 3) {
            te_depthwise_conv_2d_columns op = {in, out, window, w[0], w[1], r, w[2], w[3]};
            te_run_depthwise_conv_2d_columns(&op, input, output, scratch);
        } else {
            te_depthwise_conv_2d_planes op = {in,   out,  window, w[0], w[1], w[2],
                                              w[3], w[4], w[5],   r,    w[6], w[7]};
            te_run_depthwise_conv_2d_planes(&op, input, output, scratch);
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
FAST = {kernel.name: kernel for kernel in kernelrows.KERNELS["DEPTHWISE_CONV_2D"]}
SIZE = ("height", "width", "channels")
STEPS = ("stride_y", "stride_x", "dilation_y", "dilation_x", "pad_top", "pad_left")
SIDES = {"input": SIZE, "output": SIZE, "window": (*SIZE[:2], *STEPS)}
NUMBERS = {  # of a description, behind its sizes and its window
    "depthwise_conv_2d_3x3": ("multiplier", "exchanged", "input_zero_point", "plane_words"),
    "depthwise_conv_2d_taps": ("input_zero_point", "first"),
    "depthwise_conv_2d_low": ("exchanged", "input_zero_point"),
    "depthwise_conv_2d_columns": ("input_zero_point", "pairs"),
    "depthwise_conv_2d_planes": (
        *("multiplier", "input_zero_point", "kept_rows"),
        *("plane_words", "run_words", "row_runs"),
    ),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    sources = [f"{name}.c" for name in NUMBERS]
    return build(tmp_path_factory.mktemp("depthwise"), MAIN, sources)


def layer(shape, out, window, weights, bias, input_zero_point, requantise):
    """Fields of a step. window: as of `windows`; weights: int8 [height, width, channels]."""
    sizes = shape, (*out, weights.shape[2]), window
    return {
        **{of: dict(zip(names, map(int, n))) for (of, names), n in zip(SIDES.items(), sizes)},
        "multiplier": weights.shape[2] // shape[2],
        "input_zero_point": input_zero_point,
        "weights": weights[None],
        "bias": bias,
        "requantise": vars(requantise),
    }


def run(program, name, fields, x, in_place=False):
    """What the kernel `name` makes of x, in a flat array."""
    kernel = FAST[name]
    packed = kernel.pack(fields)
    words = packed["records"]
    if "weights" in packed:  # behind the records
        flat = packed["weights"].ravel()
        packed["first"] = len(words)
        words = np.concatenate([words, np.pad(flat, (0, -len(flat) % 4)).view(np.uint32)])
    packed.setdefault("input", packed.get("shape"))
    integers = [packed.get(of, fields[of])[side] for of, names in SIDES.items() for side in names]
    integers += [packed[number] for number in (*NUMBERS[name], "lowest", "highest")]
    size, number = np.prod([*fields["output"].values()]), [*NUMBERS].index(name)
    scratch = kernel.scratch(packed)
    return execute(program, number, integers, words, x, size, in_place, scratch)


SHAPES = [
    *((1, 1, 4), (1, 2, 6), (2, 3, 1), (3, 3, 5), (5, 5, 8)),
    *((6, 4, 3), (9, 8, 7), (10, 13, 2), (11, 4, 9), (4, 4, 6), (9, 6, 5), (5, 2, 4)),
    *((6, 5, 41), (10, 4, 41), (15, 3, 36)),
]
WINDOWS = [
    *((3, 3, 1, 1), (3, 3, 2, 2), (3, 3, 1, 2), (3, 3, 3, 1), (1, 1, 1, 1), (5, 5, 1, 1)),
    *((5, 5, 2, 2), (7, 7, 1, 1), (7, 7, 2, 2), (9, 9, 1, 1), (2, 4, 1, 1), (4, 2, 2, 2)),
    *((1, 10, 1, 1), (1, 16, 1, 1), (1, 15, 2, 2), (1, 9, 2, 2), (12, 1, 1, 1), (10, 8, 2, 2)),
    *((2, 3, 3, 3), (3, 3, 1, 1, 2, 2), (3, 2, 1, 2, 1, 4)),
]


def fitting(window, shape, out, multiplier):
    """Names of the kernels that take such a layer."""
    height, width, stride_y, stride_x, *dilation = window[:6]
    if window == (3, 3, *[1] * 6) and shape[:2] == out and multiplier == 1 and shape[2] >= 4:
        image = min(out) if out[0] > out[1] else out[0]
        if 3 <= image <= 6:
            yield "depthwise_conv_2d_low"
    if (*dilation, multiplier) == (1, 1, 1) and stride_y <= 2 and shape[2] >= 4 and out[0] >= 3:
        pairs = height // 2 + (out[0] if stride_y == 2 else (out[0] + 1) // 2)
        small = height >= shape[0] or 48 * pairs <= shape[0] * shape[2]
        if height in (5, 7) and small:
            yield "depthwise_conv_2d_columns"
    if dilation == [1, 1] and stride_x <= 2:
        if (height, width) == (3, 3) and stride_y == stride_x:
            yield "depthwise_conv_2d_3x3"
        if out != (1, 1) or multiplier > 1 or shape[2] < 4:
            yield "depthwise_conv_2d_planes"
    if multiplier == 1 and shape[2] >= 4:
        yield "depthwise_conv_2d_taps"


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("window", WINDOWS)
def test_depthwise_convolution_is_exact_also_in_place(program, window, same, relu):
    rng = np.random.default_rng(sum(window))
    for shape in SHAPES:
        for multiplier in (1, 3):
            out, placed = geometry(shape, (*window, 1, 1)[:6], same)
            if min(out) < 1:
                continue
            outputs = multiplier * shape[2]
            weights, bias, zero_point, to = random_layer(
                rng, (*window[:2], outputs), outputs, window[0] * window[1], relu
            )
            x = rng.integers(-128, 128, shape, np.int8)
            taps = np.repeat(windows(x, placed, out, zero_point), multiplier, axis=-1)
            sums = np.einsum("yxabc,abc->yxc", taps, weights.astype(np.int64))
            fields = layer(shape, out, placed, weights, bias, zero_point, to)
            for name in fitting(placed, shape, out, multiplier):
                in_place = FAST[name].in_place(fields)
                got = run(program, name, fields, x, in_place)
                assert (got == tflite(sums + bias, to).ravel()).all(), (name, shape, multiplier)


@pytest.mark.parametrize("shift", [-1, -2, -3, -5, -9, -10, -13, -22])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_every_rounding_is_exact_near_every_tie(program, name, relu, shift):
    """One weight of 1; the bias takes the sum through all ties, of both signs."""
    rng = np.random.default_rng(-shift)
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, 512)
    multipliers[:3] = [1 << 30, (1 << 30) + 1, (1 << 31) - 1]
    steps = np.concatenate([np.arange(-130, 131), rng.integers(-130, 131, 512 - 261)])
    ties = (2 * steps + 1) * 2.0 ** (30 - shift) / multipliers
    bias = np.round(np.clip(ties, -(2**27), 2**27)).astype(np.int64)
    zero_point = -128 if relu else 7
    to = packing.Requantise(multipliers, np.full(512, shift), zero_point, -128, 127)
    size = 5 if name == "depthwise_conv_2d_columns" else 3
    weights = np.zeros((size, size, 512), np.int8)
    weights[size // 2, size // 2] = 1
    window = size, size, 1, 1, 1, 1, size // 2, size // 2
    fields = layer((3, 3, 512), (3, 3), window, weights, bias, 0, to)
    for x in range(-3, 4):
        got = run(program, name, fields, np.full(9 * 512, x, np.int8))
        assert (got == tflite(np.stack([bias + x] * 9), to).ravel()).all()


def test_a_shift_of_zero_is_exact_behind_a_relu_and_refused_else(program):
    rng = np.random.default_rng(0)
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, 256)
    to = packing.Requantise(multipliers, np.zeros(256, int), -128, -128, 127)
    weights = np.ones((3, 3, 256), np.int8)
    bias = np.arange(-64, 192)
    fields = layer((1, 1, 256), (1, 1), (3, 3, 1, 1, 1, 1, 1, 1), weights, bias, 0, to)
    for x in range(-9, 9):
        got = run(program, "depthwise_conv_2d_3x3", fields, np.full(256, x, np.int8))
        assert (got == tflite((bias + x)[None], to).ravel()).all()
    to.zero_point = 3
    with pytest.raises(Unfit, match="a multiplier outside"):
        FAST["depthwise_conv_2d_3x3"].pack(fields | {"requantise": vars(to)})


def test_rows_of_columns_are_kept_where_they_are_little_beside_the_image():
    to = packing.Requantise(np.ones(20, int), np.full(20, -1), 0, 0, 0)
    weights = np.zeros((5, 5, 20), np.int8)
    for rows, fits in ((5, True), (6, False)):
        shape = rows, 5, 20
        window = 5, 5, 1, 1, 1, 1, 2, 2
        fields = layer(shape, shape[:2], window, weights, np.zeros(20, int), 0, to)
        if fits:
            assert FAST["depthwise_conv_2d_columns"].pack(fields)["pairs"] == 5
        else:
            with pytest.raises(Unfit):
                FAST["depthwise_conv_2d_columns"].pack(fields)


def test_a_window_is_as_large_as_what_it_reads():
    """Of 7x7 on 3x3 pixels only 5x5 weights lie on any of them."""
    to = packing.Requantise(np.ones(4, int), np.full(4, -1), 0, 0, 0)
    weights = np.zeros((7, 7, 4), np.int8)
    fields = layer((3, 3, 4), (3, 3), (7, 7, 1, 1, 1, 1, 3, 3), weights, np.zeros(4, int), 0, to)
    window = FAST["depthwise_conv_2d_planes"].pack(fields)["window"]
    assert [window[n] for n in ("height", "width", "pad_top", "pad_left")] == [5, 5, 2, 2]
