"""Trained models on disk: one .pth file with weights, configuration, metrics and versions."""

import hashlib
import io
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

import BitNetMCU
import config
from cli import UserError, write_atomic

MODELDATA = Path(__file__).parent / "modeldata"
LAST_RUN = "last_training"  # in the build folder: the path of the newest checkpoint
KEYS = {"config", "inputs", "classes", "state_dict", "metrics", "versions"}


@dataclass
class Checkpoint:
    path: Path
    sha256: str
    config: dict
    network: BitNetMCU.Network  # in eval mode, on the CPU
    metrics: dict
    versions: dict

    @property
    def name(self):
        return self.path.stem


def save(path, network, settings, inputs, classes, metrics):
    """Write `network` (trained with the configuration `settings`) to `path`, atomically."""
    content = {
        "config": settings,
        "inputs": inputs,
        "classes": classes,
        "state_dict": {key: value.cpu() for key, value in network.state_dict().items()},
        "metrics": metrics,
        "versions": {"torch": str(torch.__version__)},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def load(path):
    """The checkpoint at `path`. Raises `UserError` if there is none, or it is not one of ours."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the checkpoint {path}: {error.strerror}; name a .pth file that "
            "training.py wrote, or run training.py first"
        )
    foreign = f"{path} is truncated or was not written by training.py; train it anew"
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        zipfile.BadZipFile,
        ValueError,
        KeyError,
    ):
        raise UserError(foreign)
    if not isinstance(content, dict) or not content.keys() >= KEYS:
        raise UserError(foreign)
    settings = config.parse(content["config"], path)
    missing = [key for key in config.PARAMETERS if key not in settings]
    if missing:
        raise UserError(f"{path} was trained without: {', '.join(missing)}; train it anew")
    network = BitNetMCU.build_model(settings, content["inputs"], content["classes"])
    try:
        network.load_state_dict(content["state_dict"])
    except (RuntimeError, AttributeError, TypeError):
        raise UserError(foreign)
    return Checkpoint(
        path,
        hashlib.sha256(data).hexdigest(),
        settings,
        network.eval(),
        content["metrics"],
        content["versions"],
    )


def newest(build):
    """The checkpoint path that training.py last noted in the folder `build`.

    Without such a note it is the one that `trainingparameters.yaml` names.
    """
    try:
        return Path((Path(build) / LAST_RUN).read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return MODELDATA / f"{config.run_name(config.load())}.pth"
