"""Weights as code: a small layer at two positions at once, without a multiplication.

A word holds an activation of two positions, 16 bits each, and so does a sum. For each input, the
word is brought to all magnitudes that its weights have, from the smallest up, and each is added to
or subtracted from the sums of the outputs that have it. An input that is 0 at both positions costs
one test.
"""

from dataclasses import replace

import numpy as np

from compiler.selection import Kernel, Unfit
from lowbit import kernelrows
from lowbit.rules import largest_accumulator

MOST_WEIGHTS = 640  # about four bytes of code each
MOST_MAGNITUDE = 32
GROUP = 8  # outputs, at most, whose sums are in registers
HALF = 2**15 - 1

FUNCTION = """/* {outputs} sums of two positions each, of {inputs} words. */
static BITNETMCU_OWN_FRAME void {name}(const uint32_t *pairs, int32_t *sums) {{
    uint32_t x;

{body}
}}

"""


def pack(layer):
    """What the C gets besides its code. Raises `Unfit` where that would be inexact, or large."""
    largest = largest_accumulator(replace(layer, bias=None, factors=None))
    if layer.weights.size > MOST_WEIGHTS:
        raise Unfit(f"{layer.weights.size} weights, at most {MOST_WEIGHTS} as code")
    if not layer.weights.any():
        raise Unfit("all weights are 0")
    if layer.reads.signed or largest > HALF:
        raise Unfit(f"sums reach {largest}, past half a word")
    if layer.format.spacing not in (1, 2) or layer.format.highest > MOST_MAGNITUDE:
        raise Unfit(f"weights of {layer.format.name} are too far apart for sums")
    return kernelrows.packed_layer(layer, np.zeros(0, np.uint32), 0)


def function(name, layer):
    """The C of a function that brings words of two activations to sums of two positions."""
    lines = []
    for first, count in groups(layer.outputs):
        lines += _group(layer, first, layer.weights[first : first + count])
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return FUNCTION.format(name=name, outputs=layer.outputs, inputs=layer.inputs, body=body)


def groups(outputs):
    """Yields (first, count) of the outputs whose sums are in registers at once."""
    size = -(-outputs // -(-outputs // GROUP))
    for first in range(0, outputs, size):
        yield first, min(size, outputs - first)


def _group(layer, first, weights):
    """Lines for the outputs from `first` on that have these `weights` [O, I]."""
    count = len(weights)
    yield "{"
    yield f"    uint32_t {', '.join(f's{o} = 0' for o in range(count))};"
    yield ""
    for i in np.flatnonzero(weights.any(axis=0)):
        yield from input_lines(f"pairs[{i}]", weights[:, i], layer.format.spacing)
    for o in range(count):
        yield f"    sums[{first + o}] = BITNETMCU_LOW_HALF(s{o});"
        yield f"    sums[{first + o + layer.outputs}] = BITNETMCU_HIGH_HALF(s{o});"
    yield "}"


def input_lines(word, column, spacing):
    """Lines that add the products of a word and the weights of one input to the sums."""
    yield f"    x = {word};"
    yield "    if (x) {"
    yield from (f"        {line}" for line in _products(column, spacing))
    yield "    }"


def times(variable, factor):
    """C behind a variable in parentheses that multiplies it, by shifts: "<< 2) + (i << 1"."""
    places = [place for place in range(factor.bit_length()) if factor >> place & 1]
    return f") + ({variable} ".join(f"<< {place}" for place in reversed(places))


def _products(column, spacing):
    """Lines that add the products of x and the weights of one input to the sums."""
    magnitudes, has = np.abs(column), 1
    if magnitudes.max() > 1:
        yield f"const uint32_t step = {' + '.join(['x'] * spacing)};"
        yield ""
    for o in np.argsort(magnitudes, kind="stable"):
        if not magnitudes[o]:
            continue
        while has < magnitudes[o]:
            yield "x += step;"
            has += spacing
        yield f"s{o} {'+' if column[o] > 0 else '-'}= x;"


KERNEL = Kernel(
    "code",
    "",  # functions of its own
    kernelrows.PLAIN_SOURCE,
    emit=None,  # `function` writes it
    pack=pack,
)
