"""Kernels, and which one executes each step: the first that proves itself exact for it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class Unfit(Exception):
    """The kernel would not be exact, or is not for this step; the message says why.

    Without one, the kernel is for steps of another sort, which no report needs to say.
    """


def _as_they_are(fields):
    return fields


def nothing(fields):
    """Of an operator that sums nothing up, or multiplies nothing; of a kernel without scratch."""
    return 0


def never(fields):
    return False


def nowhere(fields):
    return {}


def always(fields):
    return True


@dataclass(frozen=True)
class Kernel:
    """C that executes a step.

    name: for people. function: of C that executes it, source: the file that holds it, None if its C
    is all that it emits. assembly: a file that it uses, or that replaces it, on the cores that it
    is for. pack: a step's fields -> what
    its C is given: packed weights and other values; raises `Unfit` with the reason where the kernel
    would not be exact: this is its proof. scratch: packed -> bytes of the arena that it works in.
    in_place: fields -> whether its output may be the memory of an input. parts: fields -> {number
    of an input: bytes}, where an input may lie in the output, so that its C does nothing. emit:
    (packed, `emission.Place`) -> lines of C that execute the step. proven: fields -> what was
    proven, for the report. uses: other kernels whose functions its C calls. before: its C goes in
    front of the step that writes its last input.
    """

    name: str
    function: str
    source: Path | None
    emit: Callable
    pack: Callable = _as_they_are
    scratch: Callable = nothing
    in_place: Callable = never
    parts: Callable = nowhere
    assembly: Path | None = None
    proven: Callable = lambda fields: ""
    # Which steps it is for, besides their kind: formats of weights (None: any), cores with a
    # multiplier only; by_input: its C takes rows of weights by input, and unsigned inputs.
    formats: tuple | None = None
    multiplier: bool = False
    by_input: bool = False
    uses: tuple = ()
    before: bool = False

    @property
    def with_used(self):
        """It, and all kernels that it uses."""
        return (self, *(each for kernel in self.uses for each in kernel.with_used))


@dataclass(frozen=True)
class Choice:
    """The kernel for a step. packed: what it is given. skipped: why not a faster one."""

    kernel: Kernel
    packed: dict
    skipped: tuple = ()

    @property
    def scratch(self):
        """Bytes of the arena that it works in."""
        return self.kernel.scratch(self.packed)


def choose(step, kernels):
    """The `Choice` for a step among `kernels`, the fastest first; the last takes everything."""
    skipped = []
    for kernel in kernels:
        try:
            return Choice(kernel, kernel.pack(step.fields), tuple(skipped))
        except Unfit as reason:
            skipped += [f"{kernel.name}: {reason}"] if reason.args else []
    raise AssertionError(f"{step.name}: no plain kernel takes it: {'; '.join(skipped)}")


def sources(choices):
    """The C files of the chosen kernels, each once, sorted by name."""
    found = {kernel.source for choice in choices for kernel in choice.kernel.with_used} - {None}
    return sorted(found, key=lambda path: path.name)


def assembly(choices):
    """The files of assembly that they use on the cores that these are for."""
    used = (kernel for choice in choices for kernel in choice.kernel.with_used)
    return sorted({kernel.assembly for kernel in used} - {None})
