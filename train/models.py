"""The networks that settings can name: this project's, and users' own."""

from BitNetMCU import (
    ACTIVATIONS,
    FLOAT,
    REQUANTISERS,
    BitConv2d,
    ChannelsLast,
    Network,
    Residual,
    Unflatten,
    shapes_of,
)
from cli import UserError
from compiler.graph import INT8
from train import data, measured, usermodel
from train.layers import Layer
from train.settings import Settings

BIASES = {  # bias: index of a layer -> whether it has one
    "none": lambda index: False,
    "first": lambda index: index == 0,
    "all": lambda index: True,
}

PRESETS = {  # model: its `layers`; None: fully connected, `widths` wide
    "FCMNIST": None,
    "WindowMNIST": ("conv 7x7/3 32", "conv 1x1 12", "dense 64"),
    "ConvMNIST": (
        "conv 3x3 pad 1 16",
        "maxpool 2x2",
        "conv 3x3 pad 1 24",
        "maxpool 2x2",
        "conv 3x3 32",
    ),
    "CNNMNIST": (
        "conv 3x3 64",
        "depthwise 3x3",
        "maxpool 2x2",
        "depthwise 3x3",
        "maxpool 2x2",
        "dense 96",
        "dense 64",
    ),
    "SequenceCNN": ("conv 9/4 16", "conv 5/2 16", "dense 32"),
}
WIDTHS = (64, 64, 64)
SMALLEST_FOR_WINDOWS = 13  # pixels: three windows of 7, 3 apart, on each axis


def layers_of(settings: Settings, classes):
    """The `Layer`s that `settings` name, with the last one."""
    if isinstance(settings.layers, list):
        layers = [Layer.parse(text) for text in settings.layers]
    else:
        layers = [Layer("dense", width) for width in settings.widths]
    return [*layers, Layer("dense", classes)]


def chain(inputs, classes, settings: Settings, shape):
    """The `Network` of the layers that `settings` name, with a requantiser between each two.

    shape: that of a sample, as PyTorch has it, (channels, rows, columns), if that is a map, else
    None.
    """
    layers = layers_of(settings, classes)
    count = sum(layer.has_weights for layer in layers)
    builder = _Builder(
        settings,
        layer_formats(settings.QuantType, count),
        hidden_bits(settings.activation_bits, count - 1),
        (inputs,),
    )
    if layers[0].reads_map:
        if shape is None:
            raise UserError(
                f"layers='{layers[0]}' needs a map; {settings.dataset} has {inputs} values that "
                "are none: begin with a dense layer, or use model=FCMNIST layers=auto"
            )
        builder.begin_with(shape)
    return Network(builder.built(layers), settings.NormType)


