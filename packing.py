"""How weights lie in flash: the C kernels that the exporter chooses from, and their packing.

Shapes: O, I = outputs and inputs of a layer; W = words of a row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BitNetMCU import FACTORS, FORMATS

ROOT = Path(__file__).resolve().parent
OPTIMISE = ("size", "speed", "host", "bittest")


@dataclass(frozen=True)
class Kernel:
    """A kernel BitNetMCU_fc_NAME of the C.

    pack: `IntegerLayer` -> words uint32 [rows, W]. refusal: (layer, largest activation) -> why the
    kernel could not be exact for it, "" if it is. by_input: its rows are those of one input, and it
    takes unsigned activations.
    """

    name: str
    pack: Callable
    refusal: Callable = lambda layer, largest: ""
    by_input: bool = False


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


def by_word(codes, per_word):
    """uint32 [O, I] -> [O, words, per_word], padded with zeros."""
    outputs, inputs = codes.shape
    padded = np.zeros((outputs, -(-inputs // per_word) * per_word), np.uint32)
    padded[:, :inputs] = codes
    return padded.reshape(outputs, -1, per_word)


def pack_bits(layer):
    """Rows of outputs: codes side by side, the first one lowest, none of them across two words."""
    row = layer.format
    shifts = np.arange(row.per_word, dtype=np.uint32) * np.uint32(row.bits)
    return np.bitwise_or.reduce(by_word(layer.codes(), row.per_word) << shifts, axis=2)


def pack_digits(layer):
    """Rows of outputs: codes as digits, the first one most significant, of a fraction of 2^32.

    Rounded up; multiplying by the base carries out digit after digit, exactly, as
    base^per_word <= 2^32.
    """
    row = layer.format
    base = len(row.levels)
    places = np.array([base**k for k in reversed(range(row.per_word))], np.uint64)
    value = (by_word(layer.codes(), row.per_word).astype(np.uint64) * places).sum(axis=2)
    whole = np.uint64(base**row.per_word)
    return (((value << np.uint64(32)) + whole - np.uint64(1)) // whole).astype(np.uint32)


def pack_planes(layer):
    """Rows of outputs: two words for 32 ternary weights, one bit for each 1, one for each -1."""
    places = np.uint32(1) << np.arange(32, dtype=np.uint32)
    signs = by_word(layer.weights.astype(np.uint32), 32).view(np.int32)
    planes = [((signs == sign) * places).sum(axis=2, dtype=np.uint32) for sign in (1, -1)]
    return np.stack(planes, axis=2).reshape(layer.outputs, -1)


def pack_signs(layer):
    """Rows of outputs: sign and magnitude of each weight, the first one highest."""
    row = layer.format
    magnitudes = np.array(sorted(level for level in row.levels if level > 0))
    codes = np.searchsorted(magnitudes, np.abs(layer.weights)).astype(np.uint32)
    codes |= (layer.weights < 0).astype(np.uint32) << np.uint32(row.bits - 1)
    shifts = np.arange(row.per_word, dtype=np.uint32)[::-1] * np.uint32(row.bits)
    return np.bitwise_or.reduce(by_word(codes, row.per_word) << shifts, axis=2)


def refuse_part_words(layer, _):
    per_word = layer.format.per_word
    return f"{layer.inputs} inputs fill no whole words of {per_word}" * (
        layer.inputs % per_word > 0
    )


def pack_halfwords(layer):
    """Rows of inputs: 16 bits a weight, outputs j and j + 8 of a block of 16 in one word."""
    blocks = -(-layer.outputs // 16)
    padded = np.zeros((layer.inputs, blocks * 16), np.uint16)
    padded[:, : layer.outputs] = layer.weights.T
    halves = padded.reshape(layer.inputs, blocks, 2, 8).astype(np.uint32)
    return (halves[:, :, 0] | halves[:, :, 1] << np.uint32(16)).reshape(layer.inputs, -1)


PLAIN = {  # one for each `Format.kernel`: few bytes, little code
    name: Kernel(name, pack_digits if name == "Ternary" else pack_bits)
    for name in sorted({row.kernel for row in FORMATS.values()})
}
FAST = {  # by format, the fastest first; they may take more flash
    "Ternary": (Kernel("TernaryPlanes", pack_planes),),
}


YARDSTICK = {  # by format, the way others compute; formats without one have their plain kernel
    name: (Kernel(f"{FORMATS[name].kernel}_bittest", pack_signs, refuse_part_words),)
    for name in ("Binary", "BinarySym", "2bitsym", "4bitsym", "FP130")
}

HALFWORDS = Kernel("halfwords", pack_halfwords, by_input=True)  # for computers, any format


def kernels(row):
    """All kernels that can execute the `Format`."""
    return (*FAST.get(row.name, ()), *YARDSTICK.get(row.name, ()), HALFWORDS, PLAIN[row.kernel])


def choose(model, optimise="size", signed=False):
    """The `Choice` for each layer of an `IntegerModel`.

    optimise: one of OPTIMISE; signed: the model's inputs may be negative.
    """
    return [
        choose_kernel(layer, optimise, signed and index == 0)
        for index, layer in enumerate(model.layers)
    ]


def choose_kernel(layer, optimise, signed):
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
        reason = kernel.refusal(layer, 255 if signed else 127)
        if not reason:
            return Choice(kernel, signed, tuple(skipped))
        skipped.append(f"{kernel.name}: {reason}")
    return Choice(PLAIN[layer.format.kernel], signed, tuple(skipped))


def surplus(layer, choice):
    """What the offset of its inputs adds to a layer's sums, int32 [O]."""
    return (layer.weights.sum(axis=1) * choice.offset).astype(np.int32)


def sources():
    """The C files of all kernels."""
    return [ROOT / "BitNetMCU_inference.c", *sorted((ROOT / "kernels").glob("*.c"))]


def factor_codes(factors):
    """Factors int [O], each of `BitNetMCU.FACTORS`, as the bytes of BitNetMCU_scale, uint8 [O]."""
    codes = {2**a + 2**b: a | b << 4 for a in range(4) for b in range(4)}
    assert codes.keys() == set(FACTORS)
    return np.array([codes[int(factor)] for factor in factors], np.uint8)
