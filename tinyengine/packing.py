"""Weights and requantisation as the fast kernels (kernels/fast.h) read them, and the proofs that the
kernels are exact for them.

Each `pack_` function returns a dict of what the C description holds besides shapes, or raises Unfit
with a reason; then the plain kernel of tinyengine.h is the one to use.
"""

from dataclasses import dataclass

import numpy as np

RELU_SHIFT = 12  # of TE_RELU, in kernels/simd.h: te_ssat8_asr12


class Unfit(Exception):
    """The fast kernel would not be exact for these weights; the message says why."""


@dataclass
class Requantise:
    """te_requantise: multipliers and shifts [channels], int8 bounds."""

    multipliers: np.ndarray
    shifts: np.ndarray
    zero_point: int
    lowest: int
    highest: int

    def __call__(self, accumulators, channel):
        """int8 values (as int64) of one channel's accumulators, as gemmlowp defines them."""
        shift = int(self.shifts[channel])
        product = np.asarray(accumulators, np.int64) * int(self.multipliers[channel])
        if shift > 0:
            raise Unfit(f"channel {channel} is multiplied by {2**shift} or more")
        value = (product + (1 << 30)) >> 31
        if shift:
            value = (value + (1 << (-shift - 1)) - (value < 0)) >> -shift
        return np.clip(value + self.zero_point, self.lowest, self.highest)


def accumulator_ranges(weights, bias, zero_point):
    """Bias with the input's zero point folded in, and the least and greatest sum per channel.

    weights: int64 [channels, weights of a channel]; bias: [channels]; zero_point: the input's.
    """
    folded = bias.astype(np.int64) - zero_point * weights.sum(1)
    at_lowest, at_highest = weights * -128, weights * 127
    return (
        folded,
        folded + np.minimum(at_lowest, at_highest).sum(1),
        folded + np.maximum(at_lowest, at_highest).sum(1),
    )


def freeze_constant_channels(weights, folded, least, greatest, requantise):
    """Channels whose output is the same for all inputs get weights and bias 0, in place.

    Their multipliers are often too small for the kernels. Returns {channel: value}.
    """
    constant = {}
    for channel in range(len(weights)):
        low, high = requantise([least[channel], greatest[channel]], channel)
        if low == high:
            constant[channel] = int(low)
            weights[channel] = folded[channel] = least[channel] = greatest[channel] = 0
    return constant


def rounding_of(requantise, constant, least, greatest, shifts):
    """TE_RELU where it is exact, else TE_SIGNED. shifts: right shifts that TE_RELU can do."""
    if (requantise.lowest, requantise.highest) != (-128, 127):
        raise Unfit(f"output between {requantise.lowest} and {requantise.highest}, not int8's")
    live = [c for c in range(len(least)) if c not in constant]
    right = -requantise.shifts[live].astype(np.int64)
    if len(live) and (right.min() < 1 or right.max() > 22):
        raise Unfit("a multiplier outside 2^-23 .. 2^-1")
    bound = np.maximum(-least, greatest)[live]
    relu = requantise.zero_point <= requantise.lowest
    relu = relu and all(e in shifts for e in right)
    relu = relu and all(b << (RELU_SHIFT - int(e) + 1) < 2**31 for b, e in zip(bound, right))
    return "TE_RELU" if relu else "TE_SIGNED"


def requantisation(channel, requantise, rounding, constant):
    """Words for a channel: left shift of the sum, multiplier, addend, right shift after.

    TE_SIGNED doubles the sum, for SMMLAR to be the doubling high multiply. TE_RELU rounds once: all
    sums are shifted so that the result has RELU_SHIFT fraction bits, and the addend has the halves
    of both roundings.
    """
    zero_point, multiplier = requantise.zero_point, int(requantise.multipliers[channel])
    right = -int(requantise.shifts[channel])
    if channel in constant:
        value = constant[channel]
        return (1, 0, value << RELU_SHIFT, 0) if rounding == "TE_RELU" else (1, 0, value << 1, 1)
    if rounding == "TE_SIGNED":
        return 1, multiplier, (zero_point << right) + (1 << (right - 1)), right
    left = RELU_SHIFT - right
    addend = (zero_point << RELU_SHIFT) + (1 << (RELU_SHIFT - 1)) + (1 << (left - 1))
    return left + 1, multiplier, addend, 0


def words(values):
    return np.array([int(v) & 0xFFFFFFFF for v in values], np.uint32)


def halves(low, high):
    """Words of two int16."""
    return (low & 0xFFFF) | (high & 0xFFFF) << 16


def pair_steps(run):
    """Which inputs of a run share a word of weights: two of every four, even, then odd ones.

    A last single input has its own. Inputs >= run are not there.
    """
    steps = [(i + k, i + k + 2) for i in range(0, run, 4) for k in (0, 1)]
    return [step for step in steps if step[0] < run]


def pair_words(weights, runs):
    """Words for two channels: weights int64 [2, runs * run]; run by run, step by step."""
    weights = weights.reshape(2, runs, -1)
    run = weights.shape[2]
    both = 256 * weights[1] + weights[0]
    if both.min() < -32768 or both.max() > 32767:
        raise Unfit("a weight of -128 that does not fit with its neighbour")
    both = np.concatenate([both, np.zeros((runs, 4), np.int64)], 1)
    first, second = np.array(pair_steps(run)).T
    return halves(both[:, first], both[:, np.minimum(second, run)]).ravel()


def pack_pairs(weights, runs, bias, input_zero_point, requantise):
    """Records of te_conv_2d_pairs and te_fully_connected_pairs.

    weights: [out channels, runs * run] in the order of the inputs, which lie in `runs` runs.
    """
    weights = weights.astype(np.int64)
    folded, least, greatest = accumulator_ranges(weights, bias, input_zero_point)
    constant = freeze_constant_channels(weights, folded, least, greatest, requantise)
    bound = max(greatest.max(), -least.min())
    if bound >= 2**23:
        raise Unfit(f"sums up to {bound}, not below 2^23")
    shifts = range(RELU_SHIFT - 7, RELU_SHIFT)
    rounding = rounding_of(requantise, constant, least, greatest, shifts)
    steps = runs * len(pair_steps(weights.shape[1] // runs))
    record = []
    for channel in range(0, len(weights), 2):
        pair = np.zeros((2, weights.shape[1]), np.int64)
        pair[: len(weights[channel : channel + 2])] = weights[channel : channel + 2]
        biases = [*folded[channel : channel + 2], 0]
        record += [256 * biases[1] + biases[0], biases[0], *pair_words(pair, runs)]
        for half in (1, 0):
            of = min(channel + half, len(weights) - 1)
            left, *others = requantisation(of, requantise, rounding, constant)
            record += [8 - left if half else left, *others]
    return {"steps": steps, "rounding": rounding, "records": words(record)}


def pack_conv_2d_pairs(weights, bias, input_zero_point, requantise, output_shape):
    """For te_conv_2d_pairs. weights: int8 [out channels, height, width, in channels]."""
    pixels = output_shape[0] * output_shape[1]
    if pixels < 3:
        raise Unfit(f"{pixels} output pixels, fewer than 3")
    channels, height, _, _ = weights.shape
    return pack_pairs(weights.reshape(channels, -1), height, bias, input_zero_point, requantise)
