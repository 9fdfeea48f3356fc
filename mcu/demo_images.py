"""Pack test images for the demo firmware: BUILD/demo_images.h for the network exported to BUILD."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse

import numpy as np

import cli
import exportquant
from compiler.emission import C_TYPES, array
from lowbit import emission
from train import checkpoint

EXAMPLES = """examples:
  python mcu/demo_images.py --build build --images 4
"""


def pack(image):
    """int8 [I] -> bytes: a bit for each value that is not zero, then those values.

    The first value's bit is the lowest of the first byte.
    """
    flags = np.packbits(image != 0, bitorder="little")
    return flags.tobytes() + image[image != 0].tobytes()


def header(images, labels):
    """The text of demo_images.h for labels [N] and int8 [N, I], or of a stream the inputs of all
    runs."""
    labels = emission.labels_of(labels)
    packed = [pack(image) for image in images]
    starts = np.cumsum([0, *map(len, packed)])[:-1].tolist()
    count = len(labels)
    parts = (
        array("static const uint8_t demo_images", np.frombuffer(b"".join(packed), np.uint8)),
        array("static const uint16_t demo_image_starts", np.array(starts, np.uint16)),
        array(f"static const {C_TYPES[labels.dtype.name]} demo_labels", labels),
    )
    return f"{emission.NOTICE}\n#define DEMO_IMAGES {count}\n\n" + "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", default="build", metavar="DIR", help="folder of the export")
    parser.add_argument("--network", metavar="FILE", help="its checkpoint")
    parser.add_argument("--images", type=int, default=4, help="how many, one class after the other")
    arguments = parser.parse_args()
    if not 1 <= arguments.images <= 100:
        raise cli.UserError(f"--images {arguments.images} is not valid; it takes 1 to 100")

    exported, trained = exportquant.exported_checkpoint(arguments.build, arguments.network)
    samples = checkpoint.samples_of(trained, arguments.images)
    inputs, stream = samples.inputs.numpy(), exportquant.stream_of(exported)
    text = header(stream.pieces_of(inputs) if stream else inputs, samples.labels.tolist())
    cli.write_atomic(Path(arguments.build) / "demo_images.h", text)


if __name__ == "__main__":
    cli.run(main)
