"""What every script loads first: from then on, what goes wrong while the rest loads is one line.

PyTorch takes seconds to load, or is missing. Ctrl-C ends the program with status 130, a missing
package with status 2 and the way out. Needs nothing but Python; `cli.run` takes Ctrl-C over.
"""

import os
import signal
import sys
from pathlib import Path

# Importable names of what requirements-all.txt has and requirements.txt does not.
ONLY_IN_ALL = ("pytest", "tflite", "tflite_micro", "ai_edge_litert", "unicorn")


def interrupted(number, frame):
    """End at once: an exception could get lost in a package that catches all it meets."""
    os.write(2, b"interrupted: no finished file was changed\n")
    os._exit(130)


def explain(kind, error, traceback):
    """One line and status 2 for a package that is missing or broken; a traceback for all else."""
    if not issubclass(kind, ImportError):
        sys.__excepthook__(kind, error, traceback)
        return
    package = (error.name or "a package").partition(".")[0]
    if issubclass(kind, ModuleNotFoundError):
        problem = f"{package} is not installed for {sys.executable}"
    else:
        problem = f"{package} cannot be loaded ({' '.join(str(error).split())})"
    root = Path(__file__).resolve().parent
    target = "setup-all" if package in ONLY_IN_ALL else "setup"
    python = Path(".venv", "Scripts" if os.name == "nt" else "bin", "python")
    print(
        f"error: {problem}; run 'make {target}' once in {root}, "
        f"then the script with {python} there",
        file=sys.stderr,
    )
    sys.exit(2)  # from an excepthook, too, this is the status of the program


if sys.version_info < (3, 10):  # noqa: UP036  the message for those who have an older one
    print(f"error: this is Python {sys.version.split()[0]}; use 3.10 or newer", file=sys.stderr)
    sys.exit(2)
sys.excepthook = explain
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # and not ignored, as by nohup
    signal.signal(signal.SIGINT, interrupted)
