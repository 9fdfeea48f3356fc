"""What the benchmarks run and how they count."""

import csv
import shutil
import subprocess
import sys

import bench
import budget
import pytest
from conftest import ROOT, refused, run_script

import cli
from train import checkpoint


def test_a_part_comes_with_its_yardstick_once():
    cases = bench.select(["target=CH32V003", "model=fc12k", "kernel=assembly,bittest"])
    names = [(case["kernel"], case["placement"]) for case in cases]
    assert names[0] == ("bittest", "sram") and names.count(names[0]) == 1
    assert {("assembly", "auto"), ("assembly", "flash"), ("bittest", "flash")} <= set(names)


def test_every_committed_network_is_measured():
    assert {path.stem for path in checkpoint.MODELDATA.glob("*.pth")} == set(bench.MODELS.values())


def test_speedup_is_relative_to_the_yardstick_of_the_same_target():
    case = dict(zip(bench.KEYS, ("CH32V003", "fc12k", "assembly", "auto"), strict=True))
    other = case | {"target": "cortex-m0", "kernel": "c", "placement": "flash"}
    rows = []
    for each, cycles, instructions in (
        (case, "10", "5"),
        (bench.yardstick_of(case), "100", "70"),
        (other, "", "4"),
        (bench.yardstick_of(other), "", "12"),
    ):
        empty = dict.fromkeys(bench.COLUMNS, "")
        rows.append(empty | each | {"cycles_mean": cycles, "instructions_mean": instructions})
    bench.add_speedups(rows)
    assert [row["speedup"] for row in rows] == ["10.0", "1.0", "3.0", "1.0"]


@pytest.fixture
def measure(monkeypatch, tmp_path):
    """A function (bytes of RAM of each build that is linked) -> the row, if no build ever runs."""
    case = dict(zip(bench.KEYS, ("CH32V003", "fc12k", "assembly", "inner"), strict=True))
    folder = tmp_path / "-".join(case.values()) / "options" / bench.MODELS["fc12k"]
    folder.mkdir(parents=True)

    def measure_builds(**builds):
        def run(command, **_):
            for name, size in builds.items():
                flash = {"code and constants": 900, "code and data copied to RAM": 100}
                limits = {"flash": 16384, "ram": 2048}
                needs = budget.Budget("inner", limits, flash, {"variables": size}, [], {})
                budget.beside(folder / f"{name}.elf", "json").write_text(needs.json())
            return subprocess.CompletedProcess(command, 2, "", "no space")

        monkeypatch.setattr(bench.subprocess, "run", run)
        return bench.measure(case, 20, tmp_path)

    return measure_builds


def test_a_row_says_which_build_is_too_large(measure):
    row = measure(firmware=2049)
    assert (row["ram_bytes"], row["cycles_mean"], row["too_large"]) == (2049, "", "firmware")
    row = measure(firmware=2044, trace=2052)
    assert (row["ram_bytes"], row["cycles_mean"], row["too_large"]) == (2044, "", "trace")


def test_a_build_that_fails_otherwise_is_an_error_whatever_was_too_large_before(measure):
    measure(firmware=2044, trace=2052)
    for builds in ({}, {"firmware": 2044}, {"trace": 2052}, {"firmware": 2044, "trace": 2048}):
        with pytest.raises(cli.UserError, match="no space"):
            measure(**builds)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("chip=Z80", "keys are: target, model, kernel, placement"),
        ("target=Z80", "choose one of: CH32V003"),
        ("model=fc12k,fc13k", "model=fc13k is not known"),
    ],
)
def test_unknown_selections_name_the_known_ones(argument, expected):
    assert expected in refused(run_script("mcu/bench.py", argument))


def test_a_selection_of_nothing_is_refused():
    done = run_script("mcu/bench.py", "target=cortex-m0", "kernel=assembly")
    assert "selects nothing that can be built" in refused(done)


def test_estimated_cycles_weigh_words_and_loads():
    pytest.importorskip("unicorn")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import estimate_cycles

    code = {
        0: ("push", "{r4-r7, lr}"),  # 1 + 5
        2: ("ldr", "r0, [r1, #0]"),  # 2
        4: ("ldr.w", "r2, [r1, #4]"),  # 1: straight behind a load
        8: ("ldrd", "r2, r3, [r0], #8"),  # 3
        12: ("ldrb", "r4, [r0, #0]"),  # 2
        14: ("str", "r4, [r0, #0]"),  # 1
        16: ("ldmia.w", "r0!, {r2, r3, r5-r8}"),  # 1 + 6
        20: ("bne.n", "0"),  # 1
    }
    assert estimate_cycles.weigh(code, 0, 22) == (8, 6 + 2 + 1 + 3 + 2 + 1 + 7 + 1)
    assert estimate_cycles.weigh(code, 4, 4) == (1, 2)


def test_a_part_of_the_benchmark_runs_whole(mnist, tmp_path):
    """Firmware of headers that were exported elsewhere, one that is too large, the yardstick."""
    if shutil.which("riscv64-unknown-elf-gcc") is None:
        pytest.skip("no RISC-V compiler; make toolchain installs it")
    part = ("target=CH32V003", "model=fc1k", "kernel=assembly", "placement=auto,sram")
    out = tmp_path / "part.csv"
    done = run_script("mcu/bench.py", *part, "--images", "20", "--out", out)
    assert done.returncode == 0, done.stderr
    yardstick, row, larger = csv.DictReader(out.read_text().splitlines())
    assert [r["mismatches"] for r in (yardstick, row, larger)] == ["0", "0", ""]
    assert [r["too_large"] for r in (yardstick, row, larger)] == ["", "", "firmware"]
    assert float(row["speedup"]) > 3 and int(row["ram_bytes"]) < 2048 < int(larger["ram_bytes"])
