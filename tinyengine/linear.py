"""Requantisation in two instructions: one multiplication and one shift, proven at every threshold.

gemmlowp rounds twice, and halves away from zero. As a function of the sum it is a staircase: output
k is reached at the sum thresholds(...)[k], for at most 255 values of k. TE_LINEAR of kernels/fast.h
computes

    floor((addend + floor(2^SUM_SHIFT * (sum + offset) * multiplier / 2^32)) / 2^LINEAR_SHIFT)

a staircase, too. Where all steps of both are at the same sums, they are equal. So for each channel
this module looks for a multiplier, an addend and an offset, which the bias takes up, with which
they are, and checks all steps by exact integers.
"""

import numpy as np

from compiler.csource import constants
from tinyengine import quantisation

_SHIFTS = constants("tinyengine/kernels/linear_shift.h")
LINEAR_SHIFT, SUM_SHIFT = _SHIFTS["TE_LINEAR_SHIFT"], _SHIFTS["TE_SUM_SHIFT"]
LARGEST_OFFSET = 400
LARGEST_SUM = 2 ** (31 - SUM_SHIFT) - 1 - LARGEST_OFFSET  # whose product fits 64 bits
# A slope a little steeper than the exact one puts halves of negative values on the right side.
STEEPER = (0, 1, -1, 2, 3, 5, 8, 13, 21, 34, 55, 90, 150, 256, -3, -8, -20, -64)
NEVER = 2**62


def thresholds(multipliers, shifts, zero_point, lowest, highest):
    """The least sum that gives at least k, for each k from lowest + 1 to highest: int64 [channels,
    highest - lowest]; and whether it was found [channels].

    multipliers, shifts: int64 [channels] of te_scales, shifts <= 0.
    """
    multipliers, shifts = multipliers[:, None], shifts[:, None]
    k = np.arange(lowest + 1, highest + 1, dtype=np.int64)[None]

    def reached(sums):
        return quantisation.scaled(sums, multipliers, shifts) + zero_point >= k

    with np.errstate(divide="ignore"):
        about = np.ceil((k - zero_point - 0.5) / (multipliers * 2.0 ** (shifts - 31)))
    found = np.clip(about, -(2**31) + 8, 2**31 - 8).astype(np.int64) - 2
    for _ in range(5):
        found += ~reached(found)
    return found, (reached(found) & ~reached(found - 1)).all(1)


def find(requantise, least, greatest):
    """(multipliers, addends, offsets) int64 [channels], and whether they are exact [channels].

    requantise: packing.Requantise; least, greatest: int64 [channels], of the sums.
    """
    multipliers, shifts = (
        np.asarray(a, np.int64) for a in (requantise.multipliers, requantise.shifts)
    )
    ends = requantise.lowest, requantise.highest
    steps, exact = thresholds(multipliers, np.minimum(shifts, 0), requantise.zero_point, *ends)
    exact &= (shifts <= 0) & (np.maximum(greatest, -least) <= LARGEST_SUM)
    least, greatest = least[:, None], greatest[:, None]
    k = np.arange(ends[0] + 1, ends[1] + 1, dtype=np.int64)[None] << 32 + LINEAR_SHIFT
    at, below = np.clip(steps, least, greatest), np.clip(steps - 1, least, greatest)
    slope = np.round(multipliers * 2.0 ** (shifts + 1 + LINEAR_SHIFT - SUM_SHIFT))
    slope = np.clip(slope, 0, 2**31).astype(np.int64)

    channels = len(multipliers)
    found = np.zeros((3, channels), np.int64)
    done = ~exact
    for more in STEEPER:
        m = np.clip(slope + more, 0, 2**31 - 1)
        fits = (slope + more == m) & ~done
        each = m[:, None] << SUM_SHIFT
        # addend * 2^32 + each * offset is from `low` on, and below `high`
        low = np.where(steps <= greatest, k - at * each, -NEVER).max(1, initial=-NEVER)
        high = np.where(steps > least, k - below * each, NEVER).min(1, initial=NEVER)
        for offsets in (np.zeros((1, 1), np.int64), _OFFSETS):
            rest = low[:, None] - offsets * each
            addends = -(-rest >> 32)
            good = (addends << 32) < high[:, None] - offsets * each
            good &= (np.abs(addends) < 2**30) & fits[:, None]
            first = good.argmax(1)
            now = good.any(1) & ~done
            chosen = np.take_along_axis(addends, first[:, None], 1)[:, 0]
            for row, values in zip(found, (m, chosen, offsets[0, first])):
                row[now] = values[now]
            done |= now
        if done.all():
            break
    return (*found, done & exact)


_OFFSETS = np.arange(-LARGEST_OFFSET, LARGEST_OFFSET + 1, dtype=np.int64)[None]
