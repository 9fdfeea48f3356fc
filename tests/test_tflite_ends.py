"""Several inputs and outputs, and variables: exact on every value, or refused in one line."""

import numpy as np
import pytest
from conftest import sanitizing

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_ends  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from tflite_states import assign, handle, read, svdf  # noqa: E402

import check_tflite  # noqa: E402
from cli import UserError  # noqa: E402
from compiler import hostrun, operators  # noqa: E402
from tinyengine import emission, kernelrows, oracle, pipeline  # noqa: E402

ENDS = dict(tflite_ends.ends())
RANDOM = dict(tflite_ends.random_ends(range(30)))
RUNS = 6
FAST_TO_BUILD = ("cc", "-O0")


def check(content, optimise, folder, compiler):
    """Asserts that the rules and the C of a model compute what the reference does."""
    compiled = pipeline.compile_model(content, "model", "model.tflite", optimise)
    graph = compiled.graph
    inputs = check_tflite.all_inputs([graph.tensors[i] for i in graph.inputs], RUNS)
    inputs = inputs if len(inputs) > 1 else inputs[0]
    computed = operators.execute(graph, inputs)
    reference = oracle.Oracle(content, graph.inputs)
    for i, wanted in check_tflite.wanted_of(graph, reference, inputs).items():
        np.testing.assert_array_equal(computed[i], wanted)
    harness = hostrun.build(compiled, emission.emit(compiled), folder, compiler)
    assert not check_tflite.differences(harness, content, inputs)


@pytest.mark.parametrize("optimise", kernelrows.OPTIMISE)
@pytest.mark.parametrize("name", [*ENDS, *RANDOM])
def test_all_ends_are_exact_on_every_value(name, optimise, tmp_path):
    check((ENDS | RANDOM)[name], optimise, tmp_path, FAST_TO_BUILD)


@pytest.mark.long
@pytest.mark.parametrize("optimise", kernelrows.OPTIMISE)
def test_many_random_ends_are_exact_on_every_value(optimise, tmp_path):
    """Under sanitizers."""
    for name, content in tflite_ends.random_ends(range(30, 400)):
        try:
            check(content, optimise, tmp_path / name, sanitizing())
        except Exception as error:
            raise AssertionError(name) from error


def test_random_ends_are_of_all_kinds():
    models = [pipeline.compile_model(content, "model") for content in RANDOM.values()]
    graphs = [model.graph for model in models]
    kinds = [{step.kind for step in graph.operators} for graph in graphs]
    for counted in (
        (len(graph.inputs) > 1 for graph in graphs),
        (len(graph.outputs) > 1 for graph in graphs),
        (len({*graph.outputs}) < len(graph.outputs) for graph in graphs),
        ({*graph.outputs} & {*graph.inputs} for graph in graphs),
        (any(map(graph.consumers, graph.outputs)) for graph in graphs),
        (not all(map(graph.consumers, graph.inputs)) for graph in graphs),
        (len(graph.state) > 1 for graph in graphs),
        (not {"READ_VARIABLE", "ASSIGN_VARIABLE"} <= each for each in kinds),
        ({"READ_VARIABLE", "ASSIGN_VARIABLE"} <= each for each in kinds),
        (any(block.within for block in model.blocks) for model in models),
        (any(block.shares for block in model.blocks) for model in models),
    ):
        assert sum(map(bool, counted)) > 1


# --- refusals


def _nothing_to_compute(b):
    return [tflite_ends.dequantized(b, b.input())]


def _no_inputs(b):
    variable, before = b.kept("kept", b.value((1, 8)))
    assign(b, variable, before)
    return [b.quantize(before, 0.07, 1)]


def _beside(dtype):
    """A second input, without a scale, that nothing reads."""

    def make(b):
        x = b.input()
        b.inputs.append(b.without_scale(dtype))
        return [b.quantize(x, 0.1)]

    return make


def _quantized(b, *scales):
    """What is made of one float input."""
    x = b.without_scale(np.float32)
    b.inputs.append(x)
    values = [b.value(x.shape, scale, 1) for scale in scales]
    return [b.operator("QUANTIZE", [x.index], y, "QuantizeOptions") for y in values]


