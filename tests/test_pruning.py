"""Channels that go: which together, that nothing else changes, and networks that were pruned."""

from dataclasses import replace

import pytest
import torch
from conftest import refused, run_script, write_own
from test_optimizers import weights_of

import BitNetMCU
import exportquant
import modelcard
import test_inference
import training
from cli import UserError
from lowbit import lowering
from train import checkpoint, config, models, pruning

DIGITS = ["dataset=Digits", "image_size=12", "batch_size=32"]
PRUNED = {"prune_epoch": 2, "lambda_l1": 1e-3}

NETWORKS = {  # layers -> (prune_keep, shapes of weights that are left)
    "windows": (
        ["conv 5x5/2 8", "conv 1x1 6", "dense 9"],
        [5, 6, 4],
        [(5, 1, 5, 5), (6, 5, 1, 1), (4, 6 * 16), (10, 4)],
    ),
    "dense": (["dense 12", "dense 8"], [7, 8], [(7, 144), (8, 7), (10, 8)]),
    "depthwise": (
        ["conv 3x3 6", "depthwise 3x3 12", "maxpool 2x2", "depthwise 3x3", "maxpool 2x2",
         "dense 9"],
        [4, 8, 8, 9],
        [(4, 1, 3, 3), (8, 1, 3, 3), (8, 1, 3, 3), (9, 8), (10, 9)],
    ),
    "flattened maps": (
        ["conv 3x3/2 6", "maxpool 2x2", "dense 9"],
        [2, 9],
        [(2, 1, 3, 3), (9, 2 * 4), (10, 9)],
    ),
    "averages": (
        ["conv 3x3 6", "avgpool 2x2", "conv 1x1 7", "sumpool 5x5"],
        [3, 5],
        [(3, 1, 3, 3), (5, 3, 1, 1), (10, 5)],
    ),
    "residuals": (
        ["conv 3x3/2 pad 1 6", "residual 2", "conv 3x3 pad 1 5", "conv 3x3 pad 1 6",
         "residual 3", "depthwise 3x3 pad 1", "maxpool 1x1", "conv 1x1 6", "avgpool all"],
        [4, 3, 4, 4, 4],
        [(4, 1, 3, 3), (3, 4, 3, 3), (4, 3, 3, 3), (4, 1, 3, 3), (4, 4, 1, 1), (10, 4)],
    ),
    "depthwise in a residual": (
        ["conv 3x3 6", "residual 1", "depthwise 3x3 pad 1", "conv 1x1 8"],
        [3, 3, 8],
        [(3, 1, 3, 3), (3, 1, 3, 3), (8, 3, 1, 1), (10, 8 * 100)],
    ),
    "outputs of a depthwise convolution added": (
        ["conv 3x3 4", "depthwise 3x3 8", "residual 1", "conv 1x1 8", "dense 9"],
        [3, 6, 6, 9],
        [(3, 1, 3, 3), (6, 1, 3, 3), (6, 6, 1, 1), (9, 6 * 64), (10, 9)],
    ),
}  # fmt: skip


@pytest.fixture
def settings():
    return config.load(overrides=[*DIGITS, "model=WindowMNIST", "num_epochs=4", "bias=all"])


@pytest.fixture
def images():
    return torch.randint(0, 16, (40, 144), generator=torch.Generator().manual_seed(0)).float()


def masked(settings, images):
    """An untrained network with masks whose fixed shifts fit."""
    torch.manual_seed(0)
    network = models.build(settings, 144, 10)
    for layer in network.bit_layers():
        torch.nn.init.normal_(layer.bias, 0, 0.01)
    pruning.mask(network, settings)
    network.train()(images)
    network.update_clipping()
    return network.eval()


def sums_of(network, images):
    """What the last layer sums in eval mode, without the norm in front of it."""
    with torch.no_grad():
        *_, (_, sums) = network.eval().outputs(images)
    return sums


def float_logits(network, images):
    with torch.no_grad():
        return network.train()(images)


def planned(network, keep):
    groups = pruning.Groups(network)
    return {
        groups.masks()[group]: group.units - count
        for group, count in pruning.planned(network, groups, keep).items()
    }


