"""RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR: images of another height and width."""

import numpy as np
import tflite

from compiler.graph import INT8, INT32
from tinyengine import descriptions, gathers, measures, rules
from tinyengine.families.copies import integers
from tinyengine.kind import Kind, plain, row
from tinyengine.shapes import height_width_channels

ONE = 1 << 10  # of the positions of RESIZE_BILINEAR: kernels/resize_bilinear.c


def resized_shape(operator, tensors):
    shape = tensors[operator.inputs[0]].shape
    height, width = integers(operator, tensors, 1, 2)
    _, _, channels = height_width_channels(shape)
    if len(shape) != 4 or min(height, width) < 1:
        raise ValueError(f"shape {list(shape)} to {height} x {width}")
    return (1, height, width, channels)


def nearest(attributes, before, after):
    """int64 [after]: the pixels of the input along a side, of `before`; all in float32.

    GetNearestNeighbor of internal/reference/resize_nearest_neighbor.h.
    """
    corners = attributes["align_corners"]
    inner = int(corners and after > 1)
    scale = np.float32(before - inner) / np.float32(after - inner)
    offset = np.float32(0.5 if attributes["half_pixel_centers"] else 0)
    places = ((np.arange(after).astype(np.float32) + offset) * scale).astype(np.float64)
    return np.minimum(np.floor(places + 0.5 * corners).astype(np.int64), before - 1)


def describe_nearest(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    sides = zip(x.shape[:3], y.shape, descriptions.strides_of(x.shape))
    found = [
        gathers.picked(nearest(operator.attributes, before, after), stride)
        for before, after, stride in sides
    ]
    axes, starts = zip(*found)
    channels = {"size": x.shape[3], "stride": 1}
    return gathers.fields(operator, tensors, [*axes, channels], sum(starts))


def bilinear(attributes, before, after):
    """A te_resized_axis, for one side of the images.

    ResizeBilinearInteger of internal/reference/resize_bilinear.h. Raises ValueError where that
    reads pixels behind the last one.
    """
    inner = int(attributes["align_corners"] and after > 1)
    step = (ONE * (before - inner) + (after - inner) // 2) // (after - inner)
    start = step // 2 - ONE // 2 if attributes["half_pixel_centers"] else 0
    last = (after - 1) * step + start
    if last >= before * ONE or last > INT32.highest:
        raise ValueError(f"{before} pixels as {after}, where rounded steps lead beyond the last")
    return {"step": step, "start": start}


def describe_bilinear(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    attributes = operator.attributes
    if attributes["align_corners"] and attributes["half_pixel_centers"]:
        raise ValueError("both align_corners and half_pixel_centers")
    return {
        "input": descriptions.shape_fields(x.shape),
        "output": descriptions.shape_fields(y.shape),
        "y": bilinear(attributes, x.shape[1], y.shape[1]),
        "x": bilinear(attributes, x.shape[2], y.shape[2]),
    }


def resize_bilinear(fields, x):
    """One side after the other: nothing is rounded before the end."""
    values = rules.images(fields, x).astype(np.int64)
    for dimension, name, side in ((1, "y", "height"), (2, "x", "width")):
        last = (fields["input"][side] - 1) * ONE
        places = np.arange(fields["output"][side]) * fields[name]["step"] + fields[name]["start"]
        pixels, weights = np.divmod(np.clip(places, 0, last), ONE)
        behind = np.minimum(pixels + 1, fields["input"][side] - 1)
        weights = np.expand_dims(weights, tuple(range(1, 4 - dimension)))
        one, other = (np.take(values, i, axis=dimension) for i in (pixels, behind))
        values = one * (ONE - weights) + other * weights
    half = ONE * ONE // 2
    return rules.clamped(np.sign(values) * ((np.abs(values) + half) // (ONE * ONE)))


def bilinear_bound(fields):
    return INT8.largest * ONE * ONE + ONE * ONE // 2


CORNERS = {
    "align_corners": plain("AlignCorners"),
    "half_pixel_centers": plain("HalfPixelCenters"),
}
WITH_SIZE = {"inputs": (2, 2), "constants": (1,)}
KINDS = (
    Kind(
        resized_shape,
        describe_nearest,
        row("RESIZE_NEAREST_NEIGHBOR", gathers.sizes, gathers.rule),
        tflite.ResizeNearestNeighborOptions,
        CORNERS,
        identity=gathers.is_identity,
        **WITH_SIZE,
    ),
    Kind(
        resized_shape,
        describe_bilinear,
        row("RESIZE_BILINEAR", measures.image_sizes, resize_bilinear, bound=bilinear_bound),
        tflite.ResizeBilinearOptions,
        CORNERS,
        **WITH_SIZE,
    ),
)
