"""Models of several operators: where folding, pruning and sharing of memory can go wrong.

`odd()` has graphs made by hand, `random_graphs()` any number of others.
"""

import math

import numpy as np
from tflite_models import ACTIVATIONS, Builder


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


IMAGE = (1, 4, 5, 8)
ODD = {
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
    "mean_of_all": (IMAGE, lambda b, x: b.mean(x, (0, 1, 2, 3), False)),
    "mean_of_one_dimension": ((4,), lambda b, x: b.mean(x, (0,), False)),
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


def random_graphs(seeds):
    """Yields (name, bytes of the model): chains with branches, one for each of the seeds."""
    for seed in seeds:
        builder = DeadBuilder(seed)
        sizes = builder.rng.integers(1, 8, 3).tolist()
        x = builder.value((1, *sizes), zero_point=int(builder.rng.choice([-128, 0, 5, 127])))
        values = [x]
        for _ in range(builder.rng.integers(2, 9)):
            values.append(_step(builder, values))
        last = builder.quantize(values[-1], values[-1].scale * 0.7)  # something that is not folded
        yield f"random_{seed}", builder.model(x, last)


def _step(b, values):
    """One more operator, on one of the last three values."""
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
    steps = (
        lambda: b.convolution(v, outputs, stride=stride, **window, **some),
        lambda: b.convolution(v, outputs, **some),
        lambda: b.convolution(v, channels, stride=square, depthwise=True, **window, **some),
        lambda: b.convolution(v, channels, (3, 3), depthwise=True, **some),
        lambda: b.convolution(v, 2 * channels, depthwise=True, **window, **some),
        lambda: b.average_pool(v, kernel, stride, padding, some["activation"]),
        lambda: b.add(v, other, max(v.scale, other.scale) * 1.7, **some),
        lambda: b.add(v, v, v.scale * 2, **some),
        lambda: b.pad(v, pads),
        lambda: b.reshape(v, (1, width, height, channels)),
        lambda: b.reshape(b.fully_connected(b.reshape(v, flat), outputs, **some), (1, outputs)),
        lambda: b.mean(v, (1, 2), True),
        lambda: b.transpose(v, (0, 2, 1, 3)),
        lambda: b.quantize(v, v.scale * 0.8),
    )
    return steps[rng.integers(len(steps))]()
