"""From TensorFlow Lite's operators to steps that kernels execute, fused and with all numbers ready.

`lower` runs the passes in their order. Tensors keep their indices, so that each that is left can be
compared with the model's own. A step's fields are those of its description in C
(kernels/tinyengine.h).
"""

import itertools
from dataclasses import replace

from cli import UserError
from compiler.graph import ARENA, Range, Step
from compiler.operators import verify
from tinyengine import descriptions, gathers, kernelrows, tables
from tinyengine.families import variables
from tinyengine.operators import KINDS, ROWS


def lower(graph, source="model"):
    """The lowered `Graph`. Raises `UserError` for models that cannot be executed exactly."""
    try:
        check_shapes(graph)
        for each in (describe, *PASSES):
            graph = verify(each(graph), executable=False)
    except ValueError as error:
        raise UserError(f"{source}: {error}")
    if not graph.operators:
        raise UserError(f"{source}: nothing is left to compute; the output is the input")
    for place, tensor in enumerate(graph.tensors[i] for i in graph.inputs):
        if tensor.dtype == "float32" or tensor.scales is None:
            raise UserError(f"{source}: input {place} of the model is {tensor.dtype}, and unread")
    return verify(graph)


def check_shapes(graph):
    """Raises ValueError if an operator's output has not the shape that its inputs give."""
    for operator in graph.operators:
        try:
            found = KINDS[operator.kind].shape(operator, graph.tensors)
        except ValueError as error:
            raise ValueError(f"{operator.name}: {error}")
        wanted = found if isinstance(found, list) else [found]
        declared = [graph.tensors[i].shape for i in operator.outputs]
        for shape, written in itertools.zip_longest(wanted, declared, fillvalue=()):
            if tuple(shape) != tuple(written):
                raise ValueError(
                    f"{operator.name} writes {list(written)}, which should be {list(shape)}"
                )


def describe(graph):
    """All operators as steps, each on its own, before any are merged.

    What a fused activation leaves of int8 becomes the range of its output.
    """
    steps, tensors = [], list(graph.tensors)
    for operator in graph.operators:
        try:
            fields = KINDS[operator.kind].describe(operator, graph.tensors)
        except ValueError as error:
            raise ValueError(f"{operator.name}: {error}")
        inputs, output = graph.activations(operator), operator.outputs[0]
        states = [operator.inputs[place] for place in KINDS[operator.kind].variables]
        outputs = [*operator.outputs, *states]
        steps.append(Step(operator.index, operator.kind, inputs, outputs, fields))
        ends = fields.get("requantise", fields)
        if "lowest" in ends:
            tensors[output] = replace(tensors[output], range=Range(ends["lowest"], ends["highest"]))
    return replace(graph, operators=steps, tensors=tensors, rows=ROWS)


def _repeat(fold):
    """A pass: `fold(graph, step)` of one step after the other, over and over as long as one
    returns a graph, with which it goes on; None means that there is nothing to do for it."""

    def run(graph):
        while True:
            before, at = graph, 0
            while at < len(graph.operators):
                folded = fold(graph, graph.operators[at])
                graph, at = (graph, at + 1) if folded is None else (folded, at)
            if graph is before:
                return graph

    return run


def without(graph, gone, old, new, changed=()):
    """The graph without the step `gone`, where readers of tensor `old` read `new`.

    changed: steps that take the place of those with the same index.
    """

    def moved(i):
        return new if i == old else i

    changed = {step.index: step for step in changed}
    operators = [changed.get(o.index, o) for o in graph.operators if o.index != gone.index]
    return replace(
        graph,
        operators=[
            replace(o, inputs=[moved(i) for i in o.inputs]) if old in o.inputs else o
            for o in operators
        ],
        outputs=[moved(i) for i in graph.outputs],
    )


def _fold_edge(graph, step):
    """A QUANTIZE of a float input and a DEQUANTIZE to a float output: the C boundary is int8."""
    x, y = step.inputs[0], step.outputs[0]
    if step.kind == "QUANTIZE" and graph.tensors[x].dtype == "float32":
        if x not in graph.inputs:
            raise ValueError(f"QUANTIZE {step.index} of a float tensor inside the model")
        if len(graph.consumers(x)) > 1:
            raise ValueError(f"QUANTIZE {step.index} of a float input that is read more than once")
        inputs = [y if i == x else i for i in graph.inputs]
        return replace(without(graph, step, x, y), inputs=inputs)
    if step.kind == "DEQUANTIZE":
        if y not in graph.outputs or graph.consumers(y):
            raise ValueError(f"DEQUANTIZE {step.index} inside the model")
        return without(graph, step, y, x)
    return None


