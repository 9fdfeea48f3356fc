"""Quantisation-aware training for networks that run as integers on small microcontrollers.

The integer contract
    In eval mode every module here computes, on integer-valued float tensors, exactly what the
    exported C computes: `BitLinear` sums integer activations times integer weights,
    `ShiftNormReLU` brings the sums back to 0..127 with one shift per sample. In training mode the
    same modules let gradients through their rounding steps (the straight-through estimator,
    Bengio et al., arXiv 1308.3432).

Why there is only one normalisation
    Without biases, ReLU networks are positively homogeneous: scaling a hidden activation vector
    scales the logits and nothing else. Any per-sample scale is therefore removed by the one
    normalisation in front of the last layer, in the forward and in the backward pass, and hidden
    layers work on integers from end to end.

Why the first layer may have a bias
    The same property makes such a network blind to the level and the amplitude of its inputs. A
    bias of the first layer, whose inputs have a fixed scale, gives it eyes for both and leaves all
    that follows homogeneous. Behind ShiftNorm, whose scale changes with the sample, a bias says
    less.

Shapes: B = batch, I = in_features, O = out_features.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from cli import UserError
from compiler.formats import FACTORS, FORMATS
from compiler.graph import INT8, UINT7

BIAS_INPUT = UINT7.highest  # a bias is the weight of an input that always has this value, or less:
# the largest of the layer's inputs, where that is known to be smaller

BIAS_LIMIT = 2**20  # the largest integer bias: accumulators of 4,096 inputs reach as far

FLOAT = "None"  # QuantType of a network that is trained in floating point and never exported


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


class BitLinear(nn.Linear):
    """A fully connected layer: integer activations [B, I] -> accumulators [B, O].

    The float `weight` [O, I] is what training changes; `integer_weights()` is what it computes
    with. `maxw` (a buffer) is the clip value, set by `update_clipping`. With WScale PerOutput the
    clip value of output o is maxw * factors[o], and its accumulator is multiplied by factors[o]
    (a buffer, integer-valued float32 [O, 1]), so that all have one scale again. A float `bias` [O]
    is in units of a weight times `bias_input`, so that it learns as fast as weights do; it is
    rounded to an integer of any size, not to a level of the format.
    """

    reads, writes = "activations", "accumulators"

    def __init__(
        self,
        in_features,
        out_features,
        QuantType,
        maxw_algo="octav",
        maxw_quantscale=3.2,
        WScale="PerTensor",
        bias=False,
        bias_input=BIAS_INPUT,
    ):
        super().__init__(in_features, out_features, bias=bias)
        for kind, value, options in (
            ("QuantType", QuantType, (*FORMATS, FLOAT)),
            ("WScale", WScale, WEIGHT_SCALES),
            ("maxw_algo", maxw_algo, CLIPPING),
        ):
            if value not in options:
                raise UserError(
                    f"{kind} '{value}' is not known; choose one of: {', '.join(options)}"
                )
        # What it takes to build it again, for the checkpoint.
        self.settings = {
            "in_features": int(in_features),
            "out_features": int(out_features),
            "QuantType": QuantType,
            "maxw_algo": maxw_algo,
            "maxw_quantscale": float(maxw_quantscale),
            "WScale": WScale,
            "bias": bool(bias),
        }
        self.read_up_to(bias_input)
        self.format = FORMATS.get(QuantType)  # None: floating point
        self.maxw_algo = maxw_algo
        self.maxw_quantscale = maxw_quantscale
        self.register_buffer("maxw", torch.tensor(1.0))
        per_output = self.format and WScale == "PerOutput"
        self.register_buffer("factors", torch.ones(out_features, 1) if per_output else None)
        self.update_clipping()

    @property
    def has_bias(self):
        return self.bias is not None

    @property
    def bias_input(self):
        return self.settings.get("bias_input", BIAS_INPUT)

    def read_up_to(self, highest):
        """Its inputs have values up to `highest`: those that a bias is measured by."""
        self.settings.pop("bias_input", None)
        if self.settings["bias"] and highest != BIAS_INPUT:
            self.settings["bias_input"] = int(highest)

    def update_clipping(self):
        """Set `maxw`, and `factors` if there are any, from the present weights."""
        if not self.format:
            return
        weights, bias = self.float_weights()
        weights = centre(self.format, weights.detach())
        # A bias must not become a huge integer where weights are nearly zero.
        least = 0 if bias is None else bias.detach().abs().max().item() / BIAS_LIMIT
        least *= self.format.clip
        if self.factors is None:
            self.maxw.fill_(max(self._clip(weights.reshape(1, -1)).item(), least))
            return
        clips = self._clip(weights)
        unit = clips.max().clamp(min=least) / FACTORS[-1]
        choices = torch.tensor(FACTORS, dtype=torch.float64, device=clips.device)
        between = (choices[1:] * choices[:-1]).sqrt()  # the nearest by ratio
        self.factors.copy_(choices[torch.bucketize(clips / unit, between)][:, None])
        self.maxw.fill_(unit.item())

    def _clip(self, weights):
        """Clip values [R] for rows of weights [R, N]."""
        if self.format.absmean:
            clips = self.format.clip * mean_magnitude(weights)
        else:
            algorithm = CLIPPING[self.maxw_algo]
            clips = algorithm(weights, self.format.clip_bits, self.maxw_quantscale)
        # Zeros have no clip value of their own: any will do, if one can divide by it.
        return clips.nan_to_num(0).clamp(min=1e-30)

    @property
    def scale(self):
        """The float weight that one integer unit stands for; 1 in a floating point layer."""
        return unit_of(self.format, self.maxw) if self.format else torch.ones_like(self.maxw)

    def float_weights(self, x=None):
        """(weights [O, I], bias [O] or None) before rounding, in one unit; in training for `x`."""
        return self.weight, None if self.bias is None else self.bias * self.bias_input

    def integer_weights(self):
        """The weights [O, I] that the C has, as integer-valued float32."""
        return self._integers(*self.float_weights())[0]

    def integer_factors(self):
        """What the accumulators are multiplied by: integer-valued float32 [O, 1], or 1."""
        return 1 if self.factors is None else self.factors

    def integer_bias(self):
        """What is added to the sums, before factors: integer-valued float64 [O]; None without."""
        return self._integers(*self.float_weights())[1]

    def _integers(self, weight, bias):
        """`integer_weights()` and `integer_bias()` for a float `weight` [O, I] and `bias` [O]."""
        clip = self.maxw if self.factors is None else self.maxw * self.factors
        rounded = quantise(self.format, weight.detach(), clip)
        if bias is None:
            return rounded, None
        unit = unit_of(self.format, clip).double().flatten()
        return rounded, (bias.detach().double() / unit).round()

    def forward(self, x):
        weight, bias = self.float_weights(x) if self.training else self.float_weights()
        if not self.format:
            return F.linear(x, weight, bias)
        effective, rounded = self._integers(weight, bias)
        factors = self.integer_factors()
        effective = effective * factors
        if bias is not None:
            rounded = rounded * (factors if self.factors is None else factors.flatten())
        if self.training:
            if bias is not None:
                bias = StraightThrough.apply(bias / self.scale, rounded.float())
            return F.linear(x, StraightThrough.apply(weight / self.scale, effective), bias)
        # float32 holds integers exactly up to 2^24; one bit is left for ShiftNorm's rounding.
        reach = INT8.largest * effective.abs().sum(1) + (0 if bias is None else rounded.abs())
        exact = torch.float32 if reach.max() < 2**23 else torch.float64
        bias = None if bias is None else rounded.to(exact)
        return F.linear(x.to(exact), effective.to(exact), bias)

    def extra_repr(self):
        text = f"{super().extra_repr()}, QuantType={self.format.name if self.format else FLOAT}"
        return text if self.factors is None else f"{text}, WScale=PerOutput"


class BatchNormBitLinear(BitLinear):
    """A `BitLinear` and the batch normalisation behind it, as one layer.

    The normalisation is folded into weights and bias before they are rounded, so training sees what
    is exported (Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
    arXiv 1806.08342, section 3.2.2): with the batch's statistics in training, with running ones
    otherwise. `folded()` is the same as a `BitLinear`.
    """

    has_bias = True  # that of the normalisation

    def __init__(self, linear, norm):
        super().__init__(**linear.settings)
        self.load_state_dict(linear.state_dict())
        self.norm = norm

    def update_clipping(self):
        if "norm" in self._modules:  # not yet while the constructor of BitLinear calls it
            super().update_clipping()

    def float_weights(self, x=None):
        weight, bias = super().float_weights()
        norm = self.norm
        # Without gradients it is being measured, not trained: that changes no statistics.
        if x is None or len(x) == 1 or not torch.is_grad_enabled():
            mean, variance = norm.running_mean, norm.running_var
        else:
            sums = F.linear(x, weight, bias)
            variance, mean = torch.var_mean(sums, dim=0, correction=0)
            if norm.num_batches_tracked == 0:
                norm.running_mean.copy_(mean.detach())
                norm.running_var.copy_(variance.detach())
                self.update_clipping()  # the folded weights have their scale now
            norm(sums)  # updates the running statistics
        gain = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        offset = (0 if bias is None else bias) - mean
        return weight * gain[:, None], offset * gain + (0 if norm.bias is None else norm.bias)

    def folded(self):
        layer = BitLinear(**self.settings | {"bias": True, "bias_input": self.bias_input})
        weight, bias = self.float_weights()
        state = self.state_dict()
        layer.load_state_dict(
            {key: value for key, value in state.items() if not key.startswith("norm.")}
            | {"weight": weight, "bias": bias / self.bias_input}
        )
        return layer.train(self.training)


_POWERS_OF_HALF = torch.tensor([0.5**shift for shift in range(32)])  # exact, unlike pow()


def shiftnorm_shift(accumulators, bits=UINT7.bits):
    """The contract's shift of each sample: max(0, bit_length(max(0, largest)) - bits).

    accumulators: integer-valued [B, O]; bits: of an activation. Returns int64 [B, 1].
    """
    largest = accumulators.amax(-1, keepdim=True).clamp(min=0)
    length = torch.frexp(largest).exponent.long()  # of an integer: its bit length
    return (length - bits).clamp(min=0)


class Requantiser(nn.Module):
    """Accumulators [B, O] -> activations 0..2^bits - 1 [B, O]: ReLU, a shift, and saturation.

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
        """What is rounded of `positive` accumulators [B, O]."""
        return positive * _POWERS_OF_HALF.to(positive.device)[self.shift_of(positive.detach())]

    def forward(self, accumulators):
        scaled = self.scaled(F.relu(accumulators))
        integers = (scaled.detach() + 0.5).floor().clamp(max=self.highest)
        return StraightThrough.apply(scaled, integers) if self.training else integers.float()

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
            largest = positive.amax(-1, keepdim=True).detach()
            return positive * (self.highest / largest.clamp(min=1))
        return super().scaled(positive)

    def also_writes(self, accumulators):
        """What the C's step writes besides its activations: the shift."""
        return (self.shift_of(accumulators),)


