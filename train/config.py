"""The hyperparameters of a run: which there are, which values they take, and the run's name.

The values and what they mean stand in `trainingparameters.yaml`; this module is strict about them,
and what it has checked is a `Settings`.

A parameter that came later has an `absent` value, with which everything is as it was before. Where
it is not given it has that value, and then it does not count for the name of the run: names of
older runs, and files from them, stay valid.
"""

import hashlib
import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import ClassVar

import yaml

import BitNetMCU
from cli import UserError, suggest
from compiler.graph import UINT7
from train import data, loaders, measured, models, optimizers, schedules
from train.layers import WIDEST, Layer
from train.settings import Settings
from train.values import (
    AUTO,
    Choice,
    EachLayer,
    Flag,
    Kept,
    Layers,
    Name,
    Number,
    OnePerLayer,
    OrAuto,
    RawUnits,
    Widths,
    items,
)

DEFAULT_PARAMETERS = Path(__file__).parent.parent / "trainingparameters.yaml"

PARAMETERS = {
    "model": Name(
        (*models.PRESETS, AUTO),
        lambda text: ".py:" in text,
        "a network of your own as file.py:Class",
    ),
    "layers": Layers(32),
    "widths": Widths(2, 3, WIDEST),
    "QuantType": OnePerLayer((*BitNetMCU.FORMATS, BitNetMCU.FLOAT), alone=BitNetMCU.FLOAT),
    "bias": OrAuto(
        Choice(tuple(models.BIASES), absent="none"), images="none", measured="first", windows="none"
    ),
    "WScale": Choice(BitNetMCU.WEIGHT_SCALES),
    "NormType": Choice(tuple(BitNetMCU.NORMS)),
    "activation": Choice(tuple(BitNetMCU.ACTIVATIONS)),
    "shiftnorm_aware": Flag(),
    "activation_bits": OrAuto(
        EachLayer(1, UINT7.bits, absent=UINT7.bits),
        images=4,
        measured=UINT7.bits,
        windows=5,
        sequences=5,
    ),
    "requantiser": OrAuto(
        Choice(tuple(BitNetMCU.REQUANTISERS), absent="ShiftNorm"),
        images="ShiftNorm",
        measured="ShiftNorm",
        windows="FixedShift",
        sequences="FixedShift",
    ),
    "maxw_algo": Choice(tuple(BitNetMCU.CLIPPING)),
    "maxw_quantscale": Number(float, 0.01, 100),
    "maxw_update_until_epoch": Number(int, 0, 100_000),
    "dataset": Name(
        tuple(loaders.DATASETS),
        loaders.is_source,
        "the path of an .npz or .csv file or of a folder of images",
    ),
    "raw_units_per_value": RawUnits(1e-30, 1e30),
    "image_size": Number(int, 4, 64),
    "input_bits": OrAuto(
        Number(int, 1, 8, absent=data.PIXEL_BITS), images=3, measured=data.PIXEL_BITS, windows=4
    ),
    "input_rounding": OrAuto(
        Choice(tuple(data.ROUNDINGS), absent="floor"),
        images="nearest",
        measured="floor",
        windows="floor",
    ),
    "validation_samples": Number(int, 0, 10_000_000),
    "augmented_copies": Number(int, 0, 100),
    "rotation": Number(float, 0, 180),
    "shift": Number(float, 0, 1),
    "scale": Number(float, 0, 0.9),
    "shear": Number(float, 0, 80),
    "elastic_strength": Number(float, 0, 10, absent=0),
    "elastic_smoothness": Number(float, 0.5, 20, absent=4),
    "prune_keep": Kept(),
    "prune_epoch": Number(int, 0, 100_000, absent=0),
    "lambda_l1": Number(float, 0, 100, absent=0.0),
    "seed": Number(int, 0, 2**32 - 1),
    "num_epochs": OrAuto(Number(int, 1, 100_000), images=60, measured=60, windows=40),
    "batch_size": Number(int, 1, 1_000_000),
    "lambda_hoyer": Number(float, 0, 100, absent=0.0),
    "optimizer": Choice(optimizers.OPTIMIZERS, absent="Adam"),
    "learning_rate": Number(float, 1e-9, 10),
    "muon_learning_rate": Number(float, 1e-9, 10, absent=0.01),
    "scheduler": Choice(tuple(schedules.SCHEDULES)),
    "step_size": Number(int, 1, 100_000),
    "lr_decay": Number(float, 0.001, 1),
    "restart_epochs": Number(int, 1, 100_000, absent=10),
    "restart_factor": Number(int, 1, 100, absent=2),
    "halve_lr_epoch": Number(int, 0, 100_000, absent=0),
}
assert list(PARAMETERS) == [field.name for field in fields(Settings)]