def _fold_unread(graph, step):
    """A step whose outputs nobody needs."""
    if any(y in graph.outputs or graph.consumers(y) for y in step.outputs):
        return None
    return without(graph, step, step.outputs[0], step.outputs[0])


def _fold_copy(graph, step):
    """What leaves all bytes as they are: RESHAPE, and copies, PAD, tables that do nothing."""
    if not KINDS[step.kind].identity(step.fields):
        return _fold_second_copy(graph, step)
    return without(graph, step, step.outputs[0], step.inputs[0])


def _fold_second_copy(graph, step):
    """A copy along axes of what was copied along others, and is read by nothing else."""
    before = next((o for o in graph.operators if step.inputs[0] in o.outputs), None)
    if before is None or not {before.kind, step.kind} <= {*kernelrows.GATHERED}:
        return None
    (y,) = before.outputs
    fields = gathers.composed(before.fields, step.fields)
    if y in graph.outputs or len(graph.consumers(y)) > 1 or fields is None:
        return None
    changed = replace(step, inputs=list(before.inputs), fields=fields)
    return without(graph, before, y, before.inputs[0], [changed])


def _fold_pad(graph, step):
    """A PAD of height and width into the windows of the convolutions that read it."""
    x, y = step.inputs[0], step.outputs[0]
    if step.kind not in ("PAD", "PADV2") or step.fields["value"] != graph.tensors[x].zero_point:
        return None
    *outer, rows, columns, channels = step.fields["axes"]
    others = any(a["before"] or a["after"] for a in (*outer, channels))
    readers = graph.consumers(y)
    padded = descriptions.shape_fields(graph.tensors[y].shape) if not others else None
    for reader in readers:  # behind a RESHAPE, rows and columns are others
        convolution = reader.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
        if not convolution or reader.fields["input"] != padded:
            return None
    if others or y in graph.outputs:
        return None
    # Not the shape of tensor x, which may be another one: in front of a RESHAPE that is gone.
    unpadded = descriptions.shape_fields([axis["size"] for axis in step.fields["axes"]][-4:])
    changed = []
    for reader in readers:
        window = dict(reader.fields["window"])
        window["pad_top"] += rows["before"]
        window["pad_left"] += columns["before"]
        fields = {"window": window, "input": unpadded}
        changed.append(replace(reader, fields=reader.fields | fields))
    return without(graph, step, y, x, changed)


def _fold_transpose(graph, step):
    """A TRANSPOSE into the strides of the reductions that read it, or into the model's input."""
    if step.kind != "TRANSPOSE":
        return None
    x, y = step.inputs[0], step.outputs[0]
    readers = graph.consumers(y)
    if y in graph.outputs:
        return None
    if all("reduced" in reader.fields for reader in readers):
        shape = graph.tensors[y].shape
        pairs = zip(descriptions.strides_of(shape), step.fields["axes"], strict=True)
        strides = {s: a["stride"] for s, a in pairs if a["size"] > 1}
        changed = [_with_strides(reader, strides) for reader in readers]
        return without(graph, step, y, x, changed)
    if x in graph.inputs and len(graph.consumers(x)) == 1:
        inputs = [y if i == x else i for i in graph.inputs]
        return replace(without(graph, step, x, y), inputs=inputs)
    return None


def _with_strides(step, strides):
    """A reduction of a tensor with other strides. strides: {as it is: as it will be}."""
    fields = {
        name: [a | {"stride": strides[a["stride"]]} if a["size"] > 1 else a for a in axes]
        for name, axes in step.fields.items()
        if name in ("kept", "reduced")
    }
    return replace(step, fields=step.fields | fields)


def without_unused_state(graph):
    """Variables that no step is left of take no memory."""
    used = {i for step in graph.operators for i in (*step.inputs, *step.outputs)}
    gone = {*graph.state} - used - {*graph.outputs}
    tensors = [replace(t, storage=ARENA) if i in gone else t for i, t in enumerate(graph.tensors)]
    return replace(graph, tensors=tensors)


def as_other_kinds(graph):
    """Steps that another kind computes as well, and faster, are of that kind."""

    def changed(step):
        kind, fields = KINDS[step.kind].other(step.fields) or (step.kind, step.fields)
        return replace(step, kind=kind, fields=fields)

    return replace(graph, operators=[changed(step) for step in graph.operators])


# Transposes before copies: behind a RESHAPE, strides would be those of another shape.
FOLDS = (_fold_unread, _fold_edge, _fold_transpose, _fold_copy, _fold_pad)
FOLDS += (tables.as_lookup, tables.fold, tables.fold_pair, tables.fold, _fold_unread)
# Last: from here on, the order of steps matters, for a state changes while they run.
FOLDS += (variables.fold_read, variables.fold_assign)
PASSES = [*map(_repeat, FOLDS), without_unused_state, as_other_kinds]
