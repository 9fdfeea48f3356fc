"""The firmware: built for each target, run in the emulator, compared with the integer model."""

import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import budget
import emulate
import link
import machine
import numpy as np
import pytest
from conftest import ROOT, run_script
from elftools.elf.elffile import ELFFile

import cli
import training
from compiler.operators import run
from lowbit import fusion, kernelrows, lowering
from train import checkpoint, config

unicorn = pytest.importorskip("unicorn")
from unicorn import riscv_const as uc  # noqa: E402

MCU = ROOT / "mcu"
RISCV = ("riscv64-unknown-elf-gcc", "riscv-none-elf-gcc", "riscv64-elf-gcc")
TARGETS = sorted(path.stem for path in (MCU / "targets").glob("*.mk"))


def need(target):
    """Skip where the tools for `target` are missing."""
    tools = [("arm-none-eabi-gcc",), ("qemu-system-arm",)] if "cortex" in target else [RISCV]
    for names in tools:
        if not any(map(shutil.which, names)):
            pytest.skip(f"no {' or '.join(names)}; make toolchain installs it")


def make(*arguments, build, check=True):
    """Run make in mcu/ with its output in the folder `build`; returns the finished process."""
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments, f"OUT={build}", f"PYTHON={run_script.python}"],
        cwd=MCU,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A small network on the embedded data: (path of its checkpoint, a build folder)."""
    folder = tmp_path_factory.mktemp("firmware")
    done = run_script(
        "training.py",
        "dataset=Digits",
        "num_epochs=3",
        "widths=20,9",
        "--out",
        folder,
        "--build",
        folder,
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.pth")), folder / "build"


def last_line(done):
    return dict(pair.split("=") for pair in done.stdout.strip().splitlines()[-1].split())


@pytest.mark.parametrize(
    "options",
    [("TARGET=CH32V003", "CONSOLE=usart")]
    + [(f"KERNELS={kernels}",) for kernels in ("c", "plain", "bittest")]
    + [(f"PLACE={place}",) for place in ("inner", "flash")]
    + [(f"TARGET={target}",) for target in TARGETS],
    ids=" ".join,
)
def test_firmware_gives_the_same_values_as_the_integer_model(options, network):
    need(options[0])
    path, build = network
    done = make("emulate", f"MODEL={path}", "IMAGES=150", *options, build=build)
    line = last_line(done)
    assert line["mismatches"] == "0" and line["images"] == "150"
    assert len(re.findall(r"sample \d: predicted \d, label \d, \d+ cycles", done.stdout)) == 4
    assert 0 < int(line["stack"]) < int(line["ram"])


@pytest.mark.parametrize("target", ["CH32V003", "CH32V002", "cortex-m0"])
def test_firmware_on_measured_values_with_biases_gives_the_same_values(target, tmp_path):
    need(target)
    file = tmp_path / "vibration.npz"
    assert run_script("examples/vibration.py", file, "--samples", "900").returncode == 0
    changes = [f"dataset={file}", "augmented_copies=0", "bias=all", "WScale=PerOutput"]
    settings = config.load(overrides=[*changes, "num_epochs=2", "widths=20,9"])
    path = training.train(settings, tmp_path, report=str)
    done = make("emulate", f"MODEL={path}", f"TARGET={target}", build=tmp_path / "b")
    assert last_line(done)["mismatches"] == "0" and last_line(done)["images"] == "150"


@pytest.mark.parametrize(
    "options", [("TARGET=CH32V002", "PLACE=inner"), ("KERNELS=c",)], ids=" ".join
)
def test_firmware_with_sums_in_int16_gives_the_same_values(options, tmp_path):
    need(options[0])
    overrides = ["dataset=Digits", "num_epochs=2", "model=WindowMNIST", "requantiser=ShiftNorm"]
    overrides += ["image_size=8", "layers=conv 4x4/2 13,conv 1x1 7,dense 16", "activation_bits=4"]
    path = training.train(config.load(overrides=overrides), tmp_path, report=lambda line: None)
    line = last_line(make("emulate", f"MODEL={path}", *options, build=tmp_path / "b"))
    assert line["mismatches"] == "0"
    report = next((tmp_path / "b").glob(f"*/{path.stem}/export.json"))
    kinds = [step["kind"] for step in json.loads(report.read_text())["steps"]]
    assert kinds.count("CONVOLUTION_16") == kinds.count("SHIFTNORM_RELU_16") == 2


def test_a_wrong_weight_in_flash_is_found(network, tmp_path):
    """The emulator runs the ELF as it is, not the header that it came from."""
    need("CH32V003")
    path, build = network
    make(f"MODEL={path}", "emulate", "IMAGES=20", build=build)
    folder = next(build.glob(f"CH32V003-assembly-auto-debug/{path.stem}"))
    copy = shutil.copytree(folder, folder.with_name("copy"))
    with (copy / "firmware.elf").open("r+b") as file:
        elf = ELFFile(file)
        symbols = elf.get_section_by_name(".symtab")
        (weights,) = symbols.get_symbol_by_name("BitNetMCU_weights_1")
        text = elf.get_section_by_name(".rodata")
        at = text["sh_offset"] + weights["st_value"] - text["sh_addr"]
        header, centre = 8, 8 * 16 + 8  # of the kernel; the pixel
        at += header + (weights["st_size"] - header) // 256 * centre
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 8]))
    done = run_script(
        "mcu/emulate.py",
        "--target",
        "CH32V003",
        "--build",
        copy,
        "--images",
        "20",
        "--emulator",
        build / "emulator",
    )
    assert done.returncode == 1 and "mismatches=0 " not in done.stdout


def test_network_that_does_not_fit_is_refused_with_the_numbers(tmp_path):
    need("CH32V003")
    run_script(
        "training.py",
        "dataset=Digits",
        "num_epochs=1",
        "widths=128,64",
        "--out",
        tmp_path,
        "--build",
        tmp_path,
    )
    path = next(tmp_path.glob("*.pth"))
    done = make(f"MODEL={path}", build=tmp_path / "b", check=False)
    assert done.returncode != 0
    assert re.search(r"needs \d+ bytes of flash, \d+ more than the 16384", done.stderr)


def test_the_budget_knows_weights_of_any_name_and_each_frame(network, tmp_path):
    need("CH32V003")
    path, _ = network
    export = tmp_path / "export"
    for script in (("exportquant.py", path, "--name", "digits"), ("mcu/demo_images.py",)):
        assert run_script(*script, "--build", export).returncode == 0
    make(f"MODEL={path}", f"EXPORTED={export}", build=tmp_path / "b")
    elf = next((tmp_path / "b").glob("*/*/firmware.elf"))
    needs = budget.read(elf)
    report = json.loads((export / "export.json").read_text())
    assert needs.flash["weights"] == report["weight_bytes"]
    assert needs.limits == {"flash": 16_384, "ram": 2_048} and not needs.excess
    (first, frame), (second, _), *_ = needs.path
    assert (first, second) == ("main", "digits_infer") and 0 < frame < needs.stack
    words = dict(pair.split("=") for pair in needs.text().splitlines()[-1].split())
    assert words == {
        key: str(value) for key, value in (needs.totals | {"stack": needs.stack}).items()
    }
    text = elf.with_suffix(".budget.txt").read_text()
    assert text == f"kernels in SRAM: {link.PLACES[needs.place].kernels}\n{needs.text()}"


def test_changed_options_are_built_anew(network, tmp_path):
    need("CH32V003")
    path, _ = network
    make(f"MODEL={path}", build=tmp_path)
    assert "CC" not in make(f"MODEL={path}", build=tmp_path).stdout
    assert "CC riscv/chip.c" in make(f"MODEL={path}", "LED_PIN=PD4", build=tmp_path).stdout


def test_fewer_bits_of_a_network_build_smaller_kernels_anew(network, tmp_path):
    need("CH32V003")
    path, _ = network
    exported, build = tmp_path / "exported", tmp_path / "b"
    for script in (("exportquant.py", path, "--optimise", "speed"), ("mcu/demo_images.py",)):
        assert run_script(*script, "--build", exported).returncode == 0
    report = json.loads((exported / "export.json").read_text())
    assert report["bits"] == 4
    stacks = []
    for bits, made in ((7, True), (7, False), (4, True)):
        (exported / "export.json").write_text(json.dumps(report | {"bits": bits}))
        done = make(f"MODEL={path}", f"EXPORTED={exported}", build=build)
        assert ("AS ../kernels/riscv" in done.stdout) == made
        stacks.append(budget.read(next(build.glob("*/*/firmware.elf"))).stack)
    assert stacks[0] == stacks[1] > stacks[2]
    (exported / "export.json").write_text(json.dumps(report | {"bits": 3}))
    done = make(f"MODEL={path}", f"EXPORTED={exported}", build=build, check=False)
    assert done.returncode and "an input has 4 bits" in done.stderr


def test_a_smaller_largest_value_of_strips_builds_their_kernel_anew_with_less_stack(tmp_path):
    need("CH32V003")
    windows = ["model=WindowMNIST", "image_size=8", "layers=conv 4x4/2 12,conv 1x1 9,dense 16"]
    overrides = ["dataset=Digits", "num_epochs=1", "activation_bits=7", *windows]
    path = training.train(config.load(overrides=overrides), tmp_path, report=lambda line: None)
    exported, build = tmp_path / "exported", tmp_path / "b"
    for script in (("exportquant.py", path, "--optimise", "speed"), ("mcu/demo_images.py",)):
        assert run_script(*script, "--build", exported).returncode == 0
    report = json.loads((exported / "export.json").read_text())
    assert (report["bits"], report["strip_highest"]) == (7, 15)
    assert "\nno strip of windows holds more than 15: " in (exported / "report.txt").read_text()
    stacks = []
    for highest, made in ((0, True), (0, False), (15, True)):  # 0: of all bits
        (exported / "export.json").write_text(json.dumps(report | {"strip_highest": highest}))
        done = make(f"MODEL={path}", f"EXPORTED={exported}", build=build)
        assert ("AS ../kernels/riscv/strips.S" in done.stdout) == made
        needs = budget.read(next(build.glob("*/*/firmware.elf")))
        stacks.append(needs.depths["BitNetMCU_window_nibbles"])
    assert stacks[0] == stacks[1] > stacks[2]
    (exported / "export.json").write_text(json.dumps(report | {"strip_highest": 7}))
    done = make(f"MODEL={path}", f"EXPORTED={exported}", build=build, check=False)
    assert done.returncode and "a strip holds 15" in done.stderr


def test_recursion_calls_through_pointers_and_unknown_frames_have_no_stack_bound(tmp_path):
    need("CH32V003")
    compiler = next(filter(None, map(shutil.which, RISCV)))
    sources = {
        "calls itself": "int f(int n) { return n ? n + f(n - 1) * 3 : 0; }",
        "through a pointer": "int (*p)(int); int f(int n) { return p(n) + 1; }",
        "state it where it is written, with `.set frame.g, BYTES`": (
            '__asm__(".globl g; .type g, @function; g: ret"); int g(int);'
            "int f(int n) { return g(n) + 1; }"
        ),
    }
    for expected, source in sources.items():
        (tmp_path / "x.c").write_text(
            "__attribute__((noinline)) int f(int); volatile int v;\n"
            + source
            + "\nint main(void) { v = f(v); return 0; }\n"
        )
        flags = ["-march=rv32ec", "-mabi=ilp32e", "-O1", "-ffreestanding", "-fstack-usage"]
        flags += ["-fno-optimize-sibling-calls", "-nostdlib", "-Wl,-emain"]
        command = [compiler, *flags, "x.c", "-o", "x.elf", "-lgcc"]
        subprocess.run(command, cwd=tmp_path, check=True)
        objdump = re.sub("gcc$", "objdump", compiler)
        with pytest.raises(cli.UserError, match=re.escape(expected)):
            budget.measure(tmp_path / "x.elf", tmp_path.glob("*.su"), objdump, {}, "flash")


def test_the_yardstick_starts_at_a_whole_word_wherever_it_is_linked(tmp_path):
    need("CH32V003")
    compiler = next(filter(None, map(shutil.which, RISCV)))
    flags = ["-march=rv32ec", "-mabi=ilp32e", "-O2", "-ffreestanding", "-ffunction-sections"]
    command = [compiler, *flags, f"-I{ROOT}", "-c", ROOT / "kernels" / "bittest.c", "-o", "x.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with (tmp_path / "x.o").open("rb") as file:
        sections = ELFFile(file).iter_sections("SHT_PROGBITS")
        found = {s.name: s["sh_addralign"] for s in sections if s.name.startswith(".text.")}
    assert len(found) == 4 and set(found.values()) == {4}, found


def test_unknown_choices_name_the_known_ones(tmp_path):
    for option, known in (
        ("TARGET=Z80", "CH32V003"),
        ("KERNELS=fast", "assembly"),
        ("PLACE=rom", "auto"),
        ("TARGET=cortex-m0 KERNELS=assembly", "plain"),
        ("CONSOLE=x", "usart"),
        ("LED_PIN=PB1", "PC0"),
    ):
        done = make(*option.split(), build=tmp_path, check=False)
        assert done.returncode != 0 and known in done.stderr and "one of" in done.stderr


def test_instruction_count_equals_unicorns_on_the_real_firmware(network):
    """From BitNetMCU_infer's first instruction to its return, for one image."""
    need("CH32V003")
    path, build = network
    make("emulate", f"MODEL={path}", "IMAGES=1", build=build)
    folder = build / "CH32V003-assembly-auto-debug" / path.stem
    inputs = checkpoint.test_data(checkpoint.load(path))[0][:1].numpy()
    done = machine.Emulator(build / "emulator").run(folder / "firmware.elf", inputs.tobytes())
    ours = done.counted["instructions"]

    engine = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    engine.mem_map(0, 0x4000)
    engine.mem_map(0x20000000, 0x1000)
    with (folder / "firmware.elf").open("rb") as file:
        elf = ELFFile(file)
        for segment in elf.iter_segments("PT_LOAD"):
            engine.mem_write(segment["p_paddr"], segment.data())
        table = elf.get_section_by_name(".symtab")
        address = {symbol.name: symbol["st_value"] for symbol in table.iter_symbols()}
    # What the start-up code does: copy .data; .bss is zero already.
    data = engine.mem_read(address["__data_load"], address["__data_end"] - address["__data_start"])
    engine.mem_write(address["__data_start"], bytes(data))
    engine.mem_write(address["BitNetMCU_input"], inputs.tobytes())
    home = 0x3FF0
    for register, value in (
        (uc.UC_RISCV_REG_X1, home),
        (uc.UC_RISCV_REG_X2, address["__stack_top"] - 64),
        (uc.UC_RISCV_REG_X10, address["BitNetMCU_input"]),
        (uc.UC_RISCV_REG_X11, address["BitNetMCU_logits"]),
    ):
        engine.reg_write(register, value)
    count = 0

    def step(*_):
        nonlocal count
        count += 1

    engine.hook_add(unicorn.UC_HOOK_CODE, step)
    engine.emu_start(address["BitNetMCU_infer"], home)
    assert count == ours
    expected = run(lowering.lower(checkpoint.load(path).network), inputs)[0]
    assert engine.reg_read(uc.UC_RISCV_REG_X10) == expected.argmax()
    logits = np.frombuffer(engine.mem_read(address["BitNetMCU_logits"], 40), np.int32)
    assert logits.tolist() == expected.tolist()


