"""Models of several operators: where folding, pruning and sharing of memory can go wrong.

`odd()` has graphs made by hand, `random_graphs()` any number of others.
"""

import math

import numpy as np
import tflite_convolutions
import tflite_copies
from tflite_builder import ACTIVATIONS, FUSED, PAIR_OPTIONS, Builder
from tflite_states import lstm, svdf


def odd():
    """Yields (name, bytes of the model)."""
    for name, (shape, build) in ODD.items():
        builder = Builder(len(name))
        x = builder.value(shape)
        yield name, builder.model(x, build(builder, x))


def _pad(before_y, after_y, before_x, after_x):
    return ((0, 0), (before_y, after_y), (before_x, after_x), (0, 0))


def _pad_of_two_kinds(b, x):
    padded = b.pad(x, _pad(1, 1, 1, 1))
    pooled = b.average_pool(padded, (3, 3), (1, 1), "SAME")
    one, two = b.convolution(padded, 4, (3, 3)), b.convolution(pooled, 4, (3, 3))
    return b.add(one, two, one.scale * 2)


def _read_behind_the_output(b, x):
    y = b.convolution(x, 4, (3, 3))
    b.quantize(y, 0.3)
    return y


def _unread(b, x):
    y = b.reshape(x, (160,))
    b.quantize(x, 0.3)
    return b.softmax(y)


def _transposed_input_read_twice(b, x):
    y = b.convolution(b.transpose(x, (0, 2, 1, 3)), 8)
    z = b.convolution(x, 8)
    return b.add(y, b.transpose(z, (0, 2, 1, 3)), y.scale * 2)


def _relu(b, x):
    return b.lookup("RELU", x, x.scale, x.zero_point)


def _relu_behind(build):
    """RELU of what `build` gives, with the same scale and zero point."""
    return lambda b, x: _relu(b, build(b, b.quantize(x, 0.03, 4)))


def _relu_read_twice(b, x):
    y = b.convolution(x, 8)
    return b.add(y, b.lookup("TANH", _relu(b, y), 1 / 128, 0), y.scale * 2)


def _lookups(b, x):
    y = b.lookup("HARD_SWISH", b.lookup("RELU6", b.convolution(x, 8)), x.scale * 0.3)
    return b.lookup("LOGISTIC", b.quantize(b.reshape(y, (1, 160))), 1 / 256, -128)


def _copies_of_copies(b, x):
    """Some are one copy, as an image that is made larger by repeating rows and then columns."""
    rows = tflite_copies.tile(b, b.reshape(x, (1, 4, 1, 5, 8)), (1, 1, 2, 1, 1))
    columns = tflite_copies.tile(b, b.reshape(rows, (1, 8, 5, 1, 8)), (1, 1, 1, 2, 1))
    larger = b.reshape(columns, (1, 8, 10, 8))
    cropped = tflite_copies.cropping(b, tflite_copies.reverse(b, larger, (1, 2)), 1, 2, 3, 0)
    return b.transpose(tflite_copies.resize(b, cropped, (3, 4), True), (0, 2, 3, 1))


def _copies_of_nothing(b, x):
    """All but the last leave the bytes as they are."""
    y = tflite_copies.reverse(b, tflite_copies.reverse(b, x, (1,)), (1,))
    y = tflite_copies.concatenation(b, [tflite_copies.split(b, y, 1, 2)[0]], 1)
    y = tflite_copies.tile(b, tflite_copies.resize(b, y, x.shape[1:3], True), (1, 1, 1, 1))
    y = tflite_copies.gather(b, tflite_copies.slice_of(b, y, [0] * 4, [-1] * 4), range(5), 2)
    return b.quantize(y, 0.3)


def _copies_read_twice(b, x):
    y = tflite_copies.reverse(b, x, (1,))
    return tflite_copies.concatenation(b, [tflite_copies.reverse(b, y, (2,)), y], 2)


