"""Estimate the cycles of compiled TensorFlow Lite models on a Cortex-M4 from what they execute.

QEMU counts instructions, and an LDM of eight words counts as one. Here each executed instruction
has a weight: LDM, STM, PUSH and POP of n words 1 + n cycles, LDRD and STRD 3, other loads 2, or 1
straight behind one of these, all others 1; and each taken branch 2 more. That is still no latency:
flash has no wait states here, and a division takes one cycle. The firmware is that of
`make -C mcu tflite`; Unicorn (QEMU's core as a library) executes it and reports its basic blocks.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import re
import subprocess
from collections import Counter

import numpy as np
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const as arm

import check_tflite
import cli
from compiler.emission import identifier
from tinyengine import pipeline

EXAMPLES = """examples:
  python benchmarks/estimate_cycles.py models/*.tflite
"""

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "mcu" / "build" / "estimate"
TARGET = "cortex-m4"
HOME = 0x000FFFF0  # where the model returns to: behind all code
INSTRUCTION = re.compile(r"^ *([0-9a-f]+):\t[0-9a-f ]+\t(\S+)\s*([^;@<]*)")
MULTIPLE, DOUBLE = ("ldm", "stm", "push", "pop"), ("ldrd", "strd")


def build(model):
    """The firmware of the .tflite file `model`."""
    command = ["make", "-s", "-C", ROOT / "mcu", "tflite-build", f"MODEL={model.resolve()}"]
    command += [f"TARGET={TARGET}", f"OUT={BUILD}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise cli.UserError(f"{model} cannot be built: {done.stderr.strip().splitlines()[-1]}")
    return BUILD / f"{TARGET}-tflite-speed" / model.stem / "tflite.elf"


def listed(registers):
    """How many registers a list like {r0, r4-r7, lr} names."""
    count = 0
    for part in re.search(r"{(.*)}", registers)[1].split(","):
        first, _, last = part.strip().partition("-")
        count += int(last.lstrip("rsd")) - int(first.lstrip("rsd")) + 1 if last else 1
    return count


def instructions(elf):
    """{address: (mnemonic, operands)} of the code in `elf`."""
    command = ["arm-none-eabi-objdump", "-d", elf]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = filter(None, map(INSTRUCTION.match, text.splitlines()))
    return {int(line[1], 16): (line[2], line[3]) for line in found}


def weigh(code, first, size):
    """(instructions, cycles) of one pass through the block of `size` bytes at `first`."""
    count = cycles = 0
    behind_load = False
    for address in range(first, first + size, 2):
        if address not in code:  # the second half of an instruction
            continue
        name, operands = code[address]
        load = name.startswith("ldr") and not name.startswith(DOUBLE)
        if name.startswith(MULTIPLE):
            cycles += 1 + listed(operands)
        elif name.startswith(DOUBLE):
            cycles += 3
        else:
            cycles += 2 if load and not behind_load else 1
        behind_load = load
        count += 1
    return count, cycles


class Machine:
    """A Cortex-M4 with the firmware `elf` loaded, which counts the blocks that it executes."""

    def __init__(self, elf):
        mode = unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        self.engine = unicorn.Uc(unicorn.UC_ARCH_ARM, mode)
        self.engine.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M4)
        self.engine.mem_map(0, 0x100000)
        self.engine.mem_map(0x20000000, 0x40000)
        with Path(elf).open("rb") as file:
            image = ELFFile(file)
            for segment in image.iter_segments("PT_LOAD"):
                self.engine.mem_write(segment["p_paddr"], segment.data())
                self.engine.mem_write(segment["p_vaddr"], segment.data())  # .data, where it runs
            table = image.get_section_by_name(".symtab")
            self.symbols = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
        self.blocks, self.taken, self.end = Counter(), 0, None
        self.engine.hook_add(unicorn.UC_HOOK_BLOCK, self.enter)

    def enter(self, engine, address, size, _):
        self.blocks[address, size] += 1
        self.taken += address != self.end
        self.end = address + size

    def call(self, name):
        """Call a function without arguments; returns its result, and counts anew."""
        self.blocks.clear()
        self.taken = 0
        self.end = self.symbols[name] & ~1
        self.engine.reg_write(arm.UC_ARM_REG_SP, self.symbols["__stack_top"])
        self.engine.reg_write(arm.UC_ARM_REG_LR, HOME | 1)
        self.engine.emu_start(self.symbols[name] | 1, HOME)
        return self.engine.reg_read(arm.UC_ARM_REG_R0)


def estimate(model, inputs):
    """(instructions, cycles) of one inference, the mean of `inputs` inputs."""
    compiled = pipeline.load(model)
    elf = build(model)
    machine, code = Machine(elf), instructions(elf)
    tensor = compiled.graph.tensors[compiled.graph.inputs[0]]
    prefix = identifier(compiled.name)
    sums = np.zeros(2)
    for values in check_tflite.make_inputs(tensor, inputs):
        machine.engine.mem_write(machine.call(f"{prefix}_input"), values.tobytes())
        machine.call(f"{prefix}_run")
        for (first, size), count in machine.blocks.items():
            sums += count * np.array(weigh(code, first, size))
        sums[1] += 2 * machine.taken
    return (sums / inputs).round().astype(int)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+", help=".tflite files")
    parser.add_argument("--inputs", type=int, default=1, help="the mean of so many (default: 1)")
    arguments = parser.parse_args()
    if arguments.inputs < 1:
        raise cli.UserError(f"--inputs {arguments.inputs} is not valid; it takes 1 or more")
    for model in arguments.models:
        count, cycles = estimate(model, arguments.inputs)
        print(f"model={model.stem} instructions={count} cycles={cycles}", flush=True)


if __name__ == "__main__":
    cli.run(main)
