"""Hold the emulator's cycle model against published measurements of BitNetMCU's firmware.

The event counts are those of that firmware (GCC 12.2 -Os, one inference); the cycles were published
by its author. The counts do not tell 16-bit from 32-bit instructions, nor where jumps lead. So each
is modelled twice, with the rules that the emulator prints: all instructions 16 bits long and all
jumps and targets word-aligned, and all 32 bits long and unaligned. Writes docs/cycle-model.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import subprocess

import cli

EXAMPLES = """examples:
  python benchmarks/cycle_model.py
"""

ROOT = Path(__file__).resolve().parent.parent
MCU = ROOT / "mcu"
EMULATOR = MCU / "build" / "emulator"
COLUMNS = ("chip", "network", "place", "wait_states", "measured")
EVENTS = ("instructions", "loads", "flash_loads", "stores", "taken", "mul")
POINTS = (  # COLUMNS, EVENTS; the code that runs from flash is the one that runs from SRAM
    ("CH32V003", "12 kB 4bitsym", "sram", 1, 653_965, 436_190, 33_969, 19_536, 651, 87_133, 0),
    ("CH32V003", "12 kB 4bitsym", "flash", 1, 903_209, 436_190, 33_969, 19_536, 651, 87_133, 0),
    ("CH32V003", "1 kB 2bitsym", "sram", 1, 90_240, 58_887, 5_514, 4_378, 160, 10_413, 0),
    ("CH32V003", "12 kB FP130", "sram", 1, 488_160, 303_868, 34_171, 19_536, 651, 40_220, 0),
    ("CH32V002", "12 kB 4bitsym", "sram", 2, 508_605, 343_896, 33_161, 19_536, 845, 42_086, 20_060),
    (
        *("CH32V002", "CNN, 64 wide", "sram", 2, 2_736_250),
        *(1_615_300, 502_426, 20_496, 51_720, 131_575, 207_255),
    ),
)


def rules():
    """{"sram, 1 wait states": {rule: cycles}, ...} from the emulator, built if need be."""
    try:
        command = ["make", "-s", "-C", MCU, f"OUT={EMULATOR.parent}", "emulator"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        done = subprocess.run([EMULATOR, "--rules"], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise cli.UserError(f"{error.cmd[0]} failed; the emulator takes make and a C compiler")
    return json.loads(done.stdout)


def model(rule, events, bits, alignment):
    """Modelled cycles of `events` {name: count}, all instructions of 16 or 32 `bits`.

    rule: {name: cycles}; alignment: of all jumps and their targets, "aligned" or "unaligned".
    """
    sram_loads = events["loads"] - events["flash_loads"]
    others = sum(events[name] for name in ("loads", "stores", "taken", "mul"))
    target = 0 if alignment == "aligned" else rule[f"target_{bits}bit_unaligned"]
    return (
        (events["instructions"] - others) * rule[f"arithmetic_{bits}bit"]
        + sram_loads * rule["load_sram"]
        + events["flash_loads"] * rule["load_flash"]
        + events["stores"] * rule["store"]
        + events["taken"] * (rule[f"taken_{alignment}"] + target)
        + events["mul"] * rule["multiplication"]
    )


def table(places):
    """The rows of docs/cycle-model.csv, with the rules of all `places`."""
    rows = []
    for point in POINTS:
        row = dict(zip(COLUMNS, point))
        events = dict(zip(EVENTS, point[len(COLUMNS) :]))
        rule = places[f"{row['place']}, {row['wait_states']} wait states"]
        for name, *kind in (("least", 16, "aligned"), ("most", 32, "unaligned")):
            row[name] = model(rule, events, *kind)
            error = 100 * (row[name] - row["measured"]) / row["measured"]
            row[f"{name}_percent"] = f"{error:+.1f}"
        rows.append(row)
    return rows


def main():
    argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = table(rules())
    cli.write_atomic(ROOT / "docs" / "cycle-model.csv", cli.csv_text(rows))
    head = ("chip", "network", "code in", "measured cycles", "modelled, at least", "at most")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        place = row["place"].replace("sram", "SRAM")
        print(
            f"| {row['chip']} | {row['network']} | {place} | {row['measured']:,} | "
            f"{row['least']:,} ({row['least_percent']} %) | {row['most']:,} "
            f"({row['most_percent']} %) |"
        )


if __name__ == "__main__":
    cli.run(main)
