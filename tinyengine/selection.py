"""Which kernel executes each operator: of each kind a list, the fastest first, the plain one last.

A kernel is a function te_run_NAME of kernels/NAME.c that takes a description of type te_NAME.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).resolve().parent / "kernels"


@dataclass(frozen=True)
class Kernel:
    """te_run_NAME.

    pack: an operator's attributes -> the fields of te_NAME. refusal: attributes -> why the kernel
    could not be exact for it, "" if it is. scratch: fields -> bytes of scratch memory. in_place:
    attributes -> whether the output may be the memory of an input.
    """

    name: str
    pack: Callable = lambda attributes: attributes
    refusal: Callable = lambda attributes: ""
    scratch: Callable = lambda fields: 0
    in_place: Callable = lambda attributes: False


@dataclass(frozen=True)
class Choice:
    """The kernel for an operator. fields: of its description. skipped: why not a faster one."""

    kernel: Kernel
    fields: dict
    skipped: tuple = ()

    @property
    def scratch(self):
        return self.kernel.scratch(self.fields)


def _always(attributes):
    return True


PLAIN = {
    "ADD": Kernel("add", in_place=_always),
    "AVERAGE_POOL_2D": Kernel("average_pool_2d"),
    "CONV_2D": Kernel("conv_2d"),
    "DEPTHWISE_CONV_2D": Kernel("depthwise_conv_2d"),
    "FULLY_CONNECTED": Kernel("fully_connected"),
    "MEAN": Kernel("mean"),
    "PAD": Kernel("pad"),
    "QUANTIZE": Kernel("quantize", in_place=_always),
    "SOFTMAX": Kernel("softmax", in_place=_always),
    "TRANSPOSE": Kernel("transpose"),
}
FAST = {}
OPTIMISE = {"size": {}, "speed": FAST}


def choose(graph, optimise="speed"):
    """The `Choice` for each operator of a lowered graph. optimise: one of OPTIMISE."""
    return [_choose(operator, OPTIMISE[optimise]) for operator in graph.operators]


def _choose(operator, fast):
    skipped = []
    for kernel in (*fast.get(operator.kind, ()), PLAIN[operator.kind]):
        reason = kernel.refusal(operator.attributes)
        if not reason:
            return Choice(kernel, kernel.pack(operator.attributes), tuple(skipped))
        skipped.append(f"{kernel.name}: {reason}")
    raise AssertionError("a plain kernel refuses nothing")


def sources(choices):
    """The C files of the chosen kernels."""
    return [KERNELS / f"{name}.c" for name in sorted({choice.kernel.name for choice in choices})]
