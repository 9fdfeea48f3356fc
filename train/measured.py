"""Measured values as data sets: .npz files of arrays and .csv files of rows.

Both give samples as float64 [N, ..., C]; the map to int8 inputs comes from the training split
(`inputmap.fit`).
"""

import csv
import math
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from cli import UserError, natural_key
from train import data

TEST_SHARE = 5  # every fifth row of a class is for testing, where the file does not say which
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
SPLITS = ("train", "validation", "test")
DELIMITERS = ",;\t"
LABEL, SPLIT = "label", "split"  # columns with a meaning


def is_measured(name):
    """Whether a data set of this name is a file of measured values."""
    return Path(name).suffix.lower() in LOADERS


def load(path):
    """The `data.Dataset` in the .npz or .csv file at `path`."""
    return LOADERS[Path(path).suffix.lower()](path)


def load_npz(path):
    """Samples of any shape from an .npz file with x_train, y_train, x_test and y_test.

    Labels are whole numbers from 0. `class_names`, text [classes], is optional.
    """
    arrays = read_arrays(path)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise UserError(
            f"{path} lacks {', '.join(missing)}; it has {', '.join(arrays) or 'nothing'}; write "
            "numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...), with names in "
            "small letters and some samples kept for testing"
        )
    x_train, y_train, x_test, y_test = (arrays[name] for name in ARRAYS)
    for split, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        _check_samples(f"{path}: x_{split}", x, x_train.shape[1:])
        _check_labels(f"{path}: y_{split}", y, len(x))
    classes = _count_classes(path, y_train, y_test)
    return _dataset(
        {"train": (x_train, y_train), "test": (x_test, y_test)},
        _class_names(path, arrays.get("class_names"), classes),
        data.numbered("feature" if x_train.ndim == 2 else "channel", x_train.shape[-1]),
    )


