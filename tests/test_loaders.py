"""Data from files: torchvision's formats, .npz, folders of images; each through the chain to C."""

import io
import struct
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import MEASURED, ROOT, run_script

import cli
import exportquant
import test_inference
import training
from cli import UserError
from train import loaders, measured

TORCHVISION = [name for name, source in loaders.DATASETS.items() if name != "Digits"]


def write_idx(path, array):
    """An idx file, as MNIST and its relatives come in."""
    types = {np.dtype(np.uint8): 8, np.dtype(np.int32): 0x0C}
    head = struct.pack(">BBBB", 0, 0, types[array.dtype], array.ndim)
    head += struct.pack(f">{array.ndim}I", *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def write_torchvision(folder, name, count=120):
    """Small files in the format of data set `name`; returns the test (images, labels)."""
    source = loaders.DATASETS[name]
    rng = np.random.default_rng(0)
    for at in (0, 2):
        labels = rng.permutation(np.arange(count) % source.classes)
        images = np.zeros((count, 28, 28), np.uint8)
        for image, label in zip(images, labels):  # a bright block whose place tells the class
            row, column = 3 * (label // 8), 3 * (label % 8)
            image[row : row + 4, column : column + 6] = 255
        stored = images.transpose(0, 2, 1) if source.transposed else images
        write_idx(folder / source.kind / "raw" / source.files[at], np.ascontiguousarray(stored))
        raw_labels = (labels + source.first_label).astype(np.uint8)
        if source.kind == "QMNIST":  # labels with seven more columns: the writer, and so on
            raw_labels = np.stack([labels] + [np.full(count, 99)] * 7, 1).astype(np.int32)
        write_idx(folder / source.kind / "raw" / source.files[at + 1], raw_labels)
    return images, labels


def chain(settings, folder):
    """Train, export, compile and compare; returns the result of the comparison."""
    path = training.train(settings, folder, report=str)
    exportquant.export(path, folder)
    result = test_inference.compare(folder)
    assert result["differing_values"] == result["differing_predictions"] == 0
    return result


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_formats_load_with_upright_images_and_labels_from_0(
    name, tmp_path, monkeypatch, settings
):
    monkeypatch.setenv("BITNETMCU_DATA", str(tmp_path))
    images, labels = write_torchvision(tmp_path, name)
    with warnings.catch_warnings():  # torch warns of read-only memory inside torchvision
        warnings.simplefilter("ignore")
        dataset = loaders.load(replace(settings, dataset=name))
    assert torch.equal(dataset.test_images, torch.from_numpy(images))
    assert torch.equal(dataset.test_labels, torch.from_numpy(labels))
    assert dataset.classes == loaders.DATASETS[name].classes
    assert dataset.train_images.dtype == torch.uint8


@pytest.mark.parametrize("name", ["FashionMNIST", "QMNIST", "EMNIST_LETTERS", "EMNIST_BYCLASS"])
def test_torchvision_formats_go_through_the_chain(name, tmp_path, monkeypatch, settings):
    monkeypatch.setenv("BITNETMCU_DATA", str(tmp_path))
    write_torchvision(tmp_path, name)
    changes = {"dataset": name, "widths": [17, 9], "num_epochs": 1}
    assert chain(replace(settings, **changes), tmp_path / "build")["images"] == 120


def test_vibration_example_learns_and_goes_through_the_chain(tmp_path, settings):
    file = tmp_path / "vibration.npz"
    assert run_script("examples/vibration.py", file).returncode == 0
    changes = {"dataset": str(file), **MEASURED, "num_epochs": 20, "widths": [32, 32]}
    result = chain(replace(settings, **changes, bias="first"), tmp_path)
    assert result["accuracy_c"] > 98 and result["differing_inputs"] == 0
    header = (tmp_path / exportquant.MODEL_HEADER).read_text()
    assert "#define BITNETMCU_CHANNELS 1\n" in header
    assert '#define BITNETMCU_CLASS_NAMES "healthy", "unbalanced", "bearing fault"' in header


def good_arrays():
    return {
        "x_train": np.random.default_rng(0).normal(size=(20, 3, 4)),
        "y_train": np.arange(20) % 3,
        "x_test": np.zeros((6, 3, 4)),
        "y_test": np.arange(6) % 3,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"y_test": None}, "lacks y_test; it has x_train, y_train, x_test; write numpy.savez"),
        ({"x_train": None, "X_train": np.zeros((20, 3))}, "names in small letters"),
        ({"x_test": np.zeros((6, 4, 3))}, "samples of shape (4, 3), x_train of (3, 4)"),
        ({"x_test": np.zeros((0, 3, 4)), "y_test": np.zeros(0, int)}, "x_test is empty"),
        ({"x_train": np.zeros(20), "x_test": np.zeros(6)}, "x_train is 1-d; it must be 2-d"),
        ({"x_train": np.float64(3)}, "is a single value"),
        ({"x_train": np.zeros((20, 0)), "x_test": np.zeros((6, 0))}, "which hold no value"),
        ({"x_train": np.full((20, 3, 4), np.nan)}, "not finite"),
        ({"x_train": np.full((20, 3, 4), "a")}, "x_train holds text, not numbers"),
        ({"x_train": np.zeros((20, 3, 4), complex)}, "complex"),
        ({"x_train": np.array([{}] * 20)}, "plain arrays"),
        ({"y_train": np.zeros(19, int)}, "y_train has 19 labels for 20 samples"),
        ({"y_train": np.eye(3, dtype=int)[np.arange(20) % 3]}, "use y.argmax(axis=1)"),
        ({"y_train": (np.arange(20) % 3)[:, None]}, "use y.ravel()"),
        ({"y_train": np.array(["a", "b"] * 10)}, "numpy.unique(y, return_inverse=True)[1]"),
        ({"y_train": np.arange(20) % 3 * 1.0}, "use y.astype(int)"),
        ({"y_train": np.arange(20) % 2 == 0}, "use y.astype(int)"),
        ({"y_train": np.arange(20) * 0.3}, "numpy.digitize"),
        ({"y_train": np.arange(20) % 3 + 1}, "labels in y_train are 1, 2, 3; they must be 0, 1"),
        ({"y_train": np.arange(20) % 3 * 2}, "return_inverse=True"),
        ({"y_test": np.full(6, 3)}, "y_test has the labels 3, of which y_train has none"),
        ({"y_test": np.full(6, -1)}, "y_test has the labels -1"),
        ({"y_train": np.zeros(20, int), "y_test": np.zeros(6, int)}, "two or more"),
    ],
)
def test_npz_files_with_faults_are_refused(changes, expected, tmp_path):
    arrays = {key: value for key, value in (good_arrays() | changes).items() if value is not None}
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError) as refusal:
        measured.load_npz(tmp_path / "x.npz")
    assert expected in str(refusal.value)


