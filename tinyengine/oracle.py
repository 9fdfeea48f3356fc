"""What a whole int8 model must compute, tensor by tensor: the reference that tests compare with.

Operators run under ai-edge-litert's reference kernels, except FULLY_CONNECTED: each one runs as a
model of its own under TensorFlow Lite Micro, which rounds twice where ai-edge-litert rounds once.
Every part gets what the parts before computed. Float QUANTIZE at the input and DEQUANTIZE at the
output are left out. Only tests and check_tflite.py import this module.
"""

import copy

import flatbuffers
import numpy as np
import tflite_micro
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

SMALLEST_ARENA = 1 << 20  # bytes, for tflite_micro


def run(content, inputs):
    """The values of all activations of a model, for each of the inputs.

    content: bytes of a .tflite file with one input. inputs: int8 [N, ...], each of the size of the
    model's input. Returns a list of N dicts {index of a tensor in the file: int8 array}, the
    model's input among them.
    """
    oracle = Oracle(content)
    return [oracle.run(values) for values in inputs]


class Oracle:
    """A model, cut into parts that are ready to run.

    first: the index of the tensor to start from, if it is not the model's int8 input; what does not
    follow from it is left out.
    """

    def __init__(self, content, first=None):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        self.graph = self.model.subgraphs[0]
        self.input = self._int8_input() if first is None else first
        operators, known = [], {self.input}
        for o in self.graph.operators:
            read = {int(i) for i in o.inputs if i >= 0 and not self._constant(i)}
            if read <= known and not self._at_float_boundary(o):
                operators.append(o)
                known.update(int(i) for i in o.outputs)
        self.parts = [
            (_Micro if self._alone(part[0]) else _Reference)(*cut(self.model, part))
            for part in self._split(operators)
        ]

    def run(self, values):
        """{index of a tensor: int8 array} for one input."""
        shape = [int(n) for n in self.graph.tensors[self.input].shape]
        known = {self.input: np.asarray(values, np.int8).reshape(shape)}
        for part in self.parts:
            known.update(part.run(known))
        return known

    def _split(self, operators):
        """Runs of operators, each FULLY_CONNECTED on its own."""
        parts = []
        for operator in operators:
            if not parts or self._alone(operator) or self._alone(parts[-1][0]):
                parts.append([])
            parts[-1].append(operator)
        return parts

    def _alone(self, operator):
        code = self.model.operatorCodes[operator.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        return kind == schema.BuiltinOperator.FULLY_CONNECTED

    def _int8_input(self):
        (index,) = (int(i) for i in self.graph.inputs)
        if self.graph.tensors[index].type == schema.TensorType.INT8:
            return index
        return next(int(o.outputs[0]) for o in self.graph.operators if index in o.inputs)

    def _at_float_boundary(self, operator):
        ends = [*operator.inputs, *operator.outputs]
        return any(self.graph.tensors[i].type == schema.TensorType.FLOAT32 for i in ends if i >= 0)

    def _constant(self, index):
        return self.model.buffers[self.graph.tensors[index].buffer].data is not None


def cut(model, operators):
    """A model of some consecutive operators of another one.

    Returns (its bytes, {index of a tensor in it: index in the other}, its inputs, what it computes,
    the last two as indices of its tensors).
    """
    graph = model.subgraphs[0]
    used = sorted({int(i) for o in operators for i in [*o.inputs, *o.outputs] if i >= 0})
    place = {index: i for i, index in enumerate(used)} | {-1: -1}
    part = schema.ModelT()
    part.version = 3
    part.operatorCodes = model.operatorCodes
    part.buffers = [schema.BufferT()]
    part.subgraphs = [schema.SubGraphT()]
    subgraph = part.subgraphs[0]
    subgraph.tensors, subgraph.operators = [], []
    constants = set()
    for index in used:
        tensor = copy.copy(graph.tensors[index])
        if tensor.quantization is not None and tensor.quantization.quantizedDimension:
            # Of one scale for all it means nothing, but must be a dimension.
            tensor.quantization = copy.copy(tensor.quantization)
            tensor.quantization.quantizedDimension %= max(len(tensor.shape), 1)
        buffer = model.buffers[tensor.buffer]
        tensor.buffer = 0
        if buffer.data is not None:
            constants.add(index)
            tensor.buffer = len(part.buffers)
            part.buffers.append(buffer)
        subgraph.tensors.append(tensor)
    for operator in operators:
        operator = copy.copy(operator)
        operator.inputs = [place[int(i)] for i in operator.inputs]
        operator.outputs = [place[int(i)] for i in operator.outputs]
        subgraph.operators.append(operator)
    outputs = [place[int(i)] for o in operators for i in o.outputs]
    inputs = [place[i] for i in used if i not in constants and place[i] not in outputs]
    subgraph.inputs, subgraph.outputs = inputs, outputs
    return serialised(part), dict(enumerate(used)), inputs, outputs


def serialised(model):
    """The bytes of a schema ModelT."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Reference:
    def __init__(self, content, names, inputs, outputs):
        self.names, self.inputs, self.outputs = names, inputs, outputs
        self.interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
        self.interpreter.allocate_tensors()

    def run(self, known):
        for index in self.inputs:
            self.interpreter.set_tensor(index, known[self.names[index]])
        self.interpreter.invoke()
        return {self.names[i]: self.interpreter.get_tensor(i) for i in self.outputs}


class _Micro:
    def __init__(self, content, names, inputs, outputs):
        self.names, (self.input,), (self.output,) = names, inputs, outputs
        arena = max(SMALLEST_ARENA, 2 * len(content))
        self.interpreter = tflite_micro.runtime.Interpreter.from_bytes(content, arena_size=arena)

    def run(self, known):
        self.interpreter.set_input(known[self.names[self.input]], 0)
        self.interpreter.invoke()
        return {self.names[self.output]: self.interpreter.get_output(0)}
