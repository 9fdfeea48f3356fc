"""PAD, RESHAPE, TRANSPOSE, SLICE and others: what moves values, and leaves them as they are."""

import math

import numpy as np
import tflite

from compiler.selection import always
from tinyengine import descriptions, gathers, measures
from tinyengine.kind import Kind, copy_row, named, plain, row
from tinyengine.shapes import height_width_channels, same

MIRROR_MODES = {v: k for k, v in vars(tflite.MirrorPadMode).items() if isinstance(v, int)}


def integers(operator, tensors, place, count=None):
    """A constant input as a list of integers. count: how many there must be, None for any."""
    tensor = tensors[operator.inputs[place]]
    if tensor.data is None or tensor.data.dtype.kind != "i":
        raise ValueError(f"input {place} is of type {tensor.dtype}")
    found = [int(i) for i in tensor.data.ravel()]
    if count not in (None, len(found)):
        raise ValueError(f"input {place} has {len(found)} values, not {count}")
    return found


def input_shape(operator, tensors):
    return tensors[operator.inputs[0]].shape


# --- PAD, PADV2, MIRROR_PAD


def paddings(operator, tensors):
    """int64 [rank, 2] of a PAD: how much before and after, in each dimension."""
    data = tensors[operator.inputs[1]].data
    rank = len(input_shape(operator, tensors))
    if data.shape != (rank, 2) or data.min() < 0 or data.max() > 1 << 16:
        raise ValueError(f"paddings {data.tolist()} for {rank} dimensions")
    return data.astype(np.int64)


def pad_shape(operator, tensors):
    shape = input_shape(operator, tensors)
    return tuple(int(n + p.sum()) for n, p in zip(shape, paddings(operator, tensors)))


def describe_pad(operator, tensors):
    """The value of a PADV2 has the scale and the zero point of the output."""
    x, y = descriptions.ends(operator, tensors)
    descriptions.same_quantisation(x, y)
    value = x.zero_point
    if len(operator.inputs) > 2:
        constant = tensors[operator.inputs[2]]
        if constant.data is None or constant.size != 1:
            raise ValueError("a value that is not one constant")
        descriptions.same_quantisation(constant, y)
        value = int(constant.data.ravel()[0])
    axes = [
        {"size": n, "before": int(before), "after": int(after)}
        for n, (before, after) in zip(x.shape, paddings(operator, tensors))
    ]
    if len(axes) > descriptions.RANK:
        raise ValueError(f"{len(axes)} dimensions; supported are {descriptions.RANK}")
    none = {"size": 1, "before": 0, "after": 0}
    return {"axes": [none] * (descriptions.RANK - len(axes)) + axes, "value": value}


def pad(fields, x):
    """With one value, on both sides of each axis."""
    axes = fields["axes"]
    padding = [(0, 0), *((axis["before"], axis["after"]) for axis in axes)]
    values = x.reshape(len(x), *(axis["size"] for axis in axes))
    return np.pad(values, padding, constant_values=fields["value"]).reshape(len(x), -1)


def pad_sizes(fields):
    after = math.prod(sum(axis.values()) for axis in fields["axes"])
    return measures.count(fields["axes"]), after


def pads_nothing(fields):
    return all(axis["before"] == axis["after"] == 0 for axis in fields["axes"])


def describe_mirror_pad(operator, tensors):
    """REFLECT leaves out the edge, which SYMMETRIC repeats."""
    mode = operator.attributes["mode"]
    places = []
    for n, padding in zip(input_shape(operator, tensors), paddings(operator, tensors)):
        if padding.max() > n - (mode == "REFLECT"):
            raise ValueError(f"paddings {padding.tolist()} of {n} values, which are not enough")
        places.append(np.pad(np.arange(n), padding, mode=mode.lower()))
    return _picked(operator, tensors, places)


