"""What the fields of a step say of its sizes: (elements of each input ..., of each output).

They do not look at the graph, and so can check it. What only one family has stands in families/.
"""

import math


def elements(shape):
    return shape["height"] * shape["width"] * shape["channels"]


def image_sizes(fields):
    return elements(fields["input"]), elements(fields["output"])


def same_sizes(fields):
    return (fields["size"],) * 2


def count(axes):
    return math.prod(axis["size"] for axis in axes)


def needed(macs, size):
    """Instructions that so many multiply-accumulates and bytes take, about, on a core with DSP
    instructions: SMLAD has two products, a load or a store four bytes. So are cycles without wait
    states, as of loads behind one another each takes one."""
    return -(-macs // 2) + -(-size // 4)


def worst(steps, most=3, share=0.01):
    """Words on the steps that take most of what they need, with how many times that is.

    steps: (name, what it takes, what it needs); those below `share` of the whole do not count.
    """
    steps = list(steps)
    least = share * sum(taken for _, taken, _ in steps)
    ratios = [(taken / max(needs, 1), name) for name, taken, needs in steps if taken >= least]
    found = sorted(ratios, reverse=True)[:most]
    return ", ".join(f"{name} ({ratio:.1f} times)" for ratio, name in found)
