"""Small models of what moves values and leaves them as they are, and of resized images.

The functions add one operator to a `tflite_builder.Builder` b and return its output, or a list of
its outputs; `copies()` yields the cases of `tflite_models.cases()`.
"""

import itertools

import numpy as np
from ai_edge_litert import schema_py_generated as schema


def _as(b, x, shape):
    """A value with the scale and the zero point of x."""
    return b.value(shape, x.scale, x.zero_point)


def _integers(b, values):
    return b.constant(np.array(values, np.int32))


def constant(b, x, shape):
    """The index of a constant with the scale and the zero point of x."""
    values = b.rng.integers(-128, 128, shape).astype(np.int8)
    return b.constant(values, [x.scale], zero_points=[x.zero_point])


def gathered(b, kind, x, shape, constants=(), options=None, **fields):
    inputs = [x.index, *(_integers(b, values) for values in constants)]
    return b.operator(kind, inputs, _as(b, x, shape), options, **fields)


def concatenation(b, xs, axis, constants=()):
    """constants: {place among the inputs: size along the axis}."""
    x, inputs = xs[0], [x.index for x in xs]
    total = sum(x.shape[axis] for x in xs)
    for place, size in dict(constants).items():
        shape = [*x.shape]
        shape[axis] = size
        total += size
        inputs.insert(place, constant(b, x, shape))
    shape = [*x.shape]
    shape[axis] = total
    return b.operator("CONCATENATION", inputs, _as(b, x, shape), "ConcatenationOptions", axis=axis)


def pack(b, xs, axis, constants=()):
    """constants: places of these among the inputs."""
    x, inputs = xs[0], [x.index for x in xs]
    for place in constants:
        inputs.insert(place, constant(b, x, x.shape))
    shape = [*x.shape]
    shape.insert(axis % (len(shape) + 1), len(inputs))
    fields = {"valuesCount": len(inputs), "axis": axis}
    return b.operator("PACK", inputs, _as(b, x, shape), "PackOptions", **fields)


def split(b, x, count, axis):
    shape = [*x.shape]
    shape[axis] //= count
    outputs = [_as(b, x, shape) for _ in range(count)]
    inputs = [_integers(b, axis), x.index]
    return b.operator("SPLIT", inputs, outputs, "SplitOptions", numSplits=count)


def split_v(b, x, sizes, axis):
    """A size of -1 is all that is left."""
    rest = x.shape[axis] - sum(size for size in sizes if size != -1)
    outputs = []
    for size in sizes:
        shape = [*x.shape]
        shape[axis] = rest if size == -1 else size
        outputs.append(_as(b, x, shape))
    inputs = [x.index, _integers(b, sizes), _integers(b, axis)]
    return b.operator("SPLIT_V", inputs, outputs, "SplitVOptions", numSplits=len(sizes))


def unpack(b, x, axis):
    shape = [*x.shape]
    count = shape.pop(axis)
    outputs = [_as(b, x, shape) for _ in range(count)]
    return b.operator("UNPACK", [x.index], outputs, "UnpackOptions", num=count, axis=axis)


def slice_of(b, x, begin, size):
    shape = [n - at if s == -1 else s for n, at, s in zip(x.shape, begin, size)]
    return gathered(b, "SLICE", x, shape, (begin, size))


def strided_slice(b, x, shape, begin, end, strides, **masks):
    """masks: beginMask, endMask, ellipsisMask, newAxisMask, shrinkAxisMask."""
    constants = (begin, end, strides)
    return gathered(b, "STRIDED_SLICE", x, shape, constants, "StridedSliceOptions", **masks)


def cropping(b, x, top, bottom, left, right):
    """As Keras writes it."""
    _, height, width, channels = x.shape
    shape = (1, height - top - bottom, width - left - right, channels)
    ends = (0, -bottom if bottom else height, -right if right else width, 0)
    return strided_slice(b, x, shape, (0, top, left, 0), ends, (1, 1, 1, 1), beginMask=9, endMask=9)


