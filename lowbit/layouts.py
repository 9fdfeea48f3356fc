"""How the weights of a layer lie in flash: one function for each layout of the C kernels.

Each takes an `IntegerLayer` and gives uint32 words. Functions `refuse_...` take (layer, largest
activation) and say why a layout could not be exact, "" if it is.

Shapes: O, I = outputs and inputs of a layer; W = words of a row; P = planes of a weight.
"""

import numpy as np

from compiler.csource import constants
from compiler.graph import INT8, UINT7
from compiler.selection import Unfit


def by_word(codes, per_word):
    """uint32 [O, I] -> [O, words, per_word], padded with zeros."""
    outputs, inputs = codes.shape
    padded = np.zeros((outputs, -(-inputs // per_word) * per_word), np.uint32)
    padded[:, :inputs] = codes
    return padded.reshape(outputs, -1, per_word)


# --- rows of outputs


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


# --- rows of inputs: nibbles

NIBBLE_ORDER = (0, 4, 2, 6, 1, 5, 3, 7)  # of a word's outputs: where kernels/nibbles.c widens them
NIBBLES = constants("kernels/nibbles.h")
LANE = 2**16 - 1  # the most that 16 bits hold


def nibble_words(layer):
    """Rows of inputs: eight outputs in a word, as nibbles q; an even number of words."""
    places = np.array([4 * place for place in NIBBLE_ORDER], np.uint32)
    padded = np.full((layer.inputs, -(-layer.outputs // 16) * 16), 8, np.uint32)
    padded[:, : layer.outputs] = layer.codes().T
    return np.bitwise_or.reduce(padded.reshape(layer.inputs, -1, 8) << places, axis=2)


def pack_nibbles(layer):
    """Rows of inputs: `nibble_words`.

    A header of two words before them holds what bounds the kernel's lanes: `nibble_lists` and
    `nibble_inputs`. All comes as rows of two words.
    """
    words = nibble_words(layer)
    rows, bias = nibble_lists(layer)
    wide_bias, inputs, signed_inputs = nibble_inputs(layer, 4 * words.shape[1])
    header = np.zeros((1, 2), np.uint32)
    header[0, 0] = rows | bias << 8 | wide_bias << 16
    header[0, 1] = inputs | (layer.format.spacing == 2) << 15 | signed_inputs << 16
    return np.concatenate([header, words.reshape(-1, 2)])


def nibble_weights(layer):
    """q - 8, int32 [O, I], where the weights are q - 8 or, two apart, 2q - 15."""
    return layer.codes().astype(np.int32) - 8


def nibble_lists(layer, most=NIBBLES["LIST_ROWS"]):
    """(rows, bias): any so many different rows sum to -bias .. 255 - bias in each output.

    most: more are not asked for; any rows may be more.
    """
    weights = nibble_weights(layer)
    any_rows = NIBBLES["ANY_ROWS"]
    largest, lowest = (
        np.sort(np.maximum(sign * weights, 0), axis=1)[:, ::-1].cumsum(axis=1).max(axis=0)
        for sign in (1, -1)
    )
    fitting = np.flatnonzero(largest + lowest <= 255)[:most]
    if len(fitting) <= any_rows:
        return any_rows, 8 * any_rows
    return len(fitting), int(lowest[len(fitting) - 1])


def nibble_extremes(layer, inputs, largest):
    """(high, low): so many inputs of 0..largest in a row sum to -low .. high in each output."""
    windows = np.zeros((layer.outputs, -(-layer.inputs // inputs) * inputs), np.int64)
    windows[:, : layer.inputs] = nibble_weights(layer)
    windows = windows.reshape(layer.outputs, -1, inputs) * largest
    return [int(np.maximum(sign * windows, 0).sum(axis=2).max()) for sign in (1, -1)]


def central_bias(high, low):
    """What brings sums of -low .. high into the middle of 0 .. LANE."""
    return low + (LANE - high - low) // 2


def nibble_inputs(layer, row_bytes):
    """(bias, inputs, signed inputs): what 16-bit lanes can hold.

    So many inputs in a row (at positions that are multiples of it) sum to -bias .. 65535 - bias in
    each output for unsigned inputs in the layer's range, or, signed inputs, for 0..255. A list's
    16-bit offsets must reach them, too.
    """
    most = UINT7.highest if layer.reads.signed else layer.reads.highest
    reach = min(2**16 // row_bytes, 2**15 - 1)
    spare = 2 * 8 * INT8.span  # for one signed input at least
    parts = 1
    while True:
        inputs = -(-layer.inputs // parts)
        high, low = nibble_extremes(layer, inputs, most)
        if inputs <= reach and high + low <= LANE - spare:
            break
        parts += 1
    bias = central_bias(high, low)
    while True:
        signed_inputs = -(-layer.inputs // parts)
        high, low = nibble_extremes(layer, signed_inputs, INT8.span)
        if signed_inputs <= reach and high <= LANE - bias and low <= bias:
            return bias, inputs, signed_inputs
        parts += 1


def describe_nibbles(layer):
    """What the header of `pack_nibbles` says, in words."""
    rows, _ = nibble_lists(layer)
    _, inputs, signed_inputs = nibble_inputs(layer, -(-layer.outputs // 16) * 8)
    most = UINT7.highest if layer.reads.signed else layer.reads.highest
    return (
        f"lists of {rows} rows fit lanes of 8 bits; sums of {inputs} inputs of 0..{most}, or of "
        f"{signed_inputs} of 0..255, lanes of 16"
    )


# --- rows of windows: nibbles

STRIP_FORMATS = ("4bit", "4bitsym")
STRIP_POSITIONS = 255  # an entry of a list is a byte, and so is the number of entries


def pack_strips(layer):
    """Windows of kernels/strips.c: blocks of 32 outputs, in them rows of inputs as `nibble_words`.

    layer: its inputs are the values of a window, as the kernel numbers them. A row of a block has
    four words, in the last block as many as are enough. Raises `Unfit` where the kernel would not
    be exact.
    """
    if layer.format.name not in STRIP_FORMATS:
        raise Unfit(f"weights of {layer.format.name}, not of {' or '.join(STRIP_FORMATS)}")
    if layer.reads.signed:
        raise Unfit(f"inputs may be negative, down to {layer.reads.lowest}")
    if layer.inputs > STRIP_POSITIONS:
        raise Unfit(f"windows of {layer.inputs} values, at most {STRIP_POSITIONS}")
    high, low = nibble_extremes(layer, layer.inputs, layer.reads.highest)
    if high + low > LANE:
        raise Unfit(
            f"sums of q - 8 over {layer.inputs} inputs of 0..{layer.reads.highest} reach from "
            f"{-low} to {high}, more than lanes of 16 bits hold"
        )
    words = nibble_words(layer)[:, : -(-layer.outputs // 8)]
    blocks = [words[:, first : first + 4].ravel() for first in range(0, words.shape[1], 4)]
    return np.concatenate(blocks)


def strip_constants(layer):
    """Members of a BitNetMCU_strip, `most` to `more`: what lanes hold of `pack_strips`."""
    most, list_bias = nibble_lists(layer, layer.inputs)
    bias = central_bias(*nibble_extremes(layer, layer.inputs, layer.reads.highest))
    doubled = int(layer.format.spacing == 2)
    lacking = (bias + list_bias) * (1 + 2**16) % 2**32
    return most, list_bias, doubled, lacking, -(bias << doubled)


# --- rows of inputs: bit planes


def binary_planes(layer):
    """The weights, counted from the lowest level, as planes of 0 and 1: bool [P, O, I].

    The planes are the bits of that count; where its bits could make more than there are levels
    (Ternary), one for each level above the lowest: all are worth 1.
    """
    codes, row = layer.codes(), layer.format
    if row.bits % 1:
        return np.stack([codes >= level for level in range(1, len(row.levels))])
    places = np.arange(int(row.bits))
    return (codes >> places[:, None, None] & 1).astype(bool)


def pack_columns(layer):
    """Columns of 32 outputs; in each, the words of a plane, one for each input.

    The last outputs, if fewer, may have several planes in a word. Returns uint32 [words, I].
    """
    planes = binary_planes(layer)
    words = []
    for first in range(0, layer.outputs, 32):
        column = planes[:, first : first + 32]
        lanes = 32
        while 2 * column.shape[1] <= lanes and lanes > 32 // len(planes):
            lanes //= 2
        padded = np.zeros((-(-len(planes) * lanes // 32) * 32 // lanes, lanes, layer.inputs), bool)
        padded[: len(planes), : column.shape[1]] = column
        words.append(padded.reshape(-1, 32, layer.inputs))
    places = np.uint32(1) << np.arange(32, dtype=np.uint32)[:, None]
    return (np.concatenate(words) * places).sum(axis=1, dtype=np.uint32)


def refuse_columns(layer, largest):
    """More inputs than lists can name. Sums of fewer stay below 2^30 (255 * 2^14 * 255, 8bit)."""
    most = constants("kernels/planes.h")["MOST_INPUTS"]
    return f"{layer.inputs} inputs, at most {most}" if layer.inputs > most else ""


# --- rows of inputs: shifts, products, halfwords


def in_turns(rows):
    """Rows of inputs [I, W] -> [8 * blocks, W]: eight in a block, their words side by side.

    Rows of a block are those of inputs `blocks` apart, so that a kernel that takes one input after
    the other goes from block to block at a constant stride, eight times.
    """
    inputs, words = rows.shape
    blocks = -(-inputs // 8)
    padded = np.zeros((8, blocks, words), np.uint32)
    padded.reshape(-1, words)[:inputs] = rows
    return padded.transpose(1, 2, 0).reshape(-1, words)


def pack_shifts(layer):
    """Rows of inputs, in turns: eight powers of two in a word, in the order of kernels/shifts.c.

    A code is the exponent, plus 16 if the weight is negative: bits 0, 1, 2 and 4. Outputs 0 to 3 of
    a word are in these bits of its four bytes. Outputs 4 to 7 are solved for from the lowest bit
    upwards: what the kernel reads as one of their bits is the exclusive or of a bit that is still
    free and one that is set already.
    """
    row = by_word(layer.codes().T, 8)
    codes = row & 7 | (row & 8) << np.uint32(1)
    byte = np.arange(0, 32, 8, dtype=np.uint32)
    words = (codes[:, :, :4] << byte).sum(axis=2, dtype=np.uint32)
    for at, code in zip(byte.tolist(), np.moveaxis(codes[:, :, 4:], 2, 0), strict=True):
        for bit, place, other in ((0, 5, -1), (1, 6, 0), (2, 7, 1), (4, 3, 9)):
            known = (words.astype(np.uint64) << np.uint64(1)) >> np.uint64(at + other + 1)
            free = (code >> np.uint32(bit) ^ known.astype(np.uint32)) & 1
            words |= free << np.uint32(at + place)
    return in_turns(words)


def pack_by_input(layer):
    """Rows of inputs: eight codes of 4 bits in a word, the first output's lowest."""
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    return np.bitwise_or.reduce(by_word(layer.codes().T, 8) << shifts, axis=2)


PAIRS = constants("kernels/pairs.h")


def refuse_large_inputs(_, largest):
    most = PAIRS["MOST_INPUT"]
    return f"inputs of 0..{largest}, at most {most}" if largest > most else ""


def pack_halfwords(layer):
    """Rows of inputs: 16 bits a weight, outputs j and j + 8 of a block of 16 in one word."""
    blocks = -(-layer.outputs // 16)
    padded = np.zeros((layer.inputs, blocks * 16), np.uint16)
    padded[:, : layer.outputs] = layer.weights.T
    halves = padded.reshape(layer.inputs, blocks, 2, 8).astype(np.uint32)
    return (halves[:, :, 0] | halves[:, :, 1] << np.uint32(16)).reshape(layer.inputs, -1)
