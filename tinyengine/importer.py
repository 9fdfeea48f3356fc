"""From the bytes of a .tflite file to a `Graph`: reads everything and trusts nothing.

The schema is that of the `tflite` package. Whatever a file says is checked before it is used: a
malformed, truncated, float or unsupported model gives a `UserError` of one line, and so does what
TensorFlow Lite refuses.
"""

import struct
from pathlib import Path

import numpy as np
import tflite
from tflite.BuiltinOperator import BuiltinOperator  # fails where mcu/tflite is taken for it

from cli import UserError
from compiler.graph import ARENA, FLASH, STATE, Graph, Operator, Tensor
from tinyengine import checks, constants, dilation, flatbuffer
from tinyengine.families import variables
from tinyengine.operators import KINDS, by_type

NAMES = {v: k for k, v in vars(BuiltinOperator).items() if isinstance(v, int)}
TYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if isinstance(v, int)}
OPTIONS = {v: k for k, v in vars(tflite.BuiltinOptions).items() if isinstance(v, int)}
SCHEMA = flatbuffer.model(OPTIONS)
VERSION = 3  # of the schema
# What constants can be read; all else is never read.
DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
CONTROL_FLOW = {"CALL", "IF", "WHILE", "STABLEHLO_CASE", "STABLEHLO_WHILE"}


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
    missing = checks.Missing()
    try:
        flatbuffer.verify(content, SCHEMA)
        graph = _graph(tflite.Model.GetRootAsModel(content, 0), name, missing)
    # What flatbuffers raise for offsets that lead nowhere, and we for values that cannot be.
    except (struct.error, ValueError, IndexError, TypeError, OverflowError) as error:
        if not missing:  # or else its tensors may be of kinds that are checked nowhere
            raise UserError(f"{source}: damaged model: {error}")
    if missing:
        raise UserError(f"{source}: {missing}")
    return graph


