"""Hold the emulator's cycle model against published measurements of BitNetMCU's firmware.

The event counts are those of that firmware (GCC 12.2 -Os, kernels in SRAM, one inference); the
cycles were published by its author. Writes docs/cycle-model.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse

import cli
import training

EXAMPLES = """examples:
  python docs/cycle_model.py
"""

# Cycles of an event beyond the one of its instruction, for code in SRAM (mcu/emulator/cpu.c).
LOAD = STORE = 1
TAKEN = 2
MUL = 1

# chip, network, wait states, measured; instructions, loads, from flash, stores, taken, mul
POINTS = (
    ("CH32V003", "12 kB 4bitsym", 1, 653_965, 436_190, 33_969, 19_536, 651, 87_133, 0),
    ("CH32V003", "1 kB 2bitsym", 1, 90_240, 58_887, 5_514, 4_378, 160, 10_413, 0),
    ("CH32V003", "12 kB FP130", 1, 488_160, 303_868, 34_171, 19_536, 651, 40_220, 0),
    ("CH32V002", "12 kB 4bitsym", 2, 508_605, 343_896, 33_161, 19_536, 845, 42_086, 20_060),
    (
        "CH32V002",
        "CNN, 64 wide",
        2,
        2_736_250,
        1_615_300,
        502_426,
        20_496,
        51_720,
        131_575,
        207_255,
    ),
)


def model(wait_states, instructions, loads, flash_loads, stores, taken, mul):
    """Modelled cycles of code that runs from SRAM."""
    memory = LOAD * loads + wait_states * flash_loads + STORE * stores
    return instructions + memory + TAKEN * taken + MUL * mul


def main():
    argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rows = []
    for chip, network, wait_states, measured, *events in POINTS:
        modelled = model(wait_states, *events)
        error = 100 * (modelled - measured) / measured
        rows.append(
            {
                "chip": chip,
                "network": network,
                "measured": measured,
                "modelled": modelled,
                "error_percent": f"{error:+.1f}",
            }
        )
    cli.write_atomic(Path(__file__).parent / "cycle-model.csv", training.csv_text(rows))
    print("| chip | network | measured cycles | modelled | error |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['chip']} | {row['network']} | {row['measured']:,} | {row['modelled']:,} | "
            f"{row['error_percent']} % |"
        )


if __name__ == "__main__":
    cli.run(main)
