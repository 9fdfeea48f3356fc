"""CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED: operators with weights."""

import math

import numpy as np
import tflite

from tinyengine import channels, descriptions, measures, quantisation, rules
from tinyengine.kind import CLAMP, DILATIONS, PADDING, STRIDES, Kind, plain, row
from tinyengine.shapes import height_width_channels, window


def _shapes(operator, tensors):
    """Of the input, and of the weights."""
    return [tensors[i].shape for i in operator.inputs[:2]]


def conv_2d_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    height, width, inputs = height_width_channels(x)
    if len(weights) != 4:
        raise ValueError(f"weights of shape {list(weights)}")
    if weights[3] != inputs:
        raise ValueError(f"weights for {weights[3]} channels, an input of {inputs} (groups?)")
    _, h, w = window(operator.attributes, *weights[1:3], (height, width))
    return (1, h, w, weights[0])


def depthwise_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    height, width, inputs = height_width_channels(x)
    if len(weights) != 4 or weights[0] != 1 or weights[3] % inputs:
        raise ValueError(f"weights of shape {list(weights)} for {inputs} channels")
    _, h, w = window(operator.attributes, *weights[1:3], (height, width))
    return (1, h, w, weights[3])


def fully_connected_shape(operator, tensors):
    x, weights = _shapes(operator, tensors)
    size = math.prod(x)
    if len(weights) != 2 or size % weights[1]:
        raise ValueError(f"weights of shape {list(weights)} for {size} inputs")
    rows = x[:-1] if operator.attributes["keep_dims"] else (size // weights[1],)
    return (*rows, weights[0])


def _weighted(operator, tensors, axis, outputs):
    """What all operators with weights share: weights, bias, requantise, input_zero_point."""
    x, y = descriptions.ends(operator, tensors)
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
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        tensor = tensors[operator.inputs[2]]
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
    outputs, height, width, _ = tensors[operator.inputs[1]].shape
    return {
        **descriptions.window(operator, height, width, x),
        "output": descriptions.shape_fields(y.shape),
        **_weighted(operator, tensors, 0, outputs),
    }


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
    weights = np.moveaxis(fields["weights"], 0, -1).astype(np.float64)
    by_tap = weights.reshape(-1, *weights.shape[2:])  # [taps, in channels, out channels]
    taps = rules.taps(fields, _centred(fields, rules.images(fields, x)))
    return _requantised(fields, sum(tap @ w for tap, w in zip(taps, by_tap)))


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
    """Of CONV_2D and FULLY_CONNECTED: output channels come first."""
    return _weighted_bound(fields, fields["weights"])


def depthwise_bound(fields):
    return _weighted_bound(fields, np.moveaxis(fields["weights"], 3, 0))


def _weighted_bound(fields, by_output):
    zero_point = fields["input_zero_point"]
    return int(quantisation.accumulator_bounds(by_output, fields["bias"], zero_point).max())


def window_macs(fields):
    return fields["output"]["height"] * fields["output"]["width"] * fields["weights"].size


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
        **WEIGHTED,
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
