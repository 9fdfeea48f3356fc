"""One contract, three executors: PyTorch in eval mode, the integer model, the C."""

import itertools
from dataclasses import replace

import fuzz
import numpy as np
import pytest
import torch
from conftest import (
    SANITIZE,
    assert_same,
    compiler,
    emitted_of,
    extreme_inputs,
    layers_of,
    random_network,
)

import BitNetMCU
import exportquant
import test_inference
import training
from cli import UserError
from compiler import hostrun, memory
from compiler.formats import FORMATS
from compiler.graph import Range
from compiler.operators import execute
from compiler.trace import Layout
from lowbit import kernelrows, lowering, rules
from lowbit.rules import IntegerLayer
from train import checkpoint, epochs, models

WIDTHS = (1, 3, 17, 60, 100)


def contract(layers, inputs):
    """The contract in plain Python, value by value: what each step writes."""
    x = inputs
    for index, layer in enumerate(layers):
        rows = zip(layer.weights.tolist(), layer.bias.tolist(), layer.factors.tolist(), strict=True)
        accumulators = [
            f * (sum(w * a for w, a in zip(row, x, strict=True)) + b) for row, b, f in rows
        ]
        yield accumulators
        if index < len(layers) - 1:
            shift = max(0, max(0, *accumulators).bit_length() - 7)
            half = (1 << shift) >> 1
            x = [min(127, (a + half) >> shift) if a > 0 else 0 for a in accumulators]
            yield x
            yield [shift]


@pytest.mark.parametrize("name", FORMATS)
def test_rules_follow_the_contract_value_by_value(name, rng):
    graph = random_network(rng, [name] * 3, (17, 9, 5, 4), factors=True, bias=True)
    inputs = extreme_inputs(rng, 17)
    values = execute(graph, inputs)
    for image, pixels in enumerate(inputs.tolist()):
        written = [values[i][image].tolist() for step in graph.operators for i in step.outputs]
        assert written == list(contract(layers_of(graph), pixels))


@pytest.mark.parametrize(
    ("optimise", "multiplier"),
    [(o, m) for o in kernelrows.OPTIMISE for m in (False, True) if m or o != "host"],
)
@pytest.mark.parametrize(("factors", "bias"), [(False, False), (True, True)])
@pytest.mark.parametrize("name", FORMATS)
def test_exported_c_matches_the_rules(
    name, optimise, factors, bias, multiplier, rng, tmp_path, build_harness
):
    """With AddressSanitizer and UBSan where they are; signed inputs; odd widths."""
    inputs, *widths = (int(size) for size in rng.permutation(WIDTHS))
    graph = random_network(rng, [name] * 4, (inputs, *widths), factors, bias)
    harness = build_harness(graph, tmp_path, optimise=optimise, multiplier=multiplier)
    images = extreme_inputs(rng, inputs)
    done, expected = harness.run(images), execute(graph, images)
    assert_same(graph, done.values, expected)
    assert np.array_equal(done.output, expected[graph.outputs[0]])


def test_poison_finds_a_plan_in_which_tensors_overlap(rng, tmp_path, build_harness, monkeypatch):
    graph = random_network(rng, ["4bitsym"] * 3, (20, 9, 8, 4))
    images, plan = extreme_inputs(rng, 20), memory.plan

    def all_at_0(blocks):
        found = plan(blocks)
        return replace(found, offsets=dict.fromkeys(found.offsets, 0))

    for wrong in (False, True):
        if wrong:
            monkeypatch.setattr(memory, "verify", lambda blocks, plan: None)
            monkeypatch.setattr(memory, "plan", all_at_0)
        values = build_harness(graph, tmp_path / str(wrong)).run(images).values
        assert bool(Layout.of(graph).differences(values, execute(graph, images))) == wrong


@pytest.mark.parametrize("name", ["clang", "gcc"])
def test_formats_mix_in_one_network_with_each_compiler(name, rng, tmp_path):
    formats = list(FORMATS)
    widths = itertools.cycle((60, 17, 100, 33, 5, 7, 64, 31, 9, 20))
    graph = random_network(rng, formats, [*itertools.islice(widths, len(formats)), 10])
    assert [layer.format.name for layer in layers_of(graph)] == formats
    harness = hostrun.build(*emitted_of(graph), tmp_path, compiler(name, SANITIZE))
    images = extreme_inputs(rng, 60)
    assert_same(graph, harness.run(images).values, execute(graph, images))