ABSENT = {
    key: rule.absent
    for key, rule in PARAMETERS.items()
    if getattr(rule, "absent", None) is not None
}


def parse(values, source):
    """Check the dict `values`, perhaps partial, against PARAMETERS; errors name `source`."""
    checked = {}
    for key, value in values.items():
        if key not in PARAMETERS:
            raise UserError(
                f"{source}: parameter '{key}' is not known; {suggest(key, PARAMETERS)}"
                f"the parameters are: {', '.join(PARAMETERS)}"
            )
        try:
            checked[key] = PARAMETERS[key].parse(value)
        except (ValueError, TypeError, OverflowError):
            hint = _suggest_option(value, getattr(PARAMETERS[key], "options", ()))
            raise UserError(
                f"{source}: {key}={value!r} is not valid; {hint}it takes {PARAMETERS[key]}"
            )
    return checked


def _suggest_option(value, options):
    """`cli.suggest` for the first of the values, one or a list, that is none of `options`."""
    values = items(value)
    texts = [str(each).strip() for each in (values if isinstance(values, list) else [values])]
    wrong = [text for text in texts if text not in options]
    return suggest(wrong[0], options) if wrong else ""


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key which stands twice, instead of silently taking the second.

    Numbers and dates stay text, as on the command line, for the rules in PARAMETERS to read: YAML
    1.1 would make 8 of 010 and 90 of 1:30.
    """

    yaml_implicit_resolvers: ClassVar = {
        first: [
            each for each in resolvers if each[0].rpartition(":")[2] in ("bool", "null", "merge")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.YAMLError(f"'{twice[0]}' stands twice")
        return super().construct_mapping(node, deep)


def read_yaml(path):
    """The mapping in the YAML file at `path`. Raises `UserError` if there is none."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), StrictLoader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; name a YAML file of parameters")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}")
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no 'key: value' lines; see {DEFAULT_PARAMETERS.name}")
    return values


def from_file(values, path):
    """The `Settings` that a file of a training holds as a dict; its data may be gone by now."""
    dataset = values.get("dataset")
    known = {key: value for key, value in values.items() if key != "dataset"}
    return _settings(parse(known, path) | {"dataset": str(dataset)}, path)


def load(path=DEFAULT_PARAMETERS, overrides=()):
    """The `Settings` in the YAML file `path`, changed by `overrides` ("key=value" strings).

    Raises `UserError` for unknown keys, missing keys, wrong types, values out of range, and
    overrides that have no effect. A file may have widths for some other model.
    """
    given = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"'{override}' is not an override; write key=value, as num_epochs=10")
        given |= parse({key: text}, "command line")
    return complete(read(path) | given, path, given)


def read(path=DEFAULT_PARAMETERS):
    """The checked parameters in the YAML file `path`, as they stand there, perhaps not all."""
    return parse(read_yaml(path), path)


def complete(values, source, given=None):
    """The `Settings` of the checked dict `values`; AUTO becomes what it stands for.

    given: those of `values` that must not be without effect; None: all. Raises `UserError` if one
    of them is, or if `values`, from `source`, lacks any.
    """
    settings = _settings(values, source)
    idle = _without_effect(settings)
    chosen = (values if given is None else given).get(idle, AUTO)
    if chosen != AUTO:
        of = f"model={settings.model}"
        if idle == "widths":
            of += f" with layers='{_text(settings.layers)}'"
        instead = {"widths": f"model=FCMNIST layers={AUTO}", "layers": f"model={AUTO}"}[idle]
        raise UserError(
            f"{idle}={_text(chosen)} has no effect on {of}; use {idle}={AUTO}, or {instead}"
        )
    _check_pruning(settings)
    return settings