class FixedShiftReLU(Requantiser):
    """One shift for all samples, a buffer; what is too large saturates.

    It brings a running mean of the samples' largest accumulators, the smallest that 90 % of a batch
    do not pass, to the range of activations. It follows while `follows`, then it stays.
    """

    QUANTILE, MOMENTUM = 0.9, 0.98

    def __init__(self, bits=UINT7.bits):
        super().__init__(bits)
        self.settings = {"bits": bits}
        self.follows = True
        self.register_buffer("largest", torch.zeros(()))
        self.register_buffer("shift", torch.zeros((), dtype=torch.int64))

    def shift_of(self, accumulators):
        if self.training and self.follows and torch.is_grad_enabled():
            found = accumulators.amax(-1).float().quantile(self.QUANTILE)
            known = self.largest > 0
            self.largest.copy_(
                torch.where(known, self.largest.lerp(found, 1 - self.MOMENTUM), found)
            )
            length = torch.frexp(self.largest.floor()).exponent.long()
            self.shift.copy_((length - self.bits).clamp(0, 31))
        return self.shift


REQUANTISERS = {  # requantiser: (shiftnorm_aware, bits) -> module
    "ShiftNorm": ShiftNormReLU,
    "FixedShift": lambda aware, bits: FixedShiftReLU(bits),
}


