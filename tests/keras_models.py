"""Everyday Keras models, untrained but seeded, and what TensorFlow makes of them: int8 .tflite.

`python tests/keras_models.py FOLDER` writes them all and prints the operators of each. Needs
TensorFlow, which is no requirement of the project: pip install tensorflow-cpu. Each model is
converted as its row of `MODELS` says: with the batch left open, as `from_keras_model` does it, or
with a batch of one.
"""

import contextlib
import functools
import io
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from ai_edge_litert import schema_py_generated as schema  # noqa: E402
from keras import layers as L  # noqa: E402

SAMPLES = 24  # to calibrate with


@dataclass(frozen=True)
class Spec:
    """build: () -> keras.Model; fixed: the batch is one; ends: the type of inputs and outputs."""

    build: object
    fixed: bool = True
    ends: object = tf.int8


MODELS = {}


def spec_of(function, *arguments, **options):
    """The `Spec` of a function -> (inputs, outputs)."""
    return Spec(lambda: keras.Model(*function(*arguments)), **options)


def model(**options):
    """Puts a function () -> (inputs, outputs) into `MODELS`, under its name."""

    def put(function):
        MODELS[function.__name__] = spec_of(function, **options)
        return function

    return put


def convolved(x, channels, kernel=3, activation="relu", **options):
    """Convolution without bias, batch normalisation, activation: as most write it."""
    x = L.Conv2D(channels, kernel, padding="same", use_bias=False, **options)(x)
    x = L.BatchNormalization()(x)
    return L.Activation(activation)(x) if isinstance(activation, str) else activation(x)


def classified(x, classes=10):
    return L.Dense(classes, activation="softmax")(x)


# --- images


@model()
def max_pooling():
    x = image = L.Input((28, 28, 1))
    for channels in (8, 16):
        x = L.Conv2D(channels, 3, activation="relu")(x)
        x = L.MaxPooling2D()(x)
    x = L.Dense(32, activation="relu")(L.Flatten()(x))
    return image, classified(x)


@model(fixed=False)
def max_pooling_open_batch():
    x = image = L.Input((32, 32, 3))
    x = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = L.MaxPooling2D(3, strides=2, padding="same")(x)
    x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = L.MaxPooling2D()(x)
    return image, classified(L.Dropout(0.5)(L.Flatten()(x)))


