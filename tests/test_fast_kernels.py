"""The fast kernels, layer by layer, in C and in assembly: exact at every bound they rely on."""

import itertools
import os
import shutil
import subprocess
from dataclasses import replace
from functools import cache

import budget
import fuzz
import link
import machine
import numpy as np
import pytest
from conftest import ROOT, SANITIZE, STRICT, compiler

from compiler.emission import array
from compiler.formats import FORMATS
from compiler.graph import DTYPES, INT32, Range, Step
from compiler.selection import Choice, choose
from lowbit import kernelrows, layouts, lowering, rules
from lowbit.rules import IntegerLayer

MCU = ROOT / "mcu"
CROSS = ("riscv64-unknown-elf-gcc", "riscv-none-elf-gcc", "riscv64-elf-gcc")
CORES = {False: ["-march=rv32ec"], True: ["-march=rv32emc", "-mno-div"]}  # with a multiplier?
FLASH, SRAM = 65_536, 8_192  # the emulator's most
SHAPES = [(1, 1), (3, 17), (17, 3), (38, 4), (39, 8), (60, 64), (64, 100), (171, 34), (200, 130)]
SERVED = [  # (format, the name of a fast kernel for it)
    (name, kernel.name) for kernel in kernelrows.FAST for name in kernel.formats if kernel.by_input
]
IN_ASSEMBLY = [
    (name, kernel)
    for name, kernel in SERVED
    if (ROOT / "kernels" / "riscv" / f"{kernel.split('_')[0]}.S").exists()
]
ONE_OF_EACH_FILE = [
    *(("2bitsym", "planes_2bitsym"), ("4bitsym", "nibbles"), ("4bit", "multiply_4bit")),
    *(("FP130", "shifts"), ("NF4", "pairs"), ("NF4", "table")),
]


def kernel_of(name, kernel):
    return next(k for k in kernelrows.FAST if k.name == kernel and name in k.formats)


def layer_of(name, weights):
    return IntegerLayer(FORMATS[name], np.asarray(weights, np.int32))


def random_layer(rng, name, inputs, outputs, spread=1.0):
    """Uniformly random weights from the middle `spread` of the levels."""
    levels = np.sort(FORMATS[name].levels)
    few = max(2, round(len(levels) * spread))
    first = (len(levels) - few) // 2
    return layer_of(name, rng.choice(levels[first : first + few], (outputs, inputs)))


def inputs_for(rng, size, reads):
    """int8 [N, size] in a `Range`: none, all at the largest, a spike, dense and sparse noise."""
    low, most = reads.lowest, reads.highest

    def noise():
        return rng.integers(low, most + 1, size)

    rows = [np.full(size, value) for value in (low, low + 1, most)]
    rows.append(np.where(np.arange(size) == rng.integers(size), most, low))
    rows += [noise() for _ in range(3)]
    rows += [np.where(rng.random(size) < 0.2, noise(), low) for _ in range(3)]
    return np.array(rows, np.int8)


def reads_of(kernel, bits=8):
    """The `Range`s of inputs that a kernel takes: of so many bits, and signed ones where 8."""
    if kernel.name == "pairs":
        return [Range(0, min(2**bits - 1, layouts.PAIRS["MOST_INPUT"]))]
    return [lowering.IMAGES, lowering.MEASURED] if bits == 8 else [Range(0, 2**bits - 1)]


def choice_of(kernel, layer, reads=None):
    """The `Choice` of a kernel for a layer whose inputs are in a `Range`, else all it takes."""
    return Choice(kernel, kernel.pack(replace(layer, reads=reads or reads_of(kernel)[0])))


def chosen(layer, reads=lowering.IMAGES, **core):
    """The `Choice` for a layer where speed counts."""
    step = Step(1, "LINEAR", [], [], replace(layer, reads=reads))
    return choose(step, kernelrows.candidates(layer, "speed", **core))


def cases_of(rng, layer, kernel):
    """[(layer, `Choice`, int8 inputs [N, I])], with unsigned and signed inputs."""
    return [
        (layer, choice_of(kernel, layer, reads), inputs_for(rng, layer.inputs, reads))
        for reads in reads_of(kernel)
    ]


