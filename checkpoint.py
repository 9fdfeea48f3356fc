"""Trained models on disk: one .pth file with weights, configuration, metrics and versions."""

import hashlib
import io
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import BitNetMCU
import config
import loaders
from cli import UserError, write_atomic
from data import Affine

MODELDATA = Path(__file__).parent / "modeldata"
LAST_RUN = "last_training"  # in the build folder: the path of the newest checkpoint
KEYS = {"config", "inputs", "classes", "affine", "state_dict", "metrics", "versions"}
PARTIAL_KEYS = {"config", "network", "optimizer", "generator", "rows"}


@dataclass
class Checkpoint:
    path: Path
    sha256: str
    config: dict
    network: BitNetMCU.Network  # in eval mode, on the CPU
    affine: Affine | None  # the map from measured values to inputs; None for images
    metrics: dict
    versions: dict

    @property
    def name(self):
        return self.path.stem


def save(path, network, settings, inputs, dataset, metrics):
    """Write `network`, trained with the configuration `settings`, to `path`, atomically.

    inputs: their number; dataset: a `data.Dataset`, for its classes and its map to int8.
    """
    content = {
        "config": settings,
        "inputs": inputs,
        "classes": dataset.classes,
        "affine": dataset.affine and asdict(dataset.affine),
        "state_dict": {key: value.cpu() for key, value in network.state_dict().items()},
        "metrics": metrics,
        "versions": {"torch": str(torch.__version__)},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def _foreign(path):
    return UserError(f"{path} is truncated or was not written by training.py; train it anew")


def _read(path, keys):
    """(content, bytes) of a file that torch.save wrote: a dict with `keys`, or a `UserError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the checkpoint {path}: {error.strerror}; name a .pth file that "
            "training.py wrote, or run training.py first"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()  # torch.load does not look at the checksums
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # unpickling damaged data can raise anything
        raise _foreign(path)
    if damaged or not isinstance(content, dict) or not keys <= content.keys():
        raise _foreign(path)
    if not isinstance(content["config"], dict):
        raise _foreign(path)
    return content, data


def load_partial(path):
    """(state, settings) of a run that was stopped, from its NAME.partial.pth."""
    content, _ = _read(Path(path), PARTIAL_KEYS)
    return content, config.complete(config.parse(content["config"], path), path)


def load(path):
    """The checkpoint at `path`. Raises `UserError` if there is none, or it is not one of ours."""
    path = Path(path)
    content, data = _read(path, KEYS)
    settings = config.complete(config.parse(content["config"], path), path)
    try:
        network = BitNetMCU.build_model(settings, content["inputs"], content["classes"])
        network.load_state_dict(content["state_dict"])
        finite = all(tensor.isfinite().all() for tensor in network.state_dict().values())
        metrics = {key: float(content["metrics"][key]) for key in content["metrics"]}
        affine = Affine(**content["affine"]) if content["affine"] else None
    except UserError:
        raise
    except Exception:  # entries of the wrong kind or shape
        raise _foreign(path)
    if not finite or not {"test_accuracy", "test_accuracy_float", "train_loss"} <= metrics.keys():
        raise _foreign(path)
    return Checkpoint(
        path,
        hashlib.sha256(data).hexdigest(),
        settings,
        network.eval(),
        affine,
        metrics,
        content["versions"],
    )


def test_data(trained):
    """(inputs int8 [N, I], labels int64 [N], classes) of the test set of a `Checkpoint`.

    The map to int8 is the one of the training. Raises `UserError` if the data cannot be had, or
    no longer has the shape of the training data.
    """
    dataset = replace(loaders.load(trained.config), affine=trained.affine)
    inputs = dataset.inputs(dataset.test_images, trained.config["image_size"])
    layers = trained.network.bit_layers()
    ours, theirs = (
        (inputs.shape[1], dataset.classes),
        (layers[0].in_features, layers[-1].out_features),
    )
    if ours != theirs:
        raise UserError(
            f"{trained.config['dataset']} now has {ours[0]} inputs and {ours[1]} classes, "
            f"{trained.path} was trained for {theirs[0]} and {theirs[1]}; train it anew"
        )
    return inputs, dataset.test_labels, dataset.classes


def newest(build):
    """The path of the checkpoint that training.py last noted in the folder `build`.

    Raises `UserError` where there is no such note.
    """
    try:
        noted = (Path(build) / LAST_RUN).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        noted = ""
    if not noted:
        raise UserError(
            f"nothing was trained in {build} yet; run training.py --build {build} first, or name "
            "a .pth file, as those in modeldata/"
        )
    return Path(noted)
