"""Number formats, clipping and the straight-through estimator."""

import math
import statistics
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

import BitNetMCU
from BitNetMCU import FORMATS, BitLinear, ShiftNormReLU
from cli import UserError
from lowbit import kernelrows, lowering, rules
from lowbit.rules import IntegerLayer
from train import config, models, values


def noise(seed, heavy_tails=False, count=20_000):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, generator=generator)
    return values * values.abs() if heavy_tails else values


@pytest.mark.parametrize("name", FORMATS)
def test_quantise_finds_the_nearest_level_as_brute_force_does(name):
    row = FORMATS[name]
    weights = noise(0, count=3000)
    maxw = torch.tensor(1.7)
    centred = weights - weights.double().mean().float() if row.centred else weights
    levels = torch.tensor(sorted(row.levels, reverse=True), dtype=torch.float32)  # ties: larger
    nearest = (centred[:, None] / BitNetMCU.unit_of(row, maxw) - levels).abs().argmin(1)
    assert torch.equal(BitNetMCU.quantise(row, weights, maxw), levels[nearest])


def test_quantise_4bitsym_is_the_mid_rise_quantiser():
    weights, maxw = noise(1), 2.0
    step = maxw / 8
    formula = ((weights / step).floor() + 0.5).clamp(-7.5, 7.5)
    assert torch.equal(
        BitNetMCU.quantise(FORMATS["4bitsym"], weights, torch.tensor(maxw)), 2 * formula
    )


def test_quantise_2bitsym_has_half_integer_levels():
    weights = torch.tensor([-9.0, -1.01, -0.99, -0.01, 0.0, 0.99, 1.0, 9.0])
    expected = torch.tensor([-3.0, -3, -1, -1, 1, 1, 3, 3])
    assert torch.equal(BitNetMCU.quantise(FORMATS["2bitsym"], weights, torch.tensor(2.0)), expected)


def test_quantise_binary_is_the_sign_after_the_mean_is_subtracted():
    weights = noise(2) + 0.3
    expected = torch.where(weights >= weights.mean(), 1.0, -1.0)
    assert torch.equal(BitNetMCU.quantise(FORMATS["Binary"], weights, torch.tensor(1.0)), expected)


def test_quantise_fp130_gives_signed_powers_of_two():
    unit = 1 / 192
    weights = unit * torch.tensor([0.0, 0.2, 1.4, 1.6, 2.9, 3.1, 127, 1000, -0.2, -5.9, -6.1, -500])
    expected = torch.tensor([1.0, 1, 1, 2, 2, 4, 128, 128, -1, -4, -8, -128])
    assert torch.equal(BitNetMCU.quantise(FORMATS["FP130"], weights, torch.tensor(1.0)), expected)


def test_quantise_8bit_rounds():
    weights = noise(3)
    expected = (weights * 64 + 0.5).floor().clamp(-128, 127)
    assert torch.equal(BitNetMCU.quantise(FORMATS["8bit"], weights, torch.tensor(2.0)), expected)


@pytest.mark.parametrize("heavy_tails", [False, True])
@pytest.mark.parametrize(("bits", "slack"), [(1, 0.02), (2, 0.005), (4, 0.0005), (8, 0.0005)])
def test_octav_is_the_minimum_of_the_papers_objective(bits, slack, heavy_tails):
    """The iteration leaves out how many weights cross the clip: that matters with few bits only."""
    magnitude = noise(4, heavy_tails).double().abs()

    def squared_error(clip):  # equation 3 of Sakr et al.: rounding noise inside, clipping outside
        inside = (4.0**-bits / 3) * clip**2 * (magnitude <= clip).double().mean()
        return inside + (magnitude - clip).clamp(min=0).square().mean()

    clip = BitNetMCU.octav(magnitude[None], bits).item()
    grid = torch.linspace(0.05, magnitude.max().item(), 4000, dtype=torch.float64)
    least = min(squared_error(value) for value in grid)
    assert squared_error(clip) <= least * (1 + slack)


@pytest.mark.parametrize("heavy_tails", [False, True])
@pytest.mark.parametrize("name", [row.name for row in FORMATS.values() if not row.absmean])
def test_octav_clip_is_close_to_the_best_clip_of_the_real_quantiser(name, heavy_tails):
    row = FORMATS[name]
    weights = noise(5, heavy_tails)
    target = BitNetMCU.centre(row, weights)

    def squared_error(clip):
        maxw = torch.tensor(clip)
        return (
            (BitNetMCU.quantise(row, weights, maxw) * BitNetMCU.unit_of(row, maxw) - target)
            .square()
            .mean()
            .item()
        )

    best = min(squared_error(0.2 * 1.03**k) for k in range(160))
    assert squared_error(BitNetMCU.octav(weights[None], row.clip_bits).item()) < 1.15 * best


