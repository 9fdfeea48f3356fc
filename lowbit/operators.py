"""The operators of low-bit networks: all that is known of each in one row (CONTRIBUTING.md)."""

from compiler import operators
from compiler.operators import Row
from lowbit import kernelrows, rules


def _linear_words(layer):
    more = ["bias"] * (layer.bias is not None) + ["factors"] * (layer.factors is not None)
    return [f"{layer.inputs}x{layer.outputs}", layer.format.name], more


def _requantiser_words(fields):
    return [f"{fields.writes.bits} bits"], []


def _weight_bytes(layer):
    """Of its weights as codes side by side, and of what each output has besides."""
    per_output = 4 * (layer.bias is not None) + (layer.factors is not None)
    return -(-layer.weights.size * 32 // layer.format.per_word // 8) + per_output * layer.outputs


ROWS = operators.table(
    Row(
        "LINEAR",
        lambda layer: (layer.inputs, layer.outputs),
        rules.linear,
        kernelrows.LINEAR,
        dtypes=("int8", "int32"),
        ranges=lambda layer: (layer.reads, rules.accumulator_range(layer)),
        bound=rules.linear_bound,
        macs=lambda layer: layer.weights.size,
        weights=_weight_bytes,
        words=_linear_words,
        colour="#e2d6ef",
    ),
    Row(
        "SHIFTNORM_RELU",
        lambda fields: (fields.size, fields.size, 1),
        rules.shiftnorm_relu,
        (kernelrows.SHIFTNORM_RELU,),
        dtypes=("int32", "int8", "uint32"),
        ranges=lambda fields: (fields.reads, fields.writes, None),
        bound=rules.rounding_bound,
        words=_requantiser_words,
        colour="#fbe3b4",
    ),
    Row(
        "FIXED_SHIFT_RELU",
        lambda fields: (fields.size, fields.size),
        rules.fixed_shift_relu,
        (kernelrows.FIXED_SHIFT_RELU,),
        dtypes=("int32", "int8"),
        ranges=lambda fields: (fields.reads, fields.writes),
        bound=rules.rounding_bound,
        words=_requantiser_words,
        colour="#fbe3b4",
    ),
)
