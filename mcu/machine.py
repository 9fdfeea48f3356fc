"""Runs linked firmware on the desk: in the emulator of mcu/emulator, or under QEMU.

Both take the inputs as one file of bytes and write a record for each, as the firmware defines it.
"""

import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import cli

MCU = Path(__file__).resolve().parent
SUMMARY = '{"images"'  # what the emulator's last line begins with
QEMU = (
    "qemu-system-arm -M {machine} -display none -monitor none -serial stdio -icount shift=0 "
    "-semihosting-config enable=on,target=native"
)
QEMU_SECONDS = 600  # then it is taken to hang; the emulator has a limit of its own


@dataclass(frozen=True)
class Run:
    """What a firmware did."""

    console: str  # what it printed
    records: bytes  # what it wrote for its inputs
    stack: int  # bytes of the deepest stack; 0 where nobody looked
    seconds: float  # CPU time that the run took here
    counted: dict = field(default_factory=dict)  # the emulator's summary; {} of QEMU

    def rows(self, fields, count):
        """The `records` as a structured array [count]; fields: of one record, as np.dtype takes."""
        kind = np.dtype(fields)
        if len(self.records) != count * kind.itemsize:
            raise cli.UserError(
                f"the firmware wrote {len(self.records)} bytes, not {count * kind.itemsize}"
            )
        return np.frombuffer(self.records, kind)


class Emulator:
    """mcu/emulator, which knows the chip's cycles."""

    counts = "cycles"

    def __init__(self, program, *options):
        self.command = [program, *options]

    def run(self, elf, inputs=None):
        """Run `elf` from reset until it sleeps, or BitNetMCU_infer in it for all `inputs`.

        inputs: bytes, one input after the other. Returns a `Run`; raises `UserError` if it traps.
        """
        with tempfile.TemporaryDirectory() as folder:
            images, results = Path(folder) / "images", Path(folder) / "results"
            images.write_bytes(inputs or b"")
            files = [] if inputs is None else ["--images", images, "--results", results]
            printed, seconds = _execute([*self.command, *files, elf], elf)
            records = b"" if inputs is None else results.read_bytes()
        console, brace, rest = printed.rpartition(SUMMARY)
        counted = json.loads(brace + rest)
        return Run(console, records, counted["stack"], seconds, counted)


class Qemu:
    """A Cortex-M board of QEMU, which counts instructions, not cycles."""

    counts = "instructions"

    def __init__(self, machine):
        self.machine = machine

    def run(self, elf, inputs=None):
        """Run `elf` to its end; with `inputs` (bytes), it finds them in the file "inputs".

        It writes its records to the file "results", and behind them, in four bytes, how deep its
        stack was. Returns a `Run`; raises `UserError` if QEMU is missing or fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "inputs").write_bytes(inputs or b"")
            options = ["-kernel", Path(elf).resolve()]
            command = [*QEMU.format(machine=self.machine).split(), *options]
            try:
                printed, seconds = _execute(command, elf, cwd=folder, timeout=QEMU_SECONDS)
            except FileNotFoundError:
                raise cli.UserError("qemu-system-arm is not installed; make toolchain installs it")
            except subprocess.TimeoutExpired:
                raise cli.UserError(f"{elf} does not come to an end in QEMU")
            if inputs is None:
                return Run(printed, b"", 0, seconds)
            results = Path(folder) / "results"
            content = results.read_bytes() if results.is_file() else b""
        if len(content) < 4:
            raise cli.UserError(f"{elf} wrote no results in QEMU")
        return Run(printed, content[:-4], int.from_bytes(content[-4:], "little"), seconds)


def _execute(command, elf, **options):
    """(what `command` printed, seconds of CPU time that it took); `elf` is what it runs."""
    start = _cpu_seconds()
    options |= {"capture_output": True, "text": True, "errors": "replace"}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, **options)
    if done.returncode:
        print(done.stdout, end="")  # how far it came
        raise cli.UserError(f"{elf}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout, _cpu_seconds() - start


def _cpu_seconds():
    """CPU time of the processes that have ended; other programs beside them do not count."""
    times = os.times()
    return times.children_user + times.children_system


def facts(file):
    """{KEY: value} of the lines "KEY = value" of a Makefile, as "targets/CH32V003.mk"."""
    text = (MCU / file).read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w+) = ?(.*)$", text, re.M))
