"""Compile an int8 TensorFlow Lite model to C whose memory is planned.

Writes a folder that stands alone: model.c and model.h, the kernels that they need, report.txt and
report.json, and pictures of the memory plan and of the graph after each stage. Nothing is written
if the model cannot be compiled.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
from pathlib import Path

import cli
from compiler import draw, report
from tinyengine import emission, kernelrows, pipeline

EXAMPLES = """examples:
  python compile_tflite.py MODEL.tflite --out build/model
  python compile_tflite.py MODEL.tflite --out build/model --optimise none   plain kernels
  python compile_tflite.py MODEL.tflite --print                             the graph by stages
"""


def last_line(facts):
    keys = ["model", "arena", "scratch", "floor", "flash"]
    keys += ["state"] if facts["state"] else []
    return " ".join(f"{key}={facts[key]}" for key in keys)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--optimise",
        choices=kernelrows.OPTIMISE,
        default="speed",
        help="speed: fast kernels, without dead channels; none: plain ones (default: speed)",
    )
    parser.add_argument("--print", action="store_true", help="print the graph at each stage")
    arguments = parser.parse_args()
    if not (arguments.out or arguments.print):
        parser.error("name a folder with --out, or --print")

    if arguments.out:
        report.check_folder(arguments.out)
    compiled = pipeline.load(arguments.model, arguments.optimise)
    emitted = emission.emit(compiled)
    facts = report.facts(compiled, emitted)
    text = f"{report.table(facts)}\n{last_line(facts)}"
    if arguments.print:
        for stage, graph in compiled.stages.items():
            print(f"{stage}:\n{draw.print_graph(graph)}\n")
    print(report.table(facts))
    if arguments.out:
        report.replace_folder(compiled, report.contents(emitted, facts, text), arguments.out)
    print(last_line(facts))


if __name__ == "__main__":
    cli.run(main)