def _picked(operator, tensors, places):
    """Fields of a copy of some indices along each dimension of the input."""
    strides = descriptions.strides_of(input_shape(operator, tensors))
    found = [gathers.picked(p, stride) for p, stride in zip(places, strides, strict=True)]
    axes, starts = zip(*found) if found else ((), ())
    return gathers.fields(operator, tensors, list(axes), sum(starts))


# --- RESHAPE, TRANSPOSE, REVERSE_V2


def reshaped_shape(operator, tensors):
    before, after = (tensor.shape for tensor in descriptions.ends(operator, tensors))
    if math.prod(after) != math.prod(before):
        raise ValueError(f"{list(before)} to {list(after)}")
    return after


def describe_reshape(operator, tensors):
    descriptions.same_quantisation(*descriptions.ends(operator, tensors))
    return descriptions.copy(operator, tensors)


def permutation(operator, tensors):
    """Of a TRANSPOSE: dimension i of the output is dimension permutation[i] of the input."""
    found = tuple(integers(operator, tensors, 1))
    rank = len(input_shape(operator, tensors))
    if sorted(found) != list(range(rank)):
        raise ValueError(f"permutation {list(found)}")
    return found


def transposed_shape(operator, tensors):
    shape = input_shape(operator, tensors)
    return tuple(shape[i] for i in permutation(operator, tensors))


def describe_transpose(operator, tensors):
    axes = gathers.strided(input_shape(operator, tensors))
    return gathers.fields(operator, tensors, [axes[i] for i in permutation(operator, tensors)])


def describe_reverse(operator, tensors):
    """TensorFlow Lite takes dimensions that are neighbours."""
    shape, given = input_shape(operator, tensors), integers(operator, tensors, 1)
    found = sorted(i + len(shape) if i < 0 else i for i in given)
    if not found or found != list(range(found[0], found[0] + len(found))):
        raise ValueError(f"dimensions {given}; supported are neighbours")
    if found[0] < 0 or found[-1] >= len(shape):
        raise ValueError(f"dimensions {given} of {len(shape)}")
    places = [np.arange(n)[::-1] if i in found else np.arange(n) for i, n in enumerate(shape)]
    return _picked(operator, tensors, places)


# --- SLICE, STRIDED_SLICE, GATHER, TILE


def slice_ranges(operator, tensors):
    """What a SLICE takes of each dimension; a size of -1 is all that is left."""
    shape = input_shape(operator, tensors)
    found = []
    begins, sizes = (integers(operator, tensors, place, len(shape)) for place in (1, 2))
    for n, begin, size in zip(shape, begins, sizes):
        end = n if size == -1 else begin + size
        if not 0 <= begin < end <= n:
            raise ValueError(f"{size} values from {begin} on of {n}")
        found.append(range(begin, end))
    return found


def sliced_shape(operator, tensors):
    return tuple(len(indices) for indices in slice_ranges(operator, tensors))


def describe_slice(operator, tensors):
    return _picked(operator, tensors, slice_ranges(operator, tensors))


def strided_ranges(operator, tensors):
    """What a STRIDED_SLICE does to dimensions: [(range, whether it is left in the shape)].

    The range is None for a new dimension. As Python's slices with steps; of a dimension that goes
    (shrink), one index is taken.
    """
    attributes, rest = operator.attributes, list(input_shape(operator, tensors))
    count = tensors[operator.inputs[1]].size
    begins, ends, steps = (integers(operator, tensors, place, count) for place in (1, 2, 3))
    if attributes["offset"]:
        raise ValueError("ends that are offsets")

    def masked(name, i):
        return attributes[name] >> i & 1

    ellipses = [i for i in range(count) if masked("ellipsis_mask", i)]
    new = [i for i in range(count) if masked("new_axis_mask", i) and i not in ellipses]
    skipped = len(rest) - (count - len(ellipses) - len(new))
    if skipped < 0 or len(ellipses) > 1 or (ellipses and skipped == 0):
        raise ValueError(f"{count} indices for {len(rest)} dimensions, ellipses at {ellipses}")
    found = []
    for i, (begin, end, step) in enumerate(zip(begins, ends, steps)):
        if i in ellipses:
            found += [(range(rest.pop(0)), True) for _ in range(skipped)]
        elif i in new:
            found.append((None, True))
        else:
            begin = None if masked("begin_mask", i) else begin
            end = None if masked("end_mask", i) else end
            shrinks = masked("shrink_axis_mask", i)
            found.append(_strided_range(rest.pop(0), begin, end, step, shrinks))
    return found + [(range(n), True) for n in rest]


