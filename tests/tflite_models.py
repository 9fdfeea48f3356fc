"""Small int8 .tflite models, one operator or few, for a grid of attributes; random but seeded.

`cases()` yields them all. Each has one input and one output; where an operator needs more (ADD),
the others are made of the input.
"""

import zlib

import numpy as np
import tflite_convolutions
import tflite_copies
import tflite_states
import tflite_windows
from tflite_builder import ACTIVATIONS, FUSED, PAIR_OPTIONS, Builder
from tflite_windows import extremes


def cases():
    """Yields (name, bytes of the model)."""
    for name, shape, build, given in _all():
        builder = Builder(zlib.crc32(name.encode()))
        x = builder.value(shape, **given)
        yield name, builder.model(x, build(builder, x))


def _all():
    """Yields (name, shape of the input, function of builder and input, input's quantisation)."""
    yield from tflite_windows.convolutions()
    for part in (
        _fully_connected,
        _pools,
        _extremes_of_axes,
        _lookups,
        _additions,
        _pairs,
        _means,
        _copies,
        _rescalings,
        _wide,
        _chains,
    ):
        yield from part()
    yield from tflite_copies.copies()
    yield from tflite_convolutions.convolutions()
    yield from tflite_states.states()


def _fully_connected():
    def case(label, shape, outputs, given=None, **attributes):
        def build(builder, x):
            return builder.fully_connected(x, outputs, **attributes)

        return f"fully_connected_{label}", shape, build, given or {}

    for size, outputs in ((1, 1), (3, 7), (16, 8), (65, 2), (128, 10), (200, 33)):
        yield case(f"{size}_to_{outputs}", (1, size), outputs)
        yield case(f"{size}_to_{outputs}_per_channel", (1, size), outputs, per_channel=True)
    yield case("three_rows", (3, 20), 5)
    yield case("four_dimensions", (1, 2, 3, 12), 5)
    yield case("keep_dims", (1, 2, 3, 12), 5, keep_dims=True)
    yield case("no_bias", (1, 24), 9, bias=False)
    for activation in ACTIVATIONS:
        for before, after in extremes():
            yield case(
                f"{activation.lower()}_zero_points_{before}_{after}",
                (1, 40),
                12,
                {"scale": 0.004, "zero_point": before},
                activation=activation,
                zero_point=after,
            )
    for factors in ("large", "vanishing"):
        for per_channel in (True, False):
            label = f"{factors}_{'per_channel' if per_channel else 'per_tensor'}"
            yield case(label, (1, 30), 20, factors=factors, per_channel=per_channel)
    for i in range(3):
        name = f"fully_connected_thresholds_{i}"
        yield name, (1, 1), lambda b, x: b.thresholds(x, "FULLY_CONNECTED"), {}


def _pools():
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        yield from _pools_of(kind)


def _pools_of(kind):
    def case(label, shape, kernel, given=None, **attributes):
        def build(builder, x):
            return builder.pool(kind, x, kernel, **attributes)

        return f"{kind.lower()}_{label}", shape, build, given or {}

    for padding in ("SAME", "VALID"):
        for kernel in ((1, 1), (2, 2), (3, 3), (4, 3), (2, 5)):
            for stride in ((1, 1), (2, 2), (3, 1), (2, 3)):
                label = f"{padding.lower()}_{kernel[0]}x{kernel[1]}_stride_{stride[0]}x{stride[1]}"
                yield case(label, (1, 8, 7, 5), kernel, stride=stride, padding=padding)
    yield case("global", (1, 6, 5, 13), (6, 5), stride=(6, 5), padding="VALID")
    yield case("many", (1, 16, 17, 6), (16, 17), stride=(16, 17), padding="VALID")  # 272 values
    yield case("window_larger_than_the_input", (1, 3, 2, 5), (5, 4))
    for channels in (1, 3, 4, 8, 11):
        for stride in ((1, 1), (2, 2)):
            label = f"channels_{channels}_stride_{stride[0]}"
            yield case(label, (1, 7, 6, channels), (3, 3), stride=stride)
    for activation in ACTIVATIONS[1:]:
        for zero_point in (-128, -5, 127):
            given = {"zero_point": zero_point, "scale": 0.05}
            label = f"{activation.lower()}_zero_point_{zero_point}"
            yield case(label, (1, 6, 6, 4), (3, 3), given, activation=activation)


