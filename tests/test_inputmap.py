"""The integer map from measured values to inputs: its rule, its C, and the ranges it finds."""

import subprocess

import numpy as np
import pytest
import torch
from conftest import ROOT, SANITIZE, STRICT, compiler, header_of, random_network

from cli import UserError
from lowbit import inputmap
from lowbit.inputmap import InputMap
from train import confidence, data

INT32 = np.iinfo(np.int32)


def tensor(*columns):
    return torch.from_numpy(np.stack(columns, axis=-1).astype(np.float64))


def names(count):
    return data.numbered("feature", count)


def random_map(rng, channels):
    low = rng.integers(-(2**30), 2**30, channels)
    reach = (2 ** rng.uniform(0, 30, channels)).astype(int) - rng.integers(0, 2, channels)
    return InputMap((1.0,) * channels, tuple(low.tolist()), tuple((low + reach).tolist()))


def test_map_is_its_formula_to_within_the_step():
    """Exact integers against the formula in rational numbers: they differ at ties at most."""
    rng = np.random.default_rng(0)
    fitted = random_map(rng, 300)
    low, high = np.array(fitted.low), np.array(fitted.high)
    raw = rng.integers(low - 10, high + 11, (200, 300)).astype(np.int32)
    exact = (np.clip(raw, low, high) - low) * 254 / np.maximum(high - low, 1) - 127
    found = fitted.quantise(raw).astype(float)
    assert (np.abs(found - exact) <= 0.5 + 1e-4)[:, high > low].all()
    assert (found[:, high == low] == 0).all() and (high == low).any()


@pytest.mark.parametrize("span", [1, 2, 3, 254, 255, 65_535, 2**31 - 2])
def test_ends_of_the_range_are_the_ends_of_the_inputs_and_outside_saturates(span):
    low = -(2**30) if span > 2**30 else -7
    fitted = InputMap((1.0,), (low,), (low + span,))
    raw = np.array([[INT32.min], [low - 1], [low], [low + span], [low + span + 1], [INT32.max]])
    inputs = fitted.quantise(raw.astype(np.int32)).ravel().tolist()
    assert inputs == [-127, -127, -127, 127, 127, 127]


@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_c_maps_and_margins_are_pythons(name, rng, tmp_path):
    command = [*compiler(name, SANITIZE), *STRICT, "-o", tmp_path / "map"]
    sources = [ROOT / "tests/map_harness.c", ROOT / "BitNetMCU_inference.c"]
    subprocess.run([*command, *sources], check=True)
    for channels in (1, 2, 16, 301):
        fitted = random_map(rng, channels)
        low, high = np.array(fitted.low), np.array(fitted.high)
        raw = np.concatenate(
            [
                *(np.stack([low, high])[:, None] + np.array([-1, 0, 1])[:, None]),
                rng.integers(low - 1000, high + 1000, (300, channels)),
                rng.integers(INT32.min, INT32.max + 1, (300, channels)),
                np.array([[INT32.min], [-1], [0], [1], [INT32.max]]) + 0 * low,
            ]
        ).astype(np.int32)
        logits = rng.integers(INT32.min, INT32.max + 1, (50, channels + 1)).astype(np.int32)
        logits[:10] //= 2**20  # with ties
        step, shift = fitted.fixed_point().T
        table = np.stack([low.astype(np.int32).view(np.uint32), step << 8 | shift], axis=1)
        counts = np.array([channels, raw.size, channels + 1, 50], np.uint32)
        stream = b"".join(a.tobytes() for a in (counts, table.astype(np.uint32), raw, logits))
        done = subprocess.run([tmp_path / "map"], input=stream, capture_output=True, check=True)
        inputs = np.frombuffer(done.stdout[: raw.size], np.int8).reshape(raw.shape)
        assert np.array_equal(inputs, fitted.quantise(raw))
        margins = np.frombuffer(done.stdout[raw.size :], np.uint32)
        assert np.array_equal(margins, confidence.margins(logits))


def test_c_map_takes_at_most_300_bytes_of_rv32ec_and_calls_nothing(tmp_path, rng):
    fitted = random_map(rng, 16)
    graph = random_network(rng, ["4bitsym"] * 2, (16, 8, 3))
    text = header_of(graph, input_map=fitted, channel_names=names(16))
    (tmp_path / "BitNetMCU_model.h").write_text(text)
    (tmp_path / "network.c").write_text(
        '#define BITNETMCU_MODEL_IMPLEMENTATION\n#include "BitNetMCU_model.h"\n'
    )
    flags = ["-march=rv32ec", "-mabi=ilp32e", "-nostdlib", "-Os", "-ffreestanding"]
    flags += ["-ffunction-sections", "-Wl,--gc-sections,-e,BitNetMCU_quantise", "-I", str(tmp_path)]
    elf = tmp_path / "map.elf"
    command = [*compiler("riscv64-unknown-elf-gcc", ["-march=rv32ec", "-mabi=ilp32e", "-nostdlib"])]
    sources = [tmp_path / "network.c", ROOT / "BitNetMCU_inference.c"]
    subprocess.run([*command, *STRICT, *flags, "-o", elf, *sources], check=True)  # without libgcc
    listing = subprocess.run(
        ["riscv64-unknown-elf-nm", "-S", elf], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in listing.splitlines()]
    code = [int(row[1], 16) for row in rows if len(row) == 4 and row[2] in "Tt"]
    assert 0 < sum(code) <= 300, listing


