"""Studies, and what all scripts share."""

import re

import pytest
from conftest import ROOT, run_script

import config
import loaders
import study
from cli import UserError


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
