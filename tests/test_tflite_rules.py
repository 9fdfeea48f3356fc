"""The rules in NumPy compute what TensorFlow Lite does, and what the fields of operators say of
their sizes, accumulators and multiplications is right; of lowered and of pruned graphs."""

import functools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402
import tflite_graphs  # noqa: E402
import tflite_models  # noqa: E402

import check_tflite  # noqa: E402
from compiler import operators  # noqa: E402
from tinyengine import (  # noqa: E402
    importer,
    lowering,
    oracle,
    pruning,
    quantisation,
)
from tinyengine.families import recurrent, softmax  # noqa: E402
from tinyengine.operators import ROWS  # noqa: E402

MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
REAL = ("ad01_int8", "kws_ref_model", "mcunet_vww", "pretrainedResnet_quant", "vww_96_int8")


def _beyond_int32():
    """Yields (name, bytes of a model): bits that a te_scale shifts out of int32 are lost."""
    for power in (23, 26, 30):
        builder = tflite_builder.Builder(power)
        x = builder.value((1, 4, 5, 8), 0.05, 5)
        quantized = builder.quantize(x, x.scale / 2**power, 3)
        yield f"quantize_by_2^{power}", builder.model(x, quantized)


SMALL = dict(
    [
        *tflite_models.cases(),
        *tflite_graphs.odd(),
        *tflite_graphs.random_graphs(range(80)),
        *tflite_graphs.random_copies(range(40)),
        *tflite_graphs.random_convolutions(range(40)),
        *_beyond_int32(),
    ]
)


class Model:
    """A model with its `graphs`, lowered and pruned, and what the oracle computes for `inputs`."""

    def __init__(self, content, count):
        lowered = lowering.lower(importer.parse(content))
        self.graphs = {"lowered": lowered, "pruned": pruning.prune(lowered)}
        (first,) = lowered.inputs
        self.inputs = check_tflite.make_inputs(lowered.tensors[first], count)
        reference = oracle.Oracle(content, first)
        self.wanted = [reference.run(values) for values in self.inputs]

    def operators(self):
        """Yields (graph, operator) of both graphs."""
        for graph in self.graphs.values():
            for operator in graph.operators:
                yield graph, operator

    def differences(self):
        """[(graph, kind, index, values that differ)] of the operators whose rules are wrong."""
        wrong = []
        for name, graph in self.graphs.items():
            computed = operators.execute(graph, self.inputs)
            for operator, i in ((o, i) for o in graph.operators for i in o.outputs):
                left = np.stack([graph.tensors[i].left_of(values[i]) for values in self.wanted])
                assert computed[i].dtype == left.dtype and computed[i].shape == left.shape
                count = np.count_nonzero(computed[i] != left)
                if count:
                    wrong.append((name, operator.kind, operator.index, count))
        return wrong


@functools.cache
def small(name):
    return Model(SMALL[name], 6)


@pytest.mark.parametrize("name", SMALL)
def test_rules_match_the_oracle_on_every_value(name):
    assert not small(name).differences()


@pytest.mark.parametrize("name", REAL)
def test_rules_match_the_oracle_on_a_real_model(name):
    path = MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    assert not Model(path.read_bytes(), 2).differences()


