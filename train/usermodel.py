"""Networks of a user's own: a class in a Python file, named in the YAML as file.py:Class.

The file runs in training only; the checkpoint keeps what it built (`Network.architecture`).
"""

import importlib.util
import inspect
from dataclasses import asdict
from pathlib import Path

from torch import nn

import BitNetMCU
from cli import UserError
from train import userlayers
from train.settings import Settings


def build(settings: Settings, inputs, classes, shape):
    """The `BitNetMCU.Network` around the layers of the class that `settings.model` names.

    The class is an nn.Sequential that is called with (inputs, classes, config) and holds
    `BitLinear` and `BitConv2d` layers with `nn.ReLU` between them, pools and residuals; a norm of a
    batch behind a layer becomes part of it. config: the settings as a dict. shape: (channels, rows,
    columns) of a sample that is a map, as which a convolution or pool at the beginning gets it,
    else None. Raises `UserError` for anything else.
    """
    name = settings.model
    made = _load_class(name)
    try:
        layers = made(inputs, classes, asdict(settings))
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise UserError(
            f"model {name}: {made.__name__}({inputs}, {classes}, config) fails: "
            f"{type(error).__name__}: {error}"
        )
    if not isinstance(layers, nn.Sequential):
        raise UserError(f"{name} is not an nn.Sequential; derive it from torch.nn.Sequential")
    flat = list(userlayers.flattened(name, layers))
    userlayers.check_layers(name, flat)
    supported = userlayers.converted(name, flat, settings)
    _check_choices(name, supported, settings.QuantType, settings.WScale)
    if isinstance(supported[0], userlayers.MAP_READERS):
        if shape is None:
            raise UserError(
                f"model {name}: the {inputs} values of a sample are no map; put an nn.Unflatten(1, "
                "(channels, rows, columns)) in front of the first layer"
            )
        channels, *size = shape
        in_memory = BitNetMCU.ChannelsLast((*size, channels))
        supported.insert(0, BitNetMCU.Unflatten(shape) if channels == 1 else in_memory)
    supported = userlayers.with_pools(name, supported, (inputs,), settings)
    _check_sizes(name, supported, inputs, classes)
    return BitNetMCU.Network(supported, settings.NormType)


def _load_class(name):
    file, _, class_name = name.rpartition(":")
    if not Path(file).is_file():
        raise UserError(f"model {name}: there is no file {file}; give the path as file.py:Class")
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
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


def _check_choices(name, layers, QuantType, WScale):
    """Refuse settings that the layers were not built with, instead of dropping them silently."""
    if not isinstance(QuantType, str):
        raise UserError(
            f"model {name} names the formats of its layers itself; give one QuantType, not a list"
        )
    layers = list(BitNetMCU.each_of(layers))
    floats = [layer.format is None for layer in layers if isinstance(layer, BitNetMCU.BitLayer)]
    if any(floats) != (QuantType == BitNetMCU.FLOAT) or any(floats) != all(floats):
        raise UserError(
            f"model {name}: layers of QuantType={BitNetMCU.FLOAT} are not exported; all layers and "
            f"the setting QuantType must be {BitNetMCU.FLOAT}, or none"
        )
    if WScale == "PerOutput" and any(
        isinstance(layer, BitNetMCU.BitLayer) and layer.format and layer.factors is None
        for layer in layers
    ):
        raise UserError(
            f"model {name} has layers without a factor per output; build them with "
            "WScale=config['WScale'], or train with WScale=PerTensor"
        )


def _check_sizes(name, modules, inputs, classes):
    """Refuse layers that cannot read what is in front of them."""
    shape, there = _run(name, modules, (inputs,), first=True)
    if there != "accumulators" or not isinstance(modules[-1], BitNetMCU.BitLinear):
        raise _out_of_turn(name)
    if shape != (classes,):
        raise UserError(
            f"model {name}: the last layer has {shape[0]} outputs, the data has {classes} classes"
        )


def _run(name, modules, shape, first=False):
    """(shape, accumulators or activations) behind `modules`, in front of which are activations.

    first: nothing is in front of them.
    """
    there, count = "activations", 0
    for index, layer in enumerate(modules):
        neutral = isinstance(layer, (*BitNetMCU.SHAPING, *BitNetMCU.POOLS))
        if getattr(layer, "reads", there if neutral else "accumulators") not in (there, "any"):
            raise _out_of_turn(name)
        is_flatten = isinstance(layer, BitNetMCU.Flatten)
        behind = modules[index + 1] if index + 1 < len(modules) else None
        if is_flatten and (len(shape) == 1 or not isinstance(behind, BitNetMCU.BitLinear)):
            raise UserError(
                f"model {name}: nn.Flatten belongs between maps and the BitLinear that reads them; "
                "elsewhere leave it out: a sample comes as one row of values already"
            )
        if isinstance(layer, BitNetMCU.Unflatten) and (index or not first):
            raise UserError(f"model {name}: nn.Unflatten belongs in front of all layers only")
        inner = layer.layers if isinstance(layer, BitNetMCU.Residual) else ()
        if inner and _run(name, inner, shape)[1] != "accumulators":
            raise _out_of_turn(name)
        kind = type(layer).__name__.removeprefix("BatchNorm")
        count += isinstance(layer, BitNetMCU.BitLayer)
        got = "x".join(map(str, shape))
        try:
            ((_, shape),) = BitNetMCU.shapes_of([layer], shape)
        except ValueError as error:
            number = f" {count}" if isinstance(layer, BitNetMCU.BitLayer) else ""
            raise UserError(f"model {name}: {kind}{number} {error} but gets {got}")
        there = userlayers.what_is_behind(there, layer)
    return shape, there


def _out_of_turn(name):
    return UserError(
        f"model {name}: layers with weights and ReLU must take turns, with a BitLinear at the end"
    )
