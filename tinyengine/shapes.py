"""Shapes: where windows go, and what every operator must write. All sizes in elements, NHWC.

The shape rules take (attributes, shapes of the inputs, tensors, operator), give the shape of the
output, and raise ValueError for inputs that do not go together.
"""

import math

import numpy as np


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
    the odd element behind, as TensorFlow does.
    """
    stride = attributes["stride_y"], attributes["stride_x"]
    dilation = attributes.get("dilation_y", 1), attributes.get("dilation_x", 1)
    if min(*stride, *dilation, height, width) < 1:
        raise ValueError(f"window {height}x{width}, strides {stride}, dilations {dilation}")
    before, output = [], []
    for n, k, s, d in zip(size, (height, width), stride, dilation):
        reach = (k - 1) * d + 1
        if attributes["padding"] == "SAME":
            out = -(-n // s)
            before.append(max((out - 1) * s + reach - n, 0) // 2)
        else:
            out = (n - reach) // s + 1
            before.append(0)
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


def convolution(attributes, shapes, tensors, operator):
    height, width, channels = height_width_channels(shapes[0])
    if len(shapes[1]) != 4:
        raise ValueError(f"weights of shape {list(shapes[1])}")
    outputs, rows, columns, inputs = shapes[1]
    if inputs != channels:
        raise ValueError(f"weights for {inputs} channels, an input of {channels} (groups?)")
    _, h, w = window(attributes, rows, columns, (height, width))
    return (1, h, w, outputs)


def depthwise(attributes, shapes, tensors, operator):
    height, width, channels = height_width_channels(shapes[0])
    if len(shapes[1]) != 4 or shapes[1][0] != 1 or shapes[1][3] % channels:
        raise ValueError(f"weights of shape {list(shapes[1])} for {channels} channels")
    _, h, w = window(attributes, shapes[1][1], shapes[1][2], (height, width))
    return (1, h, w, shapes[1][3])


def fully_connected(attributes, shapes, tensors, operator):
    size = math.prod(shapes[0])
    if len(shapes[1]) != 2 or size % shapes[1][1]:
        raise ValueError(f"weights of shape {list(shapes[1])} for {size} inputs")
    if attributes["keep_dims"]:
        return (*shapes[0][:-1], shapes[1][0])
    return (size // shapes[1][1], shapes[1][0])


def pool(attributes, shapes, tensors, operator):
    height, width, channels = height_width_channels(shapes[0])
    rows, columns = attributes["window_y"], attributes["window_x"]
    _, h, w = window(attributes, rows, columns, (height, width))
    return (1, h, w, channels)


def add(attributes, shapes, tensors, operator):
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"inputs of shapes {list(shapes[0])} and {list(shapes[1])}; no broadcasting"
        )
    return shapes[0]


def axes(operator, tensors):
    """The dimensions that a MEAN reduces, sorted."""
    rank = len(tensors[operator.inputs[0]].shape)
    found = {int(a) for a in tensors[operator.inputs[1]].data.ravel()}
    if not found or not all(-rank <= a < rank for a in found):
        raise ValueError(f"axes {sorted(found)} of {rank} dimensions")
    return sorted({a % rank for a in found})


def mean(attributes, shapes, tensors, operator):
    reduced = axes(operator, tensors)
    if attributes["keep_dims"]:
        return tuple(1 if i in reduced else n for i, n in enumerate(shapes[0]))
    return tuple(n for i, n in enumerate(shapes[0]) if i not in reduced)


def paddings(operator, tensors):
    """int64 [rank, 2] of a PAD: how much before and after, in each dimension."""
    data = tensors[operator.inputs[1]].data
    rank = len(tensors[operator.inputs[0]].shape)
    if data.shape != (rank, 2) or data.min() < 0 or data.max() > 1 << 16:
        raise ValueError(f"paddings {data.tolist()} for {rank} dimensions")
    return data.astype(np.int64)


def pad(attributes, shapes, tensors, operator):
    return tuple(int(n + p.sum()) for n, p in zip(shapes[0], paddings(operator, tensors)))


def permutation(operator, tensors):
    """Of a TRANSPOSE: dimension i of the output is dimension permutation[i] of the input."""
    found = tuple(int(i) for i in tensors[operator.inputs[1]].data.ravel())
    if sorted(found) != list(range(len(tensors[operator.inputs[0]].shape))):
        raise ValueError(f"permutation {list(found)}")
    return found


def transpose(attributes, shapes, tensors, operator):
    return tuple(shapes[0][i] for i in permutation(operator, tensors))


def reshape(attributes, shapes, tensors, operator):
    shape = tensors[operator.outputs[0]].shape
    if math.prod(shape) != math.prod(shapes[0]):
        raise ValueError(f"{list(shapes[0])} to {list(shape)}")
    return shape


def same(attributes, shapes, tensors, operator):
    return shapes[0]