@pytest.mark.parametrize(("layers", "keep", "shapes"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    "changes",
    [{}, {"QuantType": "8bit", "WScale": "PerOutput"}, {"QuantType": "None"}],
    ids=["4bitsym", "factors", "float"],
)
def test_channels_whose_mask_is_0_change_nothing(layers, keep, shapes, changes, settings, images):
    settings = replace(settings, layers=layers, prune_keep=keep, **PRUNED, **changes)
    network = masked(settings, images)
    assert not network.has_integer_form
    for mask, going in planned(network, keep).items():
        mask.factors.data[torch.randperm(len(mask.factors))[:going]] = 0
    sums, logits = sums_of(network, images), float_logits(network, images)
    pruning.prune(network, settings)
    assert not network.masks()
    assert [tuple(layer.weight.shape) for layer in network.bit_layers()] == shapes
    if network.has_integer_form:
        assert torch.equal(sums_of(network, images), sums)
        assert torch.equal(network.eval()(images), sums)  # the integers of the C
    lit = logits.abs().amax(1) < 1e3  # not all of what the last layer reads is 0
    assert lit.sum() > 20
    assert torch.allclose(float_logits(network, images)[lit], logits[lit], rtol=1e-3, atol=1e-5)
    built = BitNetMCU.from_architecture(network.architecture())
    built.load_state_dict(network.state_dict())
    assert torch.equal(built.eval()(images), network.eval()(images))


@pytest.mark.parametrize("name", NETWORKS)
def test_other_masks_become_part_of_the_weights_behind_them(name, settings, images):
    layers, keep, _ = NETWORKS[name]
    settings = replace(
        settings, layers=layers, prune_keep=keep, QuantType="None", bias="none", **PRUNED
    )
    network = masked(replace(settings, bias="all"), images)
    for mask, going in planned(network, keep).items():
        torch.nn.init.uniform_(mask.factors, 0.5, 2)
        mask.factors.data[::2] *= -1
        mask.factors.data[torch.randperm(len(mask.factors))[:going]] = 0
    with torch.no_grad():
        # A scale for each sample, the norm's, is all that masks in front of it may change.
        *_, hidden = (written for layer, written in network.outputs(images))
        pruning.prune(network, settings)
        *_, found = (written for layer, written in network.outputs(images))
    ratio = (found / hidden).flatten()
    assert torch.allclose(ratio, ratio[:1].expand_as(ratio), rtol=1e-3)


OWN = (
    "BitConv2d(1, 6, 3, '4bitsym', padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), "
    "BitConv2d(6, 6, 3, '4bitsym', padding=1, groups=6), nn.BatchNorm2d(6), nn.ReLU(), "
    "Residual([BitConv2d(6, 8, 1, '4bitsym'), nn.BatchNorm2d(8), nn.ReLU(), "
    "BitConv2d(8, 6, 3, '4bitsym', padding=1), nn.BatchNorm2d(6)]), nn.ReLU(), nn.Flatten(), "
    "BitLinear(6 * 36, 16, '4bitsym'), nn.BatchNorm1d(16), nn.ReLU(), BitLinear(16, c, '4bitsym')"
)
OWN_KEEP = [4, 4, 5, 4, 10]


def own_settings(folder, *overrides):
    own = write_own(folder, OWN)
    given = [*DIGITS, "requantiser=FixedShift", f"model={own}", "prune_keep=4,4,5,4,10"]
    return config.load(overrides=[*given, "prune_epoch=3", "lambda_l1=1e-3", *overrides])


def test_statistics_of_batch_norms_go_with_their_channels(tmp_path, images):
    settings = own_settings(tmp_path, "num_epochs=6")
    torch.manual_seed(0)
    network = models.build(settings, 144, 10)
    pruning.mask(network, settings)
    for _ in range(3):
        network.train()(images)
    for layer in network.bit_layers()[:-1]:
        torch.nn.init.normal_(layer.norm.weight, 1, 0.2)
        torch.nn.init.normal_(layer.norm.bias, 0, 0.2)
    network.update_clipping()
    for mask, going in planned(network, OWN_KEEP).items():
        mask.factors.data[torch.randperm(len(mask.factors))[:going]] = 0
    sums = sums_of(network, images)
    pruning.prune(network, settings)
    assert [layer.norm.num_features for layer in network.bit_layers()[:-1]] == OWN_KEEP
    assert torch.equal(sums_of(network, images), sums)
    assert torch.equal(network.folded().eval()(images), sums)


def test_channels_that_depthwise_convolutions_share_have_one_mask():
    settings = config.load(
        overrides=["model=CNNMNIST", "prune_keep=48,48,48,96,48", "prune_epoch=20"]
    )
    network = models.build(settings, 256, 10)
    pruning.mask(network, settings)
    assert [len(mask.factors) for mask in network.masks()] == [64, 64]
    kinds = [type(layer).__name__ for layer in network.layers]
    at = [index for index, kind in enumerate(kinds) if kind == "MaskingLayer"]
    assert [kinds[index - 1 : index + 2] for index in at] == [
        ["Flatten", "MaskingLayer", "BitLinear"],
        ["FixedShiftReLU", "MaskingLayer", "BitLinear"],
    ]
    line = pruning.prune(network, settings)
    assert "48 of 64 channels of layers 1, 2, 3 stay" in line
    assert "48 of 64 channels of layer 5 stay" in line


def test_a_mask_stands_wherever_a_residual_lets_its_channels_be_summed(settings):
    layers, keep, _ = NETWORKS["residuals"]
    settings = replace(settings, layers=layers, prune_keep=keep, **PRUNED)
    network = models.build(settings, 144, 10)
    pruning.mask(network, settings)
    places = [x for x in BitNetMCU.each_of(network.layers) if isinstance(x, BitNetMCU.MaskingLayer)]
    assert len(network.masks()) == 2 and len(places) == 4
    assert places.count(places[0]) == 3  # two residuals and the last layer read the same channels


def test_the_smallest_masks_go_whatever_their_sign(settings, images):
    settings = replace(settings, layers=["dense 4"], prune_keep=[2], **PRUNED)
    network = masked(settings, images)
    (mask,) = network.masks()
    mask.factors.data[:] = torch.tensor([0.5, -0.9, 0.1, -0.3])
    before = network.bit_layers()[0].weight.detach().clone()
    line = pruning.prune(network, settings)
    assert torch.equal(network.layers[1 - 1].weight, before[:2])
    assert line == (
        "2 of 4 channels of layer 1 stay, with masks from 0.5 on; of the others they go up to 0.3; "
        "308 of 616 weights stay"
    )


def test_lambda_makes_masks_small_and_is_no_part_of_the_loss_that_is_shown(settings, images):
    labels = torch.arange(40) % 10
    settings = replace(settings, augmented_copies=0, prune_keep=[20, 12, 64], prune_epoch=2)
    rows, means = [], []
    for lambda_l1 in (0, 1):
        changed = replace(settings, lambda_l1=lambda_l1, num_epochs=30, prune_epoch=20)
        run = training.Run.start(changed, images.to(torch.int8), labels, 10, "cpu")
        inputs = images.to(torch.int8)
        for _ in range(20):
            run.epoch(inputs, inputs, labels, None)
        rows.append(run.rows[0])
        means.append(run.network.masks()[0].factors.mean().item())
    assert means[1] < means[0] - 0.01
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=0.1)


