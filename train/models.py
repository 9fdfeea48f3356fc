"""The networks that settings can name: this project's, and users' own."""

import math
import re
from dataclasses import dataclass

from BitNetMCU import (
    ACTIVATIONS,
    FLOAT,
    REQUANTISERS,
    BitConv2d,
    BitLinear,
    Flatten,
    Network,
    Unflatten,
    shapes_of,
)
from cli import UserError
from compiler.graph import INT8
from train import data, measured, usermodel
from train.settings import Settings

BIASES = {  # bias: index of a layer -> whether it has one
    "none": lambda index: False,
    "first": lambda index: index == 0,
    "all": lambda index: True,
}

WIDEST = 4096
LAYER = (
    r"(?P<dense>dense)|conv (?P<rows>\d+)x(?P<columns>\d+)(/(?P<stride>\d+))?( pad (?P<pad>\d+))?"
)


@dataclass(frozen=True)
class Layer:
    """A layer of the setting `layers`: a convolution, or fully connected where `kernel` is None."""

    width: int
    kernel: tuple | None = None
    stride: int = 1
    padding: int = 0

    @classmethod
    def parse(cls, text):
        """Of "dense 64", "conv 7x7/3 32" or "conv 3x3 pad 1 16". Raises ValueError."""
        found = re.fullmatch(rf"({LAYER}) (?P<width>\d+)", " ".join(str(text).split()))
        if not found:
            raise ValueError(text)
        kernel = None if found["dense"] else (int(found["rows"]), int(found["columns"]))
        stride, padding = int(found["stride"] or 1), int(found["pad"] or 0)
        layer = cls(int(found["width"]), kernel, stride, padding)
        if not 1 <= layer.width <= WIDEST or stride < 1:
            raise ValueError(text)
        return layer

    def __str__(self):
        if self.kernel is None:
            return f"dense {self.width}"
        stride = f"/{self.stride}" if self.stride > 1 else ""
        padding = f" pad {self.padding}" if self.padding else ""
        return f"conv {self.kernel[0]}x{self.kernel[1]}{stride}{padding} {self.width}"


PRESETS = {  # model: its `layers`; None: fully connected, `widths` wide
    "FCMNIST": None,
    "WindowMNIST": ("conv 7x7/3 32", "conv 1x1 12", "dense 64"),
}
WIDTHS = (64, 64, 64)
SMALLEST_FOR_WINDOWS = 13  # pixels: three windows of 7, 3 apart, on each axis


def chain(inputs, classes, settings: Settings, image):
    """The `Network` of the layers that `settings` name, with a requantiser between each two.

    image: (channels, rows, columns) of an input that is an image, else None.
    """
    if isinstance(settings.layers, list):
        layers = [Layer.parse(text) for text in settings.layers]
    else:
        layers = [Layer(width) for width in settings.widths]
    layers.append(Layer(classes))
    formats = layer_formats(settings.QuantType, len(layers))
    bits = hidden_bits(settings.activation_bits, len(layers) - 1)
    has_bias = BIASES[settings.bias]
    shape, modules = (inputs,), []
    if layers[0].kernel:
        if image is None:
            raise UserError(
                f"layers='{layers[0]}' needs images; {settings.dataset} has measured values: begin "
                "with a dense layer, or use model=FCMNIST layers=auto"
            )
        modules.append(Unflatten(image))
        shape = image
    for index, (layer, QuantType) in enumerate(zip(layers, formats)):
        if index:
            modules.append(activation(settings, bits[index - 1]))
        made = module(layer, shape, QuantType, settings, has_bias(index))
        shape = shapes(settings, made, shape)[-1][1]
        modules += made
    return Network(modules, settings.NormType)


def module(layer, shape, QuantType, settings: Settings, bias):
    """The modules of a `Layer` that reads activations of `shape`."""
    options = {
        "maxw_algo": settings.maxw_algo,
        "maxw_quantscale": settings.maxw_quantscale,
        "WScale": settings.WScale,
        "bias": bias,
    }
    if layer.kernel is None:
        flat = [Flatten()] if len(shape) > 1 else []
        return [*flat, BitLinear(math.prod(shape), layer.width, QuantType, **options)]
    if len(shape) == 1:
        raise UserError(f"layers='{layer}' stands behind a dense layer, which leaves no map")
    geometry = {"stride": layer.stride, "padding": layer.padding}
    return [BitConv2d(shape[0], layer.width, layer.kernel, QuantType, **geometry, **options)]


def shapes(settings: Settings, modules, shape):
    """`BitNetMCU.shapes_of`, with a `UserError` for maps that are too small."""
    try:
        return list(shapes_of(modules, shape))
    except ValueError as error:
        raise UserError(
            f"a layer of {settings.layers} {error}, but gets {'x'.join(map(str, shape[1:]))}; use "
            "a smaller kernel or stride, or pad, or a larger image_size, or model=FCMNIST "
            "layers=auto"
        )


def unread(network, inputs):
    """A warning for each convolution whose windows leave out a part of what it reads."""
    shape, warnings = (inputs,), []
    for layer, after in shapes_of(network.layers, shape):
        if isinstance(layer, BitConv2d) and any(layer.unread(shape)):
            rows, columns = layer.unread(shape)
            kernel = "x".join(map(str, layer.kernel_size))
            warnings.append(
                f"windows of {kernel} leave out the last {rows} rows and {columns} columns of "
                f"{shape[1]}x{shape[2]}; use another image_size, kernel or stride if they matter"
            )
        shape = after
    return warnings


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


def build(settings: Settings, inputs, classes):
    """The network that `settings.model` names, for `inputs` values and `classes` classes.

    That is one of PRESETS or a user's own class as file.py:Class. Raises `UserError` for
    a class that is not known and for a combination that cannot be built.
    """
    name = settings.model
    is_measured = measured.is_measured(settings.dataset)
    image = None if is_measured else (1, settings.image_size, settings.image_size)
    if name in PRESETS:
        network = chain(inputs, classes, settings, image)
    elif ".py:" in name:
        network = usermodel.build(settings, inputs, classes, image)
    else:
        raise UserError(
            f"model '{name}' is not known; choose one of: {', '.join(PRESETS)}, or file.py:Class"
        )
    network.prepare((INT8 if is_measured else data.Pixels.of(settings).range).highest)
    return network