def in_assembly():
    """(target, settings) for each file of kernels in assembly; ShiftNorm is in all of them."""
    files = {path.stem for path in (ROOT / "kernels" / "riscv").glob("*.S")} - {"shiftnorm"}
    windows = ["model=WindowMNIST", "image_size=8"]
    few = ["activation_bits=4", "QuantType=FP130,FP130,4bitsym,4bitsym"]
    layers = {
        "strips": ["layers=conv 4x4/2 12,conv 1x1 9,dense 16"],
        "pieces": ["layers=conv 3x3 24,conv 3x3 12,dense 16", "activation_bits=4"],
        "gather": ["layers=conv 3x3 4,maxpool 2x2,dense 16"],
        "depthwise": ["layers=conv 3x3 8,depthwise 3x3,maxpool 2x2,dense 16", *few],
    }
    cases = {file: ("CH32V003", [*windows, *of]) for file, of in layers.items()}
    for kernel in kernelrows.FAST:
        target = "CH32V002" if kernel.multiplier else "CH32V003"
        few = kernel.source.stem == "pairs"
        bits = ["activation_bits=4"] if few else ["activation_bits=7", "input_bits=7"]
        changes = ["widths=33,20", f"QuantType={kernel.formats[0]}", *bits]
        cases.setdefault(kernel.source.stem, (target, changes))
    taps = [*windows, *layers["depthwise"][:1], "QuantType=8bit,8bit,4bitsym,4bitsym"]
    return [*(cases[file] for file in sorted(files)), ("CH32V002", taps)]


