"""The kernels of the TensorFlow Lite half, by operator: a list each, fastest first, plain one last.

A kernel is a function te_run_NAME of kernels/NAME.c that takes a description of type te_NAME, its
inputs, its output and scratch memory. packed, what it is given, are the fields of te_NAME.
"""

from pathlib import Path

from compiler.selection import Kernel, Unfit, always
from tinyengine import packing

FOLDER = Path(__file__).resolve().parent / "kernels"
OPTIMISE = ("none", "speed")


def _kernel(name, assembly=None, **options):
    def emit(packed, place):
        place.constants.structure(f"te_{name}", f"op_{place.step.index}", packed)
        arguments = [f"&op_{place.step.index}", *place.inputs, *place.outputs, place.scratch]
        yield f"{function}({', '.join(arguments)});"

    function, path = f"te_run_{name}", assembly and FOLDER / assembly
    return Kernel(name, function, FOLDER / f"{name}.c", emit, assembly=path, **options)


def _geometry(fields):
    return {name: fields[name] for name in ("input", "output", "window", "input_zero_point")}


def _weights(fields):
    """What every function of packing.py takes first."""
    requantise = packing.Requantise(**fields["requantise"])
    return (
        fields["weights"],
        fields["bias"],
        fields["input_zero_point"],
        requantise,
    )


def _size(shape):
    return shape["height"], shape["width"]


def _pack_conv_2d_pairs(fields):
    packed = packing.pack_conv_2d_pairs(*_weights(fields), _size(fields["output"]))
    return _geometry(fields) | packed


def conv_2d_pairs_scratch(packed):
    """Expanded windows, and rows put together."""
    row = packed["window"]["width"] * packed["input"]["channels"]
    return 16 * packed["steps"] + 4 * (row + 3 & ~3)


def depthwise_conv_2d_planes_scratch(packed):
    """Rows of four channels, and zeros."""
    return 16 * (packed["window"]["height"] + 1) * packed["plane_words"]


def fully_connected_pairs_scratch(packed):
    """The expanded input."""
    return -(-packed["inputs"] // 8) * 16


def _pack_depthwise_conv_2d_planes(fields):
    if fields["multiplier"] != 1:
        raise Unfit(f"{fields['multiplier']} outputs for each channel")
    names = ("stride_y", "stride_x", "dilation_y", "dilation_x", "pad_left")
    weights, *others = _weights(fields)
    packed = packing.pack_depthwise_conv_2d_planes(
        weights[0],
        *others,
        [fields["window"][name] for name in names],
        _size(fields["input"]),
        _size(fields["output"]),
    )
    return _geometry(fields) | packed


def _behind_input(fields):
    """Whether rows of the output are written where the rows of the input are read already."""
    sizes = zip(_size(fields["input"]), _size(fields["output"]))
    window = fields["window"]
    return all(before >= after for before, after in sizes) and window["pad_top"] < window["height"]


def _pack_fully_connected_pairs(fields):
    sizes = {name: fields[name] for name in ("rows", "inputs", "outputs")}
    return sizes | packing.pack_fully_connected_pairs(*_weights(fields))


def _pack_few_pixels(fields):
    """A convolution that is a matrix product of its pixels, as rows of a FULLY_CONNECTED."""
    weights, (height, width) = fields["weights"], _size(fields["input"])
    pointwise = weights.shape[1:3] == (1, 1) and (height, width) == _size(fields["output"])
    if not pointwise:
        raise Unfit("only convolutions of 1x1 are rows of a matrix product")
    flat = weights.reshape(len(weights), -1)
    sizes = {"rows": height * width, "inputs": flat.shape[1], "outputs": flat.shape[0]}
    return _pack_fully_connected_pairs(fields | sizes | {"weights": flat})


def _pack_add_fast(fields):
    scales = [
        (fields[f"{name}_scale"]["multiplier"], fields[f"{name}_scale"]["shift"])
        for name in ("input", "other", "output")
    ]
    return {"size": fields["size"]} | packing.pack_add_fast(
        (fields["input_zero_point"], fields["other_zero_point"]),
        scales[:2],
        fields["output_zero_point"],
        scales[2],
        fields["lowest"],
        fields["highest"],
    )


FULLY_CONNECTED_PAIRS = {
    "scratch": fully_connected_pairs_scratch,
    "assembly": "fully_connected_m4.S",
}
KERNELS = {
    "ADD": (
        _kernel("add_fast", pack=_pack_add_fast, in_place=always),
        _kernel("add", in_place=always),
    ),
    "AVERAGE_POOL_2D": (_kernel("average_pool_2d"),),
    "CONV_2D": (
        _kernel(
            "conv_2d_pairs",
            "pairs_m4.S",
            pack=_pack_conv_2d_pairs,
            scratch=conv_2d_pairs_scratch,
        ),
        _kernel("fully_connected_pairs", pack=_pack_few_pixels, **FULLY_CONNECTED_PAIRS),
        _kernel("conv_2d"),
    ),
    "DEPTHWISE_CONV_2D": (
        _kernel(
            "depthwise_conv_2d_planes",
            "planes_m4.S",
            pack=_pack_depthwise_conv_2d_planes,
            scratch=depthwise_conv_2d_planes_scratch,
            in_place=_behind_input,
        ),
        _kernel("depthwise_conv_2d"),
    ),
    "FULLY_CONNECTED": (
        _kernel("fully_connected_pairs", pack=_pack_fully_connected_pairs, **FULLY_CONNECTED_PAIRS),
        _kernel("fully_connected"),
    ),
    "MEAN": (_kernel("mean"),),
    "PAD": (_kernel("pad"),),
    "QUANTIZE": (_kernel("quantize", in_place=always),),
    "SOFTMAX": (_kernel("softmax", in_place=always),),
    "TRANSPOSE": (_kernel("transpose"),),
}