@model(fixed=False)
def separable():
    x = image = L.Input((32, 32, 3))
    x = convolved(x, 8, strides=2)
    for channels, strides in ((16, 1), (24, 2)):
        x = L.SeparableConv2D(channels, 3, strides=strides, padding="same", use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
    return image, classified(L.GlobalAveragePooling2D()(x))


@model()
def dilated():
    x = image = L.Input((24, 24, 3))
    for rate in (1, 2, 4):
        x = convolved(x, 8, dilation_rate=rate)
    x = L.DepthwiseConv2D(3, dilation_rate=2, padding="same", activation="relu")(x)
    return image, L.Conv2D(2, 1)(x)


@model(fixed=False)
def dilated_open_batch():
    x = image = L.Input((24, 24, 3))
    x = L.Conv2D(8, 3, dilation_rate=2, activation="relu")(x)
    x = L.Conv2D(8, 3, dilation_rate=3, padding="same", activation="relu")(x)
    return image, classified(L.GlobalAveragePooling2D()(x))


@model()
def residual():
    x = image = L.Input((32, 32, 3))
    x = convolved(x, 8)
    for channels, strides in ((8, 1), (16, 2)):
        short = x if strides == 1 else L.Conv2D(channels, 1, strides=strides)(x)
        x = convolved(x, channels, strides=strides)
        x = convolved(x, channels, activation="linear")
        x = L.ReLU()(L.Add()([x, short]))
    x = L.AveragePooling2D(4)(x)
    return image, classified(L.Flatten()(x))


@model()
def inception():
    x = image = L.Input((24, 24, 3))
    x = convolved(x, 8, strides=2)
    one, three, five = convolved(x, 4, 1), convolved(x, 8, 3), convolved(convolved(x, 4, 1), 4, 5)
    pooled = convolved(L.MaxPooling2D(3, strides=1, padding="same")(x), 4, 1)
    x = L.Concatenate()([one, three, five, pooled])
    return image, classified(L.GlobalAveragePooling2D()(x))


@model(fixed=False)
def squeeze_excite():
    x = image = L.Input((24, 24, 3))
    x = convolved(x, 16, strides=2)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Dense(4, activation="relu")(gate)
    gate = L.Dense(16, activation="sigmoid")(gate)
    x = convolved(L.Multiply()([x, gate]), 16)
    return image, classified(L.GlobalAveragePooling2D()(x))


@model()
def unet_nearest():
    x = image = L.Input((32, 32, 1))
    first = convolved(x, 8)
    second = convolved(L.MaxPooling2D()(first), 16)
    x = convolved(L.MaxPooling2D()(second), 24)
    x = convolved(L.Concatenate()([L.UpSampling2D()(x), second]), 16)
    x = convolved(L.Concatenate()([L.UpSampling2D()(x), first]), 8)
    return image, L.Conv2D(1, 1, activation="sigmoid")(x)


@model(fixed=False)
def unet_transposed():
    x = image = L.Input((32, 32, 1))
    first = convolved(x, 8)
    second = convolved(L.MaxPooling2D()(first), 16)
    x = convolved(L.MaxPooling2D()(second), 24)
    x = L.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(x)
    x = convolved(L.Concatenate()([x, second]), 16)
    x = L.Conv2DTranspose(8, 2, strides=2, padding="same")(x)
    x = convolved(L.Concatenate()([x, first]), 8)
    return image, L.Conv2D(1, 1, activation="sigmoid")(x)


@model()
def unet_transposed_fixed_batch():
    x = image = L.Input((16, 16, 2))
    first = convolved(x, 8)
    x = convolved(first, 12, strides=2)
    x = L.Conv2DTranspose(8, 4, strides=2, padding="same")(x)
    x = L.Conv2DTranspose(4, 3, padding="valid", activation="relu")(x)
    return image, L.Conv2D(3, 1, activation="softmax")(x)


@model()
def bilinear():
    x = image = L.Input((16, 16, 3))
    x = convolved(x, 8, strides=2)
    x = L.UpSampling2D(interpolation="bilinear")(x)
    return image, L.Conv2D(2, 3, padding="same")(x)


@model()
def leaky_relu():
    x = image = L.Input((24, 24, 3))
    for channels in (8, 16):
        x = convolved(x, channels, strides=2, activation=L.LeakyReLU(negative_slope=0.1))
    return image, classified(L.Flatten()(x))


@model()
def prelu():
    x = image = L.Input((24, 24, 3))
    for channels in (8, 16):
        x = convolved(x, channels, strides=2, activation=L.PReLU(shared_axes=[1, 2]))
    return image, classified(L.GlobalAveragePooling2D()(x))


@model(fixed=False)
def hard_swish():
    x = image = L.Input((24, 24, 3))
    x = convolved(x, 8, strides=2, activation="hard_silu")
    short, y = x, convolved(x, 24, 1, activation="hard_silu")
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = L.Activation("hard_silu")(L.BatchNormalization()(y))
    x = L.Add()([short, convolved(y, 8, 1, activation="linear")])
    return image, classified(L.GlobalAveragePooling2D()(x))


@model()
def hard_sigmoid():
    x = image = L.Input((24, 24, 3))
    x = convolved(x, 8, strides=2)
    gate = L.GlobalAveragePooling2D(keepdims=True)(x)
    gate = L.Conv2D(8, 1, activation="hard_sigmoid")(gate)
    return image, classified(L.GlobalAveragePooling2D()(L.Multiply()([x, gate])))


@model()
def relu6():
    """Two blocks of MobileNetV2."""
    x = image = L.Input((32, 32, 3))
    x = convolved(x, 8, strides=2, activation="relu6")
    for channels, strides in ((8, 1), (12, 2)):
        y = convolved(x, 24, 1, activation="relu6")
        y = L.ZeroPadding2D(((0, 1), (0, 1)))(y) if strides == 2 else y
        padding = "valid" if strides == 2 else "same"
        y = L.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False)(y)
        y = L.Activation("relu6")(L.BatchNormalization()(y))
        y = convolved(y, channels, 1, activation="linear")
        x = L.Add()([x, y]) if strides == 1 else y
    return image, classified(L.GlobalAveragePooling2D()(x))


@model()
def global_average():
    x = image = L.Input((20, 20, 3))
    x = convolved(x, 16, strides=2)
    return image, classified(L.GlobalAveragePooling2D()(x), 4)