def test_range_of_a_channel_is_all_of_ordinary_values():
    rng = np.random.default_rng(0)
    x = tensor(rng.normal(20, 3, 1000), rng.uniform(-1, 1, 1000), np.arange(1000) % 2)
    fitted, warnings = inputmap.fit(x, names(3))
    inputs = fitted(x)
    assert not warnings
    assert inputs.amin(0).tolist() == [-127] * 3 and inputs.amax(0).tolist() == [127] * 3
    assert fitted.units[2] == 1 and (fitted.low[2], fitted.high[2]) == (0, 1)


@pytest.mark.parametrize("samples", [5, 20, 100, 600])
@pytest.mark.parametrize("outlier", [1e6, -1e9, 1e15])
def test_one_far_value_leaves_the_others_their_levels(outlier, samples):
    values = np.random.default_rng(0).normal(0, 1, samples)
    values[3] = outlier
    fitted, warnings = inputmap.fit(tensor(values), names(1))
    inputs = fitted(tensor(values))[:, 0]
    assert len(inputs.unique()) >= min(0.85 * samples, 64) and not warnings
    assert inputs[3] == (127 if outlier > 0 else -127)


@pytest.mark.parametrize("values", [[3.0], [1, 2], [1, 1, 2], [-1.5, 2, 7]])
def test_few_samples_have_all_of_their_range(values):
    fitted, _ = inputmap.fit(tensor(np.array(values)), names(1))
    assert len(fitted(tensor(np.array(values))).unique()) == len(set(values))


def test_ranges_reach_to_the_limits_and_not_past_them():
    limit = inputmap.RAW_REACH
    for ends in ((-limit, limit), (0, limit), (-limit, -limit + 1)):
        x = tensor(np.array(ends, float))
        fitted, _ = inputmap.fit(x, names(1))
        assert fitted(x).ravel().tolist() == [-127, 127]
    for ends in ((-limit - 1, limit), (0, 2**40)):  # in coarser units then
        x = tensor(np.array(ends, float))
        fitted, _ = inputmap.fit(x, names(1))
        assert fitted.units[0] < 1 and fitted(x).ravel().tolist() == [-127, 127]


def test_values_over_many_decades_are_named_although_they_keep_many_levels():
    values = 10 ** np.random.default_rng(0).uniform(-9, 9, 1000)
    fitted, (line,) = inputmap.fit(tensor(values), names(1))
    assert len(fitted(tensor(values)).unique()) > 16 and "use a logarithm" in line


def test_rare_values_of_a_feature_that_is_mostly_zero_are_told_apart():
    values = np.zeros(1000)
    values[:8] = np.arange(1, 9)
    fitted, _ = inputmap.fit(tensor(values), names(1))
    assert len(fitted(tensor(values)).unique()) == 9


def test_every_channel_has_a_scale_of_its_own():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(0, [1e-3, 1, 1e6], (50, 20, 3)))
    fitted, _ = inputmap.fit(x, data.numbered("channel", 3))
    inputs = fitted(x).reshape(50, 20, 3)
    assert fitted.channels == 3 and inputs.float().std((0, 1)).min() > 20


def test_features_that_keep_no_or_few_levels_are_named_with_numbers():
    rng = np.random.default_rng(0)
    errors = rng.uniform(20, 21, 500)
    errors[::20] = -999
    x = tensor(np.full(500, 1e6), errors, rng.uniform(0, 1, 500))
    fitted, warnings = inputmap.fit(x, ("p", "t", "u"))
    few, useless = warnings
    assert "t: " in few and "from -999 to 2" in few and "500" not in useless
    assert "useless" in useless and "p (1e+06)" in useless
    assert (fitted(x)[:, 0] == 0).all()
    assert (fitted.quantise(np.array([[7, 0, 0]], np.int32))[:, 0] == 0).all()


def test_raw_units_that_merge_all_values_are_named():
    x = tensor(np.random.default_rng(0).uniform(0, 0.4, 100))
    _, (line,) = inputmap.fit(x, names(1), units=1.0)
    assert "keep none of 255 levels" in line and "raw_units_per_value" in line


@pytest.mark.parametrize("size", [1e-310, 1e-40, 1e40, 1e308])
def test_values_that_cannot_be_mapped_are_refused(size):
    x = tensor(np.random.default_rng(0).uniform(-1, 1, 100) * size)
    with pytest.raises(UserError, match="feature 0: values from .* cannot be mapped"):
        inputmap.fit(x, names(1))


def test_raw_units_default_to_16_bits_of_resolution_and_1_for_whole_numbers():
    rng = np.random.default_rng(0)
    readings = rng.integers(-(2**15), 2**15, 1000)
    x = tensor(readings / 16384, readings, readings / 2**15 * 50 + 101_325)
    fitted, _ = inputmap.fit(x, names(3))
    assert fitted.units == (100_000.0, 1.0, 1000.0)
    for raw in fitted.raw(x).T:
        assert len(np.unique(raw)) == len(np.unique(readings))
    given, _ = inputmap.fit(x, names(3), units=[16384.0, 1.0, 100.0])
    assert given.units == (16384.0, 1.0, 100.0)


@pytest.mark.parametrize(
    ("units", "expected"),
    [([1.0, 2.0], "names 2 numbers for 3 channels"), (1e9, "more than 31 bits")],
)
def test_raw_units_that_do_not_fit_are_refused(units, expected):
    x = torch.from_numpy(np.random.default_rng(0).normal(100, 1, (20, 3)))
    with pytest.raises(UserError, match=expected):
        inputmap.fit(x, names(3), units)
