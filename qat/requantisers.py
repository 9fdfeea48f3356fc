"""From accumulators back to activations: ReLU and a shift."""

import torch
from torch import nn
from torch.nn import functional as F

from compiler.graph import UINT7
from qat.quantisers import StraightThrough

_POWERS_OF_HALF = torch.tensor([0.5**shift for shift in range(32)])  # exact, unlike pow()


def largest_of(x):
    """The largest value of each sample of `x` [B, ...], as [B, 1, ...]."""
    return x.amax(tuple(range(1, x.ndim)), keepdim=True)


def shiftnorm_shift(accumulators, bits=UINT7.bits):
    """The contract's shift of each sample: max(0, bit_length(max(0, largest)) - bits).

    accumulators: integer-valued [B, ...]; bits: of an activation. Returns int64 [B, 1, ...].
    """
    largest = largest_of(accumulators).clamp(min=0)
    length = torch.frexp(largest).exponent.long()  # of an integer: its bit length
    return (length - bits).clamp(min=0)


class Requantiser(nn.Module):
    """Accumulators [B, ...] -> activations 0..2^bits - 1 [B, ...]: ReLU, a shift, saturation.

    Eval mode is the contract: with a shift s,
    out = min(2^bits - 1, (a + ((1 << s) >> 1)) >> s) for a > 0, else 0. Training mode does the same
    and lets gradients through. Which shift it is says `shift_of`.
    """

    reads, writes = "accumulators", "activations"

    def __init__(self, bits=UINT7.bits):
        super().__init__()
        self.bits = bits

    @property
    def highest(self):
        """The largest activation."""
        return 2**self.bits - 1

    def scaled(self, positive):
        """What is rounded of `positive` accumulators [B, ...]."""
        return positive * _POWERS_OF_HALF.to(positive.device)[self.shift_of(positive.detach())]

    def forward(self, accumulators):
        scaled = self.scaled(F.relu(accumulators))
        integers = (scaled.detach() + 0.5).floor_().clamp_(max=self.highest)
        return StraightThrough.apply(scaled, integers) if self.training else integers.float()

    def output_shape(self, shape):
        return tuple(shape)

    def extra_repr(self):
        return ", ".join(f"{key}={value}" for key, value in self.settings.items())


class ShiftNormReLU(Requantiser):
    """One shift per sample, by its largest accumulator: see `shiftnorm_shift`.

    Without `aware`, training scales each sample's largest value to the largest activation, as a
    float quantiser would. That is for networks without a bias behind it, which are blind to a
    sample's scale: see `Network.prepare`.
    """

    def __init__(self, aware, bits=UINT7.bits):
        super().__init__(bits)
        self.settings = {"aware": aware} | ({"bits": bits} if bits != UINT7.bits else {})

    @property
    def aware(self):
        return self.settings["aware"]

    def be_aware(self):
        self.settings["aware"] = True

    def shift_of(self, accumulators):
        return shiftnorm_shift(accumulators, self.bits)

    def scaled(self, positive):
        if self.training and not self.aware:
            return positive * (self.highest / largest_of(positive.detach()).clamp(min=1))
        return super().scaled(positive)

    def also_writes(self, accumulators):
        """What the C's step writes besides its activations: the shift."""
        return (self.shift_of(accumulators).flatten(1),)


class FollowedShift(nn.Module):
    """One shift for all samples, a buffer, which brings accumulators to `bits`.

    It brings a running mean of the samples' largest accumulators, the smallest that 90 % of a batch
    do not pass, to that range. It follows while `follows`, then it stays.
    """

    QUANTILE, MOMENTUM = 0.9, 0.98

    def __init__(self):
        super().__init__()
        self.follows = True
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))

    def shift_of(self, accumulators):
        if self.training and self.follows and torch.is_grad_enabled():
            found = largest_of(accumulators).flatten().float().quantile(self.QUANTILE)
            known = self.largest > 0
            self.largest.copy_(
                torch.where(known, self.largest.lerp(found, 1 - self.MOMENTUM), found)
            )
            length = torch.frexp(self.largest.floor()).exponent.long()
            self.shift.copy_((length - self.bits).clamp(0, 31))
        return self.shift


class FixedShiftReLU(Requantiser, FollowedShift):
    """One shift for all samples, see `FollowedShift`; what is too large saturates."""

    def __init__(self, bits=UINT7.bits):
        super().__init__(bits)
        self.settings = {"bits": bits}


REQUANTISERS = {  # requantiser: (shiftnorm_aware, bits) -> module
    "ShiftNorm": ShiftNormReLU,
    "FixedShift": lambda aware, bits: FixedShiftReLU(bits),
}
