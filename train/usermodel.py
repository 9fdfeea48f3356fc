"""Networks of a user's own: a class in a Python file, named in the YAML as file.py:Class.

The file runs in training only; the checkpoint keeps what it built (`Network.architecture`).
"""

import importlib.util
import inspect
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

import BitNetMCU
from cli import UserError
from train.settings import Settings

SUPPORTED = (
    "BitLinear, BitConv2d, ReLU, ShiftNormReLU, FixedShiftReLU, Flatten, and BatchNorm1d or "
    "BatchNorm2d directly behind a BitLinear or BitConv2d"
)
NO_USE = {  # layers that people try, and why they are not needed
    nn.Dropout: "the C has no use for it, and training with few bits is noise enough",
    nn.Softmax: "the loss applies it, and the class with the largest logit is the same without",
    nn.LogSoftmax: "the loss applies it, and the class with the largest logit is the same without",
}


def build(settings: Settings, inputs, classes, image):
    """The `BitNetMCU.Network` around the layers of the class that `settings.model` names.

    The class is an nn.Sequential that is called with (inputs, classes, config) and holds
    `BitLinear` and `BitConv2d` layers with `nn.ReLU` between them; a norm of a batch behind one
    becomes part of it. config: the settings as a dict. image: (channels, rows, columns) of an input
    that is an image, which a BitConv2d at the beginning gets, else None. Raises `UserError` for
    anything else.
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
    flat = list(_flatten(name, layers))
    _check_layers(name, flat)
    supported = _fold_norms(
        name, [_supported(name, i, each, settings) for i, each in enumerate(flat)]
    )
    _check_choices(name, supported, settings.QuantType, settings.WScale)
    if type(supported[0]) in CONVOLUTIONS:
        if image is None:
            raise UserError(
                f"model {name}: measured values are no map; put an nn.Unflatten(1, (channels, "
                "rows, columns)) in front of the first BitConv2d"
            )
        supported.insert(0, BitNetMCU.Unflatten(image))
    _check_sizes(name, supported, inputs, classes)
    return BitNetMCU.Network(supported, settings.NormType)


CONVOLUTIONS = (BitNetMCU.BitConv2d, BitNetMCU.BatchNormBitConv2d)
AS_OURS = {  # a layer of PyTorch -> ours, None where it does something else
    nn.Flatten: lambda layer: (
        BitNetMCU.Flatten() if (layer.start_dim, layer.end_dim) in ((1, -1), (1, 3)) else None
    ),
    nn.Unflatten: lambda layer: (
        BitNetMCU.Unflatten(layer.unflattened_size)
        if layer.dim == 1 and len(layer.unflattened_size) == 3
        else None
    ),
}


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


def _flatten(name, layers):
    """The layers of nested nn.Sequentials in their order, each only once."""
    seen = set()

    def walk(sequence):
        kind = type(sequence)
        if kind.forward is not nn.Sequential.forward or "forward" in vars(sequence):
            raise UserError(
                f"model {name}: {kind.__name__} overrides forward(), which would not be exported; "
                "its layers must follow one another, as nn.Sequential runs them"
            )
        for layer in sequence:
            if isinstance(layer, nn.Sequential):
                _check_hooks(name, layer)
                yield from walk(layer)
            elif not isinstance(layer, nn.Identity):
                yield layer

    _check_hooks(name, layers)
    for index, layer in enumerate(walk(layers)):
        if id(layer) in seen and next(iter(layer.state_dict()), None):
            raise UserError(
                f"model {name}: layer {index} ({layer}) is there twice; weights that two layers "
                "share are not exported, so build a layer of its own for each"
            )
        seen.add(id(layer))
        yield layer


def _check_hooks(name, module):
    """Refuse hooks, which would run in training and not be exported."""
    if module._forward_hooks or module._forward_pre_hooks:
        raise UserError(
            f"model {name}: a {type(module).__name__} has a forward hook, which would not be "
            "exported; remove it"
        )


def _check_layers(name, layers):
    """Refuse what training would leave as it is, or what would be lost on export."""
    for index, layer in enumerate(layers):
        _check_hooks(name, layer)
        if parametrize.is_parametrized(layer):
            raise UserError(
                f"model {name}: layer {index} has parametrizations, which are not exported; "
                "leave them out"
            )
        for key, parameter in layer.named_parameters():
            if parameter.dtype != torch.float32:
                raise UserError(
                    f"model {name}: {key} of layer {index} ({layer}) is {parameter.dtype}; "
                    "training takes torch.float32"
                )
            if not parameter.requires_grad:
                raise UserError(
                    f"model {name}: {key} of layer {index} ({layer}) is frozen "
                    "(requires_grad=False), but training trains all layers; leave it trainable"
                )


def _own():
    """The layers of this project that have an integer form."""
    kinds = BitNetMCU.LAYERS.values()
    return [kind for kind in kinds if hasattr(kind, "reads") or issubclass(kind, BitNetMCU.SHAPING)]


def _supported(name, index, layer, settings: Settings):
    """`layer`, or what stands for it in the integer contract."""
    if type(layer) is nn.ReLU:
        if settings.QuantType == BitNetMCU.FLOAT:
            return layer
        if not isinstance(settings.activation_bits, int):
            raise UserError(
                f"model {name}: activation_bits must be one number for all nn.ReLU of a network of "
                "your own; write ShiftNormReLU(aware, bits) where a layer has others"
            )
        requantiser = BitNetMCU.REQUANTISERS[settings.requantiser]
        return requantiser(settings.shiftnorm_aware, settings.activation_bits)
    if type(layer) in AS_OURS:
        ours = AS_OURS[type(layer)](layer)
        if ours is None:
            raise UserError(
                f"model {name}: layer {index} is {layer}; use nn.Flatten() between maps and a "
                "BitLinear, nn.Unflatten(1, (channels, rows, columns)) in front of all layers"
            )
        return ours
    if type(layer) in (*_own(), *BitNetMCU.NORMED):
        return layer
    for kind in (*_own(), *BitNetMCU.NORMED):
        if isinstance(layer, kind):
            raise UserError(
                f"model {name}: layer {index} is a {type(layer).__name__}; what it changes in "
                f"{kind.__name__} would not be exported: use that class itself"
            )
    for kind, reason in NO_USE.items():
        if isinstance(layer, kind):
            raise UserError(
                f"model {name}: layer {index} is a {type(layer).__name__}; leave it out: {reason}"
            )
    raise UserError(
        f"model {name}: layer {index} is a {type(layer).__name__}, which has no integer form; "
        f"supported layers: {SUPPORTED}"
    )


def _fold_norms(name, layers):
    """`layers` with each norm of a batch made part of the layer in front of it."""
    result = []
    for index, layer in enumerate(layers):
        if type(layer) not in BitNetMCU.NORMED:
            result.append(layer)
            continue
        kind, both = BitNetMCU.NORMED[type(layer)]
        previous = result[-1] if result else None
        norm = type(layer).__name__
        if type(previous) is not kind or index == len(layers) - 1:
            raise UserError(
                f"model {name}: the {norm} at layer {index} cannot be folded into weights; it must "
                f"stand directly behind a {kind.__name__}, and not behind the last one"
            )
        outputs = len(previous.weight)
        if layer.num_features != outputs or layer.running_mean is None or layer.eps <= 0:
            raise UserError(
                f"model {name}: the {norm} at layer {index} must take the {outputs} outputs in "
                "front of it, track running statistics, and have an eps above 0"
            )
        result[-1] = both(previous, layer)
    return result


def _check_choices(name, layers, QuantType, WScale):
    """Refuse settings that the layers were not built with, instead of dropping them silently."""
    if not isinstance(QuantType, str):
        raise UserError(
            f"model {name} names the formats of its layers itself; give one QuantType, not a list"
        )
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
    shape, there, count = (inputs,), "activations", 0
    for index, layer in enumerate(modules):
        shaping = isinstance(layer, BitNetMCU.SHAPING)
        if getattr(layer, "reads", there if shaping else "accumulators") != there:
            break
        is_flatten = isinstance(layer, BitNetMCU.Flatten)
        behind = modules[index + 1] if index + 1 < len(modules) else None
        if is_flatten and (len(shape) == 1 or not isinstance(behind, BitNetMCU.BitLinear)):
            raise UserError(
                f"model {name}: nn.Flatten belongs between maps and the BitLinear that reads them; "
                "elsewhere leave it out: a sample comes as one row of values already"
            )
        if index and isinstance(layer, BitNetMCU.Unflatten):
            raise UserError(f"model {name}: nn.Unflatten belongs in front of all layers only")
        kind = type(layer).__name__.removeprefix("BatchNorm")
        count += isinstance(layer, BitNetMCU.BitLayer)
        got = "x".join(map(str, shape))
        try:
            ((_, shape),) = BitNetMCU.shapes_of([layer], shape)
        except ValueError as error:
            number = f" {count}" if isinstance(layer, BitNetMCU.BitLayer) else ""
            raise UserError(f"model {name}: {kind}{number} {error} but gets {got}")
        there = getattr(layer, "writes", there if shaping else "activations")
    else:
        if there == "accumulators" and isinstance(modules[-1], BitNetMCU.BitLinear):
            if shape != (classes,):
                raise UserError(
                    f"model {name}: the last layer has {shape[0]} outputs, the data has {classes} "
                    "classes"
                )
            return
    raise UserError(
        f"model {name}: layers with weights and ReLU must take turns, with a BitLinear at the end"
    )
