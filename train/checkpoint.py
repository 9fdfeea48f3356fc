"""Trained models on disk: one .pth file with weights, settings, metrics and versions."""

import hashlib
import io
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import BitNetMCU
from cli import UserError, write_atomic
from compiler.graph import INT8
from lowbit.inputmap import Affine, InputMap
from train import confidence, config, loaders, models
from train.data import Pixels, numbered
from train.settings import Settings

MODELDATA = Path(__file__).parent.parent / "modeldata"
SAMPLES = 10  # of the test set that travel in the file, for the header of test data
LAST_RUN = "last_training"  # in the build folder: the path of the newest checkpoint
KEYS = {"config", "inputs", "classes", "state_dict", "metrics", "versions"}


@dataclass(frozen=True)
class Samples:
    """A few test samples, the first of each class, then the second of each, ...

    inputs: int8 [N, I]; labels: int64 [N]; logits: what the trained network made of them, int32
    [N, O]; of_test_samples: how many the whole test set has.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    logits: torch.Tensor
    of_test_samples: int


@dataclass
class Checkpoint:
    path: Path
    sha256: str
    settings: Settings
    network: BitNetMCU.Network  # in eval mode, on the CPU
    input_map: InputMap | Affine | None  # from measured values to inputs; None for images
    channel_names: tuple  # of measured values
    class_names: tuple
    samples: "Samples | None"  # from the test set; None in files of older versions
    confidence: dict | None  # see confidence.measure; None in files of older versions
    metrics: dict
    versions: dict

    @property
    def name(self):
        return self.path.stem

    @property
    def pixels(self):
        """How images become its inputs."""
        return Pixels.of(self.settings)

    @property
    def reads(self):
        """The `Range` of its inputs."""
        return self.pixels.range if self.input_map is None else INT8


@dataclass(frozen=True)
class RunState:
    """What a run has come to after an epoch, as NAME.partial.pth keeps it beside the settings.

    network: what its state_dict() gives; optimizer: a list of what that of each optimizer gives,
    only that of Adam in files of older versions; generator: what its get_state() gives; rows: one
    for each epoch; data: a hash of what is trained on, None in files of older versions.
    """

    network: dict
    optimizer: list | dict
    generator: torch.Tensor
    rows: list
    data: str | None = None


def save(path, network, settings: Settings, dataset, metrics, sure):
    """Write `network`, trained with `settings`, to `path`, atomically.

    dataset: a `data.Dataset`, for samples, names and the map to int8; sure: what
    `confidence.measure` found. What export needs is in the file.
    """
    content = {
        "config": asdict(settings),
        "architecture": network.architecture(),
        "samples": vars(_samples(network, dataset, Pixels.of(settings))),
        "inputs": network.inputs,
        "classes": dataset.classes,
        "class_names": list(dataset.class_names),
        "channel_names": list(dataset.channel_names),
        "input_map": dataset.input_map and asdict(dataset.input_map),
        "confidence": sure,
        "state_dict": {key: value.cpu() for key, value in network.state_dict().items()},
        "metrics": metrics,
        "versions": {"torch": str(torch.__version__)},
    }
    _write(path, content)


def save_partial(path, settings: Settings, state: RunState):
    """Write to `path`, atomically, what `load_partial` goes on with."""
    _write(path, {"config": asdict(settings), **vars(state)})


def _write(path, content):
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
    """(`Settings`, `RunState`) of a run that was stopped, from its NAME.partial.pth."""
    content, _ = _read(Path(path), {"config"})
    values = content.pop("config")
    try:
        state = RunState(**content)
    except TypeError:  # it lacks keys, or has others
        raise _foreign(path)
    return config.from_file(values, path), state


def load(path):
    """The checkpoint at `path`. Raises `UserError` if there is none, or it is not one of ours."""
    path = Path(path)
    content, data = _read(path, KEYS)
    settings = config.from_file(content["config"], path)
    try:
        network = _build(path, content, settings)
        network.load_state_dict(content["state_dict"])
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise ValueError("weights that are not finite")
        metrics = {key: float(content["metrics"][key]) for key in content["metrics"]}
        input_map = _input_map(content, network.inputs)
        class_names = _names(content, "class_names", content["classes"], "")
        channels = getattr(input_map, "channels", 0)
        channel_names = _names(content, "channel_names", channels, "channel")
        samples = _read_samples(content, network)
        sure = content.get("confidence") and confidence.checked(content["confidence"])
        # Float logits may differ from machine to machine; integers may not.
        exact = samples and network.has_integer_form
        if exact and not torch.equal(_logits(network, samples.inputs), samples.logits):
            raise UserError(
                f"{path}: the network does not give the logits that it was saved with; the file "
                "was changed, or PyTorch computes something else here; train it anew"
            )
    except UserError:
        raise
    except Exception:  # entries of the wrong kind or shape
        raise _foreign(path)
    if not {"test_accuracy", "test_accuracy_float", "train_loss"} <= metrics.keys():
        raise _foreign(path)
    return Checkpoint(
        path,
        hashlib.sha256(data).hexdigest(),
        settings,
        network.eval(),
        input_map,
        channel_names,
        class_names,
        samples,
        sure,
        metrics,
        content["versions"],
    )


def _build(path, content, settings: Settings):
    """The network that a file's content describes. No code that the file names is run."""
    if "architecture" in content:
        _check_weights(content["architecture"]["layers"], content["state_dict"])
        return BitNetMCU.from_architecture(content["architecture"])
    if settings.model not in models.PRESETS:
        raise UserError(
            f"{path} is of an older version and leaves its network to {settings.model}, which "
            "only training runs; train it anew"
        )
    return models.build(settings, content["inputs"], content["classes"])


