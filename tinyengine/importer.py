"""From the bytes of a .tflite file to a `Graph`: reads everything and trusts nothing.

The schema is that of the `tflite` package. Whatever a file says is checked before it is used: a
malformed, truncated, float or unsupported model gives a `UserError` of one line.
"""

import struct
from pathlib import Path

import numpy as np
import tflite
from tflite.BuiltinOperator import BuiltinOperator  # fails where mcu/tflite is taken for it

from cli import UserError
from compiler.graph import FLASH, INT8, Graph, Operator, Tensor
from tinyengine.operators import KINDS

NAMES = {v: k for k, v in vars(BuiltinOperator).items() if isinstance(v, int)}
TYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if isinstance(v, int)}
DTYPES = {"int8": np.int8, "int32": np.int32, "float32": np.float32}
FLOAT_EDGES = {"QUANTIZE": False, "DEQUANTIZE": True}  # float input; float output
assert FLOAT_EDGES.keys() <= KINDS.keys()
LARGEST = 1 << 26  # elements of a tensor: more is a damaged file, or nothing for a microcontroller


def content_of(path):
    """The bytes of the file at `path`. Raises `UserError`."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a .tflite file")


def parse(content, name="model", source="model"):
    """The `Graph` of a .tflite file's bytes. `source` stands in messages. Raises `UserError`."""
    if content[4:8] != b"TFL3":
        raise UserError(f"{source}: not a TensorFlow Lite model (no TFL3 mark at byte 4)")
    try:
        return _graph(tflite.Model.GetRootAsModel(content, 0), name, source)
    except UserError:
        raise
    # What flatbuffers raise for offsets that lead nowhere, and we for values that cannot be.
    except (struct.error, ValueError, IndexError, TypeError, OverflowError) as error:
        raise UserError(f"{source}: damaged model: {error}")


def _graph(model, name, source):
    if model.SubgraphsLength() != 1:
        raise UserError(
            f"{source}: {model.SubgraphsLength()} subgraphs; control flow is not supported, "
            "convert a model that is one graph"
        )
    graph = model.Subgraphs(0)
    # First what is not supported: its tensors may be of kinds that are checked nowhere.
    operators_in_file = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    kinds = [_kind(model, each, i, source) for i, each in enumerate(operators_in_file)]
    tensors = [_tensor(model, graph.Tensors(i), i) for i in range(graph.TensorsLength())]

    def indices(array, what, optional=False):
        found = [int(i) for i in array] if not isinstance(array, int) else []
        for i in found:
            if not (-1 if optional else 0) <= i < len(tensors):
                raise ValueError(f"{what} names tensor {i} of {len(tensors)}")
        return found

    operators = []
    for index, (operator, kind) in enumerate(zip(operators_in_file, kinds)):
        inputs = indices(operator.InputsAsNumpy(), f"{kind} {index}", optional=True)
        outputs = indices(operator.OutputsAsNumpy(), f"{kind} {index}")
        operators.append(Operator(index, kind, inputs, outputs, _attributes(operator, index, kind)))
    result = Graph(
        name,
        tensors,
        operators,
        indices(graph.InputsAsNumpy(), "the model's input"),
        indices(graph.OutputsAsNumpy(), "the model's output"),
        KINDS,
    )
    check(result, source)
    return result


def _kind(model, operator, index, source):
    code = operator.OpcodeIndex()
    if not 0 <= code < model.OperatorCodesLength():
        raise ValueError(f"operator {index} has code {code} of {model.OperatorCodesLength()}")
    code = model.OperatorCodes(code)
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = NAMES.get(number, f"operator type {number}")
    if kind == "CUSTOM":
        kind = f"CUSTOM ({(code.CustomCode() or b'').decode(errors='replace')})"
    if kind not in KINDS:
        raise UserError(
            f"{source}: operator {index} is {kind}, which is not supported; supported are: "
            f"{', '.join(KINDS)}"
        )
    return kind


