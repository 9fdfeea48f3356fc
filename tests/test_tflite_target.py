"""Compiled models on a Cortex-M4 under QEMU: assembly and DSP instructions, value by value."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SANITIZE, STRICT, compiler

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)
for program in ("arm-none-eabi-gcc", "qemu-system-arm"):
    if shutil.which(program) is None:
        pytest.skip(f"no {program}; make toolchain installs it", allow_module_level=True)

import budget  # noqa: E402
import link  # noqa: E402
import machine  # noqa: E402
import tflite_graphs  # noqa: E402
import tflite_models  # noqa: E402
from tflite_batch import Batch  # noqa: E402

from compiler import hostrun, selection  # noqa: E402

MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
CASES = dict([*tflite_models.cases(), *tflite_graphs.odd()])


def make_tflite(out, *arguments):
    command = ["make", "-s", "-C", ROOT / "mcu", "tflite", f"OUT={out}", f"PYTHON={sys.executable}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_every_attribute_is_exact_on_the_target(tmp_path):
    """All of `tflite_models.cases()`, with the fast kernels and their assembly, in their stack."""
    batch = Batch(CASES, "speed")
    mcu, script = ROOT / "mcu", tmp_path / "link.ld"
    link.write_script(["arm-none-eabi-gcc"], script, "flash", 0x400000, 0x400000)
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O2", "-ffreestanding"]
    command += ["-fno-tree-loop-distribute-patterns", *hostrun.WARNINGS, f"-I{mcu}", "-nostdlib"]
    command += ["-Wl,--no-warn-rwx-segments", f"-Wl,-T{script}", "-fstack-usage"]
    sources = [ROOT / "tests" / "tflite_target.c", mcu / "tflite" / "memory.c"]
    sources += [mcu / "cortexm" / "start.S", mcu / "cortexm" / "chip.c"]
    program = batch.build(tmp_path, command, [*sources, *selection.assembly(batch.choices)])
    compiled, stated = budget.frames(tmp_path.rglob("*.su")), budget.stated_frames(program)
    # main() calls the models through pointers, which are followed here.
    graph = budget.calls(program, "arm-none-eabi-objdump", {*stated, "main"})
    bounds = [
        compiled["main"]
        + budget.worst_stack(f"of_{model.name}_outputs", graph, stated | compiled)[0]
        for model in batch.models
    ]
    qemu = machine.Qemu(machine.facts("targets/cortex-m4.mk")["MACHINE"])
    batch.check(qemu.run(program, batch.stdin).records, bounds)


REAL = ["ad01_int8", "kws_ref_model", "pretrainedResnet_quant", "vww_96_int8", "mcunet_vww"]


@pytest.mark.parametrize("name", REAL)
def test_a_real_model_is_exact_on_the_target(name, tmp_path):
    path = MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    status, out, error = make_tflite(tmp_path, "TARGET=cortex-m4", f"MODEL={path}", "INPUTS=4")
    assert status == 0, error
    assert "inputs=4 differing_values=0 " in out.splitlines()[-1]
    assert " target=cortex-m4 instructions=" in out.splitlines()[-1]


def test_a_model_is_exact_without_long_multiplication_and_division(tmp_path):
    """On ARMv6-M, in 16 KB of flash and 4 KB of RAM."""
    model = ROOT / "examples" / "digits.tflite"
    arguments = ["TARGET=cortex-m0", f"MODEL={model}", "OPTIMISE=none", "INPUTS=4"]
    status, out, error = make_tflite(tmp_path, *arguments)
    assert status == 0, error
    assert "inputs=4 differing_values=0 " in out.splitlines()[-1]


ARITHMETIC = """
#include <stdint.h>

uint64_t __aeabi_lmul(uint64_t a, uint64_t b);
uint64_t __aeabi_uidivmod(uint32_t a, uint32_t b);
uint64_t __aeabi_idivmod(int32_t a, int32_t b);
uint32_t __aeabi_uidiv(uint32_t a, uint32_t b);
int32_t __aeabi_idiv(int32_t a, int32_t b);

static const uint32_t ends[] = {1, 2, 3, 7, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff};
enum { ENDS = sizeof ends / sizeof *ends };

static int wrong(uint32_t a, uint32_t b, uint64_t more) {
    const uint64_t unsigned_both = (uint64_t)(a % b) << 32 | a / b;
    const int64_t quotient = (int64_t)(int32_t)a / (int32_t)b;
    const int64_t rest = (int64_t)(int32_t)a % (int32_t)b;
    const uint64_t both = (uint64_t)(uint32_t)rest << 32 | (uint32_t)quotient;

    return __aeabi_lmul(a ^ more, b * more) != (a ^ more) * (b * more) ||
           __aeabi_uidivmod(a, b) != unsigned_both || __aeabi_uidiv(a, b) != a / b ||
           __aeabi_idivmod((int32_t)a, (int32_t)b) != both ||
           __aeabi_idiv((int32_t)a, (int32_t)b) != (int32_t)(uint32_t)quotient;
}

int main(void) {
    uint64_t random = 1;

    for (int i = 0; i < 100000; i++) {
        uint32_t a = i < ENDS * ENDS ? ends[i / ENDS] : (uint32_t)(random >> 32);
        uint32_t b = i < ENDS * ENDS ? ends[i % ENDS] : (uint32_t)random >> i % 32 | 1;

        if (wrong(a, b, random) || wrong(0, b, random))
            return 1;
        random = random * 6364136223846793005u + 1442695040888963407u;
    }
    return 0;
}
"""


@pytest.mark.parametrize("command", [(*compiler("gcc"), *SANITIZE), (*compiler("clang"), "-O2")])
def test_long_multiplication_and_division_are_exact(command, tmp_path):
    """What the model of the test above calls, on this computer; -2^31 / -1 wraps."""
    (tmp_path / "main.c").write_text(ARITHMETIC)
    files = [tmp_path / "main.c", ROOT / "mcu" / "tflite" / "arithmetic.c"]
    subprocess.run([*command, *STRICT, "-o", tmp_path / "main", *files], check=True)
    subprocess.run([tmp_path / "main"], check=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("TARGET=CH32V003", "MODEL=x.tflite"), "choose TARGET=cortex-m4"),
        (("TARGET=cortex-m4", "MODEL=none.tflite"), "MODEL=none.tflite is no file"),
        (("TARGET=cortex-m4", f"MODEL={__file__}"), "not a TensorFlow Lite model"),
        (("TARGET=cortex-m4",), "name a .tflite file"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, tmp_path):
    status, _, error = make_tflite(tmp_path, *arguments)
    assert status != 0
    (line,) = [line for line in error.splitlines() if not line.startswith("make")]
    assert line.startswith("error: ") and words in line


def test_a_model_with_spaces_in_its_name_is_refused(tmp_path):
    status, _, error = make_tflite(tmp_path, "TARGET=cortex-m4", "MODEL=a b.tflite")
    assert status != 0 and "MODEL=a b.tflite has spaces" in error.splitlines()[0]
