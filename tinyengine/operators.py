"""The operators of TensorFlow Lite that the compiler takes: all that is known of each in one row.

A new one is a row here, with a shape rule, the fields of its description in C, its exact rule, and
a plain kernel (CONTRIBUTING.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import tflite

from compiler import operators
from compiler.operators import Row
from tinyengine import channels, descriptions, kernelrows, measures, rules, shapes, words
from tinyengine.channels import Pruning

CLAMPS = {v: k for k, v in vars(tflite.ActivationFunctionType).items() if isinstance(v, int)}
PADDINGS = {v: k for k, v in vars(tflite.Padding).items() if isinstance(v, int)}


@dataclass(frozen=True)
class Kind:
    """An operator of TensorFlow Lite.

    shape: (attributes, shapes of the inputs, tensors, operator) -> shape of the output. describe:
    (operator, tensors) -> fields of its `Step`. row: what such steps compute. options: the table of
    the schema that its attributes stand in, and attributes, {name: how to read it}. inputs: how
    many it has, at least and at most; constants: which of them are. weights_axis: along which the
    output channels of its weights lie, None if it has none. pruning: how its channels are, None if
    they are not.
    """

    shape: Callable
    describe: Callable
    row: Row
    options: type | None = None
    attributes: dict = field(default_factory=dict)
    inputs: tuple = (1, 1)
    constants: tuple = ()
    weights_axis: int | None = None
    pruning: Pruning | None = None

    @property
    def colour(self):
        return self.row.colour

    def costs(self, graph, operator):
        """As of `Row`, of the model's operator: (multiply-accumulates, bytes of constants)."""
        tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
        constants = sum(tensor.data.nbytes for tensor in tensors if tensor.data is not None)
        if self.weights_axis is None:
            return 0, constants
        weights, output = tensors[1], graph.tensors[operator.outputs[0]]
        return output.size * weights.size // weights.shape[self.weights_axis], constants

    def details(self, graph, operator):
        """As of `Row`, of the model's operator."""
        return words.of_operator(operator, graph.tensors)


def plain(name):
    return lambda options: getattr(options, name)()


def named(name, names):
    def read(options):
        value = getattr(options, name)()
        if value not in names:
            raise ValueError(f"{name} is {value}")
        return names[value]

    return read


STRIDES = {"stride_y": plain("StrideH"), "stride_x": plain("StrideW")}
DILATIONS = {
    "dilation_y": plain("DilationHFactor"),
    "dilation_x": plain("DilationWFactor"),
}
CLAMP = {"activation": named("FusedActivationFunction", CLAMPS)}
PADDING = {"padding": named("Padding", PADDINGS)}


def _row(kind, sizes, rule, **options):
    return Row(kind, sizes, rule, kernelrows.KERNELS[kind], words=words.of_fields, **options)


# What leaves its bytes as they are is no step after lowering.
def _copy(kind):
    return Row(kind, measures.same_sizes, lambda fields, x: x, ())


CONVOLUTION = STRIDES | DILATIONS | PADDING | CLAMP
_KINDS = (
    Kind(
        shapes.add,
        descriptions.add,
        _row("ADD", measures.add_sizes, rules.add, colour="#fbe3b4"),
        tflite.AddOptions,
        CLAMP,
        inputs=(2, 2),
    ),
    Kind(
        shapes.pool,
        descriptions.average_pool_2d,
        _row(
            "AVERAGE_POOL_2D",
            measures.image_sizes,
            rules.average_pool_2d,
            bound=measures.average_pool_2d_bound,
        ),
        tflite.Pool2DOptions,
        STRIDES
        | PADDING
        | CLAMP
        | {"window_y": plain("FilterHeight"), "window_x": plain("FilterWidth")},
        pruning=channels.AVERAGE_POOL_2D,
    ),
    Kind(
        shapes.convolution,
        descriptions.conv_2d,
        _row(
            "CONV_2D",
            measures.image_sizes,
            rules.conv_2d,
            bound=measures.convolution_bound,
            macs=measures.window_macs,
            weights=measures.weight_bytes,
            colour="#cfe0f3",
        ),
        tflite.Conv2DOptions,
        CONVOLUTION,
        inputs=(2, 3),
        constants=(1, 2),
        weights_axis=0,
        pruning=channels.CONV_2D,
    ),
    Kind(
        shapes.depthwise,
        descriptions.depthwise_conv_2d,
        _row(
            "DEPTHWISE_CONV_2D",
            measures.image_sizes,
            rules.depthwise_conv_2d,
            bound=measures.depthwise_bound,
            macs=measures.window_macs,
            weights=measures.weight_bytes,
            colour="#d3ebd0",
        ),
        tflite.DepthwiseConv2DOptions,
        CONVOLUTION,
        inputs=(2, 3),
        constants=(1, 2),
        weights_axis=3,
        pruning=channels.DEPTHWISE_CONV_2D,
    ),
    Kind(shapes.same, descriptions.copy, _copy("DEQUANTIZE")),
    Kind(
        shapes.fully_connected,
        descriptions.fully_connected,
        _row(
            "FULLY_CONNECTED",
            measures.fully_connected_sizes,
            rules.fully_connected,
            bound=measures.convolution_bound,
            macs=measures.fully_connected_macs,
            weights=measures.weight_bytes,
            colour="#e2d6ef",
        ),
        tflite.FullyConnectedOptions,
        CLAMP | {"keep_dims": plain("KeepNumDims"), "weights_format": plain("WeightsFormat")},
        inputs=(2, 3),
        constants=(1, 2),
        weights_axis=0,
        pruning=channels.FULLY_CONNECTED,
    ),
    Kind(
        shapes.mean,
        descriptions.mean,
        _row("MEAN", measures.mean_sizes, rules.mean, bound=measures.mean_bound),
        tflite.ReducerOptions,
        {"keep_dims": plain("KeepDims")},
        inputs=(2, 2),
        constants=(1,),
    ),
    Kind(
        shapes.pad,
        descriptions.pad,
        _row("PAD", measures.pad_sizes, rules.pad),
        inputs=(2, 2),
        constants=(1,),
    ),
    Kind(
        shapes.same,
        descriptions.quantize,
        _row("QUANTIZE", measures.same_sizes, rules.quantize),
    ),
    Kind(
        shapes.reshape,
        descriptions.reshape,
        _copy("RESHAPE"),
        inputs=(1, 2),
        constants=(1,),
    ),
    Kind(
        shapes.same,
        descriptions.softmax,
        _row("SOFTMAX", measures.softmax_sizes, rules.softmax, bound=measures.softmax_bound),
        tflite.SoftmaxOptions,
        {"beta": plain("Beta")},
    ),
    Kind(
        shapes.transpose,
        descriptions.transpose,
        _row("TRANSPOSE", measures.transpose_sizes, rules.transpose),
        inputs=(2, 2),
        constants=(1,),
    ),
)
KINDS = {kind.row.kind: kind for kind in _KINDS}
ROWS = operators.table(*(kind.row for kind in KINDS.values()))
assert len(KINDS) == len(_KINDS)
assert kernelrows.KERNELS.keys() == {kind for kind, row in ROWS.items() if row.kernels}