def _additions():
    """The other addend is the transposed input, with a scale and a zero point of its own."""

    def case(label, scales, given=None, other_zero_point=None, **attributes):
        def build(builder, x):
            other = builder.transpose(x, (0, 2, 1, 3))
            other = builder.quantize(other, x.scale * scales[0], other_zero_point)
            return builder.add(x, other, x.scale * scales[1], **attributes)

        return f"add_{label}", (1, 9, 9, 7), build, given or {}

    for other in (0.01, 0.3, 0.999, 1, 1.7, 40):
        for output in (0.1, 1, 2.3, 30):
            yield case(f"scales_{other}_{output}", (other, output * max(1, other)))
    for activation in ACTIVATIONS:
        for before, after in extremes():
            yield case(
                f"{activation.lower()}_zero_points_{before}_{after}",
                (0.7, 1.5),
                {"zero_point": before},
                after,
                activation=activation,
                zero_point=before,
            )
    yield (
        "add_to_itself",
        (1, 4, 5, 3),
        lambda builder, x: builder.add(x, x, x.scale * 2),
        {},
    )
    yield "add_one_dimension", (1, 33), lambda b, x: b.add(x, b.quantize(x), x.scale * 1.3), {}


def _pairs():
    """Operators of two operands: the input, and a constant or what is computed of the input."""

    def pair(kind, shape=None, constant=False, first=False, scales=(0.7, 1.5), **attributes):
        """shape: of the other operand, the input itself if there is none. first: whether that is
        the first operand. scales: of the other and of the output."""
        zero_point = attributes.pop("other_zero_point", None)

        def build(builder, x):
            other, scale = x, x.scale * scales[1]
            if constant:
                other = builder.constant_value(shape, x.scale * scales[0], zero_point)
            elif shape is not None:
                other = builder.transpose(x, (0, 2, 1, 3)) if len(x.shape) == 4 else x
                repeated = [i for i, n in enumerate(shape) if n < x.shape[i]]
                other = builder.mean(other, repeated, True) if repeated else other
                other = builder.quantize(other, x.scale * scales[0], zero_point)
            if kind in ("MUL", "PRELU"):
                scale *= other.scale * 64
            if kind == "SQUARED_DIFFERENCE":
                scale *= max(x.scale, other.scale) * 64
            both = (other, x) if first else (x, other)
            return builder.pair(kind, *both, scale, **attributes)

        return build

    image, given = (1, 5, 5, 7), {"zero_point": 20, "scale": 0.05}
    for kind in PAIR_OPTIONS:
        commutes = kind != "PRELU"
        for scales in ((0.01, 0.5), (0.3, 0.2), (0.999, 1), (1, 2.3), (1.7, 3), (40, 20)):
            label = f"with_scales_{scales[0]}_{scales[1]}"
            same = pair(kind, image, scales=scales, zero_point=-20)
            yield f"{kind.lower()}_{label}", image, same, given
        for before, after in extremes():
            label = f"of_zero_points_{before}_{after}"
            same = pair(kind, image, zero_point=0, other_zero_point=after)
            yield f"{kind.lower()}_{label}", image, same, given | {"zero_point": before}
        for activation in ACTIVATIONS[1:] if kind in FUSED else ():
            for zero_point in (-100, 3, 127):  # two of them cut inside of int8
                label = f"then_{activation.lower()}_zero_point_{zero_point}"
                fused = {"activation": activation, "zero_point": zero_point, "scales": (1, 1)}
                yield f"{kind.lower()}_{label}", image, pair(kind, image, **fused), given
        if commutes:
            yield f"{kind.lower()}_of_one_tensor", image, pair(kind), {}
        for label, shape, other in (
            ("same", image, image),
            ("channels", image, (1, 1, 1, 7)),
            ("four_channels", (1, 5, 3, 4), (1, 1, 1, 4)),
            ("pixels", image, (1, 5, 5, 1)),
            ("rows", image, (1, 5, 1, 7)),
            ("one_value", image, (1, 1, 1, 1)),
            ("vector", (33,), (1,)),
        ):
            for first in (False, True) if commutes else (False,):
                of = {"first": first, "zero_point": -20}
                name = f"{label}_{'first' if first else 'second'}"
                if other != image:
                    yield f"{kind.lower()}_{name}", shape, pair(kind, other, **of), given
                of |= {"constant": True}
                yield f"{kind.lower()}_constant_{name}", shape, pair(kind, other, **of), given
        for fewer in ((7,), (5, 1), (5, 1, 1), (5, 7), ()):
            label = f"constant_{'x'.join(map(str, fewer)) or 'scalar'}"
            yield f"{kind.lower()}_{label}", image, pair(kind, fewer, True), given
        many = pair(kind, (1, 40, 40), True, scales=(0.6, 1.2), zero_point=0)
        yield f"{kind.lower()}_constant_many", (1, 40, 40), many, given
        five = pair(kind, (1, 3, 1, 3, 1), True)
        yield f"{kind.lower()}_five_dimensions", (2, 3, 2, 3, 4), five, given
        if commutes:  # an input that is repeated, too
            for shape, other in (((1, 6, 1, 5), (1, 1, 4, 1)), ((4,), (3, 1))):
                name = f"{kind.lower()}_both_repeated_{len(shape)}"
                yield name, shape, pair(kind, other, True), given
            yield (
                f"{kind.lower()}_column_and_row",
                (3, 1),
                lambda b, x, kind=kind: b.pair(kind, x, b.reshape(b.quantize(x), (1, 3)), 0.1),
                {},
            )
    for kind in ("MUL", "PRELU"):
        for power in (-33, -20, -1, 0, 1, 3):
            name, scales = f"{kind.lower()}_factor_2^{power}", (1, 2.0**-power / 64)
            yield name, image, pair(kind, (7,), True, scales=scales), {}
        for i in range(3):
            yield (
                f"{kind.lower()}_thresholds_{i}",
                (1, 32, 32),
                lambda b, x, kind=kind: b.product_thresholds(x, kind),
                {"zero_point": 0},
            )


