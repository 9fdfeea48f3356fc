"""Small models of several inputs and outputs, and of variables: where names, order and sharing of
memory can go wrong.

`ends()` has models made by hand, `random_ends()` any number of others. The activations of a random
one have the same scale and zero point, so that any of them can be joined.
"""

import math
from dataclasses import replace

import numpy as np
import tflite_copies
from ai_edge_litert import schema_py_generated as schema
from tflite_builder import PAIR_OPTIONS, Value
from tflite_graphs import DeadBuilder
from tflite_states import assign, beginning, call_once, handle, lstm, read, svdf

from tinyengine.oracle import serialised

SCALE, ZERO_POINT = 0.05, 3
LARGEST = 300  # elements of a tensor that a random step joins with others
LOOKUPS = {
    "RELU": (SCALE, ZERO_POINT),  # into the range of what it reads
    "RELU6": (SCALE, ZERO_POINT),
    "HARD_SWISH": (SCALE, ZERO_POINT),
    "TANH": (1 / 128, 0),
}


class EndsBuilder(DeadBuilder):
    """A builder of models with any number of inputs, outputs and variables."""

    def __init__(self, seed):
        super().__init__(seed)
        self.inputs, self.first = [], {}  # {name of a variable: its first value}

    def input(self, shape=(1, 8), scale=SCALE, zero_point=ZERO_POINT, dtype=np.int8):
        """One more input of the model."""
        self.inputs.append(self.value(shape, scale, zero_point, dtype))
        return self.inputs[-1]

    def without_scale(self, dtype, shape=(1, 8)):
        """An activation that is not quantised."""
        return Value(self._tensor(shape, dtype), shape, np.float32(1), 0)

    def kept(self, name, like):
        """(A variable with a random first value, what is read of it), of the shape of `like`."""
        if not self.first:
            call_once(self)
        self.first[name] = self.rng.integers(-128, 128, like.shape)
        variable = handle(self, name)
        return variable, read(self, variable, like)

    def finished(self, outputs):
        """The bytes of the model."""
        content = self.model(outputs[0], outputs[0])
        if self.first:
            content = beginning(self, content, self.first)
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(content, 0))
        graph = model.subgraphs[0]
        graph.inputs = [value.index for value in self.inputs]
        graph.outputs = [value.index for value in outputs]
        return serialised(model)


def double(b, x):
    """Another value that can be joined with x, or assigned in its place."""
    return b.pair("ADD", x, x, SCALE, zero_point=ZERO_POINT)


def dequantized(b, x):
    return b.operator("DEQUANTIZE", [x.index], b.without_scale(np.float32), "DequantizeOptions")


def state_of(b):
    """The first variable that an operator keeps by itself."""
    index = next(i for i, tensor in enumerate(b.tensors) if tensor.isVariable)
    return Value(index, tuple(b.tensors[index].shape), np.float32(1), 0)


def int64(b, values):
    """The index of a constant."""
    values = np.array(values, np.int64)
    index = b.constant(values.view(np.int32))
    b.tensors[index].type, b.tensors[index].shape = schema.TensorType.INT64, [*values.shape]
    return index


def ends():
    """Yields (name, bytes of the model)."""
    for make in MADE:
        name = make.__name__.lstrip("_")
        builder = EndsBuilder(len(name))
        yield name, builder.finished(make(builder))


# --- inputs and outputs


def _two_outputs_of_one_tensor(b):
    y = b.quantize(b.input(), 0.07, 5)
    return [y, b.reshape(y, (2, 4))]


def _an_input_as_output(b):
    x = b.input()
    return [b.quantize(x, 0.07, 5), b.reshape(x, (2, 4))]


def _an_input_that_is_transposed_and_an_output(b):
    x = b.input((1, 4, 3))
    return [b.quantize(b.transpose(x, (0, 2, 1)), 0.07, 1), b.reshape(x, (12,))]


def _a_float_output_of_another_one(b):
    y = b.quantize(b.input(), 0.07, 5)
    return [y, dequantized(b, y)]


def _a_float_output_of_an_input(b):
    x = b.input()
    return [b.quantize(x, 0.1, 1), dequantized(b, x)]


def _an_unread_input(b):
    x, _ = b.input(), b.input((1, 4))
    return [b.quantize(x, 0.07, 5)]


def _ends_of_all_types(b):
    x = b.input((1, 7), 0.0006, 0, np.int16)
    u = b.input((1, 5), 0.05, 100, np.uint8)
    y, wide = b.quantize(x, 0.1, 3), b.quantize(x, 0.3, 0, np.int32)
    z = b.quantize(u, 0.05, -28)
    return [wide, b.quantize(y, 0.07, 2), b.quantize(z, 0.06, 90, np.uint8), z]


# --- many parts, constants of 64 bits, and paddings


