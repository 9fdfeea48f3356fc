"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED: operators with weights.

SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, too, which only stand around dilated convolutions.
"""

import math

import numpy as np
import tflite

from tinyengine import channels, descriptions, dilation, measures, quantisation, rules
from tinyengine.kind import CLAMP, DILATIONS, PADDING, STRIDES, Kind, copy_row, plain, row
from tinyengine.shapes import height_width_channels, window


def _shapes(operator, tensors):
    """Of the input, and of the weights."""
    return [tensors[i].shape for i in operator.inputs[:2]]


def conv_2d_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    height, width, inputs = height_width_channels(x)
    if len(weights) != 4:
        raise ValueError(f"weights of shape {list(weights)}")
    if inputs % weights[3] or weights[0] % (inputs // weights[3]):
        raise ValueError(
            f"weights from {weights[3]} to {weights[0]} channels, which are no groups of {inputs}"
        )
    _, h, w = window(operator.attributes, *weights[1:3], (height, width))
    return _image(x, h, w, weights[0])


def depthwise_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    height, width, inputs = height_width_channels(x)
    if len(weights) != 4 or weights[0] != 1 or weights[3] % inputs:
        raise ValueError(f"weights of shape {list(weights)} for {inputs} channels")
    _, h, w = window(operator.attributes, *weights[1:3], (height, width))
    return _image(x, h, w, weights[3])


def _image(shape, *sizes):
    """The shape of an output of `sizes`: with as many dimensions as the input's.

    An input of fewer than four is that of a convolution in one dimension (dilation.py).
    """
    return (1, *sizes)[4 - len(shape) :]


def transpose_conv_shape(operator, tensors):
    """The first input says it; a convolution must lead from there to the third one."""
    given, weights, x = (tensors[i] for i in operator.inputs[:3])
    size = height_width_channels(x.shape)
    if len(weights.shape) != 4 or weights.shape[3] != size[2] or len(x.shape) != 4:
        raise ValueError(f"weights of shape {list(weights.shape)}, an input of {list(x.shape)}")
    shape = tuple(int(n) for n in given.data.ravel())
    if len(shape) != 4 or (shape[0], shape[3]) != (1, weights.shape[0]) or min(shape) < 1:
        raise ValueError(f"an output of shape {list(shape)}")
    _, *back = window(operator.attributes, *weights.shape[1:3], shape[1:3])
    if tuple(back) != size[:2]:
        raise ValueError(f"an output of shape {list(shape)} of an input of {list(x.shape)}")
    return shape


def around_a_convolution(operator, tensors):
    """Of what `dilation.fold` has left."""
    raise ValueError(
        "supported is only around one convolution without strides and padding, as converters write "
        "dilated ones"
    )


def fully_connected_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    size = math.prod(x)
    if len(weights) != 2 or size % weights[1]:
        raise ValueError(f"weights of shape {list(weights)} for {size} inputs")
    rows = x[:-1] if operator.attributes["keep_dims"] else (size // weights[1],)
    return (*rows, weights[0])


def _weighted(operator, tensors, axis, outputs, places=(0, 2)):
    """What all operators with weights share: weights, bias, requantise, input_zero_point.

    places: of the input and the bias among the operator's inputs.
    """
    at, bias_at = places
    x, y = tensors[operator.inputs[at]], tensors[operator.outputs[0]]
    weights = tensors[operator.inputs[1]]
    if weights.dtype != "int8" or weights.scales is None:
        raise ValueError(f"weights of type {weights.dtype}; supported are int8 with scales")
    if np.any(weights.zero_points != 0):
        raise ValueError("weights with zero points; supported are symmetric ones")
    if len(weights.scales) not in (1, outputs) or (
        len(weights.scales) > 1 and weights.axis != axis
    ):
        raise ValueError(f"{len(weights.scales)} scales along axis {weights.axis} of the weights")
    bias = np.zeros(outputs, np.int32)
    if len(operator.inputs) > bias_at and operator.inputs[bias_at] >= 0:
        tensor = tensors[operator.inputs[bias_at]]
        if tensor.dtype != "int32" or tensor.size != outputs:
            raise ValueError(f"a bias of {tensor.size} values of type {tensor.dtype}")
        bias = tensor.data.ravel()
    multipliers, shifts = quantisation.convolution_multipliers(
        x.scale, weights.scales, y.scale, outputs
    )
    by_output = np.moveaxis(weights.data, axis, 0)
    bounds = quantisation.accumulator_bounds(by_output, bias, x.zero_point)
    if not quantisation.fits(bounds, shifts):
        raise ValueError("accumulators could leave int32")
    return {
        "input_zero_point": x.zero_point,
        "weights": weights.data,
        "bias": bias,
        "requantise": {
            "multipliers": multipliers,
            "shifts": shifts,
            "zero_point": y.zero_point,
            **descriptions.clamp(operator, y),
        },
    }


def describe_conv_2d(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    outputs, height, width, channels = tensors[operator.inputs[1]].shape
    geometry = descriptions.window(operator, height, width, x)
    return {
        **geometry,
        "output": descriptions.shape_fields(y.shape),
        "groups": geometry["input"]["channels"] // channels,
        **_weighted(operator, tensors, 0, outputs),
    }


def describe_transpose_conv(operator, tensors):
    """Its window goes over the output, as that of a convolution over its input."""
    x, y = tensors[operator.inputs[2]], tensors[operator.outputs[0]]
    outputs, height, width, _ = tensors[operator.inputs[1]].shape
    fields, *_ = window(operator.attributes, height, width, y.shape[1:3])
    return {
        "input": descriptions.shape_fields(x.shape),
        "output": descriptions.shape_fields(y.shape),
        "window": fields,
        **_weighted(operator, tensors, 0, outputs, places=(2, 3)),
    }


def as_depthwise(fields):
    """A CONV_2D with a group for each channel as a DEPTHWISE_CONV_2D."""
    channels = fields["input"]["channels"]
    if fields["groups"] != channels or channels == 1 < fields["output"]["channels"]:
        return None
    weights = np.ascontiguousarray(fields["weights"].transpose(3, 1, 2, 0))
    multiplier = fields["output"]["channels"] // channels
    return "DEPTHWISE_CONV_2D", _with(fields, "groups", weights=weights, multiplier=multiplier)


def as_faster(fields):
    """A DEPTHWISE_CONV_2D from one channel to several as a CONV_2D; of a column as of a row."""
    if fields["input"]["channels"] == 1 < fields["multiplier"]:
        weights = np.ascontiguousarray(fields["weights"].transpose(3, 1, 2, 0))
        return "CONV_2D", _with(fields, "multiplier", weights=weights, groups=1)
    widths = {fields[name]["width"] for name in ("input", "output", "window")}
    if widths == {1} and fields["window"]["pad_left"] == 0:
        return "DEPTHWISE_CONV_2D", descriptions.turned(fields)
    return None


def _with(fields, gone, **others):
    return {name: value for name, value in fields.items() if name != gone} | others


def describe_depthwise(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    _, height, width, outputs = tensors[operator.inputs[1]].shape
    return {
        **descriptions.window(operator, height, width, x),
        "output": descriptions.shape_fields(y.shape),
        "multiplier": outputs // descriptions.shape_fields(x.shape)["channels"],
        **_weighted(operator, tensors, 3, outputs),
    }


def describe_fully_connected(operator, tensors):
    x, _ = descriptions.ends(operator, tensors)
    outputs, inputs = tensors[operator.inputs[1]].shape
    if operator.attributes["weights_format"] != 0:
        raise ValueError("shuffled weights")
    sizes = {"rows": x.size // inputs, "inputs": inputs, "outputs": outputs}
    return sizes | _weighted(operator, tensors, 0, outputs)


def _requantised(fields, sums):
    """Sums [B, ..., channels] of products, without the bias, as an output."""
    accumulators = sums.astype(np.int64) + fields["bias"]
    return rules.clamped(quantisation.requantise(fields["requantise"], accumulators))


def _centred(fields, x):
    """The input with its zero point at 0, float64.

    Products are summed up in float64, for NumPy's matrix product of integers is slow. All are
    integers, and lowering keeps accumulators within int32, far below 2^53: no sum is rounded.
    """
    return x.astype(np.float64) - fields["input_zero_point"]


def conv_2d(fields, x):
    """Padding counts as the zero point."""
    images, sums = _centred(fields, rules.images(fields, x)), []
    for group, weights in zip(
        np.split(images, fields["groups"], axis=3), np.split(fields["weights"], fields["groups"])
    ):
        by_tap = np.moveaxis(weights, 0, -1).astype(np.float64)
        by_tap = by_tap.reshape(-1, *by_tap.shape[2:])  # [taps, in channels, out channels]
        sums.append(sum(tap @ w for tap, w in zip(rules.taps(fields, group), by_tap)))
    return _requantised(fields, np.concatenate(sums, axis=3))


def transpose_conv(fields, x):
    """Each pixel of the input adds to those of the output that its window reaches."""
    window, output = fields["window"], fields["output"]
    images = _centred(fields, rules.images(fields, x))
    (batch, *size, _), stride = images.shape, (window["stride_y"], window["stride_x"])
    front = window["pad_top"], window["pad_left"]
    span = [(n - 1) * s + 1 for n, s in zip(size, stride)]
    reach = [n + window[side] - 1 for n, side in zip(span, ("height", "width"))]
    whole = [output[side] + pad for side, pad in zip(("height", "width"), front)]
    sums = np.zeros((batch, *map(max, reach, whole), output["channels"]))
    for tap in np.ndindex(window["height"], window["width"]):
        weights = fields["weights"][:, tap[0], tap[1]].T.astype(np.float64)
        rows, columns = (slice(at, at + n, s) for at, n, s in zip(tap, span, stride))
        sums[:, rows, columns] += images @ weights
    (top, left), (bottom, right) = front, whole
    return _requantised(fields, sums[:, top:bottom, left:right])


def depthwise_conv_2d(fields, x):
    """Output channel c reads input channel c / multiplier."""
    by_tap = fields["weights"].reshape(-1, fields["output"]["channels"])
    images = np.repeat(_centred(fields, rules.images(fields, x)), fields["multiplier"], axis=3)
    return _requantised(fields, sum(tap * w for tap, w in zip(rules.taps(fields, images), by_tap)))


def fully_connected(fields, x):
    """Rounds twice, as TensorFlow Lite Micro does."""
    rows = _centred(fields, x).reshape(len(x), fields["rows"], fields["inputs"])
    return _requantised(fields, rows @ fields["weights"].T.astype(np.float64))


def fully_connected_sizes(fields):
    return fields["rows"] * fields["inputs"], fields["rows"] * fields["outputs"]


def convolution_bound(fields):
    """Of CONV_2D, TRANSPOSE_CONV, FULLY_CONNECTED: output channels come first."""
    return _weighted_bound(fields, fields["weights"])


def depthwise_bound(fields):
    return _weighted_bound(fields, np.moveaxis(fields["weights"], 3, 0))


def _weighted_bound(fields, by_output):
    zero_point = fields["input_zero_point"]
    return int(quantisation.accumulator_bounds(by_output, fields["bias"], zero_point).max())


def window_macs(fields):
    return fields["output"]["height"] * fields["output"]["width"] * fields["weights"].size


def transpose_conv_macs(fields):
    """What falls outside of the output counts, too."""
    return fields["input"]["height"] * fields["input"]["width"] * fields["weights"].size


def macs_of_transpose_conv(operator, tensors):
    weights, x = (tensors[i] for i in operator.inputs[1:3])
    return x.size // x.shape[-1] * weights.size


def fully_connected_macs(fields):
    return fields["rows"] * fields["weights"].size


def weight_bytes(fields):
    """Bytes of weights and biases, before a kernel packs them."""
    return fields["weights"].nbytes + fields["bias"].nbytes


WEIGHTED = {"inputs": (2, 3), "constants": (1, 2)}
ATTRIBUTES = STRIDES | DILATIONS | PADDING | CLAMP
KINDS = (
    Kind(
        conv_2d_shape,
        describe_conv_2d,
        row(
            "CONV_2D",
            measures.image_sizes,
            conv_2d,
            bound=convolution_bound,
            macs=window_macs,
            weights=weight_bytes,
            colour="#cfe0f3",
        ),
        tflite.Conv2DOptions,
        ATTRIBUTES,
        weights_axis=0,
        pruning=channels.CONV_2D,
        other=as_depthwise,
        **WEIGHTED,
    ),
    Kind(
        depthwise_shape,
        describe_depthwise,
        row(
            "DEPTHWISE_CONV_2D",
            measures.image_sizes,
            depthwise_conv_2d,
            bound=depthwise_bound,
            macs=window_macs,
            weights=weight_bytes,
            colour="#d3ebd0",
        ),
        tflite.DepthwiseConv2DOptions,
        ATTRIBUTES,
        weights_axis=3,
        pruning=channels.DEPTHWISE_CONV_2D,
        other=as_faster,
        **WEIGHTED,
    ),
    Kind(
        transpose_conv_shape,
        describe_transpose_conv,
        row(
            "TRANSPOSE_CONV",
            measures.image_sizes,
            transpose_conv,
            bound=convolution_bound,
            macs=transpose_conv_macs,
            weights=weight_bytes,
            colour="#cfe0f3",
        ),
        tflite.TransposeConvOptions,
        STRIDES | PADDING | CLAMP,
        inputs=(3, 4),
        constants=(0, 1, 3),
        weights_axis=0,
        pruning=channels.TRANSPOSE_CONV,
        macs=macs_of_transpose_conv,
    ),
    *(
        Kind(
            around_a_convolution,
            around_a_convolution,
            copy_row(kind, measures.same_sizes),
            inputs=(3, 3),
            constants=(1, 2),
        )
        for kind in (dilation.FIRST, dilation.LAST)
    ),
    Kind(
        fully_connected_shape,
        describe_fully_connected,
        row(
            "FULLY_CONNECTED",
            fully_connected_sizes,
            fully_connected,
            bound=convolution_bound,
            macs=fully_connected_macs,
            weights=weight_bytes,
            colour="#e2d6ef",
        ),
        tflite.FullyConnectedOptions,
        CLAMP | {"keep_dims": plain("KeepNumDims"), "weights_format": plain("WeightsFormat")},
        weights_axis=0,
        pruning=channels.FULLY_CONNECTED,
        **WEIGHTED,
    ),
)
