"""Steps that look each byte up in a table of 256, and what becomes one with such a step.

Their fields: `bytes`, uint8 [256], what each byte becomes; `from` and `to`, the types of both ends;
`size`, how many there are; `channels`, the last dimension.
"""

from dataclasses import replace

import numpy as np

from compiler.graph import ARENA, INT8, Range

EVERY = np.arange(INT8.lowest, INT8.highest + 1)


def fields(table, x, y):
    """Of the step from one tensor to another."""
    sizes = {"size": y.size, "channels": y.last_dimension}
    return sizes | {"from": x.dtype, "to": y.dtype, "bytes": table}


def is_identity(fields):
    """Whether all bytes stay as they are."""
    same = "bytes" in fields and fields["from"] == fields["to"]
    return same and np.array_equal(fields["bytes"], np.arange(256))


def as_lookup(graph, step):
    """What has int8 results for all int8 values, its field `table`, becomes a lookup.

    Its kind is QUANTIZE, which can be any table.
    """
    if "table" not in step.fields:
        return None
    table = np.empty(256, np.uint8)
    table[EVERY & 255] = step.fields["table"].view(np.uint8)
    (x, *_), (y,) = step.inputs, step.outputs  # if there are two inputs, they are the same
    ends = graph.tensors[x], graph.tensors[y]
    lookup = replace(step, kind="QUANTIZE", inputs=[x], fields=fields(table, *ends))
    return replace(graph, operators=[lookup if o is step else o for o in graph.operators])


def fold(graph, step):
    """A lookup into the step in front of it: into a lookup, or, where it only clamps, into what can
    clamp its output by itself. Nothing else may read what lies between them."""
    if "bytes" not in step.fields:
        return None
    (x,), (y,) = step.inputs, step.outputs
    writer = next((other for other in graph.operators if x in other.outputs), None)
    if writer is None or x in graph.outputs or len(graph.consumers(x)) > 1:
        return None
    if graph.tensors[x].storage != ARENA:  # the next run reads it
        return None
    tensors, own = list(graph.tensors), writer.fields.get("requantise", writer.fields)
    if "bytes" in writer.fields:
        table = step.fields["bytes"][writer.fields["bytes"]]
        changed = {"from": writer.fields["from"], "bytes": table}
        merged = replace(step, inputs=writer.inputs, fields=step.fields | changed)
    elif clamp_of(step.fields) and "lowest" in own:
        ends = [int(np.clip(own[name], *clamp_of(step.fields))) for name in ("lowest", "highest")]
        own = own | dict(zip(("lowest", "highest"), ends))
        changed = {"requantise": own} if "requantise" in writer.fields else own
        merged = replace(writer, outputs=[y], fields=writer.fields | changed)
        tensors[y] = replace(tensors[y], range=Range(*ends))
    else:
        return None
    operators = [merged if o is writer else o for o in graph.operators if o is not step]
    return replace(graph, operators=operators, tensors=tensors)


def fold_pair(graph, step):
    """What combines, element by element, a tensor and what follows from it by a lookup, or two
    such: a lookup, as swish, the product of a tensor and its LOGISTIC."""
    axes = [axis for axis in step.fields.get("axes", ()) if axis["size"] > 1]
    strides = [(axis.get("input_stride"), axis.get("other_stride")) for axis in axes]
    if len(step.inputs) != 2 or strides != [(1, 1)]:
        return None
    sources = [_source(graph, i) for i in step.inputs]
    (x, one), (other_x, other) = sources
    if x != other_x or graph.tensors[x].dtype != "int8":
        return None
    every = step.fields | {"axes": [*step.fields["axes"][:-1], axes[0] | {"size": EVERY.size}]}
    values = graph.row(step).rule(every, *(table[None] for table in (one, other)))
    table = np.empty(256, np.uint8)
    table[EVERY & 255] = values[0].view(np.uint8)
    ends = graph.tensors[x], graph.tensors[step.outputs[0]]
    lookup = replace(step, kind="QUANTIZE", inputs=[x], fields=fields(table, *ends))
    return replace(graph, operators=[lookup if o is step else o for o in graph.operators])


def _source(graph, i):
    """(the tensor that a lookup reads to write tensor i, what it makes of -128 to 127)"""
    writer = next((other for other in graph.operators if i in other.outputs), None)
    if writer and "bytes" in writer.fields and writer.fields["to"] == "int8":
        return writer.inputs[0], writer.fields["bytes"].view(np.int8)[EVERY & 255]
    return i, EVERY.astype(np.int8)


def clamp_of(fields):
    """(lowest, highest) of a lookup that clamps int8 values and does nothing else, else None."""
    if (fields["from"], fields["to"]) != ("int8", "int8"):
        return None
    results = fields["bytes"].view(np.int8)[EVERY & 255]
    ends = int(results[0]), int(results[-1])
    return ends if np.array_equal(results, EVERY.clip(*ends)) else None
