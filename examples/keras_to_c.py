"""From a Keras model to C: train, quantise to int8, write a .tflite file, compile it, check it.

Trains a small network on 1,347 handwritten digits of 8x8 pixels that scikit-learn brings with it,
less than a minute, or takes a model of your own. Needs TensorFlow, which nothing else here does:
pip install tensorflow-cpu. examples/digits.tflite is what it writes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import contextlib
import io
import math
import os

import numpy as np
import to_c

import cli

EXAMPLES = """examples:
  python examples/keras_to_c.py build/digits.tflite
  python examples/keras_to_c.py build/own.tflite --keras own.keras --samples own.npy
"""

BATCH = 64
CALIBRATION = 200  # samples that show the quantiser which values there are


def load_keras():
    """(keras, tensorflow), without TensorFlow's notes on the computer."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # other computers round otherwise with it
    tf = to_c.need("tensorflow", "tensorflow-cpu")
    return to_c.need("keras", "tensorflow-cpu"), tf


def build(keras):
    """A small convolutional network: [N, 8, 8, 1] from 0 to 1 -> probabilities [N, 10]."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same", activation="relu"),
            layers.Conv2D(24, 1, activation="relu"),
            layers.AveragePooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def train(keras, tf, epochs, seed):
    """(network, samples to calibrate with, (images, labels) to test with)."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    (images, labels), test = to_c.digits()
    images, labels = to_c.shifted(images, labels)
    network = build(keras)
    steps = epochs * math.ceil(len(images) / BATCH)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps))
    network.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(images, labels, BATCH, epochs, verbose=0)
    print(f"float: {100 * network.evaluate(*test, verbose=0)[1]:.2f} % of {len(test[1])} images")
    return network, images, test


def load_own(keras, model, samples):
    """(network, samples to calibrate with) of a user's files."""
    try:
        network = keras.saving.load_model(model, compile=False)
        samples = np.float32(np.load(samples))
    except (ValueError, TypeError, EOFError) as error:
        raise cli.UserError(
            f"{model} or {samples} cannot be read ({' '.join(str(error).split())}); "
            "name what model.save('own.keras') and numpy.save('own.npy', samples) wrote"
        )
    wanted = [tuple(tensor.shape[1:]) for tensor in network.inputs]
    if wanted != [samples.shape[1:]]:
        raise cli.UserError(
            f"--samples of shape {samples.shape[1:]} do not fit the inputs {wanted} of {model}; "
            "this example takes networks with one input, and [samples, ...] for it"
        )
    return network, samples


def quantise(keras, tf, network, samples):
    """The bytes of an int8 .tflite file, with int8 inputs and outputs and a batch of one."""
    image = keras.Input(batch_shape=(1, *network.inputs[0].shape[1:]))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, network(image)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[None]] for x in samples[:CALIBRATION])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(io.StringIO()):  # Keras describes what it saves
        return converter.convert()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, help="the .tflite file to write")
    parser.add_argument("--out", type=Path, help="folder for the C (default: build/NAME)")
    parser.add_argument("--keras", type=Path, metavar="FILE", help="a .keras file of your own")
    parser.add_argument("--samples", type=Path, metavar="FILE", help=".npy of inputs like its own")
    parser.add_argument("--epochs", type=int, default=20, help="of training (20)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if (arguments.keras is None) != (arguments.samples is None):
        parser.error("--keras needs --samples, and --samples needs --keras")

    keras, tf = load_keras()
    if arguments.keras:
        network, samples = load_own(keras, arguments.keras, arguments.samples)
    else:
        network, samples, test = train(keras, tf, arguments.epochs, arguments.seed)
    cli.write_atomic(arguments.target, quantise(keras, tf, network, samples))
    if not arguments.keras:
        print(f"int8: {to_c.accuracy(arguments.target, *test):.2f} %")
    print(f"file={arguments.target} bytes={arguments.target.stat().st_size}")
    to_c.compile_and_check(arguments.target, arguments.out or Path("build", arguments.target.stem))


if __name__ == "__main__":
    cli.run(main)