def _70_parts_of_which_two_are_read(b):
    parts = tflite_copies.unpack(b, b.input((1, 70, 2)), 1)
    return [b.pair("ADD", parts[0], parts[69], 0.1)]


def _70_parts_in_another_order(b):
    parts = tflite_copies.split(b, b.input((1, 140)), 70, 1)
    return [tflite_copies.concatenation(b, parts[::-1], 1)]


def _paddings_of_64_bits(b):
    x = b.input((1, 4, 4, 2))
    padded = b.value((1, 6, 6, 2), SCALE, ZERO_POINT)
    paddings = int64(b, [[0, 0], [1, 1], [1, 1], [0, 0]])
    b.operator("PAD", [x.index, paddings], padded, "PadOptions")
    return [b.convolution(padded, 4, (3, 3), padding="VALID")]


def _padded_behind_a_reshape(b):
    """Rows and columns are others than those of the input."""
    x = b.reshape(b.input((1, 4, 6, 2)), (1, 6, 4, 2))
    return [b.convolution(b.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0))), 4, (3, 3))]


# --- operators that keep a state


def _a_state_as_output(b):
    return [svdf(b, b.input((1, 6)), 3), state_of(b)]


def _a_state_as_the_only_output(b):
    svdf(b, b.input((1, 6)), 3)
    return [state_of(b)]


def _an_unread_svdf(b):
    x = b.input((1, 6))
    svdf(b, x, 3)
    return [b.quantize(x, 0.1, 2)]


def _relu_behind_svdf(b):
    y = svdf(b, b.input((1, 6)), 3)
    return [b.quantize(b.lookup("RELU", y, y.scale, y.zero_point), 0.1, 2)]


def _relu_behind_lstm(b):
    y = lstm(b, b.input((1, 3, 6)), 4)
    return [b.pair("ADD", b.lookup("RELU", y, y.scale, y.zero_point), y, 0.1)]


def _svdf_joined(b):
    x = b.input((1, 6))
    y = svdf(b, x, 3)
    alike = y.scale, y.zero_point
    parts = [y, b.lookup("RELU", y, *alike), b.quantize(x, *alike)]
    return [tflite_copies.concatenation(b, parts, 1)]


# --- variables


def _a_sliding_buffer(b):
    """Joined in the memory of the variable itself."""
    x = b.input()
    variable, before = b.kept("kept", replace(x, shape=(1, 16)))
    y = b.quantize(before, 0.07, 5)
    rest = tflite_copies.slice_of(b, before, (0, 8), (1, 8))
    assign(b, variable, tflite_copies.concatenation(b, [rest, double(b, x)], 1))
    return [y]


def _a_variable_joined(b):
    x = b.input()
    variable, before = b.kept("kept", x)
    y = tflite_copies.concatenation(b, [before, b.quantize(x, SCALE, ZERO_POINT)], 1)
    assign(b, variable, double(b, x))
    return [y]


def _an_output_that_is_assigned(b):
    x = b.input()
    variable, before = b.kept("kept", x)
    y = b.pair("ADD", before, x, SCALE, zero_point=ZERO_POINT)
    assign(b, variable, y)
    return [y]


def _delayed_twice(b):
    """A variable is assigned what another one had."""
    x = b.input((1, 6))
    (one, before), (other, older) = b.kept("one", x), b.kept("other", x)
    y = b.pair("ADD", older, x, 0.1)
    assign(b, other, before)
    assign(b, one, double(b, x))
    return [y]


def _assigned_what_another_one_gets(b):
    x = b.input((1, 6))
    (one, _), (other, older) = b.kept("one", x), b.kept("other", x)
    y = b.pair("ADD", older, x, 0.1)
    assign(b, one, double(b, x))
    assign(b, other, read(b, one, x))
    return [y]


def _swapped(b):
    x = b.input((1, 6))
    (one, before), (other, older) = b.kept("one", x), b.kept("other", x)
    assign(b, one, older)
    assign(b, other, before)
    return [b.pair("SUB", before, x, 0.1)]


def _one_value_of_two_variables(b):
    x = b.input((1, 6))
    one, other, y = handle(b, "one"), handle(b, "other"), double(b, x)
    assign(b, one, y)
    assign(b, other, y)
    return [b.pair("SUB", read(b, one, x), read(b, other, x), 0.1)]


def _an_input_that_is_assigned(b):
    x, variable = b.input((1, 6)), handle(b, "kept")
    assign(b, variable, x)
    return [b.quantize(read(b, variable, x), 0.1)]


def _a_part_that_is_assigned(b):
    x, variable = b.input((1, 6)), handle(b, "kept")
    one, other = tflite_copies.split(b, x, 2, 1)
    assign(b, variable, other)
    return [b.pair("ADD", one, read(b, variable, one), 0.1)]


