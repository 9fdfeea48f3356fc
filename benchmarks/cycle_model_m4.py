"""Hold the model of a Cortex-M4 (cortex_m4.py) against published cycles of assembly.

None of that assembly is in this repository: --sources names a folder with the files of POINTS,
as they are at their addresses. Each function is called once, with what stands beside it;
the call and the way back count, for the authors read a counter around it. Modelled for a refill of
the pipeline of 1, 2 and 3 cycles. Writes docs/cycle-model-m4.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import subprocess
import tempfile
from dataclasses import dataclass

import cortex_m4

import cli

EXAMPLES = """examples:
  python benchmarks/cycle_model_m4.py --sources build/assembly
"""

ROOT = Path(__file__).resolve().parent.parent
DATA = cortex_m4.SRAM + 0x10000  # of the arguments, so many bytes each:
SPACE = 0x2000
REFILLS = {"least": 1, "modelled": cortex_m4.REFILL, "most": 3}


@dataclass(frozen=True)
class Point:
    """A function of a file with published cycles.

    arguments: how many pointers it takes; bytes: what it takes behind them, and how many blocks of
    16 bytes the cycles are of, if any; how: the cycles were found.
    """

    name: str
    source: str
    function: str
    arguments: int
    published: float
    how: str
    bytes: int = 0

    @property
    def file(self):
        return self.source.rpartition("/")[2]


AES = "github.com/Ko-/aes-armcortexm/blob/e3987484/aes128/aes.s"
ON_F4 = "measured on an STM32F407 at 24 MHz, without wait states; the mean of random inputs"
POINTS = (
    Point("AES-128 key expansion", AES, "AES_128_keyschedule", 2, 254.9, ON_F4),
    Point("AES-128 of a block", AES, "AES_128_encrypt", 3, 644.7, ON_F4),
    Point(
        "AES-128 in counter mode, a block",
        "github.com/Ko-/aes-armcortexm/blob/842a20f3/aes128ctr/aes_128_ctr.s",
        "AES_128_encrypt_ctr",
        3,
        537.9,
        f"{ON_F4}, 4,096 bytes each",
        4096,
    ),
    Point(
        "256-bit product modulo 2^256 - 38",
        "github.com/hayatofujii/curve25519-cortex-m4/blob/28e0fcde/_mul_coc_umaal_rdc.S",
        "_fe_mul_coc_umaal_rdc",
        3,
        276,
        "measured on an MK20DX256, wait states not stated; about",
    ),
    Point(
        "X25519",
        "github.com/Emill/X25519-Cortex-M4/blob/1e4953db/x25519-cortex-m4-gcc.s",
        "curve25519_scalarmult",
        3,
        548_873,
        "counted by its author: loads of one word 2 each, stores 2",
    ),
)


def link(file, elf):
    """Makes `elf` of a file of assembly, with a stack behind the data."""
    options = ["-mcpu=cortex-m4", "-mthumb", "-nostdlib", "-Wl,-Ttext=0x100", "-Wl,-e0"]
    options += ["-Wl,--defsym=__stack_top=0x20008000", "-Wl,--no-warn-rwx-segments"]
    command = ["arm-none-eabi-gcc", *options, "-o", elf, file]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise cli.UserError(f"{file} cannot be assembled: {done.stderr.strip()[-300:]}")


def row(point, elf):
    """Of the table."""
    found = {"code": point.name, "published": point.published}
    for name, refill in REFILLS.items():
        machine = cortex_m4.Machine(elf, refill=refill)
        pointers = [DATA + SPACE * n for n in range(point.arguments)]
        machine.call(point.function, *pointers, point.bytes)
        (cost,), blocks = machine.costs, max(point.bytes // 16, 1)
        cycles = cost.cycles + 1 + 2 * refill  # BL, and the refills there and back
        cycles = round(cycles / blocks, 1 if point.bytes else None)
        error = 100 * (cycles - point.published) / point.published
        found |= {name: cycles, f"{name}_percent": f"{error:+.1f}"}
    found["instructions"] = round(cost.instructions / blocks)
    return found | {"how": point.how, "source": point.source}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", type=Path, required=True, help="a folder of assembly")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "cycle-model-m4.csv")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for point in POINTS:
            file = arguments.sources / point.file
            if not file.is_file():
                raise cli.UserError(f"no {file}; it is {point.source}")
            elf = Path(folder) / "point.elf"
            link(file, elf)
            rows.append(row(point, elf))
    cli.write_atomic(arguments.out, cli.csv_text(rows))
    print("| code | published cycles | modelled | with a refill of 1 or 3 |\n|---|---|---|---|")
    for each in rows:
        print(
            f"| {each['code']} | {each['published']:,} | {each['modelled']:,} "
            f"({each['modelled_percent']} %) | {each['least']:,} to {each['most']:,} |"
        )
    print(f"csv={arguments.out}")


if __name__ == "__main__":
    cli.run(main)
