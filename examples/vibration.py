"""Simulated vibration of a motor in three states, as an .npz file to train on.

Each sample is 128 values of an accelerometer in m/s², taken at 1 kHz. States: 0 healthy (a sine at
the speed of rotation), 1 unbalanced (the same, stronger), 2 bearing fault (short decaying bursts
that come with the rotation). All have noise and a random phase, speed and strength.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import io

import numpy as np

import cli

EXAMPLES = """examples:
  python examples/vibration.py build/vibration.npz
  python training.py dataset=build/vibration.npz augmented_copies=0 widths=16,16
"""

STATES = ("healthy", "unbalanced", "bearing fault")
LENGTH = 128  # values in a sample
RATE = 1000  # values per second


def simulate(count, rng):
    """`count` samples [count, LENGTH, 1] in m/s², float32, and their states [count], int64."""
    states = rng.integers(0, 3, count)
    time = np.arange(LENGTH) / RATE
    speed = rng.uniform(20, 40, (count, 1))  # revolutions per second
    phase = rng.uniform(0, 1, (count, 1))
    turns = speed * time + phase
    strength = rng.uniform(0.8, 1.2, (count, 1)) * np.where(states == 1, 2.5, 1.0)[:, None]
    signal = strength * np.sin(2 * np.pi * turns)
    since_impact = (turns * 3 % 1) / (speed * 3)  # three balls pass the fault in each revolution
    bursts = np.exp(-since_impact * 300) * np.sin(2 * np.pi * 200 * since_impact)
    signal += np.where(states == 2, 3.0, 0.0)[:, None] * bursts
    signal += rng.normal(0, 0.3, signal.shape)
    return signal.astype(np.float32)[..., None], states  # one channel


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="the .npz file to write")
    parser.add_argument(
        "--samples", type=int, default=6000, help="samples, a sixth of them to test"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.samples < 60:
        raise cli.UserError(f"--samples {arguments.samples} is too few; it takes 60 or more")

    x, y = simulate(arguments.samples, np.random.default_rng(arguments.seed))
    test = arguments.samples // 6
    buffer = io.BytesIO()
    np.savez(
        buffer,
        x_train=x[test:],
        y_train=y[test:],
        x_test=x[:test],
        y_test=y[:test],
        class_names=STATES,
    )
    cli.write_atomic(arguments.target, buffer.getvalue())
    print(f"samples={len(y)} shape={x.shape[1:]} states=3 file={arguments.target}")


if __name__ == "__main__":
    cli.run(main)