def _graph(model, name, missing):
    if model.Version() != VERSION:
        missing.place(f"version {model.Version()} of the schema; supported is {VERSION}")
    codes = [_code(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    if not graphs:
        raise ValueError("no graph")
    in_file = [[g.Operators(i) for i in range(g.OperatorsLength())] for g in graphs]
    kinds = [[_kind(codes, each, i) for i, each in enumerate(found)] for found in in_file]
    _check_graphs(kinds, missing)
    tensors, faults = zip(*(_tensors(model, graph) for graph in graphs))
    operators, unknown = _operators(in_file[0], kinds[0], tensors[0])
    if not in_file[0]:
        missing.place("a model without operators")
    result = Graph(name, tensors[0], operators, *_ends(graphs[0]), KINDS)
    initial = {}
    for number in (o.attributes["graph"] for o in operators if o.kind == "CALL_ONCE"):
        if not 0 < number < len(graphs):
            raise ValueError(f"CALL_ONCE of graph {number} of {len(graphs)}")
        once, _ = _operators(in_file[number], kinds[number], tensors[number])
        initial |= variables.assigned(once, tensors[number])
    result = variables.resolve(result, initial)
    used = {i for operator in result.operators for i in (*operator.inputs, *operator.outputs)}
    for i in {*result.state} - used:  # nobody's
        result.tensors[i].storage = ARENA
    result = constants.fold(dilation.fold(result))
    checks.check(result, faults[0], unknown, missing)
    return result


def _operators(in_file, kinds, tensors):
    """(those that are supported, indices of what the others write)"""
    operators, unknown = [], set()
    for index, (operator, kind) in enumerate(zip(in_file, kinds)):
        if kind in KINDS:
            operators.append(by_type(_operator(index, kind, operator, len(tensors)), tensors))
        else:
            unknown.update(_indices(operator.OutputsAsNumpy(), kind, len(tensors)))
    return operators, unknown


def _ends(graph):
    """Indices of the model's inputs, and of its outputs."""
    count = graph.TensorsLength()
    inputs = _indices(graph.InputsAsNumpy(), "the model's input", count)
    return inputs, _indices(graph.OutputsAsNumpy(), "the model's output", count)


def _check_graphs(kinds, missing):
    """Adds to `missing` the operators that are not supported, and graphs beside the first."""
    for kind in (kind for found in kinds for kind in found if kind not in KINDS):
        missing.operators[kind] += 1
    if len(kinds) > 1:
        if CONTROL_FLOW & missing.operators.keys():
            missing.place(f"control flow ({len(kinds)} subgraphs)")
        elif "CALL_ONCE" not in kinds[0]:
            missing.place(f"{len(kinds)} subgraphs; convert a model that is one graph")


def _code(code):
    """The name of an operator by its code in the model."""
    place = code._tab.Offset(10)  # BuiltinCode() does not say what is there if it is below 127
    at = place + code._tab.Pos
    (number,) = struct.unpack_from("<i", code._tab.Bytes, at) if place else (0,)
    number = max(number, code.DeprecatedBuiltinCode())
    kind = NAMES.get(number, f"operator type {number}")
    if kind == "CUSTOM":
        custom = (code.CustomCode() or b"").decode(errors="replace")
        return f"CUSTOM {custom if custom.isprintable() else ascii(custom)}"
    checks.check_version(kind, code.Version())
    return kind


def _kind(codes, operator, index):
    if not 0 <= operator.OpcodeIndex() < len(codes):
        raise ValueError(f"operator {index} has code {operator.OpcodeIndex()} of {len(codes)}")
    return codes[operator.OpcodeIndex()]


def _indices(array, what, count, optional=False):
    """Indices of tensors as a list; -1 for one that is not there, if that is allowed."""
    found = [int(i) for i in array] if not isinstance(array, int) else []
    for i in found:
        if not (-1 if optional else 0) <= i < count:
            raise ValueError(f"{what} names tensor {i} of {count}")
    return found


def _operator(index, kind, operator, count):
    name = f"{kind} {index}"
    inputs = _indices(operator.InputsAsNumpy(), name, count, optional=True)
    outputs = _indices(operator.OutputsAsNumpy(), name, count)
    ends = (KINDS[kind].inputs, len(inputs)), (KINDS[kind].outputs, len(outputs))
    if not all(least <= found <= most for (least, most), found in ends):
        raise ValueError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs")
    attributes = _attributes(operator, name, kind) | _intermediates(operator, name, kind, count)
    return Operator(index, kind, inputs, outputs, attributes)


def _intermediates(operator, name, kind, count):
    """{name of an attribute: index of a tensor} of those that a row looks at."""
    known = KINDS[kind].intermediates
    found = _indices(operator.IntermediatesAsNumpy(), name, count) if known else []
    if len(found) != max(known.values(), default=-1) + 1:
        raise ValueError(f"{name} has {len(found)} intermediate tensors")
    return {attribute: found[place] for attribute, place in known.items()}


def _attributes(operator, name, kind):
    """What a row reads of an operator's options; of a RESHAPE, also its new shape."""
    known, union = KINDS[kind], operator.BuiltinOptions()
    given = OPTIONS.get(operator.BuiltinOptionsType(), "unknown options")
    given = "no options" if union is None or given == "NONE" else given
    if kind == "RESHAPE" and given == "ReshapeOptions":
        options = tflite.ReshapeOptions()
        options.Init(union.Bytes, union.Pos)
        shape = options.NewShapeAsNumpy()
        return {"new_shape": [] if isinstance(shape, int) else [int(n) for n in shape]}
    if known.options is None:
        return {}
    options, wanted = known.options(), known.options.__name__
    if given != wanted:
        raise ValueError(f"{name} has {given}, not {wanted}")
    options.Init(union.Bytes, union.Pos)
    if hasattr(options, "QuantizedBiasType") and options.QuantizedBiasType() not in TYPES:
        raise ValueError(f"{name} has biases of type {options.QuantizedBiasType()}")
    if hasattr(options, "ValuesCount") and options.ValuesCount() != operator.InputsLength():
        raise ValueError(f"{name} of {options.ValuesCount()} inputs has {operator.InputsLength()}")
    return {attribute: read(options) for attribute, read in known.attributes.items()}


def _tensors(model, graph):
    """(tensors of a graph, {index: what is wrong with it, if an operator uses it})"""
    tensors, faults = [], {}
    for i in range(graph.TensorsLength()):
        try:
            tensor, fault = _tensor(model, graph.Tensors(i), i)
        except ValueError as error:
            raise ValueError(f"tensor {i} has {error}")
        tensors.append(tensor)
        if fault:
            faults[i] = fault
    return tensors, faults


def _tensor(model, tensor, index):
    if tensor.Type() not in TYPES:
        raise ValueError(f"type {tensor.Type()}")
    dtype = TYPES[tensor.Type()]
    if dtype == "string" and tensor.IsVariable():
        raise ValueError("text, but is a variable")
    shape = () if tensor.ShapeIsNone() else tuple(int(n) for n in tensor.ShapeAsNumpy())
    result = Tensor(
        f"tensor_{index}", shape, dtype, storage=STATE if tensor.IsVariable() else ARENA
    )
    content = _content(model, tensor.Buffer())
    _read_quantisation(tensor.Quantization(), result, content is not None)
    if content is not None and np.prod(np.abs(shape), dtype=float) > checks.LARGEST:
        raise ValueError(f"data of shape {list(shape)}")
    if any(n <= 0 for n in shape) or np.prod(shape, dtype=float) > checks.LARGEST:
        return result, f"has shape {list(shape)}"
    if tensor.Sparsity() is not None:
        return result, "is sparse"
    if content is None:
        if result.storage == STATE and dtype == "int8" and result.zero_points is not None:
            result.initial = result.zero_point  # of other types it is 0
        return result, None
    if result.storage == STATE:
        raise ValueError("data, but is a variable")
    if dtype not in DTYPES:
        return result, f"is a constant of type {dtype}"
    if len(content) != result.bytes:
        raise ValueError(f"{len(content)} bytes, not {result.bytes}")
    result.data, result.storage = np.frombuffer(content, dtype).reshape(shape), FLASH
    return result, None


def _content(model, index):
    """The bytes of a constant, None for what is computed: of buffer 0, or of one without data."""
    if not 0 <= index < model.BuffersLength():
        raise ValueError(f"buffer {index} of {model.BuffersLength()}")
    buffer = model.Buffers(index)
    if buffer.Offset() > 1 or buffer.Size() > 1:
        raise ValueError("data behind the model, as models over 2 GB have")
    if index == 0 or buffer.DataLength() == 0:
        return None
    return buffer.DataAsNumpy().tobytes()


def _read_quantisation(given, tensor, constant):
    """Scales and zero points into `tensor`."""
    if given is None or given.ScaleLength() == 0:
        return
    tensor.axis = given.QuantizedDimension()
    counts = given.ScaleLength(), given.ZeroPointLength()
    checks.check_quantisation(*counts, tensor.axis, tensor.shape, constant)
    tensor.scales = np.array(given.ScaleAsNumpy(), np.float32)
    if not np.all(np.isfinite(tensor.scales)) or np.any(tensor.scales < 0):
        raise ValueError("scales that are no positive numbers")
    tensor.zero_points = np.array(given.ZeroPointAsNumpy(), np.int64)
