"""The kernels of the TensorFlow Lite half, by operator: a list each, fastest first, plain one last.

A kernel is a function te_run_NAME of kernels/NAME.c that takes a description of type te_NAME, its
inputs, its output and scratch memory. packed, what it is given, are the fields of te_NAME.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from compiler.selection import Kernel, Unfit, always
from tinyengine import (
    packing,
    packing_copies,
    packing_depthwise,
    packing_pairs,
    packing_parts,
    packing_reductions,
    packing_states,
    packing_winograd,
)

FOLDER = Path(__file__).resolve().parent / "kernels"
# Outputs of one channel for which it pays to lay out windows side by side: of 3x3; of others, on
# padding and without.
MANY_OUTPUTS, MANY_OF_PADDED, MANY_INSIDE = 32, 16, 4
LARGEST_AVERAGE = 256  # values of a window whose sums fit int16
OPTIMISE = ("none", "speed")
WINDOW = ("stride_y", "stride_x", "dilation_y", "dilation_x", "pad_top", "pad_left")


def _kernel(name, assembly=None, **options):
    def emit(packed, place):
        inputs, packed = _inputs(packed, place)
        place.constants.structure(f"te_{name}", f"op_{place.step.index}", packed)
        outputs = [name for name in place.outputs if name not in inputs]  # a state is both
        arguments = [f"&op_{place.step.index}", *inputs, *outputs, place.scratch]
        yield f"{function}({', '.join(arguments)});"

    function, path = f"te_run_{name}", assembly and FOLDER / assembly
    return Kernel(name, function, FOLDER / f"{name}.c", emit, assembly=path, **options)


def _copying(name, pack, **options):
    """A kernel that is called several times, each time with a part of its inputs or outputs."""

    def emit(packed, place):
        inputs, packed = _inputs(packed, place)
        there = {place.inputs[n] for n in place.parts}  # in the output already
        names = {}  # of descriptions, each content once
        for number, call in enumerate(packed["calls"]):
            if inputs[call["source"][0]] in there:
                yield f"(void){inputs[call['source'][0]]}; /* lies there already */"
                continue
            content = str(call["op"])
            if content not in names:
                names[content] = f"op_{place.step.index}_{number}"
                place.constants.structure(f"te_{name}", names[content], call["op"])
            ends = zip((inputs, place.outputs), (call["source"], call["target"]))
            source, target = (
                f"{tensors[i]} + {at}" if at else tensors[i] for tensors, (i, at) in ends
            )
            yield f"{function}(&{names[content]}, {source}, {target}, {place.scratch});"

    function = f"te_run_{name}"
    return Kernel(name, function, FOLDER / f"{name}.c", emit, pack, **options)


def _places(fields):
    """{number of an input: where it lies in the output}, if each is one block there."""
    computed = [p for p, c in zip(fields["parts"], fields["constants"]) if c is None]
    return {n: part["offset"] for n, part in enumerate(computed) if fields["rows"] == 1}


def _inputs(packed, place):
    """The C names of a kernel's inputs, constants among them, and what is packed besides these.

    constants: by input, None for what is computed.
    """
    if "constants" not in packed:
        return place.inputs, packed
    computed, name = iter(place.inputs), f"op_{place.step.index}_input"
    inputs = [
        next(computed) if values is None else place.constants.array(f"{name}_{i}", values)
        for i, values in enumerate(packed["constants"])
    ]
    return inputs, {key: value for key, value in packed.items() if key != "constants"}


def _parts(pack):
    """A kernel that is called once for each convolution of which an operator is made."""

    def emit(packed, place):
        for number, part in enumerate(packed["parts"]):
            name = f"op_{place.step.index}_{number}"
            place.constants.structure("te_conv_2d_part", name, part)
            arguments = [f"&{name}", *place.inputs, *place.outputs, place.scratch]
            yield f"te_run_conv_2d_part({', '.join(arguments)});"

    return Kernel(
        "conv_2d_part",
        "te_run_conv_2d_part",
        FOLDER / "conv_2d_part.c",
        emit,
        pack,
        packing_parts.scratch,
        uses=(CONV_2D_PAIRS,),
    )


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


def _one_group(fields):
    if fields["groups"] > 1:
        raise Unfit(f"{fields['groups']} groups of channels")


def _product(name):
    """A kernel of CONV_2D that is a matrix product."""

    def pack(fields):
        _one_group(fields)
        packed = packing.pack_product(*_weights(fields), _size(fields["output"]), name)
        return _in_one_row(_geometry(fields)) | packed

    return _kernel(name, "pairs_m4.S", pack=pack, scratch=packing_parts.scratch_of_pairs)


def _in_one_row(geometry):
    """The same, with all pixels side by side where each output needs one input, in their order."""
    window, size = geometry["window"], _size(geometry["input"])
    taps = window["height"], window["width"], window["pad_top"], window["pad_left"]
    if taps != (1, 1, 0, 0) or size != _size(geometry["output"]):
        return geometry
    row = {"height": 1, "width": size[0] * size[1]}
    return geometry | {name: geometry[name] | row for name in ("input", "output")}


def depthwise_conv_2d_planes_scratch(packed):
    """Where the runs of each row lie that is computed at once, and rows of four channels, or of the
    only one."""
    planes = 4 if packed["input"]["channels"] > 1 else 1
    rows = 1 if packed["kept_rows"] < packed["input"]["height"] else packed["output"]["height"]
    runs = packed["window"]["height"] * packed["row_runs"] + 2
    return 4 * (rows * runs + packed["kept_rows"] * planes * packed["plane_words"])


def depthwise_conv_2d_3x3_scratch(packed):
    """Outputs of four channels of two rows, rows of these in pairs, and what lies in front of the
    first column."""
    staged = 2 * packed["output"]["width"]
    return 4 * (staged + packed["plane_words"] + packed["window"]["stride_x"] + 1)


def _pack_depthwise(fields, pack):
    """pack: of packing_depthwise."""
    weights, *others = _weights(fields)
    window = [fields["window"][name] for name in WINDOW]
    sizes = _size(fields["input"]), _size(fields["output"])
    return _geometry(fields) | pack(weights[0], *others, window, *sizes)


def _pack_depthwise_conv_2d_3x3(fields):
    if fields["weights"].shape[1:3] != (3, 3):
        fields = packing_depthwise.trimmed(fields)
    fields = packing_depthwise.exchange(fields)
    packed = _pack_depthwise(fields, packing_depthwise.pack_depthwise_conv_2d_3x3)
    return {name: fields[name] for name in ("multiplier", "exchanged")} | packed


def _pack_depthwise_conv_2d_low(fields):
    if fields["multiplier"] > 1 or fields["input"]["channels"] < 4:
        raise Unfit
    fields = packing_depthwise.exchange(fields)
    packed = _pack_depthwise(fields, packing_depthwise.pack_depthwise_conv_2d_low)
    geometry = {"shape": packed.pop("input"), "exchanged": fields["exchanged"]}
    return geometry | {k: v for k, v in packed.items() if k not in ("output", "window")}


def _pack_depthwise_conv_2d_columns(fields):
    if fields["multiplier"] > 1 or fields["input"]["channels"] < 4:
        raise Unfit
    fields = packing_depthwise.trimmed(fields)
    packed = _pack_depthwise(fields, packing_depthwise.pack_depthwise_conv_2d_columns)
    packed["window"] = packed["window"] | {"height": packed.pop("height")}
    return packed


def _pack_depthwise_conv_2d_planes(fields):
    several = fields["multiplier"] > 1 or fields["input"]["channels"] < 4
    if _size(fields["output"]) == (1, 1) and not several:
        raise Unfit("one output for each channel, for which expanding its inputs is too much")
    fields = packing_depthwise.trimmed(fields)
    packed = _pack_depthwise(fields, packing_depthwise.pack_depthwise_conv_2d_planes)
    return {"multiplier": fields["multiplier"]} | packed


def _of_one_channel(pack, padded=MANY_OUTPUTS, inside=MANY_OUTPUTS):
    """Of a CONV_2D of one input channel, which is a DEPTHWISE_CONV_2D with several outputs: fewer
    than `padded`, or than `inside` where no window reads padding in front."""

    def packed(fields):
        outputs, window = fields["output"]["channels"], fields["window"]
        many = padded if window["pad_top"] + window["pad_left"] else inside
        if fields["input"]["channels"] > 1 or outputs >= many:
            raise Unfit
        weights = fields["weights"].transpose(3, 1, 2, 0)
        return pack(fields | {"weights": weights, "multiplier": outputs})

    return packed


def _pack_depthwise_conv_2d_taps(fields):
    if fields["multiplier"] != 1 or fields["input"]["channels"] < 4:
        raise Unfit("less than four channels with an output each")
    weights, *others = _weights(fields)
    packed = packing_depthwise.pack_depthwise_conv_2d_taps(weights[0], *others)
    return _geometry(fields) | packed


def _behind_input(fields):
    """Whether rows of the output are written where the rows of the input are read already."""
    sizes = zip(_size(fields["input"]), _size(fields["output"]))
    window = fields["window"]
    return (
        fields["multiplier"] == 1
        and all(before >= after for before, after in sizes)
        and window["pad_top"] < window["height"]
    )


def _of_rows(kernel):
    """Of a FULLY_CONNECTED, as a convolution of 1x1: each row is a pixel."""

    def pack(fields):
        return kernel.pack(fields | _as_convolution(fields))

    return replace(kernel, pack=pack)


def _as_convolution(fields):
    inputs, outputs = fields["inputs"], fields["outputs"]
    pixels = {"height": 1, "width": fields["rows"]}
    steps = dict.fromkeys(("stride_y", "stride_x", "dilation_y", "dilation_x"), 1)
    return {
        "groups": 1,
        "input": pixels | {"channels": inputs},
        "output": pixels | {"channels": outputs},
        "window": {"height": 1, "width": 1} | steps | {"pad_top": 0, "pad_left": 0},
        "weights": fields["weights"].reshape(outputs, 1, 1, inputs),
    }


def _before_input(fields):
    """Whether each pixel of the output lies at or in front of the first one that its window reads,
    so that in place no later window reads it."""
    window, (_, input_width) = fields["window"], _size(fields["input"])
    places = np.indices(_size(fields["output"]))
    pads = ((window["pad_top"], window["stride_y"]), (window["pad_left"], window["stride_x"]))
    first = [np.maximum(i * stride - pad, 0) for i, (pad, stride) in zip(places, pads)]
    written = places[0] * fields["output"]["width"] + places[1]
    return bool(np.all(written <= first[0] * input_width + first[1]))


def _pack_max_pool_2d_fast(fields):
    if fields["input"]["channels"] < 4:
        raise Unfit(f"{fields['input']['channels']} channels, fewer than 4")
    return fields


def _pack_average_pool_2d_fast(fields):
    count = fields["window"]["height"] * fields["window"]["width"]
    if count > LARGEST_AVERAGE:
        raise Unfit(f"a window of {count} values, more than {LARGEST_AVERAGE}")
    return fields


def _pack_lookup(fields):
    return {"size": fields["size"], "table": fields["bytes"]}


def _pack_softmax_fast(fields):
    sizes, table = {name: fields[name] for name in ("rows", "size")}, fields["exponentials"]
    return sizes | {"entries": len(table), "exponentials": table}


def _pack_log_softmax_fast(fields):
    table = fields["exponentials"]
    return {"log": _pack_softmax(fields), "entries": len(table), "exponentials": table}


def _pack_softmax(fields):
    return {name: value for name, value in fields.items() if name != "exponentials"}


def _no_larger_than_int16(fields):
    return fields["output_bytes"] <= 2


def _pair(fields):
    """Of a plain kernel of two operands. All of them work in place: an operand of the output's size
    is repeated nowhere, so each value is read when, or before, another takes its place."""
    return {name: value for name, value in fields.items() if name != "table"}


GATHERED = (
    *("TRANSPOSE", "REVERSE_V2", "SLICE", "STRIDED_SLICE", "GATHER", "TILE", "MIRROR_PAD"),
    *("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESIZE_NEAREST_NEIGHBOR"),
)
CONV_2D_PAIRS = _product("conv_2d_pairs")
PRODUCTS = _product("conv_2d_threes"), _product("conv_2d_pixels"), CONV_2D_PAIRS
OF_3X3 = {"assembly": "depthwise_3x3_m4.S", "scratch": depthwise_conv_2d_3x3_scratch}
EXPAND_PAIRS = Kernel(
    "expand_pairs", "te_expand_pairs", None, None, assembly=FOLDER / "expand_pairs_m4.S"
)
PLANES = {"assembly": "planes_m4.S", "scratch": depthwise_conv_2d_planes_scratch}
LOOKUPS = ("ABS", "EXP", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG", "LOGISTIC", "NEG", "QUANTIZE")
LOOKUPS += ("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "RSQRT", "SQRT", "TANH")
KERNELS = {
    **dict.fromkeys(LOOKUPS, (_kernel("lookup", pack=_pack_lookup, in_place=always),)),
    "ADD": (
        _kernel("sum_linear", pack=packing_pairs.pack_add_linear, in_place=always),
        _kernel("sum_fast", pack=packing_pairs.pack_sum_fast, in_place=always),
        _kernel("add", pack=_pair, in_place=always),
    ),
    "AVERAGE_POOL_2D": (
        _kernel("average_pool_2d_fast", pack=_pack_average_pool_2d_fast, in_place=_before_input),
        _kernel("average_pool_2d", in_place=_before_input),
    ),
    "CONV_2D": (
        _kernel(
            "depthwise_conv_2d_3x3", pack=_of_one_channel(_pack_depthwise_conv_2d_3x3), **OF_3X3
        ),
        _kernel(
            "depthwise_conv_2d_planes",
            pack=_of_one_channel(_pack_depthwise_conv_2d_planes, MANY_OF_PADDED, MANY_INSIDE),
            **PLANES,
        ),
        _kernel(
            "conv_2d_winograd",
            "conv_2d_winograd_m4.S",
            pack=packing_winograd.pack_conv_2d_winograd,
            scratch=packing_winograd.scratch,
        ),
        *PRODUCTS,
        _parts(packing_parts.pack_groups),
        _kernel("conv_2d"),
    ),
    "DEPTHWISE_CONV_2D": (
        _kernel(
            "depthwise_conv_2d_low",
            "depthwise_low_m4.S",
            pack=_pack_depthwise_conv_2d_low,
            in_place=_behind_input,
            scratch=packing_depthwise.scratch_of_low,
            uses=(EXPAND_PAIRS,),
        ),
        _kernel(
            "depthwise_conv_2d_3x3",
            pack=_pack_depthwise_conv_2d_3x3,
            in_place=_behind_input,
            **OF_3X3,
        ),
        _kernel(
            "depthwise_conv_2d_columns",
            "depthwise_columns_m4.S",
            pack=_pack_depthwise_conv_2d_columns,
            in_place=_behind_input,
            scratch=packing_depthwise.scratch_of_columns,
            uses=(EXPAND_PAIRS,),
        ),
        _kernel(
            "depthwise_conv_2d_planes",
            pack=_pack_depthwise_conv_2d_planes,
            in_place=_behind_input,
            **PLANES,
        ),
        _kernel("depthwise_conv_2d_taps", pack=_pack_depthwise_conv_2d_taps),
        _kernel("depthwise_conv_2d"),
    ),
    "FULLY_CONNECTED": (
        *map(_of_rows, PRODUCTS),
        _kernel("fully_connected"),
    ),
    "MAXIMUM": (
        _kernel("maximum_fast", pack=packing_pairs.pack_extreme_fast, in_place=always),
        _kernel("maximum", pack=_pair, in_place=always),
    ),
    "MAX_POOL_2D": (
        _kernel("max_pool_2d_fast", pack=_pack_max_pool_2d_fast, in_place=_before_input),
        _kernel("max_pool_2d", in_place=_before_input),
    ),
    "MEAN": (
        _kernel("mean_fast", pack=packing_reductions.pack_mean_fast),
        _kernel("mean", pack=packing_reductions.pack_reduction),
    ),
    "MINIMUM": (
        _kernel("minimum_fast", pack=packing_pairs.pack_extreme_fast, in_place=always),
        _kernel("minimum", pack=_pair, in_place=always),
    ),
    "MUL": (
        _kernel("mul_linear", pack=packing_pairs.pack_mul_linear, in_place=always),
        _kernel("mul_fast", pack=packing_pairs.pack_mul_fast, in_place=always),
        _kernel("mul", pack=_pair, in_place=always),
    ),
    **dict.fromkeys(("PAD", "PADV2"), (_kernel("pad", pack=packing_copies.pack_pad),)),
    "PRELU": (
        _kernel("prelu_fast", pack=packing_pairs.pack_prelu_fast, in_place=always),
        _kernel("prelu", pack=_pair, in_place=always),
    ),
    "REDUCE_MAX": (
        _kernel("reduce_max_fast", pack=packing_reductions.pack_extreme_of_pixels),
        _kernel("reduce_max", pack=packing_reductions.pack_reduction),
    ),
    "REDUCE_MIN": (
        _kernel("reduce_min_fast", pack=packing_reductions.pack_extreme_of_pixels),
        _kernel("reduce_min", pack=packing_reductions.pack_reduction),
    ),
    "LOG_SOFTMAX": (
        _kernel("log_softmax_fast", pack=_pack_log_softmax_fast, in_place=always),
        _kernel("log_softmax", pack=_pack_softmax, in_place=always),
    ),
    "SOFTMAX": (
        _kernel("softmax_fast", pack=_pack_softmax_fast, in_place=always),
        _kernel("softmax", pack=_pack_softmax, in_place=always),
    ),
    "TRANSPOSE_CONV": (_parts(packing_parts.pack_transpose_conv), _kernel("transpose_conv")),
    "SQUARED_DIFFERENCE": (
        _kernel(
            "squared_difference_fast", pack=packing_pairs.pack_difference_fast, in_place=always
        ),
        _kernel("squared_difference", pack=_pair, in_place=always),
    ),
    "SUB": (
        _kernel("sum_linear", pack=packing_pairs.pack_sub_linear, in_place=always),
        _kernel("sum_fast", pack=packing_pairs.pack_difference_fast, in_place=always),
        _kernel("sub", pack=_pair, in_place=always),
    ),
    "QUANTIZE_INT16": (
        _kernel(
            "quantize_int16_fast",
            pack=packing_states.pack_quantize_int16_fast,
            in_place=_no_larger_than_int16,
        ),
        _kernel("quantize_int16", in_place=_no_larger_than_int16),
    ),
    "SOFTMAX_INT16": (_kernel("softmax_int16"),),
    "SVDF": (
        _kernel(
            "svdf_fast", pack=packing_states.pack_svdf_fast, scratch=packing_states.svdf_scratch
        ),
        _kernel("svdf"),
    ),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        _kernel(
            "unidirectional_sequence_lstm_fast",
            pack=packing_states.pack_lstm_fast,
            scratch=packing_states.lstm_scratch,
        ),
        _kernel("unidirectional_sequence_lstm"),
    ),
    "RESIZE_BILINEAR": (_kernel("resize_bilinear"),),
    **dict.fromkeys(
        GATHERED,
        (
            _copying("copy_rows", packing_copies.pack_rows_of_gather),
            _copying("gather", packing_copies.pack_gather),
        ),
    ),
    **dict.fromkeys(
        ("READ_VARIABLE", "ASSIGN_VARIABLE"), (_copying("copy_rows", packing_copies.pack_all),)
    ),
    **dict.fromkeys(
        ("CONCATENATION", "PACK"),
        (_copying("copy_rows", packing_copies.pack_join, parts=_places),),
    ),
    **dict.fromkeys(
        ("SPLIT", "SPLIT_V", "UNPACK"), (_copying("copy_rows", packing_copies.pack_split),)
    ),
}
