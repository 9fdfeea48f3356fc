"""Link a firmware into the memory of its target, with as much of the kernels in SRAM as fits.

Links in unlimited memory first, to learn the worst stack, for each place until one fits; then into
what the target has. Writes the map, the link script and the budget beside the ELF file. Exits 2,
with the numbers, if the firmware fits nowhere.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import subprocess
from typing import NamedTuple

import budget

import cli

EXAMPLES = """example:
  python mcu/link.py firmware.elf --objects *.o --place auto --flash 16384 --sram 2048 \\
      --objdump riscv64-unknown-elf-objdump -- riscv64-unknown-elf-gcc -march=rv32ec -nostdlib
"""


class Place(NamedTuple):
    kernels: str  # those that run from SRAM, in words
    macros: tuple  # of link.ld.S


PLACES = {  # each is faster than the next
    "sram": Place("all", ("-DINNER_IN_SRAM", "-DKERNELS_IN_SRAM")),
    "inner": Place("inner loops", ("-DINNER_IN_SRAM",)),
    "windows": Place("inner loops of windows", ("-DWINDOWS_IN_SRAM", "-DSCANS_IN_SRAM")),
    "sums": Place("the inner loop of windows' sums", ("-DWINDOWS_IN_SRAM",)),
    "flash": Place("none", ()),
}
SCRIPT = Path(__file__).resolve().parent / "link.ld.S"
UNLIMITED = 0x1000000  # bytes


def write_script(compiler, path, place, flash, sram, stack=0):
    """Preprocess link.ld.S to `path`: for so many bytes of flash, SRAM and worst stack.

    compiler: the command; its other options do no harm.
    """
    sizes = [f"-DFLASH_SIZE={flash}", f"-DSRAM_SIZE={sram}", f"-DSTACK_BOUND={stack}"]
    preprocess = [*compiler, "-E", "-P", "-x", "c", "-undef", *sizes, *PLACES[place].macros]
    run([*preprocess, "-o", path, SCRIPT], path)


def run(command, target):
    """Run `command`, which says on standard error what is wrong, to make `target`."""
    if subprocess.run(command).returncode:
        raise cli.UserError(f"{target} cannot be made: {command[0]} failed, see above")


def link(compiler, objects, elf, *memory):
    """Link `objects` to `elf`; memory: as `write_script` takes it."""
    script = f"{elf}.ld"
    write_script(compiler, script, *memory)
    run([*compiler, "-T", script, f"-Wl,-Map={elf}.map", "-o", elf, *objects], elf)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("elf", help="to write")
    parser.add_argument(
        "--objects", required=True, nargs="+", metavar="FILE", help="with their .su files beside"
    )
    parser.add_argument("--place", choices=["auto", *PLACES], default="auto")
    parser.add_argument("--flash", type=int, required=True, help="bytes the target has")
    parser.add_argument("--sram", type=int, required=True, help="bytes the target has")
    parser.add_argument("--objdump", required=True, metavar="PROGRAM", help="of the compiler")
    parser.add_argument("compiler", nargs="+", help="the command that links, with its options")
    arguments = parser.parse_args()
    compiler, objects, elf = arguments.compiler, arguments.objects, arguments.elf
    limits = {"flash": arguments.flash, "ram": arguments.sram}
    usage = [Path(file).with_suffix(".su") for file in objects]
    for place in PLACES if arguments.place == "auto" else [arguments.place]:
        unlimited = f"{elf}.unlimited"
        link(compiler, objects, unlimited, place, UNLIMITED, UNLIMITED)
        needs = budget.measure(unlimited, usage, arguments.objdump, limits, place)
        same_as_next = place in ("windows", "sums") and not needs.ram["code"]
        if not needs.excess and not (arguments.place == "auto" and same_as_next):
            break
    text = f"kernels in SRAM: {PLACES[place].kernels}\n{needs.text()}"
    cli.write_atomic(budget.beside(elf, "txt"), text)
    cli.write_atomic(budget.beside(elf, "json"), needs.json())
    for kind, more in needs.excess.items():
        print(text)
        raise cli.UserError(
            f"the firmware needs {needs.totals[kind]} bytes of {kind}, {more} more than the "
            f"{limits[kind]} of this target; use a smaller network, fewer DEMO_IMAGES, or "
            "PLACE=auto, which moves code out of SRAM until it fits"
        )
    link(compiler, objects, elf, place, arguments.flash, arguments.sram, needs.stack)


if __name__ == "__main__":
    cli.run(main)
