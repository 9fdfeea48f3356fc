"""Channels that are the same for every input, or that nobody reads, are not computed.

Forward, the interval of values that each channel can take follows from weights and biases; after a
ReLU it is often a single value. Backward, a channel is kept only if some operator needs it: a
convolution folds a constant channel into its biases. All that is left stays exact.
"""

from dataclasses import replace

import numpy as np

from tinyengine import quantisation


def prune(graph):
    """The lowered `Graph` without such channels. Its tensors' `channels` say which are left."""
    ranges = intervals(graph)
    kept = _kept(graph, ranges)
    tensors = list(graph.tensors)
    for i, channels in kept.items():
        if len(channels) < tensors[i].shape[-1]:
            shape = (*tensors[i].shape[:-1], len(channels))
            tensors[i] = replace(tensors[i], shape=shape, channels=channels)
    operators = [
        replace(o, attributes=REBUILD[o.kind](o, kept, ranges))
        if o.kind in REBUILD and _fits(o, ranges[o.inputs[0]])
        else o
        for o in graph.operators
    ]
    return replace(graph, tensors=tensors, operators=operators)


# --- forward


def intervals(graph):
    """{tensor: int64 [channels, 2], the lowest and highest value of each channel}."""
    anything = [quantisation.LOWEST, quantisation.HIGHEST]
    found = {}
    for i in graph.inputs:
        found[i] = np.tile(anything, (graph.tensors[i].last_dimension, 1))
    for operator in graph.operators:
        output = operator.outputs[0]
        source = operator.inputs[0]
        if operator.kind in INTERVALS and _fits(operator, found[source]):
            found[output] = INTERVALS[operator.kind](operator.attributes, found[source])
        else:
            found[output] = np.tile(anything, (graph.tensors[output].last_dimension, 1))
    return found


def _fits(operator, interval):
    """Whether the operator's channels are those of its input; after a RESHAPE they need not be."""
    attributes = operator.attributes
    if operator.kind == "FULLY_CONNECTED":
        return attributes["inputs"] == len(interval) and attributes["rows"] == 1
    if operator.kind == "DEPTHWISE_CONV_2D" and attributes["multiplier"] > 1:
        return False
    return attributes["input"]["channels"] == len(interval)


def _padded(attributes):
    """Whether windows reach over the edge of the input."""
    window, size, out = (attributes[name] for name in ("window", "input", "output"))
    for axis, side, pad in (("y", "height", "pad_top"), ("x", "width", "pad_left")):
        reach = (window[side] - 1) * window[f"dilation_{axis}"] + 1
        last = (out[side] - 1) * window[f"stride_{axis}"] - window[pad] + reach
        if window[pad] > 0 or last > size[side]:
            return True
    return False


def _sums(attributes, weights, interval, padded):
    """The intervals of accumulators: weights int64 [outputs, taps, inputs]."""
    centred = interval - attributes["input_zero_point"]
    if padded:
        centred = np.stack([np.minimum(centred[:, 0], 0), np.maximum(centred[:, 1], 0)], 1)
    ends = weights[..., None] * centred  # [outputs, taps, inputs, 2]
    lowest, highest = ends.min(3).sum((1, 2)), ends.max(3).sum((1, 2))
    return np.stack([lowest, highest], 1) + attributes["bias"].astype(np.int64)[:, None]


def _requantised(attributes, sums):
    to = attributes["requantise"]
    values = quantisation.scaled(sums, to["multipliers"][:, None], to["shifts"][:, None])
    return np.clip(values + to["zero_point"], to["lowest"], to["highest"])


def _conv_2d(attributes, interval):
    weights = attributes["weights"].astype(np.int64)
    weights = weights.reshape(len(weights), -1, weights.shape[-1])
    return _requantised(attributes, _sums(attributes, weights, interval, _padded(attributes)))


def _depthwise_conv_2d(attributes, interval):
    weights = attributes["weights"].astype(np.int64)[0]
    weights = weights.reshape(-1, weights.shape[-1]).T[:, :, None]  # [outputs, taps, 1]
    padded = _padded(attributes)
    sums = [
        _sums(attributes | {"bias": attributes["bias"][c : c + 1]}, weights[c : c + 1], i, padded)
        for c, i in enumerate(interval[:, None])
    ]
    return _requantised(attributes, np.concatenate(sums))


def _average_pool_2d(attributes, interval):
    return np.clip(interval, attributes["lowest"], attributes["highest"])


INTERVALS = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise_conv_2d,
    "AVERAGE_POOL_2D": _average_pool_2d,
}


# --- backward: the channels of each tensor that are kept