def test_files_that_are_no_npz_are_refused(tmp_path):
    # The second claims 72 TiB, in a zip as in a file of one array.
    claim = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
    claim += b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(117)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x_train.npy", claim + b"\n")
    for content in (b"", buffer.getvalue(), claim, b"hello", b"PK\x03\x04 not a zip"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(UserError, match="npz"):
            measured.load_npz(tmp_path / "x.npz")
    with pytest.raises(UserError, match="cannot read"):
        measured.load_npz(tmp_path / "none.npz")


def test_augmenting_measured_values_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", **good_arrays())
    done = run_script("training.py", f"dataset={tmp_path}/x.npz", "--out", tmp_path)
    assert done.returncode == 2 and "use augmented_copies=0" in done.stderr


def write_images(folder, classes, count, suffix=".png"):
    from PIL import Image

    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.zeros((20 + number, 30, 3), np.uint8)
            pixels[:, index * 10 : index * 10 + 10] = 255
            Image.fromarray(pixels).save(folder / name / f"{number:02}{suffix}")


@pytest.mark.parametrize("split", [False, True])
def test_folder_of_images_goes_through_the_chain(split, tmp_path, settings):
    folder = tmp_path / "photos"
    for part, count in (("train", 10), ("test", 5)) if split else ((".", 10),):
        write_images(folder / part, ["cat", "dog", "eel"], count, ".jpg")
    changes = {"dataset": str(folder), "image_size": 12, "num_epochs": 2}
    result = chain(replace(settings, **changes), tmp_path / "build")
    assert result["images"] == (15 if split else 6)
    dataset = loaders.load_folder(folder, 12)
    assert len(dataset.train_labels) == (30 if split else 24)
    for label, column in ((0, 1), (1, 5), (2, 10)):
        image = dataset.train_images[dataset.train_labels == label][0]
        assert image[:, column].min() > 200 and image.float().mean() < 120


def test_folders_with_faults_are_refused(tmp_path):
    write_images(tmp_path / "one", ["cat"], 5)
    write_images(tmp_path / "few", ["cat", "dog"], 4)
    write_images(tmp_path / "uneven" / "train", ["cat", "dog"], 5)
    write_images(tmp_path / "uneven" / "test", ["cat", "cow"], 5)
    write_images(tmp_path / "empty", ["cat", "dog"], 5)
    (tmp_path / "empty" / "emu").mkdir()
    write_images(tmp_path / "broken", ["cat", "dog"], 5)
    (tmp_path / "broken" / "dog" / "00.png").write_bytes(b"no image")
    for name, expected in (
        ("one", "two or more sub-folders"),
        ("few", "has no test images"),
        ("uneven", "both need the same sub-folders"),
        ("empty", "has no image"),
        ("broken", "not a readable image"),
    ):
        with pytest.raises(UserError, match=expected):
            loaders.load_folder(tmp_path / name, 16)


def save_twice(folder, name, image, **options):
    """Ten copies of `image` in each of two classes; returns what `load_folder` makes of one."""
    for label in "ab":
        (folder / label).mkdir(parents=True)
        for number in range(10):
            image.save(folder / label / f"{number}{name}", **options)
    height, width = np.array(image).shape[:2]
    assert height == width
    return loaders.load_folder(folder, width).train_images[0].numpy()


RAMP = np.arange(256).reshape(16, 16).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_images_of_16_bits_are_scaled(suffix, tmp_path):
    from PIL import Image

    image = Image.fromarray((RAMP.astype(np.uint16) << 8) + 77)
    assert np.array_equal(save_twice(tmp_path, suffix, image), RAMP)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_images_without_a_scale_are_refused(kind, tmp_path):
    from PIL import Image

    with pytest.raises(UserError, match="save 8 or 16 bits"):
        save_twice(tmp_path, ".tif", Image.fromarray(RAMP.astype(kind)))


def transparent_images():
    """{name: (image, what it looks like on black, options for saving it)}."""
    from PIL import Image

    def filled(value, alpha):
        return np.stack([np.full_like(RAMP, value)] * 3 + [alpha], 2)

    half = np.where(RAMP < 128, 0, 255).astype(np.uint8)
    palette = Image.fromarray(RAMP).convert("P")
    deep = Image.fromarray(RAMP.astype(np.uint16) << 8)
    return {
        "white, picture in alpha": (Image.fromarray(filled(255, RAMP)), RAMP, {}),
        "black, picture in alpha": (Image.fromarray(filled(0, RAMP)), RAMP * 0, {}),
        "grey with alpha": (Image.fromarray(np.stack([RAMP, half], 2)), RAMP & half, {}),
        "palette": (palette, np.where(RAMP == 200, 0, RAMP), {"transparency": 200}),
        "grey key": (Image.fromarray(RAMP), np.where(RAMP == 9, 0, RAMP), {"transparency": 9}),
        "16-bit key": (deep, np.where(RAMP == 9, 0, RAMP), {"transparency": 9 << 8}),
    }


@pytest.mark.parametrize("name", transparent_images())
def test_transparent_parts_count_as_black_and_are_warned_of_once(name, tmp_path, capsys):
    image, expected, options = transparent_images()[name]
    assert np.array_equal(save_twice(tmp_path, ".png", image, **options), expected)
    loaders.load_folder(tmp_path, 16)  # as export and proof do
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path}: 20 images have transparent parts")
    assert ("20 of them are black all over" in line) == (not expected.any())