@model(fixed=False)
def global_max():
    x = image = L.Input((20, 20, 3))
    x = convolved(x, 16, strides=2)
    return image, classified(L.GlobalMaxPooling2D()(x), 4)


@model()
def padded_and_cropped():
    x = image = L.Input((20, 20, 3))
    x = L.ZeroPadding2D((2, 1))(x)
    x = L.Conv2D(8, 3, activation="relu")(x)
    x = L.Cropping2D(((1, 2), (3, 0)))(x)
    x = L.Conv2D(4, 3, strides=2, activation="relu")(x)
    return image, classified(L.Flatten()(x))


@model(fixed=False, ends=tf.uint8)
def uint8_ends():
    x = image = L.Input((28, 28, 1))
    x = L.Rescaling(1 / 255)(x)
    x = L.Conv2D(8, 3, strides=2, activation="relu")(x)
    return image, classified(L.GlobalAveragePooling2D()(x))


@model(ends=tf.float32)
def float_ends():
    x = image = L.Input((28, 28, 1))
    x = L.Conv2D(8, 3, strides=2, activation="relu")(x)
    return image, classified(L.Flatten()(x))


@model()
def many_classes():
    x = image = L.Input((16, 16, 3))
    x = convolved(x, 16, strides=2)
    return image, classified(L.GlobalAveragePooling2D()(x), 1000)


@model()
def log_softmax():
    x = image = L.Input((16, 16, 3))
    x = convolved(x, 8, strides=2)
    return image, L.Dense(12, activation="log_softmax")(L.Flatten()(x))


@model()
def two_outputs():
    x = image = L.Input((24, 24, 3))
    x = convolved(x, 8, strides=2)
    features = L.GlobalAveragePooling2D()(x)
    return image, [classified(features, 5), L.Dense(4)(features)]


@model()
def two_inputs():
    x = image = L.Input((16, 16, 1), name="image")
    numbers = L.Input((6,), name="numbers")
    x = L.GlobalAveragePooling2D()(convolved(x, 8, strides=2))
    x = L.Concatenate()([x, L.Dense(8, activation="relu")(numbers)])
    return [image, numbers], classified(x, 3)


@model(fixed=False)
def resized():
    x = image = L.Input((12, 10, 2))
    x = L.Resizing(18, 20, interpolation="nearest")(x)
    return image, L.Conv2D(2, 3, activation="relu")(x)


@model(fixed=False)
def arithmetic():
    x = image = L.Input((12, 12, 3))
    pair = convolved(x, 8), L.Conv2D(8, 3, padding="same")(x)
    kinds = (L.Subtract, L.Multiply, L.Maximum, L.Minimum, L.Average)
    return image, L.Concatenate()([kind()(pair) for kind in kinds])


# --- one choice at a time, to compare


def activated(activation):
    image = L.Input((16, 16, 8))
    x = L.Conv2D(16, 3, padding="same")(image)
    return image, (L.Activation(activation) if isinstance(activation, str) else activation())(x)


for name in ("relu", "relu6", "sigmoid", "tanh", "swish", "hard_silu", "gelu"):
    MODELS[f"activation_{name}"] = spec_of(activated, name)
MODELS["activation_leaky_relu"] = spec_of(activated, L.LeakyReLU)
MODELS["activation_prelu"] = spec_of(activated, lambda: L.PReLU(shared_axes=[1, 2]))


def pooled(layer):
    image = L.Input((16, 16, 16))
    return image, layer(2)(image)


MODELS["pool_max"] = spec_of(pooled, L.MaxPooling2D)
MODELS["pool_average"] = spec_of(pooled, L.AveragePooling2D)


# --- time series and rows of numbers


@model()
def conv1d_max_pooling():
    x = series = L.Input((128, 3))
    for channels in (8, 16):
        x = L.Conv1D(channels, 5, padding="same", activation="relu")(x)
        x = L.MaxPooling1D()(x)
    return series, classified(L.GlobalAveragePooling1D()(x), 6)