def _attributes(operator, index, kind):
    known = KINDS[kind]
    least, most = known.inputs
    if not least <= operator.InputsLength() <= most or operator.OutputsLength() != 1:
        raise ValueError(
            f"{kind} {index} has {operator.InputsLength()} inputs and "
            f"{operator.OutputsLength()} outputs"
        )
    if known.options is None:
        return {}
    options = known.options()
    union = operator.BuiltinOptions()
    if union is None:
        raise ValueError(f"{kind} {index} has no options")
    options.Init(union.Bytes, union.Pos)
    return {name: read(options) for name, read in known.attributes.items()}


def _tensor(model, tensor, index):
    dtype = TYPES.get(tensor.Type(), str(tensor.Type()))
    shape = () if tensor.ShapeIsNone() else tuple(int(n) for n in tensor.ShapeAsNumpy())
    if any(n <= 0 for n in shape) or np.prod(shape, dtype=float) > LARGEST:
        raise ValueError(f"tensor {index} has shape {list(shape)}")
    result = Tensor(f"tensor_{index}", shape, dtype)
    quantisation = tensor.Quantization()
    if quantisation is not None and quantisation.ScaleLength() > 0:
        result.scales = np.array(quantisation.ScaleAsNumpy(), np.float32)
        if not np.all(np.isfinite(result.scales)) or np.any(result.scales < 0):
            raise ValueError(f"tensor {index} has scales that are no positive numbers")
        zero_points = np.zeros(len(result.scales), np.int64)
        if quantisation.ZeroPointLength() > 0:
            zero_points[:] = quantisation.ZeroPointAsNumpy()
        result.zero_points = zero_points
        result.axis = quantisation.QuantizedDimension()
    if not 0 <= tensor.Buffer() < model.BuffersLength():
        raise ValueError(f"tensor {index} names buffer {tensor.Buffer()}")
    buffer = model.Buffers(tensor.Buffer())
    if tensor.Buffer() > 0 and not buffer.DataIsNone():
        if dtype not in DTYPES:
            raise ValueError(f"tensor {index} is a constant of type {dtype}")
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[dtype])
        if data.size != result.size:
            raise ValueError(f"tensor {index} has {data.size} elements, not {result.size}")
        result.data, result.storage = data.reshape(shape), FLASH
    return result


def check(graph, source):
    """Raises `UserError` for what is no int8 model that the compiler can take."""
    if not graph.operators:
        raise UserError(f"{source}: a model without operators")
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UserError(
            f"{source}: {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; supported is "
            "one of each"
        )
    written = set(graph.inputs)
    for operator in graph.operators:
        _check_operator(graph, operator, source)
        for i in graph.activations(operator):
            if i not in written:
                raise ValueError(f"{operator.name} reads tensor {i} too early")
        if operator.outputs[0] in written or graph.tensors[operator.outputs[0]].data is not None:
            raise ValueError(f"tensor {operator.outputs[0]} is written twice")
        written.update(operator.outputs)
    if graph.outputs[0] not in written:
        raise ValueError("nothing writes the model's output")


def _check_operator(graph, operator, source):
    name = operator.name
    constant = KINDS[operator.kind].constants
    for place, i in enumerate(operator.inputs):
        if i < 0:
            if place < 2:
                raise ValueError(f"{name} lacks input {place}")
            continue
        tensor = graph.tensors[i]
        if (tensor.data is not None) != (place in constant):
            must = "a constant" if place in constant else "no constant"
            raise UserError(f"{source}: {name}: its input {place} must be {must}")
        if constant == (1,) and place == 1 and tensor.dtype != "int32":
            raise ValueError(f"{name}: its input 1 is of type {tensor.dtype}, not int32")
    for i in [*graph.activations(operator), *operator.outputs]:
        tensor = graph.tensors[i]
        if tensor.dtype == "float32" and FLOAT_EDGES.get(operator.kind) == (i in operator.outputs):
            continue
        if tensor.dtype != "int8":
            raise UserError(
                f"{source}: {name} works on {tensor.dtype}; only models of int8 activations are "
                "supported (convert with full integer quantisation)"
            )
        if tensor.scales is None or len(tensor.scales) != 1 or tensor.scale <= 0:
            raise UserError(f"{source}: {name}: tensor {i} has no scale of its own")
        if not INT8.lowest <= tensor.zero_point <= INT8.highest:
            raise ValueError(f"tensor {i} has zero point {tensor.zero_point}")
