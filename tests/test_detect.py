"""examples/detect.py: boxes of outputs made by hand, of a small random detector, and of persons."""

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, refused, run_script

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import tflite_builder  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from PIL import Image  # noqa: E402

from cli import UserError  # noqa: E402
from tinyengine import oracle, pipeline  # noqa: E402

sys.path.insert(0, str(ROOT / "examples"))
import detect  # noqa: E402

MODELS = Path(os.environ.get("BITNETMCU_MODELS", "no models"))
SCRIPT = "examples/detect.py"
HEIGHT, WIDTH = 64, 96
STRIDES = (32, 8, 16)
RED = (255, 0, 0)


def model_of(depths=(21, 21, 21), strides=STRIDES, shape=(1, HEIGHT, WIDTH, 3)):
    """The bytes of a model with an output for each stride, as a detector has it; random weights."""
    b = tflite_builder.Builder(0)
    x = b.value(shape, 0.011, 5)
    ends = [b.convolution(x, d, (3, 3), (s, s)) for d, s in zip(depths, strides)]
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(b.model(x, ends[0]), 0))
    model.subgraphs[0].outputs = [end.index for end in ends]
    return oracle.serialised(model)


@pytest.fixture
def files(tmp_path):
    """A small detector of two classes, and a photo of noise."""
    model, photo = tmp_path / "small.tflite", tmp_path / "photo.png"
    model.write_bytes(model_of())
    noise = np.random.default_rng(0).integers(0, 200, (150, 240, 3), np.uint8)
    Image.fromarray(noise).save(photo)
    return model, photo


