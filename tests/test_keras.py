"""Everyday Keras models, converted by TensorFlow, compile and compute what the reference computes.

Runs where TensorFlow is installed: pip install tensorflow-cpu.
"""

import numpy as np
import pytest
from conftest import run_script

for package in ("tensorflow", "ai_edge_litert", "tflite", "tflite_micro"):
    pytest.importorskip(package)

import keras  # noqa: E402
import keras_models  # noqa: E402


def assert_exact(done):
    assert done.returncode == 0, done.stdout + done.stderr
    assert " differing_values=0 " in done.stdout


@pytest.mark.parametrize("name", keras_models.MODELS)
def test_a_keras_model_is_exact_in_c(name, tmp_path):
    file = tmp_path / f"{name}.tflite"
    file.write_bytes(keras_models.convert(name))
    for optimise in ("speed", "none"):
        assert_exact(run_script("check_tflite.py", file, "--inputs", 4, "--optimise", optimise))


def test_the_models_have_what_the_converter_writes_for_keras():
    """A model that another TensorFlow converts to less would test less."""
    found = {kind for name in keras_models.MODELS for kind in keras_models.operators_of(name)}
    assert found >= {
        "ADD", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CONCATENATION", "CONV_2D",
        "DEPTHWISE_CONV_2D", "DEQUANTIZE", "EXPAND_DIMS", "FULLY_CONNECTED", "HARD_SWISH",
        "LEAKY_RELU", "LOGISTIC", "LOG_SOFTMAX", "MAX_POOL_2D", "MEAN", "MUL", "PACK", "PAD",
        "PRELU", "QUANTIZE", "REDUCE_MAX", "RESHAPE", "RESIZE_BILINEAR", "SHAPE", "SOFTMAX",
        "SPACE_TO_BATCH_ND", "STRIDED_SLICE", "TANH", "TILE", "TRANSPOSE_CONV",
    }  # fmt: skip


def test_digits_go_from_keras_to_c(tmp_path):
    file = tmp_path / "digits.tflite"
    done = run_script("examples/keras_to_c.py", file, "--out", tmp_path / "c", "--epochs", 1)
    assert_exact(done)
    assert (tmp_path / "c" / "model.c").is_file()


def test_a_model_of_ones_own_goes_from_keras_to_c(tmp_path):
    layers = [keras.layers.Conv1D(4, 3, activation="relu"), keras.layers.Flatten()]
    keras.Sequential([keras.Input((20, 3)), *layers]).save(tmp_path / "own.keras")
    np.save(tmp_path / "own.npy", np.random.default_rng(1).normal(0, 1, (9, 20, 3)))
    arguments = (
        "examples/keras_to_c.py", tmp_path / "own.tflite", "--out", tmp_path / "c",
        "--keras", tmp_path / "own.keras", "--samples",
    )  # fmt: skip
    assert_exact(run_script(*arguments, tmp_path / "own.npy"))
    np.save(tmp_path / "other.npy", np.zeros((9, 20, 4)))
    done = run_script(*arguments, tmp_path / "other.npy")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "(20, 4) do not fit the inputs [(20, 3)]" in done.stderr