class Network(nn.Module):
    """A chain of layers that ends in a `BitLinear`.

    Takes int8 inputs as a float tensor [B, I]. In training mode it returns float logits [B, O] for
    the loss: the last layer's input is normalised and its weights are in their float scale. In
    eval mode it returns the last layer's accumulators, the integers of the C.
    """

    def __init__(self, layers, NormType):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.NormType = NormType
        self.norm = NORMS[NormType](self.layers[-1].in_features)

    @property
    def has_integer_form(self):
        """Whether eval mode computes the integers of the C."""
        return self.norm.homogeneous and all(layer.format for layer in self.bit_layers())

    def forward(self, x):
        x = self.layers[:-1](x)
        last = self.layers[-1]
        if not self.training and self.has_integer_form:
            return last(x)
        if last.bias is not None and self.norm.homogeneous:
            return last(x) / self.norm.magnitude(x) * last.scale  # its bias is scaled as its sums
        return last(self.norm(x)) * last.scale

    @property
    def inputs(self):
        """How many values it takes."""
        return self.bit_layers()[0].in_features

    @property
    def classes(self):
        """How many logits it gives."""
        return self.bit_layers()[-1].out_features

    def outputs(self, x):
        """Yields (layer, its output) for inputs [B, I]; in eval mode these are the contract's."""
        for layer in self.layers:
            x = layer(x)
            yield layer, x

    @torch.no_grad()
    def values(self, x):
        """Yields what each step of the C writes, [B, elements], for inputs [B, I] in eval mode."""
        read = x
        for layer, written in self.outputs(x):
            yield written
            yield from getattr(layer, "also_writes", lambda read: ())(read)
            read = written

    def bit_layers(self):
        """The layers with weights, first to last."""
        return [layer for layer in self.layers if isinstance(layer, BitLinear)]

    def prepare(self, highest):
        """Before it is trained with inputs up to `highest`: what layers have to know of others."""
        biased = [i for i, layer in enumerate(self.layers) if getattr(layer, "has_bias", False)]
        for index, layer in enumerate(self.layers):
            if isinstance(layer, BitLinear):
                layer.read_up_to(highest)
            elif isinstance(layer, Requantiser):
                highest = layer.highest
            if isinstance(layer, ShiftNormReLU) and index < max(biased, default=0):
                layer.be_aware()
        self.update_clipping()

    def update_clipping(self):
        for layer in self.bit_layers():
            layer.update_clipping()

    def follow_scales(self, follows):
        """Whether shifts that training learns still follow it."""
        for layer in self.layers:
            if isinstance(layer, FixedShiftReLU):
                layer.follows = follows

    def folded(self):
        """This network with all batch normalisation folded into weights; itself if it has none."""
        if not any(isinstance(layer, BatchNormBitLinear) for layer in self.layers):
            return self
        layers = [getattr(layer, "folded", lambda layer=layer: layer)() for layer in self.layers]
        network = Network(layers, self.NormType).train(self.training)
        network.norm = self.norm
        return network

    def architecture(self):
        """What `from_architecture` builds this network from again, as plain data."""
        layers = [
            {"kind": type(layer).__name__, **getattr(layer, "settings", {})}
            for layer in self.layers
        ]
        return {"NormType": self.NormType, "layers": layers}


LAYERS = {
    layer.__name__: layer for layer in (BitLinear, ShiftNormReLU, FixedShiftReLU)
} | ACTIVATIONS


def from_architecture(architecture):
    """The `Network` whose `architecture()` this is, with weights yet to be loaded."""
    layers = []
    for settings in architecture["layers"]:
        settings = dict(settings)
        layers.append(LAYERS[settings.pop("kind")](**settings))
    return Network(layers, architecture["NormType"])
