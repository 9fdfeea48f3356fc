"""Random layers of shapes that are in no model, what TensorFlow Lite computes of them, and C
programs that run a kernel on memory of exactly the sizes that Python states."""

import subprocess
from pathlib import Path

import numpy as np
from conftest import SANITIZE, STRICT, compiler

from tinyengine import packing

KERNELS = Path(__file__).parent.parent / "tinyengine/kernels"
ROUNDINGS = ("TE_LINEAR", "TE_SIGNED", "TE_PARTS", "TE_RELU")  # te_rounding of fast.h
PRELUDE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fast.h"

static void *take(int32_t bytes) { /* to the byte, for the sanitizer to see what lies outside */
    void *memory = malloc((size_t)bytes);

    if (bytes && fread(memory, 1, (size_t)bytes, stdin) != (size_t)bytes)
        exit(2);
    return memory;
}
"""


def build(folder, main, sources):
    """The path of a program. main: C behind PRELUDE; sources: of KERNELS."""
    (folder / "main.c").write_text(PRELUDE + main)
    command = [*compiler("gcc"), *STRICT, *SANITIZE, f"-I{KERNELS}", folder / "main.c"]
    command += [KERNELS / name for name in sources]
    subprocess.run([*command, "-o", folder / "program"], check=True)
    return folder / "program"


def feed(program, *parts):
    """The int8 that the program writes. parts: arrays that it reads."""
    stdin = b"".join(part.tobytes() for part in parts)
    done = subprocess.run(program, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.int8)


def execute(program, kernel, integers, words, x, out_size, in_place, scratch=0):
    """Runs one kernel of a program that reads which, and the sizes of all that follows."""
    head = [kernel, len(integers), len(words), x.size, out_size, in_place, scratch]
    return feed(program, np.int32(head), np.int32(integers), words, x)


def tflite(accumulators, requantise):
    """gemmlowp, as it is written there: with truncating division and a remainder."""
    out = np.zeros(accumulators.shape, np.int8)
    for channel in range(accumulators.shape[-1]):
        shift = -int(requantise.shifts[channel])
        product = accumulators[..., channel] * int(requantise.multipliers[channel])
        nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
        value = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
        rest = value & ((1 << shift) - 1)
        value = (value >> shift) + (rest > ((1 << shift) - 1 >> 1) + (value < 0))
        out[..., channel] = np.clip(
            value + requantise.zero_point, requantise.lowest, requantise.highest
        )
    return out


def random_requantise(rng, channels, terms, relu):
    """Multipliers that bring sums of `terms` products of int8 to int8, and a few tiny ones."""
    shift = int(np.log2(70 * 70 * terms**0.5 / 60))
    shifts = -rng.integers(shift - 1, shift + 3, channels)
    if not relu:
        shifts[rng.random(channels) < 0.1] = -28
    zero_point = -128 if relu else int(rng.integers(-128, 128))
    multipliers = rng.integers(1 << 30, (1 << 31) - 1, channels)
    if rng.random() < 0.4:  # an activation that cuts inside of int8
        zero_point = min(zero_point, 50)
        return packing.Requantise(multipliers, shifts, zero_point, max(-100, zero_point), 90)
    return packing.Requantise(multipliers, shifts, zero_point, -128, 127)


def random_layer(rng, weights_shape, out_channels, terms, relu):
    weights = rng.integers(-127, 128, weights_shape, np.int8)
    bias = rng.integers(-20000, 20000, out_channels)
    return (
        weights,
        bias,
        int(rng.integers(-128, 128)),
        random_requantise(rng, out_channels, terms, relu),
    )


def windows(x, window, out, zero_point):
    """The input less its zero point: [height, width, window height, window width, channels]."""
    kh, kw, sy, sx, dy, dx, top, left = window
    reach = (out[0] * sy + kh * dy, out[1] * sx + kw * dx)
    padded = np.full((top + x.shape[0] + reach[0], left + x.shape[1] + reach[1], x.shape[2]), 0)
    padded[top : top + x.shape[0], left : left + x.shape[1]] = x.astype(np.int64) - zero_point
    rows = np.arange(out[0])[:, None] * sy + np.arange(kh) * dy
    columns = np.arange(out[1])[:, None] * sx + np.arange(kw) * dx
    return padded[rows[:, None, :, None], columns[None, :, None, :]]


def sums_of(x, layer, out, window):
    """Of a CONV_2D, int64 [height, width, channels], with bias. layer: as random_layer makes it."""
    weights, bias, zero_point, _ = layer
    patches = windows(x, window, out, zero_point).astype(np.float64)  # exact below 2^53
    sums = np.tensordot(patches, weights.astype(np.float64), ([2, 3, 4], [1, 2, 3]))
    return sums.astype(np.int64) + bias


def placed(size, window, same):
    """Output size and padding before, in one direction."""
    kernel, stride, dilation = window
    reach = (kernel - 1) * dilation + 1
    if not same:
        return (size - reach) // stride + 1, 0
    out = -(-size // stride)
    return out, max(0, (out - 1) * stride + reach - size) // 2


def geometry(shape, window, same):
    kh, kw, sy, sx, dy, dx = window
    height, top = placed(shape[0], (kh, sy, dy), same)
    width, left = placed(shape[1], (kw, sx, dx), same)
    return (height, width), (*window, top, left)


def fields_of(shape, layer, out, window):
    """Those of a CONV_2D."""
    weights, bias, zero_point, requantise = layer
    names = ["height", "width", "stride_y", "stride_x", "dilation_y", "dilation_x"]
    sizes = "height", "width", "channels"
    return {
        "input": dict(zip(sizes, shape)),
        "output": dict(zip(sizes, (*out, len(weights)))),
        "window": dict(zip([*names, "pad_top", "pad_left"], window)),
        "groups": 1,
        "input_zero_point": zero_point,
        "weights": weights,
        "bias": bias,
        "requantise": vars(requantise),
    }
