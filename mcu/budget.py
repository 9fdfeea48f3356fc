"""What a firmware needs of flash and RAM, by part, with a static bound of the worst stack.

The stack bound: the frame of each function, as the compiler states it (-fstack-usage) or its
assembly does (`.set frame.NAME, BYTES`), added up along the deepest path of calls, as the linked
code has them. Recursion and calls through pointers have no bound and are refused. mcu/link.py
measures and writes a budget beside each ELF file; who wants one takes `read`.
"""

import json
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

import cli

WEIGHTS = re.compile(r"\w+_weights_\d+")  # of a layer, as lowbit/emission.py names them
FRAME = "frame."  # frame.NAME: an absolute symbol
JUMP = r"\t(?:c\.)?(?:jal|j|bl|b|call|tail)"  # in the disassembly of RISC-V and Arm code
CALL = re.compile(JUMP + r"\S*\s+(?:\w+,)?\s*[0-9a-f]+ <([^>+]+)>")
CALL_PAIR = re.compile(r"\t(?:c\.)?(?:jalr|jr)\s.*<([^>+]+)>")
RETURNS = re.compile(r"\t(?:c\.)?(?:jal|bl|call|jalr)\s")  # a call, not a jump back in a loop
INSIDE = re.compile(JUMP + r"(?:\.\w)?\s+(?:\w+,)?\s*\w+ <([^>+]+)\+")
INDIRECT = re.compile(r"\t(?:c\.)?(?:jalr\s+(?!.*<)|jr\s+(?!.*<)|blx\s+r|bx\s+(?!lr)|mov\s+pc)")


def frames(files):
    """{function: bytes of its stack frame} from the compiler's .su `files`.

    A file that is not there belongs to assembly, which states its frames itself.
    """
    found = {}
    for file in map(Path, files):
        for line in file.read_text().splitlines() if file.is_file() else ():
            where, size, kind = line.split("\t")
            if kind not in ("static", "dynamic,bounded"):
                raise cli.UserError(f"{where}: a frame of no fixed size ({kind}) has no bound")
            name = where.rsplit(":", 1)[1]
            found[name] = max(int(size), found.get(name, 0))
    return found


def absolute_symbols(elf):
    """{name: value} of the symbols in `elf` that are no addresses."""
    with Path(elf).open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab").iter_symbols()
        return {
            symbol.name: symbol["st_value"]
            for symbol in symbols
            if symbol["st_shndx"] == "SHN_ABS" and symbol["st_info"]["type"] == "STT_NOTYPE"
        }


def stated_frames(elf):
    """{function: bytes of its stack frame} of the functions in assembly that are linked in `elf`.

    They jump within themselves through registers, and may work in the frame of their caller: 0.
    """
    symbols = absolute_symbols(elf)
    return {n.removeprefix(FRAME): symbols[n] for n in symbols if n.startswith(FRAME)}


