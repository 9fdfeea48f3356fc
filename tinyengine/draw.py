"""What a compiled model looks like: its graph as a table and as a picture, its memory over time.

Pictures are PNG files without dates or versions: the same model gives the same bytes.
"""

import io
import math

import cli
from tinyengine import memory

COLOURS = {"input": "#8fbf7f", "activation": "#8fb4d9", "scratch": "#e8a95b", "output": "#d98f8f"}
OPERATOR_COLOURS = {
    "CONV_2D": "#c5d9ee",
    "DEPTHWISE_CONV_2D": "#cfe8cf",
    "FULLY_CONNECTED": "#dccbea",
    "ADD": "#f9e0b0",
}
OTHER_COLOUR = "#e8e8e8"
ARROW = "\u2192"
TIMES = "\u00d7"


def _save(figure, path):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    cli.write_atomic(path, buffer.getvalue())


# --- what is known of an operator


def macs(graph, operator):
    """Multiply-accumulates of an operator, padding counted as if it were multiplied."""
    if operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    weights, output = (graph.tensors[i] for i in (operator.inputs[1], operator.outputs[0]))
    if operator.kind == "DEPTHWISE_CONV_2D":
        return output.size * weights.size // weights.shape[-1]
    return output.size * weights.size // weights.shape[0]


def constant_bytes(graph, operator):
    """Bytes of an operator's weights and biases in the model, before kernels pack them."""
    tensors = (graph.tensors[i] for i in operator.inputs if i >= 0)
    return sum(tensor.data.nbytes for tensor in tensors if tensor.data is not None)


def _shape(tensor):
    """80x80x3: without the batch, which is 1."""
    shape = tensor.shape[1:] if len(tensor.shape) > 1 and tensor.shape[0] == 1 else tensor.shape
    return TIMES.join(map(str, shape)) or "scalar"


def _shapes(graph, operator):
    inputs = [_shape(graph.tensors[i]) for i in graph.activations(operator)]
    if len(inputs) > 1 and len(set(inputs)) == 1:
        inputs = [f"{len(inputs)} of {inputs[0]}"]
    outputs = [_shape(graph.tensors[i]) for i in operator.outputs]
    return f"{', '.join(inputs)} {ARROW} {', '.join(outputs)}"


def _quantisation(tensor):
    if tensor.scales is None:
        return tensor.dtype
    return f"{tensor.scale:.6g} {tensor.zero_point:+d}"


def _window(graph, operator):
    """["3x3", "stride 2"] of an operator that has a window, [] of another one."""
    fields = operator.attributes.get("window", operator.attributes)
    if "stride_y" not in fields:
        return []
    if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        rows, columns = graph.tensors[operator.inputs[1]].shape[1:3]
    else:
        rows, columns = (fields.get(n, fields.get(f"window_{n[0]}")) for n in ("y", "x"))
        rows = fields.get("height", fields.get("window_y"))
        columns = fields.get("width", fields.get("window_x"))
    words = [f"{rows}{TIMES}{columns}"]
    for name in ("stride", "dilation"):
        y, x = fields[f"{name}_y"] if f"{name}_y" in fields else 1, fields.get(f"{name}_x", 1)
        if (y, x) != (1, 1):
            words.append(f"{name} {y}" if y == x else f"{name} {y}{TIMES}{x}")
    return words
