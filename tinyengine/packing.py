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
from tinyengine.linear import LINEAR_SHIFT, find

PAIRS = constants("tinyengine/kernels/pairs.h")
MOST_TILES = PAIRS["MOST_TILES"]
STEPS_AT_ONCE = 128  # of tiles of two pixels: in 1 KB of scratch
CYCLES_PER_BYTE = 4  # that more weights must save, to be worth their flash
STEPS_OF_ONE = 4  # steps of a pixel by itself are a multiple


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


def requantisation(channel, requantise, constant):
    """Multiplier, addend and right shift of a channel with TE_SIGNED, for twice the sum, of which
    SMMLAR is the doubling high multiply."""
    if channel in constant:
        return 0, constant[channel] << 1, 1
    right = -int(requantise.shifts[channel])
    half = (requantise.zero_point << right) + (1 << (right - 1))
    return int(requantise.multipliers[channel]), half, right


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
    """Which inputs of a run share a word of weights: of every four two, even, then odd ones; of two
    that are left at the end both. Input `run` is not there."""
    whole = run & ~3
    steps = [(i + k, i + k + 2) for i in range(0, whole, 4) for k in (0, 1)]
    at_end = [(), ((0, run),), ((0, 1),), ((0, 2), (1, run))][run - whole]
    return steps + [(whole + i, min(whole + k, run)) for i, k in at_end]


def four_words(weights, count):
    """Words for each step of four channels, `count` of them, as pairs.h has them. weights:
    int64 [4, steps, 2]."""
    first, second, third = (256 * weights[i + 1] + weights[i] for i in range(3))
    if min(0 if count == 2 else first.min(), second.min(), third.min()) < -32768:
        raise Unfit("a weight of -128 beside a negative one of another channel")
    used = (first + 128, third) if count == 2 else (first, second, third)
    return np.stack([halves(*both.T) for both in used], 1)


def fours(channels):
    """The first of each four channels that a record is for. The last four are the last ones."""
    return [*range(0, channels - 3, 4), *([max(channels - 4, 0)] if channels % 4 else [])]


def pack_product(weights, bias, input_zero_point, requantise, output_shape, kernel):
    """For te_conv_2d_pairs and its like. weights: int8 [out channels, height, width, in channels];
    kernel: its name."""
    pixels, count = output_shape[0] * output_shape[1], 3 if kernel == "conv_2d_threes" else 2
    if count == 3 and pixels < 8 * CYCLES_PER_BYTE:
        raise Unfit
    channels, runs, *run = weights.shape
    weights = weights.reshape(channels, -1).astype(np.int64)
    folded, least, greatest = accumulator_ranges(weights, bias, input_zero_point)
    constant = freeze_constant_channels(weights, folded, least, greatest, requantise)
    rounding, requantisations = _requantisations(requantise, constant, least, greatest, folded)

    in_parts = rounding == "TE_PARTS"
    if in_parts and kernel == "conv_2d_pairs":
        raise Unfit("sums of 2^23 and more")
    if kernel == "conv_2d_pixels" and not in_parts and pixels > 1 or count == 3 and in_parts:
        raise Unfit

    by_step = np.pad(weights.reshape(channels, runs, -1), ((0, 0), (0, 0), (0, 1)))
    by_step = by_step[..., pair_steps(int(np.prod(run)))].reshape(channels, -1, 2)
    by_step = _with_zeros(by_step, STEPS_OF_ONE if in_parts or (pixels % 2 and count == 2) else 1)
    parts = _parts(by_step, runs) if in_parts else 1
    by_step = _with_zeros(by_step, STEPS_OF_ONE * parts if in_parts else 1)
    steps = by_step.shape[1] // parts

    more = -channels % 4 if in_parts else max(4 - channels, 0)  # that are not there
    by_step = np.pad(by_step, ((0, more), (0, 0), (0, 0)))
    starts = np.pad(0 * folded if in_parts else folded, (0, more))
    record = []
    for part in range(parts):
        for four in range(0, channels, 4) if in_parts else fours(channels):
            s0, s1, s2, s3 = starts[four : four + 4].tolist()
            record += [256 * s1 + s0, 256 * s2 + s1, 256 * s3 + s2]
            of_part = slice(part * steps, (part + 1) * steps)
            record += four_words(by_step[four : four + 4, of_part], count).ravel().tolist()
            if not in_parts:
                record += _words_of(requantisations, four)
    record_words = len(record) // (parts * -(-channels // 4))
    if in_parts:
        record += [n for start, words in zip(folded, requantisations) for n in (start, *words)]
    return {
        "steps": steps,
        "tiles": min(max(STEPS_AT_ONCE // steps, 1), MOST_TILES) if not in_parts else 0,
        "parts": parts,
        "record_words": record_words,
        "rounding": rounding,
        **last_fields(record, requantise),
    }


def _requantisations(requantise, constant, least, greatest, folded):
    """The kernel's te_rounding, and of each channel the words of its requantisation. Adds to folded
    what TE_LINEAR adds to sums."""
    *linear, exact = find(requantise, least, greatest)
    for channel, value in constant.items():
        for row, number in zip(linear, (0, value << LINEAR_SHIFT, 0)):
            row[channel] = number
        exact[channel] = True
    if exact.all():
        folded += linear[2]
        return "TE_LINEAR", np.stack(linear[:2], 1).tolist()
    cuts_at_zero(requantise, constant)  # for its proof that shifts are in range
    bound = max(greatest.max(), -least.min())
    if bound >= 2**30:
        raise Unfit("sums of 2^30 and more")
    words = [requantisation(channel, requantise, constant) for channel in range(len(folded))]
    return "TE_SIGNED" if bound < 2**23 else "TE_PARTS", words


def _words_of(requantisations, four):
    """Of four channels; for those that are not there, those of the last one."""
    last = len(requantisations) - 1
    return [n for c in range(four, four + 4) for n in requantisations[min(c, last)]]


def _with_zeros(by_step, multiple):
    """[channels, steps, 2] with so many steps behind that there is a multiple of them."""
    return np.pad(by_step, ((0, 0), (0, -by_step.shape[1] % multiple), (0, 0)))


def _parts(by_step, runs):
    """Of how many parts the sums are below 2^23, which they may be but for the bias. Of a window
    that is one run each is expanded by itself: then more of them take less scratch."""
    magnitudes = 128 * np.abs(by_step).sum(2)
    least = -(-by_step.shape[1] // (2 * STEPS_AT_ONCE)) if runs == 1 else 1
    for parts in range(least, by_step.shape[1] // STEPS_OF_ONE + 1):
        steps = _with_zeros(magnitudes[..., None], STEPS_OF_ONE * parts)[..., 0]
        if steps.reshape(len(steps), parts, -1).sum(2).max() < 2**23:
            return parts
    raise AssertionError("8 inputs have sums of 2^23 and more")