def test_a_network_with_masks_is_not_exported(settings, images):
    settings = replace(settings, prune_keep=[20, 12, 64], **PRUNED)
    with pytest.raises(UserError, match="MaskingLayer.*has no integer form"):
        lowering.lower(masked(settings, images))


CHAINS = {
    "windows": (["layers=conv 5x5/2 12,conv 1x1 6,dense 16", "prune_keep=8,5,12"], [8, 5, 12]),
    "depthwise": (
        ["layers=conv 3x3 8,depthwise 3x3,maxpool 2x2,dense 12", "prune_keep=6,6,12"],
        [6, 6, 12],
    ),
    "fully connected, ShiftNorm": (
        ["model=FCMNIST", "widths=24,16", "prune_keep=16,12", "WScale=PerOutput"],
        [16, 12],
    ),
}


@pytest.mark.parametrize(("overrides", "widths"), CHAINS.values(), ids=CHAINS)
def test_pruned_networks_go_through_the_chain(overrides, widths, tmp_path):
    given = [*overrides, "num_epochs=16", "prune_epoch=6", "lambda_l1=1e-3"]
    settings, lines = config.load(overrides=[*DIGITS, *given]), []
    path = training.train(settings, tmp_path, report=lines.append)
    pruned = [line for line in lines if line.startswith("pruned: ")]
    assert lines.index(*pruned) == 7  # behind a line on the data, and six epochs
    trained = checkpoint.load(path)
    assert [len(layer.weight) for layer in trained.network.bit_layers()[:-1]] == widths
    report = exportquant.export(path, tmp_path, optimise="speed")
    assert [layer["outputs"] for layer in report["layers"][:-1]] == widths
    found = test_inference.compare(tmp_path)
    assert [found[key] for key in found if key.startswith("differing")] == [0, 0, 0]
    assert found["accuracy_c"] > 75
    assert config.load(overrides=config.overrides_for(settings)) == settings
    card = modelcard.card(trained, report | found, [], "s.csv")
    text = (
        f"pruned to {', '.join(map(str, widths))} outputs"
        if settings.layers != "auto"
        else "16, 12"
    )
    assert f"{text}, 10 classes" in card


