"""What stands between integers in training only: norms in front of the last layer, and float
activations."""

from torch import nn
from torch.nn import functional as F


class MagnitudeNorm(nn.Module):
    """Activations [B, I] divided by their magnitude [B, 1]: one scale per sample, never 0.

    A scale of the last layer's input changes no decision, so the C needs none of it.
    """

    homogeneous = True

    def __init__(self, magnitude):
        super().__init__()
        self.magnitude = magnitude

    def forward(self, x):
        return x / self.magnitude(x)


class BatchNorm(nn.BatchNorm1d):
    """Activations [B, I] with mean 0 and variance 1 per feature; no learnt scale or bias."""

    homogeneous = False

    def __init__(self, features):
        super().__init__(features, affine=False)

    def forward(self, x):
        if len(x) == 1 and self.training:  # no variance in a last batch of one
            return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(x)


class LayerNorm(nn.LayerNorm):
    """Activations [B, I] with mean 0 and variance 1 per sample; no learnt scale or bias."""

    homogeneous = False

    def __init__(self, features):
        super().__init__(features, elementwise_affine=False)


def root_mean_square(x):
    return x.square().mean(-1, keepdim=True).add(1e-12).sqrt()


def mean_absolute(x):
    return x.abs().mean(-1, keepdim=True).add(1e-6)


NORMS = {  # NormType: number of features -> module that normalises the last layer's input [B, I]
    "RMS": lambda _: MagnitudeNorm(root_mean_square),
    "Lin": lambda _: MagnitudeNorm(mean_absolute),
    "BatchNorm": BatchNorm,  # these two shift as well: trained and compared, not exported
    "LayerNorm": LayerNorm,
}

ACTIVATIONS = {  # name: module; ReLU is the one the integer contract knows
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
}
