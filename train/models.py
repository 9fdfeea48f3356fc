"""The networks that settings can name: this project's, and users' own."""

from BitNetMCU import ACTIVATIONS, FLOAT, REQUANTISERS, BitLinear, Network
from cli import UserError
from compiler.graph import INT8
from train import data, measured, usermodel
from train.settings import Settings

BIASES = {  # bias: index of a layer -> whether it has one
    "none": lambda index: False,
    "first": lambda index: index == 0,
    "all": lambda index: True,
}


class FCMNIST(Network):
    """A fully connected network with two or three hidden layers, `widths` wide."""

    def __init__(self, inputs, classes, settings: Settings):
        sizes = [inputs, *settings.widths, classes]
        layers = []
        has_bias = BIASES[settings.bias]
        formats = layer_formats(settings.QuantType, len(sizes) - 1)
        bits = hidden_bits(settings.activation_bits, len(settings.widths))
        for index, (QuantType, size_in, size_out) in enumerate(zip(formats, sizes, sizes[1:])):
            if layers:
                layers.append(activation(settings, bits[index - 1]))
            layers.append(
                BitLinear(
                    size_in,
                    size_out,
                    QuantType,
                    settings.maxw_algo,
                    settings.maxw_quantscale,
                    settings.WScale,
                    has_bias(index),
                )
            )
        super().__init__(layers, settings.NormType)


def layer_formats(QuantType, layers):
    """The format of each of `layers` layers for a `QuantType` of one for all, or a list of them."""
    if isinstance(QuantType, str):
        return [QuantType] * layers
    if len(QuantType) != layers:
        raise UserError(
            f"QuantType names {len(QuantType)} formats for {layers} layers "
            f"({layers - 1} hidden and the last); name one for all, or one for each"
        )
    return QuantType


def hidden_bits(activation_bits, layers):
    """The bits of the activations of each of `layers` hidden layers: of all, or a list of them."""
    if isinstance(activation_bits, int):
        return [activation_bits] * layers
    if len(activation_bits) != layers:
        raise UserError(
            f"activation_bits names {len(activation_bits)} numbers for {layers} hidden layers; "
            "name one for all, or one for each"
        )
    return activation_bits


def activation(settings: Settings, bits):
    """The module between two layers: a float activation by name, or the contract's."""
    if settings.QuantType == FLOAT:
        return ACTIVATIONS[settings.activation]()
    if settings.activation != "ReLU":
        raise UserError(
            f"activation '{settings.activation}' is not part of the integer contract; "
            f"use activation=ReLU, or train a float network with QuantType={FLOAT}"
        )
    return REQUANTISERS[settings.requantiser](settings.shiftnorm_aware, bits)


MODELS = {"FCMNIST": FCMNIST}


def build(settings: Settings, inputs, classes):
    """The network that `settings.model` names, for `inputs` values and `classes` classes.

    That is a class of MODELS or a user's own as file.py:Class. Raises `UserError` for
    a class that is not known and for a combination that cannot be built.
    """
    name = settings.model
    if name in MODELS:
        network = MODELS[name](inputs, classes, settings)
    elif ".py:" in name:
        network = usermodel.build(settings, inputs, classes)
    else:
        raise UserError(
            f"model '{name}' is not known; choose one of: {', '.join(MODELS)}, or file.py:Class"
        )
    is_measured = measured.is_measured(settings.dataset)
    network.prepare((INT8 if is_measured else data.Pixels.of(settings).range).highest)
    return network