@pytest.mark.parametrize(("target", "changes"), in_assembly())
def test_interrupts_at_any_instruction_change_no_value(target, changes, tmp_path):
    """A handler that writes below the stack pointer, every 11 instructions (a prime)."""
    need(target)
    settings = config.load(overrides=["dataset=Digits", "num_epochs=1", *changes])
    path = training.train(settings, tmp_path, report=lambda line: None)
    handler = ROOT / "tests" / "interrupt_handler.c"
    options = (f"MODEL={path}", f"TARGET={target}", f"EXTRA={handler}", "PLACE=flash")
    make(*options, build=tmp_path / "b")
    elf = next((tmp_path / "b").glob(f"*/{path.stem}/firmware.elf"))
    emulator = tmp_path / "emulator"
    sources = (MCU / "emulator").glob("*.c")
    subprocess.run(["cc", "-O2", "-o", emulator, *sources], check=True)
    trained = checkpoint.load(path)
    inputs = checkpoint.test_data(trained)[0][:20].numpy()
    core = ["--mul", "--sram", "4096"] if target == "CH32V002" else []
    graph = fusion.fuse(lowering.lower(trained.network, trained.reads))
    (result, disturbed), (_, quiet) = (
        emulate.run_network((machine.Emulator(emulator, *core, *options), elf), graph, inputs)
        for options in (("--interrupt", "11"), ())
    )
    assert disturbed.counted["instructions"] > 3 * quiet.counted["instructions"]  # they did come
    assert np.array_equal(result.output, run(graph, inputs))


