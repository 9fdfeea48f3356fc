"""Networks of a user's own: a class in a Python file, named in the YAML as file.py:Class."""

import importlib.util
import inspect
from pathlib import Path

from torch import nn

import BitNetMCU
from cli import UserError

SUPPORTED = "BitLinear, ReLU, ShiftNormReLU"


def build(name, inputs, classes, config):
    """The `BitNetMCU.Network` around the layers of the class that `name` names.

    The class is an nn.Sequential that is called with (inputs, classes, config) and holds
    `BitLinear` layers with `nn.ReLU` between them. Raises `UserError` for anything else.
    """
    made = _load_class(name)
    try:
        layers = made(inputs, classes, config)
    except UserError:
        raise
    except Exception as error:  # whatever the user's code raises
        raise UserError(
            f"model {name}: {made.__name__}({inputs}, {classes}, config) fails: "
            f"{type(error).__name__}: {error}"
        )
    if not isinstance(layers, nn.Sequential):
        raise UserError(f"{name} is not an nn.Sequential; derive it from torch.nn.Sequential")
    _check_choices(name, layers, config)
    supported = [_supported(name, i, layer, config) for i, layer in enumerate(layers)]
    _check_sizes(name, supported, inputs, classes)
    return BitNetMCU.Network(supported, config["NormType"])


def _load_class(name):
    file, _, class_name = name.rpartition(":")
    if not Path(file).is_file():
        raise UserError(f"model {name}: there is no file {file}; give the path as file.py:Class")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's code raises
        raise UserError(f"model {name}: {file} does not load: {type(error).__name__}: {error}")
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [
            key
            for key, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == module.__name__
        ]
        raise UserError(
            f"model {name}: no class {class_name} in {file}; it has: {', '.join(classes) or 'none'}"
        )
    return found


def _supported(name, index, layer, config):
    """`layer`, or what stands for it in the integer contract."""
    if isinstance(layer, nn.ReLU):
        return BitNetMCU.activation(config | {"activation": "ReLU"})
    if isinstance(layer, (BitNetMCU.BitLinear, BitNetMCU.ShiftNormReLU)):
        return layer
    raise UserError(
        f"model {name}: layer {index} is a {type(layer).__name__}, which has no integer form; "
        f"supported layers: {SUPPORTED}"
    )


def _check_choices(name, layers, config):
    """Refuse settings that the layers were not built with, instead of dropping them silently."""
    if not isinstance(config["QuantType"], str):
        raise UserError(
            f"model {name} names the formats of its layers itself; give one QuantType, not a list"
        )
    if config["WScale"] == "PerOutput" and any(
        isinstance(layer, BitNetMCU.BitLinear) and layer.format and layer.factors is None
        for layer in layers
    ):
        raise UserError(
            f"model {name} has layers without a factor per output; build them with "
            "WScale=config['WScale'], or train with WScale=PerTensor"
        )


def _check_sizes(name, modules, inputs, classes):
    kinds = [isinstance(layer, BitNetMCU.BitLinear) for layer in modules]
    if kinds != [index % 2 == 0 for index in range(len(kinds))] or len(kinds) % 2 == 0:
        raise UserError(
            f"model {name}: BitLinear and ReLU must take turns, with a BitLinear at both ends"
        )
    layers = modules[::2]
    sizes = [inputs, *(layer.out_features for layer in layers)]
    for index, (layer, size) in enumerate(zip(layers, sizes), start=1):
        if layer.in_features != size:
            raise UserError(
                f"model {name}: BitLinear {index} takes {layer.in_features} inputs but gets {size}"
            )
    if sizes[-1] != classes:
        raise UserError(
            f"model {name}: the last layer has {sizes[-1]} outputs, the data has {classes} classes"
        )
