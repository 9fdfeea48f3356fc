"""Shapes: images, and where windows go over them. All sizes in elements, NHWC.

What does not go together raises ValueError.
"""


def height_width_channels(shape):
    """(height, width, channels) of an activation of up to four dimensions and batch 1."""
    if len(shape) > 4 or (len(shape) == 4 and shape[0] != 1):
        raise ValueError(
            f"shape {list(shape)}; supported is one image, [1, height, width, channels]"
        )
    padded = (1,) * (4 - len(shape)) + tuple(shape)
    return padded[1:]


def window(attributes, height, width, size):
    """({field of te_window: value}, output height, output width).

    attributes: of the operator; height, width: of the window; size: of the input. SAME padding puts
    the odd element behind, as TensorFlow does. padding can also be ((above, below), (left, right)).
    """
    stride = attributes["stride_y"], attributes["stride_x"]
    dilation = attributes.get("dilation_y", 1), attributes.get("dilation_x", 1)
    if min(*stride, *dilation, height, width) < 1:
        raise ValueError(f"window {height}x{width}, strides {stride}, dilations {dilation}")
    given = attributes["padding"]
    pairs = {"SAME": (None, None), "VALID": ((0, 0), (0, 0))}.get(given, given)
    before, output = [], []
    for n, k, s, d, padding in zip(size, (height, width), stride, dilation, pairs):
        reach = (k - 1) * d + 1
        if padding is None:
            out = -(-n // s)
            before.append(max((out - 1) * s + reach - n, 0) // 2)
        else:
            out = (n + sum(padding) - reach) // s + 1
            before.append(padding[0])
        if out < 1:
            raise ValueError(f"a window that reaches {reach} does not fit into {n}")
        output.append(out)
    fields = {
        "height": height,
        "width": width,
        "stride_y": stride[0],
        "stride_x": stride[1],
        "dilation_y": dilation[0],
        "dilation_x": dilation[1],
        "pad_top": before[0],
        "pad_left": before[1],
    }
    return fields, *output


def same(operator, tensors):
    """The shape of the first input, as a shape rule."""
    return tensors[operator.inputs[0]].shape