def _joined_twice(b, x):
    """All lie in the last output; what is read again, or is an output too, has its own place."""
    one, other = (b.lookup("RELU", b.convolution(x, 8), 0.1, 3) for _ in range(2))
    inner = tflite_copies.concatenation(b, [one, other], 1)
    third = b.lookup("RELU6", b.convolution(other, 8), 0.1, 3)
    return tflite_copies.concatenation(b, [third, inner, other], 1)


def _swish(b, x):
    """And hard swish, step by step: each is one table."""
    y = b.pair("MUL", x, b.lookup("LOGISTIC", x, 1 / 256, -128))
    six = b.lookup("RELU6", b.pair("ADD", y, b.constant_value(())))
    return b.pair("MUL", y, six)


IMAGE = (1, 4, 5, 8)
ODD = {
    "joined_twice": (IMAGE, _joined_twice),
    "swish": (IMAGE, _swish),
    "pad_reshape_convolution": (
        (1, 4, 4, 8),
        lambda b, x: b.convolution(b.reshape(b.pad(x, _pad(1, 1, 1, 1)), (1, 4, 9, 8)), 4, (3, 3)),
    ),
    "pad_reshape_depthwise": (
        (1, 4, 4, 8),
        lambda b, x: b.convolution(
            b.reshape(b.pad(x, _pad(1, 1, 1, 1)), (1, 4, 9, 8)), 8, (3, 3), depthwise=True
        ),
    ),
    "pad_before_same": (
        IMAGE,
        lambda b, x: b.convolution(
            b.pad(x, _pad(5, 1, 0, 6)), 8, (3, 3), (2, 2), depthwise=True, activation="RELU"
        ),
    ),
    "pad_wider_than_the_window": (
        IMAGE,
        lambda b, x: b.convolution(b.pad(x, _pad(6, 9, 5, 12)), 8, (3, 3), padding="VALID"),
    ),
    "pad_wider_than_the_window_depthwise": (
        IMAGE,
        lambda b, x: b.convolution(
            b.pad(x, _pad(6, 9, 5, 12)), 8, (3, 3), padding="VALID", depthwise=True
        ),
    ),
    "pad_pad_convolution": (
        IMAGE,
        lambda b, x: b.convolution(b.pad(b.pad(x, _pad(1, 1, 1, 1)), _pad(0, 1, 2, 1)), 4, (3, 3)),
    ),
    "pad_of_two_kinds": (IMAGE, _pad_of_two_kinds),
    "pad_of_nothing": (
        IMAGE,
        lambda b, x: b.softmax(b.reshape(b.pad(x, _pad(0, 0, 0, 0)), (4, 40))),
    ),
    "reshape_reshape": (
        IMAGE,
        lambda b, x: b.convolution(b.reshape(b.reshape(x, (1, 160)), IMAGE), 4, (3, 3)),
    ),
    "reshape_quantize": (
        IMAGE,
        lambda b, x: b.softmax(b.quantize(b.reshape(x, (4, 40)), x.scale, x.zero_point)),
    ),
    "reshape_reshape_output": (
        IMAGE,
        lambda b, x: b.reshape(b.reshape(b.convolution(x, 4), (1, 80)), (4, 20)),
    ),
    "transpose_input": (
        IMAGE,
        lambda b, x: b.convolution(b.transpose(x, (0, 2, 1, 3)), 4, (3, 3)),
    ),
    "transpose_input_read_twice": (IMAGE, _transposed_input_read_twice),
    "transpose_of_ones": (
        (1, 4, 1, 8),
        lambda b, x: b.softmax(b.reshape(b.transpose(x, (0, 2, 1, 3)), (4, 8))),
    ),
    "copies_of_copies": (IMAGE, _copies_of_copies),
    "copies_of_nothing": (IMAGE, _copies_of_nothing),
    "copies_read_twice": (IMAGE, _copies_read_twice),
    "mean_of_all": (IMAGE, lambda b, x: b.mean(x, (0, 1, 2, 3), False)),
    "mean_of_one_dimension": ((4,), lambda b, x: b.mean(x, (0,), False)),
    "relu_behind_convolution": (IMAGE, _relu_behind(lambda b, x: b.convolution(x, 4))),
    "relu_behind_relu6": (
        IMAGE,
        _relu_behind(lambda b, x: b.convolution(x, 8, (3, 3), depthwise=True, activation="RELU6")),
    ),
    "relu_behind_add": (IMAGE, _relu_behind(lambda b, x: b.add(x, b.convolution(x, 8), 0.1))),
    "relu_behind_max_pool": (
        IMAGE,
        _relu_behind(lambda b, x: b.pool("MAX_POOL_2D", x, (2, 2), activation="RELU_N1_TO_1")),
    ),
    "relu_behind_mean": (IMAGE, _relu_behind(lambda b, x: b.mean(x, (1, 2), True))),
    "relu_read_twice": (IMAGE, _relu_read_twice),
    "lookups": (IMAGE, _lookups),
    "max_pool_in_place": (
        (1, 8, 6, 6),
        lambda b, x: b.pool("MAX_POOL_2D", b.convolution(x, 6), (2, 2), (2, 2), "VALID"),
    ),
    "read_behind_the_output": (IMAGE, _read_behind_the_output),
    "unread": (IMAGE, _unread),
    "convolution_of_one_pixel": ((1, 1, 1, 8), lambda b, x: b.convolution(x, 5)),
}


