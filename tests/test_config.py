"""Hyperparameters: strict files, strict overrides, names of runs."""

import re

import pytest
from conftest import refused, run_script

import config
from BitNetMCU import FORMATS
from cli import UserError


def test_committed_parameters_are_complete_and_each_has_a_comment():
    assert list(config.load()) == list(config.PARAMETERS)
    for line in config.DEFAULT_PARAMETERS.read_text().splitlines():
        assert not line or line.lstrip().startswith("#") or re.search(r": .* # \w", line), line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("learning_rat=1", "did you mean 'learning_rate'"),
        (
            "QuantType=3bit",
            f"one of: {', '.join(FORMATS)}, None; or one for each layer",
        ),
        ("QuantType=Binary,3bit,Binary,Binary", "one for each layer"),
        ("QuantType=Binary,None,Binary,Binary", "(without None)"),
        ("QuantType=Binary,Binary", "names 2 formats for 4 layers"),
        ("QuantType=Binary,Ternary", "names 2 formats for 4 layers (3 hidden and the last)"),
        ("WScale=PerRow", "one of: PerTensor, PerOutput"),
        ("NormType=Batch", "one of: RMS, Lin, BatchNorm, LayerNorm"),
        ("num_epochs=0", "a whole number from 1"),
        ("num_epochs=2.5", "a whole number from 1"),
        ("num_epochs=many", "a whole number from 1"),
        ("num_epochs=true", "a whole number from 1"),
        ("num_epochs=[1]", "a whole number from 1"),
        ("learning_rate=nan", "a number from"),
        ("learning_rate=.inf", "a number from"),
        ("shiftnorm_aware=3", "one of: True, False"),
        ("seed=2020-13-45", "a whole number from 0"),
        ("seed=" + 5000 * "9", "a whole number from 0"),
        ("widths=64", "2 to 3 whole numbers"),
        ("widths=64,0", "2 to 3 whole numbers"),
        ("widths=a,b", "2 to 3 whole numbers"),
        ("model=CNN", "one of: FCMNIST"),
        ("dataset=Cats", "one of: MNIST, FashionMNIST"),
        ("num_epochs", "write key=value"),
        ("activation=GELU", "not part of the integer contract"),
        ("validation_samples=1347", "use 0 to 1346"),
    ],
)
def test_bad_override_is_refused_with_the_valid_values(override, expected, tmp_path):
    done = run_script("training.py", "dataset=Digits", override, "--out", tmp_path)
    assert expected in refused(done)
    assert not list(tmp_path.iterdir())


def test_overrides_change_what_they_name_and_nothing_else():
    changed = config.load(overrides=["learning_rate=1e-2", "widths=[16, 16]", "seed=7"])
    different = {key for key, value in config.load().items() if changed[key] != value}
    assert different == {"learning_rate", "widths", "seed"}
    assert changed["learning_rate"] == 0.01
    assert config.load(overrides=config.overrides_from(config.load(), changed)) == changed


def test_a_format_for_each_layer_comes_from_yaml_and_command_line(tmp_path):
    formats = ["Ternary", "2bitsym", "2bitsym", "4bitsym"]
    config_of_text = config.load(overrides=["QuantType=Ternary,2bitsym, 2bitsym,4bitsym"])
    file = tmp_path / "p.yaml"
    text = config.DEFAULT_PARAMETERS.read_text()
    file.write_text(text.replace("QuantType: 4bitsym", f"QuantType: {formats}"))
    assert config.load(file) == config_of_text and config_of_text["QuantType"] == formats
    assert "-Ternary+2bitsym+4bitsym-" in config.run_name(config_of_text)
    assert config.load(overrides=config.overrides_from(config.load(), config_of_text)) == (
        config_of_text
    )
    file.write_text(text.replace("QuantType: 4bitsym", "QuantType: []"))
    with pytest.raises(UserError, match="one for each layer"):
        config.load(file)


def test_every_parameter_is_part_of_the_name():
    base = config.load()
    other = {
        int: lambda v: v + 1,
        float: lambda v: v + 0.25,
        bool: lambda v: not v,
        str: lambda v: v + "x",
        list: lambda v: [*v, 1],
    }
    names = {config.run_name(base | {key: other[type(v)](v)}) for key, v in base.items()}
    assert len(names | {config.run_name(base)}) == len(base) + 1


def test_parameter_files_with_faults_are_refused(tmp_path):
    file = tmp_path / "p.yaml"
    for text, expected in (
        ("model: [", "not valid YAML"),
        ("", "holds no"),
        ("seed: 1", "lacks: model"),
        ("sed: 1", "did you mean 'seed'"),
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("- 1", "holds no"),
        (2000 * "[", "not valid YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UserError, match=re.escape(expected)):
            config.load(file)
    with pytest.raises(UserError, match="cannot read"):
        config.load(tmp_path / "none.yaml")
