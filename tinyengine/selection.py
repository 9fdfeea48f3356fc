"""Which kernel executes each operator: of each kind a list, the fastest first, the plain one last.

A kernel is a function te_run_NAME of kernels/NAME.c that takes a description of type te_NAME.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tinyengine import packing

KERNELS = Path(__file__).resolve().parent / "kernels"


@dataclass(frozen=True)
class Kernel:
    """te_run_NAME.

    pack: an operator's attributes -> the fields of te_NAME; raises `packing.Unfit` with the reason
    if the kernel could not be exact for them. scratch: fields -> bytes of scratch memory. in_place:
    attributes -> whether the output may be the memory of an input. assembly: a file that it uses
    on the cores that it is for.
    """

    name: str
    pack: Callable = lambda attributes: attributes
    scratch: Callable = lambda fields: 0
    in_place: Callable = lambda attributes: False
    assembly: str = ""


@dataclass(frozen=True)
class Choice:
    """The kernel for an operator. fields: of its description. skipped: why not a faster one."""

    kernel: Kernel
    fields: dict
    skipped: tuple = ()

    @property
    def scratch(self):
        return self.kernel.scratch(self.fields)


def _always(attributes):
    return True


PLAIN = {
    "ADD": Kernel("add", in_place=_always),
    "AVERAGE_POOL_2D": Kernel("average_pool_2d"),
    "CONV_2D": Kernel("conv_2d"),
    "DEPTHWISE_CONV_2D": Kernel("depthwise_conv_2d"),
    "FULLY_CONNECTED": Kernel("fully_connected"),
    "MEAN": Kernel("mean"),
    "PAD": Kernel("pad"),
    "QUANTIZE": Kernel("quantize", in_place=_always),
    "SOFTMAX": Kernel("softmax", in_place=_always),
    "TRANSPOSE": Kernel("transpose"),
}


def _geometry(attributes):
    return {name: attributes[name] for name in ("input", "output", "window", "input_zero_point")}


def _weights(attributes):
    """What every function of packing.py takes first."""
    requantise = packing.Requantise(**attributes["requantise"])
    return (
        attributes["weights"],
        attributes["bias"],
        attributes["input_zero_point"],
        requantise,
    )


def _size(shape):
    return shape["height"], shape["width"]


def _pack_conv_2d_pairs(attributes):
    fields = packing.pack_conv_2d_pairs(*_weights(attributes), _size(attributes["output"]))
    return _geometry(attributes) | fields


def _conv_2d_pairs_scratch(fields):
    width, channels = fields["window"]["width"], fields["input"]["channels"]
    return packing.conv_2d_pairs_scratch(fields["steps"], width, channels)


def _depthwise_conv_2d_planes_scratch(fields):
    height = fields["window"]["height"]
    return packing.depthwise_conv_2d_planes_scratch(height, fields["plane_words"])


def _fully_connected_pairs_scratch(fields):
    return packing.fully_connected_pairs_scratch(fields["inputs"])


def _pack_depthwise_conv_2d_planes(attributes):
    if attributes["multiplier"] != 1:
        raise packing.Unfit(f"{attributes['multiplier']} outputs for each channel")
    names = ("stride_y", "stride_x", "dilation_y", "dilation_x", "pad_left")
    weights, *others = _weights(attributes)
    fields = packing.pack_depthwise_conv_2d_planes(
        weights[0],
        *others,
        [attributes["window"][name] for name in names],
        _size(attributes["input"]),
        _size(attributes["output"]),
    )
    return _geometry(attributes) | fields


def _behind_input(attributes):
    """Whether rows of the output are written where the rows of the input are read already."""
    sizes = zip(_size(attributes["input"]), _size(attributes["output"]))
    window = attributes["window"]
    return all(before >= after for before, after in sizes) and window["pad_top"] < window["height"]


def _pack_fully_connected_pairs(attributes):
    sizes = {name: attributes[name] for name in ("rows", "inputs", "outputs")}
    return sizes | packing.pack_fully_connected_pairs(*_weights(attributes))


def _pack_few_pixels(attributes):
    """A convolution that is a matrix product of its pixels, as rows of a FULLY_CONNECTED."""
    weights, (height, width) = attributes["weights"], _size(attributes["input"])
    pointwise = weights.shape[1:3] == (1, 1) and (height, width) == _size(attributes["output"])
    if not pointwise:
        raise packing.Unfit("only convolutions of 1x1 are rows of a matrix product")
    flat = weights.reshape(len(weights), -1)
    sizes = {"rows": height * width, "inputs": flat.shape[1], "outputs": flat.shape[0]}
    return _pack_fully_connected_pairs(attributes | sizes | {"weights": flat})


def _pack_add_fast(attributes):
    scales = [
        (attributes[f"{name}_scale"]["multiplier"], attributes[f"{name}_scale"]["shift"])
        for name in ("input", "other", "output")
    ]
    return {"size": attributes["size"]} | packing.pack_add_fast(
        (attributes["input_zero_point"], attributes["other_zero_point"]),
        scales[:2],
        attributes["output_zero_point"],
        scales[2],
        attributes["lowest"],
        attributes["highest"],
    )


FULLY_CONNECTED_PAIRS = {
    "name": "fully_connected_pairs",
    "scratch": _fully_connected_pairs_scratch,
    "assembly": "fully_connected_m4.S",
}
FAST = {
    "ADD": (Kernel("add_fast", _pack_add_fast, in_place=_always),),
    "CONV_2D": (
        Kernel("conv_2d_pairs", _pack_conv_2d_pairs, _conv_2d_pairs_scratch, assembly="pairs_m4.S"),
        Kernel(pack=_pack_few_pixels, **FULLY_CONNECTED_PAIRS),
    ),
    "DEPTHWISE_CONV_2D": (
        Kernel(
            "depthwise_conv_2d_planes",
            _pack_depthwise_conv_2d_planes,
            _depthwise_conv_2d_planes_scratch,
            _behind_input,
            "planes_m4.S",
        ),
    ),
    "FULLY_CONNECTED": (Kernel(pack=_pack_fully_connected_pairs, **FULLY_CONNECTED_PAIRS),),
}
OPTIMISE = {"none": {}, "speed": FAST}


def choose(graph, optimise="speed"):
    """The `Choice` for each operator of a lowered graph. optimise: one of OPTIMISE."""
    return [_choose(operator, OPTIMISE[optimise]) for operator in graph.operators]


def _choose(operator, fast):
    skipped = []
    for kernel in (*fast.get(operator.kind, ()), PLAIN[operator.kind]):
        try:
            return Choice(kernel, kernel.pack(operator.attributes), tuple(skipped))
        except packing.Unfit as reason:
            skipped.append(f"{kernel.name}: {reason}")
    raise AssertionError("a plain kernel takes everything")


def sources(choices):
    """The C files of the chosen kernels."""
    return [KERNELS / f"{name}.c" for name in sorted({choice.kernel.name for choice in choices})]


def assembly(choices):
    """The files of assembly that they use on a Cortex-M4."""
    names = {choice.kernel.assembly for choice in choices} - {""}
    return [KERNELS / name for name in sorted(names)]
