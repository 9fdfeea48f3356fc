"""What lies between convolutions takes less memory: never whole where steps are executed together,
else as int16 where that is exact.
"""

from dataclasses import replace

from compiler.graph import DTYPES, Step
from compiler.operators import verify
from lowbit.rules import Fused

MOST_WIDE = 2  # positions: beside int16 the sums of one are int32, which takes as much


def fuse(graph):
    """The `Graph` with each convolution and the fixed shift behind it as one step, and with them
    the convolutions behind that see one position each, with theirs; and with the sums of a
    convolution as int16 where ShiftNorm reads them, which needs those of all positions.

    All tensors keep their places; those that are no longer written are left.
    """
    steps, left = [], list(graph.operators)
    while left:
        stages = _stages(left)
        taken = left[: max(1, 2 * len(stages))]
        if stages:
            first, last = taken[0], taken[-1]
            steps.append(Step(first.index, "FUSED", first.inputs, last.outputs, Fused(stages)))
        else:
            steps += taken
        left = left[len(taken) :]
    return verify(_narrowed(replace(graph, operators=steps)))


def _stages(steps):
    """Pairs (`Convolution`, `FixedShift`) at the beginning of `steps` that can be fused."""
    stages = []
    for conv, shift in zip(steps[::2], steps[1::2]):
        if (conv.kind, shift.kind) != ("CONVOLUTION", "FIXED_SHIFT_RELU"):
            break
        if stages and not conv.fields.windows.one_position:
            break
        stages.append((conv.fields, shift.fields))
    return tuple(stages)


def _narrowed(graph):
    """The `Graph` with steps of 16 bits where ShiftNorm reads a convolution whose sums all fit."""
    steps, tensors = list(graph.operators), list(graph.tensors)
    for at, (conv, norm) in enumerate(zip(graph.operators, graph.operators[1:])):
        if (conv.kind, norm.kind) != ("CONVOLUTION", "SHIFTNORM_RELU"):
            continue
        (i,) = conv.outputs
        if conv.fields.windows.count > MOST_WIDE and DTYPES["int16"].holds(tensors[i].range):
            steps[at : at + 2] = (replace(step, kind=f"{step.kind}_16") for step in (conv, norm))
            tensors[i] = replace(tensors[i], dtype="int16")
    return replace(graph, operators=steps, tensors=tensors)
