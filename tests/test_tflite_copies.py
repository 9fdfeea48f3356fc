"""Copies and resized images of int8 models: what is refused, and what becomes one copy."""

import numpy as np
import pytest

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_copies  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from tflite_builder import Builder  # noqa: E402

from cli import UserError  # noqa: E402
from tinyengine import emission, gathers, pipeline  # noqa: E402

IMAGE = (1, 4, 5, 3)


def compiled(build, shape=IMAGE):
    b = Builder(1)
    x = b.value(shape)
    return pipeline.compile_model(b.model(x, build(b, x)), "model", "model.tflite")


def with_options(change, build):
    """The same operator with its last table changed."""

    def changed(b, x):
        y = build(b, x)
        change(b.operators[-1].builtinOptions)
        return y

    return changed


def _joined_with_another_scale(b, x):
    return tflite_copies.concatenation(b, [x, b.quantize(x, float(x.scale) * 2)], 3)


def _offset(options):
    options.offset = True


def _fused(options):
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU


def _batch_dims(options):
    options.batchDims = 1


def _slice(begin, end, strides, **masks):
    return lambda b, x: tflite_copies.strided_slice(b, x, IMAGE, begin, end, strides, **masks)


def _gather(indices):
    return lambda b, x: tflite_copies.gather(b, x, indices, 1)


def _pad_v2_of_another_scale(b, x):
    y = tflite_copies.pad_v2(b, x, [(0, 0), (1, 1), (0, 0), (0, 0)], 3)
    b.tensors[b.operators[-1].inputs[2]].quantization.scale = [float(x.scale) * 2]
    return y


def _uneven(b, x):
    return tflite_copies.split(b, x, 3, 1)[0]


