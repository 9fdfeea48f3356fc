"""What the kernels gather, copy_rows and pad are given: calls, and the axes that they need.

A call: `op`, the description; `source` and `target`, each (number of an input or output, elements
from its start on).
"""

from compiler.selection import Unfit
from tinyengine import gathers
from tinyengine.descriptions import RANK


def pack_gather(fields):
    axes = [{"places": 0} | axis for axis in gathers.merged(fields["axes"])]
    one = {"size": 1, "stride": 0, "places": 0}
    op = {"axes": [one] * (RANK - len(axes)) + axes}
    return {"calls": [_call(op, (0, fields["start"]), (0, 0))]}


def pack_rows_of_gather(fields):
    """A copy of contiguous rows. Raises `Unfit` for others."""
    axes = gathers.merged(fields["axes"]) or [{"size": 1, "stride": 1}]
    *outer, row = axes
    if row["stride"] != 1 or len(outer) > 1 or any("places" in axis for axis in axes):
        raise Unfit("no evenly spaced rows of contiguous values")
    rows = outer[0] if outer else {"size": 1, "stride": 0}
    op = _rows(rows["size"], row["size"], rows["stride"], row["size"])
    return {"calls": [_call(op, (0, fields["start"]), (0, 0))]}


def pack_join(fields):
    """A call for each input."""
    calls = [
        _call(_rows(fields["rows"], width, width, whole), (number, 0), (0, at))
        for number, at, width, whole in _parts(fields)
    ]
    return {"calls": calls, "constants": fields["constants"]}


def pack_split(fields):
    """A call for each output."""
    calls = [
        _call(_rows(fields["rows"], width, whole, width), (0, at), (number, 0))
        for number, at, width, whole in _parts(fields)
    ]
    return {"calls": calls}


def pack_all(fields):
    """One call for all of it."""
    size = fields["size"]
    return {"calls": [_call(_rows(1, size, size, size), (0, 0), (0, 0))]}


def pack_pad(fields):
    """Axes that are not padded are one with the axis in front of them."""
    axes = []
    for axis in fields["axes"]:
        padded = axis["before"] or axis["after"]
        if axes and not padded:
            axes[-1] = {name: n * axis["size"] for name, n in axes[-1].items()}
        else:
            axes.append(axis)
    none = {"size": 1, "before": 0, "after": 0}
    return fields | {"axes": [none] * (RANK - len(axes)) + axes}


def _parts(fields):
    """(number, offset, bytes, bytes of the whole row) of each part."""
    whole = sum(part["bytes"] for part in fields["parts"])
    for number, part in enumerate(fields["parts"]):
        yield number, part["offset"], part["bytes"], whole


def _rows(rows, width, input_stride, output_stride):
    """A te_copy_rows."""
    strides = {"input_stride": input_stride, "output_stride": output_stride}
    return {"rows": rows, "bytes": width} | strides


def _call(op, source, target):
    return {"op": op, "source": source, "target": target}