class DeadBuilder(Builder):
    """A builder whose convolutions have large biases in a share of their channels, so that these
    saturate and are constant."""

    def __init__(self, seed):
        super().__init__(seed)
        self.dead = self.rng.choice([0, 0.5, 0.9, 1.0])

    def _weighted(self, x, shape, axis, *others):
        inputs, scale = super()._weighted(x, shape, axis, *others)
        buffer = self.buffers[self.tensors[inputs[2]].buffer]
        bias = np.frombuffer(buffer.data.tobytes(), np.int32).copy()
        scales = np.resize(self.tensors[inputs[1]].quantization.scale, bias.size)
        dead = self.rng.random(bias.size) < self.dead
        large = self.rng.choice([-1, 1, 0.3], bias.size) * scale * 600 / (float(x.scale) * scales)
        bias[dead] = np.clip(large, -(2**30), 2**30)[dead]
        buffer.data = np.frombuffer(bias.tobytes(), np.uint8)
        return inputs, scale


def random_graphs(seeds, name="random", more=None):
    """Yields (name, bytes of the model): chains with branches, one for each of the seeds.

    more: (builder, image) -> functions that add a step on it; half of all steps are of these.
    """
    for seed in seeds:
        builder = DeadBuilder(seed)
        sizes = builder.rng.integers(1, 8, 3).tolist()
        x = builder.value((1, *sizes), zero_point=int(builder.rng.choice([-128, 0, 5, 127])))
        values = [x]
        for _ in range(builder.rng.integers(2, 9)):
            values.append(_step(builder, values, more))
        last = builder.quantize(values[-1], values[-1].scale * 0.7)  # something that is not folded
        yield f"{name}_{seed}", builder.model(x, last)


def _pair(b, v, same, activation, zero_point):
    """An operator of an image and of another one, its means, or a constant, in any order."""
    rng, kind = b.rng, str(b.rng.choice(list(PAIR_OPTIONS)))
    repeated = [i for i, n in enumerate(v.shape) if n > 1 and rng.random() < 0.5]
    shape = [1 if i in repeated else n for i, n in enumerate(v.shape)]
    other = rng.integers(3)
    if other == 0:
        other = same
    elif other == 1 and repeated:
        other = b.mean(v, repeated, True)
    else:
        other = b.constant_value(shape)
    scale = max(v.scale, other.scale) * 1.7
    if kind in ("MUL", "PRELU", "SQUARED_DIFFERENCE"):
        scale *= max(v.scale, other.scale) * 30
    pair = (other, v) if kind != "PRELU" and rng.random() < 0.5 else (v, other)
    return b.pair(kind, *pair, scale, activation if kind in FUSED else "NONE", zero_point)