@pytest.fixture(scope="session")
def in_c(tmp_path_factory):
    """Asserts that the C is exact on cases, under sanitizers, built for its kernel's cores.

    bits: BITNETMCU_BITS. Of few bits all fast kernels are in the build with multiplications.
    """
    folder = tmp_path_factory.mktemp("fuzz")

    @cache
    def program_of(multiplier, bits):
        return fuzz.build(folder, multiplier, bits)

    def check(cases, bits=8):
        for multiplier in (0, 1) if bits == 8 else (1,):
            program = program_of(multiplier, bits)
            able = [case for case in cases if multiplier >= case[1].kernel.multiplier]
            models = [(lowering.chain_of([layer]), [choice], x) for layer, choice, x in able]
            stream = b"".join(fuzz.serialise(*model, multiplier) for model in models)
            done = subprocess.run([program], input=stream, capture_output=True)
            assert done.returncode == 0, done.stderr.decode()
            wanted = [fuzz.expected(graph, x).ravel() for graph, _, x in models]
            assert done.stdout == b"".join(record.tobytes() for record in wanted)

    return check


HOSTED_CHIP = """#include <stdio.h>
#include <stdlib.h>
#define chip_init() (void)0
#define chip_put(c) putchar(c)
#define chip_sleep() exit(0)
"""


@pytest.fixture
def on_host(tmp_path):
    """Runs a test firmware and the plain kernels here, sanitized; returns what it prints."""

    def run(firmware, header):
        (tmp_path / "chip.h").write_text(HOSTED_CHIP)
        (tmp_path / "kernel_cases.h").write_text(header)
        sources = [ROOT / "tests" / firmware, kernelrows.PLAIN_SOURCE]
        command = compiler(os.environ.get("CC", "cc"), SANITIZE)
        command += [*STRICT, f"-I{tmp_path}", "-o", tmp_path / "test", *sources]
        subprocess.run(command, check=True)
        done = subprocess.run([tmp_path / "test"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def on_chip(tmp_path_factory):
    """Runs a test firmware and files of assembly in the emulator, and returns what it prints.

    Asserts that the stack stays within its static bound, which has the frames that the files state.
    Arguments: file names of the firmware and of the assembly, with spaces between them, the text of
    kernel_cases.h, whether the core has a multiplier, and options of the compiler.
    """
    cross = next(filter(None, map(shutil.which, CROSS)), None)
    if cross is None:
        pytest.skip("no RISC-V compiler; make toolchain installs it")
    folder = tmp_path_factory.mktemp("assembly")
    emulator, elf, script = folder / "emulator", folder / "test.elf", folder / "link.ld"
    code = sorted((MCU / "emulator").glob("*.c"))
    subprocess.run(["cc", "-O2", "-o", emulator, *code], check=True)
    link.write_script([cross], script, "inner", FLASH, SRAM)
    flags = ["-mabi=ilp32e", "-Os", "-ffreestanding", "-ffunction-sections", "-nostdlib", "-static"]
    flags += ["-DLED_BIT=0u", "-DLED_PORT='C'", "-Wl,--no-warn-rwx-segments", "-fstack-usage"]
    flags += [f"-I{ROOT}", f"-I{MCU}", f"-I{folder}", f"-Wl,-T{script}"]

    def run(firmware, files, header, multiplier=False, options=()):
        (folder / "kernel_cases.h").write_text(header)
        command = [cross, *CORES[multiplier], *flags, *options]
        command.append(f"-DWAIT_STATES={1 + multiplier}u")
        assembly = []
        for file in files.split():
            source = ROOT / "kernels" / "riscv" / file
            assembly.append(folder / f"assembly-{source.stem}.o")  # as the link script names it
            subprocess.run([*command, "-c", "-o", assembly[-1], source], check=True)
        sources = [ROOT / "tests" / firmware, MCU / "riscv/start.S", MCU / "riscv/chip.c"]
        subprocess.run([*command, "-o", elf, *sources, *assembly], check=True)
        core = ["--flash", str(FLASH), "--sram", str(SRAM), *["--mul"] * multiplier]
        done = machine.Emulator(emulator, *core).run(elf)
        compiled, stated = budget.frames(folder.glob("*.su")), budget.stated_frames(elf)
        graph = budget.calls(elf, cross.replace("gcc", "objdump"), stated)
        bound, path = budget.worst_stack("main", graph, stated | compiled)
        assert 0 < done.stack <= bound, path
        return done.console.strip()

    return run


@pytest.fixture(scope="session")
def in_assembly(on_chip):
    """Asserts that the assembly is exact on cases of one kernel, in the emulator."""

    def check(cases, bits=8):
        kernel = cases[0][1].kernel
        source = f"{kernel.name.split('_')[0]}.S"
        options = [f"-DKERNEL=BitNetMCU_fc_{kernel.name}", f"-DBITNETMCU_BITS={bits}"]
        header = cases_header(cases)
        printed = on_chip("kernel_firmware.c", source, header, kernel.multiplier, options)
        assert printed == "." * sum(len(x) for _, _, x in cases)

    return check


def cases_header(cases):
    """kernel_cases.h: inputs, weights and expected accumulators for tests/kernel_firmware.c."""
    text = """#include "BitNetMCU_inference.h"
typedef struct {
    const int8_t *activations;
    int32_t offset;
    const uint32_t *rows;
    uint32_t inputs, outputs;
    const int32_t *expected;
} Case;
"""
    table = []
    for index, (layer, choice, inputs) in enumerate(cases):
        offset = choice.packed["offset"]
        text += array(f"static const uint32_t rows_{index}", choice.packed["words"].ravel())
        for number, row in enumerate(inputs):
            name = f"{index}_{number}"
            sums = rules.linear(layer, row[None].astype(np.int32) + offset)[0]
            text += array(f"static const int8_t in_{name}", row)
            text += array(f"static const int32_t out_{name}", sums)
            sizes = f"{layer.inputs}, {layer.outputs}"
            table.append(f"{{in_{name}, {offset}, rows_{index}, {sizes}, out_{name}}}")
    text += "static const Case cases[] = {" + ",\n".join(table) + "};\n"
    return text + f"#define CASES {len(table)}u\n"


@pytest.mark.parametrize("spread", [0.3, 1.0])
@pytest.mark.parametrize(("name", "kernel"), SERVED)
def test_c_equals_the_integer_layer(name, kernel, spread, rng, in_c):
    cases = [
        case
        for shape in [*SHAPES, (4096, 9)]
        for case in cases_of(rng, random_layer(rng, name, *shape, spread), kernel_of(name, kernel))
    ]
    in_c(cases)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "kernel"), IN_ASSEMBLY)
