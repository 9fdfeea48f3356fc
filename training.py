"""Train a network with quantised weights; writes modeldata/MODEL-DATASET-FORMAT-HASH.pth."""

if __name__ == "__main__":
    import startup  # noqa: F401  first: errors while the rest loads

import argparse
import hashlib
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

import BitNetMCU
import cli
from train import (
    checkpoint,
    confidence,
    config,
    data,
    epochs,
    loaders,
    models,
    optimizers,
    pruning,
    schedules,
)
from train.settings import Settings

STATISTICS_SAMPLES = 10_000  # training samples on which the activations are counted

BLIND = (
    "the first layer has no bias: the network cannot tell levels and amplitudes of the "
    "measured values apart; use bias=first, or BitLinear(..., bias=True) in a network of your own"
)

FEW_STEPS = 500
FEW = (
    "num_epochs={settings.num_epochs} of batch_size={settings.batch_size} are only {steps} steps, "
    "which may be too few to learn; with few samples use a smaller batch_size, as 16, or more "
    "epochs"
)

EXAMPLES = """examples:
  python training.py                                    the network trainingparameters.yaml names
  python training.py QuantType=2bitsym widths=16,16     another format and size
  python training.py dataset=Digits num_epochs=20       the embedded data, no download
  python training.py resume=modeldata/NAME.partial.pth  go on with a run that was stopped
"""


def format_epoch(row, num_epochs):
    """One epoch's CSV row as a line to read."""

    def each(prefix):
        return " ".join(f"{value:.3g}" for key, value in row.items() if key.startswith(prefix))

    line = (
        f"epoch {row['epoch']:{len(str(num_epochs))}}/{num_epochs}  loss {row['train_loss']:.4f}  "
        f"accuracy {row['train_accuracy']:.2f} %"
    )
    if "validation_loss" in row:
        line += (
            f"  validation loss {row['validation_loss']:.4f}  "
            f"accuracy {row['validation_accuracy']:.2f} %"
        )
    line += f"  clip {each('clip')}  entropy {each('entropy')}  positive {each('positive')}"
    return f"{line}  bits {each('bits')}  {row['seconds']:.2f} s"


@dataclass
class Run:
    """A training run between two epochs: its settings and all that changes."""

    settings: Settings
    network: BitNetMCU.Network
    optimizers: list  # of torch.optim.Optimizer
    generator: torch.Generator
    data: str  # a hash of inputs and labels
    rows: list = field(default_factory=list)

    @classmethod
    def start(cls, settings: Settings, inputs, labels, classes, device, sample=None):
        """A run of `settings` before its first epoch, for int8 `inputs` [N, I] and `labels` [N].

        sample: the shape of one, where they are measured.
        """
        torch.manual_seed(settings.seed)
        content = hashlib.sha256(inputs.cpu().numpy().tobytes())
        content.update(labels.cpu().numpy().tobytes())
        network = models.build(settings, inputs.shape[1], classes, sample)
        pruning.mask(network, settings)
        network.to(device)
        return cls(
            settings,
            network,
            optimizers.build(settings, network),
            torch.Generator(device).manual_seed(settings.seed),
            content.hexdigest(),
        )

    def state(self):
        """What `restore` needs to go on from here."""
        return checkpoint.RunState(
            self.network.state_dict(),
            [optimizer.state_dict() for optimizer in self.optimizers],
            self.generator.get_state(),
            self.rows,
            self.data,
        )

    def prune(self):
        """The network loses masks and channels, the optimizers what they know; returns a line."""
        line = pruning.prune(self.network, self.settings)
        self.network.update_clipping()
        self.network.forget_scales()
        self.optimizers = optimizers.build(self.settings, self.network)
        return line

    def restore(self, state: checkpoint.RunState):
        """Go on from where a run of these settings was."""
        try:
            if 0 < self.settings.prune_epoch < len(state.rows):
                self.prune()  # whatever goes: all that stays is loaded
            self.network.load_state_dict(state.network)
            old = isinstance(state.optimizer, dict)  # in files of older versions: that of Adam
            saved = [state.optimizer] if old else state.optimizer
            for optimizer, one in zip(self.optimizers, saved, strict=True):
                optimizer.load_state_dict(one)
            self.generator.set_state(state.generator.cpu())
            self.rows = list(state.rows)
            if state.data not in (None, self.data):
                raise ValueError("the data has changed")
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise cli.UserError(
                "the stopped run does not fit the data or the device of today "
                f"({' '.join(str(error).split())[:200]}); start it anew"
            )

    def epoch(self, images, inputs, labels, validation):
        """Train one epoch and append its row; the tensors are those of `train`."""
        start = time.perf_counter()
        settings, number = self.settings, len(self.rows) + 1
        factor = schedules.factor(settings, number)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = optimizer.defaults["lr"] * factor
        samples = data.epoch_samples(images, inputs, labels, settings, self.generator)
        row = {"epoch": number, "learning_rate": settings.learning_rate * factor}
        row |= epochs.train_epoch(
            self.network, self.optimizers, samples, settings, self.generator, number
        )
        if validation:
            found = epochs.evaluate(self.network, *validation)
            row |= {f"validation_{key}": value for key, value in found.items()}
        row |= epochs.layer_statistics(self.network, inputs[:STATISTICS_SAMPLES])
        row["seconds"] = time.perf_counter() - start
        self.rows.append(row)
        return row


