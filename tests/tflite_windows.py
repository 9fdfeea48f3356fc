"""Of tflite_models: CONV_2D and DEPTHWISE_CONV_2D with windows of every sort."""

from tflite_builder import ACTIVATIONS


def convolutions():
    """Yields (name, shape of the input, function of builder and input, input's quantisation)."""
    yield from _both(_case(False), False)
    yield from _tiles(_case(False))
    for i in range(3):
        name = f"conv_2d_thresholds_{i}"
        yield name, (1, 1, 1, 1), lambda b, x: b.thresholds(x, "CONV_2D"), {}
    yield from _both(_case(True), True)
    yield from _depthwise(_case(True))


def extremes():
    """Zero points of an input and an output."""
    return [(-128, 127), (127, -128), (-128, -128), (127, 127)]


def _case(depthwise):
    """A function that makes what `convolutions` yields."""

    def case(label, shape, outputs, given=None, **attributes):
        def build(builder, x):
            return builder.convolution(x, outputs, depthwise=depthwise, **attributes)

        return f"{'depthwise_' * depthwise}conv_2d_{label}", shape, build, given or {}

    return case


def _both(case, depthwise):
    shape, outputs = ((1, 9, 7, 5), 5) if depthwise else ((1, 9, 7, 5), 3)
    for padding in ("SAME", "VALID"):
        for kernel in ((1, 1), (2, 2), (3, 3), (5, 4), (1, 6), (7, 1)):
            label = f"{padding.lower()}_{kernel[0]}x{kernel[1]}"
            yield case(label, shape, outputs, kernel=kernel, padding=padding)
        for stride in ((2, 2), (3, 3), (1, 2), (3, 1), (2, 3)):
            for kernel in ((3, 3), (2, 4)):
                label = f"{padding.lower()}_{kernel[0]}x{kernel[1]}_stride_{stride[0]}x{stride[1]}"
                yield case(label, shape, outputs, kernel=kernel, stride=stride, padding=padding)
        for dilation in ((2, 2), (1, 3), (4, 2)):
            label = f"{padding.lower()}_dilation_{dilation[0]}x{dilation[1]}"
            yield case(label, shape, outputs, kernel=(3, 2), dilation=dilation, padding=padding)
        yield case(
            f"{padding.lower()}_stride_and_dilation",
            (1, 11, 10, 5),
            outputs,
            kernel=(2, 3),
            stride=(2, 3),
            dilation=(3, 2),
            padding=padding,
        )
    for stride in ((1, 1), (2, 2)):  # SAME padding of an even size is uneven
        label = f"even_size_stride_{stride[0]}"
        yield case(label, (1, 8, 10, 4), 4, kernel=(3, 3), stride=stride)
    for stride, dilation in ((1, 1), (2, 1), (1, 3)):
        label = f"column_stride_{stride}_dilation_{dilation}"
        column = {"kernel": (5, 1), "stride": (stride, 1), "dilation": (dilation, 1)}
        yield case(label, (1, 19, 1, 6), 6, **column)
    yield case("stride_larger_than_the_kernel", shape, outputs, kernel=(1, 2), stride=(3, 3))
    yield case("kernel_larger_than_the_input", (1, 3, 2, 5), outputs, kernel=(7, 5))
    yield case("one_pixel", (1, 1, 1, 5), outputs, kernel=(3, 3))
    for channels, out in ((1, 1), (1, 8), (3, 9), (8, 8), (17, 17), (16, 32), (6, 24)):
        yield case(f"channels_{channels}_to_{out}", (1, 5, 6, channels), out, kernel=(3, 3))
    if not depthwise:
        for channels, out in ((7, 2), (16, 8), (33, 5), (64, 3)):
            yield case(f"pointwise_{channels}_to_{out}", (1, 4, 5, channels), out)
            yield case(f"3x3_{channels}_to_{out}", (1, 4, 5, channels), out, kernel=(3, 3))
    for activation in ACTIVATIONS:
        for before, after in extremes():
            yield case(
                f"{activation.lower()}_zero_points_{before}_{after}",
                shape,
                outputs,
                {"scale": 0.004, "zero_point": before},
                kernel=(3, 3),
                activation=activation,
                zero_point=after,
            )
        for zero_point in (-100, 3):
            yield case(
                f"{activation.lower()}_zero_point_{zero_point}",
                shape,
                outputs,
                {"scale": 0.002},  # so that the clamps are inside of int8
                kernel=(2, 3),
                activation=activation,
                zero_point=zero_point,
            )
    for factors in ("usual", "large", "vanishing"):
        for per_channel in (True, False):
            for kernel in ((1, 1), (3, 3)):
                scales = "per_channel" if per_channel else "per_tensor"
                yield case(
                    f"{factors}_{scales}_{kernel[0]}x{kernel[1]}",
                    (1, 6, 5, 12),
                    12,
                    kernel=kernel,
                    factors=factors,
                    per_channel=per_channel,
                )