def gather(b, x, indices, axis):
    shape = (*x.shape[:axis], *np.shape(indices), *x.shape[axis % len(x.shape) + 1 :])
    return gathered(b, "GATHER", x, shape, (indices,), "GatherOptions", axis=axis)


def tile(b, x, repeats):
    return gathered(b, "TILE", x, [n * m for n, m in zip(x.shape, repeats)], (repeats,))


def reverse(b, x, axes):
    return gathered(b, "REVERSE_V2", x, x.shape, (axes,))


def mirror_pad(b, x, paddings, mode):
    shape = [n + sum(p) for n, p in zip(x.shape, paddings)]
    mode = getattr(schema.MirrorPadMode, mode)
    return gathered(b, "MIRROR_PAD", x, shape, (paddings,), "MirrorPadOptions", mode=mode)


def pad_v2(b, x, paddings, value):
    shape = [n + sum(p) for n, p in zip(x.shape, paddings)]
    value = b.constant(np.array([value], np.int8), [x.scale], zero_points=[x.zero_point])
    inputs = [x.index, _integers(b, paddings), value]
    return b.operator("PADV2", inputs, _as(b, x, shape), "PadV2Options")


def depth_to_space(b, x, block):
    _, height, width, channels = x.shape
    shape = (1, height * block, width * block, channels // block**2)
    options = "DepthToSpaceOptions"
    return gathered(b, "DEPTH_TO_SPACE", x, shape, (), options, blockSize=block)


def space_to_depth(b, x, block):
    _, height, width, channels = x.shape
    shape = (1, height // block, width // block, channels * block**2)
    options = "SpaceToDepthOptions"
    return gathered(b, "SPACE_TO_DEPTH", x, shape, (), options, blockSize=block)


def resize(b, x, size, nearest, align_corners=False, half_pixel_centers=False):
    kind, options = "RESIZE_BILINEAR", "ResizeBilinearOptions"
    if nearest:
        kind, options = "RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"
    fields = {"alignCorners": align_corners, "halfPixelCenters": half_pixel_centers}
    return gathered(b, kind, x, (1, *size, x.shape[3]), (size,), options, **fields)


LARGEST = 500  # elements of a tensor that a random step makes larger


def random_steps(b, v):
    """Functions that add a random step on an image v."""
    rng, axis = b.rng, int(b.rng.integers(1, 4))
    n, (_, height, width, channels) = v.shape[axis], v.shape
    at = int(rng.integers(n))
    begin, size = [at if i == axis else 0 for i in range(4)], [-1] * 4
    backwards = [-1 if i == axis else 1 for i in range(4)]
    way = (False, bool(rng.integers(2)))
    sizes = [int(side) for side in rng.integers(1, 9, 2)]
    repeats = [2 if i == axis else 1 for i in range(4)]
    paddings = [
        (0, 0),
        *((int(before), int(after)) for before, after in rng.integers(0, 2, (3, 2))),
    ]
    steps = [
        lambda: slice_of(b, v, begin, size),
        lambda: strided_slice(b, v, v.shape, [0] * 4, v.shape, backwards, beginMask=15, endMask=15),
        lambda: resize(b, v, sizes, True, *way),
        lambda: resize(b, v, sizes, False, *way),
    ]
    if v.shape[axis] > 1:
        steps += [lambda: split_v(b, v, (1, -1), axis)[int(rng.integers(2))]]
    if v.shape[axis] % 2 == 0:
        steps += [lambda: concatenation(b, split(b, v, 2, axis)[::-1], axis)]
    if height * width * channels < LARGEST:
        steps += [
            lambda: concatenation(b, [v, reverse(b, v, (axis,)), v], axis),
            lambda: concatenation(b, [slice_of(b, v, begin, size), v], axis, {at % 2: 2}),
            lambda: tile(b, v, repeats),
            lambda: pad_v2(b, v, paddings, int(rng.integers(-128, 128))),
            lambda: mirror_pad(b, v, paddings, "SYMMETRIC"),
        ]
    return steps


def copies():
    """Yields (name, shape of the input, function of builder and input, input's quantisation)."""
    for part in (_joined, _split, _sliced, _picked, _padded, _resized):
        for name, shape, build in part():
            yield name, shape, build, {}


def _turned(b, x):
    """Another tensor of the same values, shape and scale."""
    return reverse(b, x, (len(x.shape) - 1,))


IMAGE = (1, 4, 5, 3)


def _joined():
    def case(axis, sizes, constants=()):
        """Inputs of other sizes along the axis, parts of the model's input."""

        def build(b, x):
            parts = [x]
            for size in sizes:
                to = [n if i != axis % len(x.shape) else size for i, n in enumerate(x.shape)]
                parts.append(slice_of(b, x, [0] * len(x.shape), to))
            return concatenation(b, parts, axis, constants)

        return build

    for axis in (1, 2, 3, -1, -3):
        name = f"concatenation_axis_{axis}".replace("-", "minus_")
        yield name, IMAGE, case(axis, (2, 1))
    yield "concatenation_constant", IMAGE, case(3, (2,), {0: 4, 2: 1})
    yield "concatenation_constant_of_one_row", IMAGE, case(1, (2,), {1: 2})
    yield "concatenation_to_itself", (1, 7), lambda b, x: concatenation(b, [x, x, x], 1)
    yield (
        "concatenation_of_64",
        (1, 3, 2),
        lambda b, x: concatenation(b, [x, _turned(b, x)] * 32, 2),
    )
    for width in (1, 2, 3, 4, 5, 7, 16, 17, 33, 50):
        yield (
            f"concatenation_rows_of_{width}",
            (1, 3, 3, width),
            lambda b, x: concatenation(b, [x, _turned(b, x)], 3),
        )
    for axis in (0, 1, 3, -1, -2):
        name = f"pack_axis_{axis}".replace("-", "minus_")
        yield name, (4, 5, 3), lambda b, x, a=axis: pack(b, [x, _turned(b, x), x], a)
    yield "pack_constant", (4, 5), lambda b, x: pack(b, [x, _turned(b, x)], 1, (1,))


def _split():
    """What is put together again is in another order."""
    for axis, count in ((1, 2), (2, 3), (3, 4), (-1, 2), (3, 8), (1, 4)):
        name = f"split_axis_{axis}_{count}".replace("-", "minus_")

        def build(b, x, axis=axis, count=count):
            return concatenation(b, split(b, x, count, axis)[::-1], axis)

        yield name, (1, 4, 6, 8), build
    for axis, sizes in ((1, (1, 3)), (2, (3, -1, 1)), (3, (2, 5, -1)), (-2, (6,)), (-1, (-1, 2))):
        name = f"split_v_axis_{axis}_{'_'.join(map(str, sizes))}".replace("-", "minus_")

        def build(b, x, axis=axis, sizes=sizes):
            return concatenation(b, [*split_v(b, x, sizes, axis)[::-1], _turned(b, x)], axis)

        yield name, (1, 4, 6, 8), build
    for axis in (0, 1, 2, -1):
        name = f"unpack_axis_{axis}".replace("-", "minus_")
        yield name, (3, 4, 5), lambda b, x, a=axis: pack(b, unpack(b, x, a)[::-1], a)


def _sliced():
    for name, begin, size in (
        ("rows", (0, 1, 0, 0), (1, 2, -1, 3)),
        ("columns", (0, 0, 2, 0), (-1, -1, 3, -1)),
        ("channels", (0, 0, 0, 1), (1, 4, 5, 2)),
        ("all", (0, 1, 1, 1), (1, 3, 2, -1)),
        ("one_value", (0, 3, 4, 2), (1, 1, 1, 1)),
    ):
        yield f"slice_{name}", IMAGE, lambda b, x, p=(begin, size): slice_of(b, x, *p)
    for name, shape, begin, end, strides, masks in (
        ("begin_end", (1, 2, 3, 1), (0, 1, 1, 1), (1, 3, 4, 2), (1, 1, 1, 1), {}),
        ("beyond", (1, 3, 5, 2), (0, -3, -9, 1), (9, 9, 9, 9), (1, 1, 1, 1), {}),
        ("from_the_end", (1, 2, 3, 2), (-1, -3, -4, -3), (9, -1, -1, -1), (1, 1, 1, 1), {}),
        ("steps", (1, 2, 2, 2), (0, 0, 0, 0), (1, 4, 5, 3), (1, 2, 3, 2), {}),
        ("backwards", (1, 3, 2, 3), (0, 3, 4, 2), (1, 0, -6, -4), (1, -1, -3, -1), {}),
        ("masks", (1, 4, 3, 3), (7, 7, 2, 7), (7, 7, 7, 7), (1, 1, 1, 1), {"endMask": 15}),
        ("backwards_masks", (1, 4, 5, 2), (0, 0, 0, 0), (1, 0, 0, 0), (1, -1, -1, -2), {}),
        ("shrink", (1, 5, 3), (0, 2, 0, 0), (1, 3, 5, 3), (1, 1, 1, 1), {"shrinkAxisMask": 2}),
        ("shrink_last", (1, 4, 5), (0, 0, 0, -1), (1, 4, 5, 0), (1,) * 4, {"shrinkAxisMask": 8}),
        ("shrink_several", (5,), (0, 3, 0, 1), (1, 4, 5, 2), (1,) * 4, {"shrinkAxisMask": 11}),
        ("ellipsis", (1, 4, 5, 2), (0, 1), (0, 3), (1, 1), {"ellipsisMask": 1}),
        ("ellipsis_inside", (1, 4, 5, 2), (0, 0, 0), (1, 0, 3), (1, 1, 2), {"ellipsisMask": 2}),
        ("ellipsis_last", (1, 2, 5, 3), (0, 1, 7), (1, 3, 7), (1, 1, 1), {"ellipsisMask": 4}),
        ("fewer_indices", (1, 2, 5, 3), (0, 1), (1, 3), (1, 1), {}),
        ("new_axis", (1, 1, 2, 5, 3), (0, 0, 1), (1, 1, 3), (1, 1, 1), {"newAxisMask": 2}),
        (
            "new_axis_ellipsis_shrink",
            (4, 5, 2, 1),
            (0, 0, 1, 0),
            (1, 0, 3, 1),
            (1, 1, 1, 1),
            {"shrinkAxisMask": 1, "ellipsisMask": 2, "newAxisMask": 8},
        ),
    ):
        begin_mask = {"masks": 11, "backwards_masks": 14}.get(name, 0)
        masks = masks | {"beginMask": begin_mask}
        if name == "backwards_masks":
            masks["endMask"] = 14
        yield (
            f"strided_slice_{name}",
            IMAGE,
            lambda b, x, p=(shape, begin, end, strides), m=masks: strided_slice(b, x, *p, **m),
        )
    yield "strided_slice_one_dimension", (9,), lambda b, x: strided_slice(b, x, (3,), [1], [8], [3])
    yield "strided_slice_cropping", (1, 6, 7, 5), lambda b, x: cropping(b, x, 1, 2, 0, 3)


def _picked():
    for axis, indices in (
        (1, [3, 0, 0, 2]),
        (2, [4, 1, 3]),
        (3, [2, 0]),
        (-1, [1, 1, 2, 0, 2]),
        (1, [[0, 2], [3, 3], [1, 0]]),
        (3, 1),
        (2, [1, 3]),
    ):
        name = f"gather_axis_{axis}_{np.ravel(indices).tolist()}".replace("-", "minus_")
        name = "".join(c if c.isalnum() else "_" for c in name)
        yield name, IMAGE, lambda b, x, p=(indices, axis): gather(b, x, *p)
    for repeats in ((1, 2, 1, 1), (1, 1, 3, 1), (1, 1, 1, 4), (1, 2, 3, 2), (2, 1, 1, 1)):
        name = f"tile_{'_'.join(map(str, repeats))}"
        yield name, IMAGE, lambda b, x, r=repeats: tile(b, x, r)
    yield "tile_five_dimensions", (1, 3, 1, 4, 5), lambda b, x: tile(b, x, (1, 1, 2, 1, 1))
    for axes in ((1,), (2,), (3,), (1, 2), (2, 3), (1, 2, 3), (-1,), (0, 1, 2, 3)):
        name = f"reverse_{'_'.join(map(str, axes))}".replace("-", "minus_")
        yield name, IMAGE, lambda b, x, a=axes: reverse(b, x, a)
    for block in (2, 3):
        shape = (1, 3, 2, 5 * block**2)
        yield f"depth_to_space_{block}", shape, lambda b, x, n=block: depth_to_space(b, x, n)
        shape = (1, 3 * block, 2 * block, 5)
        yield f"space_to_depth_{block}", shape, lambda b, x, n=block: space_to_depth(b, x, n)
    yield "transpose_five_dimensions", (2, 3, 4, 2, 3), lambda b, x: b.transpose(x, (4, 1, 3, 0, 2))
    yield (
        "transpose_six_dimensions",
        (1, 2, 3, 2, 3, 2),
        lambda b, x: b.transpose(x, (0, 1, 4, 2, 3, 5)),
    )


def _padded():
    for value in (-128, -3, 127):
        paddings = ((0, 0), (1, 2), (3, 0), (0, 1))
        yield (
            f"pad_v2_{value}".replace("-", "minus_"),
            IMAGE,
            lambda b, x, v=value, p=paddings: pad_v2(b, x, p, v),
        )
    for mode in ("REFLECT", "SYMMETRIC"):
        for label, paddings in (
            ("height_width", ((0, 0), (1, 2), (3, 0), (0, 0))),
            ("channels", ((0, 0), (0, 0), (0, 0), (2, 1))),
            ("all", ((0, 0), (3, 3), (1, 4), (1, 2))),
        ):
            name = f"mirror_pad_{mode.lower()}_{label}"
            yield name, IMAGE, lambda b, x, p=paddings, m=mode: mirror_pad(b, x, p, m)
    for width in (1, 6, 15, 16, 20):  # long and short fills and copies
        paddings = ((0, 0), (0, 1), (2, 0), (3, width))
        yield f"pad_rows_of_{width}", (1, 2, 3, width), lambda b, x, p=paddings: b.pad(x, p)
    yield (
        "pad_five_dimensions",
        (1, 2, 3, 2, 4),
        lambda b, x: b.pad(x, [(0, 1), (1, 0), (0, 2), (1, 1), (0, 0)]),
    )


SIZES = (  # before and after
    ((4, 5), (8, 10)),
    ((4, 5), (12, 15)),
    ((3, 5), (7, 9)),
    ((8, 9), (4, 3)),
    ((9, 8), (5, 7)),
    ((1, 1), (3, 4)),
    ((5, 4), (1, 1)),
    ((2, 3), (1, 17)),
    ((7, 7), (20, 11)),
    ((1, 6), (1, 13)),
)


def _resized():
    ways = ((False, False), (True, False), (False, True), (True, True))
    for nearest, (before, after), way in itertools.product((True, False), SIZES, ways):
        corners, half = way
        if corners and half and not nearest:  # the reference refuses it
            continue
        kind = "resize_nearest_neighbor" if nearest else "resize_bilinear"
        words = ["x".join(map(str, size)) for size in (before, after)]
        words += ["align_corners"] * corners + ["half_pixel_centers"] * half
        yield (
            "_".join([kind, *words]),
            (1, *before, 3),
            lambda b, x, n=nearest, s=after, w=way: resize(b, x, s, n, *w),
        )
    for channels in (1, 4, 17):
        for nearest in (True, False):
            kind = "resize_nearest_neighbor" if nearest else "resize_bilinear"
            yield (
                f"{kind}_channels_{channels}",
                (1, 5, 6, channels),
                lambda b, x, n=nearest: resize(b, x, (10, 12), n, False, True),
            )
