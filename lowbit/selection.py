"""The C kernels that the exporter chooses from, and the choice.

Shapes: O = outputs of a layer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BitNetMCU import FACTORS, FORMATS
from lowbit import layouts
from lowbit.integermodel import INT32_MAX

ROOT = Path(__file__).resolve().parent.parent
OPTIMISE = ("size", "speed", "host", "bittest")


@dataclass(frozen=True)
class Kernel:
    """A kernel BitNetMCU_fc_NAME of the C.

    pack: `IntegerLayer` -> uint32 words. refusal: (layer, largest activation) -> why the
    kernel could not be exact for it, "" if it is. by_input: its rows are those of one input, and it
    takes unsigned activations. multiplier: it is only for cores that have one. proven: layer ->
    what was proven from its weights, for the report.
    """

    name: str
    pack: Callable
    refusal: Callable = lambda layer, largest: ""
    by_input: bool = False
    multiplier: bool = False
    proven: Callable = lambda layer: ""


@dataclass(frozen=True)
class Choice:
    """The kernel for a layer. signed: its inputs may be negative. skipped: why not a faster one."""

    kernel: Kernel
    signed: bool
    skipped: tuple = ()

    @property
    def offset(self):
        """What is added to each input before the kernel sees it."""
        return 128 if self.signed and self.kernel.by_input else 0


PLAIN = {  # one for each `Format.kernel`: few bytes, little code
    row.kernel: Kernel(row.kernel, layouts.pack_digits if row.bits % 1 else layouts.pack_bits)
    for row in FORMATS.values()
}


def _by_input(name, pack, **options):
    return Kernel(name, pack, by_input=True, **options)


def _planes(name):
    return _by_input(f"planes_{name}", layouts.pack_columns, refusal=layouts.refuse_columns)


def _four_bits(name):
    multiply = _by_input(f"multiply_{name}", layouts.pack_by_input, multiplier=True)
    return multiply, _by_input("nibbles", layouts.pack_nibbles, proven=layouts.describe_nibbles)


FAST = {  # by format, the fastest first; they may take more flash
    "Binary": (_planes("Binary"),),
    "BinarySym": (_planes("Binary"),),
    "Ternary": (_planes("Ternary"), Kernel("TernaryPlanes", layouts.pack_planes)),
    "2bitsym": (_planes("2bitsym"),),
    "4bit": _four_bits("4bit"),
    "4bitsym": _four_bits("4bitsym"),
    "FP130": (_by_input("shifts", layouts.pack_shifts),),
    "NF4": (_by_input("table", layouts.pack_by_input),),
    "5bitsym": (_planes("5bitsym"),),
    "8bit": (_planes("8bit"),),
}
YARDSTICK = {  # by format, the way others compute; formats without one have their plain kernel
    name: (
        Kernel(f"{FORMATS[name].kernel}_bittest", layouts.pack_signs, layouts.refuse_part_words),
    )
    for name in ("Binary", "BinarySym", "2bitsym", "4bitsym", "FP130")
}
HALFWORDS = _by_input("halfwords", layouts.pack_halfwords, multiplier=True)  # for computers


def kernels(row):
    """All kernels that can execute the `Format`."""
    return (*FAST.get(row.name, ()), *YARDSTICK.get(row.name, ()), HALFWORDS, PLAIN[row.kernel])


def refusal(kernel, layer, signed):
    """Why `kernel` could not be exact for an `IntegerLayer`, "" if it is."""
    if not (signed and kernel.by_input):
        return kernel.refusal(layer, 127)
    most = 255 * layer.inputs * (max(layer.format.levels) - min(layer.format.levels))
    if most > INT32_MAX:
        return f"sums of {layer.inputs} inputs of 0..255 could reach {most}, past int32"
    return kernel.refusal(layer, 255)


def choose(model, optimise="size", signed=False, multiplier=False):
    """The `Choice` for each layer of an `IntegerModel`.

    optimise: one of OPTIMISE; signed: the model's inputs may be negative; multiplier: the core has
    one.
    """
    return [
        choose_kernel(layer, optimise, signed and index == 0, multiplier)
        for index, layer in enumerate(model.layers)
    ]


def choose_kernel(layer, optimise, signed, multiplier=False):
    """The `Choice` for an `IntegerLayer` whose inputs may be negative if `signed`."""
    name = layer.format.name
    candidates = {
        "size": (),
        "speed": FAST.get(name, ()),
        "host": (HALFWORDS,),
        "bittest": YARDSTICK.get(name, ()),
    }
    skipped = []
    for kernel in candidates[optimise]:
        if kernel.multiplier and not multiplier and optimise != "host":
            skipped.append(f"{kernel.name}: for cores with a multiplier (--multiplier)")
            continue
        reason = refusal(kernel, layer, signed)
        if not reason:
            return Choice(kernel, signed, tuple(skipped))
        skipped.append(f"{kernel.name}: {reason}")
    return Choice(PLAIN[layer.format.kernel], signed, tuple(skipped))


def surplus(layer, choice):
    """What a layer's sums have too much, int32 [O]: what the offset of its inputs adds, less bias.

    None where there is neither.
    """
    if not choice.offset and layer.bias is None:
        return None
    bias = 0 if layer.bias is None else layer.bias
    return (layer.weights.sum(axis=1) * choice.offset - bias).astype(np.int32)


def sources():
    """The C files of all kernels."""
    return [ROOT / "BitNetMCU_inference.c", *sorted((ROOT / "kernels").glob("*.c"))]


def factor_codes(factors):
    """Factors int [O], each of `BitNetMCU.FACTORS`, as the bytes of BitNetMCU_scale, uint8 [O]."""
    codes = {2**a + 2**b: a | b << 4 for a in range(4) for b in range(4)}
    assert codes.keys() == set(FACTORS)
    return np.array([codes[int(factor)] for factor in factors], np.uint8)
