"""What TensorFlow Lite refuses is refused in one line, and what is not supported, all at once.

Faults are made in small models, and the reference is asked, too, so that no check outlives it.
"""

import os
from pathlib import Path

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402
import tflite_models  # noqa: E402
import tflite_mutations  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: E402
from PIL import Image  # noqa: E402

import check_tflite  # noqa: E402
from cli import UserError  # noqa: E402
from compiler import operators  # noqa: E402
from compiler.graph import Tensor  # noqa: E402
from tinyengine import emission, flatbuffer, importer, oracle, pipeline  # noqa: E402

CASES = {n: c for n, c in tflite_models.cases() if len(c) < 6000}
FOLDER = Path(os.environ.get("BITNETMCU_CASES", "no cases"))
BIAS_AXIS = "quantized_dimension must be in range [0, 1)"  # of TensorFlow Lite, not of Micro


def build(layers, shape=(1, 6, 5, 4)):
    """The bytes of a model; layers: (builder, input) -> output."""
    builder = tflite_builder.Builder(0)
    x = builder.value(shape, 0.05, 3)
    return builder.model(x, layers(builder, x))


def network(b, x):
    y = b.convolution(x, 6, (3, 3), activation="RELU")
    y = b.convolution(y, 6, (3, 3), depthwise=True)
    return b.fully_connected(b.reshape(y, (1, 180)), 3)


NETWORK = build(network)
CONVOLUTION, DEPTHWISE, RESHAPE, FULLY_CONNECTED = range(4)


def changed(change, content=NETWORK):
    """The bytes of a model after `change(model, its graph)`, objects of the schema."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
    change(model, model.subgraphs[0])
    return oracle.serialised(model)


def quantisation(graph, operator, place):
    """That of an operator's input."""
    return graph.tensors[graph.operators[operator].inputs[place]].quantization


def message_of(content):
    with pytest.raises(UserError) as raised:
        pipeline.compile_model(content, "model", "model.tflite")
    message = str(raised.value)
    assert message.isprintable() and message.startswith("model.tflite: ")
    return message


def whole(content):
    """TensorFlow Lite's interpreter of a whole model."""
    kernels = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    return interpreter


def complaint_of_the_reference(content):
    """What TensorFlow Lite says of a model, None if it takes it."""
    try:
        whole(content)
    except (ValueError, RuntimeError) as error:
        return " ".join(str(error).split())
    return None


# --- what the reference refuses


def without_zero_points(model, graph):
    quantisation(graph, FULLY_CONNECTED, 2).zeroPoint = None


def one_zero_point_too_few(model, graph):
    quantisation(graph, CONVOLUTION, 1).zeroPoint = [0]


def an_odd_number_of_scales(model, graph):
    found = quantisation(graph, DEPTHWISE, 1)
    found.scale, found.zeroPoint = found.scale[:5], found.zeroPoint[:5]


def scales_along_a_fifth_dimension(model, graph):
    quantisation(graph, CONVOLUTION, 1).quantizedDimension = 4


def scales_along_a_negative_dimension(model, graph):
    quantisation(graph, CONVOLUTION, 2).quantizedDimension = -1


def an_unread_tensor_of_two_scales(model, graph):
    tensor = schema.TensorT()
    tensor.shape, tensor.type = [1, 3], schema.TensorType.INT8
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale, tensor.quantization.zeroPoint = [0.1, 0.2], [0, 0]
    graph.tensors.append(tensor)


def a_newer_schema(model, graph):
    model.version = 4


def no_options(model, graph):
    graph.operators[CONVOLUTION].builtinOptions = None


def options_of_another_operator(model, graph):
    graph.operators[CONVOLUTION].builtinOptionsType = schema.BuiltinOptions.ReshapeOptions


def an_operator_of_the_future(model, graph):
    model.operatorCodes[0].version = 99


def a_huge_dilation(model, graph):
    graph.operators[DEPTHWISE].builtinOptions.dilationHFactor = 1 << 20


def a_bias_of_no_type(model, graph):
    graph.operators[CONVOLUTION].builtinOptions.quantizedBiasType = 100


def a_variable_with_data(model, graph):
    graph.tensors[graph.operators[CONVOLUTION].inputs[1]].isVariable = True


def new_shape(shape):
    def change(model, graph):
        graph.operators[RESHAPE].inputs = graph.operators[RESHAPE].inputs[:1]
        graph.operators[RESHAPE].builtinOptions.newShape = shape

    change.__name__ = f"new_shape_{shape}"
    return change