def read_arrays(path):
    """{name: array} of the .npz file at `path`. Raises `UserError`."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive}
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; name an existing .npz file"
        )
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory ({error}); it may be damaged")
    except (
        ValueError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise UserError(f"{path} is not an .npz file of plain arrays ({error}); use numpy.savez")


def _dataset(splits, class_names, channel_names):
    """The `data.Dataset` of {split: (samples, labels)}; validation is optional."""
    tensors = {
        split: (
            torch.from_numpy(np.asarray(x, np.float64)),
            torch.from_numpy(np.asarray(y, np.int64)),
        )
        for split, (x, y) in splits.items()
    }
    return data.Dataset(
        *tensors["train"],
        *tensors["test"],
        class_names=class_names,
        channel_names=channel_names,
        validation=tensors.get("validation"),
    )


def _class_names(path, names, classes):
    """The optional array `class_names` as text; numbers where there is none."""
    if names is None:
        return data.numbered("", classes)
    if names.dtype.kind not in "US" or names.shape != (classes,):
        raise UserError(
            f"{path}: class_names is {names.dtype} of shape {names.shape}; it takes one text for "
            f"each of the {classes} classes"
        )
    texts = (n.decode(errors="replace") if names.dtype.kind == "S" else n for n in names)
    texts = tuple(map(str, texts))
    if len(set(texts)) < classes or "" in texts:
        raise UserError(f"{path}: class_names are {', '.join(texts)}; each class needs its own")
    return texts


def _refuse(where, problems):
    """Raise a `UserError` for the first of [(what is wrong, whether it is so), ...]."""
    for problem, found in problems:
        if found:
            raise UserError(f"{where} {problem}")


def _check_samples(where, x, shape):
    """Refuse samples that cannot be trained on, naming what is wrong with them and the way out."""
    kind = x.dtype.kind
    _refuse(
        where,
        (
            ("is a single value; it takes [samples, features]", x.ndim == 0),
            ("is 1-d; it must be 2-d, [samples, features]: use x.reshape(-1, 1)", x.ndim == 1),
            ("is empty; it needs samples", not len(x) if x.ndim else False),
            (f"has samples of shape {x.shape[1:]}, which hold no value", x.ndim and not x.size),
            (
                f"has samples of shape {x.shape[1:]}, x_train of {shape}; both need the same",
                x.shape[1:] != shape,
            ),
            (
                "holds complex numbers; use their real and imaginary parts, or abs, as features",
                kind == "c",
            ),
            (
                f"holds {'text' if kind in 'US' else x.dtype}, not numbers; use x.astype(float) "
                "where it can be read as numbers",
                kind not in "iufb",
            ),
            (
                "has values that are not finite (nan or inf); leave such samples out, or replace "
                "them: numpy.nan_to_num(x)",
                kind == "f" and not np.isfinite(x.astype(np.float64)).all(),
            ),
        ),
    )


def _check_labels(where, y, samples):
    """Refuse labels that are no whole numbers, one for each sample, naming the way out."""
    kind = y.dtype.kind
    one_hot = y.ndim == 2 and y.shape[1] > 1
    _refuse(
        where,
        (
            (f"has the shape {y.shape}; one label a sample: use y.argmax(axis=1)", one_hot),
            (f"has the shape {y.shape}; one label a sample: use y.ravel()", y.ndim != 1),
            (f"has {y.size} labels for {samples} samples; they must be as many", y.size != samples),
            (
                "holds text; use numpy.unique(y, return_inverse=True)[1] as labels, and its [0] as "
                "class_names",
                kind in "US",
            ),
            (
                f"holds labels of type {y.dtype}, not whole numbers; use y.astype(int)",
                kind == "b" or (kind == "f" and (y == np.floor(y)).all()),
            ),
            (
                f"holds labels of type {y.dtype}, not whole numbers; a network tells classes: "
                "divide the values into some, as with numpy.digitize(y, edges)",
                kind not in "iu",
            ),
        ),
    )


def _count_classes(path, y_train, y_test):
    """The number of classes, or a `UserError` where labels are not 0, 1, .. classes - 1."""
    known = np.unique(y_train)
    renumber = "use numpy.unique(y, return_inverse=True)[1] on the labels of both splits together"
    if not np.array_equal(known, np.arange(len(known))):
        raise UserError(
            f"{path}: the labels in y_train are {_listed(known)}; they must be 0, 1, .. classes-1: "
            f"{renumber}"
        )
    if len(known) < 2:
        raise UserError(f"{path}: all labels in y_train are 0; two or more classes are needed")
    unknown = np.setdiff1d(y_test, known)
    if len(unknown):
        raise UserError(
            f"{path}: y_test has the labels {_listed(unknown)}, of which y_train has none; each "
            f"class needs samples to train on"
        )
    return len(known)


def _listed(values, most=10):
    """`values` as text, not all of them if they are many."""
    texts = list(map(str, values.tolist()))
    return ", ".join(texts if len(texts) <= most else [*texts[:most], "..."])


# --- CSV


def load_csv(path):
    """Rows of numbers with a label, from a .csv file whose first row names the columns.

    The label is in the column `label`, else in the last one; labels may be text, and become the
    names of the classes in natural order. A column `split` says which rows are for train,
    validation and test; without one, every fifth row of a class is for testing.
    """
    table = read_table(path)
    columns = [name for name in table if name != SPLIT]
    label = LABEL if LABEL in columns else columns[-1]
    features = [name for name in columns if name != label]
    if not features:
        raise UserError(
            f"{path} has the columns {', '.join(table)}: no column of numbers beside the label "
            f"'{label}'; it takes numbers and, in the last column or one named '{LABEL}', classes"
        )
    samples = numbers(path, table, features)
    names = tuple(sorted(set(table[label]), key=natural_key))
    if "" in names:
        row = table.lines[table[label].index("")]
        raise UserError(f"{path}, row {row}: the label (column '{label}') is empty; fill it in")
    if not 2 <= len(names) <= len(samples) // 2:
        raise UserError(
            f"{path}: column '{label}' has {len(names)} different labels in {len(samples)} rows; "
            f"it takes 2 or more classes with several rows each (name the column of the classes "
            f"'{LABEL}')"
        )
    labels = np.array([names.index(text) for text in table[label]])
    part = _parts(path, table, labels)
    splits = {split: (samples[part == split], labels[part == split]) for split in SPLITS}
    if not len(splits["validation"][1]):
        del splits["validation"]
    for split, (_, found) in splits.items():
        if not len(found):
            raise UserError(
                f"{path} has no {split} rows; column '{SPLIT}' says which rows are train and test, "
                f"without it a class needs {TEST_SHARE} rows or more"
            )
    missing = set(range(len(names))) - set(splits["train"][1].tolist())
    if missing:
        raise UserError(f"{path}: class '{names[min(missing)]}' has no row to train on")
    return _dataset(splits, names, tuple(features))


def read_table(path):
    """The `Table` in the .csv file at `path`. Raises `UserError`."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            lines = (line.strip() for line in file)
            head = next((line for line in lines if line), "")
            named = re.fullmatch(r"sep=(.)", head, re.I)  # how Excel says it
            bare = re.sub(r'"[^"]*"', "", head)
            delimiter = named[1] if named else max(DELIMITERS, key=bare.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name an existing .csv file")
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8 ({error}); save it as one")
    rows = rows[1:] if named else rows
    if len(rows) < 2:
        raise UserError(f"{path} has no rows; it takes a row with the columns' names, then data")
    names = [name.strip() for name in rows[0][1]]
    for kind in (LABEL, SPLIT):  # people write Label and SPLIT
        names = [kind if name.lower() == kind else name for name in names]
    odd = [name for name in names if not name or names.count(name) > 1 or _is_number(name)]
    if odd:
        raise UserError(
            f"{path}: its first row is {', '.join(names)[:80]}; it must name each column once, and "
            "not be data"
        )
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise UserError(f"{path}, row {line}: {len(row)} cells for {len(names)} columns")
    cells = [[text.strip() for text in row] for _, row in rows[1:]]
    return Table(
        dict(zip(names, map(list, zip(*cells, strict=True)), strict=True)),
        [line for line, _ in rows[1:]],
    )


class Table(dict):
    """{column: its texts, row by row}; `lines` are the rows' numbers in the file."""

    def __init__(self, columns, lines):
        super().__init__(columns)
        self.lines = lines


def _is_number(text):
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def numbers(path, table, columns):
    """The `columns` of a `read_table` as float64 [rows, columns]. Raises `UserError`."""
    for name in columns:
        if name not in table:
            raise UserError(f"{path} has no column '{name}'; it has: {', '.join(table)}")
        for row, text in zip(table.lines, table[name], strict=True):
            if not _is_number(text):
                raise UserError(
                    f"{path}, row {row}, column '{name}': {text!r} is not a number; write numbers "
                    "as 1.5 or 2e-3, and leave out rows that lack one (if this column has the "
                    f"classes, name it '{LABEL}')"
                )
    return np.array([[float(text) for text in table[name]] for name in columns]).T


def _parts(path, table, labels):
    """The split of each row, text [N]: by its column, or every fifth of a class for testing."""
    if SPLIT not in table:
        parts = np.full(len(labels), "train", dtype="U10")
        for label in np.unique(labels):
            parts[np.flatnonzero(labels == label)[TEST_SHARE - 1 :: TEST_SHARE]] = "test"
        return parts
    parts = [text.lower() for text in table[SPLIT]]
    for row, part in zip(table.lines, parts, strict=True):
        if part not in SPLITS:
            raise UserError(
                f"{path}, row {row}: split '{part}' is not known; each row takes one of: "
                f"{', '.join(SPLITS)}"
            )
    return np.array(parts)


LOADERS = {".npz": load_npz, ".csv": load_csv}