@pytest.mark.parametrize("name", FORMATS)
def test_all_negative_accumulators_give_zero_activations(name, tmp_path, build_harness):
    row = FORMATS[name]
    lowest = np.full((9, 20), row.lowest, np.int32)
    graph = lowering.chain_of((IntegerLayer(row, lowest), IntegerLayer(row, lowest[:, :9])))
    images = np.full((1, 20), 127, np.int8)
    first, activations, shift, logits = build_harness(graph, tmp_path).run(images).values.values()
    assert (first == 20 * 127 * row.lowest).all()
    assert not activations.any() and not shift.any() and not logits.any()


def test_rounding_up_to_128_saturates_at_127(tmp_path, build_harness):
    """An accumulator of 2^k - 1 rounds up to 128, which the contract cuts to 127."""
    row = FORMATS["8bit"]
    first = np.array([[127, 127, 1], [0, 0, 1]], np.int32)
    graph = lowering.chain_of((IntegerLayer(row, first), IntegerLayer(row, np.eye(2, dtype=int))))
    images = np.array([[1, 1, 1], [2, 2, 3], [127, 127, 127]], np.int8)
    expected = execute(graph, images)
    accumulators, activations, _, logits = list(expected.values())[1:]
    assert accumulators[:2, 0].tolist() == [255, 511]
    assert activations[:2].tolist() == logits[:2].tolist() == [[127, 1], [127, 1]]
    assert_same(graph, build_harness(graph, tmp_path).run(images).values, expected)


@pytest.mark.parametrize(
    ("scale", "bias"), [("PerTensor", "none"), ("PerTensor", "first"), ("PerOutput", "all")]
)
@pytest.mark.parametrize("inputs", WIDTHS)
@pytest.mark.parametrize("name", FORMATS)
def test_pytorch_eval_mode_matches_the_rules(name, inputs, scale, bias, rng, settings):
    torch.manual_seed(inputs)
    changes = {"QuantType": name, "WScale": scale, "bias": bias, "widths": [60, 3, 17]}
    network = models.build(replace(settings, **changes), inputs, 10)
    images = torch.from_numpy(extreme_inputs(rng, inputs))
    graph = lowering.lower(network)
    assert [layer.bias is not None for layer in layers_of(graph)] == [
        bias == "all" or (bias == "first" and index == 0) for index in range(4)
    ]
    in_pytorch = test_inference.pytorch_values(network, graph, images)
    assert_same(graph, in_pytorch, execute(graph, images.numpy()))


@pytest.mark.parametrize("requantiser", BitNetMCU.REQUANTISERS)
@pytest.mark.parametrize("bits", [1, 2, 4, 5, 7, [7, 1, 3]])
def test_few_bits_are_exact_in_pytorch_and_c(
    bits, requantiser, rng, settings, tmp_path, build_harness
):
    """Activations of 1 to 7 bits, and each layer its own; inputs of 0 to 8."""
    torch.manual_seed(1)
    changes = {"activation_bits": bits, "requantiser": requantiser, "widths": [33, 20, 17]}
    network = models.build(replace(settings, **changes), 60, 10)
    images = torch.from_numpy(rng.integers(0, 9, (50, 60), dtype=np.int8))
    images[:2] = torch.tensor([[0], [8]])
    network.train()(images.float())  # from which fixed shifts learn
    graph = lowering.lower(network.eval(), Range(0, 8))
    expected = execute(graph, images.numpy())
    assert_same(graph, test_inference.pytorch_values(network, graph, images), expected)
    assert_same(graph, build_harness(graph, tmp_path, "speed").run(images).values, expected)
    most = [2**b - 1 for b in (bits if isinstance(bits, list) else [bits] * 3)]
    hidden = [step.outputs[0] for step in graph.operators if step.kind != "LINEAR"]
    for i, highest in zip(hidden, most, strict=True):
        assert highest // 2 < expected[i].max() <= highest or requantiser == "FixedShift"


def test_a_fixed_shift_follows_training_and_then_stays():
    torch.manual_seed(0)
    layer = BitNetMCU.FixedShiftReLU(bits=4).train()
    small, large = torch.rand(64, 10) * 1000, torch.rand(64, 10) * 100_000
    layer(small)
    assert layer.shift == 6  # 1,000 has 10 bits
    with torch.no_grad():
        layer(large)  # measured, not trained
    assert layer.shift == 6
    for _ in range(300):
        layer(large)
    assert layer.shift == 13
    layer.follows = False
    layer(small)
    assert layer.shift == 13
    accumulators = torch.tensor([[2.0**13, 2.0**12 - 1, 2.0**18, -5.0]])
    assert layer.eval()(accumulators).tolist() == [[1, 0, 15, 0]]