@pytest.mark.parametrize("path", sorted(checkpoint.MODELDATA.glob("*.pth")), ids=lambda p: p.stem)
def test_the_firmware_of_every_committed_network_links(path, mnist, tmp_path):
    need("CH32V003")
    last = make(f"MODEL={path}", build=tmp_path).stdout.splitlines()[-1]
    assert re.fullmatch(r"flash=\d+ ram=\d+ stack=\d+", last)


def test_committed_network_fits_and_agrees_on_all_mnist_images(mnist, tmp_path):
    need("CH32V003")
    name = config.run_name(config.load())
    line = last_line(make("emulate", f"MODEL={checkpoint.MODELDATA / name}.pth", build=tmp_path))
    assert line["model"] == name
    assert (line["images"], line["mismatches"]) == ("10000", "0")
    assert line["accuracy"] == "99.30"
    assert int(line["flash"]) <= 16_384 and int(line["ram"]) <= 2_048


def inputs_of_any_value(rng, graph, count):
    """int8 [count, I]: all at the largest value, none, all of the most bits; for each output, the
    window that brings its sum to either end; then noise, every second one sparse."""
    most, conv = graph.input.range.highest, graph.operators[0].fields
    images = rng.integers(0, most + 1, (count, *conv.windows.map_size))
    images[1::2] *= rng.random(images[1::2].shape) < 0.2
    images[:3] = np.array([most, 0, (1 << (most + 1).bit_length() - 1) - 1])[:, None, None]
    kernels = conv.layer.weights.reshape(-1, *conv.windows.kernel)
    ends = most * np.concatenate([kernels > 0, kernels < 0])
    places = rng.integers(conv.windows.positions, size=(len(ends), 2)) * conv.windows.stride
    for image, end, (y, x) in zip(images[3:], ends, places):
        image[:] = 0
        image[y : y + end.shape[0], x : x + end.shape[1]] = end
    return images.reshape(count, -1).astype(np.int8)


