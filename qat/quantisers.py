"""Rounding of float weights to the levels of a number format, and where to clip them."""

import math

import torch


def centre(row, weights):
    """`weights` as the `Format` rounds them: less their mean, where it says so."""
    if not row.centred:
        return weights
    # The mean in float64, so that no sign depends on the order of a sum.
    return weights - weights.double().mean().to(weights.dtype)


def unit_of(row, maxw):
    """The float weight that one integer unit of a `Format` stands for."""
    return maxw / row.clip


def quantise(row, weights, maxw):
    """Round float `weights`, any shape, to the nearest level of a `Format`; ties to the larger one.

    maxw: clip value > 0, in units of the weights; broadcast against them. Returns integer-valued
    float32, same shape.
    """
    scaled = centre(row, weights) / unit_of(row, maxw)
    if not row.spacing:
        levels = torch.tensor(row.ascending, dtype=torch.float32, device=weights.device)
        thresholds = (levels[1:] + levels[:-1]) / 2
        return levels[torch.bucketize(scaled, thresholds, right=True)]
    # The same for evenly spaced levels, five times as fast and as exact.
    scaled = scaled / row.spacing
    below = scaled.floor()
    offset = 0.5 if row.levels[0] / row.spacing % 1 else (scaled - below >= 0.5).float()
    return ((below + offset) * row.spacing).clamp(row.lowest, row.highest)


WEIGHT_SCALES = ("PerTensor", "PerOutput")


def octav(weights, bits, iterations=100):
    """The clip values with the least mean squared error for a uniform quantiser of `bits` bits.

    Newton's iteration of Sakr et al., "Optimal clipping and magnitude-aware differentiation for
    improved quantization-aware training", 2022 (arXiv 2206.06501). weights: [R, N], no row all
    zero. Returns float64 [R], one clip value for each row, in units of the weights.
    """
    magnitude = weights.detach().double().abs()
    clip = magnitude.mean(1)
    for _ in range(iterations):
        outside = magnitude > clip[:, None]
        inside = (magnitude > 0) & ~outside
        cut_off = (magnitude * outside).sum(1)
        updated = cut_off / (4.0**-bits / 3 * inside.sum(1) + outside.sum(1))
        converged = torch.isclose(updated, clip, rtol=1e-7, atol=0).all()
        clip = updated
        if converged:
            break
    return clip


def mean_magnitude(weights):
    """float64 [R] of `weights` [R, N]."""
    return weights.detach().double().abs().mean(1)


CLIPPING = {  # maxw_algo: (weights [R, N], bits, maxw_quantscale) -> clip values [R]
    "octav": lambda weights, bits, _: octav(weights, bits),
    "prop": lambda weights, _, quantscale: quantscale * mean_magnitude(weights),
}


class StraightThrough(torch.autograd.Function):
    """Forward: `target`, exactly. Backward: as if it had been `value`."""

    @staticmethod
    def forward(ctx, value, target):
        return target.view_as(target)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def entropy(values):
    """Shannon entropy in bits per element of a tensor of discrete values, any shape."""
    counts = torch.unique(values, return_counts=True)[1].double()
    return torch.special.entr(counts / counts.sum()).sum().item() / math.log(2)
