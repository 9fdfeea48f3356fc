"""Muon: its step, who gets it, and that a run with it can be repeated and stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import training
from train import checkpoint, models, optimizers, schedules

# A layer with a norm and a bias, one without, and a last one, as a user's own network.
OWN = """import torch.nn as nn
from BitNetMCU import BitLinear
class Own(nn.Sequential):
    def __init__(self, i, c, config):
        q = config["QuantType"]
        super().__init__(BitLinear(i, 12, q, bias=True), nn.BatchNorm1d(12), nn.ReLU(),
                         BitLinear(12, 16, q), nn.ReLU(), BitLinear(16, c, q))
"""


@pytest.fixture
def own(settings, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return replace(settings, model=f"{tmp_path / 'own.py'}:Own", optimizer="Muon")


def numpy_muon(weights, gradients, rate):
    """Weights [O, I] after a step of Muon for each of `gradients`, as the paper has it."""
    momentum = np.zeros_like(weights)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.95 * momentum + 0.05 * gradient
        x /= np.sqrt((x**2).sum())
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x @ x.T @ x + 2.0315 * x @ x.T @ x @ x.T @ x
        weights = weights - rate * max(1, len(x) / x.shape[1]) ** 0.5 * x
    return weights


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16), (1, 5), (5, 1), (6, 3, 2, 2)])
def test_muons_steps_are_those_of_a_transcription(shape, rng):
    before, gradients = rng.normal(size=shape), rng.normal(size=(4, *shape))
    weight = torch.nn.Parameter(torch.tensor(before, dtype=torch.float32))
    muon = optimizers.Muon([weight], 0.1)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        muon.step()
    expected = numpy_muon(
        before.reshape(shape[0], -1), gradients.reshape(len(gradients), shape[0], -1), 0.1
    )
    np.testing.assert_allclose(weight.detach().flatten(1), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(16, 100), (100, 16), (64, 256), (32, 24)])
def test_an_update_moves_all_directions_alike(shape, rng):
    for size in (1e-6, 1, 1e6):
        matrix = torch.tensor(size * rng.normal(size=shape), dtype=torch.float32)
        values = torch.linalg.svdvals(optimizers.orthogonalised(matrix))
        assert values.min() > 0.6 and values.max() < 1.3


def test_no_gradient_is_no_step():
    assert not optimizers.orthogonalised(torch.zeros(3, 5)).any()


def test_muon_gets_hidden_matrices_and_adam_all_else(own):
    network = models.build(own, 20, 3)
    muon, adam = optimizers.build(own, network)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    ((hidden,), (others,)) = (
        [[names[id(p)] for p in group["params"]] for group in one.param_groups]
        for one in (muon, adam)
    )
    assert hidden == ["layers.0.weight", "layers.2.weight"]
    assert sorted(hidden + others) == sorted(names.values())
    (alone,) = optimizers.build(replace(own, optimizer="Adam"), network)
    assert len(alone.param_groups[0]["params"]) == len(names)


def test_a_network_without_hidden_layers_has_adam_only(own, tmp_path):
    (tmp_path / "own.py").write_text(
        "import torch.nn as nn\nfrom BitNetMCU import BitLinear\nclass Own(nn.Sequential):\n"
        "    def __init__(self, i, c, config):\n"
        "        super().__init__(BitLinear(i, c, config['QuantType']))\n"
    )
    (only,) = optimizers.build(own, models.build(own, 20, 3))
    assert isinstance(only, torch.optim.Adam)


def interrupted(settings, folder):
    """The partial file of a run that was stopped behind its first epoch."""

    def interrupt(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.train(settings, folder, report=str, log=interrupt)
    (partial,) = folder.glob("*.partial.pth")
    return partial


def weights_of(path):
    return checkpoint.load(path).network.state_dict()


@pytest.mark.parametrize("QuantType", ["2bitsym", "None"])
def test_a_stopped_run_with_muon_goes_on_bit_identically(QuantType, own, tmp_path):
    settings = replace(own, QuantType=QuantType, num_epochs=3)
    saved, state = checkpoint.load_partial(interrupted(settings, tmp_path))
    assert saved == settings
    resumed = weights_of(training.train(saved, tmp_path, report=str, state=state))
    straight = weights_of(training.train(settings, tmp_path / "whole", report=str))
    adam = weights_of(training.train(replace(settings, optimizer="Adam"), tmp_path, report=str))
    assert all(torch.equal(resumed[key], straight[key]) for key in straight)
    assert not torch.equal(adam["layers.0.weight"], straight["layers.0.weight"])


def test_a_stopped_run_of_an_older_version_goes_on(settings, tmp_path):
    settings = replace(settings, optimizer="Adam")
    partial = interrupted(settings, tmp_path)
    content = torch.load(partial, weights_only=True)
    (content["optimizer"],) = content["optimizer"]
    del content["config"]["optimizer"], content["config"]["muon_learning_rate"]
    content["rows"] = [{k: v for k, v in row.items() if "bits" not in k} for row in content["rows"]]
    torch.save(content, partial)
    saved, state = checkpoint.load_partial(partial)
    resumed = training.train(saved, tmp_path, report=str, state=state)
    straight = training.train(settings, tmp_path / "whole", report=str)
    assert resumed.name == straight.name and resumed.read_bytes() == straight.read_bytes()
    first, second = resumed.with_suffix(".csv").read_text().splitlines()[1:]
    assert first.endswith(",,,") and not second.endswith(",")


@pytest.mark.parametrize("scheduler", schedules.SCHEDULES)
def test_both_rates_follow_the_schedule(scheduler, settings):
    settings = replace(settings, optimizer="Muon", scheduler=scheduler, step_size=1, num_epochs=9)
    labels = torch.tensor([0, 1] * 8)
    inputs = torch.arange(16 * 4, dtype=torch.int8).reshape(16, 4)
    settings = replace(settings, augmented_copies=0)
    run = training.Run.start(settings, inputs, labels, 2, "cpu")
    for number in (1, 2, 3):
        row = run.epoch(inputs, inputs, labels, None)
        factor = schedules.factor(settings, number)
        rates = [one.param_groups[0]["lr"] for one in run.optimizers]
        assert rates == [settings.muon_learning_rate * factor, settings.learning_rate * factor]
        assert row["learning_rate"] == rates[1]
