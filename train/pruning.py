"""Pruning: which channels of a network go together, and the network that is left without them.

Up to the epoch `prune_epoch` a `MaskingLayer` stands in front of every layer that sums over
channels of which some are to go. What lies between the layer that makes them and those that sum
over them, requantisers, pools, depthwise convolutions and what is added in a `Residual`, keeps
channels apart, so one mask tells what a channel is worth, wherever it is read. Then the channels
with the smallest factors go: rows of the layers that make them, columns of those that read them.
Factors of the others become part of those columns. A network with masks has no integer form; what
is left has.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import nn

from BitNetMCU import BitLayer, MaskingLayer, Network, Residual, each_of
from cli import UserError
from train.settings import Settings


@dataclass(eq=False)
class Group:
    """Channels that only go together, in all layers that they run through.

    units: how many. Of what a layer reads or gives, k * units values, a unit has k side by side:
    the outputs of a depthwise convolution for it, or the positions of its flattened map. layers:
    numbers of those that give them, from 1. fixed: why none can go, "" if they can.
    """

    units: int
    fixed: str = ""
    layers: list = field(default_factory=list)
    part_of: "Group | None" = None

    def __str__(self):
        plural = "s" * (len(self.layers) > 1)
        return f"layer{plural} {', '.join(map(str, self.layers))}"

    @property
    def whole(self):
        """The group that this one has become part of, or itself."""
        return self.part_of.whole if self.part_of else self

    def join(self, other):
        """Both are one from here on; returns that."""
        first, second = self.whole, other.whole
        if first is not second:
            first.units = math.gcd(first.units, second.units)
            first.fixed = first.fixed or second.fixed
            first.layers += second.layers
            second.part_of = first
        return first

    def places(self, size, units=None):
        """Where the chosen `units` (indices [U]; None: all) are among `size` values: [U * k]."""
        units = torch.arange(self.units) if units is None else units
        each = torch.arange(size // self.units, device=units.device)
        return (units[:, None] * len(each) + each).flatten()


class Groups:
    """The `Group`s of a network: what each layer with weights reads and gives, and each mask."""

    def __init__(self, network: Network):
        self._read, self._given, self._masked = {}, {}, {}
        self._follow(network.layers, Group(1, "it has the channels of the inputs"))

    def _follow(self, layers, group):
        """Layer by layer, from the `Group` that the first one reads to that of the last one."""
        for layer in layers:
            if isinstance(layer, Residual):
                group = group.join(self._follow(layer.layers, group))
            elif isinstance(layer, MaskingLayer):
                self._masked[layer] = group
            elif isinstance(layer, BitLayer):
                self._read[layer] = group
                group = self._behind(layer, len(self._read), group)
                group.whole.layers.append(len(self._read))
                self._given[layer] = group
        return group

    @staticmethod
    def _behind(layer, number, group):
        if layer.groups == 1:
            return Group(len(layer.weight))
        if layer.groups == layer.in_channels:
            return group
        fixed = f"layer {number} reads and gives channels in groups={layer.groups}"
        group.whole.fixed = group.whole.fixed or fixed
        return Group(len(layer.weight), fixed)

    def read_by(self, layer):
        return self._read[layer].whole

    def given_by(self, layer):
        return self._given[layer].whole

    def masks(self):
        """{`Group`: its mask}"""
        return {group.whole: mask for mask, group in self._masked.items()}


def planned(network: Network, groups: Groups, kept):
    """{`Group`: how many of its units stay}, of those of which some go.

    kept: the setting `prune_keep`, a number of outputs for each hidden layer. Raises `UserError`
    where that cannot be.
    """
    hidden, text = network.bit_layers()[:-1], ",".join(map(str, kept))
    widths = [len(layer.weight) for layer in hidden]
    if len(kept) != len(hidden):
        raise UserError(
            f"prune_keep={text} names {len(kept)} numbers for {len(hidden)} hidden layers; name "
            f"one for each, up to {','.join(map(str, widths))}"
        )
    if kept == widths:
        raise UserError(
            f"prune_keep={text} is what the hidden layers have; name fewer where channels are to "
            "go, or leave prune_keep, prune_epoch and lambda_l1 out"
        )
    plan = {}
    for number, (layer, count, width) in enumerate(zip(hidden, kept, widths), start=1):
        group = groups.given_by(layer)
        if count > width:
            raise UserError(
                f"prune_keep={text} keeps {count} outputs of layer {number}, which has {width}; "
                f"name {width} or fewer"
            )
        if count < width and group.fixed:
            raise UserError(
                f"prune_keep={text} cannot prune layer {number}: {group.fixed}; name {width} for it"
            )
        units = count * group.units / width
        if units != plan.setdefault(group, units) or units != int(units):
            raise UserError(
                f"prune_keep={text} does not keep the same channels of {group}, which share them "
                f"({group.units}), as depthwise convolutions and residuals do; keep the same part "
                "of each"
            )
    return {group: int(units) for group, units in plan.items() if units < group.units}


def mask(network: Network, settings: Settings):
    """Put masks in front of the layers that read channels of which `settings` let some go."""
    if not settings.prune_epoch:
        return
    if not network.norm.homogeneous:
        raise UserError(
            f"NormType={settings.NormType} has no integer form, and its network is not pruned; use "
            "NormType=RMS or NormType=Lin"
        )
    groups = Groups(network)
    masks = {
        group: MaskingLayer(group.units) for group in planned(network, groups, settings.prune_keep)
    }

    def masked(layer):
        sums = isinstance(layer, BitLayer) and layer.groups == 1
        found = masks.get(groups.read_by(layer)) if sums else None
        return [layer] if found is None else [found, layer]

    _replace_layers(network, masked)


@torch.no_grad()
def prune(network: Network, settings: Settings):
    """Let the channels with the smallest masks go, and all masks; returns a line that says so.

    Where masks of what goes are 0 and all others 1, no sum and no float logit changes, but those
    for which what goes was looked at: by ShiftNorm for the largest, by the format Binary for the
    mean. Other masks become part of weights, which then round to others, and the norm in front of
    the last layer sees its inputs without them. Clip values stay as they are, for
    `Network.update_clipping`, and shifts for `forget_scales`.
    """
    groups, before = Groups(network), _weights(network)
    masks, stay, told = groups.masks(), {}, []
    for group, count in planned(network, groups, settings.prune_keep).items():
        factors = masks[group].factors
        order = factors.abs().argsort(descending=True, stable=True)
        stay[group] = order[:count].sort().values
        least, most = factors[order[count - 1 : count + 1]].abs().tolist()
        told.append(
            f"{count} of {group.units} channels of {group} stay, with masks from {least:.3g} on; "
            f"of the others they go up to {most:.3g}"
        )
        factors[order[count:]] = 0

    def narrowed(layer):
        if isinstance(layer, MaskingLayer):
            return []
        if not isinstance(layer, BitLayer):
            return [layer]
        read, given = groups.read_by(layer), groups.given_by(layer)
        if not {read, given} & stay.keys():
            return [layer]
        inputs, outputs = layer.groups * layer.weight.shape[1], len(layer.weight)
        if read in stay and layer.groups == 1:
            factors = masks[read].factors.repeat_interleave(inputs // read.units)
            layer.weight *= factors.view(-1, *(1,) * (layer.weight.ndim - 2))
        return [
            layer.narrowed(
                given.places(outputs, stay.get(given)), read.places(inputs, stay.get(read))
            )
        ]

    read = groups.read_by(network.layers[-1])
    _replace_layers(network, narrowed)
    if read in stay:
        magnitude = network.norm.magnitude(masks[read].factors).item()
        for each in (*network.layers[-1].parameters(), network.layers[-1].maxw):
            each /= magnitude
    return f"{'; '.join(told)}; {_weights(network)} of {before} weights stay"


def _weights(network):
    return sum(layer.weight.numel() for layer in network.bit_layers())


def _replace_layers(network, replaced):
    """Each layer by those that `replaced(layer)` lists, also inside a `Residual`."""
    residuals = [layer for layer in each_of(network.layers) if isinstance(layer, Residual)]
    for parent in (network, *residuals):
        parent.layers = nn.Sequential(*(new for layer in parent.layers for new in replaced(layer)))
