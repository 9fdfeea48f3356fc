"""The examples that lead from Keras and PyTorch to C, and the model that they leave behind."""

import importlib.util

import pytest
from conftest import ROOT, refused, run_script

for package in ("ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

from examples import to_c  # noqa: E402

DIGITS = ROOT / "examples" / "digits.tflite"


@pytest.mark.parametrize(
    ("script", "module", "package"),
    [
        ("examples/keras_to_c.py", "tensorflow", "tensorflow-cpu"),
        ("examples/pytorch_to_c.py", "litert_torch", "litert-torch"),
    ],
)
def test_a_converter_that_is_missing_is_one_line(script, module, package, tmp_path):
    (tmp_path / f"{module}.py").write_text(f"raise ImportError('no {module} here')")
    done = run_script(script, tmp_path / "x.tflite", PYTHONPATH=str(tmp_path))
    assert f"no {module} here" in refused(done) and f"-m pip install {package}'" in done.stderr
    assert not (tmp_path / "x.tflite").exists()


def test_the_committed_digits_are_small_and_classify():
    assert DIGITS.stat().st_size <= 20_000
    _, test = to_c.digits()
    assert round(to_c.accuracy(DIGITS, *test), 2) == 97.78


def test_the_committed_digits_are_exact_in_c():
    done = run_script("check_tflite.py", DIGITS, "--inputs", 4)
    assert done.returncode == 0 and " differing_values=0 " in done.stdout


@pytest.mark.skipif(not importlib.util.find_spec("litert_torch"), reason="no litert-torch")
def test_digits_go_from_pytorch_to_c(tmp_path):
    file = tmp_path / "digits.tflite"
    done = run_script("examples/pytorch_to_c.py", file, "--out", tmp_path / "c", "--epochs", 1)
    assert done.returncode == 0 and " differing_values=0 " in done.stdout, done.stderr
    assert (tmp_path / "c" / "model.c").is_file()
