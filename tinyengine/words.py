"""Operators and steps in short words: ([for a box in a picture], [more, for a table])."""

from compiler.graph import INT8


def of_operator(operator, tensors):
    """The attributes of a model's operator: ["3x3", "stride 2"], ["SAME", "RELU6"]."""
    attributes, words = operator.attributes, []
    if "stride_y" in attributes:
        if "window_y" in attributes:
            size = attributes["window_y"], attributes["window_x"]
        else:
            size = tensors[operator.inputs[1]].shape[1:3]
        words += _window(size, attributes)
    more = [str(attributes[name]) for name in ("padding", "activation") if name in attributes]
    return words, [word for word in more if word != "NONE"]


def of_fields(fields):
    """The fields of a lowered step: ["3x3", "stride 2"], ["pad 0,1", "clamp -128..5"]."""
    words, more = [], []
    if "window" in fields:
        window = fields["window"]
        words += _window((window["height"], window["width"]), window)
        if window["pad_top"] or window["pad_left"]:
            more.append(f"pad {window['pad_top']},{window['pad_left']}")
    ends = fields.get("requantise", fields)
    lowest, highest = ends.get("lowest", INT8.lowest), ends.get("highest", INT8.highest)
    if (lowest, highest) != (INT8.lowest, INT8.highest):
        more.append(f"clamp {lowest}..{highest}")
    if fields.get("multiplier", 1) != 1:
        more.append(f"multiplier {fields['multiplier']}")
    return words, more


def _window(size, fields):
    """As "3x3", and what is not 1: "stride 2", "dilation 2x1"."""
    words = ["x".join(map(str, size))]
    for name in ("stride", "dilation"):
        y, x = fields.get(f"{name}_y", 1), fields.get(f"{name}_x", 1)
        if (y, x) != (1, 1):
            words.append(f"{name} {y}" if y == x else f"{name} {y}x{x}")
    return words
