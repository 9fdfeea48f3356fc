"""What the benchmarks run and how they count."""

import csv
import dataclasses
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


@pytest.fixture(scope="module")
def cortex_m4():
    pytest.importorskip("unicorn")
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import cortex_m4

    return cortex_m4


@pytest.mark.parametrize(
    ("text", "before", "cycles"),
    [
        ("adds r0, r1", None, 1),
        ("smlad r0, r1, r2, r0", None, 1),
        ("udiv r0, r1, r2", None, 12),
        ("push {r4, r5, r6, r7, lr}", None, 6),
        ("push {r4-r7, lr}", None, 6),
        ("ldmia.w r0!, {r2, r3, r5}", "ldr r1, [r4, #0]", 4),
        ("ldrd r2, r3, [r0], #8", "ldr r1, [r4, #0]", 3),
        ("ldr r0, [r1, #0]", None, 2),
        ("ldr r0, [r1, #0]", "ldrsb.w r2, [r3, r4]", 1),
        ("ldr r0, [r1, #0]", "ldr r1, [r3, #0]", 2),  # loaded in front: no pipelining
        ("ldr r0, [r1, #0]", "str r2, [r3, #0]", 2),
        ("ldr r0, [r1, #0]", "adds r1, #4", 3),  # no forwarding into an address
        ("ldr r0, [sl, #0]", "add.w r10, r10, #4", 3),
        ("ldmia.w r1, {r2, r3}", "umull r0, r1, r2, r3", 4),
        ("pop {r4, pc}", "add sp, #8", 4),
        ("pop {r4, pc}", "adds r4, #8", 3),
        ("ldr r0, [r1, #0]", "cmp r1, #4", 2),
        ("ldr.w pc, [r1, #0]", None, 3),  # and the refill
        ("tbb [pc, r0]", None, 4),
        ("str r0, [r1, #4]", None, 1),
        ("str.w r0, [r1], #4", None, 1),
        ("strb r0, [r1, r2]", None, 2),
        ("strb r0, [r1, r2]", "ldrb r0, [r3, #0]", 1),
        ("it eq", "adds r0, r1", 0),  # folded into 16 bits
        ("it eq", None, 1),
        ("bne.n 0", "subs r0, #1", 1),
    ],
)
def test_an_instruction_of_a_cortex_m4_takes_what_the_manual_says(cortex_m4, text, before, cycles):
    def parse(line):
        return line and cortex_m4.Instruction(*line.split(maxsplit=1))

    assert cortex_m4.weigh(parse(text), parse(before)) == cycles


FIRMWARE = """
    .syntax unified
    .thumb
    .global loop, record, marked, next
    .type loop, %function
    .type record, %function
    .type marked, %function
    .type next, %function
loop:                       // 1, 3 passes of 2 + 1 + 1 + a refill but behind the last, 1
    movs r1, #3
1:  ldr r2, [r0, #0]
    subs r1, #1
    bne 1b
    bx lr
record:
    b record                // would not end
marked:                     // 3, then 1 + 2 and the refill of a call of what is not executed
    push {r4, lr}
    bl record
    movs r0, #1
    pop {r4, pc}
next:                       // 1 and a refill, also where it leads to what is behind it, 1
    b 1f
1:  bx lr
"""


NEEDS_ARM = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="no Arm compiler; make toolchain installs it"
)


@NEEDS_ARM
def test_what_is_executed_is_counted_up_to_each_mark(cortex_m4, tmp_path):
    source, elf = tmp_path / "code.s", tmp_path / "code.elf"
    source.write_text(FIRMWARE)
    options = ["-mcpu=cortex-m4", "-nostdlib", "-Wl,-Ttext=0x100,--defsym=__stack_top=0x20008000"]
    command = ["arm-none-eabi-gcc", *options, "-Wl,-e0,--no-warn-rwx-segments", "-o", elf, source]
    subprocess.run(command, check=True)
    sram, flash = cortex_m4.SRAM, 0x1000

    def costs(name, *arguments, **options):
        machine = cortex_m4.Machine(elf, **options)
        machine.call(name, *arguments)
        return machine.costs

    cost = cortex_m4.Cost
    assert costs("loop", sram) == [cost(11, 1 + 3 * 4 + 2 * 2 + 1, 0)]
    assert costs("loop", sram, refill=1) == [cost(11, 1 + 3 * 4 + 2 + 1, 0)]
    assert costs("next") == [cost(2, 1 + 2 + 1, 0)]
    assert costs("loop", sram + 2)[0].cycles == 18 + 3  # words at an odd halfword
    assert costs("loop", sram + 1)[0].cycles == 18 + 6
    (waiting,) = costs("loop", flash, wait_states=5)
    assert (waiting.cycles, waiting.stalls) == (18, 5 + 5)  # a line of code, one of data; once
    first, second = costs("marked", mark="record", most=2)
    assert first == cost(2, 3 + 1, 0) and second == cost(2, 1 + 3, 0)


COPY = """
    .syntax unified
    .thumb
    .global copy
    .type copy, %function
copy:
    ldr r2, [r0, #0]
    str r2, [r1, #0]
    bx lr
"""


@NEEDS_ARM
def test_published_cycles_count_only_beside_the_right_result(cortex_m4, tmp_path):
    import cycle_model_m4

    source, elf = tmp_path / "copy.s", tmp_path / "copy.elf"
    source.write_text(COPY)
    cycle_model_m4.link(source, elf)
    given = b"four", b""
    point = cycle_model_m4.Point("", "copy.s", "copy", 10, "", given, (1, b"four"))
    found = cycle_model_m4.row(point, elf)  # 2 + 1 + 1, and 1 + 2 * 2 for the call and back
    assert (found["modelled"], found["modelled_percent"], found["instructions"]) == (9, "-10.0", 3)
    wrong = dataclasses.replace(point, wanted=(1, b"five"))
    with pytest.raises(cli.UserError, match="copy of copy.s gives a wrong result"):
        cycle_model_m4.row(wrong, elf)


@NEEDS_ARM
def test_the_operators_of_a_model_add_up_to_the_whole(cortex_m4):
    for package in ("ai_edge_litert", "tflite"):
        pytest.importorskip(package)
    import estimate_cycles

    model = ROOT / "examples" / "digits.tflite"
    found = estimate_cycles.estimate(model, inputs=2, wait_states=5, operators=True)
    assert len(found.operators) == len(found.compiled.graph.operators)
    assert all(cost.cycles > needed / 2 for *_, cost, needed in found.operators)
    whole = sum(cost.cycles for _, _, cost, _ in found.operators)
    assert abs(whole - found.whole.cycles) < 0.02 * whole
    assert found.whole.stalls > 0 and found.whole.instructions < found.whole.cycles


def test_the_worst_steps_are_those_with_a_share():
    from tinyengine import measures

    assert measures.needed(9, 5) == 5 + 2
    steps = [("a", 1000, 100), ("b", 900, 30), ("c", 10, 0), ("d", 800, 800), ("e", 500, 100)]
    assert measures.worst(steps) == "b (30.0 times), a (10.0 times), e (5.0 times)"


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
