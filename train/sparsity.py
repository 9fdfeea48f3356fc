"""Few set bits in activations: what training adds to the loss for them.

Without a multiplier each set bit of an activation costs the C one addition for each weight that
reads it. How many activations are not 0 has no gradient. In its place stands Hoyer-square, which is
smooth, does not change with the scale of the activations, and of N equal values among zeros is N:
Yang, Wen, Li, "DeepHoyer: learning sparser neural network with differentiable scale-invariant
sparsity measures", ICLR 2020, arXiv 1908.09979; for activations: Kurtz et al., "Inducing and
exploiting activation sparsity for fast inference on deep neural networks", ICML 2020.
"""

import torch

from BitNetMCU import BitLayer, Network, Requantiser
from cli import UserError


def hoyer_square(activations):
    """(sum a)^2 / sum a^2 of each sample of `activations` [B, ...], as a part of how many it has.

    Their mean over the samples, from 0, where all are 0, to 1, where all are equal.
    """
    a = activations.flatten(1)
    # Of integers that are not negative; where the sum of their squares is less than 1, all are 0.
    return (a.sum(1).square() / a.square().sum(1).clamp(min=1)).mean() / a.shape[1]


def _products(layer, x):
    """How many products of a weight and a value of the sample `x` [1, ...] a layer sums.

    Those with padding do not count: it has no set bits.
    """
    weights = torch.ones_like(layer.weight).flatten(1)
    return layer.products(torch.ones_like(x), weights, None).double().sum().item()


@torch.no_grad()
def shares(network: Network, sample):
    """For each `Requantiser` that runs, in order: which part of the work reads its activations.

    The work is that of all layers with weights that read activations; it is one addition for each
    product if one bit is set in each value. sample: inputs [1, I] of any value. The parts add up to
    1; one is 0 where only a pool reads the activations. Raises `UserError` if there is none.
    """
    work, x = [], sample
    for layer, written in network.outputs(sample):
        if isinstance(layer, Requantiser):
            work.append(0)
        elif isinstance(layer, BitLayer) and work:
            work[-1] += _products(layer, x)
        x = written
    if not sum(work):
        raise UserError(
            "lambda_hoyer needs quantised activations between layers, and this network has none; "
            "use a QuantType that is not None, or leave lambda_hoyer out"
        )
    return [each / sum(work) for each in work]


class Penalty:
    """Within a `with`: hooks that measure the activations of each forward of `network`."""

    def __init__(self, network: Network, sample):
        self._network, self._shares, self._found = network, shares(network, sample), []

    def __enter__(self):
        layers = [layer for layer in self._network.modules() if isinstance(layer, Requantiser)]
        self._hooks = [self._network.register_forward_pre_hook(lambda *_: self._found.clear())]
        self._hooks += [layer.register_forward_hook(self._measure) for layer in layers]
        return self

    def __exit__(self, *_):
        for hook in self._hooks:
            hook.remove()

    def _measure(self, layer, read, written):
        self._found.append(hoyer_square(written))

    def of_last(self):
        """Of the last forward: the part of all work that is left, 0 to 1, differentiable."""
        return sum(share * found for share, found in zip(self._shares, self._found, strict=True))