class _Builder:
    """Makes modules of `Layer`s, one after the other.

    formats, bits: of each layer with weights, and of the activations behind it. shape: of what the
    next one reads. Whether that is accumulators, and of which layer, says `pending`.
    """

    def __init__(self, settings, formats, bits, shape):
        self._settings, self._formats, self._bits = settings, formats, bits
        self._shape, self._index, self._pending, self._modules = shape, 0, False, []

    def begin_with(self, shape):
        """What the first layer reads is a map of `shape`, (channels, rows, columns)."""
        channels, *size = shape
        in_memory = ChannelsLast((*size, channels))
        self._modules = [Unflatten(shape) if channels == 1 else in_memory]
        self._shape = tuple(shape)

    def built(self, layers):
        """The modules of `layers`, of which the last one leaves accumulators."""
        layers, modules, self._modules = list(layers), self._modules, []
        while layers:
            layer = layers.pop(0)
            if layer.kind == "residual":
                inner, layers = layers[: layer.count], layers[layer.count :]
                modules += self._residual(layer, inner)
            else:
                modules += self._made(layer)
        return modules

    def _made(self, layer):
        if not layer.has_weights:
            return self._pool(layer)
        settings, before = self._settings, self._activation()
        options = {
            "maxw_algo": settings.maxw_algo,
            "maxw_quantscale": settings.maxw_quantscale,
            "WScale": settings.WScale,
            "bias": BIASES[settings.bias](self._index),
        }
        made = layer.module(self._shape, self._formats[self._index], **options)
        self._index += 1
        self._pending = True
        return [*before, *self._shaped(made)]

    def _pool(self, layer):
        """A pool of what is there: of accumulators, but an average of the activations that they
        become, as the sums of all of a map would take too much memory."""
        if layer.kind != "maxpool" and not self._index:
            raise UserError(
                f"layers='{layer}' cannot read the inputs; put it behind a layer with weights, or "
                "give that a stride"
            )
        before = self._activation() if layer.kind == "avgpool" else []
        made = layer.module(self._shape, None)
        if layer.kind == "avgpool":
            made.append(activation(self._settings, self._bits[self._index - 1]))
        elif layer.kind == "sumpool" and not self._pending:
            raise UserError(
                f"layers='{layer}' reads activations, of which it makes none; put it behind a "
                "convolution, or use avgpool"
            )
        return [*before, *self._shaped(made)]

    def _residual(self, layer, inner):
        before = self._activation()
        shape, first = self._shape, self._index
        kinds = [each.kind for each in inner]
        if len(inner) < layer.count or "residual" in kinds or "dense" in kinds or not inner:
            raise UserError(
                f"layers='{layer}' is not valid; {layer.count} convolutions or pools belong behind "
                "it, and at least one more layer behind those"
            )
        settings = self._settings
        inside = sum(each.has_weights for each in inner) > 1 or "avgpool" in kinds
        if inside and settings.QuantType != FLOAT and settings.requantiser == "ShiftNorm":
            raise UserError(
                f"layers='{layer}' adds what has one scale for all samples, which ShiftNorm inside "
                "has not; use requantiser=FixedShift"
            )
        body = self.built(inner)
        if not self._pending or self._index == first:
            raise UserError(f"layers='{layer}' ends in a pool; it takes a convolution as its last")
        made = Residual(body)
        self._shape = shape
        return [*before, *self._shaped([made])]

    def _activation(self):
        """The modules that make activations of the accumulators that are there, if any."""
        if not self._pending:
            return []
        self._pending = False
        return [activation(self._settings, self._bits[self._index - 1])]

    def _shaped(self, made):
        self._shape = shapes(self._settings, made, self._shape)[-1][1]
        return made


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
            left, size = f"{rows} rows and {columns} columns", f"{shape[1]}x{shape[2]}"
            if shape[1] == 1:  # a sequence
                left, size = f"{columns}", f"{shape[2]} positions in time"
            warnings.append(
                f"windows of {kernel} leave out the last {left} of {size}; use another size of "
                "samples, kernel or stride if they matter"
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


def map_shape(settings: Settings, sample):
    """(channels, rows, columns) of a sample of measured values of the shape `sample`, or of an
    image; None if it is no map: features, or more than two axes and channels."""
    if not measured.is_measured(settings.dataset):
        return (1, settings.image_size, settings.image_size)
    if not sample or not 2 <= len(sample) <= 3:
        return None
    *size, channels = sample
    return (channels, *(1, *size)[-2:])


def build(settings: Settings, inputs, classes, sample=None):
    """The network that `settings.model` names, for `inputs` values and `classes` classes.

    That is one of PRESETS or a user's own class as file.py:Class. sample: the shape of measured
    values, (time, channels) of a sequence. Raises `UserError` for a class that is not known and for
    a combination that cannot be built.
    """
    name = settings.model
    is_measured = measured.is_measured(settings.dataset)
    shape = map_shape(settings, sample)
    if name in PRESETS:
        network = chain(inputs, classes, settings, shape)
    elif ".py:" in name:
        network = usermodel.build(settings, inputs, classes, shape)
    else:
        raise UserError(
            f"model '{name}' is not known; choose one of: {', '.join(PRESETS)}, or file.py:Class"
        )
    network.prepare((INT8 if is_measured else data.Pixels.of(settings).range).highest)
    return network