def disassembly(elf, objdump):
    """What `objdump` says of `elf`, which would take absolute symbols for addresses."""
    strip = [f"--strip-symbol={name}" for name in absolute_symbols(elf)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "elf"
        subprocess.run([re.sub("objdump$", "objcopy", objdump), *strip, elf, copy], check=True)
        command = [objdump, "-d", copy]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def calls(elf, objdump, assembly):
    """{function: the functions it calls or jumps to} from the disassembly of `elf`.

    assembly: functions in which a jump through a register stays inside.
    """
    graph = {}
    function = None
    for line in disassembly(elf, objdump).splitlines():
        head = re.match(r"[0-9a-f]+ <([^>]+)>:", line)
        if head:
            function = original(head[1])
            graph.setdefault(function, set())
        elif function:
            callee = CALL.search(line) or CALL_PAIR.search(line)
            inside = INSIDE.search(line)
            if callee and (callee[callee.lastindex] != function or RETURNS.search(line)):
                graph[function].add(original(callee[callee.lastindex]))
            elif not callee and INDIRECT.search(line) and function not in assembly:
                raise cli.UserError(f"{function} calls through a pointer, which has no stack bound")
            elif inside and original(inside[1]) != function:
                raise cli.UserError(f"{function} jumps into {inside[1]}, which has no stack bound")
    return graph


def original(name):
    """The name under which the compiler reports the frame of a clone, as f.constprop.0."""
    return re.sub(r"\.\d+$", "", name)


def worst_stack(root, graph, frame_sizes):
    """(bytes, [functions]) of the deepest path of calls from `root`."""

    @cache
    def depth(function, above=()):
        if function in above:
            raise cli.UserError(f"{function} calls itself, which has no stack bound")
        below = [depth(callee, (*above, function)) for callee in sorted(graph.get(function, ()))]
        deepest = max(below, default=(0, ()))
        return frame_sizes.get(function, 0) + deepest[0], (function, *deepest[1])

    unknown = sorted(set(reachable(root, graph)) - frame_sizes.keys())
    if unknown:
        name = unknown[0]
        raise cli.UserError(
            f"the stack frame of {name} is not known; state it where it is written, with "
            f"`.set {FRAME}{name}, BYTES`"
        )
    return depth(root)


def reachable(root, graph):
    found, todo = set(), [root]
    while todo:
        function = todo.pop()
        if function not in found:
            found.add(function)
            todo += graph.get(function, ())
    return found


def sections(elf):
    """(bytes of flash by part, bytes of RAM by part) of the ELF file at `elf`."""
    with Path(elf).open("rb") as file:
        image = ELFFile(file)
        sizes = {s.name: s["sh_size"] for s in image.iter_sections()}
        symbols = list(image.get_section_by_name(".symtab").iter_symbols())
    weights = sum(s["st_size"] for s in symbols if WEIGHTS.fullmatch(s.name))
    images = sum(s["st_size"] for s in symbols if s.name == "demo_images")
    code_in_ram = sum(
        s["st_size"]
        for s in symbols
        if s["st_info"]["type"] == "STT_FUNC" and s["st_value"] >= 0x20000000
    )
    text, constants, data, bss = (
        sizes.get(name, 0) for name in (".text", ".rodata", ".data", ".bss")
    )
    flash = {
        "weights": weights,
        "demo images": images,
        "code and constants": text + constants - weights - images,
        "code and data copied to RAM": data,
    }
    return flash, {"code": code_in_ram, "data": data - code_in_ram, "variables": bss}


@dataclass(frozen=True)
class Budget:
    """What a firmware takes of its target, in bytes."""

    place: str  # of PLACES in link.py: which kernels run from SRAM
    limits: dict  # what there is of "flash" and "ram"
    flash: dict  # by part
    ram: dict  # by part, the worst stack among them
    path: list  # the deepest calls from main(): [function, its frame] of each
    depths: dict  # of each function that main() reaches, the deepest stack from it on

    @property
    def stack(self):
        """The static bound of the worst stack."""
        return sum(frame for _, frame in self.path)

    @property
    def totals(self):
        """{"flash", "ram"}: the sums of their parts."""
        return {"flash": sum(self.flash.values()), "ram": sum(self.ram.values())}

    @property
    def excess(self):
        """{"flash", "ram"}: how much more it takes than there is; only those with too little."""
        over = {kind: total - self.limits[kind] for kind, total in self.totals.items()}
        return {kind: more for kind, more in over.items() if more > 0}

    def text(self):
        """A table for people; its last line has the totals as key=value."""
        lines = []
        for kind, parts in (("flash", self.flash), ("ram", self.ram)):
            lines.append(f"{kind}: {self.totals[kind]} of {self.limits[kind]} bytes")
            lines += [f"  {name}: {size}" for name, size in parts.items()]
        calls = " > ".join(f"{function} {frame}" for function, frame in self.path)
        lines.append(f"deepest calls, with the bytes of each frame: {calls}")
        figures = self.totals | {"stack": self.stack}
        lines.append(" ".join(f"{key}={value}" for key, value in figures.items()))
        return "\n".join(lines) + "\n"

    def json(self):
        """What `read` takes, with the sums for other readers."""
        content = asdict(self) | {"totals": self.totals, "stack": self.stack}
        return json.dumps(content, indent=1) + "\n"

    def check_stack(self, deepest):
        """Print how deep the stack went, and raise a `UserError` if that is below its bound."""
        print(f"deepest stack seen: {deepest} bytes, static bound {self.stack} bytes")
        if deepest > self.stack:
            raise cli.UserError("the stack went deeper than its static bound")


def measure(elf, usage, objdump, limits, place):
    """The `Budget` of the linked ELF file at `elf`; `usage`: the .su files of its objects."""
    stated = stated_frames(elf)
    sizes, graph = stated | frames(usage), calls(elf, objdump, stated)
    stack, path = worst_stack("main", graph, sizes)
    flash, ram = sections(elf)
    path = [[function, sizes[function]] for function in path]
    reached = sorted(reachable("main", graph))
    depths = {function: worst_stack(function, graph, sizes)[0] for function in reached}
    return Budget(place, limits, flash, ram | {"worst stack": stack}, path, depths)


def beside(elf, suffix):
    """Where the budget of the ELF file at `elf` lies: as "txt" for people, as "json" for `read`."""
    return Path(elf).with_suffix(f".budget.{suffix}")


def read(elf):
    """The `Budget` that was written when the ELF file at `elf` was linked."""
    content = json.loads(beside(elf, "json").read_text(encoding="utf-8"))
    return Budget(*(content[field.name] for field in fields(Budget)))
