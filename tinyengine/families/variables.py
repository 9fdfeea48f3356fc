"""VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, CALL_ONCE: variables that keep values over runs.

`resolve` makes a state of each variable, whose tensor is that of its first VAR_HANDLE: a
READ_VARIABLE copies from it, an ASSIGN_VARIABLE to it. The passes here leave out what need not be
copied. CALL_ONCE runs a graph before the first run; supported is one that assigns constants.
"""

from dataclasses import replace

import numpy as np
import tflite

from compiler.graph import STATE
from tinyengine import descriptions, measures, shapes
from tinyengine.kind import Kind, copy_row, plain, row

MOVES = ("READ_VARIABLE", "ASSIGN_VARIABLE")


def assigned(operators, tensors):
    """{variable: constant} of a graph that CALL_ONCE runs. Raises ValueError if it does more."""
    handles, found = {}, {}
    for operator in operators:
        if operator.kind == "VAR_HANDLE":
            handles[operator.outputs[0]] = _variable(operator)
            continue
        handle, value = operator.inputs if operator.kind == "ASSIGN_VARIABLE" else (None, None)
        if handle not in handles or tensors[value].data is None:
            raise ValueError(f"{operator.name} of CALL_ONCE; supported are constants for variables")
        found[handles[handle]] = tensors[value]
    return found


def resolve(graph, initial):
    """The imported graph with states in place of its variables. initial: as of `assigned`.

    Raises ValueError for variables that are used before they have a value, and for handles that
    lead nowhere.
    """
    handles, states, left, values = {}, {}, [], dict(initial)
    for operator in graph.operators:
        if operator.kind == "VAR_HANDLE":
            (i,) = operator.outputs
            if graph.tensors[i].dtype != "resource":
                raise ValueError(f"{operator.name} writes {graph.tensors[i].dtype}")
            handles[i] = _variable(operator)
            states.setdefault(handles[i], i)
        elif operator.kind == "CALL_ONCE":
            if any(other.kind in MOVES for other in left):
                raise ValueError(f"{operator.name} behind what it has to begin with")
        elif operator.kind in MOVES:
            left.append(_move(operator, handles, states, values))
        else:
            left.append(operator)
    tensors = list(graph.tensors)
    for operator in (operator for operator in left if operator.kind in MOVES):
        (x,), (y,) = operator.inputs, operator.outputs
        state, like = (x, y) if operator.kind == "READ_VARIABLE" else (y, x)
        initial = values[handles[state]]
        tensors[state] = _state(tensors[state].name, tensors[like], initial)
    return replace(graph, tensors=tensors, operators=left)


def _move(operator, handles, states, values):
    """A READ_VARIABLE from a state, or an ASSIGN_VARIABLE to it. values: those there are."""
    handle, *value = operator.inputs
    if handle not in handles:
        raise ValueError(f"{operator.name} of tensor {handle}, which is no variable")
    variable = handles[handle]
    if value:
        values.setdefault(variable, None)
        return replace(operator, inputs=value, outputs=[states[variable]])
    if variable not in values:
        raise ValueError(f"{operator.name} of a variable without a value")
    return replace(operator, inputs=[states[variable]])


def _variable(handle):
    return handle.attributes["container"], handle.attributes["name"]


def _state(name, like, initial):
    """The tensor of a variable. like: what is read or assigned; initial: a constant, or None."""
    begin = 0
    if initial is not None:
        if (initial.shape, initial.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"a variable begins as {initial.dtype} {list(initial.shape)}, and is used as "
                f"{like.dtype} {list(like.shape)}"
            )
        begin = initial.data.ravel()
        begin = int(begin[0]) if np.all(begin == begin[0]) else begin
    return replace(like, name=name, storage=STATE, initial=begin)


# --- passes of lowering


def fold_read(graph, step):
    """A READ_VARIABLE whose readers all come before the variable changes: they read the state."""
    if step.kind != "READ_VARIABLE":
        return None
    (state,), (value,) = step.inputs, step.outputs
    last = max((graph.operators.index(reader) for reader in graph.consumers(value)), default=0)
    first = graph.operators.index(step)
    if value in graph.outputs or _writes(graph, state, first, last):
        return None
    operators = [_renamed(o, value, state) for o in graph.operators if o is not step]
    return replace(graph, operators=operators)


def fold_assign(graph, step):
    """An ASSIGN_VARIABLE of what one step has written for nothing else: it writes the state.

    Nobody may read the old state from that step on, itself included.
    """
    if step.kind != "ASSIGN_VARIABLE":
        return None
    (value,), (state,) = step.inputs, step.outputs
    if value == state:
        return replace(graph, operators=[o for o in graph.operators if o is not step])
    if graph.tensors[value].storage == STATE:  # another variable's, which keeps it
        return None
    writers = [o for o in graph.operators if o.outputs[:1] == [value]]
    if len(graph.consumers(value)) > 1 or value in graph.outputs or len(writers) != 1:
        return None
    first, last = (graph.operators.index(o) for o in (writers[0], step))
    if any(state in o.inputs for o in graph.operators[first:last]):
        return None
    if _writes(graph, state, first, last):
        return None
    operators = [
        replace(o, outputs=[state, *o.outputs[1:]]) if o is writers[0] else o
        for o in graph.operators
        if o is not step
    ]
    return replace(graph, operators=operators)


def _writes(graph, state, first, last):
    """Whether a step writes a state, of those from `first` up to but not including `last`."""
    return any(state in o.outputs for o in graph.operators[first:last])


def _renamed(step, old, new):
    return replace(step, inputs=[new if i == old else i for i in step.inputs])


# --- rows


def moved(fields, x):
    return x


def resolved(operator, tensors):
    """Of what `resolve` has left: nothing."""
    raise ValueError("no tensor in its place")


KINDS = (
    *(
        Kind(
            shapes.same,
            descriptions.copy,
            row(kind, measures.same_sizes, moved),
            inputs=(1 + (kind == "ASSIGN_VARIABLE"),) * 2,
            outputs=(1 - (kind == "ASSIGN_VARIABLE"),) * 2,
        )
        for kind in MOVES
    ),
    Kind(
        resolved,
        resolved,
        copy_row("VAR_HANDLE", measures.same_sizes),
        tflite.VarHandleOptions,
        {"container": plain("Container"), "name": plain("SharedName")},
        inputs=(0, 0),
    ),
    Kind(
        resolved,
        resolved,
        copy_row("CALL_ONCE", measures.same_sizes),
        tflite.CallOnceOptions,
        {"graph": plain("InitSubgraphIndex")},
        inputs=(0, 0),
        outputs=(0, 0),
    ),
)
