"""QUANTIZE, DEQUANTIZE: what computes each value from one value."""

import numpy as np

from tinyengine import descriptions, measures, quantisation, rules, shapes
from tinyengine.kind import Kind, copy_row, row


def describe_quantize(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    if x.dtype == "float32":  # an edge, or an error that lowering finds
        return descriptions.copy(operator, tensors)
    return {
        "size": x.size,
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "scale": descriptions.scale(quantisation.rescale(x.scale, y.scale)),
    }


def quantize(fields, x):
    """From int8 to int8, of another scale and zero point."""
    values = rules.scaled(x.astype(np.int64) - fields["input_zero_point"], fields["scale"])
    return rules.clamped(values + fields["output_zero_point"])


KINDS = (
    Kind(shapes.same, descriptions.copy, copy_row("DEQUANTIZE", measures.same_sizes)),
    Kind(shapes.same, describe_quantize, row("QUANTIZE", measures.same_sizes, quantize)),
)