FAULTS = {
    without_zero_points: "1 scales and 0 zero points",
    one_zero_point_too_few: "6 scales and 1 zero points",
    an_odd_number_of_scales: "5 scales for 6 along dimension 3",
    scales_along_a_fifth_dimension: "scales along dimension 4 of 4",
    scales_along_a_negative_dimension: "scales along dimension -1 of 1",
    an_unread_tensor_of_two_scales: "2 scales for 1 along dimension 0",
    a_newer_schema: "not supported: version 4 of the schema; supported is 3",
    no_options: "CONV_2D 0 has no options, not Conv2DOptions",
    options_of_another_operator: "CONV_2D 0 has ReshapeOptions, not Conv2DOptions",
    an_operator_of_the_future: "CONV_2D of version 99; there are 1 to 8",
    a_huge_dilation: "dilation_y 1048576",
    a_bias_of_no_type: "CONV_2D 0 has biases of type 100",
    a_variable_with_data: "has data, but is a variable",
    new_shape([1, -180]): "RESHAPE 2 to the shape [1, -180]",
    new_shape([-1, -1]): "RESHAPE 2 to the shape [-1, -1]",
    new_shape([7, -1]): "RESHAPE 2 to the shape [7, -1]",
    new_shape([1, 179]): "RESHAPE 2 to the shape [1, 179]",
    new_shape(None): "RESHAPE 2 to the shape []",
}


@pytest.mark.parametrize("change", FAULTS, ids=lambda change: change.__name__)
def test_what_the_reference_refuses_is_refused_with_the_reason(change):
    content = changed(change)
    assert FAULTS[change] in message_of(content)
    assert complaint_of_the_reference(content)


def test_a_bias_of_another_scale_is_refused_where_the_reference_does():
    """TensorFlow Lite Micro does, of FULLY_CONNECTED, not of convolutions."""

    def change(model, graph):
        quantisation(graph, FULLY_CONNECTED, 2).scale = [1e6]
        quantisation(graph, CONVOLUTION, 2).scale = [1e6] * 6

    assert "FULLY_CONNECTED 3: a bias of scale 1e+06" in message_of(changed(change))
    with pytest.raises(UserError, match="TensorFlow Lite Micro refuses this model"):
        oracle.Oracle(changed(change))


def test_one_free_dimension_of_a_new_shape_is_taken():
    content = changed(new_shape([-1, 180]))
    assert exact(content) and complaint_of_the_reference(content) is None


# --- flatbuffers


def test_a_text_that_nobody_reads_must_end():
    content = bytearray(NETWORK)
    content[content.index(b"tensor_0") + 8] = 1
    assert "has no end" in message_of(bytes(content))
    assert complaint_of_the_reference(bytes(content))


def test_every_byte_that_makes_a_file_unreadable_is_found():
    """All offsets and lengths of a file, and what is neither, changed to what leads nowhere."""
    content = build(lambda b, x: b.softmax(x), (1, 5))
    refused = 0
    for at in range(0, len(content) - 4, 4):
        for word in (b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\1\0\0\0"):
            broken = content[:at] + word + content[at + 4 :]
            try:
                flatbuffer.verify(broken, importer.SCHEMA)
            except ValueError as error:
                refused += 1
                itself = "is 0" in str(error)  # what is its own offset may be a table by chance
                assert itself or complaint_of_the_reference(broken), at
                continue
            judged(broken)
    assert refused > 50


# --- what is not supported


def test_all_that_is_missing_is_named_at_once():
    def layers(b, x):
        def of(kind, *inputs):
            return b.operator(kind, [i.index for i in inputs], b.value(x.shape))

        y = of("COS", of("SIN", of("COS", x)))
        z = b.convolution(y, 4, (3, 3))
        return of("ATAN2", z, of("SIN", y))

    def change(model, graph):
        for i in (graph.operators[3].inputs[0], graph.operators[3].outputs[0]):
            graph.tensors[i].type = schema.TensorType.UINT8
        graph.outputs = [graph.outputs[0], graph.outputs[0]]

    assert message_of(changed(change, build(layers))).startswith(
        "model.tflite: not supported: COS (2), SIN (2), ATAN2 (1); uint8 activations (2 tensors); "
        "one tensor as two of the model's outputs; supported are: "
    )


def test_int16_activations_are_named_as_such():
    def change(model, graph):
        for tensor in graph.tensors:
            if tensor.type == schema.TensorType.INT8 and not tensor.buffer:
                tensor.type, tensor.quantization.zeroPoint = schema.TensorType.INT16, [0]
        bias = graph.tensors[graph.operators[CONVOLUTION].inputs[2]]
        data = np.frombuffer(bytes(bytearray(model.buffers[bias.buffer].data)), np.int32)
        bias.type = schema.TensorType.INT64
        model.buffers[bias.buffer].data = np.frombuffer(data.astype(np.int64).tobytes(), np.uint8)

    assert "not supported: int16 activations (5 tensors)" in message_of(changed(change))


def test_what_an_unknown_operator_needs_is_no_damage():
    """Its tensors may be of any type and shape."""

    def layers(b, x):
        y = b.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [x.index], b.value((0,)))
        return b.softmax(y)

    message = message_of(build(layers))
    assert "not supported: UNIDIRECTIONAL_SEQUENCE_RNN (1); supported" in message


