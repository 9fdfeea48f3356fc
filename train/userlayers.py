"""What the layers of a user's nn.Sequential become: this project's, which have an integer form."""

import contextlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

import BitNetMCU
from cli import UserError
from compiler.graph import UINT7
from train.settings import Settings

SUPPORTED = (
    "BitLinear, BitConv2d, BitConv1d, ReLU, ShiftNormReLU, FixedShiftReLU, Flatten, MaxPool1d or "
    "2d, AvgPool1d or 2d, AdaptiveMaxPool and AdaptiveAvgPool of all of a map, SumPool2d, "
    "Residual([...]), and BatchNorm1d or BatchNorm2d directly behind a BitLinear or BitConv2d"
)
NO_USE = {  # layers that people try, and why they are not needed
    BitNetMCU.MaskingLayer: "with prune_keep training puts masks where they belong",
    nn.Dropout: "the C has no use for it, and training with few bits is noise enough",
    nn.Softmax: "the loss applies it, and the class with the largest logit is the same without",
    nn.LogSoftmax: "the loss applies it, and the class with the largest logit is the same without",
}


@dataclass(frozen=True)
class _Pool:
    """A pool of a user's whose place says what it becomes, see `with_pools`.

    kind: "max" or "average"; kernel, stride: None for all of the map.
    """

    kind: str
    kernel: tuple | None = None
    stride: tuple | None = None


MAP_READERS = (BitNetMCU.BitConv2d, *BitNetMCU.POOLS, BitNetMCU.Residual, _Pool)


def _sizes(value, dimensions):
    """(rows, columns) of a setting of PyTorch, for a pool of one or two dimensions."""
    values = value if isinstance(value, tuple | list) else (value,) * dimensions
    return (*(1,) * (2 - len(values)), *values)


def _as_pool(kind, dimensions):
    """(layer of PyTorch) -> `_Pool`, None where it does more."""

    def convert(layer):
        padded = any(_sizes(layer.padding, dimensions)[2 - dimensions :])
        dilated = max(_sizes(getattr(layer, "dilation", 1), dimensions)) > 1
        divides = getattr(layer, "divisor_override", None) is not None
        indices = getattr(layer, "return_indices", False)
        if padded or dilated or divides or indices or layer.ceil_mode:
            return None
        kernel, stride = layer.kernel_size, layer.stride
        return _Pool(kind, _sizes(kernel, dimensions), _sizes(stride or kernel, dimensions))

    return convert


def _as_whole(kind):
    """(adaptive pool of PyTorch) -> `_Pool` of all of a map, None where it leaves more."""
    ones = (1, (1,), (1, 1), [1], [1, 1])
    return lambda layer: _Pool(kind) if layer.output_size in ones else None


def _as_flatten(layer):
    whole = (layer.start_dim, layer.end_dim) in ((1, -1), (1, 3))
    return BitNetMCU.Flatten() if whole else None


def _as_unflatten(layer):
    whole = layer.dim == 1 and len(layer.unflattened_size) == 3
    return BitNetMCU.Unflatten(layer.unflattened_size) if whole else None


POOLING = "pools without padding, dilation, ceil_mode, indices and divisors of their own"
WHOLE = "adaptive pools with an output size of 1"
SHAPES = (
    "nn.Flatten() between maps and a BitLinear, nn.Unflatten(1, (channels, rows, columns)) in "
    "front of all layers"
)
AS_OURS = {  # a layer of PyTorch -> (what becomes of it, None where it does something else; advice)
    nn.Flatten: (_as_flatten, SHAPES),
    nn.Unflatten: (_as_unflatten, SHAPES),
    nn.MaxPool2d: (_as_pool("max", 2), POOLING),
    nn.MaxPool1d: (_as_pool("max", 1), POOLING),
    nn.AvgPool2d: (_as_pool("average", 2), POOLING),
    nn.AvgPool1d: (_as_pool("average", 1), POOLING),
    nn.AdaptiveMaxPool2d: (_as_whole("max"), WHOLE),
    nn.AdaptiveMaxPool1d: (_as_whole("max"), WHOLE),
    nn.AdaptiveAvgPool2d: (_as_whole("average"), WHOLE),
    nn.AdaptiveAvgPool1d: (_as_whole("average"), WHOLE),
}