def _kept(graph, ranges):
    """{tensor: indices of its channels that are computed}, of tensors that can lose channels."""
    kept = {}
    for operator in reversed(graph.operators):
        output = operator.outputs[0]
        losing = operator.kind in INTERVALS and _fits(operator, ranges[operator.inputs[0]])
        if not losing or output in graph.outputs:
            continue
        needed = np.zeros(len(ranges[output]), bool)
        for reader in graph.consumers(output):
            needed |= _needed(reader, output, kept, ranges)
        if not needed.any():
            needed[0] = True
        kept[output] = np.flatnonzero(needed)
    for operator in graph.operators:  # one by one: all channels of the input, or none, are there
        if operator.kind in ONE_BY_ONE and operator.outputs[0] in kept:
            kept[operator.outputs[0]] = _channels(operator.inputs[0], kept, ranges)
    return kept


ONE_BY_ONE = ("DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D")


def _needed(reader, tensor, kept, ranges):
    """bool [channels]: what an operator needs of a tensor that it reads."""
    interval = ranges[tensor]
    needed = np.ones(len(interval), bool)
    if reader.kind not in REBUILD or not _fits(reader, interval):
        return needed
    if reader.kind in ONE_BY_ONE:
        needed[:] = False
        needed[_channels(reader.outputs[0], kept, ranges)] = True
        return needed
    return ~_foldable(reader, interval)


def _foldable(operator, interval):
    """Which input channels are constants that the operator's biases can take."""
    constant = interval[:, 0] == interval[:, 1]
    if operator.kind == "CONV_2D" and _padded(operator.attributes):
        # Padding counts as the zero point, so what a channel adds depends on the place.
        constant &= interval[:, 0] == operator.attributes["input_zero_point"]
    return constant


# --- operators on the channels that are kept


def _channels(tensor, kept, ranges):
    return kept.get(tensor, np.arange(len(ranges[tensor])))


def _outputs(attributes, channels):
    """Bias and requantisation of some output channels."""
    to = attributes["requantise"]
    arrays = {name: to[name][channels] for name in ("multipliers", "shifts")}
    return {"bias": attributes["bias"][channels], "requantise": to | arrays}


def _sizes(attributes, inputs, outputs):
    return {
        name: attributes[name] | {"channels": len(channels)}
        for name, channels in (("input", inputs), ("output", outputs))
    }


def _folded(operator, inputs, ranges):
    """int32 [outputs]: the bias with what constant channels add that are not in `inputs`."""
    attributes, interval = operator.attributes, ranges[operator.inputs[0]]
    gone = np.setdiff1d(np.arange(len(interval)), inputs)
    values = interval[gone, 0] - attributes["input_zero_point"]
    weights = attributes["weights"][..., gone].astype(np.int64) * values
    return (attributes["bias"] + weights.reshape(len(weights), -1).sum(1)).astype(np.int32)


def _rebuild_conv_2d(operator, kept, ranges):
    attributes = operator.attributes
    ends = operator.inputs[0], operator.outputs[0]
    inputs, outputs = (_channels(i, kept, ranges) for i in ends)
    rebuilt = attributes | {"bias": _folded(operator, inputs, ranges)}
    weights = np.ascontiguousarray(attributes["weights"][outputs][..., inputs])
    sizes = _sizes(attributes, inputs, outputs)
    return rebuilt | _outputs(rebuilt, outputs) | {"weights": weights} | sizes


def _rebuild_fully_connected(operator, kept, ranges):
    inputs = _channels(operator.inputs[0], kept, ranges)
    return operator.attributes | {
        "weights": np.ascontiguousarray(operator.attributes["weights"][:, inputs]),
        "bias": _folded(operator, inputs, ranges),
        "inputs": len(inputs),
    }


def _rebuild_depthwise_conv_2d(operator, kept, ranges):
    attributes, channels = operator.attributes, _channels(operator.outputs[0], kept, ranges)
    weights = np.ascontiguousarray(attributes["weights"][..., channels])
    sizes = _sizes(attributes, channels, channels)
    return attributes | _outputs(attributes, channels) | {"weights": weights} | sizes


def _rebuild_average_pool_2d(operator, kept, ranges):
    channels = _channels(operator.outputs[0], kept, ranges)
    return operator.attributes | _sizes(operator.attributes, channels, channels)


REBUILD = {
    "CONV_2D": _rebuild_conv_2d,
    "FULLY_CONNECTED": _rebuild_fully_connected,
    "DEPTHWISE_CONV_2D": _rebuild_depthwise_conv_2d,
    "AVERAGE_POOL_2D": _rebuild_average_pool_2d,
}