def test_graphs_beside_the_first_are_control_flow_only_with_its_operators():
    def two(name):
        def change(model, graph):
            model.subgraphs.append(schema.SubGraphT())
            model.operatorCodes[0].builtinCode = getattr(schema.BuiltinOperator, name)
            model.operatorCodes[0].deprecatedBuiltinCode = 0

        return message_of(changed(change))

    assert "WHILE (1); control flow (2 subgraphs); supported" in two("WHILE")
    assert "2 subgraphs; convert a model that is one graph" in two("ATAN2")
    assert "subgraphs" not in two("CALL_ONCE")


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([0], [0], "an input of the model that is also its output"),
        ([0, 0], [-1], "one tensor as two of the model's inputs"),
        ([0], [-1, -1], "one tensor as two of the model's outputs"),
        ([0], [-1, 1], "constants among the model's outputs"),
        ([0, 1], [-1], "constants among the model's inputs"),
        ([0], [], "a model without outputs"),
    ],
)
def test_ends_of_a_model_that_are_none(inputs, outputs, words):
    def change(model, graph):
        last = graph.outputs[0]
        graph.inputs, graph.outputs = inputs, [last if i < 0 else i for i in outputs]

    assert f"not supported: {words}" in message_of(changed(change))


# --- what is odd, and runs


def exact(content, count=4):
    """Whether a model compiles, and its rules compute what the reference does."""
    compiled = pipeline.compile_model(content, "model", "model.tflite")
    emission.emit(compiled)
    graph = compiled.graph
    inputs = check_tflite.all_inputs([graph.tensors[i] for i in graph.inputs], count)
    inputs = inputs if len(inputs) > 1 else inputs[0]
    reference = oracle.Oracle(content, graph.inputs)
    try:
        wanted = check_tflite.wanted_of(graph, reference, inputs)
    except oracle.Aborted:
        return any(part.aborts for part in reference.parts)
    computed = operators.execute(graph, inputs)
    return all(np.array_equal(computed[i], values) for i, values in wanted.items())


def biases_along_the_axis_of_their_weights(model, graph):
    """As in TensorFlow Lite Micro's own models; the desktop's refuses them."""
    for operator in (CONVOLUTION, DEPTHWISE):
        quantisation(graph, operator, 2).quantizedDimension = 3


def empty_data_instead_of_none(model, graph):
    model.buffers[0].data = np.zeros(0, np.uint8)


def tensors_that_nobody_reads(model, graph):
    for dtype, shape, data in (
        (schema.TensorType.INT64, [2], bytes(16)),
        (schema.TensorType.BOOL, [3], bytes(3)),
        (schema.TensorType.STRING, [1], bytes(12)),
        (schema.TensorType.FLOAT32, [0], None),
    ):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.shape, tensor.type, tensor.buffer = shape, dtype, len(model.buffers)
        tensor.isVariable = data is None
        buffer.data = data and np.frombuffer(data, np.uint8)
        graph.tensors.append(tensor)
        model.buffers.append(buffer)


@pytest.mark.parametrize(
    "change",
    [biases_along_the_axis_of_their_weights, empty_data_instead_of_none, tensors_that_nobody_reads],
)
def test_what_is_odd_but_runs_is_exact(change):
    assert exact(changed(change))


# --- several inputs and outputs