def train(settings: Settings, out=checkpoint.MODELDATA, report=print, state=None, log=None):
    """Train the network that `settings` describe.

    out: folder for NAME.pth and NAME.csv (one row per epoch). Until the run is complete,
    NAME.partial.pth and .csv hold what it has done so far. report: called with a line on the data,
    then one per epoch, and one on channels that go. state: the `checkpoint.RunState` in an earlier
    NAME.partial.pth of these settings, to go on from there. log: a function that takes each epoch's
    row. Returns the path of the checkpoint. The test set is used once, after the last epoch.
    """
    stem = Path(out) / config.run_name(settings)
    pixels = data.Pixels.of(settings)
    partial, partial_csv = (Path(f"{stem}.partial{suffix}") for suffix in (".pth", ".csv"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    whole = loaders.load(settings)
    dataset, held_out = whole.hold_out(settings.validation_samples, settings.seed)
    dataset, warnings = dataset.fitted(settings.raw_units_per_value)

    def prepared(samples, labels):
        return dataset.inputs(samples, pixels).to(device), labels.to(device)

    images = dataset.train_images.to(device)
    inputs, labels = prepared(dataset.train_images, dataset.train_labels)
    validation = prepared(*held_out) if held_out else None
    sample = tuple(dataset.train_images.shape[1:])
    run = Run.start(settings, inputs, labels, dataset.classes, device, sample)
    report(dataset.describe())
    if dataset.measured and not run.network.bit_layers()[0].has_bias:
        warnings.append(BLIND)
    warnings += models.unread(run.network, inputs.shape[1])
    samples = len(labels) * (1 + settings.augmented_copies)
    steps = settings.num_epochs * math.ceil(samples / settings.batch_size)
    if steps < FEW_STEPS:
        warnings.append(FEW.format(steps=steps, settings=settings))
    for line in warnings:
        cli.warn(line)
    if state:
        run.restore(state)
    while len(run.rows) < settings.num_epochs:
        if 0 < settings.prune_epoch == len(run.rows):
            report(f"pruned: {run.prune()}")
        row = run.epoch(images, inputs, labels, validation)
        cli.write_atomic(partial_csv, cli.csv_text(run.rows))
        checkpoint.save_partial(partial, settings, run.state())
        report(format_epoch(row, settings.num_epochs))
        if log:
            log(row)

    kept = ("train", "valid", "bits")
    metrics = {k: v for k, v in run.rows[-1].items() if k.startswith(kept)}
    network = run.network.folded()
    test = epochs.evaluate(network, *prepared(dataset.test_images, dataset.test_labels))
    metrics |= {f"test_{key}": value for key, value in test.items()}
    samples, source = (validation, "validation") if validation else ((inputs, labels), "training")
    sure = confidence.measure(*epochs.logits_of(network, *samples), source)
    path = Path(f"{stem}.pth")
    checkpoint.save(path, network, settings, dataset, metrics, sure)
    cli.write_atomic(f"{stem}.csv", cli.csv_text(run.rows))
    for file in (partial, partial_csv):
        file.unlink(missing_ok=True)
    return path


def tensorboard_log(folder, name):
    """A function that writes each epoch's row to TensorBoard files in `folder`/`name`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise cli.UserError(
            "--tensorboard needs the package tensorboard; pip install tensorboard, or leave it "
            "out: the same numbers are in the CSV"
        )
    writer = SummaryWriter(str(Path(folder) / name))

    def log(row):
        for key, value in row.items():
            writer.add_scalar(key, value, row["epoch"])
        writer.flush()

    return log


def read_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--params", default=config.DEFAULT_PARAMETERS, metavar="FILE", help="hyperparameters (YAML)"
    )
    parser.add_argument(
        "--out", default=checkpoint.MODELDATA, metavar="DIR", help="folder for the trained model"
    )
    parser.add_argument(
        "--build", default="build", metavar="DIR", help="folder in which the next stage looks"
    )
    parser.add_argument(
        "--tensorboard", metavar="DIR", help="also write the epochs for TensorBoard into DIR"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changed hyperparameters")
    return parser.parse_intermixed_args()


def main():
    arguments = read_arguments()
    resume = [text for text in arguments.overrides if text.startswith("resume=")]
    state, out = None, arguments.out
    if resume:
        if len(arguments.overrides) > 1:
            raise cli.UserError(
                f"{resume[0]} goes on with the settings in that file; leave out the other overrides"
            )
        partial = Path(resume[0].removeprefix("resume="))
        settings, state = checkpoint.load_partial(partial)
        out = partial.parent
    else:
        settings = config.load(arguments.params, arguments.overrides)
    for key, value in asdict(settings).items():
        print(f"{key}: {value}")
    name = config.run_name(settings)
    log = arguments.tensorboard and tensorboard_log(arguments.tensorboard, name)
    partial = Path(out) / f"{name}.partial.pth"
    if partial.exists() and not state:
        print(f"starting anew; to go on with the run that was stopped: resume={partial}")
    start = time.perf_counter()
    cli.check_folder(out)
    cli.check_folder(arguments.build)
    try:
        path = train(settings, out, lambda line: print(line, flush=True), state, log)
    except KeyboardInterrupt:
        if partial.exists():
            print(f"to go on: python training.py resume={partial}", file=sys.stderr)
        raise
    cli.write_atomic(Path(arguments.build) / checkpoint.LAST_RUN, f"{path.resolve()}\n")
    metrics = checkpoint.load(path).metrics
    print(
        f"model={path.stem} accuracy={metrics['test_accuracy']:.2f} "
        f"accuracy_float={metrics['test_accuracy_float']:.2f} "
        f"seconds={time.perf_counter() - start:.1f} checkpoint={path}"
    )


if __name__ == "__main__":
    cli.run(main)