def test_prop_clips_at_a_multiple_of_the_mean_magnitude():
    layer = BitLinear(30, 20, "4bitsym", maxw_algo="prop", maxw_quantscale=2.5)
    assert math.isclose(layer.maxw.item(), 2.5 * layer.weight.abs().mean().item(), rel_tol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_gradient_passes_the_weight_quantiser_unchanged(name):
    layer = BitLinear(12, 5, name).train()
    x = torch.randint(0, 128, (7, 12)).float()
    upstream = torch.randn(7, 5)
    layer(x).backward(upstream)
    assert torch.allclose(layer.weight.grad, upstream.T @ x / layer.scale, rtol=1e-5)


@pytest.mark.parametrize("aware", [False, True])
def test_gradient_passes_the_activation_quantiser_where_accumulators_are_positive(aware):
    accumulators = torch.tensor([[-900.0, 300, 1000, 5000], [-4, -3, -2, -1]], requires_grad=True)
    output = ShiftNormReLU(aware).train()(accumulators)
    output.sum().backward()
    factor = 1 / 64 if aware else 127 / 5000
    expected = torch.tensor([[0, factor, factor, factor], [0, 0, 0, 0]])
    assert torch.allclose(accumulators.grad, expected)
    assert torch.equal(output, output.floor())


def test_float_layers_train_without_quantisation(settings):
    network = models.build(replace(settings, QuantType="None"), 16, 3)
    x = torch.randn(4, 16)
    assert torch.equal(network.layers[0](x), x @ network.layers[0].weight.T)
    assert torch.equal(network.train()(x), network.eval()(x))


@pytest.mark.parametrize("norm", ["RMS", "Lin"])
def test_a_norm_between_hidden_layers_changes_neither_logits_nor_gradients(settings, norm):
    """The claim of BitNetMCU.py: one normalisation, in front of the last layer, is enough."""
    torch.manual_seed(0)
    network = models.build(replace(settings, QuantType="None", NormType=norm), 16, 3)
    x, weights = torch.rand(6, 16), torch.randn(6, 3)
    results = []
    for inner in (torch.nn.Identity(), network.norm):
        network.zero_grad()
        y = x
        for layer in network.layers[:-1]:
            y = inner(layer(y))
        logits = network.layers[-1](network.norm(y))
        (logits * weights).sum().backward()
        results.append([logits.detach(), *(p.grad.clone() for p in network.parameters())])
    for plain, normalised in zip(*results, strict=True):
        assert torch.allclose(plain, normalised, rtol=1e-3, atol=1e-5)


def plain(row):
    """The plain kernel of a format."""
    return kernelrows.kernels_of(row)[-1]


def unpack(row, words):
    """The weights in one packed row of outputs, worked out with Python's integers."""
    base = len(row.levels)
    for word in words.tolist():
        for _ in range(row.per_word):
            if row.bits % 1:  # digits of a fraction of 2^32
                code, word = divmod(word * base, 2**32)
            else:
                word, code = divmod(word, base)
            yield row.levels[code]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("inputs", [1, 3, 17, 60, 100])
def test_packed_words_unpack_to_the_same_weights(name, inputs, rng):
    row = FORMATS[name]
    weights = rng.choice(row.levels, (5, inputs)).astype(np.int32)
    words = plain(row).pack(IntegerLayer(row, weights))["words"]
    assert words.shape == (5, math.ceil(inputs / row.per_word))
    for packed, expected in zip(words, weights, strict=True):
        assert list(unpack(row, packed))[:inputs] == expected.tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_a_word_has_room_for_its_codes(name):
    row = FORMATS[name]
    assert len(set(row.levels)) == len(row.levels)
    assert len(row.levels) ** row.per_word <= 2**32


def test_ternary_takes_1_6_bits_per_weight():
    weights = np.zeros((7, 400), np.int32)
    row = FORMATS["Ternary"]
    words = plain(row).pack(IntegerLayer(row, weights))["words"]
    assert 8 * words.nbytes / weights.size == 1.6


def test_quantise_ternary_is_relative_to_the_mean_magnitude():
    layer = BitLinear(40, 30, "Ternary", maxw_algo="prop", maxw_quantscale=9.0)
    weights = layer.weight.detach()
    relative = weights / weights.abs().mean()
    assert torch.equal(layer.integer_weights(), relative.round().clamp(-1, 1))


def test_quantise_binarysym_is_the_sign():
    weights = noise(2) + 0.3
    expected = torch.where(weights >= 0, 1.0, -1.0)
    assert torch.equal(
        BitNetMCU.quantise(FORMATS["BinarySym"], weights, torch.tensor(1.0)), expected
    )


def test_nf4_integers_are_those_of_qlora_times_127():
    """Quantiles of a normal distribution, 8 below and 7 above zero, scaled to a largest of 1."""
    offset = 0.9677083
    normal = statistics.NormalDist()
    above = [normal.inv_cdf(offset + k / 8 * (0.5 - offset)) for k in range(8)]
    below = [-normal.inv_cdf(offset + k / 7 * (0.5 - offset)) for k in range(7)]
    levels = sorted([*above, 0, *below])
    assert [round(127 * level / max(above)) for level in levels] == list(FORMATS["NF4"].levels)


@pytest.mark.parametrize("algorithm", BitNetMCU.CLIPPING)
@pytest.mark.parametrize("name", FORMATS)
def test_per_output_clips_are_factors_of_one_unit_near_those_of_each_output(name, algorithm):
    torch.manual_seed(0)
    layer = BitLinear(50, 20, name, algorithm, WScale="PerOutput")
    with torch.no_grad():
        layer.weight *= torch.logspace(-2, 0, 20, base=2)[torch.randperm(20)][:, None]
    layer.update_clipping()
    assert {int(f) for f in layer.factors.flatten()} <= set(BitNetMCU.FACTORS)
    for row, factor in zip(
        BitNetMCU.centre(layer.format, layer.weight), layer.factors[:, 0], strict=True
    ):
        own = layer._clip(row[None]).item()
        assert 0.8 < own / (layer.maxw * factor).item() < 1.25


@pytest.mark.parametrize("name", FORMATS)
def test_per_output_eval_mode_is_the_integer_part_of_training_mode(name):
    """What training simulates is what is exported: the two differ by the layer's unit only."""
    torch.manual_seed(1)
    layer = BitLinear(30, 8, name, WScale="PerOutput")
    x = torch.randint(0, 128, (5, 30)).float()
    assert torch.equal(layer.train()(x), layer.eval()(x).float())
    sums = rules.linear(lowering.integer_layer(layer), x.int().numpy())
    assert np.array_equal(sums, layer(x).int().numpy())


def test_a_row_of_zeros_still_gets_a_factor():
    layer = BitLinear(6, 3, "4bitsym", WScale="PerOutput")
    with torch.no_grad():
        layer.weight[1] = 0
    layer.update_clipping()
    assert layer.factors[1] == min(BitNetMCU.FACTORS) and layer.integer_weights().isfinite().all()


@pytest.mark.parametrize("scale", BitNetMCU.WEIGHT_SCALES)
@pytest.mark.parametrize("name", FORMATS)
def test_a_layer_with_one_weight_trains(name, scale):
    """Centred, a single weight is 0 and has no magnitude."""
    layer = BitLinear(1, 1, name, WScale=scale).train()
    layer(torch.full((2, 1), 3.0)).sum().backward()
    assert layer.weight.grad.isfinite().all() and layer.integer_weights().isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"QuantType": "3bit"}, "QuantType '3bit' is not known; choose one of: Binary, BinarySym"),
        ({"WScale": "PerRow"}, "WScale 'PerRow' is not known; choose one of: PerTensor, PerOutput"),
        ({"maxw_algo": "max"}, "maxw_algo 'max' is not known; choose one of: octav, prop"),
    ],
)
def test_a_layer_of_ones_own_with_a_wrong_choice_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        BitLinear(3, 2, **({"QuantType": "4bitsym"} | changes))


def test_entropy_of_equally_frequent_values_is_their_number_of_bits():
    assert BitNetMCU.entropy(torch.arange(16).repeat(3)) == pytest.approx(4)
    assert BitNetMCU.entropy(torch.zeros(9)) == 0


def test_every_combination_of_choices_trains_a_step(settings):
    for key, rule in config.PARAMETERS.items():
        if key == "activation" or not isinstance(rule, (values.Choice, values.OnePerLayer)):
            continue
        for option in rule.options:
            changed = config.complete(asdict(settings) | {key: option}, "test")
            network = models.build(changed, 16, 3).train()
            network(torch.randint(0, 128, (4, 16)).float()).sum().backward()
            assert all(p.grad.isfinite().all() for p in network.parameters()), (key, option)
