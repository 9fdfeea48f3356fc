"""Studies, and what all scripts share."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import ROOT, refused, run_script

import cli
import study
from cli import UserError
from train import config, loaders


def test_study_resumes_and_adds_only_what_is_missing(tmp_path, capsys):
    file, out = tmp_path / "s.yaml", tmp_path / "s.csv"
    base = "base: {dataset: Digits, num_epochs: 1, widths: [5, 5]}\n"
    file.write_text(base + "grid: {QuantType: [Binary, FP130]}\nseeds: [0]\n")
    command = ("study.py", file, "--out", out, "--build", tmp_path / "runs")
    first = run_script(*command)
    assert first.returncode == 0, first.stderr
    before = {row["name"]: row for row in study.read_rows(out)}
    assert len(before) == 2
    file.write_text(base + "grid: {QuantType: [Binary, FP130]}\nseeds: [0, 1]\n")
    second = run_script(*command)
    assert "4 runs, 2 of them done" in second.stdout
    after = {row["name"]: row for row in study.read_rows(out)}
    assert len(after) == 4 and before.items() <= after.items()
    assert all(row["differing_values"] == "0" for row in after.values())
    table = run_script(*command, "--summary").stdout.splitlines()
    assert re.match(r"Binary +2 +\d+\.\d\d \+- \d+\.\d\d", table[1])


def test_study_files_with_faults_are_refused(tmp_path):
    for content, expected in (
        ({"grids": {}}, "'grids' is not known"),
        ({"grid": {"seed": 3}}, "takes a list"),
        ({"grid": [1]}, "'parameter: value' lines"),
        ({"base": 3}, "'parameter: value' lines"),
        ({"variants": [3]}, "a variant is"),
        ({"variants": [{"seed": 1}, {"seed": 2}]}, "the same run twice"),
        ({"base": {"sed": 3}}, "did you mean 'seed'"),
    ):
        with pytest.raises(UserError, match=re.escape(expected)):
            study.expand(content, "s.yaml")
    (tmp_path / "s.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="other columns"):
        study.read_rows(tmp_path / "s.csv")


def a_row(**changes):
    """A row as study.py writes them."""
    settings = {key: str(value) for key, value in asdict(config.load()).items()}
    results = dict.fromkeys(study.RESULTS, "1") | {"accuracy": "98.5000", "validation_accuracy": ""}
    return {"name": config.run_name(config.load())} | settings | results | changes


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"accuracy": "abc"}, "line 3: accuracy='abc' is not a number"),
        ({"accuracy": "nan"}, "accuracy='nan' is not a number"),
        ({"accuracy_float": "-1"}, "is not a number from 0"),
        ({"entropy_bytes": "1e999"}, "entropy_bytes='1e999'"),
        ({"differing_values": "x"}, "differing_values='x' is not a whole number"),
        ({"differing_values_multiplier": "0.5"}, "'0.5' is not a whole number"),
        ({"weight_bytes": "12 kB"}, "weight_bytes='12 kB' is not a whole number"),
    ],
)
def test_a_damaged_row_is_named(change, expected, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(cli.csv_text([a_row(), a_row(**change)]))
    with pytest.raises(UserError, match=re.escape(expected)):
        study.read_rows(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"\n\n",
        lambda data: data[: len(data) // 3],  # in the first line
        lambda data: data[:-20],  # in the last
        lambda data: data + b"\0\xff",
        lambda data: data.replace(b",", b";"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: os.urandom(3000),
        lambda data: b"PK\x03\x04" + b"\0" * 300,
        lambda data: data + b'"' + b"x" * 200_000,
    ],
)
def test_a_damaged_study_is_refused_and_left_as_it_is(damage, tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(damage(cli.csv_text([a_row(), a_row()]).encode()))
    before = path.read_bytes()
    with pytest.raises(UserError) as refusal:
        study.read_rows(path)
    assert str(path) in str(refusal.value)
    assert path.read_bytes() == before


def test_the_summary_of_a_damaged_study_is_one_line(tmp_path):
    (tmp_path / "s.csv").write_text(cli.csv_text([a_row(accuracy="abc")]))
    line = refused(
        run_script("study.py", "studies/fc.yaml", "--summary", "--out", tmp_path / "s.csv")
    )
    assert "mend or remove that line" in line


# --- processes


def start_study(folder):
    """A study that takes minutes, in a session of its own, once its workers train."""
    (folder / "s.yaml").write_text(
        "base: {dataset: Digits, num_epochs: 5000, widths: [5, 5]}\nseeds: [0, 1, 2, 3]\n"
    )
    command = [sys.executable, "study.py", folder / "s.yaml", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--out", folder / "s.csv", "--build", folder / "runs"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert within(120, lambda: len(list(folder.glob("runs/*/*.partial.pth"))) == 2)
    return process


def within(seconds, condition):
    """Whether `condition()` comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def session(process):
    """The pids of what still runs of a process that started a session."""
    done = subprocess.run(["ps", "-eo", "pid,sess,stat"], capture_output=True, text=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    return [int(pid) for pid, sess, stat in rows if sess == str(process.pid) and stat[0] != "Z"]


def test_workers_stop_when_their_parent_is_killed_and_the_lock_goes_with_it(tmp_path):
    process = start_study(tmp_path)
    assert len(session(process)) >= 3
    process.kill()
    process.wait()
    assert within(10, lambda: not session(process)), session(process)
    with cli.alone(tmp_path / "s.csv", "--out"), cli.alone(tmp_path / "runs", "--build"):
        pass
    assert not list(tmp_path.glob("*.lock"))


def test_a_second_study_is_refused_and_interrupt_ends_the_first_in_one_line(tmp_path):
    process = start_study(tmp_path)
    for out, build, named in (("s", "other", "--out"), ("other", "runs", "--build")):
        command = ("study.py", tmp_path / "s.yaml", "--out", tmp_path / f"{out}.csv")
        line = refused(run_script(*command, "--build", tmp_path / build))
        assert f"process {process.pid}" in line and f"name another with {named}" in line
    assert not (tmp_path / "other.csv").exists()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers, too
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "interrupted: no finished file was changed\n")
    assert within(10, lambda: not session(process))
    assert not list(tmp_path.glob("*.lock"))


def test_only_one_at_a_time_is_alone(tmp_path):
    path = tmp_path / "new folder" / "x"
    with cli.alone(path, "--out"):
        with pytest.raises(UserError, match=f"process {os.getpid()}"), cli.alone(path, "--out"):
            pass
        with cli.alone(tmp_path / "y", "--out"):
            pass
    Path(f"{path}.lock").write_text("left by a machine that lost its power")
    with cli.alone(path, "--out"):
        pass
    assert not list(path.parent.iterdir())


def test_committed_studies_name_valid_runs():
    for file in (ROOT / "studies").glob("*.yaml"):
        names = [config.run_name(s) for s in study.expand(config.read_yaml(file), file)]
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "script",
    [
        "training.py",
        "exportquant.py",
        "test_inference.py",
        "study.py",
        "modelcard.py",
        "predict.py",
    ],
)
def test_help_shows_an_example(script):
    done = run_script(script, "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout and f"python {script}" in done.stdout


def test_data_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("BITNETMCU_DATA", raising=False)
    assert str(loaders.data_folder()) == "datasets"
    monkeypatch.setenv("BITNETMCU_DATA", "/elsewhere")
    assert str(loaders.data_folder()) == "/elsewhere"
