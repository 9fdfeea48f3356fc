"""The networks that a configuration can name: this project's, and users' own."""

from BitNetMCU import ACTIVATIONS, FLOAT, BitLinear, Network, ShiftNormReLU
from cli import UserError
from train import usermodel

BIASES = {  # bias: index of a layer -> whether it has one
    "none": lambda index: False,
    "first": lambda index: index == 0,
    "all": lambda index: True,
}


class FCMNIST(Network):
    """A fully connected network with two or three hidden layers, `widths` wide."""

    def __init__(self, inputs, classes, config):
        sizes = [inputs, *config["widths"], classes]
        layers = []
        has_bias = BIASES[config["bias"]]
        formats = layer_formats(config)
        for index, (QuantType, size_in, size_out) in enumerate(zip(formats, sizes, sizes[1:])):
            if layers:
                layers.append(activation(config))
            layers.append(
                BitLinear(
                    size_in,
                    size_out,
                    QuantType,
                    config["maxw_algo"],
                    config["maxw_quantscale"],
                    config["WScale"],
                    has_bias(index),
                )
            )
        super().__init__(layers, config["NormType"])


def layer_formats(config):
    """The QuantType of each layer of a `config` with one for all, or a list of them."""
    given, layers = config["QuantType"], len(config["widths"]) + 1
    if isinstance(given, str):
        return [given] * layers
    if len(given) != layers:
        raise UserError(
            f"QuantType names {len(given)} formats for {layers} layers "
            f"({layers - 1} hidden and the last); name one for all, or one for each"
        )
    return given


def activation(config):
    """The module between two layers: a float activation by name, or the contract's."""
    if config["QuantType"] == FLOAT:
        return ACTIVATIONS[config["activation"]]()
    if config["activation"] != "ReLU":
        raise UserError(
            f"activation '{config['activation']}' is not part of the integer contract; "
            f"use activation=ReLU, or train a float network with QuantType={FLOAT}"
        )
    return ShiftNormReLU(aware=config["shiftnorm_aware"])


MODELS = {"FCMNIST": FCMNIST}


def build(config, inputs, classes):
    """The network that `config` (see config.py) names, for `inputs` values and `classes` classes.

    `config["model"]` is a class of MODELS or a user's own as file.py:Class. Raises `UserError` for
    a class that is not known and for a combination that cannot be built.
    """
    name = config["model"]
    if name in MODELS:
        return MODELS[name](inputs, classes, config)
    if ".py:" in name:
        return usermodel.build(name, inputs, classes, config)
    raise UserError(
        f"model '{name}' is not known; choose one of: {', '.join(MODELS)}, or file.py:Class"
    )