def _check_weights(layers, state, prefix="layers"):
    """Before anything is allocated for sizes that the weights do not have."""
    for index, layer in enumerate(layers):
        kind, name = BitNetMCU.LAYERS[layer["kind"]], f"{prefix}.{index}"
        sizes = kind.weight_shape(layer) if issubclass(kind, BitNetMCU.BitLayer) else []
        if list(state.get(f"{name}.weight", torch.empty(())).shape) != sizes:
            raise ValueError("weights of another architecture")
        _check_weights(layer.get("layers", ()), state, f"{name}.layers")


def choose_samples(labels, classes, count):
    """Indices of `count` of the `labels` [N]: the first of each class, then the second, ..."""
    by_class = [torch.nonzero(labels == label).flatten().tolist() for label in range(classes)]
    rounds = range(max(map(len, by_class)))
    return [found[k] for k in rounds for found in by_class if k < len(found)][:count]


def _samples(network, dataset, pixels, count=SAMPLES):
    """The first `count` `Samples` of a `data.Dataset` with what `network` makes of them."""
    chosen = choose_samples(dataset.test_labels, dataset.classes, count)
    labels = dataset.test_labels[chosen]
    inputs = dataset.inputs(dataset.test_images[chosen], pixels)
    return Samples(inputs, labels, _logits(network, inputs), len(dataset.test_labels))


def _logits(network, inputs):
    """Eval mode's logits for int8 `inputs` [N, I], int32 [N, O]; of float networks rounded."""
    device = next(network.parameters()).device
    with torch.no_grad():
        return network.eval()(inputs.to(device).float()).round().to(torch.int32).cpu()


def samples_of(trained, count=SAMPLES):
    """The first `count` `Samples` of a `Checkpoint`: from its file, or if not there, the data."""
    if trained.samples and min(count, trained.samples.of_test_samples) <= len(
        trained.samples.labels
    ):
        kept = (getattr(trained.samples, key)[:count] for key in ("inputs", "labels", "logits"))
        return Samples(*kept, trained.samples.of_test_samples)
    return _samples(trained.network, load_data(trained), trained.pixels, count)


def _input_map(content, inputs):
    """The map that a file's content holds, None for images; `ValueError` if it cannot be one."""
    if content.get("affine"):  # a file of an older version
        return Affine(**{key: float(value) for key, value in content["affine"].items()})
    if not content.get("input_map"):
        return None
    fitted = InputMap(**{key: tuple(value) for key, value in content["input_map"].items()})
    fitted.check(inputs)
    return fitted


def _read_samples(content, network):
    """The `Samples` that a file's content holds, None in older ones; `ValueError` if they do not
    fit the network."""
    if not content.get("samples"):
        return None
    samples = Samples(**content["samples"])
    first, last = network.inputs, network.classes
    count = len(samples.labels)
    shapes = [tuple(t.shape) for t in (samples.inputs, samples.labels, samples.logits)]
    kinds = [t.dtype for t in (samples.inputs, samples.labels, samples.logits)]
    if (
        shapes != [(count, first), (count,), (count, last)]
        or kinds != [torch.int8, torch.int64, torch.int32]
        or not 0 < count <= int(samples.of_test_samples)
        or not 0 <= samples.labels.min() <= samples.labels.max() < last
    ):
        raise ValueError("samples")
    return replace(samples, of_test_samples=int(samples.of_test_samples))


def _names(content, key, count, default):
    """The `count` names that a file's content holds, or numbers where it is older than names."""
    names = tuple(map(str, content.get(key) or numbered(default, count)))
    if len(names) != count:
        raise ValueError(key)
    return names


def load_data(trained):
    """The `data.Dataset` that a `Checkpoint` was trained on, with the map of the training.

    Raises `UserError` if the data cannot be had, or is no longer what it was in the training.
    """
    try:
        dataset = replace(loaders.load(trained.settings), input_map=trained.input_map)
    except UserError as error:
        raise UserError(
            f"this needs the data that {trained.name} was trained on, not only the few samples in "
            f"its file: {error}"
        )
    now = (dataset.input_count(trained.pixels), dataset.classes)
    then = (trained.network.inputs, trained.network.classes)
    if now != then:
        raise UserError(
            f"{trained.settings.dataset} now has {now[0]} inputs and {now[1]} classes, "
            f"{trained.path} was trained for {then[0]} and {then[1]}; train it anew"
        )
    for kind in ("class_names", "channel_names"):
        now, then = getattr(dataset, kind), getattr(trained, kind)
        unknown = not then or then == numbered("", len(then))  # as in files of older versions
        if now != then and not unknown:
            raise UserError(
                f"{trained.settings.dataset} now has the {kind.replace('_', ' ')} "
                f"{', '.join(now)}, {trained.path} was trained with {', '.join(then)}; "
                "train it anew"
            )
    return dataset


def test_data(trained):
    """(inputs int8 [N, I], labels int64 [N]) of the test set of a `Checkpoint`."""
    dataset = load_data(trained)
    inputs = dataset.inputs(dataset.test_images, trained.pixels)
    return inputs, dataset.test_labels


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