@pytest.mark.parametrize("sha", ["0c935144", "7e48226c"])  # a constant shift, ShiftNorm
def test_firmware_of_windows_is_exact_on_inputs_of_any_value(sha, mnist, rng, tmp_path):
    need("CH32V003")
    (path,) = checkpoint.MODELDATA.glob(f"WindowMNIST-*-{sha}.pth")
    folder = tmp_path / "CH32V003-assembly-auto-debug" / path.stem
    make("all", "emulator", folder / "trace.elf", f"MODEL={path}", build=tmp_path)
    arguments = SimpleNamespace(build=folder, emulator=tmp_path / "emulator")
    builds = list(emulate.emulator_builds(machine.facts("targets/CH32V003.mk"), arguments))
    trained = checkpoint.load(path)
    graph = lowering.lower(trained.network, trained.reads)
    images = inputs_of_any_value(rng, graph, 1_100)
    _, _, differing, runs = emulate.run_all(builds, fusion.fuse(graph), images)
    assert differing == 0
    needs = budget.read(folder / "firmware.elf")
    assert 0 < max(run.stack for run in runs) <= needs.stack
    assert needs.totals["ram"] <= needs.limits["ram"] == 2_048


def test_a_stack_that_grows_into_variables_is_found(tmp_path):
    """The emulator takes the end of .bss from the ELF file: 1,500 of 2,048 bytes are variables."""
    need("CH32V003")
    (tmp_path / "main.c").write_text(
        "static volatile int variables[375];\n"
        "static int deeper(int n) { return n ? n + 3 * deeper(n - 1) : variables[0]; }\n"
        'int main(void) { variables[1] = deeper(DEPTH); __asm__ volatile("wfi"); return 0; }\n'
    )
    cross = next(filter(None, map(shutil.which, RISCV)))
    script = tmp_path / "link.ld"
    link.write_script([cross], script, "flash", 16_384, 2_048)
    make("emulator", build=tmp_path)
    flags = ["-march=rv32ec", "-mabi=ilp32e", "-O1", "-ffreestanding", "-nostdlib", f"-T{script}"]
    sources = [tmp_path / "main.c", MCU / "riscv" / "start.S"]
    ends = []
    for depth in (5, 100):
        command = [cross, *flags, f"-DDEPTH={depth}", "-o", tmp_path / "elf", *sources, "-lgcc"]
        subprocess.run(command, check=True)
        command = [tmp_path / "emulator", tmp_path / "elf"]
        ends.append(subprocess.run(command, capture_output=True, text=True))
    assert ends[0].returncode == 0, ends[0].stderr
    assert ends[1].returncode == 1 and "(deeper+0x" in ends[1].stderr
    assert re.search(r"the stack grows to 0x200005\w\w, into variables", ends[1].stderr)


