"""What compilers make of the kernels: no multiplication where none is wanted, no helper calls."""

import re
import subprocess

import pytest
from conftest import (
    ROOT,
    STRICT,
    assert_same,
    compiler,
    extreme_inputs,
    header_of,
    random_network,
)

from compiler.formats import FORMATS
from compiler.operators import execute
from lowbit import kernelrows

RISCV = "riscv64-unknown-elf-gcc"
CORES = {"rv32ec": ["-march=rv32ec"], "rv32ec_zmmul": ["-march=rv32emc", "-mno-div"]}
HELPER = re.compile(r"__(mul|div|mod|u|f|add|sub|ash|lsh)\w+|mem\w+")  # libgcc's and libc's
MULTIPLY = re.compile(r"(mul|div|rem|madd|msub)\w*")


def mnemonics(command, tmp_path, *flags):
    """The instructions that a compiler of this computer makes of the plain kernels.

    In others it may find constants to multiply by, where the computer does that as fast as it adds.
    """
    assembly = tmp_path / "kernels.s"
    source = ROOT / "BitNetMCU_inference.c"
    subprocess.run([*command, *STRICT, *flags, "-S", "-o", assembly, source], check=True)
    lines = [line.split("#")[0].split() for line in assembly.read_text().splitlines()]
    return {words[0].lstrip("i") for words in lines if words}


@pytest.mark.parametrize("optimise", ["-Os", "-O2", "-O3"])
@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_plain_kernels_neither_multiply_nor_divide(name, optimise, tmp_path):
    flags = (optimise, "-fno-tree-vectorize", "-DBITNETMCU_MULTIPLIER=0")
    assert not {m for m in mnemonics(compiler(name), tmp_path, *flags) if MULTIPLY.fullmatch(m)}


def test_with_a_multiplier_the_kernels_multiply(tmp_path):
    found = mnemonics(compiler("gcc"), tmp_path, "-O2", "-DBITNETMCU_MULTIPLIER=1")
    assert {m for m in found if MULTIPLY.fullmatch(m)}


def link(graph, tmp_path, core, optimise, choose):
    """(symbols, mnemonics) of BitNetMCU_infer and all it needs, linked for a core of CORES."""
    (tmp_path / "BitNetMCU_model.h").write_text(header_of(graph, choose))
    (tmp_path / "network.c").write_text(
        '#define BITNETMCU_MODEL_IMPLEMENTATION\n#include "BitNetMCU_model.h"\n'
    )
    elf = tmp_path / "network.elf"
    command = [*compiler(RISCV, [*CORES[core], "-mabi=ilp32e", "-nostdlib"]), *STRICT, optimise]
    command += ["-ffreestanding", "-ffunction-sections", "-Wl,--gc-sections,-e,BitNetMCU_infer"]
    command += ["-I", tmp_path, "-o", elf, tmp_path / "network.c", *kernelrows.sources(), "-lgcc"]
    subprocess.run(command, check=True)
    text = subprocess.run(
        ["riscv64-unknown-elf-objdump", "-d", elf], capture_output=True, text=True, check=True
    ).stdout
    symbols = set(re.findall(r"^[0-9a-f]+ <(\w+)>:", text, re.M))
    return symbols, set(re.findall(r"^ +[0-9a-f]+:\t[0-9a-f ]+\t([\w.]+)", text, re.M))


@pytest.mark.parametrize("optimise", ["-Os", "-O2"])
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("choose", ["size", "speed", "bittest"])
@pytest.mark.parametrize("name", FORMATS)
def test_each_format_links_for_rv32ec_without_helpers(name, choose, core, optimise, rng, tmp_path):
    graph = random_network(rng, [name] * 3, (33, 20, 17, 10), factors=True)
    symbols, instructions = link(graph, tmp_path, core, optimise, choose)
    assert "BitNetMCU_infer" in symbols and "BitNetMCU_scale" in symbols
    assert not {symbol for symbol in symbols if HELPER.fullmatch(symbol)}
    banned = MULTIPLY if core == "rv32ec" else re.compile(r"(div|rem)\w*")
    assert not {instruction for instruction in instructions if banned.fullmatch(instruction)}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("optimise", ["-Os", "-O2"])
