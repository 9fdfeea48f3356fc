"""What a whole int8 model must compute, tensor by tensor: the reference that tests compare with.

Operators run under ai-edge-litert's reference kernels, except FULLY_CONNECTED: each one runs as a
model of its own under TensorFlow Lite Micro, which rounds twice where ai-edge-litert rounds once.
So does an SVDF with a state of 8 bits, which ai-edge-litert takes for one of 16. Every part gets
what the parts before computed. What an operator keeps from run to run lies in its part; variables
that operators read and assign lie in the `Oracle`. Float QUANTIZE at inputs and DEQUANTIZE at
outputs are left out. A model that a reference refuses is a `UserError`. Only tests and
check_tflite.py import this module.
"""

import contextlib
import copy
import faulthandler
import os

import flatbuffers
import numpy as np
import tflite_micro
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from cli import UserError
from tinyengine import importer

MICRO = {"FULLY_CONNECTED"}  # operators whose reference is TensorFlow Lite Micro
ASSIGNED = ("READ_VARIABLE", "ASSIGN_VARIABLE")
DTYPES = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
}
KINDS = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
VERSIONS = {  # the newest that reference kernels are registered for, where others know newer ones
    getattr(schema.BuiltinOperator, kind): newest
    for kind, newest in {
        "ABS": 3,
        "ADD": 5,
        "DEPTHWISE_CONV_2D": 6,
        "DEPTH_TO_SPACE": 1,
        "GELU": 2,
        "MUL": 7,
        "SOFTMAX": 3,
        "SQUEEZE": 1,
        "STRIDED_SLICE": 4,
        "TILE": 2,
        "TRANSPOSE": 8,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    }.items()
}
LONG_ROW = 512  # of a SOFTMAX: TensorFlow Lite ends the whole process where so many are equal
SMALLEST_ARENA = 1 << 20  # bytes, for tflite_micro


def run(content, inputs):
    """The values of all activations of a model, for each of the inputs.

    content: bytes of a .tflite file. inputs: [N, ...], each of the size of the model's input; of a
    model of several inputs, a list of such arrays. Returns a list of N dicts {index of a tensor in
    the file: array}, the model's inputs among them. Raises `UserError`.
    """
    oracle = Oracle(content)
    runs = inputs if len(oracle.inputs) == 1 else zip(*inputs)
    return [oracle.run(values) for values in runs]


class Aborted(UserError):
    """The reference ends the process for this input; for others it may not."""