def random_copies(seeds):
    """The same, where half of the operators only move values."""
    return random_graphs(seeds, "copies", tflite_copies.random_steps)


def random_convolutions(seeds):
    """The same, with dilated and transposed convolutions, and such in groups."""
    return random_graphs(seeds, "convolutions", tflite_convolutions.random_steps)


def _step(b, values, more):
    """One more operator, on one of the last three values. more: as of `random_graphs`."""
    rng = b.rng
    v = values[rng.integers(max(0, len(values) - 3), len(values))]
    if len(v.shape) != 4:
        return b.reshape(v, (1, 1, 1, math.prod(v.shape)))
    _, height, width, channels = v.shape
    kernel, stride = rng.integers(1, 5, 2).tolist(), rng.integers(1, 4, 2).tolist()
    square = [stride[0]] * 2
    fits = kernel[0] <= height and kernel[1] <= width
    padding = str(rng.choice(["SAME", "VALID"])) if fits else "SAME"
    some = {
        "activation": str(rng.choice(ACTIVATIONS)),
        "zero_point": int(rng.choice([-128, -128, 0, 3, 127])),
    }
    window = {"kernel": kernel, "padding": padding}
    same = [u for u in values if u.shape == v.shape]
    other = same[rng.integers(len(same))]
    flat = (1, math.prod(v.shape))
    pads = _pad(*rng.integers(0, 3, 4).tolist())
    outputs = int(rng.integers(1, 10))
    convolutions = (
        lambda: b.convolution(v, outputs, stride=stride, **window, **some),
        lambda: b.convolution(v, outputs, **some),
        lambda: b.convolution(v, channels, stride=square, depthwise=True, **window, **some),
        lambda: b.convolution(v, channels, (3, 3), depthwise=True, **some),
        lambda: b.convolution(v, 2 * channels, depthwise=True, **window, **some),
    )
    others = (
        lambda: b.pool("AVERAGE_POOL_2D", v, kernel, stride, padding, some["activation"]),
        lambda: b.pool("MAX_POOL_2D", v, kernel, stride, padding, some["activation"]),
        lambda: b.lookup("RELU", v, v.scale, v.zero_point),
        lambda: b.lookup("RELU6", v),
        lambda: b.lookup("TANH", v, 1 / 128, 0),
        lambda: b.extreme("REDUCE_MAX", v, (1, 2), True),
        lambda: b.add(v, other, max(v.scale, other.scale) * 1.7, **some),
        lambda: b.add(v, v, v.scale * 2, **some),
        lambda: _pair(b, v, other, **some),
        lambda: _pair(b, v, other, **some),
        lambda: b.pad(v, pads),
        lambda: b.reshape(v, (1, width, height, channels)),
        lambda: b.reshape(b.fully_connected(b.reshape(v, flat), outputs, **some), (1, outputs)),
        lambda: b.mean(v, (1, 2), True),
        lambda: b.transpose(v, (0, 2, 1, 3)),
        lambda: b.quantize(v, v.scale * 0.8),
        lambda: b.reshape(svdf(b, b.reshape(v, flat), outputs, memory=3), (1, 1, 1, outputs)),
        lambda: b.reshape(
            lstm(b, b.reshape(v, (1, height * width, channels)), outputs),
            (1, height, width, outputs),
        ),
    )
    steps = convolutions if rng.random() < 0.5 else others  # half can have dead channels
    if more and rng.random() < 0.5:
        steps = more(b, v)
    return steps[rng.integers(len(steps))]()
