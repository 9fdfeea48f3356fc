"""What mcu/emulate.py calls for Cortex-M targets: the host build of a firmware under QEMU.

Takes the options of mcu/emulator and answers in its format. QEMU counts instructions, not cycles.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

QEMU = (
    "qemu-system-arm -M {machine} -nographic -monitor none -serial none -icount shift=0 "
    "-semihosting-config enable=on,target=native"
)


def run(elf, machine, files, timeout=600):
    """Run `elf` under QEMU in a folder with `files` {name: bytes}; returns its file "results"."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        command = [*QEMU.format(machine=machine).split(), "-kernel", str(Path(elf).resolve())]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=timeout
            )
        except FileNotFoundError:
            sys.exit("qemu-system-arm is not installed; make toolchain installs it")
        except subprocess.TimeoutExpired:
            sys.exit(f"{elf} does not come to an end in QEMU")
        results = Path(folder) / "results"
        if done.returncode or not results.is_file():
            sys.exit(f"QEMU ended with status {done.returncode}: {done.stderr.strip()}")
        return results.read_bytes()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machine", default="mps2-an385", help="of QEMU")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--flash", help="of no meaning here")
    parser.add_argument("elf", type=Path)
    arguments = parser.parse_args()
    elf = arguments.elf.with_name("host-trace.elf" if arguments.trace else "host.elf")
    content = run(elf, arguments.machine, {"images": arguments.images.read_bytes()})
    arguments.results.write_bytes(content[:-4])
    print(json.dumps({"stack": int(np.frombuffer(content[-4:], np.uint32)[0])}))


if __name__ == "__main__":
    main()