@pytest.mark.parametrize("path", kernelrows.sources(), ids=lambda path: path.stem)
def test_no_kernel_needs_a_helper_on_rv32ec(path, optimise, bits, tmp_path):
    """Those of convolutions too, which no network of dense layers links; also as mcu/Makefile
    compiles them: of a loop of additions a compiler may make a product."""
    target = tmp_path / "kernel.o"
    command = compiler(RISCV, [*CORES["rv32ec"], "-mabi=ilp32e", "-nostdlib"])
    command += [optimise, "-ffreestanding", "-fno-inline-functions", f"-I{ROOT}"]
    command += [f"-DBITNETMCU_BITS={bits}", "-c", "-o", target, path]
    subprocess.run(command, check=True)
    lines = subprocess.run(
        ["riscv64-unknown-elf-nm", "-u", target], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not [name for name in lines if HELPER.fullmatch(name)]


def test_only_the_kernels_of_the_network_are_linked(rng, tmp_path):
    graph = random_network(rng, ["Binary", "Ternary", "BinarySym"], (33, 20, 17, 10))
    symbols, _ = link(graph, tmp_path, "rv32ec", "-Os", "size")
    kernels = {symbol for symbol in symbols if symbol.startswith("BitNetMCU_fc_")}
    assert kernels == {"BitNetMCU_fc_Binary", "BitNetMCU_fc_Ternary"}
    assert "BitNetMCU_scale" not in symbols


def test_the_search_for_helpers_finds_one(tmp_path):
    """The disassembly shows a call of __mulsi3 where a product is compiled for RV32EC."""
    source = tmp_path / "product.c"
    source.write_text("int product(int a, int b);\nint product(int a, int b) { return a * b; }\n")
    elf = tmp_path / "product.elf"
    command = compiler(RISCV, ["-march=rv32ec", "-mabi=ilp32e", "-nostdlib"])
    subprocess.run([*command, "-Wl,-e,product", "-o", elf, source, "-lgcc"], check=True)
    text = subprocess.run(
        ["riscv64-unknown-elf-nm", elf], capture_output=True, text=True, check=True
    ).stdout
    assert any(HELPER.fullmatch(line.split()[-1]) for line in text.splitlines())


def test_a_search_for_a_kernel_finds_its_definition():
    """The full name stands there: in one C file, and in the assembly that replaces it."""
    for name in {kernel.name for kernel in kernelrows.LINEAR}:
        word = re.compile(rf"\bBitNetMCU_fc_{name}\b")
        found = [path for path in kernelrows.sources() if word.search(path.read_text())]
        assert len(found) == 1, name
        assembly = ROOT / "kernels" / "riscv" / f"{found[0].stem}.S"
        assert not assembly.exists() or word.search(assembly.read_text()), name


@pytest.mark.parametrize(("macro", "highest"), [("BITS", 8), ("STRIP_HIGHEST", 127)])
def test_a_limit_out_of_range_is_a_compile_error(macro, highest):
    for value in (0, 1, highest, highest + 1):
        flags = ["-fsyntax-only", f"-DBITNETMCU_{macro}={value}", ROOT / "BitNetMCU_inference.c"]
        done = subprocess.run([*compiler("gcc"), *flags], capture_output=True, text=True)
        assert (done.returncode == 0) == (1 <= value <= highest), done.stderr
        assert done.returncode == 0 or f"BITNETMCU_{macro} is 1 to {highest}" in done.stderr


def test_a_format_without_a_kernel_is_a_compile_error(rng, tmp_path):
    text = header_of(random_network(rng, ["4bit"] * 2, (3, 4, 5)))
    (tmp_path / "model.h").write_text(text.replace("BitNetMCU_fc_4bit", "BitNetMCU_fc_3bit"))
    flags = ["-DBITNETMCU_MODEL_IMPLEMENTATION", "-x", "c", "-fsyntax-only"]
    done = subprocess.run(
        [*compiler("gcc"), *STRICT, *flags, tmp_path / "model.h"], capture_output=True, text=True
    )
    assert done.returncode and "BitNetMCU_fc_3bit" in done.stderr


@pytest.mark.parametrize("inputs", [1, 4096])
@pytest.mark.parametrize("outputs", [1, 256])
@pytest.mark.parametrize("name", FORMATS)
def test_the_largest_and_smallest_layers_are_exact(
    name, inputs, outputs, rng, tmp_path, build_harness
):
    graph = random_network(rng, [name] * 2, (inputs, outputs, 10))
    images = extreme_inputs(rng, inputs)[::4]
    harness = build_harness(graph, tmp_path, optimise="speed")
    assert_same(graph, harness.run(images).values, execute(graph, images))
