"""Compile an int8 TensorFlow Lite model to C whose memory is planned.

Writes a folder that stands alone: model.c and model.h, the kernels that they need, report.txt and
report.json, and pictures of the memory plan and of the graph after each stage. Nothing is written
if the model cannot be compiled.
"""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import json
import tempfile
from pathlib import Path

import cli
from tinyengine import compiler, draw, selection

EXAMPLES = """examples:
  python compile_tflite.py MODEL.tflite --out build/model
  python compile_tflite.py MODEL.tflite --out build/model --optimise none   plain kernels
  python compile_tflite.py MODEL.tflite --print                             the graph by stages
"""


def kernels(compiled):
    """The files with kernels that the model needs; those in assembly are empty on other cores."""
    return [*selection.sources(compiled.choices), *selection.assembly(compiled.choices)]


def report(compiled, constants):
    """What there is to know of a compiled model, as a dict."""
    steps = []
    for operator, choice in zip(compiled.graph.operators, compiled.choices):
        steps.append(
            {
                "operator": operator.index,
                "kind": operator.kind,
                "kernel": choice.kernel.name,
                "skipped": list(choice.skipped),
                "output_offset": compiled.offset(operator.outputs[0]),
                "output_bytes": compiled.graph.tensors[operator.outputs[0]].size,
                "scratch_bytes": choice.scratch,
            }
        )
    return {
        "model": compiled.name,
        "sha256": compiled.digest,
        "arena": compiled.arena,
        "scratch": compiled.scratch,
        "floor": compiled.floor,
        "flash": constants,
        "planned_by": compiled.plan.method,
        "sources": ["model.c", *(f"kernels/{path.name}" for path in kernels(compiled))],
        "steps": steps,
    }


def table(facts):
    """The report for people."""
    names = f"{'offset':>8} {'bytes':>8} {'scratch':>8}"
    lines = [f"{'operator':>8}  {'kind':18} {'kernel':26} {names}"]
    for step in facts["steps"]:
        lines.append(
            f"{step['operator']:>8}  {step['kind']:18} {step['kernel']:26} "
            f"{step['output_offset']:>8} {step['output_bytes']:>8} {step['scratch_bytes']:>8}"
        )
        lines += [f"{'':10}not {reason}" for reason in step["skipped"]]
    lines.append(f"compile with -Ikernels: {' '.join(facts['sources'])}")
    return "\n".join(lines)


def last_line(facts):
    keys = ("model", "arena", "scratch", "floor", "flash")
    return " ".join(f"{key}={facts[key]}" for key in keys)


def write(compiled, files, facts, folder):
    """All files of a compiled model as `folder`, in place of what was compiled there before.

    files: {name: text} of its C. Raises `UserError` for a folder with files that are not ours.
    """
    steps = [f"{operator.index} {operator.kind}" for operator in compiled.graph.operators]
    files["report.txt"] = f"{table(facts)}\n{last_line(facts)}\n"
    files["report.json"] = json.dumps(facts, indent=1) + "\n"
    for path in (*kernels(compiled), *selection.KERNELS.glob("*.h")):
        files[f"kernels/{path.name}"] = path.read_text()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / "new"
        for name, text in files.items():
            cli.write_atomic(new / name, text)
        draw.draw_plan(compiled.blocks, compiled.plan, new / "memory.png", steps, compiled.name)
        for number, (stage, graph) in enumerate(compiled.stages.items(), 1):
            draw.draw_graph(graph, new / f"graph-{number}-{stage}.png")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)


def check_folder(folder):
    """Raises `UserError` if `folder` cannot be written, or holds what is no compiled model."""
    cli.check_folder(folder.parent)
    if folder.exists() and not folder.is_dir():
        raise cli.UserError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / "report.json").is_file():
        raise cli.UserError(f"{folder} holds other files; name a new or an empty folder")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a .tflite file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--optimise",
        choices=list(selection.OPTIMISE),
        default="speed",
        help="speed: fast kernels, without dead channels; none: plain ones (default: speed)",
    )
    parser.add_argument("--print", action="store_true", help="print the graph at each stage")
    arguments = parser.parse_args()
    if not (arguments.out or arguments.print):
        parser.error("name a folder with --out, or --print")

    if arguments.out:
        check_folder(arguments.out)
    compiled = compiler.load(arguments.model, arguments.optimise)
    files, constants = compiled.files()
    facts = report(compiled, constants)
    if arguments.print:
        for stage, graph in compiled.stages.items():
            print(f"{stage}:\n{draw.print_graph(graph)}\n")
    print(table(facts))
    if arguments.out:
        write(compiled, files, facts, arguments.out)
    print(last_line(facts))


if __name__ == "__main__":
    cli.run(main)
