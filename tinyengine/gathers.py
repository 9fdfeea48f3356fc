"""Copies along axes: fields of steps that the kernels gather and copy_rows execute.

Fields: `input_size` elements are read from; the output's first one is at `start`; `axes` are the
output's, the last the fastest, as te_gathered_axis of kernels/tinyengine.h: dicts of size, stride,
and, where they are not in even steps, places.
"""

import numpy as np

from compiler.graph import DTYPES
from tinyengine import descriptions, measures, rules

LARGEST_PLACE = DTYPES["int16"].highest


def strided(shape):
    """The axes of a tensor, as they are."""
    return [{"size": n, "stride": s} for n, s in zip(shape, descriptions.strides_of(shape))]


def picked(places, stride):
    """(axis, start): elements at places * stride of the input. Raises ValueError."""
    places = np.asarray(places, np.int64)
    steps = np.unique(np.diff(places))
    if len(steps) <= 1:
        step = int(steps[0]) if len(steps) else 0
        return {"size": len(places), "stride": step * stride}, int(places[0]) * stride
    if places.max() > LARGEST_PLACE:
        raise ValueError(f"index {places.max()}; supported are up to {LARGEST_PLACE}")
    return {"size": len(places), "stride": stride, "places": places.astype(np.int16)}, 0


def merged(axes):
    """The axes without those of one element, neighbours as one where one stride gives both."""
    found = []
    for axis in (axis for axis in axes if axis["size"] > 1):
        before = found[-1] if found else {"places": None}
        even = "places" not in axis and "places" not in before
        if even and before["stride"] == axis["size"] * axis["stride"]:
            found[-1] = axis | {"size": before["size"] * axis["size"]}
        else:
            found.append(axis)
    return found


def fields(operator, tensors, axes, start=0):
    """Of the step. Raises ValueError for what it cannot be."""
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    rank = len(merged(axes))
    if rank > descriptions.RANK:
        raise ValueError(f"a copy along {rank} axes; supported are {descriptions.RANK}")
    return {"input_size": x.size, "start": start, "axes": axes}


def rule(fields, x):
    return x[:, _places(fields)]


def composed(first, second):
    """Fields of a copy of a copy, None if they do not have few enough axes."""
    places, axes = _places(first)[_places(second)], []
    while len(places) > 1:
        size = _even(places)
        if size == 1 or len(axes) == descriptions.RANK:
            return None
        axes.insert(0, {"size": size, "stride": int(places[1] - places[0])})
        places = places[::size]
    return {"input_size": first["input_size"], "start": int(places[0]), "axes": axes}


def _even(places):
    """The most elements of an axis, the last one, along which places are in even steps."""
    uneven = np.flatnonzero(np.diff(places) != places[1] - places[0])
    for size in range(uneven[0] + 1 if len(uneven) else len(places), 1, -1):
        if len(places) % size == 0:
            rows = places.reshape(-1, size)
            if (rows - rows[:, :1] == rows[0] - rows[0, 0]).all():
                return size
    return 1


def _places(fields):
    """int64 [elements of the output]: where in the input they are."""
    return fields["start"] + rules.offsets(fields["axes"])


def sizes(fields):
    return fields["input_size"], measures.count(fields["axes"])


def is_identity(fields):
    """Whether the output is the input as it is."""
    whole = [] if fields["input_size"] == 1 else [{"size": fields["input_size"], "stride": 1}]
    return fields["start"] == 0 and merged(fields["axes"]) == whole
