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
def test_c_matches_integer_model_on_random_networks(name, inputs, rng, tmp_path, build_harness):
    """With AddressSanitizer and UBSan where they are; signed inputs; all widths in turn."""
    sizes = (inputs, *rng.permutation(WIDTHS)[:3], rng.choice(WIDTHS))
    model = random_model(rng, [name] * 4, sizes)
    harness = build_harness(model, tmp_path)
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
def test_all_negative_accumulators_give_zero_activations(name, rng, tmp_path, build_harness):
    row = FORMATS[name]
    lowest = np.full((9, 20), min(row.levels), np.int32)
    model = IntegerModel((IntegerLayer(row, lowest), IntegerLayer(row, lowest[:, :9])))
    harness = build_harness(model, tmp_path)
    images = np.full((1, 20), 127, np.int8)
    first, last = harness.execute(images)[1]
    assert (first.accumulators == 20 * 127 * min(row.levels)).all()
    assert first.shifts == [0]
    assert (last.accumulators == 0).all()


def test_rounding_up_to_128_saturates_at_127(tmp_path, build_harness):
    """An accumulator of 2^k - 1 rounds up to 128, which the contract cuts to 127."""
    row = FORMATS["8bit"]
    first = np.array([[127, 127, 1], [0, 0, 1]], np.int32)
    model = IntegerModel((IntegerLayer(row, first), IntegerLayer(row, np.eye(2, dtype=np.int32))))
    images = np.array([[1, 1, 1], [2, 2, 3], [127, 127, 127]], np.int8)
    first_trace, last_trace = model.execute(images)
    assert first_trace.accumulators[:2, 0].tolist() == [255, 511]
    assert last_trace.accumulators[:2].tolist() == [[127, 1], [127, 1]]
    assert_same(build_harness(model, tmp_path).execute(images)[1], model.execute(images))


@pytest.mark.parametrize("inputs", WIDTHS)
@pytest.mark.parametrize("name", FORMATS)
def test_pytorch_eval_mode_matches_integer_model(name, inputs, rng, settings):
    torch.manual_seed(inputs)
    changes = {"QuantType": name, "widths": [60, 3, 17]}
    network = BitNetMCU.build_model(settings | changes, inputs, 10)
    images = torch.from_numpy(extreme_inputs(rng, inputs))
    with torch.no_grad():
        in_pytorch = test_inference.pytorch_traces(network, images)
    assert_same(in_pytorch, integermodel.lower(network).execute(images.numpy()))


def test_pytorch_eval_mode_is_exact_past_2_to_the_24(settings):
    """4,096 inputs of 8 bits: odd accumulators that float32 cannot hold."""
    network = BitNetMCU.build_model(settings | {"QuantType": "8bit"}, 4096, 3)
    with torch.no_grad():
        network.layers[0].weight.fill_(1.0)
        network.layers[0].weight[:, 0] = 0.0
        network.layers[0].maxw.fill_(1.0)
        images = torch.full((1, 4096), 127, dtype=torch.int8)
        images[0, 1] = 125
        in_pytorch = test_inference.pytorch_traces(network, images)
    expected = integermodel.lower(network).execute(images.numpy())
    assert expected[0].accumulators[0, 0] == 127 * (4095 * 127 - 2) > 2**24
    assert float(np.float32(expected[0].accumulators[0, 0])) != expected[0].accumulators[0, 0]
    assert_same(in_pytorch, expected)


def test_shift_and_rounding_of_every_bit_length():
    values = [v for k in range(31) for v in (2**k - 1, 2**k, 2**k + 1) if v + 2**23 < 2**31]
    accumulators = np.array([[v, v // 2, v // 3, -v] for v in values], np.int32)
    shifts = integermodel.shiftnorm_shifts(accumulators)
    activations = integermodel.shiftnorm_relu(accumulators, shifts)
    inexact = BitNetMCU.ShiftNormReLU(aware=False).eval()
    assert np.array_equal(inexact(torch.from_numpy(accumulators).double()).numpy(), activations)
    for row, shift, value in zip(activations, shifts, values, strict=True):
        assert shift == max(0, value.bit_length() - 7)
        assert row[3] == 0 and (64 <= row[0] <= 127 or value < 64)


@pytest.mark.parametrize(("inputs", "fits"), [(65_279, True), (65_280, False)])
def test_accumulators_that_could_leave_int32_are_refused(settings, inputs, fits):
    """128 * 256 * inputs, and the 2^23 that rounding adds, must stay below 2^31."""
    network = BitNetMCU.build_model(settings | {"QuantType": "FP130", "widths": [1, 1]}, inputs, 2)
    torch.nn.init.constant_(network.layers[0].weight, -1000.0)
    if fits:
        images = np.full((1, inputs), -128, np.int8)
        trace = integermodel.lower(network).execute(images)[0]
        assert integermodel.shiftnorm_relu(*vars(trace).values()).tolist() == [[127]]
    else:
        with pytest.raises(UserError, match="past int32"):
            integermodel.lower(network)


@pytest.mark.parametrize("name", ["RMS", "Lin"])
def test_norms_are_root_mean_square_and_mean_magnitude(name):
    x = torch.tensor([[3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = {"RMS": 2.5, "Lin": 1.75}[name]
    norm = BitNetMCU.NORMS[name](x)
    assert norm[0].item() == pytest.approx(expected, rel=1e-5) and norm[1] > 0


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
def test_fuzz_networks_of_random_formats_and_sizes(seed, tmp_path, build_harness):
    rng = np.random.default_rng(seed)
    depth = rng.integers(2, 6)
    sizes = rng.integers(1, 150, depth + 1)
    model = random_model(rng, rng.choice(list(FORMATS), depth), sizes)
    harness = build_harness(model, tmp_path)
    images = np.concatenate([extreme_inputs(rng, sizes[0]) for _ in range(20)])
    assert_same(harness.execute(images)[1], model.execute(images))
