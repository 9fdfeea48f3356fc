"""Small models of convolutions as matrix products, in groups, dilated ones as three operators,
transposed ones, of computed shapes, and of long rows of SOFTMAX and LOG_SOFTMAX.

The functions add operators to a `tflite_builder.Builder` b and return its output; `convolutions()`
yields the cases of `tflite_models.cases()`.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

LARGEST = 1000  # values of an image that still may become larger, at random
ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def _integers(b, values):
    return b.constant(np.array(values, np.int32))


def opened(b, value):
    """The value, whose first dimension the file says to be open: 1 is a placeholder."""
    b.tensors[value.index].shapeSignature = [-1, *value.shape[1:]]
    return value


def shape_operator(b, kind, inputs, size, options=None, **fields):
    """The index of the output of an operator on shapes. size: of the output, () for a number."""
    index = b._tensor(size, np.int32)
    output = replace(b.value(()), index=index)
    return b.operator(kind, inputs, output, options, **fields).index


# --- dilated convolutions as three operators


def dilated(b, x, outputs, block, paddings, crops, one_dimension=False, **attributes):
    """SPACE_TO_BATCH_ND, a convolution with VALID padding, BATCH_TO_SPACE_ND.

    one_dimension: with EXPAND_DIMS and RESHAPE around the convolution, as of a series.
    """
    _, *sizes, channels = x.shape
    inner = [(n + sum(p)) // k for n, p, k in zip(sizes, paddings, block)]
    constants = [_integers(b, block), _integers(b, paddings)]
    y = opened(b, b.value((1, *inner, channels), x.scale, x.zero_point))
    b.operator("SPACE_TO_BATCH_ND", [x.index, *constants], y, "SpaceToBatchNDOptions")
    if one_dimension:
        z = opened(b, b.value((1, 1, *y.shape[1:]), x.scale, x.zero_point))
        y = b.operator("EXPAND_DIMS", [y.index, _integers(b, -3)], z, "ExpandDimsOptions")
    y = opened(b, b.convolution(y, outputs, padding="VALID", **attributes))
    if one_dimension:
        shape = (1, *y.shape[2:])
        z = opened(b, b.value(shape, y.scale, y.zero_point))
        inputs = [y.index, _integers(b, (-1, *shape[1:]))]
        y = b.operator("RESHAPE", inputs, z, "ReshapeOptions", newShape=[-1, *shape[1:]])
    _, *inner, _ = y.shape
    merged = [n * k - sum(c) for n, k, c in zip(inner, block, crops)]
    z = b.value((1, *merged, outputs), y.scale, y.zero_point)
    inputs = [y.index, constants[0], _integers(b, crops)]
    return b.operator("BATCH_TO_SPACE_ND", inputs, z, "BatchToSpaceNDOptions")


def _dilated():
    for depthwise, (label, block, paddings, crops) in itertools.product(
        (False, True),
        (
            ("valid", (2, 2), ((0, 1), (0, 0)), ((0, 1), (0, 0))),
            ("same", (2, 2), ((2, 3), (2, 2)), ((0, 1), (0, 0))),
            ("uneven", (2, 3), ((3, 2), (4, 4)), ((1, 0), (2, 2))),
            ("block_of_one", (1, 5), ((1, 1), (5, 5)), ((0, 0), (0, 0))),
        ),
    ):
        name = f"dilated_{label}{'_depthwise' if depthwise else ''}"
        arguments = block, paddings, crops

        def build(b, x, arguments=arguments, depthwise=depthwise):
            return dilated(b, x, 4, *arguments, kernel=(3, 3), depthwise=depthwise)

        yield name, (1, 9, 10, 4), build, {}
    for dilation in (2, 4):
        before = 2 * dilation + -(20 + 2 * dilation) % dilation

        def causal(b, x, dilation=dilation, before=before):
            return dilated(b, x, 3, (dilation,), ((before, 0),), ((0, 0),), True, kernel=(1, 3))

        yield f"dilated_series_{dilation}", (1, 20, 5), causal, {}
    yield (
        "dilated_within_a_dilation",
        (1, 12, 12, 3),
        lambda b, x: dilated(
            b, x, 3, (2, 2), ((0, 0), (0, 0)), ((0, 0), (0, 0)), kernel=(2, 2), dilation=(2, 3)
        ),
        {},
    )


# --- TRANSPOSE_CONV


def transpose_conv(
    b,
    x,
    outputs,
    kernel,
    stride=(1, 1),
    padding="SAME",
    size=None,
    activation="NONE",
    zero_point=None,
    per_channel=True,
    factors="usual",
    bias=True,
):
    """size: height and width of the output, if they are not those that Keras gives it."""
    _, height, width, channels = x.shape
    if size is None:
        more = [0 if padding == "SAME" else max(k - s, 0) for k, s in zip(kernel, stride)]
        size = [n * s + m for n, s, m in zip((height, width), stride, more)]
    shape, sums = (outputs, *kernel, channels), channels * math.prod(kernel) / math.prod(stride)
    inputs, scale = b._weighted(x, shape, 0, max(sums, 1), per_channel, factors, bias)
    _, *constants = inputs
    output = (1, *size, outputs)
    y = b.value(output, scale, zero_point)
    return b.operator(
        "TRANSPOSE_CONV",
        [_integers(b, output), constants[0], x.index, *constants[1:]],
        y,
        "TransposeConvOptions",
        padding=getattr(schema.Padding, padding),
        strideH=stride[0],
        strideW=stride[1],
        fusedActivationFunction=getattr(schema.ActivationFunctionType, activation),
    )


def _transposed():
    def case(label, shape, outputs, *arguments, given=None, **attributes):
        def build(b, x):
            return transpose_conv(b, x, outputs, *arguments, **attributes)

        return f"transpose_conv_{label}", shape, build, given or {}

    shape = (1, 5, 6, 5)
    for padding, kernel, stride in itertools.product(
        ("SAME", "VALID"),
        ((1, 1), (2, 2), (3, 3), (4, 4), (2, 5)),
        ((1, 1), (2, 2), (3, 3), (1, 2), (3, 1)),
    ):
        words = [padding.lower(), *("x".join(map(str, pair)) for pair in (kernel, stride))]
        yield case("_".join(words), shape, 3, kernel, stride, padding)
    for padding, size in (("SAME", (9, 11)), ("SAME", (9, 12)), ("VALID", (12, 13))):
        label = f"{padding.lower()}_to_{size[0]}x{size[1]}"
        yield case(label, shape, 3, (3, 3), (2, 2), padding, size)
    for activation, before, after in itertools.product(ACTIVATIONS, (-128, 5), (-128, 3, 127)):
        yield case(
            f"{activation.lower()}_zero_points_{before}_{after}",
            (1, 4, 4, 6),
            5,
            (3, 3),
            (2, 2),
            activation=activation,
            zero_point=after,
            given={"scale": 0.004, "zero_point": before},
        )
    for factors, per_channel in itertools.product(("usual", "large", "vanishing"), (True, False)):
        label = f"{factors}_{'per_channel' if per_channel else 'per_tensor'}"
        options = {"factors": factors, "per_channel": per_channel}
        yield case(label, (1, 4, 4, 8), 8, (2, 2), (2, 2), **options)
    yield case("no_bias", shape, 4, (3, 3), (2, 2), bias=False)
    yield case("one_pixel", (1, 1, 1, 3), 2, (3, 3), (2, 2))
    for channels, outputs in ((1, 1), (3, 17), (16, 8)):
        label = f"channels_{channels}_to_{outputs}"
        yield case(label, (1, 6, 7, channels), outputs, (4, 4), (2, 2))


# --- convolutions as matrix products


def _products():
    """What conv_2d_pairs computes: of two pixels, of many, and one by itself."""

    def case(label, shape, outputs, relu, **attributes):
        attributes |= {"activation": "RELU", "zero_point": -128} if relu else {"zero_point": 3}
        label += f"_of_{'x'.join(map(str, shape[1:]))}_to_{outputs}{'_relu' if relu else ''}"
        return f"products_{label}", shape, lambda b, x: b.convolution(x, outputs, **attributes), {}

    # where unrolled products start, and how often they repeat
    steps = [n for fours in range(0, 36, 4) for n in (fours + 1, fours + 4)] + [70]
    for width, channels in itertools.product((6, 35), steps):
        yield case("pointwise", (1, 1, width, channels), 2 + channels % 4, channels % 4 == 1)
    runs = ((3, (2, 1)), (2, (2, 2)), (3, (3, 3)), (2, (2, 3)), (3, (2, 5)), (5, (3, 1)))
    sizes = ((5, 13), (4, 15), (8, 18), (8, 19))
    for i, (size, (channels, kernel)) in enumerate(itertools.product(sizes, runs)):
        label = f"runs_of_{channels * kernel[1]}"
        options = {"kernel": kernel, "stride": (1, 2), "padding": "VALID"}
        yield case(label, (1, *size, channels), 1 + i % 9, i % 2 == 1, **options)
    rows = (((1, 1401), 6), ((3, 1303), 3))  # whose sums are beyond 2^23
    for shape, outputs in (*rows, *(((3, inputs), 5) for inputs in (29, 30, 31))):
        name = f"products_of_{shape[0]}x{shape[1]}_to_{outputs}"
        yield name, shape, lambda b, x, n=outputs: b.fully_connected(x, n), {}
    yield case("in_parts", (1, 2, 3, 160), 5, False, kernel=(3, 3))


# --- convolutions in groups


def _grouped():
    def case(label, shape, outputs, groups, **attributes):
        def build(b, x):
            return b.convolution(x, outputs, groups=groups, **attributes)

        return f"groups_{label}", shape, build, {}

    for channels, outputs, groups in ((4, 4, 2), (6, 9, 3), (8, 2, 2), (16, 16, 4), (6, 12, 6)):
        for kernel, padding in itertools.product(((1, 1), (3, 3), (2, 3)), ("SAME", "VALID")):
            words = f"{channels}_to_{outputs}_in_{groups}_{kernel[0]}x{kernel[1]}"
            label = f"{words}_{padding.lower()}"
            yield case(label, (1, 5, 6, channels), outputs, groups, kernel=kernel, padding=padding)
    yield case("stride", (1, 7, 8, 6), 6, 2, kernel=(3, 3), stride=(2, 3))
    yield case("dilation", (1, 9, 8, 6), 6, 2, kernel=(3, 2), dilation=(2, 3))
    yield case("relu", (1, 5, 5, 6), 6, 3, kernel=(3, 3), activation="RELU")
    yield case("large", (1, 5, 5, 8), 8, 4, kernel=(3, 3), factors="large")
    yield case("vanishing", (1, 5, 5, 8), 8, 4, factors="vanishing")


# --- shapes that are computed


def shape_of(b, x):
    options = {"outType": schema.TensorType.INT32}
    return shape_operator(b, "SHAPE", [x.index], (len(x.shape),), "ShapeOptions", **options)


def flattened(b, x):
    """As Keras writes Flatten with an open batch."""
    opened(b, x)
    size = math.prod(x.shape[1:])
    shape = shape_of(b, x)
    ends = [_integers(b, [n]) for n in (0, 1, 1)]
    batch = shape_operator(
        b, "STRIDED_SLICE", [shape, *ends], (), "StridedSliceOptions", shrinkAxisMask=1
    )
    packed = [batch, _integers(b, size)]
    shape = shape_operator(b, "PACK", packed, (2,), "PackOptions", valuesCount=2)
    y = opened(b, b.value((1, size), x.scale, x.zero_point))
    return b.operator("RESHAPE", [x.index, shape], y, "ReshapeOptions")


def dense(b, x, outputs):
    """As Keras writes Dense of more than two dimensions with an open batch: a matrix product, whose
    shapes the file does not say."""
    opened(b, x)
    *rows, channels = x.shape
    shape = shape_of(b, x)
    parts = []
    for places in (range(len(rows)), [len(rows)]):
        inputs = [shape, _integers(b, [*places])]
        part = shape_operator(b, "GATHER", inputs, (len(places),), "GatherOptions")
        inputs = [part, _integers(b, [0])]
        parts.append((part, shape_operator(b, "REDUCE_PROD", inputs, (), "ReducerOptions")))
    (outer, _), _ = parts
    inputs = [outer, _integers(b, [outputs])]
    after = shape_operator(b, "CONCATENATION", inputs, (len(x.shape),), "ConcatenationOptions")
    inputs = [product for _, product in parts]
    before = shape_operator(b, "PACK", inputs, (2,), "PackOptions", valuesCount=2)
    y = b.value((1, 1), x.scale, x.zero_point)
    b.tensors[y.index].shapeSignature = [-1, -1]
    y = b.operator("RESHAPE", [x.index, before], y, "ReshapeOptions")
    y = opened(b, b.fully_connected(replace(y, shape=(1, channels)), outputs))
    z = b.value((*rows, outputs), y.scale, y.zero_point)
    return b.operator("RESHAPE", [y.index, after], z, "ReshapeOptions")


def series(b, x, outputs, open_batch=True):
    """Conv1D: with EXPAND_DIMS and SQUEEZE around a convolution."""
    y = b.value((1, 1, *x.shape[1:]), x.scale, x.zero_point)
    y = b.operator("EXPAND_DIMS", [x.index, _integers(b, 1)], y, "ExpandDimsOptions")
    y = b.convolution(y, outputs, (1, 3))
    z = b.value((1, *y.shape[2:]), y.scale, y.zero_point)
    return b.operator("SQUEEZE", [y.index], z, "SqueezeOptions", squeezeDims=[1])


def computed(b, x):
    """A shape by arithmetic: [1, 2 * 3, 4 * 5 - 8 + 0] of [1, 2, 3, 12]."""
    arithmetic = (
        ("MUL", [_integers(b, [2, 4]), _integers(b, [3, 5])], "MulOptions"),
        ("SUB", [None, _integers(b, [0, 8])], "SubOptions"),
        ("ADD", [None, _integers(b, 0)], "AddOptions"),
        ("CAST", [None], "CastOptions"),
    )
    shape = None
    for kind, inputs, options in arithmetic:
        inputs = [shape if i is None else i for i in inputs]
        shape = shape_operator(b, kind, inputs, (2,), options)
    one = shape_operator(b, "FILL", [_integers(b, [1]), _integers(b, 1)], (1,), "FillOptions")
    inputs = [one, shape]
    shape = shape_operator(b, "CONCATENATION", inputs, (3,), "ConcatenationOptions")
    y = b.value((1, 6, 12), x.scale, x.zero_point)
    return b.softmax(b.operator("RESHAPE", [x.index, shape], y, "ReshapeOptions"))


def _shapes():
    yield "shapes_flatten", (1, 3, 4, 2), lambda b, x: b.softmax(flattened(b, x)), {"scale": 0.1}
    yield (
        "shapes_flatten_fully_connected",
        (1, 3, 4, 2),
        lambda b, x: b.fully_connected(flattened(b, x), 5),
        {},
    )
    yield "shapes_dense", (1, 3, 4, 6), lambda b, x: b.softmax(dense(b, x, 5)), {}
    yield "shapes_series", (1, 9, 4), lambda b, x: b.softmax(series(b, x, 5)), {}
    yield "shapes_computed", (1, 2, 3, 12), computed, {"scale": 0.1}


# --- SOFTMAX, LOG_SOFTMAX


def spread(b, x, size):
    """[1, size], values from -128 to 127 whatever x, [1, 4], is: such rows have small sums."""
    weights = b.constant(b.rng.integers(-3, 4, (size, 4)).astype(np.int8), [0.01])
    ends = np.linspace(-128, 127, size).astype(np.int32) * 100
    scale = np.float32(x.scale) * np.float32(0.01)
    bias = b.constant(b.rng.permutation(ends).astype(np.int32), [scale])
    y = b.value((1, size), float(scale) * 100, 0)
    return b.operator("FULLY_CONNECTED", [x.index, weights, bias], y, "FullyConnectedOptions")


def log_softmax(b, x):
    y = b.value(x.shape, 1 / 16, 127)
    return b.operator("LOG_SOFTMAX", [x.index], y, "LogSoftmaxOptions")


def _rows():
    for size in (511, 512, 1001, 4095):
        given = {"scale": 0.1}
        yield f"softmax_row_{size}", (1, 4), lambda b, x, n=size: b.softmax(spread(b, x, n)), given
        yield (
            f"log_softmax_row_{size}",
            (1, 4),
            lambda b, x, n=size: log_softmax(b, spread(b, x, n)),
            given,
        )
    for scale, size in itertools.product((1e-5, 0.001, 0.05, 0.1, 0.7, 3, 40), (1, 2, 3, 10, 300)):
        yield f"log_softmax_scale_{scale}_size_{size}", (1, size), log_softmax, {"scale": scale}
    yield "log_softmax_of_any_row", (1, 4095), log_softmax, {"scale": 0.1}
    yield "log_softmax_rows", (1, 3, 4, 11), log_softmax, {"scale": 0.04}


def random_steps(b, v):
    """Functions that add a random step on an image v."""
    rng, (_, height, width, channels) = b.rng, v.shape
    kernel, stride = rng.integers(1, 4, 2).tolist(), rng.integers(1, 3, 2).tolist()
    outputs, padding = int(rng.integers(1, 6)), str(rng.choice(["SAME", "VALID"]))
    block = rng.integers(1, 4, 2).tolist()
    some = {"activation": str(rng.choice(ACTIVATIONS)), "zero_point": int(rng.integers(-128, 128))}
    around = [
        ((k - 1) * n, (k - 1) * n + -(size + 2 * (k - 1) * n) % n)
        for k, n, size in zip(kernel, block, (height, width))
    ]
    steps = [
        lambda: b.convolution(v, channels * outputs, kernel, groups=channels, **some),
        lambda: dilated(b, v, outputs, block, around, ((0, 0), (0, 0)), kernel=kernel, **some),
        lambda: log_softmax(b, v),
    ]
    if height * width * channels < LARGEST:
        steps += [
            lambda: transpose_conv(b, v, outputs, kernel, stride, padding, **some),
            lambda: transpose_conv(b, v, channels, (2, 2), (2, 2), **some),
        ]
    if channels % 2 == 0:
        steps += [lambda: b.convolution(v, 2 * outputs, kernel, groups=2, **some)]
    return steps


def convolutions():
    """Yields (name, shape of the input, function of builder and input, input's quantisation)."""
    for part in (_dilated, _transposed, _products, _grouped, _shapes, _rows):
        yield from part()
