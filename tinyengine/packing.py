"""Weights and requantisation as the fast kernels (kernels/fast.h) read them, and the proofs that
the kernels are exact for them.

Each `pack_` function returns a dict of what the C description holds besides shapes, or raises Unfit
with a reason; then the plain kernel of tinyengine.h is the one to use.
"""

from dataclasses import dataclass

import numpy as np

from compiler.csource import constants
from compiler.graph import INT8
from compiler.selection import Unfit
from tinyengine import quantisation

RELU_SHIFT = constants("tinyengine/kernels/relu_shift.h")["TE_RELU_SHIFT"]


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
        if shift > 0:
            raise Unfit(f"channel {channel} is multiplied by {2**shift} or more")
        values = quantisation.scaled(accumulators, self.multipliers[channel], shift)
        return np.clip(values + self.zero_point, self.lowest, self.highest)


def accumulator_ranges(weights, bias, zero_point):
    """Bias with the input's zero point folded in, and the least and greatest sum per channel.

    weights: int64 [channels, weights of a channel]; bias: [channels]; zero_point: the input's.
    """
    folded = bias.astype(np.int64) - zero_point * weights.sum(1)
    at_lowest, at_highest = weights * INT8.lowest, weights * INT8.highest
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


def cuts_at_zero(requantise, constant):
    """Whether the activation hides how ties of negative values round; checks the rest, too."""
    live = [c for c in range(len(requantise.shifts)) if c not in constant]
    right = -requantise.shifts[live].astype(np.int64)
    if len(live) and (right.min() < 1 or right.max() > 22):
        raise Unfit("a multiplier outside 2^-23 .. 2^-1")
    return requantise.zero_point <= requantise.lowest


def pairs_rounding(requantise, constant, bounds):
    """TE_RELU where it is exact, else TE_SIGNED. bounds: of the sums' magnitudes."""
    relu = cuts_at_zero(requantise, constant)
    for channel, bound in enumerate(bounds):
        left = RELU_SHIFT + int(requantise.shifts[channel])
        relu = relu and (channel in constant or 1 <= left <= 7 and int(bound) << left + 1 < 2**31)
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


def last_fields(record, requantise):
    """What all descriptions end with. record: the words of all channels."""
    bounds = {"lowest": requantise.lowest, "highest": requantise.highest}
    return {"records": words(record), **bounds}


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


class Pairs:
    """What te_conv_2d_pairs and te_fully_connected_pairs have in common.

    weights: int8 [out channels, runs * run] in the order of the inputs, which lie in `runs` runs.
    """

    def __init__(self, weights, runs, bias, input_zero_point, requantise):
        self.weights, self.runs, self.requantise = weights.astype(np.int64), runs, requantise
        self.folded, least, greatest = accumulator_ranges(self.weights, bias, input_zero_point)
        self.constant = freeze_constant_channels(
            self.weights, self.folded, least, greatest, requantise
        )
        bounds = np.maximum(greatest, -least)
        if bounds.max() >= 2**23:
            raise Unfit(f"sums up to {bounds.max()}, not below 2^23")
        self.rounding = pairs_rounding(requantise, self.constant, bounds)
        self.steps = runs * len(pair_steps(weights.shape[1] // runs))

    def biases(self, channel):
        """Two words for channels `channel` and the next, which need not be there."""
        low, high = [*self.folded[channel : channel + 2], 0, 0][:2]
        return [256 * high + low, low]

    def words(self, channel):
        pair = np.zeros((2, self.weights.shape[1]), np.int64)
        there = self.weights[channel : channel + 2]
        pair[: len(there)] = there
        return pair_words(pair, self.runs)

    def requantisations(self, channel):
        record = []
        for half in (1, 0):
            of = min(channel + half, len(self.weights) - 1)
            left, *others = requantisation(of, self.requantise, self.rounding, self.constant)
            record += [8 - left if half else left, *others]
        return record


def pack_conv_2d_pairs(weights, bias, input_zero_point, requantise, output_shape):
    """For te_conv_2d_pairs. weights: int8 [out channels, height, width, in channels]."""
    pixels = output_shape[0] * output_shape[1]
    if pixels < 3:
        raise Unfit(f"{pixels} output pixels, fewer than 3")
    channels, height, _, _ = weights.shape
    pairs = Pairs(weights.reshape(channels, -1), height, bias, input_zero_point, requantise)
    record = []
    for channel in range(0, channels, 2):
        record += [*pairs.biases(channel), *pairs.words(channel), *pairs.requantisations(channel)]
    return {"steps": pairs.steps, "rounding": pairs.rounding, **last_fields(record, requantise)}


def pack_fully_connected_pairs(weights, bias, input_zero_point, requantise):
    """For te_fully_connected_pairs. weights: int8 [outputs, inputs]."""
    inputs = -(-weights.shape[1] // 8) * 8
    weights = np.pad(weights, ((0, 0), (0, inputs - weights.shape[1])))
    pairs = Pairs(weights, 1, bias, input_zero_point, requantise)
    record = []
    for channel in range(0, len(weights), 4):
        both = channel, channel + 2
        record += [word for c in both for word in pairs.biases(c)]
        record += list(np.stack([pairs.words(c) for c in both], 1).ravel())
        record += [word for c in both for word in pairs.requantisations(c)]
    return {"rounding": pairs.rounding, **last_fields(record, requantise)}
