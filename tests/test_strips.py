"""Windows that share lists of set bits, in C and in assembly: exact; nothing else is written."""

import subprocess
from dataclasses import dataclass, replace

import numpy as np
import pytest
import test_fast_kernels
from conftest import ROOT, SANITIZE, STRICT, compiler

from compiler.emission import array
from compiler.formats import FORMATS
from compiler.graph import INT8, Range
from compiler.selection import Unfit
from lowbit import layouts
from lowbit.rules import IntegerLayer

on_chip = test_fast_kernels.on_chip
on_host = test_fast_kernels.on_host


@dataclass
class Windows:
    """A strip of activations int8 [rows, width, channels], and a layer of its windows.

    at_once, room: columns of a piece, at most, and entries of a list; None where there are no
    pieces.
    """

    strip: np.ndarray
    layer: IntegerLayer  # of `columns` pixel columns, position by position
    columns: int
    stride: int
    at_once: int | None = None
    room: int | None = None

    @property
    def column(self):
        """Values of a column."""
        return self.strip.shape[0] * self.strip.shape[2]

    @property
    def firsts(self):
        return range(0, self.strip.shape[1] - self.columns + 1, self.stride)

    def expected(self):
        """int32 [windows, outputs]"""
        by_column = self.strip.transpose(1, 0, 2).astype(np.int32)
        windows = [by_column[first : first + self.columns].ravel() for first in self.firsts]
        return np.array(windows) @ self.layer.weights.T


def layer_of(name, weights, bits):
    return IntegerLayer(FORMATS[name], np.asarray(weights, np.int32), reads=Range(0, 2**bits - 1))


def weights_for(rng, name, outputs, positions, kind):
    levels = np.sort(FORMATS[name].levels)
    if kind == "most":
        return np.full((outputs, positions), levels[-1])
    if kind == "least":
        return np.full((outputs, positions), levels[0])
    if kind == "mixed":
        weights = np.full((outputs, positions), levels[-1])
        weights[::2] = levels[0]
        return weights
    if kind == "small":
        return rng.choice(levels[6:10], (outputs, positions))
    return rng.choice(levels, (outputs, positions))


def inputs_for(rng, shape, bits, kind):
    most = 2**bits - 1
    if kind in ("none", "most"):
        return np.full(shape, most * (kind == "most"), np.int8)
    values = rng.integers(0, most + 1, shape)
    return np.where(rng.random(shape) < 0.4, values, 0).astype(np.int8)


def windows_of(rng, rows, width, channels, columns, outputs, bits, **kinds):
    """Random `Windows`, or None where their sums could not fit."""
    name = kinds.get("name", "4bitsym")
    weights = weights_for(rng, name, outputs, rows * columns * channels, kinds.get("weights"))
    layer = layer_of(name, weights, bits)
    strip = inputs_for(rng, (rows, width, channels), bits, kinds.get("inputs"))
    try:
        layouts.pack_strips(layer)
    except Unfit:
        return None
    one = Windows(strip, layer, columns, int(rng.integers(1, 4)))
    return in_pieces(rng, one) if kinds.get("pieces") else one


