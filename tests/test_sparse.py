"""lambda_hoyer: what it adds to the loss, and that activations then have fewer set bits."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import refused, run_script, write_own
from torch.nn import functional as F

import training
from BitNetMCU import Requantiser
from cli import UserError
from train import checkpoint, config, epochs, models, pruning, sparsity

DIGITS = ["dataset=Digits", "image_size=12", "augmented_copies=0", "model=WindowMNIST"]

NETWORKS = {  # layers -> products with the activations of each requantiser, but for padding
    "dense": (["dense 8", "dense 6"], [8 * 6, 6 * 10]),
    "pool": (
        ["conv 3x3 4", "maxpool 2x2", "conv 3x3 pad 1 6"],
        # Windows of 3 at 5 rows read 13 of them, as two of the 15 are padding; so for columns.
        [4 * 6 * 13**2, 150 * 10],
    ),
    "stride": (["conv 3x3 4", "conv 4x2/3 6"], [4 * 6 * (3 * 4) * (3 * 2), 54 * 10]),
    "residual and sums": (
        ["conv 3x3/2 pad 1 4", "residual 2", "conv 3x3 pad 1 5", "conv 1x1 4", "sumpool 2x2",
         "depthwise 2x2 8"],
        [4 * 5 * 16**2, 5 * 4 * 6**2, 8 * (2 * 2) * (2 * 2), 32 * 10],
    ),
    "average": (["conv 3x3 4", "avgpool 2x2", "dense 7"], [0, 100 * 7, 7 * 10]),
}  # fmt: skip


@pytest.fixture
def images():
    return torch.randint(0, 16, (40, 144), generator=torch.Generator().manual_seed(0)).float()


def parts(work):
    return pytest.approx([each / sum(work) for each in work])


def settings_of(layers, *overrides):
    return replace(config.load(overrides=[*DIGITS, *overrides]), layers=layers)


def built(settings):
    """An untrained network for images of 12x12 pixels, in training mode."""
    torch.manual_seed(0)
    return models.build(settings, 144, 10).train()


def started(settings, images):
    """A run before its first epoch, and its samples."""
    samples = images.to(torch.int8), torch.arange(len(images)) % 10
    return training.Run.start(settings, *samples, 10, "cpu"), samples


def has_hooks(network):
    return any(each._forward_hooks or each._forward_pre_hooks for each in network.modules())


@pytest.mark.parametrize(("layers", "work"), NETWORKS.values(), ids=NETWORKS)
def test_shares_are_those_of_the_products_that_read_activations(layers, work, images):
    network = built(settings_of(layers))
    before = copy.deepcopy(network.state_dict())
    found = sparsity.shares(network, images[:1])
    assert found == parts(work) and sum(found) == pytest.approx(1)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_a_pool_leaves_out_is_not_read(tmp_path, images):
    own = write_own(
        tmp_path,
        "BitConv2d(1, 3, 3, '4bitsym'), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), "
        "BitConv2d(3, 6, 3, '4bitsym', groups=3), nn.ReLU(), nn.Flatten(), "
        "BitLinear(6 * 9, c, '4bitsym')",
    )
    network = built(config.load(overrides=[*DIGITS, f"model={own}"]))
    assert sparsity.shares(network, images[:1]) == parts([6 * 3**2 * 3**2, 54 * 10])


def numpy_hoyer(activations):
    """Of activations [B, ...], as DeepHoyer has it, for each of a sample."""
    a = activations.reshape(len(activations), -1).astype(np.float64)
    return np.mean(np.abs(a).sum(1) ** 2 / ((a**2).sum(1) + 1e-9)) / a.shape[1]


@pytest.mark.parametrize("requantiser", ["ShiftNorm", "FixedShift"])
@pytest.mark.parametrize("name", ["dense", "pool", "average"])
def test_the_penalty_is_that_of_a_transcription(name, requantiser, images):
    layers, work = NETWORKS[name]
    network = built(settings_of(layers, f"requantiser={requantiser}"))
    images[3] = 0  # so are all its activations
    network(images)  # shifts that fit
    with sparsity.Penalty(network, images[:1]) as penalty, torch.no_grad():
        network(images.flip(1))
        network(images)
        found = penalty.of_last().item()
    with torch.no_grad():
        outputs = network.outputs(images)
        hoyer = [numpy_hoyer(x.numpy()) for layer, x in outputs if isinstance(layer, Requantiser)]
    assert found == pytest.approx(np.dot(hoyer, work) / sum(work), rel=1e-5)
    assert 0.02 < found < 1


def test_of_equal_activations_it_is_the_part_that_is_not_0():
    activations = torch.zeros(3, 4, 5)
    activations[0, :2], activations[1] = 7, 1
    assert sparsity.hoyer_square(activations).item() == pytest.approx((0.5 + 1 + 0) / 3)


def test_activations_that_are_all_0_have_a_finite_gradient():
    activations = torch.zeros(2, 5, requires_grad=True)
    sparsity.hoyer_square(activations).backward()
    assert torch.equal(activations.grad, torch.zeros(2, 5))


def test_masks_of_channels_are_left_to_lambda_l1(images):
    """Set bits are those of the activations in front of a mask, which goes."""
    settings = settings_of(["conv 3x3 6", "conv 1x1 5"], "prune_keep=6,3", "prune_epoch=1")
    network = built(settings)
    pruning.mask(network, settings)
    with sparsity.Penalty(network, images[:1]) as penalty:
        network(images)
        penalty.of_last().backward()
    *hidden, _ = network.bit_layers()
    assert all(layer.weight.grad.any() for layer in hidden)
    (mask,) = network.masks()
    assert mask.factors.grad is None


def test_without_lambda_hoyer_training_is_what_it_was(images):
    settings = settings_of(NETWORKS["pool"][0], "batch_size=16")
    run, samples = started(settings, images)
    epochs.train_epoch(run.network, run.optimizers, samples, settings, run.generator, 1)
    other, (inputs, labels) = started(settings, images)
    network = other.network.train()
    network.update_clipping()
    with epochs.few_threads(network):
        for batch in torch.randperm(len(labels), generator=other.generator).split(16):
            loss = F.cross_entropy(network(inputs[batch].float()), labels[batch])
            network.zero_grad()
            loss.backward()
            for optimizer in other.optimizers:
                optimizer.step()
    found, expected = run.network.state_dict(), network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_hooks_are_gone_when_an_epoch_is_over_or_fails(images):
    settings = settings_of(NETWORKS["pool"][0], "lambda_hoyer=0.1")
    run, samples = started(settings, images)
    hooks = []

    class Stopping:
        def step(self):
            hooks.append(has_hooks(run.network))
            raise KeyboardInterrupt

    epochs.train_epoch(run.network, run.optimizers, samples, settings, run.generator, 1)
    assert not has_hooks(run.network)
    with pytest.raises(KeyboardInterrupt):
        epochs.train_epoch(run.network, [Stopping()], samples, settings, run.generator, 1)
    assert hooks == [True] and not has_hooks(run.network)


@pytest.mark.parametrize("layers", [["dense 32", "dense 32"], ["conv 4x4/2 8", "conv 3x3/2 8"]])
def test_activations_have_fewer_set_bits(layers, tmp_path):
    trained = []
    for weight in (0, 1):
        settings = settings_of(layers, f"lambda_hoyer={weight}", "num_epochs=4", "batch_size=32")
        trained.append(checkpoint.load(training.train(settings, tmp_path, report=str)).metrics)
    plain, sparse = trained
    assert sparse["bits1"] < 0.7 * plain["bits1"]
    assert sparse["bits2"] < plain["bits2"]
    assert sparse["bits0"] == plain["bits0"]
    assert sparse["test_accuracy"] > 50  # it has learnt, with what is left


def test_the_loss_in_the_csv_is_without_it(images):
    settings = settings_of(NETWORKS["pool"][0], "batch_size=40")
    losses = []
    for weight in (0, 100):  # one step: both losses are those of the initial weights
        changed = replace(settings, lambda_hoyer=weight)
        run, samples = started(changed, images)
        row = epochs.train_epoch(run.network, run.optimizers, samples, changed, run.generator, 1)
        losses.append(row["train_loss"])
    assert losses[0] == losses[1]


def test_files_from_before_there_was_lambda_hoyer_load(settings, tmp_path):
    settings = replace(settings, num_epochs=1)
    assert settings.lambda_hoyer == 0
    path = training.train(settings, tmp_path, report=str)
    content = torch.load(path, weights_only=True)
    del content["config"]["lambda_hoyer"]
    torch.save(content, path)
    trained = checkpoint.load(path)
    assert trained.settings == settings and config.run_name(trained.settings) == path.stem
    assert config.run_name(replace(settings, lambda_hoyer=0.1)) != path.stem


@pytest.mark.parametrize("value", ["-1", "101", "nan", "much", "true", "1,2"])
def test_values_that_make_no_sense_are_refused(value):
    with pytest.raises(UserError, match=f"lambda_hoyer='{value}' is not valid; it takes a number"):
        config.load(overrides=[f"lambda_hoyer={value}"])


def test_a_float_network_is_refused_in_one_line(tmp_path):
    given = [*DIGITS, "model=FCMNIST", "QuantType=None", "lambda_hoyer=0.1"]
    done = run_script("training.py", *given, "--out", tmp_path, "--build", tmp_path)
    assert "lambda_hoyer needs quantised activations between layers" in refused(done)
    assert not list(tmp_path.glob("*.pth"))


def test_a_network_of_one_layer_is_refused(tmp_path):
    own = write_own(tmp_path, "BitLinear(i, c, '4bitsym')")
    settings = config.load(overrides=[*DIGITS, f"model={own}", "lambda_hoyer=0.1"])
    with pytest.raises(UserError, match="lambda_hoyer needs quantised activations between layers"):
        training.train(settings, tmp_path, report=str)