def _strided_range(size, begin, end, step, shrinks):
    """A dimension of `strided_ranges`."""
    if step == 0 or (shrinks and step < 0):
        raise ValueError(f"a step of {step}")
    indices = range(*slice(begin, end, step).indices(size))
    if shrinks:
        indices = range(indices.start, indices.start + 1)
    if not indices or not 0 <= indices[0] < size:
        raise ValueError(f"nothing of {size} values from {begin} to {end} in steps of {step}")
    return indices, not shrinks


def strided_shape(operator, tensors):
    ranges = strided_ranges(operator, tensors)
    return tuple(1 if indices is None else len(indices) for indices, left in ranges if left)


def describe_strided_slice(operator, tensors):
    ranges = strided_ranges(operator, tensors)
    return _picked(operator, tensors, [indices for indices, _ in ranges if indices is not None])


def gather_axis(operator, tensors):
    """(dimension, indices along it) of a GATHER."""
    shape, axis = input_shape(operator, tensors), operator.attributes["axis"]
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"axis {axis} of {len(shape)}")
    if operator.attributes["batch_dims"]:
        raise ValueError("indices that differ along a dimension (batch_dims)")
    axis, indices = axis % len(shape), integers(operator, tensors, 1)
    if not indices or not 0 <= min(indices) <= max(indices) < shape[axis]:
        raise ValueError(f"indices {indices} of {shape[axis]} values")
    return axis, indices


def gathered_shape(operator, tensors):
    shape, (axis, _) = input_shape(operator, tensors), gather_axis(operator, tensors)
    return (*shape[:axis], *tensors[operator.inputs[1]].shape, *shape[axis + 1 :])


def describe_gather(operator, tensors):
    axis, indices = gather_axis(operator, tensors)
    places = [np.arange(n) for n in input_shape(operator, tensors)]
    return _picked(operator, tensors, [*places[:axis], indices, *places[axis + 1 :]])


def repeats(operator, tensors):
    """How often a TILE has each dimension."""
    found = integers(operator, tensors, 1, len(input_shape(operator, tensors)))
    if any(n < 1 for n in found):
        raise ValueError(f"{found} repetitions")
    return found


def tiled_shape(operator, tensors):
    return tuple(n * m for n, m in zip(input_shape(operator, tensors), repeats(operator, tensors)))


def describe_tile(operator, tensors):
    """Each repetition is an axis, unless there would be too many."""
    shape, counts = input_shape(operator, tensors), repeats(operator, tensors)
    pairs = zip(counts, gathers.strided(shape))
    axes = [each for n, axis in pairs for each in ({"size": n, "stride": 0}, axis)]
    if len(gathers.merged(axes)) <= descriptions.RANK:
        return gathers.fields(operator, tensors, axes)
    return _picked(operator, tensors, [np.tile(np.arange(n), m) for n, m in zip(shape, counts)])


# --- DEPTH_TO_SPACE, SPACE_TO_DEPTH


def _blocks(operator, tensors, depth_to_space):
    """(size of a block, then height, width and channels of what is in blocks)."""
    shape, block = input_shape(operator, tensors), operator.attributes["block_size"]
    height, width, channels = height_width_channels(shape)
    divided = (channels, block * block) if depth_to_space else (math.gcd(height, width), block)
    if len(shape) != 4 or block < 1 or divided[0] % divided[1]:
        raise ValueError(f"blocks of {block} of shape {list(shape)}")
    if depth_to_space:
        return block, height, width, channels // block**2
    return block, height // block, width // block, channels


