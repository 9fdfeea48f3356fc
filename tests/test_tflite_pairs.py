"""Operators of two operands: where their values lie, which of them become tables, and refusals."""

import math

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

from tflite_builder import PAIR_OPTIONS, Builder  # noqa: E402

from cli import UserError  # noqa: E402
from tinyengine import importer, lowering, pipeline, rules  # noqa: E402
from tinyengine.families import pairs  # noqa: E402

IMAGE = (1, 4, 5, 8)


def test_operands_lie_where_numpy_repeats_them(rng):
    """An operand of the output's size is repeated nowhere: the output can take its memory."""
    for _ in range(500):
        shape = rng.integers(1, 4, rng.integers(0, 6))
        one, other = (
            tuple(np.where(rng.random(shape.size) < 0.3, 1, shape)[rng.integers(3) :].tolist())
            for _ in range(2)
        )
        output, axes = np.broadcast_shapes(one, other), pairs.pair_axes(one, other)
        for name, operand in (("input_stride", one), ("other_stride", other)):
            values = np.arange(math.prod(operand))
            repeated = np.broadcast_to(values.reshape(operand), output).ravel()
            offsets = rules.offsets([{"size": a["size"], "stride": a[name]} for a in axes])
            assert np.array_equal(offsets, repeated)
            assert values.size < repeated.size or np.array_equal(repeated, values)
            assert axes[-1][name] in (0, 1)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        (IMAGE, IMAGE, 1),
        (IMAGE, (8,), 2),
        (IMAGE, (1, 1, 1, 8), 2),
        ((1, 4, 5, 1), IMAGE, 2),
        (IMAGE, (), 1),
        (IMAGE, (1, 4, 1, 8), 3),
        ((3, 1), (1, 4), 2),
        ((1,), (1, 1), 0),
    ],
)
def test_dimensions_that_are_repeated_alike_are_one(one, other, count):
    assert sum(axis["size"] > 1 for axis in pairs.pair_axes(one, other)) == count


def lowered(shape, build):
    builder = Builder(1)
    x = builder.value(shape, 0.05, 3)
    return lowering.lower(importer.parse(builder.model(x, build(builder, x))))


@pytest.mark.parametrize("kind", PAIR_OPTIONS)
def test_what_depends_on_one_value_is_a_table(kind):
    single, same, each = (
        lowered(IMAGE, lambda b, x, other=other: b.pair(kind, x, other(b, x), 0.1))
        for other in (
            lambda b, x: b.constant_value((1, 1, 1, 1)),
            lambda b, x: x,
            lambda b, x: b.constant_value((8,)),
        )
    )
    for graph, expected in ((single, "QUANTIZE"), (same, "QUANTIZE"), (each, kind)):
        assert [step.kind for step in graph.operators] == [expected]
        assert len(graph.operators[0].inputs) == 1


def test_an_output_lies_over_the_operand_that_has_its_size_only():
    builder = Builder(1)
    x = builder.value((3, 1), 0.05, 3)
    one = builder.quantize(x, 0.03)
    row = builder.reshape(builder.quantize(x, 0.04), (1, 3))
    table = builder.pair("MUL", one, row, 0.01)  # larger than both
    y = builder.pair("ADD", table, row, 0.1)
    compiled = pipeline.compile_model(builder.model(x, y), "model")
    shares = {block.name: block.shares for block in compiled.blocks}
    names = [compiled.graph.tensors[value.index].name for value in (table, y)]
    assert shares[names[0]] is None and shares[names[1]] == names[0]


def without_scale(b, x):
    other = b.constant_value((8,))
    b.tensors[other.index].quantization = None
    return b.pair("MUL", x, other, 0.1)


def of_int32(b, x):
    y = b.value(IMAGE, 0.1)
    inputs = [x.index, b.constant(np.ones(8, np.int32), [0.1])]
    return b.operator("MUL", inputs, y, "MulOptions")


def shapes(b, x):
    y = b.value(IMAGE, 0.1)
    return b.operator("SUB", [x.index, b.constant_value((3,)).index], y, "SubOptions")


REFUSED = {
    "without_scale": (IMAGE, without_scale, "tensors without a scale of their own"),
    "int32": (IMAGE, of_int32, "int32 constants"),
    "shapes": (IMAGE, shapes, r"SUB 0: inputs of shapes \[1, 4, 5, 8\] and \[3\]"),
    "alpha_that_repeats_the_input": (
        (1, 1, 1, 8),
        lambda b, x: b.pair("PRELU", x, b.constant_value(IMAGE), 0.1),
        "PRELU 0: an alpha that repeats the input",
    ),
    "too_many_dimensions": (
        (2, 3, 2, 3, 2, 3),
        lambda b, x: b.pair("MUL", x, b.constant_value((1, 3, 1, 3, 1, 3)), 0.1),
        "MUL 0: .* repeated along too many dimensions",
    ),
    "small_output_scale": (
        IMAGE,
        lambda b, x: b.pair("SUB", x, b.constant_value((8,)), 1e-8),
        "SUB 0: scales 0.05 and .* to 1e-08, too small",
    ),
    "large_product": (
        IMAGE,
        lambda b, x: b.pair("MUL", x, b.constant_value((8,), 1e30), 1e-20),
        "MUL 0: a factor of inf",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_exact_is_refused_in_one_line(what):
    shape, build, words = REFUSED[what]
    with pytest.raises(UserError, match=words) as raised:
        lowered(shape, build)
    assert "\n" not in str(raised.value)
