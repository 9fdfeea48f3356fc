"""Where data sets come from: torchvision, scikit-learn, a user's file or folder of images.

Every loader returns a `data.Dataset`. Errors are `UserError`s that say what to do.
"""

import contextlib
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from cli import UserError, natural_key, warn
from lowbit import inputmap
from train import data, measured
from train.settings import Settings

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".webp", ".tif", ".tiff")
# Folders that people call what we call train and test.
PART = r"(?i)(train(ing)?|test(ing)?|val(id(ation)?)?|eval(uation)?|dev)([ _-]?(set|data|images))?"
TEST_SHARE = 5  # of a folder without train/ and test/, every fifth image of a class is for testing


def data_folder():
    """Where downloaded data sets lie: $BITNETMCU_DATA, else `datasets`."""
    return Path(os.environ.get("BITNETMCU_DATA") or "datasets")


@dataclass(frozen=True)
class Torchvision:
    """A data set of 28x28 grey images that torchvision loads and downloads.

    kind: its class in torchvision.datasets, and its folder; files: what lies in the sub-folder
    `raw`; transposed: the files hold the images with x and y exchanged; first_label: the label
    of the first class.
    """

    kind: str
    files: tuple
    classes: int = 10
    options: dict = field(default_factory=dict)
    transposed: bool = False
    first_label: int = 0

    def __call__(self):
        from torchvision import datasets  # slow to load, and not needed for other sources

        raw = data_folder() / self.kind / "raw"
        missing = self.missing(raw)
        if missing:
            print(f"downloading {self.kind} to {raw}", flush=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                train, test = (
                    getattr(datasets, self.kind)(
                        data_folder(), train=train, download=bool(missing), **self.options
                    )
                    for train in (True, False)
                )
        except Exception as error:  # whatever the network, the file system or the files bring up
            missing = self.missing(raw)
            problem = f"missing: {', '.join(missing)}" if missing else "a file in it is broken"
            raise UserError(
                f"{self.kind} could not be loaded ({' '.join(str(error).split())}); {problem}; put "
                f"the unpacked files into {raw} (or set BITNETMCU_DATA to the folder that holds "
                f"{self.kind}/raw), or work offline on the embedded data with dataset=Digits"
            )
        names = (name.partition(" - ")[0] for name in train.classes)  # "7 - seven"
        names = tuple(names)[self.first_label :]
        return data.Dataset(*self.tensors(train), *self.tensors(test), names)

    def missing(self, raw):
        return [file for file in self.files if not (raw / file).is_file()]

    def tensors(self, split):
        images = split.data.transpose(1, 2).contiguous() if self.transposed else split.data
        labels = split.targets if split.targets.ndim == 1 else split.targets[:, 0]
        return images, labels.long() - self.first_label


def _idx(train="train", test="t10k", labels="labels-idx1-ubyte"):
    return tuple(
        f"{part}-{rest}" for part in (train, test) for rest in ("images-idx3-ubyte", labels)
    )


def _emnist(split, classes, first_label=0):
    return Torchvision(
        "EMNIST",
        _idx(f"emnist-{split}-train", f"emnist-{split}-test"),
        classes,
        {"split": split},
        transposed=True,
        first_label=first_label,
    )


def load_digits():
    """1,797 handwritten 8x8 digits from scikit-learn (UCI Optical Recognition, test part).

    The last 450 images are the test set. The file's order, which follows the writers, is kept: a
    shuffled split would put the same hands into both parts.
    """
    from sklearn import datasets

    bunch = datasets.load_digits()
    images = torch.from_numpy(np.floor(bunch.images * 255 / 16 + 0.5).astype(np.uint8))
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    return data.Dataset(
        images[:-450], labels[:-450], images[-450:], labels[-450:], data.numbered("", 10)
    )


DATASETS = {
    "MNIST": Torchvision("MNIST", _idx()),
    "FashionMNIST": Torchvision("FashionMNIST", _idx()),
    "KMNIST": Torchvision("KMNIST", _idx()),
    "QMNIST": Torchvision("QMNIST", _idx("qmnist-train", "qmnist-test", "labels-idx2-int")),
    "EMNIST_BALANCED": _emnist("balanced", 47),
    "EMNIST_LETTERS": _emnist("letters", 26, first_label=1),
    "EMNIST_DIGITS": _emnist("digits", 10),
    "EMNIST_BYCLASS": _emnist("byclass", 62),
    "EMNIST_BYMERGE": _emnist("bymerge", 47),
    "Digits": load_digits,
}


def is_source(name):
    """Whether `name` is a data set of the table, the name of a file, or an existing folder."""
    return name in DATASETS or measured.is_measured(name) or Path(name).is_dir()


def load(settings: Settings):
    """The data set that `settings.dataset` names. Raises `UserError` if it cannot be had."""
    name = settings.dataset
    if measured.is_measured(name):
        if settings.augmented_copies:
            raise UserError(
                f"augmented_copies={settings.augmented_copies} distorts images, but {name} "
                "holds measured values; use augmented_copies=0"
            )
        if (settings.input_bits, settings.input_rounding) != (data.PIXEL_BITS, "floor"):
            raise UserError(
                f"input_bits={settings.input_bits} input_rounding={settings.input_rounding} are "
                f"for the pixels of images, but {name} holds measured values, which have 8 bits; "
                "use input_bits=auto input_rounding=auto"
            )
        return measured.load(name)
    if settings.raw_units_per_value != inputmap.AUTO:
        raise UserError(
            f"raw_units_per_value={settings.raw_units_per_value} is for measured values, but "
            f"{name} holds images; use raw_units_per_value={inputmap.AUTO}"
        )
    if name in DATASETS:
        return DATASETS[name]()
    if not Path(name).is_dir():
        raise UserError(f"there is no folder {name}; its images are needed")
    return load_folder(name, settings.image_size)


def load_folder(path, size):
    """Images in one sub-folder per class, in grey and brought to `size` x `size` pixels.

    With sub-folders `train` and `test`, these hold the classes; otherwise every fifth image of a
    class, in the order of the names, is for testing. Classes are numbered in the order of their
    names, as people count: 2 before 10. An image that is not square is stretched; what is
    transparent counts as black, with one warning for all images.
    """
    path = Path(path)
    if (path / "train").is_dir() and (path / "test").is_dir():
        parts = [_class_files(path / "train"), _class_files(path / "test")]
        if parts[0].keys() != parts[1].keys():
            raise UserError(
                f"{path}: train has the classes {', '.join(parts[0])}, "
                f"test has {', '.join(parts[1])}; both need the same sub-folders"
            )
    else:
        files = _class_files(path)
        parts = [
            {c: [f for i, f in enumerate(v, start=1) if i % TEST_SHARE] for c, v in files.items()},
            {c: v[TEST_SHARE - 1 :: TEST_SHARE] for c, v in files.items()},
        ]
    for part, classes in zip(("training", "test"), parts):
        if not any(classes.values()):
            raise UserError(f"{path} has no {part} images; a class needs {TEST_SHARE} or more")
    files = [[file for each in classes.values() for file in each] for classes in parts]
    images = read_images([*files[0], *files[1]], size, path).split([len(each) for each in files])
    labels = [
        torch.tensor([label for label, each in enumerate(classes.values()) for _ in each])
        for classes in parts
    ]
    return data.Dataset(images[0], labels[0], images[1], labels[1], tuple(parts[0]))


def read_images(files, size, source):
    """The images in `files` as grey uint8 [N, size, size].

    One warning, of `source`, for all that have transparent parts, which count as black.
    """
    images = [_read_grey(file) for file in files]
    transparent = [image for image, opaque in images if not opaque]
    if transparent:
        black = sum(not image.any() for image in transparent)
        advice = "save them on another background if that is not meant"
        if black:
            advice = (
                f"{black} of them are black all over, as their picture is in the alpha channel: "
                "save that as grey values"
            )
        warn(
            f"{source}: {len(transparent)} images have transparent parts, which count as black; "
            + advice
        )
    return torch.cat([data.resize(torch.from_numpy(image)[None], size) for image, _ in images])


def _class_files(path):
    """{class name: its image files}, both in the order of their names as people count."""
    classes = {
        folder.name: sorted(
            (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES),
            key=lambda file: natural_key(file.name),
        )
        for folder in sorted(path.iterdir(), key=lambda folder: natural_key(folder.name))
        if folder.is_dir() and not folder.name.startswith(".")
    }
    hint = ""
    if classes and all(re.fullmatch(PART, name) for name in classes):
        hint = "; folders that hold the classes for training and for testing are called train, test"
    if len(classes) < 2:
        raise UserError(f"{path} needs two or more sub-folders of images, one for each class{hint}")
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise UserError(f"{path / empty[0]} has no image ({', '.join(IMAGE_SUFFIXES)}){hint}")
    return classes


def _read_grey(file):
    """(grey values uint8 [height, width], whether all of it is opaque) of the image in `file`."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
                raise ValueError("floating-point, signed or 32-bit values; save 8 or 16 bits")
            if image.mode.startswith("I"):  # 16 bits
                values = np.array(image)
                clear = values == image.info.get("transparency", -1)
                return np.where(clear, 0, values >> 8).astype(np.uint8), not clear.any()
            if not image.has_transparency_data:
                return np.array(image.convert("L")), True
            layers = image.convert("RGBA")
            black = Image.new("RGBA", image.size, "black")
            opaque = layers.getextrema()[3] == (255, 255)
            return np.array(Image.alpha_composite(black, layers).convert("L")), opaque
    except Exception as error:  # what the decoders raise for damaged files
        raise UserError(f"{file} is not a readable image ({error}); mend or remove it")