def in_pieces(rng, one):
    """The same `Windows` piece by piece: each of any size that the kernel takes."""
    most = min(layouts.STRIP_POSITIONS // one.column, one.strip.shape[1])
    at_once = int(rng.integers(1, most + 1))
    if rng.random() < 0.5:
        at_once = most
    room = int(rng.integers(one.column, at_once * one.column + 1))
    if rng.random() < 0.5:
        room = int(rng.integers(one.column, min(3 * one.column, at_once * one.column) + 1))
    return replace(one, at_once=at_once, room=room)


def random_windows(rng, most_bits, count):
    """So many `Windows` of inputs of up to so many bits."""
    found = []
    while len(found) < count:
        rows, channels = int(rng.integers(1, 17)), int(rng.choice([1, 1, 2, 3, 8, 32]))
        if rows * channels > 255:
            continue
        width = int(rng.integers(1, min(20, 255 // (rows * channels)) + 1))
        one = windows_of(
            rng, rows, width, channels, int(rng.integers(1, width + 1)), int(rng.integers(1, 65)),
            int(rng.integers(1, most_bits + 1)), name=rng.choice(["4bit", "4bitsym"]),
            weights=rng.choice(["most", "least", "mixed", "small", "random", "random"]),
            inputs=rng.choice(["none", "most", "random", "random"]),
        )  # fmt: skip
        found += [one] * (one is not None)
    return found


def header_of(rng, cases, most_bits):
    """kernel_cases.h for tests/strips_firmware.c."""
    text = """#include "kernels/strips.h"
typedef struct {
    const int8_t *map;
    uint32_t whole; /* or in pieces */
    BitNetMCU_pieces pieces;
    uint32_t bytes, shift; /* of the lists: how many, and from an aligned address */
    const int32_t *expected; /* NULL: any, as inputs are out of range */
} Case;
"""
    table = []
    for index, one in enumerate(cases):
        rows, width, channels = one.strip.shape
        bits, column, whole = one.layer.reads.bits, one.column, one.room is None
        positions, at_once = (one.strip.size, width) if whole else (one.room, one.at_once)
        padding = int(rng.choice([0, 0, 1, 2, 4]))  # behind each row of the map
        padded = np.full((rows, width * channels + padding), 127, np.int8)
        padded[:, : width * channels] = one.strip.reshape(rows, -1)
        lists = padded.ravel()[: rows * padded.shape[1] - padding]
        aligned = f"__attribute__((aligned({rng.choice([1, 4, 4])})))"
        text += array(f"{aligned} static const int8_t map_{index}", lists)
        words = layouts.pack_strips(one.layer)
        text += array(f"static const uint32_t weights_{index}", words.ravel())
        in_range = one.strip.min() >= 0 and one.strip.max() <= one.layer.reads.highest
        if in_range:
            text += array(f"static const int32_t out_{index}", one.expected().ravel())
        expected = f"out_{index}" if in_range else 0
        entries = bits * positions
        size = entries + min(most_bits, 7) * (at_once + 1)
        strip = f"{padded.shape[1]}, {width}, {rows}, {channels}, {bits}, {positions}, {entries}"
        strip += f", {one.columns}, {one.layer.outputs}, {one.layer.inputs}, weights_{index}, "
        strip += ", ".join(map(str, layouts.strip_constants(one.layer)))
        strip += f", {rows * padded.shape[1]}"
        steps = f"{one.stride}, {one.stride * column}, {one.stride * channels}, {column}"
        pieces = f"{{{strip}}}, {at_once}, {positions // column}, {steps}"
        numbers = f"{size}, {int(rng.integers(0, 4))}"
        table.append(f"{{map_{index}, {int(whole)}, {{{pieces}}}, {numbers}, {expected}}}")
    text += "static const Case cases[] = {" + ",\n".join(table) + "};\n"
    most = 7 * 255 + 7 * 256
    return (
        text
        + f"#define CASES {len(table)}u\n#define MOST_BYTES {most}u\n#define MOST_OUTPUTS 64u\n"
    )


def defines(bits, highest=None):
    """Options of the compiler for inputs of so many bits, and strips of values up to `highest`."""
    strips = [f"-DBITNETMCU_STRIP_HIGHEST={highest}"] if highest else []
    return [f"-DBITNETMCU_BITS={bits}", *strips]


@pytest.fixture(params=["gcc", "clang"])
def in_c(request, tmp_path):
    """Asserts that the C is exact on cases, under sanitizers."""

    def check(rng, cases, bits, *highest):
        (tmp_path / "chip.h").write_text(test_fast_kernels.HOSTED_CHIP)
        (tmp_path / "kernel_cases.h").write_text(header_of(rng, cases, bits))
        kernels = [ROOT / "kernels" / name for name in ("strips.c", "pieces.c")]
        sources = [ROOT / "tests" / "strips_firmware.c", *kernels]
        command = [*compiler(request.param, SANITIZE), *STRICT, f"-I{tmp_path}"]
        command += [*defines(bits, *highest), "-o", tmp_path / "test", *sources]
        subprocess.run(command, check=True)
        done = subprocess.run([tmp_path / "test"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "." * len(cases)

    return check


@pytest.fixture
def in_assembly(on_chip):
    """Asserts that the assembly is exact on cases, in the emulator."""

    def check(rng, cases, bits, *highest):
        header = header_of(rng, cases, bits)
        options = defines(bits, *highest)
        files = "strips.S pieces.S"
        printed = on_chip("strips_firmware.c", files, header, options=options)
        assert printed == "." * len(cases)

    return check


def extreme_windows(rng, bits):
    """All weights at the ends of the format, with all activations at the largest, none, any."""
    cases = [
        windows_of(rng, *shape, bits, name=name, weights=weights, inputs=inputs)
        for shape in [(7, 9, 1, 7, 33), (1, 1, 32, 1, 12), (3, 5, 4, 3, 16)]
        for name in ("4bit", "4bitsym")
        for weights in ("most", "least", "mixed", "small")
        for inputs in ("most", "none", "random")
    ]
    return [one for one in cases if one]


@pytest.mark.parametrize("bits", [1, 4, 5, 7, 8])
def test_windows_in_c_equal_the_integer_layer(bits, rng, in_c):
    in_c(rng, [*random_windows(rng, min(bits, 7), 60), *extreme_windows(rng, min(bits, 7))], bits)


@pytest.mark.parametrize("bits", range(1, 9))
def test_windows_in_assembly_equal_the_integer_layer(bits, rng, in_assembly):
    for _ in range(3):
        in_assembly(rng, random_windows(rng, min(bits, 7), 9), bits)


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
def test_windows_in_assembly_are_exact_for_extreme_weights(bits, rng, in_assembly):
    cases = extreme_windows(rng, min(bits, 7))
    for first in range(0, len(cases), 24):
        in_assembly(rng, cases[first : first + 24], bits)


@pytest.mark.parametrize(("built_for", "bits"), [(8, 4), (8, 1), (5, 4), (4, 4), (7, 6)])
def test_inputs_out_of_range_write_nothing_outside_the_lists(
    built_for, bits, rng, in_c, in_assembly
):
    shapes = [(7, 16, 1, 7, 32), (1, 3, 48, 1, 16)]
    cases = [windows_of(rng, *shape, bits) for shape in shapes]
    for one in cases:
        one.strip[...] = rng.integers(-128, 128, one.strip.shape)
    full = windows_of(rng, *shapes[0], bits)
    full.strip[...] = -1  # all bits
    in_c(rng, [*cases, full], built_for)
    in_assembly(rng, [*cases, full], built_for)


@pytest.mark.parametrize("highest", [1, 2, 3, 4, 8, 16, 64])
def test_lists_are_as_many_as_the_largest_value_needs(highest, rng, in_c, in_assembly):
    cases = []
    for shape in [(7, 9, 1, 7, 33), (1, 2, 32, 1, 12)]:
        one = windows_of(rng, *shape, highest.bit_length())
        layer = replace(one.layer, reads=Range(0, highest))
        strip = np.minimum(one.strip, highest)
        cases += [replace(one, strip=strip, layer=layer)]
        cases += [replace(one, strip=np.full_like(strip, highest), layer=layer)]
    for bits in (8, highest.bit_length()):
        in_c(rng, cases, bits, highest)
        in_assembly(rng, cases, bits, highest)


@pytest.mark.parametrize("outputs", [1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 49, 64])
def test_windows_write_so_many_outputs(outputs, rng, in_c, in_assembly):
    cases = [windows_of(rng, 3, 6, 2, 3, outputs, 4, inputs=kind) for kind in ("none", "random")]
    in_c(rng, cases, 4)
    in_assembly(rng, cases, 4)


def test_lists_of_as_many_rows_as_8_bit_lanes_hold_are_exact(rng, in_c, in_assembly):
    """The worst case of the proof: the largest weights of an output, and one more."""
    layer = layer_of("4bit", weights_for(rng, "4bit", 9, 98, "random"), 4)
    most, _ = layouts.nibble_lists(layer, layer.inputs)
    assert layouts.NIBBLES["ANY_ROWS"] < most < 98
    cases = []
    for output in range(9):
        order = np.argsort(layer.weights[output])
        for some in (order[:most], order[-most:], order[: most + 1], order[-17:], order):
            strip = np.isin(np.arange(98), some).reshape(14, 7, 1).transpose(1, 0, 2) * 15
            cases.append(Windows(strip.astype(np.int8), layer, 14, 1))
    in_c(rng, cases, 4)
    in_assembly(rng, cases, 4)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (layer_of("4bit", np.full((2, 74), 7), 7), "16 bits"),
        (layer_of("4bit", np.ones((1, 256)), 1), "256 values"),
        (layer_of("Binary", np.ones((1, 9)), 1), "Binary"),
        (IntegerLayer(FORMATS["4bit"], np.ones((1, 9), np.int32), reads=INT8), "negative"),
    ],
)
def test_windows_that_would_not_be_exact_are_refused(layer, reason):
    with pytest.raises(Unfit, match=reason):
        layouts.pack_strips(layer)


def test_the_largest_windows_that_fit_16_bits_are_exact(rng, in_c, in_assembly):
    """73 weights of 7 reach 127 * 7 * 73 = 64,897 of 65,535."""
    layer = layer_of("4bit", np.full((3, 73), 7), 7)
    cases = [Windows(np.full((73, 1, 1), 127, np.int8), layer, 1, 1)]
    in_c(rng, cases, 7)
    in_assembly(rng, cases, 7)


# --- strips in pieces


def random_pieces(rng, most_bits, bytes_of_all):
    """`Windows` in pieces, of inputs of up to so many bits, that take about so much flash."""
    found, taken = [], 0
    while taken < bytes_of_all:
        rows, columns = int(rng.integers(1, 6)), int(rng.integers(1, 6))
        channels = int(rng.choice([1, 2, 3, 4, 5, 8, 12, 16, 24, 32]))
        width, outputs = columns + int(rng.integers(0, 12)), int(rng.integers(1, 41))
        one = windows_of(
            rng, rows, width, channels, columns, outputs, int(rng.integers(1, most_bits + 1)),
            name=rng.choice(["4bit", "4bitsym"]), pieces=True,
            weights=rng.choice(["most", "least", "mixed", "small", "random", "random"]),
            inputs=rng.choice(["none", "most", "random", "random"]),
        )  # fmt: skip
        if one is None:
            continue
        if rng.random() < 0.2:  # some of it dense
            one.strip[:, width // 2 :] = one.layer.reads.highest
        if rng.random() < 0.3:
            one.strip[rng.random(one.strip.shape) < 0.8] = 0
        found.append(one)
        words = layouts.pack_strips(one.layer)
        taken += words.nbytes + one.strip.size + 4 * one.expected().size
    return found


@pytest.mark.parametrize("bits", range(1, 9))
def test_pieces_in_c_equal_the_integer_layer(bits, rng, in_c):
    in_c(rng, random_pieces(rng, min(bits, 7), 400_000), bits)


@pytest.mark.parametrize("bits", range(1, 9))
def test_pieces_in_assembly_equal_the_integer_layer(bits, rng, in_assembly):
    for _ in range(6):
        in_assembly(rng, random_pieces(rng, min(bits, 7), 30_000), bits)


@pytest.mark.parametrize("inputs", ["most", "random"])
@pytest.mark.parametrize("shape", [(3, 10, 16, 3, 24), (3, 6, 28, 3, 8), (5, 7, 10, 5, 9)])
def test_windows_that_lists_do_not_hold_are_summed_by_parts(shape, inputs, rng, in_c, in_assembly):
    """Of 144, 252 and 250 values, with room for one column of them to all that lists can name."""
    cases = []
    one = windows_of(rng, *shape, 4, inputs=inputs, pieces=True)
    for at_once in range(1, 255 // one.column + 1):
        for room in {one.column, at_once * one.column, (at_once + 1) * one.column // 2}:
            cases.append(replace(one, at_once=at_once, room=room, stride=1))
    in_c(rng, cases, 4)
    for case in cases[:5]:
        in_assembly(rng, [case], 4)


@pytest.mark.parametrize("outputs", [1, 7, 8, 9, 16, 17, 24, 25, 31, 32, 33, 40, 41, 64])
def test_pieces_write_so_many_outputs(outputs, rng, in_c, in_assembly):
    cases = [
        windows_of(rng, 3, 6, 4, 3, outputs, 4, name=name, pieces=True)
        for name in ("4bit", "4bitsym")
    ]
    in_c(rng, cases, 4)
    in_assembly(rng, cases, 4)


@pytest.mark.parametrize(("built_for", "bits"), [(8, 4), (8, 1), (5, 4), (4, 4), (7, 6)])
def test_pieces_out_of_range_write_nothing_outside_the_lists(
    built_for, bits, rng, in_c, in_assembly
):
    cases = [
        windows_of(rng, rows, 9, channels, 3, 16, bits, pieces=True)
        for rows, channels in [(3, 16), (4, 5), (7, 1), (2, 4)]
    ]
    for one in cases:
        one.strip[...] = rng.integers(-128, 128, one.strip.shape)
    cases += [replace(one, strip=np.full_like(one.strip, -1)) for one in cases]
    in_c(rng, cases, built_for)
    in_assembly(rng, cases, built_for)


# --- what is behind windows of a pool


@pytest.mark.parametrize("highest", [1, 7, 15, 100, 127])
def test_the_larger_activations_stay(highest, rng, on_host, on_chip):
    cases = [*test_fast_kernels.around_every_level(rng, highest)]
    header = test_fast_kernels.requantise_header(cases)
    assert on_host("max_firmware.c", header) == "." * len(cases)
    assert on_chip("max_firmware.c", "shiftnorm.S", header) == "." * len(cases)