def _means():
    def case(label, shape, axes, keep_dims=False, scale=None, zero_points=(45, 80)):
        def build(builder, x):
            return builder.mean(x, axes, keep_dims, scale, zero_points[1])

        return f"mean_{label}", shape, build, {"scale": 0.05, "zero_point": zero_points[0]}

    shape = (1, 5, 7, 6)
    for axes in ((1, 2), (2, 1), (-3, -2), (2, -2), (3,), (1,), (2,), (1, 3), (2, 3), (1, 2, 3)):
        for keep_dims in (True, False):
            label = "_".join(str(a).replace("-", "minus") for a in axes)
            yield case(f"{label}{'_keep_dims' if keep_dims else ''}", shape, axes, keep_dims)
    yield case("two_dimensions", (1, 20), (1,), True)
    yield case("three_dimensions", (1, 12, 7), (1,))
    yield case("five_dimensions", (1, 3, 4, 5, 2), (1, 3))
    yield case("many", (1, 40, 40, 2), (1, 2))
    for factor in (1e-12, 3e-9, 0.01, 0.999, 1, 8):
        yield case(f"factor_{factor}", shape, (1, 2), True, 0.05 / factor, (5, -3))
    for zero_points in extremes():
        label = f"zero_points_{zero_points[0]}_{zero_points[1]}"
        yield case(label, shape, (1,), True, 0.06, zero_points)


def _extremes_of_axes():
    for kind in ("REDUCE_MAX", "REDUCE_MIN"):
        for axes in ((1, 2), (1,), (2,), (3,), (1, 3), (-3, -2), (2, 3), (1, 2, 3)):
            for shape in ((1, 5, 7, 6), (1, 4, 3, 3)):
                keep_dims = shape[-1] == 6
                label = "_".join(map(str, (*axes, *shape))).replace("-", "minus")
                yield (
                    f"{kind.lower()}_{label}",
                    shape,
                    lambda b, x, k=kind, a=axes, d=keep_dims: b.extreme(k, x, a, d),
                    {},
                )


