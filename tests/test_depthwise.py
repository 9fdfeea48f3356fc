"""Depthwise 3x3 convolutions, in C and in assembly: exact; nothing else is written."""

import itertools
import os
import subprocess
from dataclasses import dataclass

import numpy as np
import pytest
import test_fast_kernels
from conftest import ROOT, SANITIZE, STRICT, compiler

from compiler.emission import array
from compiler.formats import FORMATS
from compiler.selection import Unfit
from lowbit.taps import BITS, HALF, digits, pack_depthwise

on_chip = test_fast_kernels.on_chip

# --- cases


@dataclass
class Stage:
    """A convolution, its fixed shift and its pool, of a channel."""

    taps: np.ndarray
    bias: int
    shift: int
    highest: int
    pool: bool

    def output(self, values):
        """int8 [rows, columns] of a map, by the integer contract (docs/contract.md)."""
        rows, columns = (size - 2 for size in values.shape)
        sums = np.full((rows, columns), self.bias, np.int64)
        for i in range(3):
            for j in range(3):
                sums += self.taps[i, j] * values[i : i + rows, j : j + columns].astype(np.int64)
        rounded = (sums + (1 << self.shift >> 1)) >> self.shift
        found = np.where(sums > 0, np.minimum(rounded, self.highest), 0)
        if self.pool:
            found = found[: rows // 2 * 2, : columns // 2 * 2]
            found = found.reshape(rows // 2, 2, columns // 2, 2).max(axis=(1, 3))
        return found.astype(np.int8)


@dataclass
class Channel:
    """A map int8 [rows, columns] and the stages behind it."""

    values: np.ndarray
    highest: int  # what the map may have at most
    stages: list
    pixel: int = 1  # bytes from a value to the next of the map that is read
    to_pixel: int = 1

    def packed(self, multiplier=False):
        """(bytes of all taps, bytes of code) for cores with a multiplier or without."""
        highest, packed, most = self.highest, [], 0
        for one in self.stages:
            taps, code = pack_depthwise(one.taps, one.bias, one.shift, highest, multiplier)
            packed, most, highest = packed + taps, max(most, code), one.highest
        return packed, most

    @property
    def output(self):
        values = self.values
        for stage in self.stages:
            values = stage.output(values)
        return values


CANARY = 0x5A
FIRMWARE = """#include "chip.h"
#include "kernel_cases.h"

#define CANARY 0x5a
#define CANARIES 0x5a5a5a5au
#define MARGIN 8u /* words, or bytes, that must stay as they are */

static uint32_t source[MOST_PAIRS + 2 * MARGIN], target[MOST_PAIRS + 2 * MARGIN];
static uint32_t code[MOST_CODE / 4 + 2 * MARGIN];
static int8_t values[MOST_OUTPUTS + 2 * MARGIN];

#ifdef __riscv
#define BORROWED(get, set) \\
    static uint32_t get(void) { \\
        uint32_t value; \\
        __asm__ volatile("mv %0, " #set : "=r"(value)); \\
        return value; \\
    }
BORROWED(get_gp, gp)
BORROWED(get_tp, tp)
BORROWED(get_sp, sp)
#else
static uint32_t get_gp(void) { return 0; }
static uint32_t get_tp(void) { return 0; }
static uint32_t get_sp(void) { return 0; }
#endif

static void fill(uint32_t *words, uint32_t count) {
    while (count > 0)
        words[--count] = CANARIES;
}

/* Whether words outside `count` behind the margin were written. */
static uint32_t spilt(const uint32_t *words, uint32_t count, uint32_t all) {
    uint32_t i, wrong = 0;

    for (i = 0; i < all; i++)
        if (i < MARGIN || i >= MARGIN + count)
            wrong |= words[i] != CANARIES;
    return wrong;
}

static uint32_t run(const Case *one) {
    uint32_t gp = get_gp(), tp = get_tp(), sp = get_sp(), wrong, i, x, rows = one->rows;
    uint32_t columns = one->columns, words = one->words, size;
    uint32_t *from = source + MARGIN, *to = one->in_place ? from : target + MARGIN, *other;
    const uint8_t *taps = one->taps;
    const BitNetMCU_depthwise *stage = one->stages;

    fill(source, MOST_PAIRS + 2 * MARGIN);
    fill(target, MOST_PAIRS + 2 * MARGIN);
    fill(code, MOST_CODE / 4 + 2 * MARGIN);
    code[MARGIN] = 0;
    for (i = 0; i < MOST_OUTPUTS + 2 * MARGIN; i++)
        values[i] = CANARY;
    BitNetMCU_pair_rows(one->map, rows, columns, one->pixel, from);
    wrong = spilt(source, words, MOST_PAIRS + 2 * MARGIN);
    if (rows & 1) /* anything in range is fine behind the last row */
        for (i = words - columns; i < words; i++)
            from[i] = (from[i] & 0xffff) + (one->highest << 16);
    for (i = 0; i < one->count; i++, stage++) {
        wrong |= stage->rows != rows || stage->columns != columns;
        taps = CONVOLVE(from, stage, taps, to, code + MARGIN);
        wrong |= gp != get_gp() || tp != get_tp() || sp != get_sp();
        rows = stage->pool ? (rows - 2) / 2 : rows - 2;
        columns = stage->pool ? (columns - 2) / 2 : columns - 2;
        size = one->sizes[i];
        wrong |= spilt(to - MARGIN, one->in_place ? words : size, MOST_PAIRS + 2 * MARGIN);
        for (x = size - columns; rows & 1 && x < size; x++)
            wrong |= to[x] >> 16 > stage->highest;
        if (!one->in_place) {
            fill(from - MARGIN, MOST_PAIRS + 2 * MARGIN);
            other = from;
            from = to;
            to = other;
        }
    }
    wrong |= taps != one->taps + one->bytes;
    wrong |= spilt(code, one->code / 4, MOST_CODE / 4 + 2 * MARGIN);
    BitNetMCU_unpair_rows(from, rows, columns, one->to_pixel, values + MARGIN);
    for (i = 0; i < MOST_OUTPUTS + 2 * MARGIN; i++)
        if (i < MARGIN || i >= MARGIN + one->outputs)
            wrong |= values[i] != CANARY;
        else
            wrong |= values[i] != one->expected[i - MARGIN];
    return wrong;
}

int main(void) {
    uint32_t i;

    chip_init();
    for (i = 0; i < CASES; i++)
        chip_put(run(&cases[i]) ? 'x' : '.');
    for (;;)
        chip_sleep();
}
"""


def header_of(cases, multiplier):
    """kernel_cases.h for FIRMWARE: each case in two buffers, and in place."""
    function = "multiply" if multiplier else "depthwise"
    text = f"#define CONVOLVE BitNetMCU_{function}_3x3\n"
    text += """#include "BitNetMCU_inference.h"
typedef struct {
    const int8_t *map;
    uint32_t rows, columns, highest, pixel, to_pixel, count, bytes, code, words, outputs;
    uint32_t in_place;
    const uint32_t *sizes; /* of the map behind each stage, in words */
    const BitNetMCU_depthwise *stages;
    const uint8_t *taps;
    const int8_t *expected;
} Case;
"""
    table, most_code = [], 0
    for index, one in enumerate(cases):
        packed, code = one.packed(multiplier)
        most_code = max(most_code, code)
        spread = np.full((one.values.size, one.pixel), -1, np.int8)
        spread[:, 0] = one.values.ravel()
        stages, sizes, (rows, columns) = [], [], one.values.shape
        words = (rows + 1) // 2 * columns
        for stage in one.stages:
            stages.append(f"{{{rows}, {columns}, {stage.highest}, {int(stage.pool)}}}")
            rows, columns = ((size - 2) // (1 + stage.pool) for size in (rows, columns))
            sizes.append((rows + 1) // 2 * columns)
        outputs = np.full((one.output.size, one.to_pixel), CANARY, np.int8)
        outputs[:, 0] = one.output.ravel()
        text += array(f"static const int8_t map_{index}", spread.ravel())
        text += array(f"static const uint32_t sizes_{index}", np.array(sizes, np.uint32))
        text += array(f"static const uint8_t taps_{index}", np.array(packed, np.uint8))
        text += array(f"static const int8_t out_{index}", outputs.ravel())
        text += f"static const BitNetMCU_depthwise stages_{index}[] = {{{', '.join(stages)}}};\n"
        numbers = [*one.values.shape, one.highest, one.pixel, one.to_pixel, len(one.stages)]
        numbers += [len(packed), code, words, outputs.size]
        for in_place in (0, 1):
            row = ", ".join(map(str, [*numbers, in_place]))
            arrays = ", ".join(f"{name}_{index}" for name in ("sizes", "stages", "taps", "out"))
            table.append(f"{{map_{index}, {row}, {arrays}}}")
    text += "static const Case cases[] = {" + ",\n".join(table) + "};\n"
    pairs = max((one.values.shape[0] + 1) // 2 * one.values.shape[1] for one in cases)
    outputs = max(one.output.size * one.to_pixel for one in cases)
    text += f"#define CASES {len(table)}u\n#define MOST_PAIRS {pairs}u\n"
    return text + f"#define MOST_CODE {most_code}u\n#define MOST_OUTPUTS {outputs}u\n"


NAMES = ["FP130", "4bitsym", "4bit", "2bitsym", "Ternary", "8bit", "Binary", "NF4"]
KINDS = ["none", "most", "dense", "columns", "sparse", "sparse"]


def taps_of(rng, name, kind):
    """Integers [3, 3] of a format."""
    levels = np.sort(FORMATS[name].levels)
    if kind == "most":
        return np.full((3, 3), levels[-1])
    if kind == "least":
        return np.full((3, 3), levels[0])
    if kind == "mixed":
        return np.where(rng.random((3, 3)) < 0.5, levels[0], levels[-1])
    if kind == "small":
        return rng.choice(levels[np.argsort(np.abs(levels))][:4], (3, 3))
    return rng.choice(levels, (3, 3))


def map_of(rng, shape, highest, kind):
    """int8 [rows, columns] from 0 to `highest`."""
    if kind in ("none", "most"):
        return np.full(shape, highest * (kind == "most"), np.int8)
    values = rng.integers(0, highest + 1, shape)
    if kind == "columns":
        values[:, rng.random(shape[1]) < 0.7] = 0
    if kind == "sparse":
        values[rng.random(shape) < 0.7] = 0
    return values.astype(np.int8)


def channel_of(rng, shape, *stages, bits=None, inputs=None, name=None, weights=None, shift=None):
    """A `Channel` with up to so many stages as `stages` says, each with a pool or without.

    What is not given is random, biases from none to as much as the sums.
    """
    highest = 2 ** (bits or int(rng.integers(1, 8))) - 1
    channel_highest, shapes = highest, shape
    found, name = [], name or rng.choice(NAMES)
    for pool in stages:
        if min(shapes) < 3 + pool:
            break
        taps = taps_of(rng, name, weights or rng.choice(["random", "small", "mixed"]))
        total = int(np.abs(taps).sum()) * highest
        bias = int(rng.integers(-total, total + 1) * rng.choice([0, 0, 0.1, 1]))
        most = total.bit_length() if shift is None else 0
        highest = 2 ** (bits or int(rng.integers(1, 8))) - 1
        by = int(rng.integers(0, most + 2)) if shift is None else shift
        if shift is None and rng.random() < 0.2:  # past 16 bits
            bias, by = int(rng.integers(-(2**18), 2**18)), int(rng.integers(0, 20))
        found.append(Stage(taps, bias, by, highest, bool(pool)))
        shapes = tuple((size - 2) // (1 + pool) for size in shapes)
    values = map_of(rng, shape, channel_highest, inputs or rng.choice(KINDS))
    pixels = (int(pixel) for pixel in rng.choice([1, 1, 2, 3, 7], 2))
    return Channel(values, channel_highest, found, *pixels)


def random_channels(rng, count, **given):
    """Maps of all sizes from 3x3 to 16x16, with one to three stages."""
    shapes = rng.integers(3, 17, (count, 2))
    return [
        channel_of(rng, tuple(map(int, shape)), 0 if min(shape) < 4 else rng.integers(0, 2),
                   *rng.integers(0, 2, 2), **given)
        for shape in shapes
    ]  # fmt: skip


def is_wide(channel):
    return bool(channel.packed()[0][0] & BITS["DEPTHWISE_WIDE"])


@pytest.fixture
def in_c(tmp_path):
    """Asserts that the C is exact on cases, under sanitizers, with and without a multiplier, which
    takes the taps of both."""

    def check(cases):
        (tmp_path / "chip.h").write_text(test_fast_kernels.HOSTED_CHIP)
        (tmp_path / "firmware.c").write_text(FIRMWARE)
        sources = [tmp_path / "firmware.c", ROOT / "kernels" / "depthwise.c"]
        for multiplier, packed in ((0, False), (1, False), (1, True)):
            (tmp_path / "kernel_cases.h").write_text(header_of(cases, packed))
            command = [*compiler(os.environ.get("CC", "cc"), SANITIZE), *STRICT, f"-I{tmp_path}"]
            command += [f"-DBITNETMCU_MULTIPLIER={multiplier}", "-o", tmp_path / "test", *sources]
            subprocess.run(command, check=True)
            done = subprocess.run([tmp_path / "test"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "." * 2 * len(cases)

    return check


@pytest.fixture
def in_assembly(on_chip, tmp_path):
    """Asserts that the assembly is exact on cases, in the emulator, on both kinds of cores."""

    def check(cases):
        firmware = tmp_path / "on_chip" / "firmware.c"  # without the chip.h of `in_c`
        firmware.parent.mkdir(exist_ok=True)
        firmware.write_text(FIRMWARE)
        for first, multiplier in itertools.product(range(0, len(cases), 12), (False, True)):
            some = cases[first : first + 12]
            header = header_of(some, multiplier)
            printed = on_chip(firmware, "depthwise.S", header, multiplier)
            assert printed == "." * 2 * len(some)

    return check


@pytest.mark.parametrize("name", NAMES)
def test_c_equals_the_contract(name, rng, in_c):
    cases = random_channels(rng, 100, name=name)
    assert {is_wide(one) for one in cases} == {False, True}
    in_c(cases)


@pytest.mark.parametrize("name", NAMES)
def test_assembly_equals_the_contract(name, rng, in_assembly):
    in_assembly(random_channels(rng, 36, name=name))


def test_the_network_that_it_was_made_for_is_exact(rng, in_c, in_assembly):
    """16x16 to 2x2, four bits, none of whose sums leave 16 bits."""
    cases = [
        channel_of(rng, (16, 16), 0, 1, 1, bits=4, name="FP130", weights="random", shift=shift)
        for shift in (6, 7, 8, 9)
        for _ in range(6)
    ]
    for one in cases:
        for stage in one.stages:
            stage.bias = 0
    cases = [Channel(one.values, 15, one.stages) for one in cases]
    assert not any(is_wide(one) for one in cases)
    in_c(cases)
    in_assembly(cases)


def extreme_channels(rng):
    """All taps at the ends of the format, with all values at the largest, none, any."""
    return [
        channel_of(rng, shape, pool, name=name, weights=weights, inputs=inputs, bits=bits,
                   shift=shift)
        for shape, pool in [((5, 6), 0), ((6, 7), 1)]
        for bits, name in [(7, "FP130"), (7, "8bit"), (4, "FP130"), (4, "4bitsym"), (1, "Ternary")]
        for weights in ("most", "least", "mixed")
        for inputs, shift in [("most", 0), ("most", 8), ("dense", 5), ("none", 31)]
    ]  # fmt: skip


def test_c_is_exact_at_the_extremes(rng, in_c):
    in_c(extreme_channels(rng))


def test_assembly_is_exact_at_the_extremes(rng, in_assembly):
    in_assembly(extreme_channels(rng))


def around_the_bounds(rng):
    """[(channel, whether it is wide)] whose sums just fit 16 bits, or do not, at either end."""
    for shift, past, sign, pool in itertools.product((0, 1, 7, 14), (0, 1), (-1, 1), (False, True)):
        taps = rng.choice([1, 2, 4, 8], (3, 3))
        taps[1, 1] = 3  # an odd one, so that nothing is taken off
        reach, half, above = 15 * int(taps.sum()), 1 << shift >> 1, (1 << shift) - HALF
        if sign > 0:
            bias = above + 2 * HALF - 1 + past - half - reach
        else:
            bias = above - past - half + reach
        values = map_of(rng, (6, 6), 15, "dense")
        values[:3, :3] = values[-3:, -3:] = 15
        yield Channel(values, 15, [Stage(sign * taps, bias, shift, 127, pool)]), bool(past)


def test_sums_that_just_fit_16_bits_are_exact_and_others_are_wide(rng, in_c, in_assembly):
    cases = list(around_the_bounds(rng))
    assert [is_wide(one) for one, _ in cases] == [past for _, past in cases]
    in_c([one for one, _ in cases])
    in_assembly([one for one, _ in cases])


@pytest.mark.parametrize("shape", [(3, 3), (3, 16), (16, 3), (4, 4), (4, 5), (5, 4), (15, 16)])
def test_maps_of_odd_and_smallest_sizes_are_exact(shape, rng, in_c, in_assembly):
    pools = (0, 1) if min(shape) > 3 else (0,)
    cases = [channel_of(rng, shape, pool) for pool in pools for _ in range(6)]
    in_c(cases)
    in_assembly(cases)


def test_a_background_that_is_not_0_is_exact(rng, in_c, in_assembly):
    """Where a map is 0, a positive bias alone makes the output."""
    cases = []
    for bias in (63, 64, 65, 500, 3000):
        for pool in (False, True):
            taps = taps_of(rng, "FP130", "small")
            values = map_of(rng, (16, 16), 15, "columns")
            values[:7] = 0
            cases.append(Channel(values, 15, [Stage(taps, bias, 7, 15, pool)]))
    in_c(cases)
    in_assembly(cases)


def test_columns_without_weights_are_exact(rng, in_c, in_assembly):
    cases = []
    for columns in itertools.product((0, 1), repeat=3):
        for shift, pool in ((1, False), (2, True), (16, False)):
            taps = taps_of(rng, "Binary", "random") * np.array(columns)
            stages = [Stage(taps, 3 << shift >> 1, shift, 15, pool)]
            cases.append(Channel(map_of(rng, (8, 9), 15, "dense"), 15, stages))
    in_c(cases)
    in_assembly(cases)


def test_the_largest_shifts_are_exact(rng, in_c, in_assembly):
    """By 14 bits both halves of a word can be shifted, by 15 they could in C alone."""
    cases = []
    for shift, pool in itertools.product((14, 15, 16), (False, True)):
        taps = taps_of(rng, "2bitsym", "random")
        stages = [Stage(taps, 1 << shift >> 1, shift, 15, pool)]  # outputs of 0 and 1
        cases.append(Channel(map_of(rng, (8, 9), 15, "dense"), 15, stages))
        assert is_wide(cases[-1]) == (shift > 14)
    in_c(cases)
    in_assembly(cases)


def test_taps_at_the_ends_of_int8_and_zeros_are_exact(rng, in_c, in_assembly):
    cases = []
    for bits, shift, pool in itertools.product((1, 4, 7), (0, 7, 16), (False, True)):
        taps = rng.choice([-128, -127, -2, -1, 0, 0, 1, 2, 127], (3, 3))
        stages = [Stage(taps, 0, shift, 2**bits - 1, pool)]
        cases.append(Channel(map_of(rng, (8, 9), 127, "dense"), 127, stages))
    in_c(cases)
    in_assembly(cases)


# --- packing


def test_digits_are_the_weight_and_no_two_are_side_by_side():
    for weight in range(-128, 129):
        found = digits(weight)
        assert sum(sign * 2**exponent for exponent, sign in found) == weight
        exponents = [exponent for exponent, _ in found]
        assert all(a - b > 1 for a, b in zip(exponents, exponents[1:]))
        assert max(exponents, default=0) <= 7


def test_taps_of_powers_of_two_take_six_bytes(rng):
    for _ in range(20):
        packed, code = pack_depthwise(taps_of(rng, "FP130", "random"), 0, 8, 7)
        assert len(packed) == 6
        assert code <= BITS["DEPTHWISE_CODE"] + 4 * 18


def test_taps_for_a_multiplier_take_a_byte_each_and_up_to_three_instructions():
    packed, code = pack_depthwise(np.array([[0, 1, -1], [3, -3, 7], [0, 0, 3]]), 0, 8, 7, True)
    assert packed[1:] == [0xFF, 7, 3, 1, 0xFD, 0, 0, 3, 0]
    assert code == BITS["DEPTHWISE_CODE"] + 4 * (5 * 1 + 4 * 3)


def test_a_tap_of_128_is_refused_for_a_multiplier_unless_all_are_powers_of_two():
    taps = np.array([[128, -128, 1], [64, 2, 1], [1, 1, 1]])
    assert pack_depthwise(taps, 0, 8, 7, True) == pack_depthwise(taps, 0, 8, 7)
    taps[1, 1] = 3
    pack_depthwise(taps, 0, 8, 7)
    with pytest.raises(Unfit, match="taps reach 128, past int8"):
        pack_depthwise(taps, 0, 8, 7, True)


def test_sums_past_int32_are_refused():
    with pytest.raises(Unfit, match="past int32"):
        pack_depthwise(np.full((3, 3), 127), 2**31 - 1, 0, 127)
