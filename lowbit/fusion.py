"""Steps of convolutions that are executed together, so that what lies between is never whole."""

from dataclasses import replace

from compiler.graph import Step
from compiler.operators import verify
from lowbit.rules import Fused


def fuse(graph):
    """The `Graph` with each convolution and the fixed shift behind it as one step, and with them
    the convolutions behind that see one position each, with theirs.

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
    return verify(replace(graph, operators=steps))


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
