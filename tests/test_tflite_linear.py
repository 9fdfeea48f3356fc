"""TE_LINEAR (tinyengine/linear.py) is gemmlowp's requantisation wherever it is said to be exact, by
thresholds that are searched for here once more, and is found for layers as training makes them."""

import numpy as np
import pytest

from tinyengine import linear, packing

CHANNELS = 24


def thresholds(requantise, channel, least, greatest):
    """The least sum from least on, or greatest + 1, with each value from lowest + 1 on."""
    values = np.arange(requantise.lowest + 1, requantise.highest + 1)
    low, high = np.full(len(values), least), np.full(len(values), greatest + 1)
    while (low < high).any():
        middle = (low + high) // 2
        reached = requantise(middle, channel) >= values
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    return low


def sums_to_try(rng, requantise, channel, least, greatest):
    """At each threshold and in front of it, between which both functions are the same if they are
    there; the ends, and random ones."""
    at = thresholds(requantise, channel, least, greatest)
    some = rng.integers(least, greatest + 1, 100)
    return np.concatenate([at, at - 1, some]).clip(least, greatest)


def of_line(requantise, multiplier, addend, offset, sums):
    """What the instructions of TE_LINEAR make of sums, in registers of 32 bits."""
    shifted = (sums + offset) << linear.SUM_SHIFT
    value = addend + (shifted * multiplier >> 32)
    assert 0 <= multiplier < 2**31 and np.abs(shifted).max() < 2**31 and np.abs(value).max() < 2**31
    value = (value >> linear.LINEAR_SHIFT).clip(-128, 127)
    return value.clip(requantise.lowest, requantise.highest)


def differences(rng, requantise, found, channel, least, greatest):
    sums = sums_to_try(rng, requantise, channel, least, greatest)
    return (of_line(requantise, *found, sums) != requantise(sums, channel)).sum()


def found_of(requantise, least, greatest):
    """([multiplier, addend, offset] of each channel, whether they are exact)."""
    *found, exact = linear.find(requantise, least, greatest)
    return np.stack(found, 1), exact


def multipliers(rng):
    ends = [1 << 30, (1 << 30) + 1, (1 << 31) - 1]
    return np.append(rng.integers(1 << 30, 1 << 31, CHANNELS - len(ends)), ends)


@pytest.mark.parametrize(
    "zero_point, lowest, highest",
    [
        *((zero_point, -128, 127) for zero_point in (-128, 7, 127)),
        *((-128, -128, -60), (-20, -20, 90), (-128, -100, 127), (3, -90, 3), (0, 5, 5)),
    ],
)
@pytest.mark.parametrize("shift", [0, -1, -3, -4, -6, -8, -10, -11, -12, -13, -16, -22, -31])
def test_what_is_exact_is_so_at_every_threshold(rng, shift, zero_point, lowest, highest):
    """Also of sums that are all large, or few, or reach no threshold."""
    shifts = np.full(CHANNELS, shift)
    requantise = packing.Requantise(multipliers(rng), shifts, zero_point, lowest, highest)
    for most in (linear.LARGEST_SUM, 40 * 2**-shift, 3000, 9):
        most = min(most, linear.LARGEST_SUM)
        ends = np.sort(rng.integers(-most, most + 1, (2, CHANNELS)), 0)
        ends[:, -4:] = [[-most] * 4, [most] * 4]
        found, exact = found_of(requantise, *ends)
        for channel in np.flatnonzero(exact):
            assert not differences(rng, requantise, found[channel], channel, *ends[:, channel])


def behind_a_relu(rng, shifts):
    """Of layers whose sums go as far as 1.5 times the range of outputs."""
    requantise = packing.Requantise(multipliers(rng), shifts, -128, -128, 127)
    greatest = (1.5 * 255 * 2.0 ** (31 - shifts) / requantise.multipliers).astype(np.int64)
    return requantise, -greatest, greatest


@pytest.mark.parametrize("shift, most_of_them", [*((-n, 0.9) for n in range(4, 11)), (-11, 0.5)])
def test_it_is_found_behind_a_relu(rng, shift, most_of_them):
    requantise, *ends = behind_a_relu(rng, np.full(CHANNELS, shift))
    found, exact = found_of(requantise, *ends)
    assert exact.mean() > most_of_them
    assert shift > -10 or (found[exact, 2] != 0).any()  # for which offsets are needed


def test_an_addend_beside_the_right_one_is_seen(rng):
    """By the tests here: of most channels the next one on either side is wrong."""
    requantise, *ends = behind_a_relu(rng, rng.integers(-10, -7, CHANNELS))
    found, exact = found_of(requantise, *ends)
    for more in (-1, 1):
        seen = [
            differences(rng, requantise, found[channel] + (0, more, 0), channel, *both) > 0
            for channel, both in enumerate(np.transpose(ends))
            if exact[channel]
        ]
        assert np.mean(seen) > 0.5


def test_what_is_no_line_is_not_exact(rng):
    """Ties of both signs; sums too large for 32 bits; multipliers too large for the slope."""
    for shift, zero_point, most in (
        (-8, 7, 2**17),
        (-8, -128, linear.LARGEST_SUM + 1),
        (-2, -128, 2**11),
        (1, -128, 2**9),
    ):
        some, shifts = rng.integers(1.1 * 2**30, 1.9 * 2**30, CHANNELS), np.full(CHANNELS, shift)
        requantise = packing.Requantise(some, shifts, zero_point, -128, 127)
        ends = np.full(CHANNELS, most)
        for least, greatest in ((-ends, ends), (-ends, ends - 1), (1 - ends, ends)):
            assert not found_of(requantise, least, greatest)[1].any()
