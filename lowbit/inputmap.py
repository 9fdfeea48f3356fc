"""The map from measured values to a network's int8 inputs, in integers from the sensor onwards.

A measured value becomes a raw value, the integer that a sensor's driver would give, and a raw value
an input, by a range of its channel that -127..127 divide evenly:

    raw   = floor(value * units + 1/2)                                          (int32, saturated)
    input = floor((raw - low) * 254 / (high - low) + 1/2) - 127    (outside low..high: -127 or 127)

The second line is what BitNetMCU_quantise does in C, without a division: in fixed point, so that a
raw value within a few millionths of a level's edge may fall to its other side. This module is its
Python twin, on every value, and training sees what it gives. A channel is a feature of samples
[N, F], and the last axis of samples [N, T, C].

Shapes: N = samples, C = channels, I = inputs of the network.
"""

from dataclasses import dataclass

import numpy as np
import torch

from cli import UserError
from compiler.graph import INT8, INT32

AUTO = "auto"
LEVELS = 2 * INT8.highest + 1  # as many below 0 as above
QUANTILES = (0.01, 0.99)
WIDENING = 1.0  # quantile ranges to each side: what lies between keeps a third of the levels
RESOLUTION = 2**16 - 1  # steps of a 16-bit reading
RAW_REACH = 2**30 - 1  # raw values of the training stay below, so that ranges fit 31 bits
UNITS = (1e-30, 1e30)  # of raw units per value: others cannot be of this world
FEW_LEVELS = 16  # effective ones: 2^entropy
NAMED = 8  # channels that a message names