def depth_to_space_shape(operator, tensors):
    block, height, width, channels = _blocks(operator, tensors, True)
    return (1, height * block, width * block, channels)


def describe_depth_to_space(operator, tensors):
    """A pixel of the input has the rows of its block one behind the other."""
    block, height, width, channels = _blocks(operator, tensors, True)
    rows, _, columns, *pixels = gathers.strided((height, 1, width, block, block * channels))
    return gathers.fields(operator, tensors, [rows, pixels[0], columns, pixels[1]])


def space_to_depth_shape(operator, tensors):
    block, height, width, channels = _blocks(operator, tensors, False)
    return (1, height, width, channels * block**2)


def describe_space_to_depth(operator, tensors):
    block, height, width, channels = _blocks(operator, tensors, False)
    rows, inner, columns, pixels = gathers.strided((height, block, width, block * channels))
    return gathers.fields(operator, tensors, [rows, columns, inner, pixels])


MASKS = {
    "begin_mask": plain("BeginMask"),
    "end_mask": plain("EndMask"),
    "ellipsis_mask": plain("EllipsisMask"),
    "new_axis_mask": plain("NewAxisMask"),
    "shrink_axis_mask": plain("ShrinkAxisMask"),
    "offset": plain("Offset"),
}


def _gathering(kind, shape, describe, options=None, attributes=None, constants=1):
    """A `Kind` of copies along axes, with some constants behind its input."""
    return Kind(
        shape,
        describe,
        row(kind, gathers.sizes, gathers.rule),
        options,
        attributes or {},
        inputs=(1 + constants,) * 2,
        constants=tuple(range(1, 1 + constants)),
        identity=gathers.is_identity,
    )


def _padding(kind, **inputs):
    return Kind(
        pad_shape,
        describe_pad,
        row(kind, pad_sizes, pad),
        constants=(1,),
        identity=pads_nothing,
        **inputs,
    )


BLOCK = {"block_size": plain("BlockSize")}
KINDS = (
    _padding("PAD", inputs=(2, 2)),
    _padding("PADV2", inputs=(3, 3), either=(2,)),
    Kind(
        reshaped_shape,
        describe_reshape,
        copy_row("RESHAPE", measures.same_sizes),
        inputs=(1, 2),
        constants=(1,),
        identity=always,
    ),
    _gathering("TRANSPOSE", transposed_shape, describe_transpose),
    _gathering("REVERSE_V2", same, describe_reverse),
    _gathering("SLICE", sliced_shape, describe_slice, constants=2),
    _gathering(
        "STRIDED_SLICE",
        strided_shape,
        describe_strided_slice,
        tflite.StridedSliceOptions,
        MASKS,
        constants=3,
    ),
    _gathering(
        "GATHER",
        gathered_shape,
        describe_gather,
        tflite.GatherOptions,
        {"axis": plain("Axis"), "batch_dims": plain("BatchDims")},
    ),
    _gathering("TILE", tiled_shape, describe_tile),
    _gathering(
        "MIRROR_PAD",
        pad_shape,
        describe_mirror_pad,
        tflite.MirrorPadOptions,
        {"mode": named("Mode", MIRROR_MODES)},
    ),
    _gathering(
        "DEPTH_TO_SPACE",
        depth_to_space_shape,
        describe_depth_to_space,
        tflite.DepthToSpaceOptions,
        BLOCK,
        constants=0,
    ),
    _gathering(
        "SPACE_TO_DEPTH",
        space_to_depth_shape,
        describe_space_to_depth,
        tflite.SpaceToDepthOptions,
        BLOCK,
        constants=0,
    ),
)
