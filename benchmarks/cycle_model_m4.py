"""Hold the model of a Cortex-M4 (cortex_m4.py) against published cycles of assembly.

None of that assembly is in this repository: --sources names a folder with the files of POINTS, or
with files of the same names and instructions (the table was made with such, in which what repeats
is a macro). Each function is called once, with a published test vector or what
can be computed here, and must give its result; the call and the way back count, for the authors
read a counter around it. Modelled for a refill of the pipeline of 1, 2 and 3 cycles. Writes
docs/cycle-model-m4.csv.
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

    how: the cycles were found. given: bytes at each pointer that it takes, none where it only
    writes; wanted: the number of a pointer, and the bytes that must be there behind the call.
    """

    name: str
    source: str
    function: str
    published: float
    how: str
    given: tuple
    wanted: tuple

    @property
    def file(self):
        return self.source.rpartition("/")[2]


AES = "github.com/Ko-/aes-armcortexm/blob/e3987484/aes128/aes.s"
ON_F4 = "measured on an STM32F407 at 24 MHz, without wait states; the mean of random inputs"
ROUND_KEYS = bytes.fromhex(  # FIPS 197, appendix A.1
    """
    2b7e151628aed2a6abf7158809cf4f3c a0fafe1788542cb123a339392a6c7605
    f2c295f27a96b9435935807a7359f67f 3d80477d4716fe3e1e237e446d7a883b
    ef44a541a8525b7fb671253bdb0bad00 d4d1c6f87c839d87caf2b8bc11f915bc
    6d88a37a110b3efddbf98641ca0093fd 4e54f70e5f5fc9f384a64fb24ea6dc4f
    ead27321b58dbad2312bf5607f8d292f ac7766f319fadc2128d12941575c006e
    d014f9a8c9ee2589e13f0cc8b6630ca6
    """
)
BLOCK = bytes.fromhex("3243f6a8885a308d313198a2e0370734")  # appendix B
ENCRYPTED = bytes.fromhex("3925841d02dc09fbdc118597196a0b32")
# RFC 7748, section 5.2
SCALAR = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
COORDINATE = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
SHARED = bytes.fromhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")


def product(a, b):
    """Of two numbers of 256 bits, lowest byte first, modulo 2^256 - 38."""
    one, two = (int.from_bytes(number, "little") for number in (a, b))
    return (one * two % (2**256 - 38)).to_bytes(32, "little")


POINTS = (
    Point(
        "AES-128 key expansion",
        AES,
        "AES_128_keyschedule",
        254.9,
        ON_F4,
        (ROUND_KEYS[:16], b""),
        (1, ROUND_KEYS[16:]),
    ),
    Point(
        "AES-128 of a block",
        AES,
        "AES_128_encrypt",
        644.7,
        ON_F4,
        (ROUND_KEYS, BLOCK, b""),
        (2, ENCRYPTED),
    ),
    Point(
        "256-bit product modulo 2^256 - 38",
        "github.com/hayatofujii/curve25519-cortex-m4/blob/28e0fcde/_mul_coc_umaal_rdc.S",
        "_fe_mul_coc_umaal_rdc",
        276,
        "measured on an MK20DX256, wait states not stated; about",
        (b"", SCALAR, COORDINATE),
        (0, product(SCALAR, COORDINATE)),
    ),
    Point(
        "X25519",
        "github.com/Emill/X25519-Cortex-M4/blob/1e4953db/x25519-cortex-m4-gcc.s",
        "curve25519_scalarmult",
        548_873,
        "counted by its author: loads of one word 2 each, stores 2",
        (b"", SCALAR, COORDINATE),
        (0, SHARED),
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
    """Of the table. Raises `UserError` where the function does not compute what it should."""
    found = {"code": point.name, "published": point.published}
    places = [DATA + SPACE * n for n in range(len(point.given))]
    for name, refill in REFILLS.items():
        machine = cortex_m4.Machine(elf, refill=refill)
        for place, content in zip(places, point.given):
            machine.engine.mem_write(place, content)
        machine.call(point.function, *places)
        number, wanted = point.wanted
        if machine.engine.mem_read(places[number], len(wanted)) != wanted:
            raise cli.UserError(f"{point.function} of {point.file} gives a wrong result")
        (cost,) = machine.costs
        cycles = cost.cycles + 1 + 2 * refill  # BL, and the refills there and back
        error = 100 * (cycles - point.published) / point.published
        found |= {name: cycles, f"{name}_percent": f"{error:+.1f}"}
    found["instructions"] = cost.instructions
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
