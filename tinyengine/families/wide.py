"""QUANTIZE_INT16, SOFTMAX_INT16: what models have of int16 around an int8 network.

The importer gives an operator the name of its kind with _INT16 where there is a row of that name
and one of its tensors is int16. Source: tflite/kernels/quantize.cc of google-ai-edge/LiteRT.
"""

import numpy as np
import tflite

from compiler.graph import DTYPES
from tinyengine import descriptions, measures, quantisation, rules, shapes
from tinyengine.families import softmax
from tinyengine.kind import Kind, plain, row


def describe_quantize_int16(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    if x.dtype != "int16" or y.dtype == "uint8":
        raise ValueError(f"from {x.dtype} to {y.dtype}; supported is int16 to int8, int16, int32")
    multiplier, shift = quantisation.rescale(x.scale, y.scale)
    if not quantisation.fits(np.array([2**16]), np.array([shift])):
        raise ValueError(f"from scale {x.scale:g} to {y.scale:g}, which could leave int32")
    return {
        "size": x.size,
        "input_zero_point": x.zero_point,
        "output_zero_point": y.zero_point,
        "output_bytes": np.dtype(y.dtype).itemsize,
        "scale": descriptions.scale((multiplier, shift)),
    }


def describe_softmax_int16(operator, tensors):
    x, y = descriptions.ends(operator, tensors)
    if (x.dtype, y.dtype) != ("int8", "int16"):
        raise ValueError(f"from {x.dtype} to {y.dtype}; supported is int8 to int8 or int16")
    return softmax.softmax_fields(operator, x, y)


def softmax_int16(fields, x):
    return softmax.softmax(fields, x, "int16")


def _output(fields):
    return f"int{8 * fields['output_bytes']}"


def quantize_int16(fields, x):
    values = rules.scaled(x.astype(np.int64) - fields["input_zero_point"], fields["scale"])
    ends = DTYPES[_output(fields)]
    values = np.clip(values + fields["output_zero_point"], ends.lowest, ends.highest)
    return values.astype(_output(fields))


def quantize_int16_dtypes(fields):
    return "int16", _output(fields)


KINDS = (
    Kind(
        shapes.same,
        describe_quantize_int16,
        row("QUANTIZE_INT16", measures.same_sizes, quantize_int16, dtypes=quantize_int16_dtypes),
        dtypes=("int8", "int16", "int32"),
    ),
    Kind(
        shapes.same,
        describe_softmax_int16,
        row(
            "SOFTMAX_INT16",
            softmax.softmax_sizes,
            softmax_int16,
            dtypes=("int8", "int16"),
            bound=softmax.softmax_bound,
        ),
        tflite.SoftmaxOptions,
        {"beta": plain("Beta")},
        dtypes=("int8", "int16"),
    ),
)