def test_an_own_network_is_pruned(tmp_path):
    settings = own_settings(tmp_path, "num_epochs=6")
    path = training.train(settings, tmp_path, report=str)
    trained = checkpoint.load(path).network
    assert [len(layer.weight) for layer in trained.bit_layers()[:-1]] == OWN_KEEP
    exportquant.export(path, tmp_path, optimise="speed")
    found = test_inference.compare(tmp_path)
    assert found["differing_values"] == found["differing_values_multiplier"] == 0
    assert found["accuracy_c"] > 60


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_a_stopped_run_goes_on_bit_identically(stopped, tmp_path):
    """Stopped before its channels go, behind the last epoch before that, and afterwards."""
    given = ["layers=conv 5x5/2 8,dense 12", "prune_keep=6,8", "validation_samples=100"]
    settings = config.load(
        overrides=[*DIGITS, *given, "num_epochs=4", "prune_epoch=2", "lambda_l1=1e-2"]
    )

    def interrupt(row):
        if row["epoch"] == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(settings, tmp_path, report=str, log=interrupt)
    (partial,) = tmp_path.glob("*.partial.pth")
    saved, state = checkpoint.load_partial(partial)
    assert saved == settings and len(state.rows) == stopped
    lines = []
    resumed = training.train(saved, tmp_path, report=lines.append, state=state)
    assert sum(line.startswith("pruned: ") for line in lines) == (stopped < 3)
    straight = training.train(settings, tmp_path / "whole", report=str)
    first, second = weights_of(resumed), weights_of(straight)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_shifts_follow_for_half_the_epochs_of_what_is_left(settings, images):
    changed = replace(settings, layers=["conv 5x5/2 8", "dense 9"], prune_keep=[4, 9])
    changed = replace(changed, num_epochs=8, prune_epoch=6, augmented_copies=0)
    inputs, labels = images.to(torch.int8), torch.arange(40) % 10
    run, followed = training.Run.start(changed, inputs, labels, 10, "cpu"), []
    for epoch in range(1, 9):
        if epoch == 7:
            run.network.masks()[0].factors.data /= 64
            before = [int(layer.shift) for layer in run.network.layers if hasattr(layer, "shift")]
            run.prune()
        run.epoch(inputs, inputs, labels, None)
        shifts = [layer for layer in run.network.layers if hasattr(layer, "shift")]
        followed.append([layer.follows for layer in shifts])
    assert followed == [[wanted] * 2 for wanted in 4 * [True] + 2 * [False] + [True, False]]
    assert int(shifts[1].shift) > before[1]  # integers of the same range, of smaller weights