@pytest.mark.parametrize("scale", BitNetMCU.WEIGHT_SCALES)
@pytest.mark.parametrize("norm", ["RMS", "Lin"])
def test_training_logits_with_biases_are_those_of_eval_mode_but_for_a_scale(norm, scale, settings):
    """A scale for each sample, the same for all classes."""
    torch.manual_seed(0)
    changes = {"bias": "all", "NormType": norm, "WScale": scale, "activation_bits": 7}
    network = models.build(replace(settings, **changes), 30, 5)
    images = torch.randint(-127, 128, (50, 30)).float()
    with torch.no_grad():
        ratios = network.train()(images) / network.eval()(images)
    spread = (ratios.amax(1) - ratios.amin(1)) / ratios.mean(1)
    assert (ratios > 0).all() and spread.max() < 1e-4


def test_a_bias_is_learned_as_a_constant_input_would_be():
    """Value and gradient equal those of a weight whose input is always BIAS_INPUT."""
    torch.manual_seed(0)
    biased = BitNetMCU.BitLinear(5, 3, "8bit", bias=True)
    column = BitNetMCU.BitLinear(6, 3, "8bit")
    with torch.no_grad():
        column.weight.copy_(torch.cat([biased.weight, biased.bias[:, None]], dim=1))
        column.maxw.copy_(biased.maxw)
    x = torch.randint(-127, 128, (7, 5)).float()
    constant = torch.full((7, 1), float(BitNetMCU.BIAS_INPUT))
    ours, theirs = biased(x), column(torch.cat([x, constant], dim=1))
    unit = BitNetMCU.BIAS_INPUT  # the column's weight is rounded to a level, the bias finer
    assert (ours - theirs).abs().max() <= unit / 2 + 1
    ours.sum().backward()
    theirs.sum().backward()
    assert torch.allclose(biased.bias.grad, column.weight.grad[:, 5])


def test_biases_that_could_leave_int32_are_refused(settings):
    network = models.build(replace(settings, bias="first"), 16, 3)
    for value, fits in ((1e4, True), (1e12, False), (1e30, False)):
        torch.nn.init.constant_(network.layers[0].bias, value)
        if fits:
            assert layers_of(lowering.lower(network))[0].bias.min() > 2**20
        else:
            with pytest.raises(UserError, match="past int32"):
                lowering.lower(network)


def test_float_networks_have_biases_too(settings):
    network = models.build(replace(settings, QuantType="None", bias="all"), 16, 3)
    zeros = torch.zeros(1, 16)
    assert not torch.equal(network.layers[0](zeros), torch.zeros(1, 8))


def test_pytorch_eval_mode_is_exact_past_2_to_the_24(settings):
    """4,096 inputs of 8 bits: odd accumulators that float32 cannot hold."""
    network = models.build(replace(settings, QuantType="8bit"), 4096, 3)
    with torch.no_grad():
        network.layers[0].weight.fill_(1.0)
        network.layers[0].weight[:, 0] = 0.0
        network.layers[0].maxw.fill_(1.0)
        images = torch.full((1, 4096), 127, dtype=torch.int8)
        images[0, 1] = 125
    graph = lowering.lower(network)
    expected = execute(graph, images.numpy())
    accumulator = int(expected[1][0, 0])
    assert accumulator == 127 * (4095 * 127 - 2) > 2**24
    assert float(np.float32(accumulator)) != accumulator
    assert_same(graph, test_inference.pytorch_values(network, graph, images), expected)


