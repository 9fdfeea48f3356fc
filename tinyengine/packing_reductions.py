"""REDUCE_MAX, REDUCE_MIN and MEAN as their kernels take them.

The functions return the fields of a kernel's description, or raise Unfit with a reason.
"""

from compiler.graph import INT8
from compiler.selection import Unfit
from tinyengine import descriptions, gathers, packing_pairs


def pack_reduction(fields):
    """Axes that lie behind one another are one; the inner loop is along the last reduced one."""
    reduced = sorted(fields["reduced"], key=lambda axis: -axis["stride"])
    *outer, run = gathers.merged(reduced) or [{"size": 1, "stride": 0}]
    kept = gathers.merged(fields["kept"])
    return fields | {"kept": _filled(kept), "reduced": _filled(outer), "run": run}


def _filled(axes):
    return descriptions.axes([(axis["size"], axis["stride"]) for axis in axes])


def _image(fields):
    """(rows, pixels of a row, channels) of a reduction of all pixels of a row to one."""
    kept, reduced = (gathers.merged(fields[name]) for name in ("kept", "reduced"))
    if kept and kept[-1]["stride"] == 1 and len(reduced) == 1:
        (pixels,), (*rows, channels) = reduced, kept
        inside = pixels["stride"] == channels["size"]
        if inside and not rows:
            return 1, pixels["size"], channels["size"]
        row = pixels["size"] * pixels["stride"]
        if inside and len(rows) == 1 and rows[0]["stride"] == row:
            return rows[0]["size"], pixels["size"], channels["size"]
    raise Unfit("only reductions of all pixels of a row to one")


def _mean_image(fields):
    """(rows, pixels of a row, channels, behind a row and a channel of the output) of a MEAN of all
    pixels of a row to one. Channels may come in front of rows in the output, or be one."""
    kept, reduced = (gathers.merged(fields[name]) for name in ("kept", "reduced"))
    if len(reduced) == 1 and len(kept) == 2 and kept[0]["stride"] == 1:
        (pixels,), (channels, rows) = reduced, kept
        inside = pixels["stride"] == channels["size"]
        if inside and rows["stride"] == pixels["size"] * pixels["stride"]:
            return rows["size"], pixels["size"], channels["size"], 1, rows["size"]
    if len(reduced) == 1 == reduced[0]["stride"] and len(kept) <= 1:
        (pixels,), (rows,) = reduced, kept or [{"size": 1, "stride": reduced[0]["size"]}]
        if rows["stride"] == pixels["size"]:
            return rows["size"], pixels["size"], 1, 1, 1
    rows, pixels, channels = _image(fields)
    return rows, pixels, channels, channels, 1


def pack_mean_fast(fields):
    names = "rows", "pixels", "channels", "row_stride", "stride"
    sizes, scale = dict(zip(names, _mean_image(fields))), fields["scale"]
    pixels, right = sizes["pixels"], -scale["shift"]
    if pixels * INT8.span >= 1 << 30:
        raise Unfit(f"sums of {pixels} values, which cannot be doubled")
    if not 0 <= right <= 22:
        raise Unfit("a multiplier outside 2^-23 .. 1")
    addend = (fields["output_zero_point"] << right) + (1 << right >> 1)
    rounding = {"multiplier": scale["multiplier"], "addend": addend, "right": right}
    rounding |= {"ties": -1 if right else 0}
    offset = pixels * fields["input_zero_point"]
    return sizes | {"offset": offset} | packing_pairs.words(rounding)


def pack_extreme_of_pixels(fields):
    rows, pixels, channels = _image(fields)
    if channels < 4:
        raise Unfit(f"{channels} channels, fewer than 4")
    return {"rows": rows, "pixels": pixels, "channels": channels}
