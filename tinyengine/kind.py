"""What is known of an operator of TensorFlow Lite, and how its attributes are read from a file."""

from collections.abc import Callable
from dataclasses import dataclass, field

import tflite

from compiler.operators import Row, not_given
from compiler.selection import never
from tinyengine import kernelrows, words
from tinyengine.channels import Pruning

CLAMPS = {v: k for k, v in vars(tflite.ActivationFunctionType).items() if isinstance(v, int)}
PADDINGS = {v: k for k, v in vars(tflite.Padding).items() if isinstance(v, int)}


@dataclass(frozen=True)
class Kind:
    """An operator of TensorFlow Lite.

    shape: (operator, tensors) -> shape of the output, a list of shapes where there are several;
    raises ValueError for inputs that do not go together. describe: (operator, tensors) -> fields of
    its `Step`; raises ValueError for what cannot be executed exactly. row: what such steps compute.
    options: the table of the schema that its attributes stand in, and attributes, {name: how to
    read it}. inputs, outputs: how many it has, at least and at most; constants: which inputs are;
    either: which may be. dtypes: of its activations. weights_axis: along which the output channels
    of its weights lie, None if it has none. pruning: how its channels are, None if they are not.
    identity: fields -> whether it leaves all bytes as they are. other: fields -> (kind, fields) of
    a step that computes the same, and faster, None if there is none. macs: (operator, tensors) ->
    multiply-accumulates, where they do not follow from the axis of the weights. optional: which
    inputs may be absent, beside those behind the fewest. variables: which inputs are states, which
    it writes, too: they come behind the outputs of its step. intermediates: {name of an attribute:
    which of the operator's intermediates it is the index of}.
    """

    shape: Callable
    describe: Callable
    row: Row
    options: type | None = None
    attributes: dict = field(default_factory=dict)
    inputs: tuple = (1, 1)
    outputs: tuple = (1, 1)
    constants: tuple = ()
    either: tuple = ()
    dtypes: tuple = ("int8",)
    weights_axis: int | None = None
    pruning: Pruning | None = None
    identity: Callable = never
    other: Callable = not_given
    macs: Callable | None = None
    optional: tuple = ()
    variables: tuple = ()
    intermediates: dict = field(default_factory=dict)

    @property
    def colour(self):
        return self.row.colour

    def costs(self, graph, operator):
        """As of `Row`, of the model's operator: (multiply-accumulates, bytes of constants)."""
        tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
        constants = sum(tensor.data.nbytes for tensor in tensors if tensor.data is not None)
        if self.macs:
            return self.macs(operator, graph.tensors), constants
        if self.weights_axis is None:
            return 0, constants
        weights, output = tensors[1], graph.tensors[operator.outputs[0]]
        return output.size * weights.size // weights.shape[self.weights_axis], constants

    def details(self, graph, operator):
        """As of `Row`, of the model's operator."""
        return words.of_operator(operator, graph.tensors)


def row(kind, sizes, rule, **options):
    """The `Row` of steps of a kind that has kernels."""
    return Row(kind, sizes, rule, kernelrows.KERNELS[kind], words=words.of_fields, **options)


def copy_row(kind, sizes):
    """The `Row` of what leaves its bytes as they are: no step after lowering."""
    return Row(kind, sizes, lambda fields, x: x, ())


def plain(name):
    """How to read an attribute as it is."""
    return lambda options: getattr(options, name)()


def named(name, names):
    """How to read an attribute by its name in an enumeration of the schema."""

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