def test_shift_and_rounding_of_every_bit_length():
    values = [v for k in range(31) for v in (2**k - 1, 2**k, 2**k + 1) if v + 2**23 < 2**31]
    accumulators = np.array([[v, v // 2, v // 3, -v] for v in values], np.int32)
    shifts = rules.shifts_of(accumulators)
    activations = rules.rounded(accumulators, shifts)
    inexact = BitNetMCU.ShiftNormReLU(aware=False).eval()
    assert np.array_equal(inexact(torch.from_numpy(accumulators).double()).numpy(), activations)
    for row, shift, value in zip(activations, shifts, values, strict=True):
        assert shift == max(0, value.bit_length() - 7)
        assert row[3] == 0 and (64 <= row[0] <= 127 or value < 64)


@pytest.mark.parametrize(("inputs", "fits"), [(65_535, True), (65_536, False)])
def test_accumulators_that_could_leave_int32_are_refused(settings, inputs, fits):
    """Of weights counted from the lowest level: 128 * 256 * inputs must stay below 2^31."""
    changes = {"QuantType": "FP130", "widths": [1, 1], "activation_bits": 7}
    network = models.build(replace(settings, **changes), inputs, 2)
    torch.nn.init.constant_(network.layers[0].weight, -1000.0)
    if fits:
        images = np.full((1, inputs), -128, np.int8)
        assert execute(lowering.lower(network), images)[2].tolist() == [[127]]
    else:
        with pytest.raises(UserError, match="past int32"):
            lowering.lower(network)


@pytest.mark.parametrize(("name", "magnitude"), [("RMS", 2.5), ("Lin", 1.75)])
def test_norms_divide_by_root_mean_square_and_mean_magnitude(name, magnitude):
    x = torch.tensor([[3.0, -4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.allclose(BitNetMCU.NORMS[name](4)(x), x / magnitude)


@pytest.mark.parametrize("name", ["BatchNorm", "LayerNorm"])
def test_norms_that_subtract_means_train_but_are_refused_by_the_exporter(name, settings, tmp_path):
    path = training.train(replace(settings, NormType=name), tmp_path, report=lambda line: None)
    metrics = checkpoint.load(path).metrics
    assert metrics["test_accuracy"] == metrics["test_accuracy_float"] > 20
    with pytest.raises(UserError, match=f"NormType={name} subtracts.*NormType=RMS"):
        exportquant.export(path, tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_batchnorm_takes_a_last_batch_of_one(settings):
    network = models.build(replace(settings, NormType="BatchNorm"), 16, 3).train()
    assert network(torch.randint(0, 128, (1, 16)).float()).isfinite().all()


def test_evaluating_leaves_the_statistics_of_batchnorm_alone(settings):
    network = models.build(replace(settings, NormType="BatchNorm"), 16, 3)
    epochs.evaluate(network, torch.ones(4, 16, dtype=torch.int8), torch.zeros(4).long())
    assert network.norm.num_batches_tracked == 0


def test_layers_without_an_integer_form_are_refused_by_name(settings):
    network = models.build(settings, 16, 3)
    network.layers[1] = torch.nn.Sigmoid()
    with pytest.raises(UserError, match="Sigmoid"):
        lowering.lower(network)


def test_factors_that_could_leave_int32_are_refused(settings):
    """128 * 128 * 8192 * 16 = 2^31."""
    changes = {"QuantType": "8bit", "WScale": "PerOutput", "widths": [1, 1]}
    network = models.build(replace(settings, **changes), 8192, 2)
    torch.nn.init.constant_(network.layers[0].weight, -1000.0)
    with pytest.raises(UserError, match="past int32"):
        lowering.lower(network)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 2000), pytest.param(2000, 20_000, marks=pytest.mark.long)]
)
def test_fuzz_random_networks(first, count):
    """2,000 of the 100,000 that `make fuzz` runs."""
    assert fuzz.fuzz(first, count, jobs=2) == []


@pytest.mark.parametrize("wrong", ["words", "factors"])
def test_fuzz_finds_one_wrong_bit(wrong, monkeypatch):
    """The comparison can fail: one flipped bit in one array of a network is found."""
    honest = fuzz.serialise

    def serialise(graph, choices, images, multiplier):
        first, *others = choices
        layer = first.packed["layer"]
        if layer.factors is None:
            return honest(graph, choices, images, multiplier)
        weights, factors = layer.weights.copy(), layer.factors.copy()
        if wrong == "words":
            weights[0, 0] = next(w for w in layer.format.levels if w != weights[0, 0])
        else:
            factors[0] = 2 if factors[0] > 2 else 3
        packed = first.kernel.pack(replace(layer, weights=weights, factors=factors))
        changed = replace(first, packed=packed)
        return honest(graph, [changed, *others], images, multiplier)

    monkeypatch.setattr(fuzz, "serialise", serialise)
    monkeypatch.setattr(fuzz, "BITS", (8,))
    assert fuzz.fuzz(0, 20, jobs=1)