def _check_pruning(settings):
    """Refuse what says that channels go and leaves open which, or when, or trains none without."""
    values = {key: getattr(settings, key) for key in ("prune_keep", "prune_epoch", "lambda_l1")}
    given = [key for key, value in values.items() if value != ABSENT[key]]
    lacking = [key for key in ("prune_keep", "prune_epoch") if key not in given]
    if given and lacking:
        text = " ".join(f"{key}={_text(values[key])}" for key in given)
        raise UserError(
            f"{text} has no effect without {' and '.join(lacking)}; give both, as "
            f"prune_keep=32,12,64 prune_epoch=20, or leave {' and '.join(given)} out"
        )
    if settings.prune_epoch >= settings.num_epochs:
        raise UserError(
            f"prune_epoch={settings.prune_epoch} is not before the last of "
            f"num_epochs={settings.num_epochs}; use a smaller one, so that what is left is trained"
        )


def _without_effect(settings):
    """The one of layers and widths that the network has no use for, else None.

    A network of the user's has layers of its own; its class may read widths.
    """
    if settings.model not in models.PRESETS:
        return "layers"
    return "widths" if isinstance(settings.layers, list) else None


def _settings(values, source):
    """The `Settings` of the checked dict `values`: resolves AUTO.

    Does not refuse widths or layers without effect, which a file of a training may have. Raises
    `UserError` if `values`, from `source`, lacks any.

    Measured values get a bias in the first layer, as their level and amplitude tell something, and
    all bits; pixels of 7 bits or more are not rounded. Convolutions get shifts that are fixed: a
    shift for each sample needs all sums at once.
    """
    values = ABSENT | values
    missing = [key for key in PARAMETERS if key not in values]
    if missing:
        raise UserError(f"{source} lacks: {', '.join(missing)}; see {DEFAULT_PARAMETERS.name}")
    if values["model"] == AUTO:
        values["model"] = "FCMNIST"
        if _suits_windows(values):
            is_sequence = measured.is_measured(values["dataset"])
            values["model"] = "SequenceCNN" if is_sequence else "WindowMNIST"
    if values["layers"] == AUTO and models.PRESETS.get(values["model"]):
        values["layers"] = list(models.PRESETS[values["model"]])
    if values["widths"] == AUTO:
        values["widths"] = list(models.WIDTHS)
    is_measured = measured.is_measured(values["dataset"])
    has_windows = values["model"] in models.PRESETS and _begins_with_windows(values["layers"])
    for key, rule in PARAMETERS.items():
        if isinstance(rule, OrAuto) and values[key] == AUTO:
            values[key] = rule.of(is_measured, has_windows)
            if key == "input_rounding" and values["input_bits"] >= data.PIXEL_BITS:
                values[key] = rule.absent
    return Settings(**values)


def _begins_with_windows(layers):
    return layers != AUTO and Layer.parse(layers[0]).reads_map


def _suits_windows(values):
    """Whether AUTO is a network of windows: what `values` say of layers, otherwise of the data."""
    if values["layers"] != AUTO:
        return _begins_with_windows(values["layers"])
    return (
        values["widths"] == AUTO
        and not measured.is_measured(values["dataset"])
        and values["image_size"] >= models.SMALLEST_FOR_WINDOWS
    )


def run_name(settings):
    """MODEL-DATASET-FORMAT-8HEX; the hex digits are a hash of all of the `Settings`."""
    counting = {k: value for k, value in asdict(settings).items() if value != ABSENT.get(k)}
    digest = hashlib.sha256(json.dumps(counting, sort_keys=True).encode()).hexdigest()
    model = settings.model.rpartition(":")[2]
    dataset = re.sub(r"\W+", "_", Path(settings.dataset).stem)
    given = settings.QuantType
    formats = given if isinstance(given, str) else "+".join(dict.fromkeys(given))
    return f"{model}-{dataset}-{formats}-{digest[:8]}"


def overrides_for(settings):
    """The "key=value" arguments with which the committed parameters give `settings`.

    Without layers or widths that have no effect, which `load` would refuse.
    """
    wanted, given, committed = asdict(settings), {}, read()
    wanted.pop(_without_effect(settings), None)
    for _ in wanted:  # one at a time, as each may change what AUTO is for others
        found = asdict(_settings(committed | given, DEFAULT_PARAMETERS.name))
        differing = [key for key in wanted if key not in given and found[key] != wanted[key]]
        given |= {key: wanted[key] for key in differing[:1]}
    return [f"{key}={_text(value)}" for key, value in given.items()]


def _text(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