def outputs_with(*boxes, classes=1):
    """Outputs of a 64x96 detector that sees nothing but boxes.

    Each of them: (stride, row, column, anchor, [x, y, width, height, objectness, classes...]).
    """
    found = {s: np.full((HEIGHT // s, WIDTH // s, 3, 5 + classes), -20.0) for s in STRIDES}
    for stride, *place, values in boxes:
        found[stride][tuple(place)] = values
    return [found[s].reshape(*found[s].shape[:2], -1) for s in STRIDES]


def detected(*boxes, classes=1, threshold=0.3, iou=0.45):
    """(score, class, box) of each, as plain numbers."""
    found = detect.detect(outputs_with(*boxes, classes=classes), STRIDES, threshold, iou)
    return [(float(score), label, box.tolist()) for score, label, box in found]


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("anchor", [0, 1, 2])
def test_a_box_lies_where_the_output_says(stride, anchor):
    quarter = -math.log(3)  # whose sigmoid is 1/4
    values = [0, quarter, math.log(2), math.log(0.5), 20, math.log(4)]
    ((score, label, box),) = detected((stride, 1, 2, anchor, values))
    width, height = detect.ANCHORS[stride][anchor]
    x, y = 2.5 * stride, 1.25 * stride
    assert (score, label) == (pytest.approx(0.8), 0)
    assert box == pytest.approx([x - width, y - height / 4, x + width, y + height / 4])


def test_a_score_is_that_of_an_object_times_that_of_its_class():
    boxes = [(8, 1, 2, 0, [0, 0, 0, 0, 0, 0, 20]), (8, 6, 9, 0, [0, 0, 0, 0, 20, 20, -20])]
    assert [each[:2] for each in detected(*boxes, classes=2)] == [
        (pytest.approx(1), 0), (pytest.approx(0.5), 1),
    ]  # fmt: skip
    assert len(detected(*boxes, classes=2, threshold=0.6)) == 1


def test_extreme_values_neither_warn_nor_overflow():
    with np.errstate(all="raise"):
        boxes, scores = detect.decode(np.full((1, 1, 18), 600.0), 8)
        assert np.isfinite(boxes).all() and np.all(scores == 1)
        _, scores = detect.decode(np.full((1, 1, 18), -600.0), 8)
        assert np.all(scores == 0)


def test_of_overlapping_boxes_the_best_is_left():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [5, 0, 15, 10], [20, 0, 30, 10]], float)
    scores = np.array([0.5, 0.9, 0.7, 0.6])
    # Intersection over union of the second with the first: 0.8, with the third: 40 / 140.
    assert detect.suppress(boxes, scores, 0.45) == [1, 2, 3]
    assert detect.suppress(boxes, scores, 0.85) == [1, 2, 3, 0]
    assert detect.suppress(boxes, scores, 0.1) == [1, 3]
    assert detect.suppress(boxes[:0], scores[:0], 0.45) == []


def test_boxes_of_different_classes_do_not_suppress_each_other():
    one, near = ((16, 1, column, 0, [0, 0, 0, 0, 20, 3, 4]) for column in (1, 2))
    assert [label for _, label, _ in detected(one, classes=2)] == [1, 0]
    assert [label for _, label, _ in detected(one, near, classes=2, iou=0)] == [1, 0]


def test_the_c_gives_the_real_outputs_of_the_photo(files):
    """The photo has one colour, so its stretched pixels are known."""
    model, _ = files
    compiled = pipeline.load(model)
    found = detect.run(compiled, Image.new("RGB", (50, 70), (255, 0, 51)))
    levels = np.clip(np.rint(np.array([1, -1, -0.6]) / np.float32(0.011)) + 5, -128, 127)
    given = np.tile(levels, (1, HEIGHT, WIDTH, 1)).astype(np.int8)
    (wanted,) = oracle.run(model.read_bytes(), [given])
    for i, values in zip(compiled.graph.outputs, found, strict=True):
        tensor = compiled.graph.tensors[i]
        real = (wanted[i][0] - np.float64(tensor.zero_point)) * tensor.scale
        np.testing.assert_allclose(values, real)


def test_the_script_prints_and_draws_each_box(files, tmp_path):
    model, photo = files
    out = tmp_path / "new" / "boxes.png"
    done = run_script(SCRIPT, model, photo, "--out", out, "--threshold", 0.2, "--iou", 0.2)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert lines and last.startswith(f"boxes={len(lines)} model=small arena=")
    scores = [float(line.split()[4]) for line in lines]
    assert scores == sorted(scores, reverse=True) and min(scores) >= 0.2
    with Image.open(out) as picture:
        assert picture.size == (240, 150)
        for x0, y0, x1, y1 in (map(int, line.split()[:4]) for line in lines):
            assert 0 <= x0 <= x1 < 240 and 0 <= y0 <= y1 < 150
            corners = ((x0, y0), (x1, y0), (x0, y1), (x1, y1))
            assert all(picture.getpixel(corner) == RED for corner in corners)


def test_a_photo_is_taken_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("L", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    photo = detect.read_photo(tmp_path / "turned.jpg")
    assert (photo.size, photo.mode) == ((20, 30), "RGB")


@pytest.mark.parametrize(
    "given",
    [
        {"depths": (18, 21, 21)},
        {"depths": (20, 20, 20)},
        {"depths": (15, 15, 15)},
        {"strides": (32, 8, 8)},
        {"strides": (32, 8, 4)},
        {"strides": (32, 8), "depths": (21, 21)},
        {"strides": (32, 8, 16, 16), "depths": (21,) * 4},
        {"shape": (1, HEIGHT, WIDTH, 1)},
        {"shape": (1, HEIGHT + 1, WIDTH, 3)},
    ],
)
def test_a_model_that_is_no_detector_is_refused(given):
    with pytest.raises(UserError, match="^x: .* is no detector; it takes .*[^\n]$"):
        detect.strides_of(pipeline.compile_model(model_of(**given), "x").graph, "x")


def test_mistakes_are_one_line(files, tmp_path):
    model, photo = files
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:5000])
    for arguments, words in (
        ((ROOT / "examples" / "digits.tflite", photo), "[1, 8, 8, 1] to [1, 10] is no detector"),
        ((photo, photo), "not a TensorFlow Lite model"),
        ((model, model), "cannot be read (no image"),
        ((model, broken), "cannot be read (no image, or a damaged one)"),
        ((model, tmp_path / "none.jpg"), "none.jpg cannot be read (No such file"),
        ((model, photo, "--out", tmp_path / "boxes.gif"), "boxes.gif is no PNG file"),
        ((model, photo, "--threshold", 2), "--threshold 2.0 is not between 0 and 1"),
        ((model, photo, "--iou", "nan"), "--iou nan is not between"),
    ):
        assert words in refused(run_script(SCRIPT, *arguments))
    assert not list(tmp_path.glob("boxes*"))


def test_persons_are_found():
    paths = (MODELS / "field" / "te_detection.tflite", MODELS / "person.jpg")
    for path in paths:
        if not path.exists():
            pytest.skip(f"no {path.name} in {path.parent}; set BITNETMCU_MODELS")
    done = run_script(SCRIPT, *paths)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert last.startswith("boxes=2 model=te_detection arena=")
    faces = [(370, 210), (770, 240)]
    for face, line in zip(faces, lines, strict=True):
        x0, y0, x1, y1, score, _ = map(float, line.split())
        inside = [x0 < x < x1 and y0 < y < y1 for x, y in faces]
        assert inside == [each == face for each in faces] and score > 0.7
        assert y1 - y0 > 500  # the whole person, not the face
