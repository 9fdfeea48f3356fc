"""Changes to .tflite models, at random: what a file may say that no converter writes."""

import copy
import struct

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tinyengine.oracle import serialised

NUMBERS = (-(2**31), -129, -2, -1, 0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 2**16, 2**31 - 1)
SCALES = (0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30, 0.003, 0.02, 0.5)
WORDS = (0, 1, 2, 255, 2**16, 2**31 - 1, 2**32 - 1)


def mutated(content, rng):
    """The bytes of a model after one to three changes; of the schema's objects, or of raw bytes."""
    change = raw if rng.random() < 0.3 else objects
    while True:
        try:
            return change(content, rng)
        except (struct.error, TypeError, ValueError, OverflowError):
            pass  # a value that the file cannot hold


def raw(content, rng):
    """Bytes, and aligned words with small and huge numbers, anywhere in the file."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(content) - 4))
        if rng.random() < 0.5:
            content[at] = rng.integers(256)
        else:
            at = at // 4 * 4
            content[at : at + 4] = int(rng.choice(WORDS)).to_bytes(4, "little")
    return bytes(content)


def objects(content, rng):
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    for _ in range(rng.integers(1, 4)):
        (_tensor, _quantisation, _operator, _options, _graph, _model, _buffer)[rng.integers(7)](
            model, rng
        )
    return serialised(model)


def _one(rng, values):
    return values[int(rng.integers(len(values)))]


def _changed(values, rng, choices):
    """A list with an element more, or less, or another one."""
    values = [] if values is None else [v.item() if hasattr(v, "item") else v for v in values]
    at, what = int(rng.integers(len(values) + 1)), rng.integers(3)
    return values[:at] + [_one(rng, choices)] * (what > 0) + values[at + (what < 2) :]


def _tensor(model, rng):
    tensor = _one(rng, model.subgraphs[0].tensors)
    what = rng.integers(5)
    if what == 0:
        tensor.type = int(rng.integers(-1, 21))
    elif what == 1:
        tensor.shape = _changed(tensor.shape, rng, NUMBERS)
    elif what == 2:
        tensor.buffer = int(rng.integers(-1, len(model.buffers) + 1))
    elif what == 3:
        tensor.isVariable = True
    else:
        tensor.shape = list(rng.permutation(tensor.shape))


def _quantisation(model, rng):
    tensor = _one(rng, model.subgraphs[0].tensors)
    found = tensor.quantization = copy.copy(tensor.quantization or schema.QuantizationParametersT())
    what = rng.integers(5)
    if what == 0:
        found.scale = _changed(found.scale, rng, SCALES)
    elif what == 1:
        found.zeroPoint = _changed(found.zeroPoint, rng, NUMBERS)
    elif what == 2:
        found.quantizedDimension = _one(rng, NUMBERS)
    elif what == 3:
        tensor.quantization = None
    elif found.scale is not None and len(found.scale):
        found.scale = [float(_one(rng, SCALES))] * len(found.scale)


def _operator(model, rng):
    graph = model.subgraphs[0]
    operator, tensors = _one(rng, graph.operators), range(-2, len(graph.tensors) + 1)
    what = rng.integers(5)
    if what == 0:
        operator.inputs = _changed(operator.inputs, rng, tensors)
    elif what == 1:
        operator.outputs = _changed(operator.outputs, rng, tensors)
    elif what == 2:
        operator.opcodeIndex = int(rng.integers(len(model.operatorCodes) + 1))
    elif what == 3:
        operator.inputs = list(rng.permutation(operator.inputs))
    else:
        graph.operators = _changed(graph.operators, rng, graph.operators)


def _options(model, rng):
    operator = _one(rng, model.subgraphs[0].operators)
    options = operator.builtinOptions
    if options is None or rng.random() < 0.2:
        operator.builtinOptionsType = int(rng.integers(127))
    elif rng.random() < 0.1:
        operator.builtinOptions = None
    elif vars(options):
        name = _one(rng, list(vars(options)))
        value = getattr(options, name)
        several = isinstance(value, (list, np.ndarray))
        setattr(options, name, _changed(value, rng, NUMBERS) if several else _one(rng, NUMBERS))


def _graph(model, rng):
    graph = model.subgraphs[0]
    indices, what = range(-1, len(graph.tensors) + 1), rng.integers(3)
    if what == 0:
        graph.inputs = _changed(graph.inputs, rng, indices)
    elif what == 1:
        graph.outputs = _changed(graph.outputs, rng, indices)
    else:
        model.subgraphs = _changed(model.subgraphs, rng, model.subgraphs)


def _model(model, rng):
    code, what = _one(rng, model.operatorCodes), rng.integers(4)
    if what == 0:
        model.version = _one(rng, (0, 1, 2, 4))
    elif what == 1:
        code.version = _one(rng, NUMBERS)
    elif what == 2:
        code.builtinCode = int(rng.integers(-2, 210))
    else:
        code.deprecatedBuiltinCode = int(rng.integers(-2, 128))


def _buffer(model, rng):
    buffer, what = _one(rng, model.buffers), rng.integers(4)
    data = b"" if buffer.data is None else bytes(bytearray(buffer.data))
    if what == 0:
        data = data[: int(rng.integers(len(data) + 1))]
    elif what == 1:
        data += bytes(int(rng.integers(1, 9)))
    elif what == 2:
        values = [_one(rng, NUMBERS) for _ in range(len(data) // 4)]
        data = np.array(values, np.int32).tobytes()
    else:
        buffer.offset, buffer.size = _one(rng, (0, 1, 2, 64)), _one(rng, (0, 1, 8))
    buffer.data = np.frombuffer(data, np.uint8) if data or rng.random() < 0.5 else None
