"""Channels that are the same for every input, or that nobody reads, are not computed.

Forward, the interval of values that each channel can take follows from weights and biases; after a
ReLU it is often a single value. Backward, a channel is kept only if some step needs it: a
convolution folds a constant channel into its biases. All that is left stays exact.
"""

from dataclasses import replace

import numpy as np

from compiler.operators import verify
from tinyengine.channels import of_tensor
from tinyengine.operators import KINDS


def prune(graph):
    """The lowered `Graph` without such channels. Its tensors' `channels` say which are left."""
    ranges = intervals(graph)
    kept = _kept(graph, ranges)
    tensors = list(graph.tensors)
    for i, channels in kept.items():
        if len(channels) < tensors[i].shape[-1]:
            shape = (*tensors[i].shape[:-1], len(channels))
            tensors[i] = replace(tensors[i], shape=shape, channels=channels)
    steps = [
        replace(step, fields=rule.rebuild(step, kept, ranges)) if rule else step
        for step, rule in ((step, _rule(step, ranges)) for step in graph.operators)
    ]
    return verify(replace(graph, tensors=tensors, operators=steps))


def _rule(step, ranges):
    """The `channels.Pruning` of a step, None if it has none, or other channels than its input."""
    rule = KINDS[step.kind].pruning
    return rule if rule and rule.fits(step, ranges[step.inputs[0]]) else None


# --- forward


def intervals(graph):
    """{tensor: int64 [channels, 2], the lowest and highest value of each channel}."""

    def anything(i):
        tensor = graph.tensors[i]
        ends = [tensor.range.lowest, tensor.range.highest]
        return np.tile(ends, (tensor.last_dimension, 1))

    found = {i: anything(i) for i in (*graph.inputs, *graph.state)}
    for step in graph.operators:
        rule = _rule(step, found)
        found |= {i: anything(i) for i in step.outputs}
        if rule and rule.interval and step.outputs[0] not in graph.state:
            found[step.outputs[0]] = rule.interval(step.fields, found[step.inputs[0]])
    return found


# --- backward: the channels of each tensor that are kept


def _kept(graph, ranges):
    """{tensor: indices of its channels that are computed}, of tensors that can lose channels."""
    kept = {}
    for step in reversed(graph.operators):
        output, rule = step.outputs[0], _rule(step, ranges)
        if not (rule and rule.interval) or output in (*graph.outputs, *graph.state):
            continue
        needed = np.zeros(len(ranges[output]), bool)
        for reader in graph.consumers(output):
            needed |= _needed(reader, output, kept, ranges)
        if not needed.any():
            needed[0] = True
        kept[output] = np.flatnonzero(needed)
    for step in graph.operators:  # one by one: all channels of the input, or none, are there
        rule = KINDS[step.kind].pruning
        if rule and rule.one_by_one and step.outputs[0] in kept:
            kept[step.outputs[0]] = of_tensor(step.inputs[0], kept, ranges)
    return kept


def _needed(reader, tensor, kept, ranges):
    """bool [channels]: what a step needs of a tensor that it reads."""
    interval, rule = ranges[tensor], _rule(reader, ranges)
    needed = np.ones(len(interval), bool)
    if not rule or tensor != reader.inputs[0]:
        return needed
    if rule.one_by_one:
        needed[:] = False
        needed[of_tensor(reader.outputs[0], kept, ranges)] = True
        return needed
    constant = interval[:, 0] == interval[:, 1]
    if rule.padded(reader.fields):
        # Padding counts as the zero point, so what a channel adds depends on the place.
        constant &= interval[:, 0] == reader.fields["input_zero_point"]
    return ~constant
