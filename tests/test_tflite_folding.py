"""What vanishes when a model is imported: shapes that are computed, dilated convolutions that are
written as three operators. What lowering changes of convolutions, and long rows of SOFTMAX."""

import zlib

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_convolutions  # noqa: E402
from conftest import SANITIZE  # noqa: E402
from tflite_builder import Builder  # noqa: E402

from cli import UserError  # noqa: E402
from compiler import hostrun, operators  # noqa: E402
from tinyengine import emission, importer, lowering, pipeline  # noqa: E402

COMPUTED = ("SHAPE", "STRIDED_SLICE", "PACK", "GATHER", "REDUCE_PROD", "CONCATENATION", "FILL")
NOTHING = ((0, 0), (0, 0))
CASES = {case[0]: case[1:] for case in tflite_convolutions.convolutions()}


def built(name):
    """The bytes of a case."""
    shape, build, given = CASES[name]
    builder = Builder(zlib.crc32(name.encode()))
    x = builder.value(shape, **given)
    return builder.model(x, build(builder, x))


def imported(build, shape=(1, 9, 10, 4)):
    """The graph of a model, and its lowered one."""
    builder = Builder(1)
    x = builder.value(shape)
    graph = importer.parse(builder.model(x, build(builder, x)))
    return graph, lowering.lower(graph)


def kinds(graph):
    return [operator.kind for operator in graph.operators]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("shapes_")])
def test_what_follows_from_shapes_is_a_constant(name):
    assert not {*kinds(importer.parse(built(name)))} & {*COMPUTED}


def test_shapes_behind_a_placeholder_are_computed():
    graph = importer.parse(built("shapes_dense"))
    assert [graph.tensors[o.outputs[0]].shape for o in graph.operators] == [
        *((12, 6), (12, 5)),
        *((1, 3, 4, 5),) * 2,
    ]


def test_a_shape_of_what_is_not_there_is_refused():
    def build(b, x):
        shape = tflite_convolutions.shape_of(b, x)
        inputs = [shape, tflite_convolutions._integers(b, [7])]
        shape = tflite_convolutions.shape_operator(b, "GATHER", inputs, (1,), "GatherOptions")
        y = b.value((1, 360), x.scale, x.zero_point)
        return b.operator("RESHAPE", [x.index, shape], y, "ReshapeOptions")

    with pytest.raises(UserError, match="index 7 is out of bounds"):
        imported(build)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_dilated_convolution_is_one_step(depthwise):
    """It has the fields of the same convolution, written as one operator."""

    def three(b, x):
        crops, arguments = ((0, 1), (0, 0)), {"kernel": (3, 3), "depthwise": depthwise}
        return tflite_convolutions.dilated(b, x, 4, (2, 2), ((2, 3), (2, 2)), crops, **arguments)

    def one(b, x):
        return b.convolution(x, 4, (3, 3), dilation=(2, 2), depthwise=depthwise)

    (_, lowered), (_, wanted) = imported(three), imported(one)
    ((step,), (other,)) = lowered.operators, wanted.operators
    assert step.kind == other.kind
    for name in ("input", "output", "window"):
        assert step.fields[name] == other.fields[name]


REFUSED = {
    "strides": {"stride": (2, 1)},
    "another_block": {"again": (2, 1)},
    "more_cropped_than_added": {"paddings": NOTHING, "crops": ((1, 1), (0, 0))},
    "read_twice": {"twice": True},
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_batches_are_refused(what):
    changes = {"paddings": ((0, 1), (0, 0)), "crops": ((0, 1), (0, 0)), **REFUSED[what]}
    again, twice = changes.pop("again", None), changes.pop("twice", False)

    def build(b, x):
        paddings, crops = changes["paddings"], changes["crops"]
        others = {k: v for k, v in changes.items() if k == "stride"}
        y = tflite_convolutions.dilated(b, x, 4, (2, 2), paddings, crops, kernel=(3, 3), **others)
        if again:
            b.operators[-1].inputs[1] = tflite_convolutions._integers(b, again)
        if twice:
            inner = b.operators[-1].inputs[0]
            b.operator("QUANTIZE", [inner], b.value(b.tensors[inner].shape), "QuantizeOptions")
        return y

    shape = (1, 10, 10, 4) if what == "more_cropped_than_added" else (1, 9, 10, 4)
    with pytest.raises(UserError, match="SPACE_TO_BATCH_ND 0: supported is only around one"):
        imported(build, shape)


@pytest.mark.parametrize(
    ("channels", "outputs", "attributes", "kind"),
    [
        (1, 8, {"depthwise": True}, "CONV_2D"),
        (1, 1, {"depthwise": True}, "DEPTHWISE_CONV_2D"),
        (3, 6, {"depthwise": True}, "DEPTHWISE_CONV_2D"),
        (4, 8, {"groups": 4}, "DEPTHWISE_CONV_2D"),
        (4, 8, {"groups": 2}, "CONV_2D"),
        (1, 1, {}, "DEPTHWISE_CONV_2D"),
    ],
)
def test_a_convolution_is_of_the_kind_with_the_faster_kernel(channels, outputs, attributes, kind):
    _, lowered = imported(
        lambda b, x: b.convolution(x, outputs, (3, 3), **attributes), (1, 6, 5, channels)
    )
    assert kinds(lowered) == [kind]


def test_a_depthwise_convolution_of_a_column_is_one_of_a_row():
    _, lowered = imported(
        lambda b, x: b.convolution(x, 4, (5, 1), stride=(2, 1), depthwise=True), (1, 9, 1, 4)
    )
    fields = lowered.operators[0].fields
    assert fields["input"] == {"height": 1, "width": 9, "channels": 4}
    assert fields["weights"].shape == (1, 1, 5, 4)
    assert (fields["window"]["stride_x"], fields["window"]["pad_left"]) == (2, 2)


def test_groups_that_do_not_divide_the_outputs_are_refused():
    with pytest.raises(UserError, match="no groups of 4"):
        imported(lambda b, x: b.convolution(x, 3, (3, 3), groups=2))


def test_an_output_that_a_transposed_convolution_cannot_have_is_refused():
    def build(b, x):
        return tflite_convolutions.transpose_conv(b, x, 3, (3, 3), (2, 2), size=(30, 20))

    with pytest.raises(UserError, match="an output of shape"):
        imported(build)


# --- long rows of SOFTMAX, where the reference aborts


def softmax(size):
    builder = Builder(1)
    x = builder.value((1, size), 0.1)
    return builder.model(x, builder.softmax(x))


@pytest.mark.parametrize("optimise", ["none", "speed"])
def test_a_row_of_many_equal_values_is_defined(optimise, tmp_path):
    """Of 512 equal values each is 1/512, which rounds to 0 in steps of 1/256, as all of less."""
    compiled = pipeline.compile_model(softmax(4095), "model", optimise=optimise)
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path, ("cc", *SANITIZE[1:]))
    inputs = np.array([np.full((1, 4095), value) for value in (-128, 7, 127)], np.int8)
    computed = harness.run(inputs)
    assert (operators.run(compiled.graph, inputs) == -128).all()
    assert all((output == -128).all() for output in np.atleast_2d(computed.output))


def test_a_row_whose_sum_could_leave_int32_is_refused():
    with pytest.raises(UserError, match="rows of 4096 values; supported are up to 4095"):
        pipeline.compile_model(softmax(4096), "model")
