"""Tables of operators that compute each value from one value are TensorFlow Lite's, for any scales;
what it does not define is refused; and what stands behind one another becomes one."""

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

from tflite_builder import Builder  # noqa: E402

from cli import UserError  # noqa: E402
from tinyengine import importer, lowering, oracle, pipeline, tables  # noqa: E402

SCALES = 60  # of each operator
EVERY = np.arange(-128, 128, dtype=np.int8)
ANY = {
    **dict.fromkeys(("RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ABS", "NEG", "TANH"), {}),
    **dict.fromkeys(("EXP", "LOG"), {}),
    "LEAKY_RELU": {"options": "LeakyReluOptions", "alpha": None},
    "GELU": {"options": "GeluOptions", "approximate": None},
    "QUANTIZE": {"options": "QuantizeOptions"},
}
LIMITED = {  # zero point of the input, factors of the output's scale, the output's scale
    "HARD_SWISH": (None, (0.05, 100), None),
    "LOGISTIC": (None, None, 1 / 256),
    "RSQRT": (-128, (0.01, 20), None),
    "SQRT": (-128, (0.01, 20), None),
}


def operator(builder, kind):
    """A model of one operator with random scales and zero points, as bytes."""
    rng = builder.rng
    zero_point, factors, scale = LIMITED.get(kind, (None, (1e-3, 1e3), None))
    before = np.exp(rng.uniform(np.log(1e-4), np.log(2)))
    after = scale or before * np.exp(rng.uniform(*np.log(factors)))
    fields = dict(ANY.get(kind, {}))
    for name, value in (("alpha", rng.uniform(-0.5, 2)), ("approximate", rng.random() < 0.5)):
        if name in fields:
            fields[name] = value
    x = builder.value((256,), before, zero_point)
    return builder.model(x, builder.lookup(kind, x, after, **fields))


@pytest.mark.parametrize("kind", [*ANY, *LIMITED])
def test_tables_are_those_of_the_oracle(kind):
    for seed in range(SCALES):
        content = operator(Builder(seed), kind)
        graph = lowering.describe(importer.parse(content))
        (step,) = graph.operators
        computed = graph.row(step).rule(step.fields, EVERY[None])[0]
        (trace,) = oracle.run(content, EVERY[None])
        wanted = trace[step.outputs[0]].ravel()
        assert np.array_equal(computed, wanted), (seed, graph.tensors[step.inputs[0]])


@pytest.mark.parametrize(
    ("kind", "before", "after", "words"),
    [
        ("LOGISTIC", (0.1, 0), (1 / 128, 0), "an output of scale 0.0078125, not 1/256"),
        ("SQRT", (0.1, -127), (0.1, 0), "negative values have no root"),
        ("RSQRT", (0.1, 0), (0.1, 0), "negative values have no root"),
        ("HARD_SWISH", (1.0, 0), (1e-3, 0), "does not fit 16 bits"),
        ("HARD_SWISH", (1e-3, 0), (1.0, 0), "does not fit 16 bits"),
        ("RELU", (1e6, 0), (1e-6, 0), "a factor of"),
    ],
)
def test_what_the_reference_does_not_compute_is_refused(kind, before, after, words):
    builder = Builder(1)
    x = builder.value((1, 4), *before)
    content = builder.model(x, builder.lookup(kind, x, *after))
    with pytest.raises(UserError, match=f"{kind} 0: .*{words}"):
        pipeline.compile_model(content, "model", "model.tflite")


@pytest.mark.parametrize("kind", ["MAX_POOL_2D", "AVERAGE_POOL_2D", "REDUCE_MAX", "REDUCE_MIN"])
def test_another_scale_behind_what_does_not_rescale_is_refused(kind):
    builder = Builder(1)
    x = builder.value((1, 4, 4, 2))
    if kind.endswith("2D"):
        y = builder.pool(kind, x, (2, 2))
        builder.tensors[y.index].quantization.scale = [float(x.scale) * 1.1]
    else:
        y = builder.reduce(kind, x, (1, 2), True, x.scale * 1.1, x.zero_point)
    with pytest.raises(UserError, match=f"{kind} 0: from scale .*supported are equal ones"):
        pipeline.compile_model(builder.model(x, y), "model", "model.tflite")


def kinds_of(build, shape=(1, 4, 5, 8)):
    builder = Builder(3)
    x = builder.value(shape, 0.05, 3)
    graph = pipeline.compile_model(builder.model(x, build(builder, x)), "model").graph
    return [step.kind for step in graph.operators]


def relu(b, x):
    return b.lookup("RELU", x, x.scale, x.zero_point)


def test_lookups_behind_one_another_become_one():
    def build(b, x):
        y = b.lookup("HARD_SWISH", b.lookup("RELU6", b.quantize(x), 0.03), 0.02)
        return b.lookup("LOGISTIC", b.reshape(y, (1, 160)), 1 / 256, -128)

    assert kinds_of(build) == ["LOGISTIC"]


def test_activations_that_only_clamp_go_into_what_clamps_by_itself():
    assert kinds_of(lambda b, x: relu(b, b.convolution(x, 4))) == ["CONV_2D"]
    pooled = kinds_of(lambda b, x: relu(b, b.pool("MAX_POOL_2D", x, (2, 2))))
    assert pooled == ["MAX_POOL_2D"]
    rescaled = kinds_of(lambda b, x: b.lookup("RELU", b.convolution(x, 4), 0.001, 0))
    assert rescaled == ["CONV_2D", "RELU"]
    assert kinds_of(lambda b, x: relu(b, b.mean(x, (1, 2), True))) == ["MEAN", "RELU"]


def test_what_something_else_reads_stays_where_it_is_no_table_of_both():
    def twice(b, x):
        y = b.convolution(x, 8)
        return b.add(y, relu(b, y), y.scale * 2)

    def elsewhere(b, x):
        y = b.convolution(x, 8)
        return b.add(b.pool("MAX_POOL_2D", y, (1, 1)), relu(b, y), y.scale * 2)

    assert kinds_of(elsewhere) == ["CONV_2D", "MAX_POOL_2D", "RELU", "ADD"]
    assert kinds_of(twice) == ["CONV_2D", "QUANTIZE"]  # both inputs follow from one value


def test_a_clamp_is_told_from_other_tables():
    def fields(values, ends=("int8", "int8")):
        table = np.empty(256, np.uint8)
        table[EVERY.astype(int) & 255] = np.asarray(values, np.int8).view(np.uint8)
        return {"bytes": table, "from": ends[0], "to": ends[1]}

    assert tables.clamp_of(fields(EVERY.clip(-7, 90))) == (-7, 90)
    assert tables.clamp_of(fields(np.full(256, 5))) == (5, 5)
    assert tables.clamp_of(fields(EVERY.clip(-7, 90), ("uint8", "int8"))) is None
    assert tables.clamp_of(fields(-1 - EVERY)) is None
    assert tables.is_identity(fields(EVERY)) and not tables.is_identity(fields(-1 - EVERY))
    assert not tables.is_identity(fields(EVERY, ("uint8", "int8")))