def _tiles(case):
    """Tiles of 4x4 outputs, also a part of one, few of them and many."""
    for size, channels, out in (
        ((8, 8), 16, 16),
        ((9, 10), 20, 7),
        ((16, 12), 20, 7),
        ((15, 14), 5, 6),
        ((8, 8), 40, 4),
    ):
        for padding in ("SAME", "VALID"):
            for activation in ("NONE", "RELU"):
                words = f"{size[0]}x{size[1]}_{channels}_to_{out}"
                label = f"tiles_{padding.lower()}_{activation.lower()}_{words}"
                tiled = {"kernel": (3, 3), "padding": padding, "activation": activation}
                yield case(label, (1, *size, channels), out, **tiled)


def _depthwise(case):
    """What only these kernels have: windows of all heights, small images, multipliers."""
    yield case("no_bias", (1, 9, 7, 5), 5, kernel=(3, 3), bias=False)  # CONV_2D demands one
    for kernel in ((3, 3), (4, 5), (7, 7), (9, 9), (1, 9), (1, 16)):
        for stride, width in ((1, 15), (1, 4), (2, 13)):
            for activation, zero_point in (("RELU", -128), ("NONE", -4)):
                size = f"{kernel[0]}x{kernel[1]}_of_width_{width}"
                label = f"{size}_stride_{stride}_{activation.lower()}"
                attributes = {"stride": (stride, stride), "activation": activation}
                attributes |= {"kernel": kernel, "zero_point": zero_point}
                yield case(label, (1, 7, width, 6), 6, **attributes)
    low = [((3, 3), 1, rows, "SAME") for rows in (3, 4, 5, 6)]
    low += [((5, 3), 1, rows, "SAME") for rows in (3, 4, 5, 6, 7)]
    low += [((7, 3), 1, rows, "SAME") for rows in (4, 5, 6)]
    low += [((5, 2), stride, 9 + 2 * stride, "VALID") for stride in (1, 2)]
    for stride, most in ((1, 6), (2, 5)):  # rows of the output
        for rows in range(3, most + 1):
            for height in (5, 7):
                low += [((height, 3), stride, (rows - 1) * stride + height, "VALID")]
    for kernel, stride, rows, padding in low:
        for activation, zero_point in (("RELU", -128), ("NONE", -4)):
            label = f"{rows}_rows_{kernel[0]}x{kernel[1]}_stride_{stride}_{activation.lower()}"
            attributes = {"stride": (stride, stride), "activation": activation}
            attributes |= {"kernel": kernel, "zero_point": zero_point, "padding": padding}
            channels = 42 if kernel[0] > 3 else 7
            yield case(f"{padding.lower()}_{label}", (1, rows, 7, channels), channels, **attributes)
    for channels, multiplier in ((2, 2), (5, 3)):
        label = f"multiplier_{multiplier}_of_{channels}"
        yield case(label, (1, 6, 9, channels), channels * multiplier, kernel=(3, 3))
