"""What CONTRIBUTING.md says of a new operator of TensorFlow Lite is all that it takes.

RELU of a tensor that keeps its scale: a row, and a kernel whose C is all that it emits.
"""

import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402

import check_tflite  # noqa: E402
from compiler import hostrun  # noqa: E402
from compiler.operators import Row, execute  # noqa: E402
from compiler.selection import Kernel  # noqa: E402
from tinyengine import (  # noqa: E402
    descriptions,
    emission,
    measures,
    oracle,
    pipeline,
    shapes,
)
from tinyengine.kind import Kind  # noqa: E402
from tinyengine.operators import KINDS, ROWS  # noqa: E402


def emit_relu(packed, place):
    (x,), (y,) = place.inputs, place.outputs
    yield f"for (uint32_t i = 0; i < {packed['size']}; i++)"
    yield f"    {y}[i] = {x}[i] > {packed['zero']} ? {x}[i] : {packed['zero']};"


def describe_relu(operator, tensors):
    x, _ = descriptions.ends(operator, tensors)
    return {"size": x.size, "zero": x.zero_point}


RELU = Kind(
    shapes.same,
    describe_relu,
    Row(
        "RELU",
        measures.same_sizes,
        lambda fields, x: x.clip(fields["zero"]),
        (Kernel("relu", "", None, emit_relu, in_place=lambda fields: True),),
    ),
)


def test_a_new_operator_goes_from_a_tflite_file_to_c(monkeypatch, tmp_path):
    monkeypatch.setitem(KINDS, "RELU", RELU)
    monkeypatch.setitem(ROWS, "RELU", RELU.row)
    builder = tflite_builder.Builder(1)
    x = builder.value((1, 4, 5, 8), 0.05, 5)
    y = builder.value((1, 4, 5, 8), 0.05, 5)
    builder.operator("RELU", [x.index], y)
    content = builder.model(x, y)
    compiled = pipeline.compile_model(content, "relu")
    inputs = check_tflite.make_inputs(compiled.graph.input, 4)
    harness = hostrun.build(compiled, emission.emit(compiled), tmp_path)
    assert not check_tflite.differences(harness, content, inputs)
    reference = oracle.Oracle(content, compiled.graph.inputs[0])
    wanted = check_tflite.wanted_of(compiled.graph, reference, inputs)
    assert (execute(compiled.graph, inputs)[y.index] == wanted[y.index]).all()