def _a_float_input_that_is_quantised_for_nothing(b):
    x = b.input()
    _quantized(b, 0.05)
    return [b.quantize(x, 0.1)]


def _a_float_input_that_is_quantised_twice(b):
    return [b.pair("ADD", *_quantized(b, 0.05, 0.07), 0.1)]


def _an_output_of_32_bits_without_a_scale(b):
    x, y = b.input(scale=0.0006, zero_point=0, dtype=np.int16), b.without_scale(np.int32)
    return [b.operator("QUANTIZE", [x.index], y, "QuantizeOptions")]


def _a_product_of_constants(b):
    product = b.pair("MUL", b.constant_value((1, 8)), b.constant_value((1, 8)), 0.05)
    return [b.pair("ADD", b.input(), product, 0.1)]


def _a_state_as_input(b):
    y = svdf(b, b.input((1, 6)), 3)
    b.inputs.append(tflite_ends.state_of(b))
    return [y]


def _assigned_twice(b):
    x = b.input()
    variable, before = b.kept("kept", x)
    assign(b, variable, b.pair("ADD", before, x, x.scale, zero_point=x.zero_point))
    assign(b, variable, b.pair("SUB", read(b, variable, x), x, x.scale, zero_point=x.zero_point))
    return [b.quantize(before, 0.1)]


def _a_constant_that_is_assigned(b):
    x, variable = b.input(), handle(b, "kept")
    assign(b, variable, b.constant_value(x.shape, x.scale, x.zero_point))
    return [b.pair("ADD", x, read(b, variable, x), 0.1)]


def _a_variable_of_16_bits(b):
    x, variable = b.input(scale=0.0006, zero_point=0, dtype=np.int16), handle(b, "kept")
    assign(b, variable, x)
    y = b.value(x.shape, x.scale, x.zero_point, np.int16)
    return [b.quantize(b.operator("READ_VARIABLE", [variable], y, "ReadVariableOptions"), 0.1)]


def _a_shape_by_ends_that_are_offsets(b):
    """As TensorFlow Lite has it, `end` counts from `begin`."""
    x, shape, part = b.input((1, 4, 6)), *(b.without_scale(np.int32, (n,)) for n in (3, 2))
    kind = {"outType": schema.TensorType.INT32}
    b.operator("SHAPE", [x.index], shape, "ShapeOptions", **kind)
    ends = [b.constant(np.array([n], np.int32)) for n in (1, 2, 1)]
    b.operator("STRIDED_SLICE", [shape.index, *ends], part, "StridedSliceOptions", offset=True)
    y = b.value((4, 6), x.scale, x.zero_point)
    return [b.quantize(b.operator("RESHAPE", [x.index, part.index], y), 0.1)]


REFUSED = {
    _nothing_to_compute: "nothing is left to compute; the output is the input",
    _no_inputs: "not supported: a model without inputs",
    _beside(np.float32): "input 1 of the model is float32, and unread",
    _beside(np.int32): "input 1 of the model is int32, and unread",
    _beside(np.int8): "input 1 of the model is int8, and unread",
    _a_float_input_that_is_quantised_for_nothing: "input 1 of the model is float32, and unread",
    _a_float_input_that_is_quantised_twice: "a float input that is read more than once",
    _an_output_of_32_bits_without_a_scale: "tensors without a scale of their own (1 tensor)",
    _a_product_of_constants: "nothing but constants as inputs (MUL 0)",
    _a_state_as_input: "a variable that several operators write (SVDF 0)",
    _assigned_twice: "a variable that is assigned twice (ASSIGN_VARIABLE 7)",
    _a_constant_that_is_assigned: "an input 0 that is a constant (ASSIGN_VARIABLE 1)",
    _a_variable_of_16_bits: "not supported: int16 activations (3 tensors)",
    _a_shape_by_ends_that_are_offsets: "an input 0 that is a constant (STRIDED_SLICE 1)",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__.lstrip("_"))
def test_ends_that_cannot_be_exact_are_refused_in_one_line(make):
    builder = tflite_ends.EndsBuilder(0)
    content = builder.finished(make(builder))
    with pytest.raises(UserError) as raised:
        pipeline.compile_model(content, "model", "model.tflite")
    message = str(raised.value)
    assert message.isprintable() and message.startswith("model.tflite: ")
    assert REFUSED[make] in message
