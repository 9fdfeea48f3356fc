"""Layers with quantised weights: fully connected, and convolutions.

Shapes: B = batch, O = outputs or output channels, N = weights of one of them.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from cli import UserError
from compiler.formats import FACTORS, FORMATS
from compiler.graph import INT8, UINT7
from qat.quantisers import CLIPPING, StraightThrough, centre, mean_magnitude, quantise, unit_of

BIAS_INPUT = UINT7.highest  # a bias is the weight of an input that always has this value, or less:
# the largest of the layer's inputs, where that is known to be smaller

BIAS_LIMIT = 2**20  # the largest integer bias: accumulators of 4,096 inputs reach as far

FLOAT = "None"  # QuantType of a network that is trained in floating point and never exported

WEIGHT_SCALES = ("PerTensor", "PerOutput")


class BitLayer:
    """What `BitLinear` and `BitConv2d` share; the other base is the layer of PyTorch.

    The float `weight` [O, ...] is what training changes; `integer_weights()`, [O, N], is what it
    computes with. `maxw` (a buffer) is the clip value, set by `update_clipping`. With WScale
    PerOutput the clip value of output o is maxw * factors[o], and its accumulator is multiplied by
    factors[o] (a buffer, integer-valued float32 [O, 1]), so that all have one scale again. A float
    `bias` [O] is in units of a weight times `bias_input`, so that it learns as fast as weights do;
    it is rounded to an integer of any size, not to a level of the format.

    A subclass has `products(x, weights [O, N], bias [O] or None)`, in training as fast as it can
    be, and `exact_products`, whose sums are exact while they fit the type.
    """

    reads, writes = "activations", "accumulators"

    def _quantised(self, sizes, QuantType, maxw_algo, maxw_quantscale, WScale, bias, bias_input):
        """What the constructors do once PyTorch's has run. sizes: settings of the subclass."""
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
        self.settings = sizes | {
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
        self.register_buffer("factors", torch.ones(len(self.weight), 1) if per_output else None)
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
        """(weights [O, N], bias [O] or None) before rounding, in one unit; in training for `x`."""
        bias = None if self.bias is None else self.bias * self.bias_input
        return self.weight.flatten(1), bias

    def integer_weights(self):
        """The weights [O, N] that the C has, as integer-valued float32."""
        return self._integers(*self.float_weights())[0]

    def integer_factors(self):
        """What the accumulators are multiplied by: integer-valued float32 [O, 1], or 1."""
        return 1 if self.factors is None else self.factors

    def integer_bias(self):
        """What is added to the sums, before factors: integer-valued float64 [O]; None without."""
        return self._integers(*self.float_weights())[1]

    def _integers(self, weight, bias):
        """`integer_weights()` and `integer_bias()` for a float `weight` [O, N] and `bias` [O]."""
        clip = self.maxw if self.factors is None else self.maxw * self.factors
        rounded = quantise(self.format, weight.detach(), clip)
        if bias is None:
            return rounded, None
        unit = unit_of(self.format, clip).double().flatten()
        return rounded, (bias.detach().double() / unit).round()

    def narrowed(self, outputs, inputs):
        """A layer with only those of its `outputs` and `inputs`, both indices in their order.

        Of a convolution that is depthwise, `outputs` are those of its `inputs`; of one with other
        groups, all stay.
        """
        state = {
            key: value[outputs] if value.ndim else value for key, value in self.state_dict().items()
        }
        if self.groups == 1:
            state["weight"] = state["weight"][:, inputs]
        layer = self._like(self.settings | self._sizes(len(outputs), len(inputs)))
        layer.load_state_dict(state)
        return layer.to(self.weight.device).train(self.training)

    def _like(self, settings):
        return type(self)(**settings)

    def forward(self, x):
        weight, bias = self.float_weights(x) if self.training else self.float_weights()
        if not self.format:
            return self.products(x, weight, bias)
        effective, rounded = self._integers(weight, bias)
        factors = self.integer_factors()
        effective = effective * factors
        if bias is not None:
            rounded = rounded * (factors if self.factors is None else factors.flatten())
        if self.training:
            if bias is not None:
                bias = StraightThrough.apply(bias / self.scale, rounded.float())
            return self.products(x, StraightThrough.apply(weight / self.scale, effective), bias)
        # float32 holds integers exactly up to 2^24; one bit is left for ShiftNorm's rounding.
        reach = INT8.largest * effective.abs().sum(1) + (0 if bias is None else rounded.abs())
        exact = torch.float32 if reach.max() < 2**23 else torch.float64
        bias = None if bias is None else rounded.to(exact)
        return self.exact_products(x.to(exact), effective.to(exact), bias)

    def extra_repr(self):
        text = f"{super().extra_repr()}, QuantType={self.format.name if self.format else FLOAT}"
        return text if self.factors is None else f"{text}, WScale=PerOutput"


class BitLinear(BitLayer, nn.Linear):
    """A fully connected layer: integer activations [B, I] -> accumulators [B, O]; N = I.

    The rest is what a `BitLayer` says.
    """

    groups = 1  # as of a convolution: each output reads all inputs

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
        sizes = self._sizes(out_features, in_features)
        self._quantised(sizes, QuantType, maxw_algo, maxw_quantscale, WScale, bias, bias_input)

    def _sizes(self, outputs, inputs):
        """Those of its settings that say how many inputs and outputs it has."""
        return {"in_features": int(inputs), "out_features": int(outputs)}

    @staticmethod
    def weight_shape(settings):
        """That of its weights, for the `settings` of a checkpoint."""
        return [settings["out_features"], settings["in_features"]]

    def output_shape(self, shape):
        """That of what it gives for a sample of `shape`. Raises ValueError for one it cannot read.

        All layers have this method.
        """
        if list(shape) != [self.in_features]:
            raise ValueError(f"takes {self.in_features} inputs")
        return (self.out_features,)

    def products(self, x, weights, bias):
        return F.linear(x, weights, bias)

    exact_products = products


def pair(value):
    """(rows, columns) of one whole number for both, or of two."""
    first, second = value if isinstance(value, list | tuple) else (value, value)
    return int(first), int(second)


LARGEST_KERNEL = 16  # rows and columns of a convolution


class BitConv2d(BitLayer, nn.Conv2d):
    """A convolution: integer activations [B, C, H, W] -> accumulators [B, O, H', W'].

    N = C / groups * rows * columns of the kernel. kernel_size, stride, padding (with zeros): whole
    numbers, or (rows, columns). groups: each reads its part of the channels and gives its part of
    the outputs; depthwise with as many as channels. The rest is what a `BitLayer` says.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        QuantType,
        stride=1,
        padding=0,
        maxw_algo="octav",
        maxw_quantscale=3.2,
        WScale="PerTensor",
        bias=False,
        bias_input=BIAS_INPUT,
        groups=1,
    ):
        kernel_size, stride, padding = pair(kernel_size), pair(stride), pair(padding)
        if not 1 <= min(kernel_size) <= max(kernel_size) <= LARGEST_KERNEL:
            raise UserError(
                f"kernel_size={kernel_size} of a BitConv2d is not valid; it takes 1 to "
                f"{LARGEST_KERNEL} rows and columns"
            )
        if min(stride) < 1 or not all(0 <= p < k for p, k in zip(padding, kernel_size)):
            raise UserError(
                f"stride={stride}, padding={padding} of a BitConv2d are not valid; a stride is 1 "
                "or more, padding less than the kernel"
            )
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise UserError(
                f"groups={groups} of a BitConv2d is not valid; it divides both the {in_channels} "
                f"channels that it reads and the {out_channels} that it gives"
            )
        sizes = (in_channels, out_channels, kernel_size, stride, padding)
        super().__init__(*sizes, groups=groups, bias=bias)
        sizes = {
            "in_channels": int(in_channels),
            "out_channels": int(out_channels),
            "kernel_size": list(kernel_size),
            "stride": list(stride),
            "padding": list(padding),
        } | ({"groups": int(groups)} if groups > 1 else {})
        self._quantised(sizes, QuantType, maxw_algo, maxw_quantscale, WScale, bias, bias_input)

    def _sizes(self, outputs, inputs):
        sizes = {"in_channels": inputs, "out_channels": outputs}
        return sizes | ({"groups": inputs} if self.groups == self.in_channels > 1 else {})

    @staticmethod
    def weight_shape(settings):
        channels = settings["in_channels"] // settings.get("groups", 1)
        return [settings["out_channels"], channels, *settings["kernel_size"]]

    def output_shape(self, shape):
        if len(shape) != 3 or shape[0] != self.in_channels:
            raise ValueError(f"takes maps of {self.in_channels} channels")
        sizes = zip(shape[1:], self.kernel_size, self.stride, self.padding)
        steps = [(size + 2 * padding - kernel) // stride for size, kernel, stride, padding in sizes]
        if min(steps) < 0:
            rows, columns = self.kernel_size
            raise ValueError(f"takes maps of at least {rows}x{columns}, less its padding")
        return (self.out_channels, *(step + 1 for step in steps))

    def unread(self, shape):
        """How many of the last rows and columns of a map of `shape` no window reaches."""
        sizes = zip(shape[1:], self.kernel_size, self.stride, self.padding)
        beyond = [((size + 2 * pad - kernel) % stride, pad) for size, kernel, stride, pad in sizes]
        return [max(0, count - pad) for count, pad in beyond]

    def products(self, x, weights, bias):
        weights = weights.view(self.weight.shape)
        sums = F.conv2d(x, weights, bias, self.stride, self.padding, groups=self.groups)
        # PyTorch's pools and depthwise convolutions go faster through channels that lie side by
        # side; strides leave so little that bringing it there takes longer.
        last = self.stride == (1, 1)
        return sums.contiguous(memory_format=torch.channels_last) if last else sums

    def exact_products(self, x, weights, bias):
        # As matrices: fast algorithms of convolution multiply sums, which are not exact.
        (rows, columns), (down, right) = self.kernel_size, self.stride
        top, left = self.padding
        x = F.pad(x, (left, left, top, top))
        depthwise = self.groups == self.in_channels
        if depthwise and self.out_channels > self.groups:
            x = x.repeat_interleave(self.out_channels // self.groups, 1)
        windows = x.unfold(2, rows, down).unfold(3, columns, right)  # a view [B, C, H', W', ...]
        if depthwise:  # copies of windows would take as much memory as that many maps
            taps = weights.view(-1, rows, columns)
            sums = torch.zeros_like(windows[..., 0, 0])
            for row, column in itertools.product(range(rows), range(columns)):
                sums.addcmul_(windows[..., row, column], taps[:, row, column, None, None])
            return sums if bias is None else sums + bias[:, None, None]
        windows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3)
        if self.groups == 1:
            sums = F.linear(windows, weights, bias)
        else:
            by_group = windows.unflatten(3, (self.groups, -1))  # [B, H', W', groups, N]
            weights = weights.unflatten(0, (self.groups, -1))  # [groups, O / groups, N]
            sums = torch.einsum("bhwgn,gon->bhwgo", by_group, weights).flatten(3)
            sums = sums if bias is None else sums + bias
        return sums.movedim(-1, 1)


def BitConv1d(in_channels, out_channels, kernel_size, QuantType, stride=1, padding=0, **options):
    """A `BitConv2d` along the time of a sequence, which is a map [B, C, 1, T] of one row."""
    sizes = {"stride": (1, stride), "padding": (0, padding)}
    return BitConv2d(in_channels, out_channels, (1, kernel_size), QuantType, **sizes, **options)


class BatchNormed:
    """A `BitLayer` and the batch normalisation behind it, as one layer.

    The normalisation is folded into weights and bias before they are rounded, so training sees what
    is exported (Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
    arXiv 1806.08342, section 3.2.2): with the batch's statistics in training, with running ones
    otherwise. `folded()` is the same as the plain layer.
    """

    has_bias = True  # that of the normalisation

    def __init__(self, layer, norm):
        super().__init__(**layer.settings)
        self.load_state_dict(layer.state_dict())
        self.norm = norm

    def update_clipping(self):
        if "norm" in self._modules:  # not yet while the constructor of the layer calls it
            super().update_clipping()

    def float_weights(self, x=None):
        weight, bias = super().float_weights()
        norm = self.norm
        # Without gradients it is being measured, not trained: that changes no statistics.
        if x is None or len(x) == 1 or not torch.is_grad_enabled():
            mean, variance = norm.running_mean, norm.running_var
        else:
            sums = self.products(x, weight, bias)
            places = [dim for dim in range(sums.ndim) if dim != 1]
            variance, mean = torch.var_mean(sums, dim=places, correction=0)
            if norm.num_batches_tracked == 0:
                norm.running_mean.copy_(mean.detach())
                norm.running_var.copy_(variance.detach())
                self.update_clipping()  # the folded weights have their scale now
            norm(sums)  # updates the running statistics
        gain = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
        offset = (0 if bias is None else bias) - mean
        return weight * gain[:, None], offset * gain + (0 if norm.bias is None else norm.bias)

    def _like(self, settings):
        norm, (outputs, *_) = self.norm, self.weight_shape(settings)
        fresh = type(norm)(outputs, norm.eps, norm.momentum, norm.affine)
        return type(self)(self.plain(**settings), fresh)

    def folded(self):
        layer = self.plain(**self.settings | {"bias": True, "bias_input": self.bias_input})
        weight, bias = self.float_weights()
        state = self.state_dict()
        layer.load_state_dict(
            {key: value for key, value in state.items() if not key.startswith("norm.")}
            | {"weight": weight.view(self.weight.shape), "bias": bias / self.bias_input}
        )
        return layer.train(self.training)


class BatchNormBitLinear(BatchNormed, BitLinear):
    plain = BitLinear


class BatchNormBitConv2d(BatchNormed, BitConv2d):
    plain = BitConv2d


NORMED = {  # a norm of PyTorch -> what it becomes part of, and what both then are
    nn.BatchNorm1d: (BitLinear, BatchNormBitLinear),
    nn.BatchNorm2d: (BitConv2d, BatchNormBitConv2d),
}
