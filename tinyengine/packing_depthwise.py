"""Weights of DEPTHWISE_CONV_2D as its fast kernels read them, and the proofs that they are exact.

The functions return what the C description holds besides shapes, or raise Unfit with a reason.
"""

import numpy as np

from compiler.csource import constants
from compiler.selection import Unfit
from tinyengine import packing
from tinyengine.descriptions import turned

SHIFT = constants("tinyengine/kernels/depthwise_shift.h")["TE_DEPTHWISE_SHIFT"]
SIDES = ("height", "width")
LOW = range(3, 7)  # rows of an image whose columns are computed at once
ONCE = -1  # in place of a shift: a channel that is rounded once


def channel_requantisation(channel, requantise, bound, constant):
    """Factor of weights and bias, then multiplier, addend, right shift of a channel.

    Where the activation cuts at the zero point, how ties of negative values round does not show:
    then sums are multiplied so that the result has SHIFT fraction bits, and are rounded once, by
    halves of both roundings in the addend. Else as in packing.requantisation, TE_SIGNED. bound: of
    the magnitude of sums.
    """
    if channel in constant:
        return 0, 0, constant[channel] << SHIFT, ONCE
    zero_point, multiplier = requantise.zero_point, int(requantise.multipliers[channel])
    right = -int(requantise.shifts[channel])
    relu, left = zero_point <= requantise.lowest, SHIFT - right
    if relu and 1 <= left <= 7 and int(bound) << left + 1 < 2**31:
        addend = (zero_point << SHIFT) + (1 << (SHIFT - 1)) + (1 << (left - 1))
        return 2 << left, multiplier, addend, ONCE
    if not (0 if relu else 1) <= right <= 22:
        raise Unfit("a multiplier outside 2^-23 .. 2^-1")
    if bound >= 2**30:
        raise Unfit("sums of 2^30 and more")
    return 2, multiplier, (zero_point << right) + (1 << right >> 1), right


def trimmed(fields):
    """Fields of a step without the rows and columns of its window that only lie on padding, as of
    7x7 on an image of 3x3."""
    window, weights = fields["window"], fields["weights"]
    changed = {}
    for axis, side, pad, stride, dilation in (
        (1, "height", "pad_top", "stride_y", "dilation_y"),
        (2, "width", "pad_left", "stride_x", "dilation_x"),
    ):
        last = (fields["output"][side] - 1) * window[stride]  # where the last window starts
        places = np.arange(window[side]) * window[dilation] - window[pad]
        used = np.flatnonzero((places + last >= 0) & (places < fields["input"][side]))
        first, end = (used[0], used[-1] + 1) if len(used) else (0, 1)
        weights = np.take(weights, range(first, end), axis)
        changed |= {side: int(end - first), pad: int(-places[first])}
    return fields | {"window": window | changed, "weights": weights}


def channel_records(weights, bias, input_zero_point, requantise):
    """Yields of each channel its weights int64 [height, width], then what sums start with and the
    words of its requantisation. weights: int8 [height, width, channels]."""
    height, width, channels = weights.shape
    weights = weights.transpose(2, 0, 1).reshape(channels, -1).astype(np.int64)
    _, least, greatest = packing.accumulator_ranges(weights, bias, input_zero_point)
    start = bias.astype(np.int64)
    constant = packing.freeze_constant_channels(weights, start, least, greatest, requantise)
    for channel in range(channels):
        bound = max(greatest[channel], -least[channel])
        factor, *others = channel_requantisation(channel, requantise, bound, constant)
        scaled = factor * weights[channel].reshape(height, width)
        yield scaled, factor * int(start[channel]), *others


def exchange(fields):
    """A step's fields with height and width exchanged, if its rows are shorter than its columns: a
    strip of two rows has work of its own. Only of equal sizes, so that in place each pixel still
    has the place of the one in the middle of its window."""
    sizes = [tuple(fields[name][side] for side in SIDES) for name in ("input", "output")]
    (height, width), output = sizes
    if output != (height, width) or width >= height:
        return fields | {"exchanged": 0}
    return turned(fields) | {"exchanged": 1}


def pack_depthwise_conv_2d_taps(weights, bias, input_zero_point, requantise):
    """For te_depthwise_conv_2d_taps. weights: int8 [height, width, channels]."""
    by_channel = weights.reshape(-1, len(bias)).T.astype(np.int64)
    _, least, greatest = packing.accumulator_ranges(by_channel, bias, input_zero_point)
    bias = bias.astype(np.int64)
    constant = packing.freeze_constant_channels(by_channel, bias, least, greatest, requantise)
    if max(greatest.max(), -least.min()) >= 2**30:
        raise Unfit("sums of 2^30 and more")
    packing.cuts_at_zero(requantise, constant)  # for its proof that shifts are in range
    record = []
    for channel, start in enumerate(bias):
        others = packing.requantisation(channel, requantise, constant)
        record += [2 * int(start), *others]
    weights = by_channel.T.reshape(weights.shape).astype(np.int8)
    return {"weights": weights, **packing.last_fields(record, requantise)}


def records_of_3x3(weights, bias, input_zero_point, requantise, stride):
    """Words of all channels of a window of 3x3."""
    record = []
    for weights_of, *others in channel_records(weights, bias, input_zero_point, requantise):
        first, second, third = weights_of
        if stride == 1:
            pairs = np.stack([packing.halves(first, second), packing.halves(second, third)], 1)
        else:
            last = packing.halves(third[0], third[1]), packing.halves(third[2], 0)
            pairs = np.array([*packing.halves(first, second), *last])
        record += [*pairs.ravel(), *others]
    return record