def _lookups():
    """Of so many random values that all of int8 are among them."""

    def case(label, kind, given=None, after=(None, None), options=None, **fields):
        def build(builder, x):
            return builder.lookup(kind, x, *after, options, **fields)

        return f"{kind.lower()}_{label}", (1, 16, 16, 3), build, given or {}

    scales = ((0.05, 0.03), (0.11, 0.11), (0.0123, 0.047), (1.7, 0.4))
    for before, after in scales:
        for zero_points in (
            ((-7, 11), (-128, -128)) if before != after else ((-128, 127), (127, -128), (9, 9))
        ):
            label = f"{before}_{after}_{zero_points[0]}_{zero_points[1]}"
            ends = {"scale": before, "zero_point": zero_points[0]}, (after, zero_points[1])
            for kind in ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "TANH", "LOG", "EXP"):
                yield case(label, kind, *ends)
            for kind in ("HARD_SWISH", "ABS", "NEG"):
                yield case(label, kind, *ends)
            for alpha in (0.1, 0.3, 1.7, -0.2):
                yield case(f"{alpha}_{label}", "LEAKY_RELU", *ends, "LeakyReluOptions", alpha=alpha)
            for approximate in (False, True):
                name = f"{'approximate_' * approximate}{label}"
                yield case(name, "GELU", *ends, "GeluOptions", approximate=approximate)
    for scale in (0.002, 0.03, 0.1, 0.6):
        given = {"scale": scale}
        for zero_point in (-128, 5):
            yield case(f"scale_{scale}_{zero_point}", "LOGISTIC", given, (1 / 256, zero_point))
        yield case(f"scale_{scale}", "TANH", given, (1 / 128, 0))
        for kind in ("SQRT", "RSQRT"):
            yield case(f"scale_{scale}", kind, given | {"zero_point": -128}, (0.02, -70))
    for label, scale, zero_point in (("same", 1, 128), ("other", 0.7, 128), ("any", 2.3, 7)):

        def build(b, x, scale=scale, zero_point=zero_point):
            y = b.quantize(x, x.scale * scale, x.zero_point + zero_point, np.uint8)
            y = b.quantize(y, x.scale * 1.1, y.zero_point // 2, np.uint8)
            return b.quantize(y, x.scale, x.zero_point)

        yield f"quantize_uint8_{label}", (1, 16, 16, 3), build, {"zero_point": 5}


def _copies():
    for label, shape, paddings in (
        ("height_width", (1, 4, 5, 3), ((0, 0), (1, 2), (3, 0), (0, 0))),
        ("one_side", (1, 4, 5, 3), ((0, 0), (0, 1), (0, 1), (0, 0))),
        ("channels", (1, 4, 5, 3), ((0, 0), (0, 0), (0, 0), (2, 3))),
        ("all", (1, 4, 5, 3), ((0, 0), (2, 1), (1, 1), (1, 2))),
        ("two_dimensions", (1, 9), ((0, 0), (4, 1))),
        ("three_dimensions", (1, 4, 5), ((0, 0), (1, 0), (2, 2))),
    ):
        yield f"pad_{label}", shape, lambda b, x, p=paddings: b.pad(x, p), {}
    for permutation in ((0, 2, 1, 3), (0, 3, 1, 2), (0, 1, 3, 2), (0, 3, 2, 1), (3, 1, 0, 2)):
        name = "transpose_" + "".join(map(str, permutation))
        yield name, (1, 4, 5, 3), lambda b, x, p=permutation: b.transpose(x, p), {}
    yield "transpose_two_dimensions", (6, 5), lambda b, x: b.transpose(x, (1, 0)), {}
    yield "transpose_three_dimensions", (2, 3, 4), lambda b, x: b.transpose(x, (2, 0, 1)), {}


def _rescalings():
    def quantize(factor, before, after):
        return lambda b, x: b.quantize(x, float(x.scale) / factor, after)

    for factor in (1e-11, 1e-4, 0.3, 0.5, 0.999, 1, 1.5, 2, 77.7, 5000):
        build = quantize(factor, None, None)
        yield f"quantize_factor_{factor}", (1, 6, 6, 8), build, {}
    for before, after in extremes():
        name = f"quantize_zero_points_{before}_{after}"
        yield name, (1, 6, 6, 8), quantize(0.8, before, after), {"zero_point": before}
    for scale in (1e-5, 0.001, 0.05, 0.1, 0.7, 3, 40):
        for size in (1, 2, 3, 10, 300):
            name = f"softmax_scale_{scale}_size_{size}"
            yield name, (1, size), lambda b, x: b.softmax(x), {"scale": scale}
    for beta in (0.25, 1.3, 10):
        name = f"softmax_beta_{beta}"
        yield name, (1, 12), lambda b, x, beta=beta: b.softmax(x, beta), {"scale": 0.06}
    yield "softmax_rows", (1, 3, 4, 11), lambda b, x: b.softmax(x), {"scale": 0.04}


def _wide():
    """Inputs and outputs of 16 bits, outputs of 32."""

    def quantize(dtype, factor, zero_point):
        return lambda b, x: b.quantize(x, float(x.scale) / factor, zero_point, dtype)

    def case(label, dtype, factor, before=0, after=0):
        given = {"scale": 0.0006, "zero_point": before, "dtype": np.int16}
        return f"quantize_int16_{label}", (1, 6, 5), quantize(dtype, factor, after), given

    for dtype, factors in (
        (np.int8, (1e-9, 0.001, 0.0047, 0.3)),
        (np.int16, (0.2, 0.999, 1.5, 40)),
        (np.int32, (0.01, 0.5, 1.5, 1000)),
    ):
        for factor in factors:
            yield case(f"to_{np.dtype(dtype)}_{factor}", dtype, factor)
    yield case("zero_point", np.int8, 0.004, after=-128)
    yield case("from_zero_point", np.int32, 0.5, before=-32768)
    for scale in (0.001, 0.07, 2):
        for size in (1, 2, 11):
            yield (
                f"softmax_int16_scale_{scale}_size_{size}",
                (1, 2, size),
                lambda b, x: b.softmax(x, 1.0, np.int16),
                {"scale": scale},
            )


def _chains():
    """What a compiler can merge."""

    def pad_convolution(depthwise):
        def build(b, x):
            padded = b.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)))
            return b.convolution(
                padded, 6, (3, 3), (2, 2), padding="VALID", depthwise=depthwise, activation="RELU6"
            )

        return build

    def residual(b, x):
        y = b.convolution(x, 8, activation="RELU")
        z = b.convolution(y, 8, (3, 3), depthwise=True, activation="RELU6")
        z = b.convolution(z, 8)
        return b.add(y, z, z.scale * 1.5)

    def classifier(b, x):
        y = b.convolution(x, 9, (3, 3), (2, 2), activation="RELU")
        y = b.average_pool(y, (4, 5), (4, 5), "VALID")
        y = b.fully_connected(b.reshape(y, (1, 9)), 4)
        return b.softmax(b.quantize(y, 0.1))

    def means(b, x):
        y = b.mean(b.transpose(x, (0, 3, 1, 2)), (2,), True)
        return b.fully_connected(b.reshape(b.mean(y, (3,), True), (1, 5)), 3)

    yield "chain_pad_conv_2d", (1, 8, 7, 3), pad_convolution(False), {}
    yield "chain_pad_depthwise_conv_2d", (1, 8, 7, 6), pad_convolution(True), {}
    yield "chain_pad_depthwise_conv_2d_multiplier", (1, 8, 7, 3), pad_convolution(True), {}
    yield "chain_residual", (1, 7, 6, 5), residual, {}
    yield "chain_classifier", (1, 8, 10, 3), classifier, {}
    yield "chain_transpose_mean", (1, 6, 7, 5), means, {}
    yield "chain_reshape", (1, 4, 6), lambda b, x: b.softmax(b.reshape(x, (3, 8))), {"scale": 0.1}
    yield (
        "chain_reshape_transpose",
        (1, 4, 6),
        lambda b, x: b.transpose(b.reshape(x, (3, 8)), (1, 0)),
        {},
    )
