"""From a trained network to the graph of integer steps that is exported."""

from dataclasses import replace

import numpy as np

from BitNetMCU import BitConv2d, BitLinear, FixedShiftReLU, Flatten, ShiftNormReLU, Unflatten
from cli import UserError
from compiler.graph import CALLER, INT8, INT32, LOCAL, UINT7, Graph, Range, Step, Tensor
from compiler.operators import verify
from lowbit.operators import ROWS
from lowbit.rules import (
    Convolution,
    FixedShift,
    IntegerLayer,
    ShiftNorm,
    Windows,
    accumulator_range,
    linear_bound,
    rounding_bound,
)

IMAGES = UINT7  # pixels, halved
MEASURED = INT8


def lower(network, reads=MEASURED, name="network"):
    """The graph of a trained `BitNetMCU.Network` whose inputs are in the `Range` `reads`.

    Raises `UserError` for a layer or norm that has no integer rule, and for accumulators that
    could leave int32.
    """
    if not network.norm.homogeneous:
        raise UserError(
            f"NormType={network.NormType} subtracts means, which the integer contract has no rule "
            "for; train with NormType=RMS or NormType=Lin to export"
        )
    chain = Chain(name, network.inputs, reads)
    for index, module in enumerate(network.layers):
        lower_module = MODULES.get(type(module))
        if lower_module is None or getattr(module, "format", True) is None:
            raise UserError(
                f"layer {index} ({module}) has no integer form; only BitLinear and BitConv2d "
                "layers with an integer QuantType, and ReLU between them, can be exported"
            )
        lower_module(chain, index, module)
    return chain.graph()


def chain_of(layers, reads=MEASURED, name="network"):
    """The graph of fully connected `IntegerLayer`s with ShiftNorm and ReLU between them."""
    chain = Chain(name, layers[0].inputs, reads)
    for layer in layers:
        if layer is not layers[0]:
            chain.shiftnorm_relu()
        chain.linear(layer)
    return chain.graph()


