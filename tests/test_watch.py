"""examples/watch.py on a small wheel that is made like the real one; no network."""

import hashlib
import io
import pickle
import sys
import zipfile

import numpy as np
import pytest
from conftest import ROOT, refused, run_script

from cli import UserError
from train import measured

sys.path.insert(0, str(ROOT / "examples"))
import watch  # noqa: E402

PERSONS, EXERCISES = 10, 2
WHEEL = "seglearn-1.2.5-py3-none-any.whl"
INFO = "seglearn-1.2.5.dist-info"


def recordings():
    """Each holds its own number in the first channel and counts its readings in the second."""
    made = []
    for index in range(PERSONS * EXERCISES):
        readings = np.zeros((40 + index, 6))
        readings[:, 0], readings[:, 1] = index + 1, np.arange(40 + index)
        made.append(watch.Recording(readings, index % EXERCISES, index // EXERCISES + 1))
    return made


def content_of(**changes):
    """The bytes of the package's file, with numpy's name in pickles as its maker's had it."""
    made = recordings()
    data = {
        "X": [each.readings for each in made],
        "y": np.array([each.exercise for each in made]),
        "subject": np.array([each.person for each in made]),
        "y_labels": ["PEN", "ABD"],
    } | changes
    buffer = io.BytesIO()
    array = np.array(data)
    np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(array))
    pickled = pickle.dumps(array, protocol=2)
    return buffer.getvalue() + pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def write_wheel(folder, content, member=watch.MEMBER):
    """A wheel that pip takes for the package."""
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(member, content)
        wheel.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.1\nName: seglearn\nVersion: 1.2.5\n"
        )
        wheel.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{INFO}/RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel whose file has the hash that the script asks for."""
    content = content_of()
    monkeypatch.setattr(watch, "SHA256", hashlib.sha256(content).hexdigest())
    return write_wheel(tmp_path, content)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs the script's main() with options; returns the arrays of the file it writes."""

    def run(*options):
        file = tmp_path / "watch.npz"
        monkeypatch.setattr(sys, "argv", ["watch.py", str(file), *map(str, options)])
        watch.main()
        return measured.read_arrays(file)

    return run


@pytest.fixture
def only_pace(monkeypatch):
    """Copies that are faster or slower, and no more."""
    for name, neutral in (("STRENGTH", 0), ("ASKEW", 0), ("MIRROR", (1,) * 6)):
        monkeypatch.setattr(watch, name, neutral)


def test_the_windows_are_the_readings_of_their_recordings(make, wheel):
    arrays = make("--wheel", wheel, "--window", 10, "--step", 7, "--person", 2)
    for split, persons in (("train", {*range(1, 11)} - {2}), ("test", {2})):
        expected = [
            (each.readings[start : start + 10], each.exercise, each.person)
            for each in recordings()
            if each.person in persons
            for start in range(0, len(each.readings) - 9, 7)
        ]
        x, y, person = (arrays[f"{name}_{split}"] for name in ("x", "y", "person"))
        assert x.dtype == np.float32 and np.array_equal(x, [row[0] for row in expected])
        assert y.tolist() == [row[1] for row in expected]
        assert person.tolist() == [row[2] for row in expected]
    assert arrays["class_names"].tolist() == ["PEN", "ABD"]


def test_averaged_readings_are_those_of_one_recording(make, wheel):
    arrays = make("--wheel", wheel, "--window", 13, "--step", 13, "--average", 3)
    expected = [
        [each.readings[3 * i : 3 * i + 3].mean(axis=0) for i in range(13)]
        for each in recordings()
        if each.person == 10
    ]
    assert np.allclose(arrays["x_test"], expected)


def test_the_file_is_one_to_train_on(make, wheel, tmp_path):
    make("--wheel", wheel, "--window", 10, "--copies", 1)
    data = measured.load(tmp_path / "watch.npz")
    assert data.class_names == ("PEN", "ABD") and data.train_images.shape[1:] == (10, 6)


def test_a_person_left_out_is_in_neither_part(make, wheel):
    arrays = make("--wheel", wheel, "--window", 10, "--person", 2, "--without", 3, "--copies", 2)
    assert set(arrays["person_train"]) == {1, *range(4, 11)} and set(arrays["person_test"]) == {2}


@pytest.mark.parametrize("window", [1, 2, 33, 40])
def test_no_window_straddles_nor_does_a_distorted_one(make, wheel, only_pace, window):
    """The first channel tells recordings apart, and the second counts on within one."""
    arrays = make("--wheel", wheel, "--window", window, "--step", 1, "--copies", 3)
    x, originals = arrays["x_train"], len(arrays["x_train"]) // 4
    assert np.ptp(x[:, :, 0], axis=1).max() < 1e-4
    assert np.array_equal(np.round(x[:, 0, 0]), np.tile(np.round(x[:originals, 0, 0]), 4))
    steps = np.diff(x[:, :, 1], axis=1)
    if window > 1:
        assert steps[:originals].min() == steps[:originals].max() == 1
        assert steps.min() >= 1 - watch.PACE - 1e-4 and steps.max() <= 1 + watch.PACE + 1e-4
        paces = steps[originals:, 0]
        assert np.abs(steps[originals:] - paces[:, None]).max() < 1e-4  # one for each window
        assert window == 40 or np.ptp(paces) > watch.PACE