def pair(activation="NONE"):
    """A model of two inputs and two outputs."""

    def layers(b, x):
        y = b.value(x.shape, 0.07, -4)
        return b.fully_connected(b.reshape(b.add(x, y, 0.1), (1, 120)), 5)

    def change(model, graph):
        graph.inputs = [graph.operators[0].inputs[1], graph.operators[0].inputs[0]]
        graph.outputs = [graph.operators[-1].outputs[0], graph.operators[0].outputs[0]]

    return changed(change, build(layers))


def test_the_oracle_takes_several_inputs_in_the_order_of_the_model(rng):
    graph = importer.parse(pair())
    assert len(graph.inputs) == len(graph.outputs) == 2
    inputs = [rng.integers(-128, 128, (3, 1, 6, 5, 4)).astype(np.int8) for _ in range(2)]
    runs = oracle.run(pair(), inputs)
    for run, values in zip(runs, zip(*inputs), strict=True):
        for i, array in zip(graph.inputs, values):
            assert np.array_equal(run[i], array)
        interpreter = whole(pair())
        for i, array in zip(graph.inputs, values):
            interpreter.set_tensor(i, array)
        interpreter.invoke()
        assert np.array_equal(run[graph.outputs[1]], interpreter.get_tensor(graph.outputs[1]))
    again = oracle.Oracle(pair(), graph.inputs)
    assert np.array_equal(
        again.run([i[0] for i in inputs])[graph.outputs[0]], runs[0][graph.outputs[0]]
    )


def test_inputs_follow_the_type_of_their_tensor(tmp_path):
    scale = {"scales": np.float32([0.1]), "zero_points": np.array([7])}
    tensors = [Tensor(name, (1, 16, 16, 3), name, **scale) for name in ("int8", "uint8", "int16")]
    Image.fromarray(np.full((20, 20, 3), 200, np.uint8)).save(tmp_path / "photo.png")
    for tensor, array in zip(tensors, check_tflite.all_inputs(tensors, 9, tmp_path / "photo.png")):
        assert array.dtype == tensor.dtype and array.shape == (9, 1, 16, 16, 3)
        assert (array.min(), array.max()) == (tensor.range.lowest, tensor.range.highest)
        if check_tflite.takes_photos(tensor):
            assert np.all(array[0] == 200 + tensor.range.lowest)
    assert not check_tflite.takes_photos(tensors[2])


# --- the reference's own refusals


@pytest.mark.parametrize("error", [RuntimeError("no\nway"), KeyError("x"), MemoryError()])
def test_whatever_an_interpreter_throws_is_one_line(error, monkeypatch):
    def fails(*args, **options):
        raise error

    monkeypatch.setattr(oracle, "Interpreter", fails)
    with pytest.raises(UserError, match="TensorFlow Lite refuses this model") as raised:
        oracle.Oracle(NETWORK)
    assert str(raised.value).isprintable()


def test_an_input_on_which_the_reference_aborts_ends_no_process():
    content = build(lambda b, x: b.softmax(x), (1, 600))
    reference = oracle.Oracle(content)
    assert reference.run(np.arange(600) % 250 - 125)
    with pytest.raises(oracle.Aborted):
        reference.run(np.zeros(600))


# --- anything


def judged(content):
    """Whether a model compiles. What does, the reference takes, and it is exact; else one line."""
    try:
        pipeline.compile_model(content, "model", "model.tflite")
    except UserError as error:
        assert str(error).isprintable()
        return False
    complaint = complaint_of_the_reference(content)
    assert complaint is None or BIAS_AXIS in complaint
    assert exact(content)
    return True


def fuzz(seeds):
    names = sorted(CASES)
    compiled = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        name = names[rng.integers(len(names))]
        content = tflite_mutations.mutated(CASES[name], rng)
        try:
            compiled += judged(content)
        except Exception as error:
            raise AssertionError(f"seed {seed}, of {name}") from error
    assert 0.05 * len(seeds) < compiled < 0.5 * len(seeds)


def test_changed_models_are_exact_or_refused_in_one_line():
    fuzz(range(400))


@pytest.mark.long
def test_many_changed_models_are_exact_or_refused_in_one_line():
    fuzz(range(1000, 30_000))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.tflite")), ids=lambda path: path.stem)
def test_a_case_is_exact_or_refused_in_one_line(path):
    judged(path.read_bytes())
