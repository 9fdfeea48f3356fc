"""How weights lie in flash: the C kernels that the exporter chooses from, and their packing.

Shapes: O, I = outputs and inputs of a layer.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import BitNetMCU

OPTIMISE = ("size", "speed")


@dataclass(frozen=True)
class Kernel:
    """A kernel BitNetMCU_fc_NAME. pack: (codes uint32 [O, I], `Format`) -> words uint32 [O, W]."""

    name: str
    pack: Callable

    def words(self, layer):
        """The packed weights of an `IntegerLayer`."""
        return self.pack(layer.codes(), layer.format)


def by_word(codes, per_word):
    """uint32 [O, I] -> [O, words, per_word], padded with zeros."""
    outputs, inputs = codes.shape
    padded = np.zeros((outputs, -(-inputs // per_word) * per_word), np.uint32)
    padded[:, :inputs] = codes
    return padded.reshape(outputs, -1, per_word)


def pack_bits(codes, row):
    """Codes side by side, the first one lowest, none of them across two words."""
    shifts = np.arange(row.per_word, dtype=np.uint32) * np.uint32(row.bits)
    return np.bitwise_or.reduce(by_word(codes, row.per_word) << shifts, axis=2)


def pack_digits(codes, row):
    """Codes as digits, the first one most significant, of a fraction of 2^32, rounded up.

    Multiplying by the base carries out digit after digit, exactly, as base^per_word <= 2^32.
    """
    base = len(row.levels)
    places = np.array([base**k for k in reversed(range(row.per_word))], np.uint64)
    value = (by_word(codes, row.per_word).astype(np.uint64) * places).sum(axis=2)
    whole = np.uint64(base**row.per_word)
    return (((value << np.uint64(32)) + whole - np.uint64(1)) // whole).astype(np.uint32)


def pack_planes(codes, _):
    """Two words for 32 ternary codes: a bit for each weight of 1, then one for each of -1."""
    places = np.uint32(1) << np.arange(32, dtype=np.uint32)
    padded = by_word(np.where(codes == 1, 0, codes + 1).astype(np.uint32), 32)
    plus, minus = ((padded == code) * places for code in (3, 1))
    planes = [plane.sum(axis=2, dtype=np.uint32) for plane in (plus, minus)]
    return np.stack(planes, axis=2).reshape(len(codes), -1)


KERNELS = {
    kernel.name: kernel
    for kernel in (
        *(Kernel(name, pack_bits) for name in ("Binary", "2bitsym", "4bit", "4bitsym")),
        *(Kernel(name, pack_bits) for name in ("FP130", "NF4", "5bitsym", "8bit")),
        Kernel("Ternary", pack_digits),
        Kernel("TernaryPlanes", pack_planes),
    )
}

FASTER = {"Ternary": "TernaryPlanes"}  # kernels that take more flash and less time


def serving(row):
    """The names of all kernels that can execute the `Format`."""
    return [row.kernel, *(FASTER[name] for name in FASTER if name == row.kernel)]


def choose(layer, optimise="size"):
    """The `Kernel` for an `IntegerLayer`; optimise: one of OPTIMISE."""
    name = layer.format.kernel
    return KERNELS[FASTER.get(name, name) if optimise == "speed" else name]


def factor_codes(factors):
    """Factors int [O], each of `BitNetMCU.FACTORS`, as the bytes of BitNetMCU_scale, uint8 [O]."""
    codes = {2**a + 2**b: a | b << 4 for a in range(4) for b in range(4)}
    assert codes.keys() == set(BitNetMCU.FACTORS)
    return np.array([codes[int(factor)] for factor in factors], np.uint8)
