"""Number formats of weights: one row of one table that every stage reads.

Adding one is adding a row, and a kernel (CONTRIBUTING.md).
"""

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Format:
    """One number format for weights.

    levels: the integers a weight can be, in code order (a weight is stored as its index).
    per_word: codes in a 32-bit word of the C.
    clip: the integer that the clip value `maxw` stands for, the outer edge of the last cell; for
        NF4, whose levels are not even, where OCTAV's clip gives the least squared error.
    clip_bits: bits of the uniform quantiser for which OCTAV chooses `maxw`; those of the format,
        but for FP130 the 8 binary orders of magnitude that it spans.
    centred: the mean of the weights is subtracted before they are rounded.
    absmean: one integer unit is the mean magnitude of the weights, whatever `maxw_algo`.
    kernel: the C kernel that serves it, where it shares one.
    """

    name: str
    levels: tuple
    per_word: int
    clip: float
    clip_bits: float = None
    centred: bool = False
    absmean: bool = False
    kernel: str = None

    def __post_init__(self):
        object.__setattr__(self, "clip_bits", self.clip_bits or self.bits)
        object.__setattr__(self, "kernel", self.kernel or self.name)

    @cached_property
    def bits(self):
        """The information a code can hold; what it takes in the C is 32 / per_word."""
        return math.log2(len(self.levels))

    @cached_property
    def ascending(self):
        """The levels, the lowest first."""
        return tuple(sorted(self.levels))

    @property
    def lowest(self):
        return self.ascending[0]

    @property
    def highest(self):
        return self.ascending[-1]

    @cached_property
    def spacing(self):
        """The distance between neighbouring levels; 0 if it varies."""
        steps = {high - low for low, high in zip(self.ascending, self.ascending[1:])}
        return steps.pop() if len(steps) == 1 else 0


def _odd(count):
    """`count` levels ..., -3, -1, 1, 3, ...: the half-integer levels of a format, doubled."""
    return tuple(range(1 - count, count, 2))


_POWERS = tuple(sign * 2**exponent for sign in (1, -1) for exponent in range(8))

# The quantiles of a normal distribution of QLoRA (Dettmers et al., arXiv 2305.14314, appendix E),
# of which the largest is 1, times 127 and rounded.
_NF4 = (-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127)

FORMATS = {
    row.name: row
    for row in (
        Format("Binary", _odd(2), 32, clip=2, centred=True),  # sign(w - mean)
        Format("BinarySym", _odd(2), 32, clip=2, kernel="Binary"),  # sign(w)
        Format("Ternary", (-1, 0, 1), 20, clip=1.5, absmean=True),  # 3^20 < 2^32
        Format("2bitsym", _odd(4), 16, clip=4),  # +-0.5, +-1.5, doubled
        Format("4bit", tuple(range(-8, 8)), 8, clip=8),
        Format("4bitsym", _odd(16), 8, clip=16),  # +-0.5 .. +-7.5, doubled
        Format("FP130", _POWERS, 8, clip=192, clip_bits=8),  # +-2^0 .. +-2^7
        Format("NF4", _NF4, 8, clip=110),
        Format("5bitsym", _odd(32), 6, clip=32),  # +-0.5 .. +-15.5, doubled
        Format("8bit", tuple(range(-128, 128)), 4, clip=128),
    )
}

# PerOutput: the factors that an output's accumulator can be multiplied by, each the sum of two
# powers of two, so that two shifts and an addition do it.
FACTORS = tuple(sorted({2**a + 2**b for a in range(4) for b in range(4)}))  # 2 .. 16
