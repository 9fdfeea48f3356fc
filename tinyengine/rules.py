"""What the exact rules of operators share, in NumPy. The rules stand in families/.

A rule is what the C must compute. It takes a step's fields, those of its description in C
(kernels/tinyengine.h) as lowering.py or pruning.py wrote them, and its activations, int8
[B, elements]. It returns its output, int8 [B, elements]. B = inputs that are computed at once, each
as if it were alone. Every value is that of the plain kernel, kernels/NAME.c.
"""

import itertools

import numpy as np

from tinyengine import quantisation


def clamped(values, lowest=quantisation.LOWEST, highest=quantisation.HIGHEST):
    """int64 [B, ...] as an output."""
    return np.clip(values, lowest, highest).astype(np.int8).reshape(len(values), -1)


def scaled(values, scale):
    """int64 values times one te_scale."""
    return quantisation.scaled(values, scale["multiplier"], scale["shift"])


def images(fields, x):
    """The input as [B, height, width, channels]."""
    return x.reshape(len(x), *(fields["input"][side] for side in ("height", "width", "channels")))


def taps(fields, images):
    """What each tap of the window reads, the last column the fastest: [B, height, width, channels]
    of the output's height and width. images: [B, height, width, channels]; padding is 0."""
    window, padding, places = fields["window"], [], []
    for axis, side, edge in (("y", "height", "pad_top"), ("x", "width", "pad_left")):
        stride, dilation = window[f"stride_{axis}"], window[f"dilation_{axis}"]
        span = (fields["output"][side] - 1) * stride + 1  # of a tap, from its first to its last
        last = (window[side] - 1) * dilation
        beyond = span + last - window[edge] - fields["input"][side]
        padding.append((window[edge], max(beyond, 0)))
        places.append([slice(at, at + span, stride) for at in range(0, last + 1, dilation)])
    padded = np.pad(images, [(0, 0), *padding, (0, 0)])
    for rows, columns in itertools.product(*places):
        yield padded[:, rows, columns]


def offsets(axes):
    """int64 [elements]: where in the input the elements of te_axis or te_gathered_axis axes lie, in
    their order."""
    offsets = np.zeros(1, np.int64)
    for axis in axes:
        steps = axis.get("places", np.arange(axis["size"])).astype(np.int64) * axis["stride"]
        offsets = (offsets[:, None] + steps).ravel()
    return offsets
