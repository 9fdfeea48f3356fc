"""Draw the memory of a network in a firmware: its plan, and what the frames of kernels add.

Writes memory.png into the folder of the firmware, in place of the export's, which knows no frames.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse

import budget

import cli
import exportquant
from compiler import report
from lowbit import pipeline

EXAMPLES = """example:
  make -C mcu plan
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", required=True, type=Path, help="folder of the firmware")
    parser.add_argument("--network", metavar="FILE", help="its checkpoint")
    arguments = parser.parse_args()
    exported, trained = exportquant.exported_checkpoint(arguments.build, arguments.network)
    graph = exportquant.graph_of(trained, exported)
    compiled = pipeline.compile_network(graph, exported["optimise"], exported["multiplier"])
    needs = budget.read(arguments.build / "firmware.elf")
    picture = arguments.build / exportquant.PLAN
    report.draw_plan(compiled, picture, needs.depths)
    print(f"picture={picture} arena={compiled.arena} stack={needs.stack} ram={needs.totals['ram']}")


if __name__ == "__main__":
    cli.run(main)
