"""Models with operators that keep a state from run to run: SVDF, UNIDIRECTIONAL_SEQUENCE_LSTM, and
variables that are read and assigned. They are for tflite_models.py; the functions add operators to
a `tflite_builder.Builder`.
"""

import copy
import math

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyengine.oracle import serialised

RELU = {"rank": 1, "fusedActivationFunction": schema.ActivationFunctionType.RELU}
GATES = ("input", "forget", "cell", "output")


def variable(b, shape, dtype, scale, zero_point=0):
    """A state of an operator."""
    state = b.value(shape, scale, zero_point, dtype)
    b.tensors[state.index].isVariable = True
    return state


def weights(b, shape, dtype=np.int8, largest=127):
    """(index, scale) of a matrix."""
    scale = np.float32(b.rng.uniform(0.005, 0.02))
    return b.constant(b.rng.integers(-largest, largest + 1, shape).astype(dtype), [scale]), scale


def svdf(
    b,
    x,
    units,
    rank=1,
    memory=8,
    wide=False,
    relu=True,
    bias=True,
    state_zero_point=0,
    zero_point=None,
    saturation=1.0,
):
    """wide: whether the state is int16. saturation: how far features are beyond its range."""
    filters, inputs = units * rank, x.shape[1]
    dtype, ends = (np.int16, 2**15) if wide else (np.int8, 2**7)
    features, feature_scale = weights(b, (filters, inputs))
    spread = 75 * 73 * math.sqrt(inputs)  # of a sum
    state_scale = np.float32(x.scale * feature_scale * spread * saturation / (ends * 0.4))
    times, time_scale = weights(b, (filters, memory), dtype, 500 if wide else 127)
    spread = ends * 0.4 * (280 if wide else 73) * math.sqrt(memory * rank)
    y = b.value((1, units), state_scale * time_scale * spread / 60, zero_point)
    biases = b.rng.normal(0, spread / 2, units).astype(np.int32)
    bias = b.constant(biases, [state_scale * time_scale]) if bias else -1
    state = variable(b, (1, filters * memory), dtype, state_scale, state_zero_point)
    return b.operator(
        "SVDF",
        [x.index, features, times, bias, state.index],
        y,
        "SVDFOptions",
        rank=rank,
        fusedActivationFunction=schema.ActivationFunctionType.RELU if relu else 0,
    )


def svdf_thresholds(b, x, wide):
    """An SVDF whose sums are where outputs step: they are its biases, and the factor is so small
    that the last bit of the multiplier decides."""
    factor = float(b.rng.uniform(0.6e-6, 1.2e-6))
    steps = np.round((np.arange(-127, 127) + 0.5) / factor)
    biases = (steps[:, None] + np.arange(-4, 5)).astype(np.int32).ravel()
    units, dtype = len(biases), np.int16 if wide else np.int8
    state_scale, time_scale = np.float32(b.rng.uniform(0.01, 0.1, 2))
    features = b.constant(np.zeros((units, x.shape[1]), np.int8), [0.01])
    times = b.constant(np.zeros((units, 1), dtype), [time_scale])
    bias = b.constant(biases, [state_scale * time_scale])
    state = variable(b, (1, units), dtype, state_scale)
    scale = float(state_scale) * float(time_scale) / factor
    inputs = [x.index, features, times, bias, state.index]
    return b.operator("SVDF", inputs, b.value((1, units), scale, 0), "SVDFOptions", **RELU)


def lstm(
    b,
    x,
    cells,
    coupled=False,
    cell_power=-12,
    clip=0.0,
    time_major=False,
    zero_point=0,
    inputs=24,
    biases=True,
):
    """coupled: whether the input gate is 1 less the forget gate. cell_power: of the state's scale,
    as a power of 2. inputs: how many the operator names, 20 or 24."""
    size = x.shape[2]
    scale = np.float32(1 / 128)
    state = variable(b, (1, cells), np.int8, scale, zero_point)
    cell = variable(b, (1, cells), np.int16, 2.0**cell_power)
    y = b.value((*x.shape[:2], cells), scale, zero_point)
    of_input, of_state, of_bias = [], [], []
    for gate in GATES:
        if gate == "input" and coupled:
            for found in (of_input, of_state, of_bias):
                found.append(-1)
            continue
        index, weight_scale = weights(b, (cells, size))
        of_input.append(index)
        of_state.append(weights(b, (cells, cells))[0])
        numbers = b.rng.normal(0, 1e4 * biases, cells).astype(np.int32)
        of_bias.append(b.constant(numbers, [weight_scale * x.scale]))
    named = [x.index, *of_input, *of_state, -1, -1, -1, *of_bias, -1, -1, state.index, cell.index]
    b.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        named + [-1] * (inputs - 20),
        y,
        "UnidirectionalSequenceLSTMOptions",
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=clip,
        timeMajor=time_major,
    )
    # Converters name five; all but the scale of the last one are for layer normalisation.
    hidden = b.value((0,), scale, zero_point)
    b.operators[-1].intermediates = [*(b.value((0,)).index for _ in GATES), hidden.index]
    return y


def handle(b, name):
    """The index of a variable."""
    index = b.value((), 1.0, 0).index
    b.tensors[index].type = schema.TensorType.RESOURCE
    b.tensors[index].quantization = None
    _append(b, "VAR_HANDLE", [], [index], "VarHandleOptions", sharedName=name)
    return index


