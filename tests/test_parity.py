"""One contract, three executors: PyTorch in eval mode, the integer model, the C."""

import subprocess

import numpy as np
import pytest
import torch
from conftest import ROOT, SANITIZE, STRICT, Harness, compiler, extreme_inputs, random_model

import BitNetMCU
import integermodel
import test_inference
from BitNetMCU import FORMATS
from cli import UserError
from integermodel import IntegerLayer, IntegerModel

WIDTHS = (1, 3, 17, 60, 100)


def assert_same(ours, expected):
    assert test_inference.differing_values(ours, expected) == 0


def contract(weights, inputs):
    """The contract in plain Python, value by value: [(accumulators, shift) of each layer]."""
    values, x = [], inputs
    for index, matrix in enumerate(weights):
        accumulators = [sum(w * a for w, a in zip(row, x, strict=True)) for row in matrix]
        if index == len(weights) - 1:
            shift = 0
        else:
            shift = max(0, max(0, *accumulators).bit_length() - 7)
            half = (1 << shift) >> 1
            x = [min(127, (a + half) >> shift) if a > 0 else 0 for a in accumulators]
        values.append((accumulators, shift))
    return values


@pytest.mark.parametrize("name", FORMATS)
def test_integer_model_follows_the_contract_value_by_value(name, rng):
    model = random_model(rng, [name] * 3, (17, 9, 5, 4))
    inputs = extreme_inputs(rng, 17)
    traces = model.execute(inputs)
    for image, pixels in enumerate(inputs.tolist()):
        expected = contract([layer.weights.tolist() for layer in model.layers], pixels)
        for trace, (accumulators, shift) in zip(traces, expected, strict=True):
            assert trace.accumulators[image].tolist() == accumulators
            assert trace.shifts[image] == shift


@pytest.mark.parametrize("inputs", WIDTHS)
@pytest.mark.parametrize("name", FORMATS)
def test_c_matches_integer_model_on_random_networks(name, inputs, rng, tmp_path):
    """gcc with AddressSanitizer and UBSan; signed inputs; all widths in turn."""
    sizes = (inputs, *rng.permutation(WIDTHS)[:3], rng.choice(WIDTHS))
    model = random_model(rng, [name] * 4, sizes)
    harness = Harness(model, tmp_path, compiler("gcc", SANITIZE))
    images = extreme_inputs(rng, inputs)
    predictions, traces = harness.execute(images)
    assert_same(traces, model.execute(images))
    assert np.array_equal(predictions, model.predict(images))


@pytest.mark.parametrize("name", ["clang", "gcc"])
def test_formats_mix_in_one_network_with_each_compiler(name, rng, tmp_path):
    formats = list(FORMATS)
    model = random_model(rng, formats, (60, 17, 100, 33, 5, 7))
    harness = Harness(model, tmp_path, compiler(name, SANITIZE))
    images = extreme_inputs(rng, 60)
    assert_same(harness.execute(images)[1], model.execute(images))


@pytest.mark.parametrize("name", FORMATS)
def test_all_negative_accumulators_give_zero_activations(name, rng, tmp_path):
    row = FORMATS[name]
    lowest = np.full((9, 20), min(row.levels), np.int32)
    model = IntegerModel((IntegerLayer(row, lowest), IntegerLayer(row, lowest[:, :9])))
    harness = Harness(model, tmp_path, compiler("gcc", SANITIZE))
    images = np.full((1, 20), 127, np.int8)
    first, last = harness.execute(images)[1]
    assert (first.accumulators == 20 * 127 * min(row.levels)).all()
    assert first.shifts == [0]
    assert (last.accumulators == 0).all()


def test_largest_accumulators_saturate_at_127(rng, tmp_path):
    """An accumulator of 2^k - 1 rounds up to 128, which the contract cuts to 127."""
    row = FORMATS["8bit"]
    first = np.array([[127, 127, 127, 127, 4]], np.int32)  # 127 * 4 * 127 + 4 = 2^16 - 1016
    rows = np.concatenate([first, rng.integers(-128, 128, (3, 5))]).astype(np.int32)
    model = IntegerModel((IntegerLayer(row, rows), IntegerLayer(row, rows[:, :4])))
    images = np.array([[127] * 5, [127] * 4 + [0], [1, 0, 0, 0, 0], [2, 0, 0, 0, 0]], np.int8)
    traces = model.execute(images)
    activations = integermodel.shiftnorm_relu(traces[0].accumulators, traces[0].shifts)
    assert activations.max() == 127
    harness = Harness(model, tmp_path, compiler("gcc", SANITIZE))
    assert_same(harness.execute(images)[1], traces)


