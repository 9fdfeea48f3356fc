"""Data sets, the fixed resize and the batched augmentation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_script

from cli import UserError
from train import config, data, loaders

STILL = replace(config.load(), rotation=0, shift=0, scale=0, shear=0, elastic_strength=0)


def bars(count=4, size=28):
    """uint8 [count, size, size]: a bright bar, longer than it is wide, off the centre."""
    images = torch.zeros(count, size, size, dtype=torch.uint8)
    images[:, 4:20, 10:14] = 200
    return images


def centroid(image):
    weights = image.double() / image.double().sum()
    axis = torch.arange(image.shape[0], dtype=torch.float64)
    return (weights.sum(0) * axis).sum().item(), (weights.sum(1) * axis).sum().item()


@pytest.mark.parametrize(("size_in", "size_out"), [(28, 16), (8, 16), (32, 16), (28, 28), (5, 11)])
def test_resize_is_torchvisions_antialiased_resize(size_in, size_out):
    functional = pytest.importorskip("torchvision.transforms.functional")
    images = torch.randint(0, 256, (5, size_in, size_in)).double()
    matrix = data.resize_matrix(size_in, size_out)
    ours = matrix @ images @ matrix.T
    theirs = functional.resize(images, [size_out, size_out], antialias=True)
    assert (ours - theirs).abs().max() < 1e-4  # of 255: the coefficients are rounded to 2^-22


def test_resize_is_exact_whatever_the_order_of_the_sums():
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    units = (data.resize_matrix(28, 16) * 2**22).long()
    assert (units.sum(1) == 2**22).all()
    exact = units @ images.long() @ units.T  # integers: no rounding anywhere
    assert torch.equal(data.resize(images, 16).long(), (exact + 2**43) >> 44)


def test_resize_keeps_black_and_white_exactly():
    for value in (0, 255):
        images = torch.full((1, 28, 28), value, dtype=torch.uint8)
        assert (data.resize(images, 16) == value).all()


def test_inputs_are_the_resized_pixels_shifted_right():
    images = torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8)
    inputs = data.Pixels(16)(images)
    assert inputs.dtype == torch.int8 and inputs.shape == (3, 256)
    assert torch.equal(inputs.long(), data.resize(images, 16).flatten(1).long() // 2)


def test_augmentation_without_distortion_changes_nothing():
    images = torch.randint(0, 256, (6, 28, 28), dtype=torch.uint8)
    same = data.augment(images, STILL, torch.Generator().manual_seed(0))
    assert (same - images).abs().max() < 1e-3


def test_augmentation_is_repeatable_and_random():
    settings = replace(STILL, rotation=20, shift=0.1, scale=0.1, shear=10)
    first, again = (
        data.augment(bars(), settings, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    other = data.augment(bars(), settings, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_shift_moves_by_at_most_its_fraction_of_the_image():
    moved = data.augment(bars(200), replace(STILL, shift=0.1), torch.Generator().manual_seed(0))
    x, y = centroid(bars()[0])
    offsets = np.array([centroid(image) for image in moved]) - (x, y)
    assert 2.5 < np.abs(offsets).max() <= 2.8 + 1e-3
    assert np.abs(offsets.mean(0)).max() < 0.4


def test_rotation_keeps_shape_and_turns_by_at_most_its_angle():
    images = torch.zeros(200, 28, 28, dtype=torch.uint8)
    images[:, 12:16, 2:26] = 200  # a horizontal bar through the centre
    turned = data.augment(images, replace(STILL, rotation=30), torch.Generator().manual_seed(0))
    axis = torch.arange(28) - 13.5
    angles = []
    for image in turned.double():
        xx, yy = (image * axis**2).sum(), (image * axis[:, None] ** 2).sum()
        xy = (image * axis * axis[:, None]).sum()
        angles.append(math.degrees(0.5 * math.atan2(2 * xy, xx - yy)))
    assert 27 < np.abs(angles).max() < 31
    assert turned.sum((1, 2)).std() / turned.sum((1, 2)).mean() < 0.01  # area is kept


def test_scale_changes_the_area_by_its_factor_squared():
    images = torch.zeros(200, 28, 28, dtype=torch.uint8)
    images[:, 9:19, 9:19] = 200
    scaled = data.augment(images, replace(STILL, scale=0.2), torch.Generator().manual_seed(0))
    factors = (scaled.sum((1, 2)) / images[0].sum()).sqrt()
    assert 0.79 < factors.min() < 0.85 and 1.15 < factors.max() < 1.21


def test_shear_slants_vertical_lines_and_keeps_the_area():
    images = torch.zeros(200, 28, 28, dtype=torch.uint8)
    images[:, 4:24, 13:15] = 200
    sheared = data.augment(images, replace(STILL, shear=20), torch.Generator().manual_seed(0))
    axis = torch.arange(28) - 13.5
    slopes = [
        ((i * axis * axis[:, None]).sum() / (i * axis[:, None] ** 2).sum()).item() for i in sheared
    ]
    assert 0.3 < np.abs(slopes).max() < math.tan(math.radians(20)) + 0.01


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_elastic_displacements_have_their_strength_and_are_smooth(strength):
    generator = torch.Generator().manual_seed(0)
    field = data.elastic_field(bars(300), strength, 4, generator) * 14  # pixels
    assert field.shape == (300, 28, 28, 2)
    assert field.square().mean().sqrt().item() == pytest.approx(strength, rel=1e-4)
    assert field.mean().abs() < 0.1 * strength
    steps = (field[:, 1:] - field[:, :-1]).square().mean().sqrt()
    assert steps < 0.3 * strength  # a Gaussian of 4 pixels: neighbours move together
    assert not torch.equal(field[0], field[1])


def test_elastic_warp_moves_pixels_and_keeps_the_rest():
    settings = replace(STILL, elastic_strength=1.0)
    warped = data.augment(bars(), settings, torch.Generator().manual_seed(0))
    assert 0.5 < warped.sum() / bars().sum() < 1.5
    assert (warped - bars()).abs().mean() > 1
    assert warped.min() >= 0 and warped.max() <= 200.01


def test_epoch_holds_every_image_as_it_is_and_its_copies():
    images, labels = bars(10), torch.arange(10)
    settings = replace(STILL, augmented_copies=2)
    inputs = data.Pixels.of(settings)(images)
    samples, truth = data.epoch_samples(images, inputs, labels, settings, torch.Generator())
    assert torch.equal(samples, inputs.repeat(3, 1))
    assert torch.equal(truth, labels.repeat(3))


def test_digits_are_real_and_fill_the_range():
    digits = loaders.DATASETS["Digits"]()
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
    assert digits.train_images.shape[1:] == (8, 8)
    assert digits.train_images.max() == 255 and digits.train_images.min() == 0
    assert set(digits.test_labels.tolist()) == set(range(10))


def test_hold_out_splits_the_training_set_without_overlap():
    digits = loaders.DATASETS["Digits"]()
    training, (images, labels) = digits.hold_out(300, seed=1)
    assert len(labels) == 300
    assert len(training.train_labels) == len(digits.train_labels) - 300
    parts = torch.cat([training.train_images, images]).flatten(1)
    whole = digits.train_images.flatten(1)
    assert torch.equal(torch.unique(parts, dim=0), torch.unique(whole, dim=0))
    assert torch.equal(parts.long().sum(0), whole.long().sum(0))


def test_hold_out_of_everything_is_refused():
    with pytest.raises(UserError, match="use 0 to 1346"):
        loaders.DATASETS["Digits"]().hold_out(1347, seed=0)


def test_missing_mnist_names_the_files_and_the_ways_out(tmp_path):
    """The proxy that does not exist stands for a machine without a network."""
    offline = {"BITNETMCU_DATA": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    done = run_script("training.py", "--out", tmp_path, http_proxy="http://127.0.0.1:9", **offline)
    assert done.returncode == 2
    line = done.stderr.strip().splitlines()[-1]
    for part in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", str(tmp_path), "Digits"):
        assert part in line
    assert "Traceback" not in done.stderr


def test_broken_mnist_file_is_reported(tmp_path, mnist):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for source in (loaders.data_folder() / "MNIST" / "raw").glob("*-ubyte"):
        (raw / source.name).write_bytes(source.read_bytes()[:1000])
    done = run_script("training.py", "--out", tmp_path, BITNETMCU_DATA=str(tmp_path))
    assert done.returncode == 2
    assert "a file in it is broken" in done.stderr and "Traceback" not in done.stderr


def test_mnist_has_all_images(mnist):
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.classes == 10


@pytest.mark.parametrize("rounding", data.ROUNDINGS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_pixels_keep_their_highest_bits(bits, rounding):
    pixels, every = data.Pixels(16, bits, rounding), torch.arange(256, dtype=torch.uint8)
    levels = pixels.levels(every)
    step = 2 ** (8 - bits)
    wanted = every.double() / step
    wanted = wanted.floor() if rounding == "floor" else (wanted + 0.5).floor()
    wanted = wanted - 128 if bits == 8 else wanted.clamp(max=127)
    assert levels.dtype == torch.int8 and torch.equal(levels.double(), wanted)
    ends = pixels.range.lowest, pixels.range.highest
    assert (levels.min().item(), levels.max().item()) == ends


@pytest.mark.parametrize("rounding", data.ROUNDINGS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_formula_of_a_pixel_is_what_is_computed(bits, rounding):
    pixels = data.Pixels(16, bits, rounding)
    formula, *at_most = pixels.formula.split(",")
    wanted = [eval(formula.replace("a pixel", str(pixel))) for pixel in range(256)]
    if at_most:
        wanted = [min(value, 127) for value in wanted]
    assert pixels.levels(torch.arange(256)).tolist() == wanted


def test_three_bits_rounded_are_nine_levels_of_mostly_one_set_bit():
    assert data.Pixels(16, 3, "nearest").range.highest == 8
