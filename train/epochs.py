"""One pass over the training samples, and what is measured of a network behind it."""

import contextlib

import torch
from torch.nn import functional as F

import BitNetMCU
import cli
from train import sparsity
from train.settings import Settings

# Below this many weights a second thread waits more than it works, and far more on a busy machine;
# with one the result does not depend on the number of cores.
ONE_THREAD_WEIGHTS = 200_000
CLIPPING_INTERVAL = 100  # steps between two updates of the clip values
ONE_BITS = torch.tensor([value.bit_count() for value in range(256)])


@contextlib.contextmanager
def few_threads(network):
    """Inside, PyTorch uses one thread if `network` is small."""
    threads = torch.get_num_threads()
    if sum(parameter.numel() for parameter in network.parameters()) < ONE_THREAD_WEIGHTS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_epoch(network, optimizers, samples, settings: Settings, generator, epoch):
    """One pass over `samples` (int8 inputs [N, I], labels [N]) in random order.

    Returns {"train_loss", "train_accuracy"}: their means over all samples, accuracy in percent; the
    loss without what `lambda_l1` and `lambda_hoyer` add to it.
    """
    inputs, labels = samples
    update_clipping = epoch <= settings.maxw_update_until_epoch
    title = f"epoch {epoch}/{settings.num_epochs}"
    network.train()
    # In the first half of the epochs, also of those of a network that was pruned.
    begun = settings.prune_epoch if epoch > settings.prune_epoch else 0
    network.follow_scales(2 * (epoch - 1 - begun) < settings.num_epochs - begun)
    masks = network.masks() if settings.lambda_l1 else ()
    loss_sum = correct = torch.zeros((), device=labels.device)
    order = torch.randperm(len(labels), device=labels.device, generator=generator)
    batches = order.split(settings.batch_size)
    hoyer = settings.lambda_hoyer
    penalty = sparsity.Penalty(network, inputs[:1].float()) if hoyer else contextlib.nullcontext()
    with few_threads(network), penalty:
        for step, batch in enumerate(cli.progress(batches, desc=title, unit="batch")):
            if update_clipping and step % CLIPPING_INTERVAL == 0:
                network.update_clipping()
            truth = labels[batch]
            logits = network(inputs[batch].float())
            loss = F.cross_entropy(logits, truth)
            network.zero_grad()
            magnitudes = sum(mask.factors.abs().sum() for mask in masks)
            added = settings.lambda_l1 * magnitudes
            if hoyer:
                added = added + hoyer * penalty.of_last()
            (loss + added).backward()
            for optimizer in optimizers:
                optimizer.step()
            loss_sum = loss_sum + loss.detach() * len(batch)
            correct = correct + (logits.detach().argmax(1) == truth).sum()
    if not loss_sum.isfinite():
        raise cli.UserError(
            f"the loss of epoch {epoch} is not finite; use a smaller learning_rate (it is "
            f"{settings.learning_rate:g}), or other initial weights in a network of your own"
        )
    return {
        "train_loss": loss_sum.item() / len(labels),
        "train_accuracy": 100 * correct.item() / len(labels),
    }


def evaluate(network, inputs, labels, batch=10_000):
    """Loss and accuracies of `network` over int8 `inputs` [N, I] and `labels` [N], all of them.

    Returns {"loss", "accuracy_float", "accuracy"}: cross-entropy and percent correct of float
    logits, and percent correct of eval mode (the integers of the C). Float logits are those of
    training mode; of eval mode where the network has no integer form: a norm with statistics, or
    masks. With masks both are of the network as it is, rounded but for its masks.
    """
    loss = correct_float = correct = 0
    with torch.no_grad():
        for part, truth in zip(inputs.split(batch), labels.split(batch)):
            logits = network.train(network.has_integer_form)(part.float())
            loss += F.cross_entropy(logits, truth, reduction="sum").item()
            correct_float += (logits.argmax(1) == truth).sum().item()
            correct += (network.eval()(part.float()).argmax(1) == truth).sum().item()
    count = len(labels)
    return {
        "loss": loss / count,
        "accuracy_float": 100 * correct_float / count,
        "accuracy": 100 * correct / count,
    }


def logits_of(network, inputs, labels, batch=10_000):
    """(integer logits [N, O], labels [N]) as NumPy arrays, for int8 `inputs` [N, I]."""
    network.eval()
    with torch.no_grad():
        logits = torch.cat([network(part.float()) for part in inputs.split(batch)])
    return logits.cpu().numpy(), labels.cpu().numpy()


def set_bits(values):
    """How many one bits, of two's complement, a sample of -128..127 [N, V] has, the mean over N."""
    codes = values.to(torch.int8).view(torch.uint8).long()
    return ONE_BITS.to(values.device)[codes].sum().item() / len(values)


def layer_statistics(network, inputs):
    """CSV columns for each layer, with what the network makes of int8 `inputs` [N, I].

    Clip value and entropy (bits per weight) of quantised weights, and the fraction of hidden
    activations that are positive: the others cost no work on the microcontroller. Where all
    weights are quantised, also the `set_bits` of inputs (bits0) and of the activations behind each
    layer (bits1, ...): without a multiplier each costs one addition of a row of weights.
    """
    row = {}
    for index, layer in enumerate(network.bit_layers(), start=1):
        if layer.format:
            row[f"clip{index}"] = layer.maxw.item()
            row[f"entropy{index}"] = BitNetMCU.entropy(layer.integer_weights())
    with torch.no_grad():
        outputs = network.eval().outputs(inputs.float())
        activations = (BitNetMCU.Requantiser, *BitNetMCU.ACTIVATIONS.values())
        hidden = [x for layer, x in outputs if isinstance(layer, activations)]
    for index, activations in enumerate(hidden, start=1):
        row[f"positive{index}"] = (activations > 0).double().mean().item()
    if all(layer.format for layer in network.bit_layers()):
        row |= {f"bits{index}": set_bits(x) for index, x in enumerate([inputs, *hidden])}
    return row