def test_what_cannot_run_is_one_line(monkeypatch, tmp_path):
    make("emulator", build=tmp_path)
    (tmp_path / "x.elf").write_bytes(b"hello")
    with pytest.raises(cli.UserError, match=r"x\.elf: error: "):
        machine.Emulator(tmp_path / "emulator").run(tmp_path / "x.elf")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(cli.UserError, match="qemu-system-arm is not installed; make toolchain"):
        machine.Qemu("mps2-an385").run(tmp_path / "x.elf")


def test_a_run_with_missing_records_is_refused():
    run = machine.Run("", bytes(11), 0, 0.0)
    with pytest.raises(cli.UserError, match="wrote 11 bytes, not 12"):
        run.rows([("value", np.int32)], 3)


def test_demo_ends_where_nobody_listens(network):
    """After 120 ms it gives the console up; the network still runs."""
    need("CH32V003")
    path, build = network
    make(f"MODEL={path}", "emulate", "IMAGES=1", build=build)
    elf = build / "CH32V003-assembly-auto-debug" / path.stem / "firmware.elf"
    heard, unheard = (
        machine.Emulator(build / "emulator", *flags).run(elf) for flags in ((), ("--deaf",))
    )
    assert "\nsample 0: predicted" in heard.console and unheard.console == ""
    more = unheard.counted["cycles_sum"] - heard.counted["cycles_sum"]
    assert 5_760_000 < more + 1_000_000 < 7_000_000


def test_damaged_elf_files_are_refused(network, tmp_path, rng):
    need("CH32V003")
    path, build = network
    make(f"MODEL={path}", "emulate", "IMAGES=1", build=build)
    good = (build / "CH32V003-assembly-auto-debug" / path.stem / "firmware.elf").read_bytes()
    program = tmp_path / "emulator"
    sources = sorted((MCU / "emulator").glob("*.c"))
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["cc", "-O1", *sanitize, "-o", program, *sources], check=True)
    bad = tmp_path / "bad.elf"
    for content in (b"", b"hello", good[:60], good[:1000], good[:-500]):
        bad.write_bytes(content)
        done = subprocess.run([program, bad], capture_output=True, text=True)
        assert done.returncode == 2 and done.stderr.startswith("error: "), done.stderr
    for _ in range(100):
        damaged = bytearray(good)
        damaged[rng.integers(52)] = rng.integers(256)  # in the header, where offsets are
        damaged[-rng.integers(1, 400)] = rng.integers(256)  # in the section headers
        bad.write_bytes(damaged)
        done = subprocess.run([program, "--limit", "1", bad], capture_output=True, text=True)
        assert done.returncode in (0, 1, 2) and "Sanitizer" not in done.stderr, done.stderr