def _assigned_and_the_output(b):
    x, variable = b.input((1, 6)), handle(b, "kept")
    assign(b, variable, b.quantize(x, SCALE, ZERO_POINT))
    return [read(b, variable, x)]


def _assigned_through_a_reshape(b):
    x, variable = b.input((1, 6)), handle(b, "kept")
    y = double(b, x)
    assign(b, variable, b.reshape(y, (1, 6)))
    return [b.pair("ADD", read(b, variable, x), y, 0.1)]


def _assigned_and_never_read(b):
    x = b.input()
    assign(b, handle(b, "kept"), b.quantize(x, 0.07, 1))
    return [b.quantize(x, 0.1, 2)]


def _a_transposed_input_that_is_assigned_for_nothing(b):
    x, variable = b.input((1, 4, 4)), handle(b, "kept")
    assign(b, variable, x)
    read(b, variable, x)
    return [b.quantize(b.transpose(x, (0, 2, 1)), 0.1)]


MADE = (
    _two_outputs_of_one_tensor,
    _an_input_as_output,
    _an_input_that_is_transposed_and_an_output,
    _a_float_output_of_another_one,
    _a_float_output_of_an_input,
    _an_unread_input,
    _ends_of_all_types,
    _70_parts_of_which_two_are_read,
    _70_parts_in_another_order,
    _paddings_of_64_bits,
    _padded_behind_a_reshape,
    _a_state_as_output,
    _a_state_as_the_only_output,
    _an_unread_svdf,
    _relu_behind_svdf,
    _relu_behind_lstm,
    _svdf_joined,
    _a_sliding_buffer,
    _a_variable_joined,
    _an_output_that_is_assigned,
    _delayed_twice,
    _assigned_what_another_one_gets,
    _swapped,
    _one_value_of_two_variables,
    _an_input_that_is_assigned,
    _a_part_that_is_assigned,
    _assigned_and_the_output,
    _assigned_through_a_reshape,
    _assigned_and_never_read,
    _a_transposed_input_that_is_assigned_for_nothing,
)


# --- random ones


def random_ends(seeds):
    """Yields (name, bytes of the model), one for each of the seeds; each has something to compute.

    Half of its steps come before its variables are assigned, the others behind.
    """
    for seed in seeds:
        builder = EndsBuilder(seed)
        size = one_of(builder, ((4, 4), (4, 6), (2, 3), (6, 4)))
        shape = (1, *size, one_of(builder, (1, 2, 3, 4, 8)))
        inputs = [builder.input(shape) for _ in range(one_of(builder, (1, 1, 2, 3)))]
        before, assigned = one_of(builder, KEEPING)(builder, inputs[0])
        values, steps = [*inputs, *before], range(builder.rng.integers(2, 6))
        for _ in steps:
            values += _step(builder, values)
        alike = [value for value in values if value.shape == shape]
        values += assigned(one_of(builder, alike))
        for _ in steps:
            values += _step(builder, values)
        yield f"ends_{seed}", builder.finished(_outputs(builder, values))


def one_of(b, things):
    return things[b.rng.integers(len(things))]


def _outputs(b, values):
    """1 to 4 of the values, in any order; the last one follows from an operator that is not folded,
    others may be one tensor in several shapes, or an input."""
    chosen = [value for value in values if value not in b.inputs and b.rng.random() < 0.15][-2:]
    chosen.append(_last(b, values[-1]))
    if b.rng.random() < 0.4:
        again = one_of(b, [*chosen, *b.inputs])
        chosen.append(b.reshape(again, (math.prod(again.shape), 1)))
    return [chosen[i] for i in b.rng.permutation(len(chosen))]


def _last(b, x):
    steps = (
        lambda: b.quantize(x, 0.07, 5),
        lambda: b.lookup("TANH", x, 1 / 128, 0),
        lambda: tflite_copies.concatenation(b, [x, x], 1),
    )
    return one_of(b, steps)()


# What a model keeps: (builder, value) -> (values that it begins a run with, function that assigns
# a value of that shape and returns more values).


def _nothing(b, x):
    return [], lambda y: []


def _one(b, x):
    variable, before = b.kept("one", x)

    def assigned(y):
        assign(b, variable, y)
        return []

    return [before], assigned


def _one_that_is_read_behind(b, x):
    """Which needs no value before the first run."""

    def assigned(y):
        variable = handle(b, "one")
        assign(b, variable, y)
        return [read(b, variable, x)]

    return [], assigned


def _two(choose):
    """choose: (value, what the two had) -> what they get."""

    def keep(b, x):
        variables, before = zip(b.kept("one", x), b.kept("other", x))

        def assigned(y):
            for variable, value in zip(variables, choose(y, *before)):
                assign(b, variable, value)
            return []

        return before, assigned

    return keep