class Oracle:
    """A model, cut into parts that are ready to run. Raises `UserError` if a reference refuses it.

    inputs: the indices of the tensors to start from, or the index of the only one, if they are not
    the model's inputs of integers; what does not follow from them is left out.
    """

    def __init__(self, content, inputs=None):
        with _refusal("the reader of the schema"):
            self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        self.graph = self.model.subgraphs[0]
        if any(_is_open(tensor) for tensor in self.graph.tensors):
            # Parts are models of their own, and what the file says of open sizes is no more than a
            # placeholder.
            for tensor, known in zip(self.graph.tensors, importer.parse(content).tensors):
                tensor.shape = list(known.shape)
        inputs = self._integer_inputs() if inputs is None else np.atleast_1d(inputs)
        self.inputs = [int(i) for i in inputs]
        operators, known = [], set(self.inputs)
        known.update(i for i, tensor in enumerate(self.graph.tensors) if tensor.isVariable)
        self.handles, self.initial = {}, {}  # {index of a tensor: variable}, {variable: array}
        valued = set()  # variables that have a value
        for o in self.graph.operators:
            read = {int(i) for i in o.inputs if i >= 0 and not constant(self.model, i)}
            if self._kind(o) == "CALL_ONCE":
                self.initial |= self._assigned(o.builtinOptions.initSubgraphIndex)
                valued.update(self.initial)
            elif self._kind(o) == "VAR_HANDLE":
                known.add(int(o.outputs[0]))
                self.handles[int(o.outputs[0])] = _variable(o)
            elif self._kind(o) == "READ_VARIABLE" and self._moved(o) not in valued:
                continue  # what assigns it does not follow from the inputs that are given
            elif read <= known and not self._at_float_boundary(o):
                if self._kind(o) == "ASSIGN_VARIABLE":
                    valued.add(self._moved(o))
                operators.append(o)
                known.update(int(i) for i in o.outputs)
        self.parts, self.variables = [], dict(self.initial)
        for part in self._split(operators):
            if self._kind(part[0]) in ASSIGNED:
                self.parts.append(_Move(self, part[0]))
                continue
            reference = _Micro if self._alone(part[0]) else _Reference
            self.parts.append(reference(*cut(self.model, part)))
            self.parts[-1].aborts = any(self._may_abort(operator) for operator in part)

    def reset(self):
        """What is kept from run to run is as before the first."""
        self.variables = dict(self.initial)
        for part in self.parts:
            part.reset()

    def run(self, values):
        """{index of a tensor: array} for one input, or for a list of one array for each input.

        Of what is kept, the value behind the run.
        """
        values = [values] if len(self.inputs) == 1 else values
        known = {}
        for i, array in zip(self.inputs, values, strict=True):
            tensor = self.graph.tensors[i]
            shape = [] if tensor.shape is None else [int(n) for n in tensor.shape]
            known[i] = np.asarray(array, DTYPES[tensor.type]).reshape(shape)
        for part in self.parts:
            known.update(part.run(known))
        return known

    def _split(self, operators):
        """Runs of operators, each of `MICRO` on its own."""
        parts = []
        for operator in operators:
            if not parts or self._alone(operator) or self._alone(parts[-1][0]):
                parts.append([])
            parts[-1].append(operator)
        return parts

    def _kind(self, operator):
        code = self.model.operatorCodes[operator.opcodeIndex]
        return KINDS[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def _moved(self, operator):
        """The variable that a READ_VARIABLE or an ASSIGN_VARIABLE names."""
        return self.handles[int(operator.inputs[0])]

    def _alone(self, operator):
        kind = self._kind(operator)
        if kind == "SVDF":
            return self.graph.tensors[operator.inputs[-1]].type == schema.TensorType.INT8
        return kind in MICRO or kind in ASSIGNED

    def _may_abort(self, operator):
        shape = self.graph.tensors[operator.outputs[0]].shape
        return self._kind(operator) == "SOFTMAX" and len(shape) > 0 and shape[-1] >= LONG_ROW

    def _assigned(self, number):
        """{variable: array} of the constants that a subgraph assigns."""
        graph, handles, values = self.model.subgraphs[number], {}, {}
        for o in graph.operators:
            if self._kind(o) == "VAR_HANDLE":
                handles[int(o.outputs[0])] = _variable(o)
            else:
                tensor = graph.tensors[o.inputs[1]]
                data = bytes(self.model.buffers[tensor.buffer].data)
                value = np.frombuffer(data, DTYPES[tensor.type]).reshape(tensor.shape)
                values[handles[int(o.inputs[0])]] = value
        return values

    def _integer_inputs(self):
        """The model's inputs, of each float one what is made of it."""
        for index in (int(i) for i in self.graph.inputs):
            if self.graph.tensors[index].type in DTYPES:
                yield index
            else:
                yield next(int(o.outputs[0]) for o in self.graph.operators if index in o.inputs)

    def _at_float_boundary(self, operator):
        ends = [*operator.inputs, *operator.outputs]
        return any(self.graph.tensors[i].type == schema.TensorType.FLOAT32 for i in ends if i >= 0)


@contextlib.contextmanager
def _refusal(who):
    """What goes wrong inside is a `UserError` that says who refuses the model, and why."""
    try:
        yield
    except Aborted:
        raise
    except Exception as error:  # whatever an interpreter throws
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{who} refuses this model, so there is nothing to compare with: {reason}")


def _survives(call):
    """Whether a process in which `call()` is made ends by itself."""
    if not hasattr(os, "fork"):  # Windows
        return True
    child = os.fork()
    if child == 0:
        try:
            faulthandler.disable()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            call()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _variable(handle):
    """Which one a VAR_HANDLE means."""
    options = handle.builtinOptions
    return options.container, options.sharedName


def _is_open(tensor):
    """Whether the file leaves a size of the tensor open."""
    return tensor.shapeSignature is not None and -1 in tensor.shapeSignature


def constant(model, index):
    """Whether a tensor of the model has data; buffer 0 stands for none."""
    place = model.subgraphs[0].tensors[index].buffer
    data = model.buffers[place].data if place else None
    return data is not None and len(data) > 0


def cut(model, operators):
    """A model of some consecutive operators of another one.

    Returns (its bytes, {index of a tensor in it: index in the other}, its inputs, what it computes
    and keeps, the last two as indices of its tensors).
    """
    graph = model.subgraphs[0]
    ends = (i for o in operators for i in [*o.inputs, *o.outputs, *_intermediates(o)])
    used = sorted({int(i) for i in ends if i >= 0})
    place = {index: i for i, index in enumerate(used)} | {-1: -1}
    part = schema.ModelT()
    part.version = 3
    part.operatorCodes = [_as_reference(code) for code in model.operatorCodes]
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
        tensor.buffer = 0
        if constant(model, index):
            constants.add(index)
            tensor.buffer = len(part.buffers)
            part.buffers.append(model.buffers[graph.tensors[index].buffer])
        subgraph.tensors.append(tensor)
    for operator in operators:
        operator = copy.copy(operator)
        operator.inputs = [place[int(i)] for i in operator.inputs]
        operator.outputs = [place[int(i)] for i in operator.outputs]
        operator.intermediates = [place[int(i)] for i in _intermediates(operator)]
        subgraph.operators.append(operator)
    inner = {place[int(i)] for o in operators for i in _intermediates(o)}
    outputs = [place[int(i)] for o in operators for i in o.outputs]
    outputs += [place[i] for i in used if graph.tensors[i].isVariable]
    inner.update(outputs)
    inputs = [place[i] for i in used if i not in constants and place[i] not in inner]
    subgraph.inputs, subgraph.outputs = inputs, outputs
    return serialised(part), dict(enumerate(used)), inputs, outputs


def _as_reference(code):
    """An operator's code of a version that the reference kernels are registered for: newer ones
    take more types, and do the same with int8."""
    newest = VERSIONS.get(max(code.builtinCode, code.deprecatedBuiltinCode), code.version)
    code = copy.copy(code)
    code.version = min(code.version, newest)
    return code


def _intermediates(operator):
    return operator.intermediates if operator.intermediates is not None else []


def serialised(model):
    """The bytes of a schema ModelT."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Reference:
    aborts = False  # whether it may end the whole process

    def __init__(self, content, names, inputs, outputs):
        self.names, self.inputs, self.outputs = names, inputs, outputs
        with _refusal("TensorFlow Lite"):
            self.interpreter = Interpreter(
                model_content=content,
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=True,
                num_threads=1,
            )
            self.interpreter.allocate_tensors()

    def reset(self):
        self.interpreter.reset_all_variables()

    def run(self, known):
        with _refusal("TensorFlow Lite"):
            for index in self.inputs:
                self.interpreter.set_tensor(index, known[self.names[index]])
            if self.aborts and not _survives(self.interpreter.invoke):
                raise Aborted("TensorFlow Lite aborts on this input")
            self.interpreter.invoke()
            return {self.names[i]: self.interpreter.get_tensor(i) for i in self.outputs}


class _Micro:
    def __init__(self, content, names, inputs, outputs):
        self.inputs, self.outputs = ([names[i] for i in ends] for ends in (inputs, outputs))
        arena = max(SMALLEST_ARENA, 2 * len(content))
        make = tflite_micro.runtime.Interpreter.from_bytes
        with _refusal("TensorFlow Lite Micro"):
            self.interpreter = make(content, arena_size=arena)

    def reset(self):
        self.interpreter.reset()

    def run(self, known):
        with _refusal("TensorFlow Lite Micro"):
            for place, index in enumerate(self.inputs):
                self.interpreter.set_input(known[index], place)
            self.interpreter.invoke()
            return {i: self.interpreter.get_output(n) for n, i in enumerate(self.outputs)}


class _Move:
    """A READ_VARIABLE or an ASSIGN_VARIABLE."""

    def __init__(self, oracle, operator):
        self.oracle, self.variable = oracle, oracle.handles[int(operator.inputs[0])]
        self.source = [int(i) for i in operator.inputs[1:]]  # of an assignment
        self.targets = [int(i) for i in operator.outputs]
        if self.source:
            self.targets = [i for i, name in oracle.handles.items() if name == self.variable]

    def reset(self):
        pass

    def run(self, known):
        for i in self.source:
            self.oracle.variables[self.variable] = known[i]
        return dict.fromkeys(self.targets, self.oracle.variables[self.variable])
