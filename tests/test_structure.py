"""Imports point one way, and there is no circle."""

import ast
import re

import pytest
from conftest import ROOT

# Who may import whom; a package also itself, and all of them cli.
LAYERS = {
    "compiler": set(),
    "qat": {"compiler"},
    "BitNetMCU": {"compiler", "qat"},
    "lowbit": {"compiler", "BitNetMCU"},
    "tinyengine": {"compiler"},
    "train": {"compiler", "BitNetMCU", "lowbit", "workers"},
}
OURS = {*LAYERS, *(path.stem for path in ROOT.glob("*.py")), "mcu"}


def imported(path):
    """The first names of all modules that the file at `path` imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", LAYERS)
def test_imports_point_one_way(package):
    files = sorted((ROOT / package).glob("*.py")) or [ROOT / f"{package}.py"]
    for file in files:
        found = set(imported(file)) & OURS
        assert found <= LAYERS[package] | {package, "cli"}, file


@pytest.mark.parametrize("package", [name for name in LAYERS if (ROOT / name).is_dir()])
def test_no_module_of_a_package_imports_itself_on_a_way_round(package):
    graph = {}
    for file in (ROOT / package).glob("*.py"):
        tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        names = set()
        for node in tree:
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == package:
                names |= {*node.module.split(".")[1:], *(alias.name for alias in node.names)}
        graph[file.stem] = {name for name in names if (ROOT / package / f"{name}.py").is_file()}
    while graph:
        leaves = [module for module, needs in graph.items() if not needs & graph.keys()]
        assert leaves, f"{package}: a circle of {', '.join(sorted(graph))}"
        for module in leaves:
            del graph[module]


def test_nobody_loads_the_trainer_for_a_helper():
    """Of the scripts, study.py calls training.train(), and no other uses training.py."""
    users = [file.name for file in ROOT.glob("*.py") if "training" in set(imported(file))]
    assert users == ["study.py"]
    used = re.findall(r"\btraining\.(?!py\b)(\w+)", (ROOT / "study.py").read_text(encoding="utf-8"))
    assert set(used) == {"train"}