class Chain:
    """A graph of steps one after the other, as it grows: each reads what the last one wrote.

    What a step writes has the shape (elements), or of a map (rows, columns, channels).
    """

    def __init__(self, name, inputs, reads):
        tensor = Tensor("input", (inputs,), "int8", range=reads, storage=CALLER)
        self.name, self.tensors, self.steps, self.layers = name, [tensor], [], 0

    @property
    def last(self):
        """The tensor that was written last, which the next step reads."""
        return self.tensors[self._value]

    @property
    def _value(self):
        return self.steps[-1].outputs[0] if self.steps else 0

    def add(self, kind, fields, *outputs):
        """A step that reads the last value. outputs: the `Tensor`s that it writes."""
        places = range(len(self.tensors), len(self.tensors) + len(outputs))
        self.steps.append(Step(self.layers, kind, [self._value], list(places), fields))
        self.tensors += outputs

    def linear(self, layer):
        """A fully connected `IntegerLayer`, which reads what is there."""
        self.layers += 1
        name = f"accumulators_{self.layers}"
        layer = replace(layer, reads=self.last.range)
        _check(self.layers, linear_bound(layer))
        accumulators = Tensor(name, (layer.outputs,), "int32", range=accumulator_range(layer))
        self.add("LINEAR", layer, accumulators)

    def as_map(self, size, channels):
        """The input is a map of `size`, (rows, columns)."""
        self.tensors[0] = replace(self.tensors[0], shape=(*size, channels))

    def unflatten(self, channels, rows, columns):
        """The input is a map, channel by channel."""
        if channels > 1:
            raise UserError(
                f"inputs of {channels} channels lie channel by channel, which no kernel reads; "
                "only maps of one channel can be exported"
            )
        self.as_map((rows, columns), channels)

    def convolution(self, layer, windows):
        """An `IntegerLayer` over each of the `Windows` of the map that is there."""
        self.layers += 1
        layer = replace(layer, reads=self.last.range)
        _check(self.layers, linear_bound(layer))
        name, shape = f"accumulators_{self.layers}", (*windows.positions, layer.outputs)
        accumulators = Tensor(name, shape, "int32", range=accumulator_range(layer))
        self.add("CONVOLUTION", Convolution(layer, windows), accumulators)

    def convolution_of(self, module):
        """That of a BitConv2d, with the weights of a window in the order of memory."""
        *size, channels = self.last.shape
        kernel, stride, padding = module.kernel_size, module.stride, module.padding
        layer = integer_layer(module)
        weights = layer.weights.reshape(layer.outputs, channels, *kernel)
        weights = np.moveaxis(weights, 1, 3).reshape(layer.outputs, -1)
        windows = Windows(tuple(size), channels, kernel, stride, padding)
        self.convolution(replace(layer, weights=weights), windows)

    def linear_of(self, module):
        """That of a BitLinear, with the weights for a map in the order of memory."""
        layer = integer_layer(module)
        if len(self.last.shape) == 3:
            rows, columns, channels = self.last.shape
            weights = layer.weights.reshape(layer.outputs, channels, rows * columns)
            layer = replace(layer, weights=weights.swapaxes(1, 2).reshape(layer.outputs, -1))
        self.linear(layer)

    def _activations(self, writes):
        name = f"activations_{self.layers}"
        return Tensor(name, self.last.shape, "int8", range=writes)

    def fixed_shift_relu(self, shift, writes=UINT7):
        """The same constant shift for all runs; writes: the `Range` of activations."""
        fields = FixedShift(self.last.size, shift, self.last.range, writes)
        _check(self.layers, rounding_bound(fields))
        self.add("FIXED_SHIFT_RELU", fields, self._activations(writes))

    def shiftnorm_relu(self, writes=UINT7):
        """A shift for each run, by its largest accumulator; writes: the `Range` of activations."""
        shift = Tensor(f"shift_{self.layers}", (1,), "uint32", range=Range(0, 31), storage=LOCAL)
        fields = ShiftNorm(self.last.size, self.last.range, writes)
        _check(self.layers, rounding_bound(fields))
        self.add("SHIFTNORM_RELU", fields, self._activations(writes), shift)

    def graph(self):
        """The `Graph`, whose last value the caller gets."""
        value = self._value
        tensors = list(self.tensors)
        tensors[value] = replace(tensors[value], name="logits", storage=CALLER)
        return verify(Graph(self.name, tensors, self.steps, [0], [value], ROWS))


def _check(number, bound):
    """Raises `UserError` if the layer of that number, or its rounding, could leave int32."""
    if bound > INT32.highest:
        raise UserError(
            f"layer {number} could reach {bound}, past int32 ({INT32.highest}); "
            "use fewer inputs or fewer bits of weights"
        )


def integer_layer(module):
    """The `IntegerLayer` of a `BitLinear` with an integer format."""
    weights = module.integer_weights().cpu().numpy().astype("int32")
    factors = None
    if module.factors is not None:
        factors = module.factors[:, 0].cpu().numpy().astype("int32")
    bias = module.integer_bias()
    if bias is not None:
        bias = bias.clamp(-(2**53), 2**53).cpu().numpy().astype("int64")  # too large is refused
    return IntegerLayer(module.format, weights, factors, bias)


MODULES = {  # type of module -> (chain, index, module) that adds its steps
    Unflatten: lambda chain, index, module: chain.unflatten(*module.settings["shape"]),
    BitConv2d: lambda chain, index, module: chain.convolution_of(module),
    Flatten: lambda chain, index, module: None,  # `linear_of` sees to the order of weights
    BitLinear: lambda chain, index, module: chain.linear_of(module),
    ShiftNormReLU: lambda chain, index, module: chain.shiftnorm_relu(Range(0, module.highest)),
    FixedShiftReLU: lambda chain, index, module: chain.fixed_shift_relu(
        int(module.shift), Range(0, module.highest)
    ),
}
