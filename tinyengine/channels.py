"""What steps do to single channels: the intervals of their values, and steps on fewer channels.

An interval is int64 [channels, 2], the lowest and highest value of each channel. kept: {tensor:
indices of its channels that are computed}, of tensors that lose some; ranges: {tensor: interval}.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinyengine import quantisation


@dataclass(frozen=True)
class Pruning:
    """How the channels of a step can be pruned.

    reads: fields -> how many channels the input must have for the step's channels to be its own;
    after a RESHAPE it has others. rebuild: (step, kept, ranges) -> fields of the step on the
    channels that are kept. interval: (fields, interval of the input) -> interval of the output;
    None where its channels are not followed, and all kept. one_by_one: output channel i needs input
    channel i only. padded: fields -> whether what a channel adds to a sum depends on the place.
    """

    reads: Callable
    rebuild: Callable
    interval: Callable | None = None
    one_by_one: bool = False
    padded: Callable = lambda fields: False

    def fits(self, step, interval):
        """Whether the step's channels are those of its input, which has this interval."""
        return self.reads(step.fields) == len(interval)


def padded(fields):
    """Whether windows reach over the edge of the input."""
    window, size, out = (fields[name] for name in ("window", "input", "output"))
    for axis, side, pad in (("y", "height", "pad_top"), ("x", "width", "pad_left")):
        reach = (window[side] - 1) * window[f"dilation_{axis}"] + 1
        last = (out[side] - 1) * window[f"stride_{axis}"] - window[pad] + reach
        if window[pad] > 0 or last > size[side]:
            return True
    return False


def _sums(fields, weights, interval, over_edge=False):
    """The intervals of accumulators: weights int64 [outputs, taps, inputs]."""
    centred = interval - fields["input_zero_point"]
    if over_edge:
        centred = np.stack([np.minimum(centred[:, 0], 0), np.maximum(centred[:, 1], 0)], 1)
    ends = weights[..., None] * centred  # [outputs, taps, inputs, 2]
    lowest, highest = ends.min(3).sum((1, 2)), ends.max(3).sum((1, 2))
    return np.stack([lowest, highest], 1) + fields["bias"].astype(np.int64)[:, None]


def _requantised(fields, sums):
    """Intervals of outputs from those of accumulators."""
    return quantisation.requantise(fields["requantise"], sums.T).T


def interval_conv_2d(fields, interval):
    return _interval(fields, interval, padded(fields))


def interval_transpose_conv(fields, interval):
    """Not all taps reach all pixels, as at the edge of a convolution."""
    return _interval(fields, interval, True)


def _interval(fields, interval, over_edge):
    weights = fields["weights"].astype(np.int64)
    weights = weights.reshape(len(weights), -1, weights.shape[-1])
    return _requantised(fields, _sums(fields, weights, interval, over_edge))


def interval_depthwise_conv_2d(fields, interval):
    weights = fields["weights"].astype(np.int64)[0]
    weights = weights.reshape(-1, weights.shape[-1]).T[:, :, None]  # [outputs, taps, 1]
    over_edge = padded(fields)
    sums = [
        _sums(fields | {"bias": fields["bias"][c : c + 1]}, weights[c : c + 1], i, over_edge)
        for c, i in enumerate(interval[:, None])
    ]
    return _requantised(fields, np.concatenate(sums))


def interval_pool_2d(fields, interval):
    return np.clip(interval, fields["lowest"], fields["highest"])


def interval_lookup(fields, interval):
    results = fields["bytes"].view(fields["to"])
    every = (results[np.arange(lowest, highest + 1) & 255] for lowest, highest in interval)
    return np.array([(some.min(), some.max()) for some in every], np.int64)


def of_tensor(tensor, kept, ranges):
    """Indices of the channels of a tensor that are computed."""
    return kept.get(tensor, np.arange(len(ranges[tensor])))


def _outputs(fields, channels):
    """Bias and requantisation of some output channels."""
    to = fields["requantise"]
    arrays = {name: to[name][channels] for name in ("multipliers", "shifts")}
    return {"bias": fields["bias"][channels], "requantise": to | arrays}


def _sizes(fields, inputs, outputs):
    return {
        name: fields[name] | {"channels": len(channels)}
        for name, channels in (("input", inputs), ("output", outputs))
    }


def _folded(step, inputs, ranges):
    """int32 [outputs]: the bias with what constant channels add that are not in `inputs`."""
    fields, interval = step.fields, ranges[step.inputs[0]]
    gone = np.setdiff1d(np.arange(len(interval)), inputs)
    values = interval[gone, 0] - fields["input_zero_point"]
    weights = fields["weights"][..., gone].astype(np.int64) * values
    return (fields["bias"] + weights.reshape(len(weights), -1).sum(1)).astype(np.int32)


def rebuild_conv_2d(step, kept, ranges):
    fields = step.fields
    ends = step.inputs[0], step.outputs[0]
    inputs, outputs = (of_tensor(i, kept, ranges) for i in ends)
    rebuilt = fields | {"bias": _folded(step, inputs, ranges)}
    weights = np.ascontiguousarray(fields["weights"][outputs][..., inputs])
    sizes = _sizes(fields, inputs, outputs)
    return rebuilt | _outputs(rebuilt, outputs) | {"weights": weights} | sizes


def rebuild_fully_connected(step, kept, ranges):
    inputs = of_tensor(step.inputs[0], kept, ranges)
    return step.fields | {
        "weights": np.ascontiguousarray(step.fields["weights"][:, inputs]),
        "bias": _folded(step, inputs, ranges),
        "inputs": len(inputs),
    }


def rebuild_depthwise_conv_2d(step, kept, ranges):
    fields, channels = step.fields, of_tensor(step.outputs[0], kept, ranges)
    weights = np.ascontiguousarray(fields["weights"][..., channels])
    sizes = _sizes(fields, channels, channels)
    return fields | _outputs(fields, channels) | {"weights": weights} | sizes


def rebuild_pool_2d(step, kept, ranges):
    channels = of_tensor(step.outputs[0], kept, ranges)
    return step.fields | _sizes(step.fields, channels, channels)


def rebuild_lookup(step, kept, ranges):
    fields, channels = step.fields, len(of_tensor(step.outputs[0], kept, ranges))
    return fields | {"size": fields["size"] // fields["channels"] * channels, "channels": channels}


def input_channels(fields):
    return fields["input"]["channels"]


CONV_2D = Pruning(
    lambda fields: input_channels(fields) if fields["groups"] == 1 else -1,
    rebuild_conv_2d,
    interval_conv_2d,
    padded=padded,
)
TRANSPOSE_CONV = Pruning(
    input_channels, rebuild_conv_2d, interval_transpose_conv, padded=lambda fields: True
)
DEPTHWISE_CONV_2D = Pruning(
    lambda fields: input_channels(fields) if fields["multiplier"] == 1 else -1,
    rebuild_depthwise_conv_2d,
    interval_depthwise_conv_2d,
    one_by_one=True,
)
POOL_2D = Pruning(input_channels, rebuild_pool_2d, interval_pool_2d, one_by_one=True)
LOOKUP = Pruning(
    lambda fields: fields["channels"], rebuild_lookup, interval_lookup, one_by_one=True
)
FULLY_CONNECTED = Pruning(
    lambda fields: fields["inputs"] if fields["rows"] == 1 else -1, rebuild_fully_connected
)