def _own():
    """The layers of this project that have an integer form."""
    kinds = BitNetMCU.LAYERS.values()
    return [kind for kind in kinds if hasattr(kind, "reads") or issubclass(kind, BitNetMCU.SHAPING)]


def converted(name, layers, settings: Settings, is_whole=True):
    """`layers`, or what stands for them in the integer contract; is_whole: not those of a Residual.

    A pool may still be a `_Pool`.
    """
    found = [_converted(name, index, layer, settings) for index, layer in enumerate(layers)]
    return _fold_norms(name, found, is_whole)


def _residual(name, index, layer, settings: Settings):
    """A Residual around what stands for its layers."""
    where = f"model {name}: the Residual at layer {index}"
    inner = list(flattened(name, layer.layers))
    check_layers(name, inner)
    inner = converted(f"{name}, inside the Residual at layer {index}", inner, settings, False)
    if any(isinstance(each, BitNetMCU.ShiftNormReLU) for each in inner):
        raise UserError(
            f"{where} has a ShiftNorm inside, whose scale differs from sample to sample; train "
            "with requantiser=FixedShift"
        )
    if not inner or not isinstance(inner[-1], BitNetMCU.BitConv2d | BitNetMCU.BitLinear):
        raise UserError(f"{where} must end in a BitConv2d, with a ReLU behind the Residual")
    return BitNetMCU.Residual(inner)


def _converted(name, index, layer, settings: Settings):
    """`layer`, or what stands for it."""
    if type(layer) is BitNetMCU.Residual:
        return _residual(name, index, layer, settings)
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
        convert, advice = AS_OURS[type(layer)]
        ours = convert(layer)
        if ours is None:
            raise UserError(f"model {name}: layer {index} is {layer}; use {advice}")
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


def _fold_norms(name, layers, is_whole):
    """`layers` with each norm of a batch made part of the layer in front of it."""
    result = []
    for index, layer in enumerate(layers):
        if type(layer) not in BitNetMCU.NORMED:
            result.append(layer)
            continue
        kind, both = BitNetMCU.NORMED[type(layer)]
        previous = result[-1] if result else None
        norm = type(layer).__name__
        if type(previous) is not kind or (is_whole and index == len(layers) - 1):
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


def with_pools(name, layers, shape, settings: Settings, bits=None):
    """`layers` with ours for each `_Pool`: for an average, a sum, requantised if of activations.

    shape: of what they read, of so many `bits` where that are activations, not inputs. Behind what
    cannot be read all is left as it is, for `usermodel` to say.
    """
    found, there = [], "activations"
    for layer in layers:
        made = [layer]
        if isinstance(layer, BitNetMCU.Residual):
            layer.layers = nn.Sequential(*with_pools(name, layer.layers, shape, settings, bits))
        elif isinstance(layer, _Pool):
            pool = BitNetMCU.MaxPool2d if layer.kind == "max" else BitNetMCU.SumPool2d
            made = [pool(layer.kernel or shape[1:] or 1, layer.stride)]
            if layer.kind == "average" and there == "activations":
                if bits is None:
                    raise UserError(
                        f"model {name}: an average pool cannot read the inputs; put it behind a "
                        "layer with weights, or give that a stride"
                    )
                is_float = settings.QuantType == BitNetMCU.FLOAT
                requantiser = BitNetMCU.REQUANTISERS[settings.requantiser]
                aware = settings.shiftnorm_aware
                made.append(nn.ReLU() if is_float else requantiser(aware, bits))
        elif isinstance(layer, (BitNetMCU.Requantiser, *BitNetMCU.ACTIVATIONS.values())):
            bits = getattr(layer, "bits", UINT7.bits)
        found += made
        there = what_is_behind(there, layer)
        with contextlib.suppress(ValueError):
            shape = list(BitNetMCU.shapes_of(made, shape))[-1][1]
    return found


def what_is_behind(there, layer):
    """Whether there are accumulators or activations behind a layer, if that is one that can read
    what is in front of it."""
    is_shaping = isinstance(layer, (*BitNetMCU.SHAPING, BitNetMCU.MaxPool2d, _Pool))
    return getattr(layer, "writes", there if is_shaping else "activations")


def flattened(name, layers):
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


def check_layers(name, layers):
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
