"""Winograd's F(4x4, 3x3) for CONV_2D (kernels/conv_2d_winograd.c): its weights, what it needs of
them, and where it pays.

Of a tile d of 6x6 inputs and weights g, with Lavin and Gray's matrices (arXiv 1509.09308) scaled to
integers, A^T [(G g G^T) * (B^T d B)] A = 576 y, * for each value by itself.
"""

import numpy as np

from compiler.csource import constants
from compiler.selection import Unfit
from tinyengine import packing

KERNEL = constants("tinyengine/kernels/conv_2d_winograd.c")
RELU_SHIFT = constants("tinyengine/kernels/relu_shift.h")["TE_RELU_SHIFT"]
POSITIONS, TILES, LANES = (KERNEL[name] for name in ("POSITIONS", "TILES", "LANES"))
LONGEST = KERNEL["LONGEST"]  # pairs of channels of a product that goes through its steps once
INPUT = np.array(  # B^T
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
WEIGHTS = np.array([[1, 0, 0], [1, 1, 1], [1, -1, 1], [1, 2, 4], [1, -2, 4], [0, 0, 1]])  # G
OUTPUT = np.array(  # A^T, whose rows the C divides by 1, 2, 4, 4
    [
        [6, -4, -4, 1, 1, 0],
        [0, -4, 4, 2, -2, 0],
        [0, -4, -4, 4, 4, 0],
        [0, -4, 4, 8, -8, 24],
    ]
)
NINTH = pow(9, -1, 2**32)
BIAS = 36  # of M where all outputs read it with the same factor, 16: 576 / 16
LARGEST_SCRATCH = 1 << 15  # bytes that a layer may work in


def pack_conv_2d_winograd(fields):
    """For te_conv_2d_winograd, from the fields of a CONV_2D. Raises Unfit."""
    window, weights = fields["window"], fields["weights"]
    steps = [window[f"{name}_{axis}"] for name in ("stride", "dilation") for axis in "yx"]
    if weights.shape[1:3] != (3, 3) or steps != [1] * 4 or fields["groups"] > 1:
        raise Unfit("only windows of 3x3, stride 1, no dilation, one group")
    for pad, side in (("pad_top", "height"), ("pad_left", "width")):
        last_tile = (fields["output"][side] - 1) // 4 * 4 - window[pad]
        if window[pad] > 2 or last_tile >= fields["input"][side]:
            raise Unfit("tiles of outputs that may read nothing but padding")
    transformed = in_flash(fields["input"], fields["output"])
    requantise = packing.Requantise(**fields["requantise"])
    outputs, _, _, inputs = weights.shape
    taps = weights.reshape(outputs, -1).astype(np.int64)
    folded, least, greatest = packing.accumulator_ranges(
        taps, fields["bias"], fields["input_zero_point"]
    )
    constant = packing.freeze_constant_channels(taps, folded, least, greatest, requantise)
    start = folded - 128 * taps.sum(1)  # inputs are read as values + 128
    bounds = np.maximum(greatest, -least)
    if bounds.max() >= 2**25:
        raise Unfit(f"sums up to {bounds.max()}, not below 2^25: 64 of them leave int32")
    rounding = _rounding(requantise, constant, bounds)
    record = []
    for channel in range(outputs):
        left, *others = _requantisation(channel, requantise, rounding, constant)
        inverse = NINTH << max(left - 2, 0)
        record += [BIAS * int(start[channel]), inverse, *others]
    record += [0] * (len(record) // 5 % 2 * 5)
    taps = _padded(taps.reshape(outputs, 3, 3, inputs))
    return {
        **{name: fields[name] for name in ("input", "output")},
        **{name: window[name] for name in ("pad_top", "pad_left")},
        "input_zero_point": fields["input_zero_point"],
        "transformed": int(transformed),
        "rounding": rounding,
        "weights": transformed_words(taps) if transformed else tap_words(taps),
        **packing.last_fields(record, requantise),
    }


def _requantisation(channel, requantise, rounding, constant):
    """Left shift of a channel's sum, multiplier, addend, right shift.

    TE_RELU rounds once: sums are shifted so that the result has RELU_SHIFT fraction bits, and the
    addend has the halves of both roundings.
    """
    if rounding == "TE_SIGNED":
        return 1, *packing.requantisation(channel, requantise, constant)
    if channel in constant:
        return 1, 0, constant[channel] << RELU_SHIFT, 0
    left = RELU_SHIFT + int(requantise.shifts[channel])
    halves = (1 << (RELU_SHIFT - 1)) + (1 << (left - 1))
    addend = (requantise.zero_point << RELU_SHIFT) + halves
    return left + 1, int(requantise.multipliers[channel]), addend, 0


def _rounding(requantise, constant, bounds):
    """TE_RELU where it is exact, else TE_SIGNED. bounds: of the sums' magnitudes.

    TE_RELU needs 2^left of the sums; some outputs have 2^4 times that before they are divided.
    """
    relu = packing.cuts_at_zero(requantise, constant)
    for channel, bound in enumerate(bounds):
        left = RELU_SHIFT + int(requantise.shifts[channel])
        relu = relu and (channel in constant or 1 <= left <= 7 and int(bound) << left + 5 < 2**31)
    return "TE_RELU" if relu else "TE_SIGNED"


def _padded(taps):
    """[output channels, 3, 3, input channels] with zeros up to even outputs, fours of inputs."""
    outputs, _, _, inputs = taps.shape
    return np.pad(taps, ((0, outputs % 2), (0, 0), (0, 0), (0, -inputs % 4)))


def _by_pair(values):
    """From [..., inputs] to two arrays [..., pairs]: of each four, 0 and 2, then 1 and 3."""
    fours = values.reshape(*values.shape[:-1], -1, 2, 2)  # [..., fours, of a pair, pair]
    return (fours[..., i, :].reshape(*values.shape[:-1], -1) for i in (0, 1))


def transformed_words(taps):
    """U: for two outputs each, [position][pair of inputs][output], position 6 column + row."""
    u = np.einsum("ia,jb,oabc->ojic", WEIGHTS, WEIGHTS, taps)
    words = packing.halves(*_by_pair(u.reshape(len(u) // 2, 2, POSITIONS, -1)))
    return packing.words(words.transpose(0, 2, 3, 1).ravel())


def tap_words(taps):
    """For two outputs each, [pair of inputs][tap]: a byte of both outputs for either input."""
    first, second = (x.reshape(len(x) // 2, 2, 9, -1) for x in _by_pair(taps))
    in_bytes = first[:, 0], first[:, 1], second[:, 0], second[:, 1]
    words = sum((values & 0xFF) << 8 * i for i, values in enumerate(in_bytes))
    return packing.words(words.transpose(0, 2, 1).ravel())


def scratch(packed):
    """Of te_conv_2d_winograd: M, V, U unless it is in flash, and tiles that are cut off."""
    return _scratch(packed["input"], packed["output"], packed["transformed"])


def _pairs(channels):
    return -(-channels // 4) * 2


def _scratch(given, output, transformed):
    pairs = _pairs(given["channels"])
    words = POSITIONS * (LANES + TILES * pairs + 2 * pairs * (not transformed))
    cut = output["height"] % 4 > 0 or output["width"] % 4 > 0
    return 4 * words + 16 * TILES * output["channels"] * cut


def in_flash(given, output):
    """Whether the weights are in flash as U, for shapes of input and output.

    There they take eight times the bytes, but no time; else all of them are transformed once more
    for each four tiles. Raises Unfit where that does not save a fifth of what the product of pairs
    takes, which needs less memory.
    """
    if given["channels"] < 3:
        raise Unfit(f"{given['channels']} input channels: of four at a time, half would be zeros")
    own, flash = cycles(given, output, False), cycles(given, output, True)
    more = 7 * 9 * given["channels"] * output["channels"]  # bytes
    transformed = own - flash > packing.CYCLES_PER_BYTE * more
    if 5 * (flash if transformed else own) > 4 * cycles_of_pairs(given, output):
        raise Unfit("not a fifth fewer cycles than the product of pairs")
    if _scratch(given, output, transformed) > LARGEST_SCRATCH:
        raise Unfit(f"more than {LARGEST_SCRATCH} bytes of scratch memory")
    return transformed


def cycles(given, output, transformed):
    """About how many a Cortex-M4 takes, as benchmarks/estimate_cycles.py weights them.

    Of each tile, the input of two channels and the outputs of one; of four tiles and two outputs,
    36 sums over pairs of channels; of U, two inputs and two outputs.
    """
    pairs, outputs = _pairs(given["channels"]), -(-output["channels"] // 2)
    tiles = -(-output["height"] // 4) * -(-output["width"] // 4)
    product = POSITIONS * (16 * pairs + (22 if pairs <= LONGEST else 47)) + 100
    return tiles * (470 * pairs + 340 * 2 * outputs) + -(-tiles // TILES) * outputs * (
        product + 386 * pairs * (not transformed)
    )


def cycles_of_pairs(given, output):
    """The same of te_conv_2d_pairs: of each pixel, its window and its outputs."""
    inputs, outputs = given["channels"], output["channels"]
    pixels = output["height"] * output["width"]
    return pixels * (80 + 20 * inputs + outputs * (7 * inputs + 12))