def test_an_alpha_channel_without_a_transparent_part_is_no_matter(tmp_path, capsys):
    from PIL import Image

    image = Image.fromarray(np.stack([RAMP] * 3 + [np.full_like(RAMP, 255)], 2))
    assert np.array_equal(save_twice(tmp_path, ".png", image), RAMP)
    assert not capsys.readouterr().err


def test_classes_and_files_are_in_the_order_of_their_numbers(tmp_path):
    from PIL import Image

    for name in ("10", "9", "02", "1"):
        (tmp_path / name).mkdir()
        for number in range(1, 11):
            pixels = np.full((8, 8), 10 * int(name) + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"img{number}.png")
    dataset = loaders.load_folder(tmp_path, 8)
    assert dataset.train_images[:, 0, 0].unique(sorted=False).numel() == 32
    first = [dataset.train_images[dataset.train_labels == k][:, 0, 0].tolist() for k in range(4)]
    numbers = [1, 2, 3, 4, 6, 7, 8, 9]  # the fifth and tenth are for testing
    assert first == [[10 * name + number for number in numbers] for name in (1, 2, 9, 10)]
    names = ["a", "a1", "a02", "a2", "a10b2", "a10b10", "b"]
    mixed = ["b", "a10b10", "a2", "a10b2", "a02", "a1", "a"]
    assert sorted(mixed, key=cli.natural_key) == names


