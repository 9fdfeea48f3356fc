"""What there is to know of a compiled network, for machines and for people; and its folder."""

import json
import tempfile
from pathlib import Path

import cli
from compiler import draw
from compiler.graph import ARENA

KERNELS = "kernels"  # the subfolder with what is copied
REPORT = "report.json"


def facts(compiled, emitted):
    """The report on a `Compiled` network and its `Emitted` C, ready for JSON."""
    graph = compiled.graph
    steps = []
    for number, (step, choice) in enumerate(zip(graph.operators, compiled.choices)):
        value = step.outputs[0]
        steps.append(
            {
                "operator": step.index,
                "kind": step.kind,
                "kernel": choice.kernel.name,
                "skipped": list(choice.skipped),
                "output": graph.tensors[value].name,
                "output_storage": graph.tensors[value].storage,
                "output_offset": compiled.offset(value)
                if graph.tensors[value].storage == ARENA
                else None,
                "output_bytes": graph.tensors[value].bytes,
                "scratch_offset": compiled.scratch_offset(number),
                "scratch_bytes": choice.scratch,
            }
        )
    return {
        "model": compiled.name,
        "sha256": compiled.digest,
        "arena": compiled.arena,
        "state": compiled.state,
        "scratch": compiled.scratch,
        "floor": compiled.floor,
        "flash": emitted.constants,
        "planned_by": compiled.plan.method,
        "sources": [emitted.source, *map(_copied, emitted.kernels)],
        "assembly": [_copied(path) for path in emitted.assembly],
        "steps": steps,
    }


def work(graph, step):
    """(multiply-accumulates, bytes of inputs, outputs, weights and biases) of a step."""
    macs, constants = graph.row(step).costs(graph, step)
    return macs, constants + sum(graph.tensors[i].bytes for i in (*step.inputs, *step.outputs))


def table(report, skipped=True):
    """The steps of a report and their memory, as lines to read; skipped: and why not faster."""
    names = f"{'offset':>8} {'bytes':>8} {'scratch':>8}"
    lines = [f"{'step':>8}  {'kind':18} {'kernel':26} {names}"]
    for step in report["steps"]:
        offset = step["output_offset"]
        place = step["output_storage"] if offset is None else offset
        lines.append(
            f"{step['operator']:>8}  {step['kind']:18} {step['kernel']:26} "
            f"{place:>8} {step['output_bytes']:>8} {step['scratch_bytes']:>8}"
        )
        lines += [f"{'':10}not {reason}" for reason in step["skipped"] if skipped]
    lines.append(f"compile with -I{KERNELS}: {' '.join(report['sources'])}")
    if report["assembly"]:
        lines.append(
            "on RISC-V with -DBITNETMCU_ASSEMBLY=1 and, in place of any C of the same name: "
            + " ".join(report["assembly"])
        )
    return "\n".join(lines)


def contents(emitted, report, text, name=REPORT):
    """{name: text} of all files of a compiled network but its pictures.

    report, text: on it, for machines and for people; name: of the file for machines.
    """
    files = dict(emitted.files)
    files["report.txt"] = text + "\n"
    files[name] = json.dumps(report, indent=1) + "\n"
    for path in (*emitted.kernels, *emitted.assembly, *emitted.headers):
        files[_copied(path)] = path.read_text(encoding="utf-8")
    return files


def _copied(path):
    """Where a kernel's file lies in the folder: as in its own folder of kernels, or at its top."""
    parts = path.parts
    own = parts.index(KERNELS) + 1 if KERNELS in parts[:-1] else len(parts) - 1
    return "/".join((KERNELS, *parts[own:]))


def draw_plan(compiled, path, depths=None):
    """Writes the picture of its memory.

    depths: {function: bytes of the deepest stack from it on}, as a firmware's budget has them, to
    show what the frames of kernels add.
    """
    depths = depths or {}
    frames = [
        max(depths.get(kernel.function, 0) for kernel in choice.kernel.with_used)
        for choice in compiled.choices
    ]
    names = compiled.step_names
    draw.draw_plan(compiled.blocks, compiled.plan, path, names, compiled.name, frames)


def check_folder(folder):
    """Raises `UserError` if `folder` cannot be written, or holds what is no compiled network."""
    cli.check_folder(folder.parent)
    if folder.exists() and not folder.is_dir():
        raise cli.UserError(f"{folder} is a file; name a folder")
    if folder.exists() and any(folder.iterdir()) and not (folder / REPORT).is_file():
        raise cli.UserError(f"{folder} holds other files; name a new or an empty folder")


def replace_folder(compiled, files, folder):
    """Writes `files` and all pictures as `folder`, in place of what was compiled there before.

    Of graphs that are too large for a picture it writes a table.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / "new"
        for name, text in files.items():
            cli.write_atomic(new / name, text)
        draw_plan(compiled, new / "memory.png")
        for number, (stage, graph) in enumerate(compiled.stages.items(), 1):
            name = f"graph-{number}-{stage}"
            if len(graph.operators) <= draw.MOST:
                draw.draw_graph(graph, new / f"{name}.png")
            else:
                cli.write_atomic(new / f"{name}.txt", f"{draw.print_graph(graph)}\n")
        if folder.exists():
            folder.rename(Path(temporary) / "old")
        new.rename(folder)