def test_assembly_equals_the_integer_layer(name, kernel, shape, rng, in_assembly):
    for case in cases_of(rng, random_layer(rng, name, *shape), kernel_of(name, kernel)):
        in_assembly([case])


def every_level(name):
    """(a layer whose output j has the level j of the format for weights, an input of 1)."""
    levels = np.array(FORMATS[name].levels)
    return layer_of(name, np.repeat(levels[:, None], 32, 1)), np.eye(1, 32, dtype=np.int8)


@pytest.mark.parametrize("name", FORMATS)
def test_every_kernel_in_c_has_the_levels_of_the_format(name, in_c):
    layer, x = every_level(name)
    kernels = kernelrows.kernels_of(FORMATS[name])
    in_c([(layer, choice_of(kernel, layer), x) for kernel in kernels])


@pytest.mark.parametrize(("name", "kernel"), IN_ASSEMBLY)
def test_every_kernel_in_assembly_has_the_levels_of_the_format(name, kernel, in_assembly):
    layer, x = every_level(name)
    in_assembly([(layer, choice_of(kernel_of(name, kernel), layer), x)])


def extreme_layers(name, inputs, outputs):
    """All weights at one level: each end of the format, and the middle; and ends that alternate."""
    levels = np.sort(FORMATS[name].levels)
    for level in (0, len(levels) // 2, -1):
        yield layer_of(name, np.full((outputs, inputs), levels[level]))
    mixed = np.full((outputs, inputs), levels[-1])
    mixed[::2] = levels[0]
    yield layer_of(name, mixed)


@pytest.mark.parametrize(("name", "kernel"), SERVED)
def test_c_is_exact_for_extreme_weights(name, kernel, rng, in_c):
    layers = (*extreme_layers(name, 300, 20), *extreme_layers(name, 4096, 3))
    in_c([case for layer in layers for case in cases_of(rng, layer, kernel_of(name, kernel))])


@pytest.mark.parametrize(("name", "kernel"), IN_ASSEMBLY)
def test_assembly_is_exact_for_extreme_weights(name, kernel, rng, in_assembly):
    layers = (*extreme_layers(name, 300, 20), *extreme_layers(name, 2000, 3))
    for layer in layers:
        cases = cases_of(rng, layer, kernel_of(name, kernel))
        in_assembly([(layer, choice, inputs[:3]) for layer, choice, inputs in cases])


# --- few bits


def few_bits_cases(rng, name, kernel, bits):
    """[(layer, `Choice`, inputs)] of a kernel at the extremes of BITNETMCU_BITS below 8."""
    kernel = kernel_of(name, kernel)
    (reads,) = reads_of(kernel, bits)
    shapes = [(1, 1), (39, 8), (60, 64), (171, 34)]
    layers = [random_layer(rng, name, *shape, 0.6) for shape in shapes]
    layers += extreme_layers(name, 300, 20)
    return [
        (layer, choice_of(kernel, layer, reads), inputs_for(rng, layer.inputs, reads))
        for layer in layers
    ]


@pytest.mark.parametrize("bits", range(1, 8))
def test_c_is_exact_for_few_bits(bits, rng, in_c):
    in_c([case for served in SERVED for case in few_bits_cases(rng, *served, bits)], bits)


@pytest.mark.parametrize("bits", range(1, 8))
@pytest.mark.parametrize(("name", "kernel"), ONE_OF_EACH_FILE)
def test_assembly_is_exact_for_few_bits(name, kernel, bits, rng, in_assembly):
    """Of a file, one kernel: they share what is specialised."""
    in_assembly(few_bits_cases(rng, name, kernel, bits), bits)


def test_pairs_take_inputs_of_few_bits_only(rng):
    layer = random_layer(rng, "NF4", 20, 10)
    names = [chosen(layer, Range(0, largest)).kernel.name for largest in (1, 15, 16, 127)]
    assert names == ["pairs", "pairs", "table", "table"]
    assert chosen(layer, lowering.MEASURED).kernel.name == "table"


def test_a_batch_without_a_network_for_a_build_does_not_run_it():
    assert fuzz.run_batch({(0, 7): "false"}, 0, 1) == []


# --- requantisers


def requantise_header(cases):
    """kernel_cases.h for tests/requantise_firmware.c from [(int32 accumulators, highest, shift)].

    shift: None for ShiftNorm's own.
    """
    text = """#include "BitNetMCU_inference.h"
typedef struct {
    const int32_t *accumulators;
    const int8_t *expected;
    uint32_t count, highest, fixed, shift, fits_16, fits_rounded;
} Case;
"""
    table = []
    for index, (row, highest, shift) in enumerate(cases):
        writes, wide = Range(0, highest), row[None].astype(np.int64)  # which nothing leaves
        shifts = rules.shifts_of(row[None], writes) if shift is None else np.array([shift])
        text += array(f"static const int32_t in_{index}", row)
        text += array(f"static const int8_t out_{index}", rules.rounded(wide, shifts, writes)[0])
        fits = DTYPES["int16"].holds(Range(row.min(), row.max()))
        rounds = INT32.highest - int(row.max()) >= 1 << shifts[0] >> 1
        numbers = (len(row), highest, int(shift is not None), shifts[0], int(fits), int(rounds))
        table.append(f"{{in_{index}, out_{index}, {', '.join(map(str, numbers))}}}")
    text += "static const Case cases[] = {" + ",\n".join(table) + "};\n"
    most = max(len(row) for row, _, _ in cases)
    return text + f"#define CASES {len(table)}u\n#define MOST {most}\n"


def around_powers_of_two(rng, highest):
    """Cases for ShiftNorm where shift and rounding change, and at both ends of int32 and int16."""
    bits = highest.bit_length()
    tops = {0, -1, -(2**31), 2**31 - 1, -(2**15), highest, highest + 1}
    for bit in range(bits, 31):
        tops |= {2**bit - 1, 2**bit, 2**bit + 1, 2**bit - (1 << bit - bits >> 1)}
    for top, count in zip(sorted(tops), itertools.cycle((1, 2, 3, 10, 64, 65))):
        row = rng.integers(min(-top, top), max(-top, top) + 1, count)
        row[rng.integers(count)] = top
        yield np.clip(row, -(2**31), 2**31 - 1).astype(np.int32), highest, None
    for count in (1, 2, 3, 4, 5, 32, 33, 66, 67):
        row = rng.integers(-(2**15), 2**15, count).astype(np.int32)
        row[: rng.integers(count + 1)] = rng.choice([-(2**15), 2**15 - 1])
        yield row, highest, None


def around_every_level(rng, highest):
    """Cases for each constant shift: where rounding and clipping change, and the ends of int32;
    then, of all lengths up to 33, none that rounding brings past int32."""
    for shift in range(32):
        half = 1 << shift >> 1
        levels = np.array([0, 1, highest // 2, highest, highest + 1], np.int64) << shift
        edges = (levels[:, None] - half + np.arange(-1, 2)).ravel()
        row = [*edges, -(2**31), 2**31 - 1, *rng.integers(-(2**31), 2**31, 4)]
        row = np.clip(row, -(2**31), 2**31 - 1).astype(np.int32)
        yield row[shift % 2 :], highest, shift
        fitting = np.minimum(row, 2**31 - 1 - half)
        for count in (33, shift + 1):
            yield np.resize(rng.permutation(fitting), count), highest, shift


@pytest.mark.parametrize("highest", [1, 3, 7, 15, 31, 63, 100, 127])
def test_requantisers_equal_the_rules(highest, rng, on_host, on_chip):
    """Over other memory and in place. One that is no 2^bits - 1 only with a constant shift.

    ShiftNorm of int32 and, where it fits, of int16; a constant shift to halves of words, too.
    """
    cases = [*around_every_level(rng, highest)]
    if highest & (highest + 1) == 0:
        cases += around_powers_of_two(rng, highest)
    header = requantise_header(cases)
    assert on_host("requantise_firmware.c", header) == "." * len(cases)
    options = [f"-DBITNETMCU_BITS={highest.bit_length()}"]
    printed = on_chip("requantise_firmware.c", "shiftnorm.S", header, options=options)
    assert printed == "." * len(cases)


# --- what the exporter proves


@pytest.mark.parametrize("spread", [0.2, 0.4, 0.6, 1.0])
def test_lists_of_nibbles_are_as_long_as_8_bit_lanes_allow(spread, rng):
    layer = random_layer(rng, "4bitsym", 90, 30, spread)
    rows, bias = layouts.nibble_lists(layer)
    ascending = np.sort(layouts.nibble_weights(layer), axis=1)

    def span(count):
        lowest = np.minimum(ascending[:, :count], 0).sum(axis=1).min()
        return lowest, np.maximum(ascending[:, -count:], 0).sum(axis=1).max()

    lowest, largest = span(rows)
    assert bias + lowest >= 0 and bias + largest <= 255
    lowest, largest = span(rows + 1)
    assert rows == 24 or largest - lowest > 255


def test_lists_of_the_largest_nibbles_do_not_overflow(rng, in_c, in_assembly):
    """The proof's worst case: the extreme rows of one output come first, the others after."""
    layer = random_layer(rng, "4bit", 200, 16, 0.5)
    inputs = []
    for output in range(16):
        order = np.argsort(layer.weights[output])
        for chosen in (order[:24], order[-24:], order[:17], order[-25:]):
            inputs.append(np.isin(np.arange(200), chosen) * 127)
    assert layouts.nibble_lists(layer)[0] > 17
    choice = choice_of(kernel_of("4bit", "nibbles"), layer)
    cases = [(layer, choice, np.array(inputs, np.int8))]
    in_c(cases)
    in_assembly(cases)


@pytest.mark.parametrize(("inputs", "chunk"), [(69, 69), (70, 35), (100, 50), (4096, 69)])
def test_16_bit_lanes_sum_as_many_nibbles_as_fit(inputs, chunk, rng, in_c):
    """69 weights of 7 reach 127 * 7 * 69 = 61,341 of 61,455."""
    layer = layer_of("4bit", np.full((3, inputs), 7))
    _, fitting, signed = layouts.nibble_inputs(layer, 8)
    assert fitting == chunk and 0 < signed <= fitting
    in_c(cases_of(rng, layer, kernel_of("4bit", "nibbles")))


def test_offsets_of_rows_of_nibbles_fit_16_bits(rng, in_c):
    layer = layer_of("4bit", rng.integers(-1, 1, (256, 600)))
    _, inputs, signed_inputs = layouts.nibble_inputs(layer, 128)
    assert max(inputs, signed_inputs) * 128 <= 2**16 < 600 * 128
    in_c(cases_of(rng, layer, kernel_of("4bit", "nibbles")))


@pytest.mark.parametrize(("inputs", "refused"), [(16_384, False), (16_385, True)])
def test_more_inputs_than_a_list_of_planes_can_name_are_refused(inputs, refused):
    layer = layer_of("Binary", np.ones((2, inputs)))
    choice = chosen(layer)
    assert (choice.kernel.name == "Binary") == refused
    assert any("16385 inputs" in reason for reason in choice.skipped) == refused


def test_sums_of_signed_inputs_that_could_leave_int32_are_refused():
    layer = layer_of("FP130", np.ones((1, 33_000)))
    assert chosen(layer).kernel.name == "shifts"
    choice = chosen(layer, lowering.MEASURED)
    assert choice.kernel.name == "FP130" and "past int32" in choice.skipped[0]


@pytest.mark.parametrize("name", ["4bit", "4bitsym"])
def test_multiplications_are_chosen_only_for_a_core_that_has_them(name, rng):
    layer = random_layer(rng, name, 20, 10)
    with_multiplier = chosen(layer, multiplier=True)
    assert with_multiplier.kernel.name == f"multiply_{name}"
    assert chosen(layer).kernel.name == "nibbles"


def test_every_fast_kernel_and_yardstick_is_for_a_format_that_exists():
    named = {name for kernel in kernelrows.LINEAR for name in kernel.formats or ()}
    assert named == FORMATS.keys()