def _last_rows(b, x):
    """A buffer to which each run adds rows."""
    _, height, *others = x.shape
    variable, before = b.kept("one", replace(x, shape=(1, height + 1, *others)))

    def assigned(y):
        rows = tflite_copies.concatenation(b, [before, y], 1)
        begin = (0, height, 0, 0)
        assign(b, variable, tflite_copies.slice_of(b, rows, begin, before.shape))
        return [rows]

    return [before], assigned


KEEPING = (
    _nothing,
    _nothing,
    _one,
    _one_that_is_read_behind,
    _two(lambda y, one, other: (y, y)),
    _two(lambda y, one, other: (y, one)),  # a delay line
    _two(lambda y, one, other: (other, one)),
    _last_rows,
)


def _step(b, values):
    """What one more operator writes, on one of the values, mostly a late one."""
    late = b.rng.random() < 0.7
    x = one_of(b, values[-4:] if late else values)
    steps = _steps_of_any_shape(b, x, values)
    if len(x.shape) == 4:
        steps += _steps_of_images(b, x)
    if math.prod(x.shape) < LARGEST:
        steps += [lambda: _joined(b, x, values)] * 3
    written = one_of(b, steps)()
    return [_alike(b, y) for y in (written if isinstance(written, list) else [written])]


def _alike(b, y):
    """y with the scale and the zero point of all others."""
    if (y.scale, y.zero_point) == (np.float32(SCALE), ZERO_POINT):
        return y
    return b.quantize(y, SCALE, ZERO_POINT)


def _steps_of_any_shape(b, x, values):
    other = one_of(b, [value for value in values if value.shape == x.shape])
    kind, lookup = one_of(b, list(PAIR_OPTIONS)), one_of(b, list(LOOKUPS))
    axis = int(b.rng.integers(1, len(x.shape)))
    begin = [1 if i == axis else 0 for i in range(len(x.shape))]
    steps = [
        lambda: b.quantize(x, SCALE, ZERO_POINT),
        lambda: b.lookup(lookup, x, *LOOKUPS[lookup]),
        lambda: b.pair(kind, x, other, SCALE, zero_point=ZERO_POINT),
        lambda: b.pair(kind, x, other, SCALE, zero_point=ZERO_POINT),
        lambda: b.pair("MUL", x, b.lookup("LOGISTIC", x, 1 / 256, -128), SCALE),
        lambda: b.reshape(x, (1, math.prod(x.shape))),
        lambda: b.reshape(x, (1, x.shape[-1], *x.shape[1:-1])),
        lambda: tflite_copies.reverse(b, x, (len(x.shape) - 1,)),
    ]
    if x.shape[axis] > 1:
        steps += [
            lambda: tflite_copies.split_v(b, x, (1, -1), axis),
            lambda: tflite_copies.slice_of(b, x, begin, [-1] * len(begin)),
        ]
    if x.shape[axis] % 2 == 0:
        steps += [lambda: tflite_copies.split(b, x, 2, axis)]
    return steps


def _steps_of_images(b, x):
    kind = one_of(b, ("AVERAGE_POOL_2D", "MAX_POOL_2D"))
    kernel, stride = one_of(b, ((1, 1), (3, 3))), one_of(b, ((1, 1), (2, 2), (1, 2)))
    padding = one_of(b, ("SAME", "VALID")) if min(x.shape[1:3]) > 1 else "SAME"
    square, activation = (stride[0],) * 2, one_of(b, ("NONE", "RELU", "RELU6"))
    paddings = ((0, 0), (one_of(b, (0, 1)), 1), (0, 1), (0, 0))
    return [
        lambda: b.pool(kind, x, (2, 2), stride, padding),
        lambda: b.convolution(x, x.shape[3], (3, 3), square, depthwise=True, activation=activation),
        lambda: b.convolution(x, one_of(b, (x.shape[3], 4)), kernel, activation=activation),
        lambda: b.transpose(x, one_of(b, ((0, 2, 1, 3), (0, 3, 1, 2)))),
        lambda: b.pad(x, paddings),
        lambda: b.softmax(x),
    ]


def _joined(b, x, values):
    """With others that fit along a dimension, mostly along the rows, and a constant at times."""
    axis = 1 if b.rng.random() < 0.5 else int(b.rng.integers(1, len(x.shape)))

    def across(value):
        return value.shape[:axis], value.shape[axis + 1 :]

    fit = [value for value in values if across(value) == across(x)]
    parts = [x, *(one_of(b, fit) for _ in range(b.rng.integers(1, 3)))]
    parts = [parts[i] for i in b.rng.permutation(len(parts))]
    constants = {1: 2} if b.rng.random() < 0.15 else {}
    return tflite_copies.concatenation(b, parts, axis, constants)