@dataclass(frozen=True)
class InputMap:
    """One entry for each channel: raw `units` per value, and the raw range `low`..`high`.

    A channel with low = high tells nothing: its input is always 0.
    """

    units: tuple
    low: tuple
    high: tuple

    @property
    def channels(self):
        return len(self.units)

    def check(self, inputs):
        """Raises `ValueError` if this, from a file, cannot be the map of a network's `inputs`."""
        counts = {len(self.units), len(self.low), len(self.high)}
        whole = all(type(end) is int for end in (*self.low, *self.high))
        if (
            len(counts) > 1
            or not whole
            or inputs % self.channels
            or not all(
                UNITS[0] <= float(units) <= UNITS[1] and -RAW_REACH <= low <= high <= RAW_REACH
                for units, low, high in zip(self.units, self.low, self.high)
            )
        ):
            raise ValueError("input_map")

    def __call__(self, samples):
        """float64 samples [N, ..., C] -> network inputs, int8 [N, I]."""
        return torch.from_numpy(self.quantise(self.raw(samples)))

    def raw(self, samples):
        """float64 samples [N, ..., C] -> raw values, int32 [N, I]."""
        return raw_values(samples.numpy(), np.array(self.units)).reshape(len(samples), -1)

    def quantise(self, raw):
        """Raw values int32 [N, I] -> network inputs, int8 [N, I], as BitNetMCU_quantise does."""
        shape = (len(raw), -1, self.channels)
        low, (step, shift) = np.array(self.low, np.int64), self.fixed_point().T
        distance = raw.reshape(shape).astype(np.int64) - low
        inside = np.clip(distance, 0, (2**31 - 1) >> shift) << shift
        level = np.minimum((inside + step // 2) // np.maximum(step, 1), LEVELS - 1) - LEVELS // 2
        level = np.where(distance < 0, -(LEVELS // 2), level)
        return np.where(step > 0, level, 0).astype(np.int8).reshape(len(raw), -1)

    def fixed_point(self):
        """int64 [C, 2]: raw units per level as step * 2^-shift, with a step below 2^24; or 0, 0."""
        rows = []
        for low, high in zip(self.low, self.high, strict=True):
            shift = 31 - (high - low).bit_length()
            steps = LEVELS - 1
            rows.append(
                ((((high - low) << shift) + steps // 2) // steps, shift) if high > low else (0, 0)
            )
        return np.array(rows, np.int64)


@dataclass(frozen=True)
class Affine:
    """The map of networks trained before `InputMap`: (value - offset) * scale, rounded half up."""

    offset: float
    scale: float

    def __call__(self, samples):
        """float64 samples [N, ...] -> network inputs, int8 [N, I], clamped to -128..127."""
        levels = ((samples.flatten(1) - self.offset) * self.scale + 0.5).floor()
        return levels.clamp(INT8.lowest, INT8.highest).to(torch.int8)


def raw_values(values, units):
    """float64 `values` [..., C] times `units` [C], rounded half up and saturated, as int32."""
    with np.errstate(over="ignore"):
        raw = np.floor(values * units + 0.5)
    return np.clip(raw, INT32.lowest, INT32.highest).astype(np.int32)


def fit(samples, names, units=AUTO):
    """(`InputMap`, warnings) for the training `samples`, float64 [N, ..., C].

    The range of a channel is that of its values, but no wider than makes sense for nearly all of
    them: the range from the 1 % to the 99 % quantile, and as much again to both sides. names: of
    the channels, for messages; units: raw units per value, one number or one for each channel.
    `AUTO` chooses for each: 1 for whole numbers, otherwise the power of ten that leaves the range
    as many steps as a 16-bit reading has. Warnings name channels that keep few levels, or none.
    Raises `UserError` for values that cannot be mapped.
    """
    columns = samples.numpy().reshape(-1, samples.shape[-1])
    with np.errstate(over="ignore", divide="ignore"):  # what that gives is refused
        chosen = _units(columns, names, units)
    raw = raw_values(columns, chosen)
    low, high = (bound.astype(int).tolist() for bound in robust_range(raw.astype(np.float64)))
    for name, *ends, units in zip(names, low, high, chosen.tolist()):
        if max(map(abs, ends)) > RAW_REACH:
            raise UserError(
                f"{name}: raw_units_per_value={units:g} makes raw values of more than 31 bits; "
                "give a smaller number, or auto"
            )
    fitted = InputMap(tuple(chosen.tolist()), tuple(low), tuple(high))
    return fitted, _warnings(columns, fitted, names)


def inner_range(columns):
    """The quantiles [C], [C] of `columns` [N, C] that `fit` starts from.

    Each is a value that there is, towards the middle: of few samples, the outermost never count.
    """
    return (
        np.quantile(columns, QUANTILES[0], axis=0, method="higher"),
        np.quantile(columns, QUANTILES[1], axis=0, method="lower"),
    )


def robust_range(columns):
    """(low [C], high [C]) of float64 `columns` [N, C]: see `fit`."""
    lowest, highest = columns.min(axis=0), columns.max(axis=0)
    inner_low, inner_high = inner_range(columns)
    reach = WIDENING * (inner_high - inner_low)
    low, high = np.maximum(lowest, inner_low - reach), np.minimum(highest, inner_high + reach)
    rare = reach <= 0  # nearly all values are one: then the others are what there is to see
    return np.where(rare, lowest, np.floor(low)), np.where(rare, highest, np.ceil(high))


def _units(columns, names, units):
    """Raw units per value, float64 [C]: those that are given, or chosen."""
    channels = columns.shape[1]
    if units != AUTO:
        given = np.array(units if isinstance(units, list) else [units], np.float64)
        if len(given) not in (1, channels):
            raise UserError(
                f"raw_units_per_value names {len(given)} numbers for {channels} channels of the "
                "data; give one for all, or one for each"
            )
        return np.broadcast_to(given, channels).copy()
    low, high = columns.min(axis=0), columns.max(axis=0)
    inner_low, inner_high = inner_range(columns)
    chosen = []
    for index, column in enumerate(columns.T):
        largest = max(abs(low[index]), abs(high[index]))
        spread = inner_high[index] - inner_low[index]
        if spread <= 0:  # nearly all values are one
            spread = high[index] - low[index]
        if largest <= RAW_REACH and (column == np.floor(column)).all():
            chosen.append(1.0)
            continue
        # The outer values do not count where they are far off: they saturate.
        usual = max(abs(inner_low[index]), abs(inner_high[index])) + 2 * spread
        finest = np.floor(np.log10(RAW_REACH / usual)) if usual > 0 else np.inf
        wanted = np.ceil(np.log10(RESOLUTION / spread)) if spread > 0 else min(finest, 0)
        exponent = min(finest, wanted)
        if not np.log10(UNITS[0]) <= exponent <= np.log10(UNITS[1]):
            raise UserError(
                f"{names[index]}: values from {low[index]:g} to {high[index]:g} cannot be mapped "
                "to integers; multiply them so that they lie between 1e-20 and 1e20"
            )
        chosen.append(float(f"1e{exponent:.0f}"))
    return np.array(chosen)


def _effective(values):
    """2^entropy of `values` [N]: how many different ones there are, the rare ones counting less."""
    _, counts = np.unique(values, return_counts=True)
    share = counts / counts.sum()
    return 2 ** -(share * np.log2(share)).sum()


def _warnings(columns, fitted, names):
    """Lines on channels whose values the map merges, or that are the same in all samples."""
    inputs = fitted.quantise(fitted.raw(torch.from_numpy(columns)))
    useless, lines = [], []
    for name, values, levels, units in zip(names, columns.T, inputs.T, fitted.units, strict=True):
        different, kept = len(np.unique(values)), len(np.unique(levels))
        if different == 1:
            useless.append(f"{name} ({values[0] + 0.0:g})")
            continue
        effective = _effective(levels)
        if effective < FEW_LEVELS and effective < _effective(values) / 2:
            q = np.quantile(values, (0, 0.25, 0.75, 1))
            lines.append(
                f"{name}: {different} different values keep {kept if kept > 1 else 'none'} of "
                f"{LEVELS} levels, most of them {effective:.0f}: they reach from {q[0]:g} to "
                f"{q[3]:g}, half of them from {q[1]:g} to {q[2]:g}, at {units:g} raw units per "
                "value; remove values that stand for errors, subtract an offset, use a logarithm, "
                "or give larger raw_units_per_value"
            )
    if len(lines) > NAMED:
        lines[NAMED:] = [f"{len(lines) - NAMED} more channels keep few levels"]
    if useless:
        more = f" and {len(useless) - NAMED} more" if len(useless) > NAMED else ""
        lines.append(
            f"useless, as the value is the same in all training samples: "
            f"{', '.join(useless[:NAMED])}{more}; the network's input is always 0"
        )
    return lines