def pack_depthwise_conv_2d_low(
    weights, bias, input_zero_point, requantise, window, input_shape, output_shape
):
    """For te_depthwise_conv_2d_low, of at least four channels, an output each. Arguments as of
    pack_depthwise_conv_2d_planes."""
    if weights.shape[:2] != (3, 3) or window != [1] * 6:
        raise Unfit
    if input_shape != output_shape or input_shape[0] not in LOW:
        raise Unfit
    record = records_of_3x3(weights, bias, input_zero_point, requantise, 1)
    return packing.last_fields(record, requantise)


def scratch_of_low(packed):
    """All rows of four channels in pairs, with a column of zeros on either side."""
    shape = packed["shape"]
    return 16 * ((shape["height"] + 1) // 2) * (shape["width"] + 2)


def pack_depthwise_conv_2d_3x3(
    weights, bias, input_zero_point, requantise, window, input_shape, output_shape
):
    """For te_depthwise_conv_2d_3x3: stride 1 or 2 in both directions, no dilation. Arguments as of
    pack_depthwise_conv_2d_planes."""
    height, width, _ = weights.shape
    stride, *dilation, pad_top, pad_left = window[1:]
    if (height, width, *dilation) != (3, 3, 1, 1) or window[0] != stride or stride > 2:
        raise Unfit
    if max(pad_top, pad_left) > 2:
        raise Unfit("a window on padding only")
    record = records_of_3x3(weights, bias, input_zero_point, requantise, stride)
    columns = 4 * (stride + 1) * (stride * (output_shape[1] - 1) + 3)
    return {
        "plane_words": columns + stride * -(-output_shape[0] // 2),
        **packing.last_fields(record, requantise),
    }


def pack_depthwise_conv_2d_columns(
    weights, bias, input_zero_point, requantise, window, input_shape, output_shape
):
    """For te_depthwise_conv_2d_columns, of at least four channels, an output each. Arguments as of
    pack_depthwise_conv_2d_planes. Returns the window's height, too, 5 or 7."""
    height, width, channels = weights.shape
    stride_y, stride_x, *dilation, _, pad_left = window
    if dilation != [1, 1] or stride_y > 2 or output_shape[0] < 3 or not 4 <= height <= 7:
        raise Unfit
    last = (output_shape[1] - 1) * stride_x - pad_left
    if pad_left >= width or last >= input_shape[1]:
        raise Unfit("a window on padding only")
    whole = height + 1 - height % 2  # rows
    outputs = output_shape[0] if stride_y == 2 else -(-output_shape[0] // 2)
    pairs = outputs + whole // 2
    # all rows are kept, where that is little beside the image itself
    if height < input_shape[0] and 3 * 16 * pairs > channels * input_shape[0]:
        raise Unfit
    record = []
    for weights_of, start, *others in channel_records(weights, bias, input_zero_point, requantise):
        rows = np.zeros((whole + 1, width), np.int64)
        rows[:height] = weights_of
        words = packing.halves(rows[:-1], rows[1:])
        if stride_y == 1:
            order = [0, *(k + i for k in range(1, whole - 2, 2) for i in (1, 0)), whole - 2]
        else:
            order = range(0, whole, 2)
        record += [start, *others, *words[list(order)].T.ravel()]
    return {"height": whole, "pairs": pairs, **packing.last_fields(record, requantise)}


def scratch_of_columns(packed):
    """All rows of four channels in pairs, a list of these, and what each pixel of a row reads."""
    columns = packed["input"]["width"]
    return 16 * packed["pairs"] * (columns + 1) + 12 * packed["output"]["width"]


def pack_depthwise_conv_2d_planes(
    weights, bias, input_zero_point, requantise, window, input_shape, output_shape
):
    """For te_depthwise_conv_2d_planes. weights: int8 [height, width, channels].

    window: stride_y, stride_x, dilation_y, dilation_x, pad_top, pad_left.
    """
    height, width, _ = weights.shape
    stride, *dilation, _, pad_left = window[1:]
    if stride not in (1, 2) or dilation != [1, 1]:
        raise Unfit("only stride 1 and 2, no dilation")
    words = (width + (3 - stride)) // 2  # outputs at odd columns start a place later
    # a run has work of its own, as much as that of half a word
    run_words = min((2, 3, 4), key=lambda n: -(-words // n) * (n + 0.5))
    row_runs = -(-words // run_words)
    record = []
    for weights_of, start, *others in channel_records(weights, bias, input_zero_point, requantise):
        padded = np.zeros((height, 3 - stride, 2 * run_words * row_runs), np.int64)
        for odd in range(3 - stride):
            padded[:, odd, odd : odd + width] = weights_of
        pairs = packing.halves(padded[..., 0::2], padded[..., 1::2]).transpose(0, 2, 1)
        record += [start, *others, *pairs.ravel()]
    # five or six outputs at a time read this far
    blocks = -(-output_shape[1] // (6 if stride == 1 else 5))
    read = blocks * (3 if stride == 1 else 5) + run_words * row_runs + 4
    plane_words = max(read, (pad_left + input_shape[1] + 2) // 2)
    # all rows, where that is little beside the image itself
    kept = 16 * input_shape[0] * plane_words
    all_rows = height >= input_shape[0] or 3 * kept <= len(bias) * np.prod(input_shape)
    return {
        "kept_rows": input_shape[0] if all_rows else height,
        "plane_words": plane_words,
        "run_words": run_words,
        "row_runs": row_runs,
        **packing.last_fields(record, requantise),
    }
