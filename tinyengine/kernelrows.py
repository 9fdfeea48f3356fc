"""The kernels of the TensorFlow Lite half, by operator: a list each, fastest first, plain one last.

A kernel is a function te_run_NAME of kernels/NAME.c that takes a description of type te_NAME, its
inputs, its output and scratch memory. packed, what it is given, are the fields of te_NAME.
"""

from pathlib import Path

import numpy as np

from compiler.graph import INT8
from compiler.selection import Kernel, Unfit, always
from tinyengine import (
    descriptions,
    gathers,
    packing,
    packing_copies,
    packing_depthwise,
    packing_pairs,
    packing_parts,
    packing_states,
    packing_winograd,
)

FOLDER = Path(__file__).resolve().parent / "kernels"
MANY_OUTPUTS = 32  # of one channel, for which it pays to lay out windows side by side
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


def _pack_conv_2d_pairs(fields):
    _one_group(fields)
    packed = packing.pack_conv_2d_pairs(*_weights(fields), _size(fields["output"]))
    return _geometry(fields) | packed


def depthwise_conv_2d_planes_scratch(packed):
    """Where the runs of each row lie that is computed at once, and rows of four channels, or of the
    only one."""
    planes = 4 if packed["input"]["channels"] > 1 else 1
    rows = 1 if packed["kept_rows"] < packed["input"]["height"] else packed["output"]["height"]
    runs = packed["window"]["height"] * packed["row_runs"] + 2
    return 4 * (rows * runs + packed["kept_rows"] * planes * packed["plane_words"])


def depthwise_conv_2d_3x3_scratch(packed):
    """Rows of four channels in pairs, and what lies in front of the first column."""
    return 4 * (packed["plane_words"] + packed["window"]["stride_x"] + 1)


def fully_connected_pairs_scratch(packed):
    """The expanded input."""
    return -(-packed["inputs"] // 8) * 16


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


def _pack_depthwise_conv_2d_planes(fields):
    several = fields["multiplier"] > 1 or fields["input"]["channels"] < 4
    if _size(fields["output"]) == (1, 1) and not several:
        raise Unfit("one output for each channel, for which expanding its inputs is too much")
    fields = packing_depthwise.trimmed(fields)
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


    packed = _pack_depthwise(fields, packing_depthwise.pack_depthwise_conv_2d_planes)
    return {"multiplier": fields["multiplier"]} | packed


def _of_one_channel(pack):
    """Of a CONV_2D of an input of one channel, which is a DEPTHWISE_CONV_2D with many outputs."""

    def packed(fields):
        outputs = fields["output"]["channels"]
        if fields["input"]["channels"] > 1 or outputs >= MANY_OUTPUTS:
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


def _pack_fully_connected_pairs(fields):
    sizes = {name: fields[name] for name in ("rows", "inputs", "outputs")}
    return sizes | packing.pack_fully_connected_pairs(*_weights(fields))


def _pack_few_pixels(fields):
    """A convolution that is a matrix product of its pixels, as rows of a FULLY_CONNECTED."""
    weights, (height, width) = fields["weights"], _size(fields["output"])
    pads = fields["window"]["pad_top"], fields["window"]["pad_left"]
    pointwise = weights.shape[1:3] == (1, 1) and _size(fields["input"]) == (height, width)
    whole = (height, width, *pads) == (1, 1, 0, 0) and weights.shape[1:3] == _size(fields["input"])
    _one_group(fields)
    if not (pointwise or whole):
        raise Unfit("neither of 1x1 nor of all pixels at once, as rows of a matrix product are")
    flat = weights.reshape(len(weights), -1)
    sizes = {"rows": height * width, "inputs": flat.shape[1], "outputs": flat.shape[0]}
    return _pack_fully_connected_pairs(fields | sizes | {"weights": flat})


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


def _pack_reduction(fields):
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
EXPAND_PAIRS = Kernel(
    "expand_pairs", "te_expand_pairs", None, None, assembly=FOLDER / "expand_pairs_m4.S"
)
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


def _pack_mean_fast(fields):
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


def _pack_extreme_of_pixels(fields):
    rows, pixels, channels = _image(fields)
    if channels < 4:
        raise Unfit(f"{channels} channels, fewer than 4")
    return {"rows": rows, "pixels": pixels, "channels": channels}


        _kernel(
            "depthwise_conv_2d_low",
            "depthwise_low_m4.S",
            pack=_pack_depthwise_conv_2d_low,
            in_place=_behind_input,
            scratch=packing_depthwise.scratch_of_low,
            uses=(EXPAND_PAIRS,),
        ),
def _pack_softmax_fast(fields):
    sizes, table = {name: fields[name] for name in ("rows", "size")}, fields["exponentials"]
    return sizes | {"entries": len(table), "exponentials": table}


def _pack_log_softmax_fast(fields):
        _kernel(
            "depthwise_conv_2d_columns",
            "depthwise_columns_m4.S",
            pack=_pack_depthwise_conv_2d_columns,
            in_place=_behind_input,
            scratch=packing_depthwise.scratch_of_columns,
            uses=(EXPAND_PAIRS,),
        ),
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
CONV_2D_PAIRS = _kernel(
    "conv_2d_pairs",
    "pairs_m4.S",
    pack=_pack_conv_2d_pairs,
    scratch=packing_parts.scratch_of_pairs,
)
FULLY_CONNECTED_PAIRS = {
    "scratch": fully_connected_pairs_scratch,
    "assembly": "fully_connected_m4.S",
}
OF_3X3 = {"assembly": "depthwise_3x3_m4.S", "scratch": depthwise_conv_2d_3x3_scratch}
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
            pack=_of_one_channel(_pack_depthwise_conv_2d_planes),
            **PLANES,
        ),
        _kernel(
            "conv_2d_winograd",
            "conv_2d_winograd_m4.S",
            pack=packing_winograd.pack_conv_2d_winograd,
            scratch=packing_winograd.scratch,
        ),
        CONV_2D_PAIRS,
        _parts(packing_parts.pack_groups),
        _kernel("fully_connected_pairs", pack=_pack_few_pixels, **FULLY_CONNECTED_PAIRS),
        _kernel("conv_2d"),
    ),
    "DEPTHWISE_CONV_2D": (
        _kernel(
            "depthwise_conv_2d_3x3",
            pack=_pack_depthwise_conv_2d_3x3,
            in_place=_behind_input,
            **OF_3X3,
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
        _kernel("fully_connected_pairs", pack=_pack_fully_connected_pairs, **FULLY_CONNECTED_PAIRS),
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
        _kernel("mean_fast", pack=_pack_mean_fast),
        _kernel("mean", pack=_pack_reduction),
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
        _kernel("reduce_max_fast", pack=_pack_extreme_of_pixels),
        _kernel("reduce_max", pack=_pack_reduction),
    ),
    "REDUCE_MIN": (
        _kernel("reduce_min_fast", pack=_pack_extreme_of_pixels),
        _kernel("reduce_min", pack=_pack_reduction),
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