ZEROS, ONES = [0] * 4, [1] * 4
REFUSED = {
    "joined_with_another_scale": (_joined_with_another_scale, "supported are equal ones"),
    "fused_activation": (
        with_options(_fused, lambda b, x: tflite_copies.concatenation(b, [x, x], 1)),
        "activation RELU; supported is NONE",
    ),
    "uneven_split": (_uneven, r"4 values as \[1, 1, 1\]"),
    "slice_beyond": (
        lambda b, x: tflite_copies.slice_of(b, x, [0, 2, 0, 0], [1, 3, 5, 3]),
        "3 values from 2 on of 4",
    ),
    "step_of_nothing": (_slice(ZEROS, IMAGE, [1, 0, 1, 1]), "a step of 0"),
    "nothing": (_slice([0, 3, 0, 0], [1, 3, 5, 3], ONES), "nothing of 4 values"),
    "index_beyond": (_slice([0, 4, 0, 0], IMAGE, ONES, shrinkAxisMask=2), "nothing of 4 values"),
    "two_ellipses": (_slice([0, 0], [1, 1], [1, 1], ellipsisMask=3), r"ellipses at \[0, 1\]"),
    "ellipsis_of_nothing": (_slice([0] * 5, [9] * 5, [1] * 5, ellipsisMask=1), "ellipses at"),
    "offset": (with_options(_offset, _slice(ZEROS, IMAGE, ONES)), "ends that are offsets"),
    "gather_beyond": (_gather([1, 4]), r"indices \[1, 4\] of 4 values"),
    "gather_before": (_gather([-1]), r"indices \[-1\] of 4 values"),
    "gather_batch": (with_options(_batch_dims, _gather([1, 0])), "batch_dims"),
    "reversed_apart": (
        lambda b, x: tflite_copies.reverse(b, x, (1, 3)),
        r"dimensions \[1, 3\]; supported are neighbours",
    ),
    "mirror_too_small": (
        lambda b, x: tflite_copies.mirror_pad(b, x, [(0, 0), (4, 0), (0, 0), (0, 0)], "REFLECT"),
        r"paddings \[4, 0\] of 4 values",
    ),
    "value_of_another_scale": (_pad_v2_of_another_scale, "supported are equal ones"),
    "bilinear_beyond": (
        lambda b, x: tflite_copies.resize(b, x, (4, 3000), False),
        "5 pixels as 3000, where rounded steps lead beyond the last",
    ),
    "bilinear_both": (
        lambda b, x: tflite_copies.resize(b, x, (8, 10), False, True, True),
        "both align_corners and half_pixel_centers",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exact_is_refused(name):
    build, words = REFUSED[name]
    with pytest.raises(UserError, match=words):
        compiled(build)


def test_places_that_do_not_fit_into_16_bits_are_refused():
    with pytest.raises(UserError, match="index 39999; supported are up to 32767"):
        compiled(lambda b, x: tflite_copies.gather(b, x, [1, 39999, 2], 1), (1, 40000))


def test_six_uneven_axes_are_refused():
    permutation = (5, 4, 3, 2, 1, 0)
    with pytest.raises(UserError, match="a copy along 6 axes; supported are 5"):
        compiled(lambda b, x: b.transpose(x, permutation), (2, 3, 2, 3, 2, 3))


def test_an_image_repeated_by_rows_and_by_columns_is_one_copy():
    def larger(b, x):
        rows = tflite_copies.tile(b, b.reshape(x, (1, 4, 1, 5, 3)), (1, 1, 2, 1, 1))
        columns = tflite_copies.tile(b, b.reshape(rows, (1, 8, 5, 1, 3)), (1, 1, 1, 2, 1))
        return b.reshape(columns, (1, 8, 10, 3))

    (step,) = compiled(larger).graph.operators
    assert [axis["size"] for axis in step.fields["axes"]] == [4, 2, 5, 2, 3]


def test_a_copy_of_a_copy_reads_the_same_places(rng):
    for _ in range(200):
        shape = tuple(rng.integers(1, 5, 3).tolist())
        order = rng.permutation(3)
        axes = [gathers.strided(shape)[i] for i in order]
        first = {"input_size": int(np.prod(shape)), "start": 0, "axes": axes}
        size = int(np.prod(shape))
        start, step = int(rng.integers(size)), int(rng.choice([-2, -1, 1, 2]))
        count = len(range(start, size if step > 0 else -1, step))
        axis = {"size": count, "stride": step}
        second = {"input_size": size, "start": start, "axes": [axis]}
        both = gathers.composed(first, second)
        if both is not None:
            x = rng.integers(-128, 128, (1, size)).astype(np.int8)
            wanted = gathers.rule(second, gathers.rule(first, x))
            assert np.array_equal(gathers.rule(both, x), wanted)


def test_rows_of_contiguous_values_are_copied_by_rows():
    def kernel(build):
        return compiled(build).choices[0].kernel.name

    assert kernel(lambda b, x: tflite_copies.cropping(b, x, 1, 0, 1, 1)) == "copy_rows"
    assert kernel(lambda b, x: b.softmax(b.transpose(x, (0, 3, 1, 2)))) != "copy_rows"


def test_an_input_of_a_concatenation_along_rows_has_one_place_in_its_output():
    def joined(b, x):
        return tflite_copies.concatenation(b, [x, b.quantize(x, x.scale, x.zero_point)], 1, {1: 2})

    (step,) = compiled(joined).graph.operators
    assert step.fields["rows"] == 1
    assert [part["offset"] for part in step.fields["parts"]] == [0, 60, 90]


def test_what_is_put_together_along_rows_is_written_where_it_belongs():
    def joined(b, x):
        parts = [b.lookup("RELU", b.convolution(x, 4), 0.1, 3) for _ in range(2)]
        return tflite_copies.concatenation(b, parts, 1)

    model = compiled(joined, (1, 4, 5, 4))
    last = model.graph.operators[-1]
    one, other, output = map(model.offset, (*last.inputs, *last.outputs))
    assert (one - output, other - output) == (0, 80)
    assert "te_run_copy_rows" not in emission.emit(model).files["model.c"]