@model(fixed=False)
def conv1d_open_batch():
    x = series = L.Input((96, 6))
    x = L.Conv1D(8, 3, activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.MaxPooling1D(2)(x)
    x = L.Conv1D(8, 3, strides=2, activation="relu")(x)
    x = L.AveragePooling1D(2)(x)
    return series, classified(L.Flatten()(x), 6)


@model()
def causal_tcn():
    x = series = L.Input((64, 4))
    x = L.Conv1D(8, 1)(x)
    for rate in (1, 2, 4):
        y = L.Conv1D(8, 3, padding="causal", dilation_rate=rate, activation="relu")(x)
        x = L.ReLU()(L.Add()([x, y]))
    return series, L.Dense(3)(L.GlobalAveragePooling1D()(x))


@model(fixed=False)
def causal_tcn_open_batch():
    x = series = L.Input((64, 4))
    for rate in (1, 2, 4):
        x = L.Conv1D(8, 3, padding="causal", dilation_rate=rate, activation="relu")(x)
    return series, L.Dense(3)(L.GlobalMaxPooling1D()(x))


@model()
def separable_1d():
    x = series = L.Input((100, 6))
    for channels in (8, 16):
        x = L.SeparableConv1D(channels, 5, strides=2, padding="same", activation="relu")(x)
    return series, classified(L.Flatten()(x), 6)


@model()
def unrolled_lstm():
    x = series = L.Input((6, 4))
    return series, classified(L.LSTM(8, unroll=True)(x), 3)


@model()
def unrolled_gru():
    x = series = L.Input((6, 4))
    return series, classified(L.GRU(8, unroll=True)(x), 3)


@model(fixed=False)
def sigmoid_binary():
    x = row = L.Input((12,))
    x = L.Dense(16, activation="relu")(x)
    x = L.Dense(8, activation="relu")(x)
    return row, L.Dense(1, activation="sigmoid")(x)


@model()
def tanh():
    x = row = L.Input((10,))
    x = L.Dense(16, activation="tanh")(x)
    return row, L.Dense(2, activation="tanh")(x)


@model(fixed=False)
def autoencoder():
    x = row = L.Input((64,))
    for size in (32, 8, 32):
        x = L.Dense(size, use_bias=False)(x)
        x = L.ReLU()(L.BatchNormalization()(x))
    return row, L.Dense(64)(x)


# --- conversion


def randomise(network, rng):
    """Biases and statistics as training leaves them, instead of zeros and ones."""
    draws = {
        "bias": lambda shape: rng.normal(0, 0.2, shape),
        "beta": lambda shape: rng.normal(0, 0.3, shape),
        "gamma": lambda shape: rng.uniform(0.5, 1.5, shape),
        "moving_mean": lambda shape: rng.normal(0, 0.3, shape),
        "moving_variance": lambda shape: rng.uniform(0.3, 1.5, shape),
        "alpha": lambda shape: rng.uniform(0.05, 0.4, shape),
    }
    for weight in network.weights:
        if weight.name in draws:
            weight.assign(draws[weight.name](weight.shape))


@functools.cache
def convert(name):
    """The bytes of the int8 .tflite file of `MODELS[name]`."""
    spec = MODELS[name]
    keras.utils.set_random_seed(1)
    rng = np.random.default_rng(1)
    network = spec.build()
    randomise(network, rng)
    shapes = [(1, *tensor.shape[1:]) for tensor in network.inputs]
    if spec.fixed:
        inputs = [L.Input(batch_shape=shape) for shape in shapes]
        network = keras.Model(inputs, network(inputs if len(inputs) > 1 else inputs[0]))
    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    scale, offset = (80, 128) if spec.ends == tf.uint8 else (1, 0)

    def samples():
        for _ in range(SAMPLES):
            yield [np.float32(rng.normal(offset, scale, shape)) for shape in shapes]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = spec.ends
    with contextlib.redirect_stdout(io.StringIO()):  # Keras describes what it saves
        return converter.convert()


def operators_of(name):
    """{kind of operator: how many of them are in the .tflite file of `MODELS[name]`}."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(convert(name), 0))
    kinds = {number: kind for kind, number in vars(schema.BuiltinOperator).items()}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return Counter(kinds[codes[o.opcodeIndex]] for o in model.subgraphs[0].operators)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/keras_models.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, spec in MODELS.items():
        content = convert(name)
        (folder / f"{name}.tflite").write_bytes(content)
        counts = ", ".join(f"{kind} {n}" for kind, n in sorted(operators_of(name).items()))
        print(f"{name:28} {'1' if spec.fixed else 'open':5} {len(content):6} {counts}", flush=True)


if __name__ == "__main__":
    main()
