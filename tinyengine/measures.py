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