SCALED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MEAN"}
SCALED |= {"SUB", "MUL", "SQUARED_DIFFERENCE", "PRELU", "TRANSPOSE_CONV"}
SCALED |= {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "QUANTIZE_INT16"}
# What is wrong: (module, name, wrong value, kinds that must show it on right inputs)
WRONG = {
    "products_are_cut_off": (
        quantisation,
        "doubling_high_multiply",
        lambda a, b: a * b >> 31,
        SCALED,
    ),
    "halves_of_negatives_round_up": (
        quantisation,
        "rounding_shift",
        lambda values, shifts: (values + ((np.int64(1) << shifts) >> 1)) >> shifts,
        SCALED,
    ),
    "a_factor_of_the_exponential": (
        softmax,
        "FACTORS",
        (*softmax.FACTORS[:2], softmax.FACTORS[2] + (1 << 20), *softmax.FACTORS[3:]),
        {"SOFTMAX", "SOFTMAX_INT16", "LOG_SOFTMAX"},
    ),
    "a_factor_of_the_exponential_of_16_bits": (
        recurrent,
        "FACTORS",
        (*recurrent.FACTORS[:2], recurrent.FACTORS[2] + 1, *recurrent.FACTORS[3:]),
        {"UNIDIRECTIONAL_SEQUENCE_LSTM"},
    ),
    "a_constant_of_the_logarithm": (
        softmax,
        "LOG_2",
        softmax.LOG_2 + (1 << 22),
        {"LOG_SOFTMAX"},
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_constant_or_rounding_is_found(what, monkeypatch):
    module, name, value, kinds = WRONG[what]
    models = [small(case) for case in SMALL]  # pruned with what is right
    monkeypatch.setattr(module, name, value)
    found = {kind for model in models for _, kind, *_ in model.differences()[:1]}
    assert found == kinds


def test_an_input_does_not_depend_on_those_computed_with_it():
    for graph in small("chain_classifier").graphs.values():
        inputs = small("chain_classifier").inputs
        together = operators.execute(graph, inputs)
        for i, values in enumerate(inputs):
            alone = operators.execute(graph, values[None])
            assert all(np.array_equal(alone[t][0], together[t][i]) for t in together)


# --- sizes, multiplications, accumulators


def test_the_check_after_each_pass_finds_a_wrong_size_a_late_writer_and_a_large_sum():
    graph = small("chain_classifier").graphs["lowered"]
    step = next(s for s in graph.operators if s.kind == "CONV_2D")

    def changed(**fields):
        steps = [replace(s, fields=s.fields | fields) if s is step else s for s in graph.operators]
        return replace(graph, operators=steps)

    assert operators.verify(graph) is graph
    huge = np.full_like(step.fields["bias"], 2**31 - 1)
    output = step.fields["output"] | {"height": step.fields["output"]["height"] + 1}
    for broken, words in (
        (changed(output=output), "elements, not"),
        (changed(bias=huge), "accumulators up to"),
        (replace(graph, operators=graph.operators[::-1]), "before it is written"),
        (replace(graph, operators=graph.operators * 2), "a second time"),
        (replace(graph, rows={}), "no row of that kind"),
    ):
        with pytest.raises(operators.GraphError, match=words):
            operators.verify(broken)


def test_multiplications_are_those_of_the_model():
    for case in SMALL:
        imported = importer.parse(SMALL[case])
        before = {o.index: imported.row(o).costs(imported, o)[0] for o in imported.operators}
        graph = small(case).graphs["lowered"]
        for step in graph.operators:
            assert graph.row(step).macs(step.fields) == before[step.index], case


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN"])
def test_accumulators_reach_their_bounds_and_do_not_pass_them(kind, rng, monkeypatch):
    """Of these kinds it is the accumulator that is scaled."""
    scaled, shares = quantisation.scaled, []

    def watched(accumulators, *scales):
        shares[-1] = np.abs(accumulators).max() / ROWS[kind].bound(fields)
        return scaled(accumulators, *scales)

    steps = [o for case in SMALL for _, o in small(case).operators() if o.kind == kind]
    monkeypatch.setattr(quantisation, "scaled", watched)
    for step in steps:
        fields = step.fields
        size, _ = ROWS[kind].sizes(fields)
        inputs = [np.full(size, -128), np.full(size, 127), *rng.choice([-128, 127], (30, size))]
        shares.append(None)
        ROWS[kind].rule(fields, np.array(inputs, np.int8))
    assert max(shares) == 1


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("average_pool_2d_same_3x3_stride_1x1", 9 * 128 + 4),  # 4: half of 9, which rounds
        ("softmax_scale_0.1_size_300", 300 << 19),  # Q12.19
        ("add_to_itself", 0),
    ],
)
def test_bounds_of_what_is_not_weighted(name, bound):
    for graph, step in small(name).operators():
        assert graph.row(step).bound(step.fields) == bound
