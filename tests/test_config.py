"""Hyperparameters: strict files, strict overrides, names of runs."""

import re
import shlex
from dataclasses import asdict, fields, replace

import pytest
from conftest import refused, run_script

import study
from BitNetMCU import FORMATS
from cli import UserError
from train import checkpoint, config, models, values
from train.settings import Settings


def test_committed_parameters_are_complete_and_each_has_a_comment():
    assert list(config.read()) == list(config.PARAMETERS)
    for line in config.DEFAULT_PARAMETERS.read_text().splitlines():
        assert not line or line.lstrip().startswith("#") or re.search(r": .* # \w", line), line


def test_settings_have_the_types_that_the_rules_give():
    types = {
        values.Choice: lambda rule: str,
        values.Name: lambda rule: str,
        values.Number: lambda rule: rule.kind,
        values.Flag: lambda rule: bool,
        values.Layers: lambda rule: str | list[str],
        values.Widths: lambda rule: list[int],
        values.OnePerLayer: lambda rule: str | list[str],
        values.Kept: lambda rule: str | list[int],
        values.EachLayer: lambda rule: int | list[int],
        values.RawUnits: lambda rule: str | float | list[float],
        values.OrAuto: lambda rule: types[type(rule.rule)](rule.rule),
    }
    for field, (key, rule) in zip(fields(Settings), config.PARAMETERS.items(), strict=True):
        assert (field.name, field.type) == (key, types[type(rule)](rule))


@pytest.mark.parametrize(
    ("overrides", "bits"),
    [
        ([], (4, "floor", 5, "none")),
        (["model=FCMNIST"], (3, "nearest", 4, "none")),
        (["model=FCMNIST", "input_bits=7"], (7, "floor", 4, "none")),
        (["input_bits=2", "input_rounding=floor", "activation_bits=5"], (2, "floor", 5, "none")),
        (["dataset=a.csv"], (7, "floor", 7, "first")),
        (["dataset=a.npz", "bias=all", "activation_bits=4"], (7, "floor", 4, "all")),
    ],
)
def test_auto_is_for_images_or_for_measured_values(overrides, bits):
    found = config.load(overrides=overrides)
    names = ("input_bits", "input_rounding", "activation_bits", "bias")
    assert tuple(getattr(found, name) for name in names) == bits


WINDOWS = list(models.PRESETS["WindowMNIST"])


@pytest.mark.parametrize(
    ("overrides", "network"),
    [
        ([], ("WindowMNIST", WINDOWS, 40)),
        (["dataset=Digits"], ("WindowMNIST", WINDOWS, 40)),
        (["image_size=28"], ("WindowMNIST", WINDOWS, 40)),
        (["image_size=13"], ("WindowMNIST", WINDOWS, 40)),
        (["image_size=12"], ("FCMNIST", "auto", 60)),
        (["image_size=8", "model=WindowMNIST"], ("WindowMNIST", WINDOWS, 40)),
        (["dataset=a.csv"], ("FCMNIST", "auto", 60)),
        (["dataset=a.npz", "num_epochs=7"], ("FCMNIST", "auto", 7)),
        (["widths=16,16"], ("FCMNIST", "auto", 60)),
        (["model=FCMNIST"], ("FCMNIST", "auto", 60)),
        (["layers=dense 9"], ("FCMNIST", ["dense 9"], 60)),
        (["layers=conv 3x3 4"], ("WindowMNIST", ["conv 3x3 4"], 40)),
        (["model=own.py:Own", "widths=16,16"], ("own.py:Own", "auto", 60)),
    ],
)
def test_the_network_is_of_windows_for_images_unless_something_else_is_meant(overrides, network):
    found = config.load(overrides=overrides)
    assert (found.model, found.layers, found.num_epochs) == network
    assert found.widths == ([16, 16] if "widths=16,16" in overrides else [64, 64, 64])
    named = config.load(overrides=config.overrides_for(found))
    assert named == found and config.run_name(named) == config.run_name(found)


@pytest.mark.parametrize("layers", [["conv 3x3 4"], ["dense 9"]])
def test_layers_of_no_use_to_a_network_of_ones_own_change_no_defaults_and_are_refused(layers):
    own = config.load(overrides=["model=own.py:Own"])
    found = config.complete(config.read() | {"model": "own.py:Own", "layers": layers}, "x.yaml", {})
    assert found == replace(own, layers=layers)
    assert config.overrides_for(found) == config.overrides_for(own)
    with pytest.raises(UserError, match=r"no effect on model=own.py:Own; use layers=auto, or mod"):
        config.load(overrides=["model=own.py:Own", f"layers={layers[0]}"])
    assert config.load(overrides=["model=own.py:Own", "layers=auto"]) == own


