"""A dilated convolution that stands in a file as three operators becomes one again.

Converters write it so where the batch is open: SPACE_TO_BATCH_ND makes one image of every d-th row
and column each, a convolution goes over all of them, BATCH_TO_SPACE_ND puts its outputs together.
Image o has value i * d + o of the padded input at i, so in each direction, with window k and
weights w,

    merged[i * d + o] = sum over t < k of w[t] * padded[(i + t) * d + o]

which is the convolution with dilation d of the padded input, for all i and o. What is cropped from
the merged output in front is as much less of padding in front, and so behind. Padding has the value
of the zero point in both.
"""

from dataclasses import replace

import numpy as np

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
COPIES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")
FIRST, LAST = "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"


def fold(graph):
    """The imported graph with such operators merged. Others stay; no row computes them.

    What lies between them is gone: of tensors, the output is left.
    """
    for operator in graph.operators:
        if operator.kind == FIRST:
            graph = _folded(graph, operator) or graph
    return graph


def _folded(graph, first):
    """The graph without the operators from `first` on, None if it is no dilated convolution."""
    chain = _chain(graph, first)
    convolutions = [operator for operator in chain if operator.kind in CONVOLUTIONS]
    if len(convolutions) != 1 or chain[-1].kind != LAST:
        return None
    (convolution,) = convolutions
    attributes, last = convolution.attributes, chain[-1]
    steps = attributes["stride_y"], attributes["stride_x"]
    if attributes["padding"] != "VALID" or steps != (1, 1) or not _quantised_alike(graph, chain):
        return None
    if -1 in (*first.inputs, *last.inputs):
        return None
    x = graph.tensors[first.inputs[0]]
    block, added = (graph.tensors[i].data for i in first.inputs[1:])
    block_again, cropped = (graph.tensors[i].data for i in last.inputs[1:])
    if any(data is None for data in (block, added, block_again, cropped)):
        return None
    spatial = len(x.shape) - 2
    if spatial not in (1, 2) or block.shape != (spatial,) or not np.array_equal(block, block_again):
        return None
    if not added.shape == cropped.shape == (spatial, 2) or block.min() < 1:
        return None
    padding = added.astype(np.int64) - cropped
    padded = np.array(x.shape[1:-1]) + added.sum(1)
    inner = (*padded // block, x.shape[-1])
    if padding.min() < 0 or np.any(padded % block) or not _keep_sizes(graph, chain, inner):
        return None
    missing = 2 - spatial  # rows, of a series
    dilations = zip(("dilation_y", "dilation_x"), [1] * missing + block.tolist())
    dilations = {name: attributes[name] * factor for name, factor in dilations}
    pairs = ((0, 0),) * missing + tuple(map(tuple, padding.tolist()))
    merged = replace(
        convolution,
        inputs=[first.inputs[0], *convolution.inputs[1:]],
        outputs=last.outputs,
        attributes=attributes | dilations | {"padding": pairs},
    )
    operators = [merged if o is last else o for o in graph.operators if o is last or o not in chain]
    return replace(graph, operators=operators)


def _chain(graph, first):
    """The operators from `first` to the one that merges, or to where they are no chain."""
    chain = [first]
    while chain[-1].kind in (FIRST, *COPIES, *CONVOLUTIONS):
        (output,) = chain[-1].outputs
        readers = graph.consumers(output)
        if len(readers) != 1 or readers[0].inputs[0] != output or output in graph.outputs:
            break
        chain.append(readers[0])
    return chain


def _quantised_alike(graph, chain):
    """Whether all but the convolution leave scale and zero point as they are."""
    for operator in chain:
        if operator.kind not in CONVOLUTIONS:
            ends = [graph.tensors[i] for i in (operator.inputs[0], operator.outputs[0])]
            if any(end.scales is None for end in ends):
                return False
            x, y = ((end.scales.tolist(), end.zero_points.tolist()) for end in ends)
            if x != y:
                return False
    return True


def _keep_sizes(graph, chain, inner):
    """Whether all that lies between has rows, columns and channels in their order.

    inner: what the first tensor must have of them. Copies must leave them in the last dimensions;
    the batch is in front, where the file has no more than a placeholder.
    """
    for operator in chain[:-1]:
        shape = graph.tensors[operator.outputs[0]].shape[1:]
        ones, sizes = shape[: -len(inner)], shape[-len(inner) :]
        if operator.kind in CONVOLUTIONS:
            inner = sizes
        if sizes != tuple(inner) or any(n != 1 for n in ones):
            return False
    return True
