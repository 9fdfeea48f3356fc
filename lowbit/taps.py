"""How the weights of a depthwise 3x3 convolution lie in flash for kernels/depthwise.c: as the few
additions, subtractions and shifts that they are, for a multiplier as they are, and whether two sums
fit a word.
"""

import numpy as np

from compiler.csource import constants
from compiler.selection import Unfit

BITS = {
    name: value
    for name, value in constants("kernels/depthwise.h").items()
    if name.startswith("DEPTHWISE_")
}
NONE = BITS["DEPTHWISE_ROW"]
HALF = 2**15
INT8 = range(-128, 128)


def digits(weight):
    """[(exponent, sign)] whose signed powers of two are an integer, as few as there can be.

    The non-adjacent form, from the highest down: 7 is 8 - 1, +-2^e is itself, 0 is nothing.
    """
    found, exponent = [], 0
    while weight:
        if weight & 1:
            sign = 2 - (weight & 3)
            found.append((exponent, sign))
            weight -= sign
        weight >>= 1
        exponent += 1
    return found[::-1]


def pack_column(weights):
    """(bytes of the terms of a column, instructions that they become); weights: three integers."""
    terms = [
        (exponent, row, sign)
        for row, weight in enumerate(weights)
        for exponent, sign in digits(int(weight))
    ]
    if not terms:
        return [NONE | BITS["DEPTHWISE_LAST"]], 1
    terms.sort(key=lambda term: -term[0])
    first = terms[0][2]
    packed, count = [], len(terms)
    for (exponent, row, sign), below in zip(terms, [*(term[0] for term in terms[1:]), 0]):
        shift = exponent - below
        byte = row | shift << BITS["DEPTHWISE_SHIFT"]
        packed.append(byte | (BITS["DEPTHWISE_SUBTRACT"] if sign != first else 0))
        count += shift > 0
    packed[-1] |= BITS["DEPTHWISE_LAST"] | (BITS["DEPTHWISE_NEGATE"] if first < 0 else 0)
    return packed, count


def pack_terms(weights):
    """The same of nine taps, column by column from the last one."""
    columns = [pack_column(weights[at : at + 3]) for at in (0, 3, 6)]
    return [byte for packed, _ in columns for byte in packed], sum(count for _, count in columns)


def pack_products(weights):
    """The same for a core with a multiplier. Raises `Unfit` if one is no int8."""
    if max(weights) not in INT8:
        raise Unfit(f"taps reach {max(weights)}, past int8")
    return [weight & 0xFF for weight in weights], sum(1 if abs(w) < 2 else 3 for w in weights)


def pack_powers(weights):
    """The same of nine taps that are powers of two; None if they are not."""
    if any(abs(weight).bit_count() != 1 for weight in weights):
        return None
    exponents = [abs(weight).bit_length() - 1 for weight in weights]
    codes = [e | (w < 0) * BITS["DEPTHWISE_NEGATIVE"] for e, w in zip(exponents, weights)]
    pairs = zip(codes[0::2], [*codes[1::2], 0])
    return [low | high << 4 for low, high in pairs], len(codes) + sum(e > 0 for e in exponents)


def pack_depthwise(taps, bias, shift, reads_highest, multiplier=False):
    """The bytes of the taps of a channel for kernels/depthwise.c, and of its code in SRAM.

    taps: integers [3, 3], up to +-128, [row, column] of the window; bias: an integer that is added
    to sums; shift: the fixed one, 0 to 31; reads_highest: the largest value of the map, up to 127;
    multiplier: for BitNetMCU_multiply_3x3. Returns (list of bytes, bytes of the buffer `code`).
    Raises `Unfit` if sums leave int32, or taps for a multiplier int8.

    With 2^e, which divides all taps, (2^e * s + b) >> shift is (s + (b >> e)) >> (shift - e), so
    that is taken off first. Words of two 16-bit sums are exact if no sum leaves
    2^shift - 2^15 .. 2^shift + 2^15 - 1, whatever the map; other channels are WIDE.
    """
    taps = np.asarray(taps, np.int64).reshape(3, 3)
    common = min(shift, 7)
    while (taps & ((1 << common) - 1)).any():
        common -= 1
    taps, start, shift = taps >> common, (bias + (1 << shift >> 1)) >> common, shift - common
    least = start + reads_highest * int(np.minimum(taps, 0).sum())
    most = start + reads_highest * int(np.maximum(taps, 0).sum())
    if least < -(2**31) or most >= 2**31:
        raise Unfit(f"sums reach {least} .. {most}, past int32")
    above = (1 << shift) - HALF
    wide = shift > 14 or least < above or most >= above + 2 * HALF
    if wide:
        head = [shift | BITS["DEPTHWISE_WIDE"], *int(start).to_bytes(4, "little", signed=True)]
    elif start == 1 << shift >> 1:
        head = [shift | BITS["DEPTHWISE_HALF"]]
    else:
        head = [shift, *((start - above) & 0xFFFF).to_bytes(2, "little")]
    weights = [int(weight) for column in (2, 1, 0) for weight in taps[:, column]]
    powers = pack_powers(weights)
    if powers:
        head[0] |= BITS["DEPTHWISE_POWERS"]
    packed, count = powers or (pack_products if multiplier else pack_terms)(weights)
    return [*head, *packed], BITS["DEPTHWISE_CODE"] + 4 * count