@pytest.mark.parametrize(
    "overrides", [["model=WindowMNIST"], ["layers=dense 9"], ["layers=conv 3x3 4"]], ids=" ".join
)
def test_widths_without_effect_are_refused(overrides):
    with pytest.raises(UserError, match=r"widths=16,16 has no effect on .*; use widths=auto, or"):
        config.load(overrides=[*overrides, "widths=16,16"])


def test_a_file_of_a_training_may_have_widths_without_effect():
    values = asdict(config.load()) | {"widths": [16, 16]}
    settings = config.from_file(values, "x.pth")
    assert asdict(settings) == values
    assert config.overrides_for(replace(settings, seed=7)) == ["seed=7"]


def test_a_file_of_parameters_may_have_widths_of_another_model(tmp_path):
    file = tmp_path / "p.yaml"
    text = config.DEFAULT_PARAMETERS.read_text()
    file.write_text(text.replace("widths: auto", "widths: [64, 64, 64]"))
    assert config.load(file).model == "FCMNIST"
    assert config.load(file, ["model=WindowMNIST"]) == config.load()
    with pytest.raises(UserError, match=r"widths=64,64,64 has no effect on model=WindowMNIST with"):
        config.load(file, ["model=WindowMNIST", "widths=64,64,64"])


@pytest.mark.parametrize(
    ("overrides", "warning"),
    [
        (["model=WindowMNIST", "image_size=12"], "last 2 rows and 2 columns of 12x12; use another"),
        (["image_size=15", "layers=conv 3x4/2 3"], "last 0 rows and 1 columns of 15x15"),
        (["image_size=16"], None),
        (["image_size=12"], None),
        (["image_size=16", "layers=conv 3x3/2 pad 1 3"], None),
        (
            ["image_size=16", "layers=conv 8x8/4 3, conv 2x2/2 4"],
            "last 1 rows and 1 columns of 3x3",
        ),
    ],
)
def test_rows_and_columns_that_no_window_reads_are_warned_of(overrides, warning):
    settings = config.load(overrides=overrides)
    inputs = settings.image_size**2
    found = models.unread(models.build(settings, inputs, 10), inputs)
    assert [warning in line for line in found] == ([True] if warning else [])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["image_size=6"],
            "takes maps of at least 7x7, .* or a larger image_size, or model=FCMNIST",
        ),
        (
            ["dataset=a.csv"],
            "needs a map; a.csv has 256 values that are none: .* or use model=FCMNIST",
        ),
    ],
)
@pytest.mark.parametrize("layers", ["auto", "conv 7x7 4"])
def test_windows_that_do_not_fit_the_data_are_refused(overrides, expected, layers):
    given = ["model=WindowMNIST", f"layers={layers}", *overrides]
    settings = config.load(overrides=given)
    with pytest.raises(UserError, match=expected) as refusal:
        models.build(settings, settings.image_size**2, 10)
    instead = str(refusal.value).rpartition("or ")[2].removeprefix("use ").split()
    settings = config.load(overrides=[*given, *instead])
    models.build(settings, settings.image_size**2, 10)


