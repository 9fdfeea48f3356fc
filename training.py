"""Train a network with quantised weights; writes modeldata/MODEL-DATASET-FORMAT-HASH.pth."""

import argparse
import csv
import io
import time
from pathlib import Path

import torch
from torch.nn import functional as F

import BitNetMCU
import checkpoint
import cli
import config
import data

CLIPPING_INTERVAL = 100  # steps between two updates of the clip values

EXAMPLES = """examples:
  python training.py                                    the network trainingparameters.yaml names
  python training.py QuantType=2bitsym widths=16,16     another format and size
  python training.py dataset=Digits num_epochs=20       the embedded data, no download
"""


def evaluate(network, inputs, labels, batch=10_000):
    """Loss and accuracies of `network` over int8 `inputs` [N, I] and `labels` [N], all of them.

    Returns {"loss", "accuracy_float", "accuracy"}: cross-entropy and percent correct of training
    mode's float logits, and percent correct of eval mode (the integers of the C).
    """
    loss = correct_float = correct = 0
    with torch.no_grad():
        for part, truth in zip(inputs.split(batch), labels.split(batch)):
            logits = network.train()(part.float())
            loss += F.cross_entropy(logits, truth, reduction="sum").item()
            correct_float += (logits.argmax(1) == truth).sum().item()
            correct += (network.eval()(part.float()).argmax(1) == truth).sum().item()
    count = len(labels)
    return {
        "loss": loss / count,
        "accuracy_float": 100 * correct_float / count,
        "accuracy": 100 * correct / count,
    }


def make_scheduler(optimizer, settings):
    """The learning rate schedule, one step per epoch."""
    if settings["scheduler"] == "Cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings["num_epochs"])
    return torch.optim.lr_scheduler.StepLR(optimizer, settings["step_size"], settings["lr_decay"])


def train_epoch(network, optimizer, samples, settings, generator, epoch):
    """One pass over `samples` (int8 inputs [N, I], labels [N]) in random order.

    Returns {"train_loss", "train_accuracy"}: their means over all samples, accuracy in percent.
    """
    inputs, labels = samples
    update_clipping = epoch <= settings["maxw_update_until_epoch"]
    title = f"epoch {epoch}/{settings['num_epochs']}"
    network.train()
    loss_sum = correct = torch.zeros((), device=labels.device)
    order = torch.randperm(len(labels), device=labels.device, generator=generator)
    batches = order.split(settings["batch_size"])
    for step, batch in enumerate(cli.progress(batches, desc=title, unit="batch")):
        if update_clipping and step % CLIPPING_INTERVAL == 0:
            network.update_clipping()
        truth = labels[batch]
        logits = network(inputs[batch].float())
        loss = F.cross_entropy(logits, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum = loss_sum + loss.detach() * len(batch)
        correct = correct + (logits.detach().argmax(1) == truth).sum()
    return {
        "train_loss": loss_sum.item() / len(labels),
        "train_accuracy": 100 * correct.item() / len(labels),
    }


def layer_statistics(network):
    """Clip value and entropy (bits per weight) of each quantised layer, as CSV columns."""
    row = {}
    for index, layer in enumerate(network.bit_layers(), start=1):
        if layer.format:
            row[f"clip{index}"] = layer.maxw.item()
            row[f"entropy{index}"] = BitNetMCU.entropy(layer.integer_weights())
    return row


def format_epoch(row, epochs):
    """One epoch's CSV row as a line to read."""

    def each(prefix):
        return " ".join(f"{value:.3g}" for key, value in row.items() if key.startswith(prefix))

    line = (
        f"epoch {row['epoch']:{len(str(epochs))}}/{epochs}  loss {row['train_loss']:.4f}  "
        f"accuracy {row['train_accuracy']:.2f} %"
    )
    if "validation_loss" in row:
        line += (
            f"  validation loss {row['validation_loss']:.4f}  "
            f"accuracy {row['validation_accuracy']:.2f} %"
        )
    return line + f"  clip {each('clip')}  entropy {each('entropy')}  {row['seconds']:.2f} s"


def csv_text(rows):
    """A list of dicts with the same keys as CSV text with a header line."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def train(settings, out=checkpoint.MODELDATA, report=print):
    """Train the network that the configuration `settings` describes.

    out: folder for NAME.pth and NAME.csv (one row per epoch; NAME.partial.csv until the run is
    complete). report: called with one line per epoch. Returns the path of the checkpoint. The
    test set is used once, after the last epoch.
    """
    out = Path(out)
    name = config.run_name(settings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(settings["seed"])
    generator = torch.Generator(device).manual_seed(settings["seed"])

    dataset = data.load(settings)
    held_out = None
    if settings["validation_samples"]:
        dataset, held_out = dataset.hold_out(settings["validation_samples"], settings["seed"])

    def prepared(images, labels):
        return data.to_inputs(images, settings["image_size"]).to(device), labels.to(device)

    images = dataset.train_images.to(device)
    inputs, labels = prepared(dataset.train_images, dataset.train_labels)
    validation = prepared(held_out.test_images, held_out.test_labels) if held_out else None

    network = BitNetMCU.build_model(settings, inputs.shape[1], dataset.classes).to(device)
    optimizer = torch.optim.Adam(network.parameters(), settings["learning_rate"], fused=True)
    scheduler = make_scheduler(optimizer, settings)
    partial = out / f"{name}.partial.csv"
    rows = []
    for epoch in range(1, settings["num_epochs"] + 1):
        start = time.perf_counter()
        row = {"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0]}
        samples = data.epoch_samples(images, inputs, labels, settings, generator)
        row |= train_epoch(network, optimizer, samples, settings, generator, epoch)
        scheduler.step()
        if validation:
            row |= {f"validation_{k}": v for k, v in evaluate(network, *validation).items()}
        row |= layer_statistics(network)
        row["seconds"] = time.perf_counter() - start
        rows.append(row)
        cli.write_atomic(partial, csv_text(rows))
        report(format_epoch(row, settings["num_epochs"]))

    metrics = {key: value for key, value in rows[-1].items() if key.startswith(("train", "valid"))}
    test = evaluate(network, *prepared(dataset.test_images, dataset.test_labels))
    metrics |= {f"test_{key}": value for key, value in test.items()}
    metrics["seconds"] = sum(row["seconds"] for row in rows)
    path = out / f"{name}.pth"
    checkpoint.save(path, network, settings, inputs.shape[1], dataset.classes, metrics)
    partial.replace(out / f"{name}.csv")
    return path


def main():
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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changed hyperparameters")
    arguments = parser.parse_args()

    settings = config.load(arguments.params, arguments.overrides)
    for key, value in settings.items():
        print(f"{key}: {value}")
    path = train(settings, arguments.out, report=lambda line: print(line, flush=True))
    cli.write_atomic(Path(arguments.build) / checkpoint.LAST_RUN, f"{path}\n")
    metrics = checkpoint.load(path).metrics
    print(
        f"model={path.stem} accuracy={metrics['test_accuracy']:.2f} "
        f"accuracy_float={metrics['test_accuracy_float']:.2f} "
        f"seconds={metrics['seconds']:.1f} checkpoint={path}"
    )


if __name__ == "__main__":
    cli.run(main)