def _append(b, kind, inputs, outputs, options=None, **fields):
    """An operator without an output among them, which the builder does not know."""
    whatever = b.value((1,))
    b.operator(kind, inputs, whatever, options, **fields)
    b.operators[-1].outputs = outputs


def read(b, variable, like):
    """The value of a variable, of the shape and the scale of `like`."""
    y = b.value(like.shape, like.scale, like.zero_point)
    return b.operator("READ_VARIABLE", [variable], y, "ReadVariableOptions")


def assign(b, variable, x):
    _append(b, "ASSIGN_VARIABLE", [variable, x.index], [], "AssignVariableOptions")


def call_once(b):
    """The graph behind the first one, before the first run."""
    _append(b, "CALL_ONCE", [], [], "CallOnceOptions", initSubgraphIndex=1)


def beginning(b, content, values):
    """The model with a second graph, which assigns {name of a variable: int8 array}."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    codes = [code.builtinCode for code in model.operatorCodes]
    first, graph = model.subgraphs[0], schema.SubGraphT()
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    for name, array in values.items():
        handle = next(t for t in first.tensors if t.type == schema.TensorType.RESOURCE)
        constant = copy.deepcopy(next(t for t in first.tensors if t.quantization is not None))
        constant.shape, constant.buffer = list(array.shape), len(model.buffers)
        constant.type, constant.shapeSignature = schema.TensorType.INT8, None
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.astype(np.int8).tobytes(), np.uint8)
        model.buffers.append(buffer)
        graph.tensors += [copy.deepcopy(handle), constant]
        ends = len(graph.tensors) - 2, len(graph.tensors) - 1
        for kind, inputs, outputs in (
            ("VAR_HANDLE", [], [ends[0]]),
            ("ASSIGN_VARIABLE", [*ends], []),
        ):
            operator = schema.OperatorT()
            operator.opcodeIndex = codes.index(getattr(schema.BuiltinOperator, kind))
            operator.inputs, operator.outputs = inputs, outputs
            if kind == "VAR_HANDLE":
                operator.builtinOptions = schema.VarHandleOptionsT()
                operator.builtinOptions.sharedName = name
                operator.builtinOptionsType = schema.BuiltinOptions.VarHandleOptions
            graph.operators.append(operator)
    model.subgraphs.append(graph)
    return serialised(model)


def states():
    """Yields (name, shape of the input, function of builder and input, input's quantisation)."""
    yield from _svdfs()
    yield from _lstms()


def _svdfs():
    def case(label, inputs, given=None, **options):
        name = f"svdf_{'int16' if options.get('wide') else 'int8'}_{label}"
        return name, (1, inputs), lambda b, x: svdf(b, x, **options), given or {}

    for wide in (False, True):
        for memory in (1, 2, 3, 8, 11):
            yield case(f"memory_{memory}", 12, units=6, memory=memory, wide=wide)
        for rank in (1, 2, 5):
            yield case(f"rank_{rank}", 9, units=5, rank=rank, memory=4, wide=wide)
        for inputs in (1, 2, 7, 40):
            yield case(f"inputs_{inputs}", inputs, units=4, wide=wide)
        for units in (1, 3, 16):
            yield case(f"units_{units}", 10, units=units, wide=wide)
        yield case("saturated", 12, units=8, saturation=0.1, wide=wide)
        for i in range(3):
            yield (
                f"svdf_{'int16' if wide else 'int8'}_thresholds_{i}",
                (1, 1),
                lambda b, x, wide=wide: svdf_thresholds(b, x, wide),
                {},
            )
        for before, after in ((-128, 127), (127, -128), (5, 0)):
            given = {"zero_point": before}
            label = f"zero_points_{before}_{after}"
            yield case(label, 12, given, units=6, zero_point=after, wide=wide)
    yield case("without_bias", 12, units=8, bias=False, wide=True)
    yield case("linear", 12, units=8, relu=False)
    for zero_point in (-128, -50, 37, 127):
        label = f"state_zero_point_{zero_point}"
        yield case(label, 12, units=6, state_zero_point=zero_point)
        yield case(f"{label}_saturated", 9, units=6, state_zero_point=zero_point, saturation=0.2)


def _lstms():
    def case(label, shape, given=None, **options):
        return f"lstm_{label}", shape, lambda b, x: lstm(b, x, **options), given or {}

    for shape in ((1, 1, 1), (1, 1, 8), (1, 3, 5), (1, 9, 13)):
        for cells in (1, 4, 7):
            label = f"{'x'.join(map(str, shape))}_{cells}"
            yield case(label, shape, cells=cells)
    for power in range(-15, -8):
        for coupled in (False, True):
            label = f"cell_2^{power}{'_coupled' * coupled}"
            yield case(label, (1, 6, 5), cells=6, cell_power=power, coupled=coupled)
    for clip in (0.001, 0.5, 2.0, 100.0):
        yield case(f"clip_{clip}", (1, 6, 5), cells=6, clip=clip, cell_power=-11)
    yield case("time_major", (5, 1, 7), cells=4, time_major=True)
    yield case("of_20_inputs", (1, 4, 7), cells=4, inputs=20)
    yield case("without_biases", (1, 4, 7), cells=4, biases=False)
    for before, after in ((-128, 127), (127, -128), (5, -3)):
        given = {"zero_point": before}
        yield case(f"zero_points_{before}_{after}", (1, 4, 7), given, cells=5, zero_point=after)
    for scale in (1e-4, 1.0):  # all gates near the middle, or all at an end
        yield case(f"scale_{scale}", (1, 4, 7), {"scale": scale}, cells=5)