@pytest.mark.parametrize(
    "path", sorted(checkpoint.MODELDATA.glob("*.md")), ids=lambda path: path.stem
)
def test_the_command_of_a_card_names_its_network(path):
    (line,) = re.findall(r"^    python training.py(.*)$", path.read_text(), re.M)
    assert config.run_name(config.load(overrides=shlex.split(line))) == path.stem


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
        ("activation_bits=8", "a whole number from 1 to 7, or one for each hidden layer"),
        ("activation_bits=4,0,4", "a whole number from 1 to 7, or one for each hidden layer"),
        ("activation_bits=4,4", "names 2 numbers for 3 hidden layers"),
        ("input_bits=9", "a whole number from 1 to 8; or auto"),
        ("input_rounding=near", "did you mean 'nearest'"),
        ("requantiser=FixedShfit", "did you mean 'FixedShift'"),
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


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dataset=MINST", "did you mean 'MNIST'? it takes one of: MNIST"),
        ("dataset=mnist", "did you mean 'MNIST'?"),
        ("QuantType=ternery", "did you mean 'Ternary'?"),
        ("QuantType=Binary,Binary,Ternry,Binary", "did you mean 'Ternary'?"),
        ("WScale=PerTenser", "did you mean 'PerTensor'?"),
        ("scheduler=cosine", "did you mean 'Cosine'?"),
        ("shiftnorm_aware=Flase", "did you mean 'False'?"),
        ("model=FCMINST", "did you mean 'FCMNIST'?"),
        ("dataset=data/minst", "dataset='data/minst' is not valid; it takes"),
        ("NUM_EPOCHS=3", "did you mean 'num_epochs'?"),
    ],
)
def test_misspelt_keys_and_choices_get_a_suggestion(override, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        config.load(overrides=[override])


def test_overrides_change_what_they_name_and_nothing_else():
    changed = config.load(overrides=["learning_rate=1e-2", "rotation=3", "seed=7"])
    different = {k for k, v in asdict(config.load()).items() if getattr(changed, k) != v}
    assert different == {"learning_rate", "rotation", "seed"}
    assert changed.learning_rate == 0.01
    assert config.overrides_for(changed) == ["rotation=3.0", "seed=7", "learning_rate=0.01"]


def test_a_format_for_each_layer_comes_from_yaml_and_command_line(tmp_path):
    formats = ["Ternary", "2bitsym", "2bitsym", "4bitsym"]
    from_text = config.load(overrides=["QuantType=Ternary,2bitsym, 2bitsym,4bitsym"])
    file = tmp_path / "p.yaml"
    text = config.DEFAULT_PARAMETERS.read_text()
    file.write_text(text.replace("QuantType: 4bitsym", f"QuantType: {formats}"))
    assert config.load(file) == from_text and from_text.QuantType == formats
    assert "-Ternary+2bitsym+4bitsym-" in config.run_name(from_text)
    assert config.load(overrides=config.overrides_for(from_text)) == from_text
    file.write_text(text.replace("QuantType: 4bitsym", "QuantType: []"))
    with pytest.raises(UserError, match="one for each layer"):
        config.load(file)


def test_every_parameter_is_part_of_the_name():
    base = config.load()
    values = asdict(base)
    other = {
        int: lambda v: v + 1,
        float: lambda v: v + 0.25,
        bool: lambda v: not v,
        str: lambda v: v + "x",
        list: lambda v: [*v, 1],
    }
    names = {config.run_name(replace(base, **{k: other[type(v)](v)})) for k, v in values.items()}
    assert len(names | {config.run_name(base)}) == len(values) + 1


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


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seed: 010", 10),  # YAML 1.1: 8
        ("seed: 0777", 777),
        ("learning_rate: 1e-3", 0.001),
        ("learning_rate: .5", 0.5),
        ("shift: 5.e-2", 0.05),
        ("batch_size: 1_000", 1000),
        ("seed: 1:30", None),  # 90
        ("learning_rate: 0:0:1.5", None),  # 1.5
        ("seed: 0b11", None),  # 3
        ("seed: 0x1F", None),  # 31
        ("seed: 2020-01-01", None),  # a date
        ("widths: [010, 1:30]", None),
        ("widths: [010, 020, 030]", [10, 20, 30]),
    ],
)
def test_numbers_in_yaml_are_what_they_are_on_the_command_line(text, value, tmp_path):
    file = tmp_path / "p.yaml"
    key, _, written = text.partition(": ")
    lines = config.DEFAULT_PARAMETERS.read_text().splitlines()
    file.write_text("\n".join(text if x.startswith(f"{key}:") else x for x in lines))
    if value is None:
        with pytest.raises(UserError, match=re.escape(f"{key}=")) as refusal:
            config.load(file)
        assert "1:30" not in text or "1:30" in str(refusal.value)
        with pytest.raises(UserError):
            config.load(overrides=[f"{key}={written}"])
    else:
        for settings in (config.load(file), config.load(overrides=[f"{key}={written}"])):
            assert getattr(settings, key) == value


def test_studies_read_numbers_as_parameters_do(tmp_path):
    (tmp_path / "s.yaml").write_text("seeds: [08, 010]\ngrid: {learning_rate: [1e-3]}\n")
    runs = study.expand(config.read_yaml(tmp_path / "s.yaml"), "s.yaml")
    assert [(run.seed, run.learning_rate) for run in runs] == [(8, 0.001), (10, 0.001)]
    (tmp_path / "s.yaml").write_text("seeds: [1:30]")
    with pytest.raises(UserError, match="seed='1:30' is not valid"):
        study.expand(config.read_yaml(tmp_path / "s.yaml"), "s.yaml")


def test_names_that_look_like_numbers_or_dates_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2024", "010", "2024-01-31"):
        (tmp_path / name).mkdir()
        text = config.DEFAULT_PARAMETERS.read_text().replace("dataset: MNIST", f"dataset: {name}")
        (tmp_path / "p.yaml").write_text(text)
        assert config.load(tmp_path / "p.yaml").dataset == name