def test_copies_differ_keep_their_class_and_leave_the_test_as_it_is(make, wheel):
    plain = make("--wheel", wheel, "--window", 10)
    copied = make("--wheel", wheel, "--window", 10, "--copies", 2)
    count = len(plain["y_train"])
    assert np.array_equal(copied["x_train"][:count], plain["x_train"])
    assert np.array_equal(copied["x_test"], plain["x_test"])
    assert np.array_equal(copied["y_train"], np.tile(plain["y_train"], 3))
    first, second = copied["x_train"][count : 2 * count], copied["x_train"][2 * count :]
    assert not np.array_equal(first, second) and np.isfinite(copied["x_train"]).all()
    again = make("--wheel", wheel, "--window", 10, "--copies", 2)
    assert np.array_equal(copied["x_train"], again["x_train"])
    other = make("--wheel", wheel, "--window", 10, "--copies", 2, "--seed", 1)
    assert not np.array_equal(copied["x_train"], other["x_train"])


def test_turns_of_the_watch_are_rotations(rng):
    turns = watch.rotations(50, rng)
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3))
    assert np.allclose(np.linalg.det(turns), 1)


def test_half_the_pace_is_half_the_rate_of_turning(rng, only_pace):
    """A sensor that turns evenly: its rates shrink with the pace, its accelerations do not."""
    readings = np.zeros((100, 6))
    readings[:, 0], readings[:, 1], readings[:, 3:] = 1, np.arange(100), 2
    moved = watch.distort(watch.Recording(readings, 0, 1), 20, 5, rng)
    pace = np.diff(moved[:, :, 1], axis=1).mean(axis=1)
    assert np.allclose(moved[:, :, 0], 1)
    assert np.allclose(moved[:, :, 3:], 2 * pace[:, None, None])


def test_half_of_the_copies_are_of_the_other_arm(rng, only_pace, monkeypatch):
    """A mirror along the forearm turns that acceleration, and the turns about the other axes."""
    monkeypatch.setattr(watch, "MIRROR", (-1, 1, 1, 1, -1, -1))
    moved = watch.distort(watch.Recording(np.ones((1000, 6)), 0, 1), 5, 2, rng)
    signs = np.sign(moved)
    mirrored = signs[:, :, 0] < 0
    assert np.array_equal(signs[mirrored], np.tile((-1, 1, 1, 1, -1, -1), (mirrored.sum(), 1)))
    assert (signs[~mirrored] == 1).all() and 0.4 < mirrored.mean() < 0.6
    assert np.array_equal(mirrored.any(axis=1), mirrored.all(axis=1))  # a whole window, or none


def test_pip_brings_the_wheel(make, wheel, monkeypatch):
    """From where the user's settings say; here, from a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    given = make("--wheel", wheel, "--window", 10)
    found = make("--window", 10)
    assert all(np.array_equal(given[name], found[name]) for name in given)


# --- mistakes


def test_without_a_network_the_way_out_is_a_file(tmp_path):
    file = tmp_path / "watch.npz"
    line = refused(run_script("examples/watch.py", file, PIP_NO_INDEX="1"))
    assert "pip cannot download seglearn==1.2.5" in line and "--wheel FILE" in line
    assert not list(tmp_path.iterdir())


def test_another_file_is_refused_before_it_is_parsed(tmp_path):
    other = write_wheel(tmp_path, content_of())
    line = refused(run_script("examples/watch.py", tmp_path / "x.npz", "--wheel", other))
    assert f"not {watch.SHA256[:12]}" in line and "name the wheel of seglearn==1.2.5" in line
    assert not (tmp_path / "x.npz").exists()


def test_what_is_no_wheel_is_named(make, tmp_path):
    for path, problem in (
        (tmp_path / "missing.whl", "cannot read"),
        (tmp_path, "cannot read"),
        (write_wheel(tmp_path, b"", "other.npy"), "has no seglearn/data/watch_dataset.npy"),
    ):
        with pytest.raises(UserError, match=problem):
            make("--wheel", path)
    (tmp_path / WHEEL).write_bytes(b"no zip")
    with pytest.raises(UserError, match="not a wheel, or a damaged one"):
        make("--wheel", tmp_path / WHEEL)


def test_a_damaged_wheel_is_one_line(make, wheel):
    """Every 97th byte of it changed, one at a time."""
    whole = wheel.read_bytes()
    for position in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        wheel.write_bytes(damaged)
        try:
            make("--wheel", wheel, "--window", 10)
        except UserError as error:
            assert str(wheel) in str(error)


@pytest.mark.parametrize("called", [print, eval, np.load])
def test_a_pickle_that_calls_anything_else_is_refused(called, monkeypatch, make, tmp_path):
    class Call:
        def __reduce__(self):
            return called, ("'harm'",)

    content = content_of(extra=Call())
    monkeypatch.setattr(watch, "SHA256", hashlib.sha256(content).hexdigest())
    with pytest.raises(UserError, match=f"{called.__name__}, which no array needs"):
        make("--wheel", write_wheel(tmp_path, content))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--window", 41], "--window 41 is longer than a recording: they have 40 to 59 readings"),
        (["--window", 14, "--average", 3], "they have 13 to 19 readings, 16.6667 a second"),
        (["--average", 0], "--average 0 is too small"),
        (["--window", 0], "--window 0 is too small; it takes 1 or more"),
        (["--step", 0], "--step 0 is too small"),
        (["--copies", -1], "--copies -1 is too small; it takes 0 or more"),
        (["--seed", -1], "--seed -1 is too small"),
        (["--person", 11], "--person 11 is not there; choose one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
        (["--without", 0], "--without 0 is not there"),
        (["--person", 1, "--without", 1], "--without 1 is the --person to test with"),
    ],
)  # fmt: skip
def test_what_the_recordings_cannot_give_is_refused(make, wheel, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        make("--wheel", wheel, "--window", 10, *options)
    assert [path.name for path in tmp_path.iterdir()] == [WHEEL]
