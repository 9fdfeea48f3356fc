"""Operators that are several convolutions, each executed by the kernel of CONV_2D (conv_2d_part).

A CONV_2D in groups is one for each group. A TRANSPOSE_CONV is one for each place of an output pixel
within a stride: of these, all have the same taps, and the pixels of the input that they read are
neighbours. The functions return the fields of a te_conv_2d_part for each, or raise Unfit.
"""

from compiler.selection import Unfit
from tinyengine import packing

PIXELS = 12  # that a call should have at least: it has work of its own


def pack_groups(fields):
    """Of a CONV_2D in several groups."""
    groups, output = fields["groups"], fields["output"]
    if groups == 1:
        raise Unfit("one group of channels")
    inputs, outputs = fields["input"]["channels"] // groups, output["channels"] // groups
    parts = []
    for group in range(groups):
        channels = slice(group * outputs, (group + 1) * outputs)
        size = {"height": output["height"], "width": output["width"]}
        part = _part(fields, channels, fields["weights"][channels], **size)
        parts.append(part | {"first_channel": group * inputs, "first": group * outputs})
    return {"parts": parts}


def pack_transpose_conv(fields):
    """Of a TRANSPOSE_CONV.

    Output pixel o has the taps k with k = o + pad (mod stride), in falling order: the first reads
    input pixel (o + pad - k) / stride, each next one the pixel behind it.
    """
    window, output, parts = fields["window"], fields["output"], []
    pads, strides = ("pad_top", "pad_left"), ("stride_y", "stride_x")
    axes = [
        [*_phases(window[side], window[pad], window[stride], output[side])]
        for side, pad, stride in zip(("height", "width"), pads, strides)
    ]
    (sy, sx), channels = (window[stride] for stride in strides), output["channels"]
    for row, height, taps_y, pad_top in axes[0]:
        for column, width, taps_x, pad_left in axes[1]:
            weights = fields["weights"][:, taps_y][:, :, taps_x]
            if not weights.size:  # no tap reaches these pixels
                weights = fields["weights"][:, :1, :1] * 0
            part = _part(fields, slice(None), weights, height, width, pad_top, pad_left)
            first = (row * output["width"] + column) * channels
            steps = {"row_stride": sy * output["width"] * channels, "pixel_stride": sx * channels}
            parts.append(part | {"first": first} | steps)
    return {"parts": parts}


def _phases(size, pad, stride, n):
    """Yields (first output pixel, how many, its taps, padding in front) in one direction."""
    for first in range(min(stride, n)):
        tap, behind = (first + pad) % stride, (first + pad) // stride
        taps = range(tap, size, stride)
        yield first, len(range(first, n, stride)), [*reversed(taps)], len(taps) - 1 - behind


def _part(fields, channels, weights, height, width, pad_top=None, pad_left=None):
    """A convolution to some of the output's channels. pad_top, pad_left: where steps are 1."""
    to, window = fields["requantise"], fields["window"]
    if pad_top is not None:
        window = dict.fromkeys(("stride_y", "stride_x", "dilation_y", "dilation_x"), 1)
        window |= {"pad_top": pad_top, "pad_left": pad_left}
    by_channel = {name: to[name][channels] for name in ("multipliers", "shifts")}
    at_once = min(height, -(-PIXELS // width))
    packed = packing.pack_product(
        weights,
        fields["bias"][channels],
        fields["input_zero_point"],
        packing.Requantise(**to | by_channel),
        (at_once, width),
        "conv_2d_pairs",
    )
    outputs, rows, columns, inputs = weights.shape
    part = {
        "input": fields["input"] | {"channels": inputs},
        "output": {"height": at_once, "width": width, "channels": outputs},
        "window": window | {"height": rows, "width": columns},
        "input_zero_point": fields["input_zero_point"],
    }
    total = fields["output"]["channels"]
    return {
        "part": part | packed,
        "rows": height,
        "input_channels": fields["input"]["channels"],
        "first_channel": 0,
        "first": 0,
        "row_stride": fields["output"]["width"] * total,
        "pixel_stride": total,
        "used": scratch_of_pairs(part | packed | {"output": part["output"] | {"height": height}}),
    }


def scratch_of_pairs(packed):
    """Of te_conv_2d_pairs and its like: sums of parts, expanded windows, rows put together."""
    output, gathers = packed["output"], _gathers(packed)
    pixels = output["height"] * output["width"]
    row = packed["window"]["width"] * packed["input"]["channels"]
    sums, parts, at_once = 0, packed["parts"], min(pixels, 2 * packed["tiles"] or 1)
    if packed["rounding"] == "TE_PARTS":
        sums, at_once = output["channels"] + 3 & ~3, 1
        parts = 1 if packed["window"]["height"] == 1 and not gathers else parts
    words = sums + at_once * (1 + parts * packed["steps"])
    return 4 * words + gathers * min(at_once, 2) * (row + 3 & ~3)


def _gathers(packed):
    """Whether a window reads padding or has gaps in a row."""
    window, output = packed["window"], packed["output"]
    for side, axis, pad in (("height", "y", "pad_top"), ("width", "x", "pad_left")):
        last = (output[side] - 1) * window[f"stride_{axis}"] - window[pad]
        last += (window[side] - 1) * window[f"dilation_{axis}"]
        if window[pad] > 0 or last >= packed["input"][side]:
            return True
    return window["dilation_x"] > 1


def scratch(packed):
    """What the convolution works in, its channels of the input, and rows of its output."""

    def of(each):
        shape, whole = each["part"]["input"], each["input_channels"]
        pixels = shape["height"] * shape["width"]
        own = pixels * shape["channels"] if shape["channels"] < whole else 0
        return each["used"] + own + _elements(each["part"]["output"])

    return max(map(of, packed["parts"]))


def _elements(shape):
    return shape["height"] * shape["width"] * shape["channels"]
