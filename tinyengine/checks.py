"""What a model must keep so that the compiler can take it, and so that TensorFlow Lite takes it.

What is wrong comes in two kinds. A model that no converter writes and TensorFlow Lite refuses is
damaged: ValueError, of the first fault. What is only not supported is collected in a `Missing`, so
that one message names all of it.
"""

import math
from collections import Counter

import numpy as np

from compiler.graph import DTYPES, STATE
from tinyengine.families.variables import MOVES
from tinyengine.operators import KINDS

FLOAT_EDGES = {"QUANTIZE": False, "DEQUANTIZE": True}  # float input; float output
assert FLOAT_EDGES.keys() <= KINDS.keys()
QUANTISED = ("int8", "uint8", "int16")
DIMENSIONS = 4  # of weights, which biases may name as theirs
LARGEST = 1 << 26  # elements of a tensor: more is a damaged file, or nothing for a microcontroller
WINDOW, LARGEST_STEP = ("stride_", "dilation_", "window_"), 2**15 - 1
WITH_DIMENSIONS = {"SOFTMAX", "LOG_SOFTMAX"}  # whose input is no single value
WITH_INT64 = {"PAD", "PADV2", "MIRROR_PAD", "SLICE", "GATHER", "TILE"}
WITH_LISTS = {"REVERSE_V2", "TRANSPOSE", "SLICE", "STRIDED_SLICE"}  # whose constants are lists
BIAS_DIFFERENCE = 0.02  # of a FULLY_CONNECTED, in steps of its output: more is refused by all
NEWEST = 14  # no operator has a later version
VERSIONS = {  # of operators: the newest that TensorFlow Lite knows
    **dict.fromkeys(("ADD_N", "ASSIGN_VARIABLE", "CALL_ONCE", "COS", "CUMSUM", "EXPAND_DIMS"), 1),
    **dict.fromkeys(("FLOOR", "HARD_SWISH", "NEG", "POW", "PRELU", "RANK", "READ_VARIABLE"), 1),
    **dict.fromkeys(("RELU_0_TO_1", "RELU_N1_TO_1", "RESHAPE", "SHAPE", "SIN", "SQUARE"), 1),
    **dict.fromkeys(("VAR_HANDLE",), 1),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN", "DEPTH_TO_SPACE", "DIV", "EXP"), 2),
    **dict.fromkeys(("L2_NORMALIZATION", "LEAKY_RELU", "LOG", "LOG_SOFTMAX", "REDUCE_PROD"), 2),
    **dict.fromkeys(("SELECT_V2", "SIGN", "SPACE_TO_DEPTH", "SQRT", "SQUARED_DIFFERENCE"), 2),
    **dict.fromkeys(("SQUEEZE", "SUM"), 2),
    **dict.fromkeys(("AVERAGE_POOL_2D", "GELU", "LOGISTIC", "MAX_POOL_2D", "MEAN"), 3),
    **dict.fromkeys(("MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RSQRT"), 3),
    **dict.fromkeys(("SPLIT_V", "TANH", "TILE"), 3),
    **dict.fromkeys(("BATCH_MATMUL", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "MAXIMUM"), 4),
    **dict.fromkeys(("MINIMUM", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2"), 4),
    **dict.fromkeys(("SOFTMAX", "SPACE_TO_BATCH_ND", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"), 4),
    **dict.fromkeys(("ABS", "FILL", "PACK", "SPLIT", "SUB", "TRANSPOSE_CONV"), 5),
    **dict.fromkeys(("ADD", "PAD", "PADV2", "QUANTIZE", "UNPACK"), 6),
    **dict.fromkeys(("CONCATENATION", "DEPTHWISE_CONV_2D"), 7),
    **dict.fromkeys(("CONV_2D", "GATHER", "MUL", "SLICE", "STRIDED_SLICE"), 8),
    **dict.fromkeys(("CAST", "DEQUANTIZE", "TRANSPOSE"), 9),
}


class Missing:
    """What a model needs and the compiler does not have."""

    def __init__(self):
        self.operators, self.types, self.places = Counter(), {}, {}

    def __bool__(self):
        return bool(self.operators or self.types or self.places)

    def type(self, what, tensor):
        """Tensors of a type, as "float32 activations"."""
        self.types.setdefault(what, set()).add(tensor)

    def place(self, words, name=None):
        """What holds of an operator with that name, or of the model."""
        names = self.places.setdefault(words, [])
        if name and name not in names:
            names.append(name)

    def __str__(self):
        parts = [", ".join(f"{kind} ({count})" for kind, count in self.operators.items())]
        for what, tensors in self.types.items():
            parts.append(f"{what} ({len(tensors)} tensor{'s' * (len(tensors) > 1)})")
        for words, names in self.places.items():
            parts.append(f"{words} ({', '.join(names)})" if names else words)
        if self.operators:
            parts.append(f"supported are: {', '.join(KINDS)}")
        if "float32 activations" in self.types:
            parts.append("convert with full integer quantisation")
        return "not supported: " + "; ".join(part for part in parts if part)


def check_version(kind, version):
    """Of an operator's code. Raises ValueError for one that TensorFlow Lite does not know."""
    newest = VERSIONS.get(kind, NEWEST)
    if not 1 <= version <= newest:
        raise ValueError(f"{kind} of version {version}; there are 1 to {newest}")


def check_quantisation(scales, zero_points, axis, shape, constant):
    """Raises ValueError for what TensorFlow Lite refuses in any tensor, read or not.

    axis: along which there is a scale each. Biases may have that of their weights, as those of
    TensorFlow Lite Micro's models; their only dimension is meant.
    """
    if scales != zero_points:
        raise ValueError(f"{scales} scales and {zero_points} zero points")
    if constant and len(shape) == 1 and 0 <= axis < DIMENSIONS:
        axis = 0
    if axis < 0 or (shape and axis >= len(shape)):
        raise ValueError(f"scales along dimension {axis} of {len(shape)}")
    if scales != 1 and shape and scales != shape[axis]:
        raise ValueError(f"{scales} scales for {shape[axis]} along dimension {axis}")


def check(graph, faults, unknown, missing):
    """Adds to `missing` what the compiler cannot take. Raises ValueError for a damaged model.

    faults: {index of a tensor: what is wrong with it}, if an operator reads or writes it. unknown:
    what is written by operators that are not supported.
    """
    _check_ends(graph, missing)
    written = set(graph.inputs)
    for operator in graph.operators:
        for i in {*operator.inputs, *operator.outputs} & faults.keys():
            raise ValueError(f"tensor {i} {faults[i]}")
        _check_inputs(graph, operator, written, unknown, missing)
        _check_activations(graph, operator, unknown, missing)
        for i in graph.activations(operator):
            if i not in written | unknown and graph.tensors[i].storage != STATE:
                raise ValueError(f"{operator.name} reads tensor {i} too early")
        for i in operator.outputs:
            if i in written and graph.tensors[i].storage == STATE:
                missing.place("a variable that is assigned twice", operator.name)
            elif i in written or graph.tensors[i].data is not None:
                raise ValueError(f"tensor {i} is written twice")
            written.add(i)
        written.update(operator.inputs[place] for place in KINDS[operator.kind].variables)
        for what, value in operator.attributes.items():
            if what.startswith(WINDOW) and value > LARGEST_STEP:
                raise ValueError(f"{operator.name}: {what} {value}")
        if operator.kind in WITH_LISTS:
            for i in operator.inputs[1:]:
                if len(graph.tensors[i].shape) != 1:
                    raise ValueError(f"{operator.name}: tensor {i} is no list")
        if operator.kind in WITH_DIMENSIONS and not graph.tensors[operator.inputs[0]].shape:
            raise ValueError(f"{operator.name} of a single value")
        if operator.kind == "RESHAPE":
            _check_reshape(graph, operator)
        if operator.kind == "FULLY_CONNECTED":
            _check_bias_scale(graph, operator)
    if any(graph.tensors[i].data is None for i in {*graph.outputs} - written - unknown):
        raise ValueError("nothing writes the model's output")


def _check_ends(graph, missing):
    """The model's inputs and outputs."""
    for what, found in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        if not found:
            missing.place(f"a model without {what}")
        if len(set(found)) < len(found):
            missing.place(f"one tensor as two of the model's {what}")
        if any(graph.tensors[i].data is not None for i in found):
            missing.place(f"constants among the model's {what}")
    if set(graph.inputs) & set(graph.outputs):
        missing.place("an input of the model that is also its output")


def _check_inputs(graph, operator, written, unknown, missing):
    """Which inputs are there, and which of them are constants, or variables."""
    known = KINDS[operator.kind]
    for place, i in enumerate(operator.inputs):
        if i < 0:
            if place in known.optional:
                continue
            if place < known.inputs[0] or known.weights_axis is None:  # only a bias may be absent
                raise ValueError(f"{operator.name} lacks input {place}")
            continue
        tensor = graph.tensors[i]
        if place in known.either and tensor.data is not None:
            if tensor.dtype not in known.dtypes:
                missing.type(f"{tensor.dtype} constants", i)
            elif tensor.dtype in QUANTISED:
                _check_scale(tensor, i, missing)
        elif place in known.constants and tensor.data is None and i not in unknown:
            missing.place(f"an input {place} that is no constant", operator.name)
        elif place not in known.constants and tensor.data is not None:
            missing.place(f"an input {place} that is a constant", operator.name)
        elif place in known.variables and tensor.storage != STATE:
            raise ValueError(f"{operator.name} has an input {place} that is no variable")
        elif place in known.variables and i in written:
            missing.place("a variable that several operators write", operator.name)
        elif known.weights_axis is not None or known.variables:  # looks at the types itself
            continue
        elif place in known.constants and tensor.dtype not in _integers(operator.kind):
            missing.place(f"an input {place} of type {tensor.dtype}", operator.name)
    if known.either and not graph.activations(operator):
        missing.place("nothing but constants as inputs", operator.name)


def _integers(kind):
    """Types of the constants of operators without weights."""
    return ("int32", "int64") if kind in WITH_INT64 else ("int32",)


def _check_activations(graph, operator, unknown, missing):
    """Types and scales of what an operator reads and writes."""
    known = KINDS[operator.kind]
    types, variables = known.dtypes, {operator.inputs[place] for place in known.variables}
    for i in [*graph.activations(operator), *operator.outputs]:
        tensor = graph.tensors[i]
        if tensor.dtype == "float32" and FLOAT_EDGES.get(operator.kind) == (i in operator.outputs):
            continue
        if i in unknown and tensor.dtype not in (*QUANTISED, "float32"):
            continue  # as a shape, which might be computed when the model is compiled
        if tensor.dtype not in types:
            missing.type(f"{tensor.dtype} activations", i)
        elif tensor.storage == STATE and i not in variables and operator.kind not in MOVES:
            missing.type("variables", i)
        elif tensor.dtype in (*QUANTISED, "int32"):
            _check_scale(tensor, i, missing)


def _check_scale(tensor, i, missing):
    if tensor.scales is None or len(tensor.scales) != 1 or tensor.scale <= 0:
        missing.type("tensors without a scale of their own", i)
    elif not DTYPES[tensor.dtype].lowest <= tensor.zero_point <= DTYPES[tensor.dtype].highest:
        raise ValueError(f"tensor {i} has zero point {tensor.zero_point}")


def _check_reshape(graph, operator):
    """What TensorFlow Lite makes of the new shape must be what the output has."""
    x, y = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    shape = operator.attributes.get("new_shape", [])
    if len(operator.inputs) > 1:
        shape = graph.tensors[operator.inputs[1]].data
        if shape is None:
            return
        shape = shape.ravel().tolist()
    free = [n for n in shape if n < 0]
    rest = math.prod(n for n in shape if n >= 0)
    if free not in ([], [-1]) or (free and (not rest or x.size % rest)):
        raise ValueError(f"{operator.name} to the shape {shape}")
    shape = tuple(n if n >= 0 else x.size // rest for n in shape)
    if shape != y.shape and (shape, y.shape) != ((0,), ()):
        raise ValueError(f"{operator.name} to the shape {list(shape)} writes {list(y.shape)}")


def _check_bias_scale(graph, operator):
    """A bias has the scale of the products that it is added to."""
    tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
    y = graph.tensors[operator.outputs[0]]
    if len(tensors) < 3 or any(t.scales is None for t in (*tensors, y)):
        return
    x, weights, bias = tensors
    difference = np.abs(np.float64(x.scale) * weights.scales - bias.scales)
    if np.max(difference) > BIAS_DIFFERENCE * y.scale:
        raise ValueError(f"{operator.name}: a bias of scale {bias.scale:g}")
