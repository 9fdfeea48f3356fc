"""Numbers that C and Python both need: they stand in the C, and Python reads them there."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBER = r"(0x[0-9a-fA-F]+|\d+)u?"


@cache
def constants(path):
    """{name: int} of each `#define NAME number` and each `NAME = number` of an enum in a C file.

    path: from the project's root. Names that have several values, by #if, are left out.
    """
    text = re.sub(r"/\*.*?\*/", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.S)
    found = re.findall(rf"^[ \t]*#[ \t]*define[ \t]+(\w+)[ \t]+{NUMBER}[ \t]*$", text, re.M)
    for body in re.findall(r"\benum\b\s*\w*\s*{(.*?)}", text, re.S):
        found += re.findall(rf"(\w+)\s*=\s*{NUMBER}\s*(?:,|$)", body)
    names = [name for name, _ in found]
    return {name: int(number, 0) for name, number in found if names.count(name) == 1}