def test_optimizers_begin_anew_at_the_rate_of_the_schedule(settings, images):
    changed = replace(settings, prune_keep=[20, 12, 40], prune_epoch=1, augmented_copies=0)
    inputs, labels = images.to(torch.int8), torch.arange(40) % 10
    run = training.Run.start(changed, inputs, labels, 10, "cpu")
    run.epoch(inputs, inputs, labels, None)
    run.prune()
    parameters = {id(p) for p in run.network.parameters()}
    known = [p for each in run.optimizers for group in each.param_groups for p in group["params"]]
    assert {id(p) for p in known} == parameters and not any(each.state for each in run.optimizers)
    plain = replace(changed, prune_keep="all", prune_epoch=0)
    other = training.Run.start(plain, inputs, labels, 10, "cpu")
    rates = [r.epoch(inputs, inputs, labels, None)["learning_rate"] for r in (other, other, run)]
    assert rates[1] == rates[2] < rates[0]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["lambda_l1=0.1"], "lambda_l1=0.1 has no effect without prune_keep and prune_epoch"),
        (["prune_epoch=2"], "prune_epoch=2 has no effect without prune_keep; give both"),
        (["prune_keep=8,8,8"], "prune_keep=8,8,8 has no effect without prune_epoch; give both"),
        (["prune_keep=8,8,8", "prune_epoch=4"], "prune_epoch=4 is not before the last of num_epo"),
        (["prune_keep=8,8,8", "prune_epoch=9"], "prune_epoch=9 is not before the last of num_epo"),
        (["prune_keep=most"], "all; or a whole number from 1"),
        (["prune_keep=8,0,8"], "all; or a whole number from 1"),
        (["lambda_l1=-1"], "lambda_l1='-1' is not valid; it takes a number from 0"),
        (["prune_keep=8,8", "prune_epoch=2"], "names 2 numbers for 3 hidden layers; name one for"),
        (["prune_keep=32,13,64", "prune_epoch=2"], "keeps 13 outputs of layer 2, which has 12"),
        (["prune_keep=32,12,64", "prune_epoch=2"], "is what the hidden layers have; name fewer"),
        (["prune_keep=8,8,8", "prune_epoch=2", "NormType=BatchNorm"], "use NormType=RMS or"),
        (["layers=conv 3x3 8,depthwise 3x3,dense 8", "prune_keep=6,8,8", "prune_epoch=2"],
         "does not keep the same channels of layers 1, 2, which share them (8)"),
        (["layers=conv 3x3 8,depthwise 3x3 16", "prune_keep=7,15", "prune_epoch=2"],
         "does not keep the same channels of layers 1, 2"),
        (["layers=conv 3x3 8,conv 3x3 groups 2 8", "prune_keep=6,8", "prune_epoch=2"],
         "cannot prune layer 1: layer 2 reads and gives channels in groups=2; name 8 for it"),
    ],
)  # fmt: skip
def test_what_cannot_be_pruned_is_refused(overrides, expected, tmp_path):
    given = [*DIGITS, "num_epochs=4", "model=WindowMNIST", *overrides]
    with pytest.raises(UserError) as caught:
        training.train(config.load(overrides=given), tmp_path, report=str)
    assert expected in str(caught.value)
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize("keep", ["33,12,64", "8,8"])
def test_a_mistake_is_one_line(keep, tmp_path):
    given = [*DIGITS, "model=WindowMNIST", f"prune_keep={keep}", "prune_epoch=2"]
    done = run_script("training.py", *given, "--out", tmp_path, "--build", tmp_path)
    assert f"prune_keep={keep}" in refused(done)


def test_masks_in_a_network_of_ones_own_are_not_needed(tmp_path):
    own = write_own(
        tmp_path, "BitLinear(i, 4, '4bitsym'), nn.ReLU(), BitNetMCU.MaskingLayer(4), "
        "BitLinear(4, c, '4bitsym')",
    )  # fmt: skip
    with pytest.raises(UserError, match="leave it out: with prune_keep training puts masks where"):
        models.build(config.load(overrides=[*DIGITS, f"model={own}"]), 144, 10)


def test_channels_of_the_inputs_stay(settings):
    settings = replace(settings, layers=["depthwise 4/2", "dense 9"], dataset="a.npz", **PRUNED)
    network = models.build(replace(settings, prune_keep=[2, 9]), 24 * 3, 3, (24, 3))
    with pytest.raises(UserError, match="cannot prune layer 1: it has the channels of the inputs"):
        pruning.mask(network, replace(settings, prune_keep=[2, 9]))


def test_files_from_before_there_was_pruning_load(settings, tmp_path):
    settings = replace(settings, num_epochs=1)
    path = training.train(settings, tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    for key in ("prune_keep", "prune_epoch", "lambda_l1"):
        del content["config"][key]
    torch.save(content, path)
    trained = checkpoint.load(path)
    assert trained.settings == settings and config.run_name(trained.settings) == path.stem
