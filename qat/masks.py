"""What training learns of a channel before it may go: a factor."""

import torch
from torch import nn


class MaskingLayer(nn.Module):
    """Activations [B, C, ...] times a learnable factor of each channel, 1 at the start.

    units: how many factors; C is a multiple, the channels of a factor side by side, as those that a
    depthwise convolution makes of one channel. For training only: the channels with the smallest
    factors go, the others' become part of the weights behind them, and no mask is left. After Liu
    et al., "Learning efficient convolutional networks through network slimming", ICCV 2017, arXiv
    1708.06519, whose factors are those of batch normalisation.
    """

    def __init__(self, units):
        super().__init__()
        self.factors = nn.Parameter(torch.ones(units))

    def forward(self, x):
        factors = self.factors.repeat_interleave(x.shape[1] // len(self.factors))
        return x * factors.view(-1, *(1,) * (x.ndim - 2))

    def extra_repr(self):
        return str(len(self.factors))