@pytest.mark.parametrize("inputs", [*WIDTHS, 4096])
@pytest.mark.parametrize("name", FORMATS)
def test_pytorch_eval_mode_matches_integer_model(name, inputs, rng, settings):
    """4,096 inputs of 8 bits pass 2^24: float64 takes over where float32 is not exact."""
    torch.manual_seed(inputs)
    changes = {"QuantType": name, "widths": [60, 3, 17]}
    network = BitNetMCU.build_model(settings | changes, inputs, 10).eval()
    images = extreme_inputs(rng, inputs)
    traces = integermodel.lower(network).execute(images)
    values, x = [], torch.from_numpy(images).float()
    for layer in network.layers:
        x = layer(x)
        if isinstance(layer, BitNetMCU.BitLinear):
            values.append(x.detach().numpy())
    for value, trace in zip(values, traces, strict=True):
        assert np.array_equal(value, trace.accumulators)


def test_shift_and_rounding_of_every_bit_length():
    values = [v for k in range(31) for v in (2**k - 1, 2**k, 2**k + 1) if v < 2**31]
    accumulators = np.array([[v, v // 2, v // 3, -v] for v in values], np.int32)
    shifts = integermodel.shiftnorm_shifts(accumulators)
    activations = integermodel.shiftnorm_relu(accumulators.astype(np.int64), shifts)
    inexact = BitNetMCU.ShiftNormReLU(aware=False).eval()
    assert np.array_equal(inexact(torch.from_numpy(accumulators).double()).numpy(), activations)
    for row, shift, value in zip(activations, shifts, values, strict=True):
        assert shift == max(0, value.bit_length() - 7)
        assert row[3] == 0 and (64 <= row[0] <= 127 or value < 64)


def test_accumulators_that_could_leave_int32_are_refused(settings):
    changes = settings | {"QuantType": "FP130", "widths": [1, 1]}
    network = BitNetMCU.build_model(changes, 140_000, 2)
    torch.nn.init.constant_(network.layers[0].weight, 1000.0)
    with pytest.raises(UserError, match="past int32"):
        integermodel.lower(network)


def test_layers_without_an_integer_form_are_refused_by_name(settings):
    network = BitNetMCU.build_model(settings, 16, 3)
    network.layers[1] = torch.nn.Sigmoid()
    with pytest.raises(UserError, match="Sigmoid"):
        integermodel.lower(network)


@pytest.mark.parametrize("optimise", ["-Os", "-O2", "-O3"])
@pytest.mark.parametrize("name", ["gcc", "clang"])
def test_kernels_compile_without_multiply_or_divide(name, optimise, tmp_path):
    assembly = tmp_path / "kernels.s"
    subprocess.run(
        [*compiler(name), *STRICT, optimise, "-fno-tree-vectorize", "-S", "-o", assembly]
        + [ROOT / "BitNetMCU_inference.c"],
        check=True,
    )
    mnemonics = {line.split()[0] for line in assembly.read_text().splitlines() if line.strip()}
    banned = {m for m in mnemonics if m.lstrip("i").startswith(("mul", "div", "madd", "msub"))}
    assert not banned


@pytest.mark.parametrize(
    "seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 400))]
)
def test_fuzz_networks_of_random_formats_and_sizes(seed, tmp_path):
    rng = np.random.default_rng(seed)
    depth = rng.integers(2, 6)
    sizes = rng.integers(1, 150, depth + 1)
    model = random_model(rng, rng.choice(list(FORMATS), depth), sizes)
    harness = Harness(model, tmp_path, compiler("gcc", SANITIZE))
    images = np.concatenate([extreme_inputs(rng, sizes[0]) for _ in range(20)])
    assert_same(harness.execute(images)[1], model.execute(images))
