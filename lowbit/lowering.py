"""From a trained network to the graph of integer steps that is exported."""

from dataclasses import replace

import numpy as np

from BitNetMCU import (
    BitConv2d,
    BitLinear,
    ChannelsLast,
    FixedShiftReLU,
    Flatten,
    MaxPool2d,
    Residual,
    ShiftNormReLU,
    SumPool2d,
    Unflatten,
)
from cli import UserError
from compiler.graph import CALLER, INT8, INT32, LOCAL, UINT7, Graph, Range, Step, Tensor
from compiler.operators import verify
from lowbit.maps import Add, Convolution, Pool, Windows
from lowbit.operators import ROWS
from lowbit.rules import (
    FixedShift,
    IntegerLayer,
    ShiftNorm,
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
    chain.modules(network.layers)
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

    Only an `add` reads what was written before, too.

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

    def modules(self, modules):
        """What each of `modules` does, one after the other. Raises `UserError`."""
        for index, module in enumerate(modules):
            lower_module = MODULES.get(type(module))
            if lower_module is None or getattr(module, "format", True) is None:
                raise UserError(
                    f"layer {index} ({module}) has no integer form; only layers with an integer "
                    "QuantType, with ReLU and pools between them, can be exported"
                )
            lower_module(self, module)

    def step(self, kind, fields, *outputs, others=()):
        """A step that reads the last value, and `others`. outputs: the `Tensor`s that it writes."""
        places = range(len(self.tensors), len(self.tensors) + len(outputs))
        inputs = [self._value, *others]
        self.steps.append(Step(self.layers, kind, inputs, list(places), fields))
        self.tensors += outputs

    def linear(self, layer):
        """A fully connected `IntegerLayer`, which reads what is there."""
        self.layers += 1
        name = f"accumulators_{self.layers}"
        layer = replace(layer, reads=self.last.range)
        _check(self.layers, linear_bound(layer))
        accumulators = Tensor(name, (layer.outputs,), "int32", range=accumulator_range(layer))
        self.step("LINEAR", layer, accumulators)

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

    def convolution(self, layer, windows, groups=1):
        """An `IntegerLayer` over each of the `Windows` of the map that is there."""
        self.layers += 1
        layer = replace(layer, reads=self.last.range)
        _check(self.layers, linear_bound(layer))
        name, shape = f"accumulators_{self.layers}", (*windows.positions, layer.outputs)
        accumulators = Tensor(name, shape, "int32", range=accumulator_range(layer))
        self.step("CONVOLUTION", Convolution(layer, windows, groups), accumulators)

    def convolution_of(self, module):
        """That of a BitConv2d, with the weights of a window in the order of memory."""
        *size, channels = self.last.shape
        kernel, stride, padding = module.kernel_size, module.stride, module.padding
        layer = integer_layer(module)
        weights = layer.weights.reshape(layer.outputs, channels // module.groups, *kernel)
        weights = np.moveaxis(weights, 1, 3).reshape(layer.outputs, -1)
        windows = Windows(tuple(size), channels, kernel, stride, padding)
        self.convolution(replace(layer, weights=weights), windows, module.groups)

    def pool(self, kind, kernel, stride=None):
        """A "MAX_POOL", or "SUM_POOL", of the map that is there: of accumulators, or activations.

        stride: that of the kernel if None.
        """
        last = self.last
        *size, channels = last.shape
        fields = Pool(Windows(tuple(size), channels, kernel, stride or kernel), last.range)
        shape = (*fields.windows.positions, channels)
        dtype, ends = last.dtype, last.range
        if kind == "SUM_POOL":
            dtype, ends = "int32", fields.sums
            _check(self.layers, ends.largest)
        name = f"pool_{len(self.steps)}"
        kind = kind if last.dtype == "int8" else f"{kind}_32"
        self.step(kind, fields, Tensor(name, shape, dtype, range=ends))

    def add(self, value, shift):
        """Adds activations, `value` of the tensors, times 2^shift to accumulators."""
        fields = Add(self.last.size, shift, self.last.range, self.tensors[value].range)
        _check(self.layers, fields.writes.largest)
        sums = Tensor(f"sums_{len(self.steps)}", self.last.shape, "int32", range=fields.writes)
        self.step("ADD", fields, sums, others=[value])

    def residual_of(self, module):
        """What the layers of a Residual do, and what they read added to that."""
        value = self._value
        self.modules(module.layers)
        self.add(value, int(module.shift))

    def linear_of(self, module):
        """That of a BitLinear, with the weights for a map in the order of memory."""
        layer = integer_layer(module)
        if len(self.last.shape) == 3:
            rows, columns, channels = self.last.shape
            weights = layer.weights.reshape(layer.outputs, channels, rows * columns)
            layer = replace(layer, weights=weights.swapaxes(1, 2).reshape(layer.outputs, -1))
        self.linear(layer)

    def _new(self, name):
        """A name that no tensor has yet."""
        taken = any(tensor.name == name for tensor in self.tensors)
        return f"{name}_{len(self.steps)}" if taken else name

    def _activations(self, writes):
        name = self._new(f"activations_{self.layers}")
        return Tensor(name, self.last.shape, "int8", range=writes)

    def fixed_shift_relu(self, shift, writes=UINT7):
        """The same constant shift for all runs; writes: the `Range` of activations."""
        fields = FixedShift(self.last.size, shift, self.last.range, writes)
        _check(self.layers, rounding_bound(fields))
        self.step("FIXED_SHIFT_RELU", fields, self._activations(writes))

    def shiftnorm_relu(self, writes=UINT7):
        """A shift for each run, by its largest accumulator; writes: the `Range` of activations."""
        name = self._new(f"shift_{self.layers}")
        shift = Tensor(name, (1,), "uint32", range=Range(0, 31), storage=LOCAL)
        fields = ShiftNorm(self.last.size, self.last.range, writes)
        _check(self.layers, rounding_bound(fields))
        self.step("SHIFTNORM_RELU", fields, self._activations(writes), shift)

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


MODULES = {  # type of module -> (chain, module) that adds its steps
    Unflatten: lambda chain, module: chain.unflatten(*module.settings["shape"]),
    ChannelsLast: lambda chain, module: chain.as_map(module.size, module.channels),
    BitConv2d: Chain.convolution_of,
    MaxPool2d: lambda chain, module: chain.pool("MAX_POOL", module.kernel_size, module.stride),
    SumPool2d: lambda chain, module: chain.pool("SUM_POOL", module.kernel_size, module.stride),
    Residual: Chain.residual_of,
    Flatten: lambda chain, module: None,  # `linear_of` sees to the order of weights
    BitLinear: Chain.linear_of,
    ShiftNormReLU: lambda chain, module: chain.shiftnorm_relu(Range(0, module.highest)),
    FixedShiftReLU: lambda chain, module: chain.fixed_shift_relu(
        int(module.shift), Range(0, module.highest)
    ),
}