@pytest.mark.parametrize(
    "names",
    [("training_set", "validation_set"), ("Train", "Test"), ("train", "val"), ("training", "dev")],
)
def test_folders_called_otherwise_than_train_and_test_get_a_hint(names, tmp_path):
    for name in names:
        write_images(tmp_path / name, ["cat", "dog"], 5)
    with pytest.raises(UserError, match="are called train, test"):
        loaders.load_folder(tmp_path, 16)
    write_images(tmp_path / "classes", ["cat"], 5)
    with pytest.raises(UserError) as refusal:
        loaders.load_folder(tmp_path / "classes", 16)
    assert "are called" not in str(refusal.value)


def test_unknown_data_names_the_sources(tmp_path):
    done = run_script("training.py", "dataset=nowhere/at/all", "--out", tmp_path)
    assert done.returncode == 2
    assert "EMNIST_LETTERS" in done.stderr and "folder of images" in done.stderr


def test_example_network_goes_through_the_chain(tmp_path, settings, monkeypatch):
    monkeypatch.chdir(ROOT)
    result = chain(replace(settings, model="examples/mixed.py:Mixed", num_epochs=8), tmp_path)
    assert result["accuracy_c"] > 80
    header = (tmp_path / exportquant.MODEL_HEADER).read_text()
    for kernel in ("fc_2bitsym(input", "fc_4bitsym(act", "fc_8bit(act"):
        assert f"BitNetMCU_{kernel}" in header
    assert "/Mixed-Digits-" in str(next(tmp_path.glob("*.pth")))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("BitLinear(i, 8, '4bitsym'), nn.Sigmoid(), BitLinear(8, c, '4bitsym')", "is a Sigmoid"),
        ("nn.Linear(i, c)", "is a Linear, which has no integer form; supported layers: BitLinear"),
        ("BitLinear(i, 8, '4bitsym'), BitLinear(8, c, '4bitsym')", "must take turns"),
        ("BitLinear(i, c, '4bitsym'), nn.ReLU()", "must take turns"),
        ("BitLinear(i, 8, '4bitsym'), nn.ReLU(), BitLinear(9, c, '4bitsym')", "takes 9 inputs"),
        ("BitLinear(i, 99, '4bitsym')", "99 outputs, the data has 10 classes"),
        ("BitLinear(i, c, '5bits')", "QuantType '5bits' is not known"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_networks_that_cannot_be_exported_are_refused_by_name(layers, expected, tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from torch import nn\nfrom BitNetMCU import BitLinear\n"
        "class Own(nn.Sequential):\n    def __init__(self, i, c, config):\n"
        f"        super().__init__({layers})\n"
    )
    done = run_script("training.py", "dataset=Digits", f"model={file}:Own", "--out", tmp_path / "o")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert expected in done.stderr


def test_model_files_with_faults_are_refused(tmp_path):
    (tmp_path / "own.py").write_text("class Other: pass\n")
    (tmp_path / "bad.py").write_text("import nothing_of_that_name\n")
    for name, expected in (
        ("none.py:Own", "there is no file"),
        ("own.py:Own", "it has: Other"),
        ("bad.py:Own", "does not load: ModuleNotFoundError"),
    ):
        done = run_script("training.py", "dataset=Digits", f"model={tmp_path}/{name}")
        assert done.returncode == 2 and expected in done.stderr and "Traceback" not in done.stderr
