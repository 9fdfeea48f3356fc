"""The layers that the setting `layers` names: what their text means, and what they become."""

import re
from dataclasses import dataclass

import BitNetMCU
from BitNetMCU import BitConv2d, BitLinear, Flatten, MaxPool2d, SumPool2d
from cli import UserError

WIDEST = 4096
SIZE = r"(?P<size>\d+(x\d+)?)"  # of a kernel; one number: of a sequence, one row high
STRIDE = r"(/(?P<stride>\d+))?"
PADDING = r"( pad (?P<padding>\d+))?"
WIDTH = r"(?P<width>\d+)"
TEXTS = {  # kind -> what may stand behind its name
    "dense": rf" {WIDTH}",
    "conv": rf" {SIZE}{STRIDE}{PADDING}( groups (?P<groups>\d+))? {WIDTH}",
    "depthwise": rf" {SIZE}{STRIDE}{PADDING}( {WIDTH})?",
    "maxpool": rf" ({SIZE}{STRIDE}|(?P<all>all))",
    "avgpool": rf" ({SIZE}{STRIDE}|(?P<all>all))",
    "sumpool": rf" ({SIZE}{STRIDE}|(?P<all>all))",
    "residual": r" (?P<count>\d+)",
}
HELP = (
    "'dense WIDTH'; 'conv ROWSxCOLUMNS WIDTH', as 'conv 7x7/3 32' or 'conv 3x3 pad 1 groups 2 16', "
    "where '/3' is the stride, and 'pad 1' pads with zeros; 'depthwise ROWSxCOLUMNS', as "
    "'depthwise 3x3', with '/2', 'pad 1' and, for more outputs than channels, a WIDTH behind it; "
    "'maxpool', 'avgpool' or 'sumpool ROWSxCOLUMNS', or 'all' of the map; 'residual N': what the "
    "next N layers read is added to what they give; one number in place of ROWSxCOLUMNS is for "
    f"sequences; a WIDTH is at most {WIDEST}"
)
POOLS = ("maxpool", "avgpool", "sumpool")


@dataclass(frozen=True)
class Layer:
    """A layer of the setting `layers`.

    kind: of TEXTS. width: outputs, None: as many as channels. kernel: (rows, columns), None where
    there is none, or it is all of the map. count: layers of a residual.
    """

    kind: str
    width: int | None = None
    kernel: tuple | None = None
    stride: int | None = None
    padding: int = 0
    groups: int = 1
    count: int = 0

    @classmethod
    def parse(cls, text):
        """Of "dense 64", "conv 7x7/3 32", "maxpool 2x2", ... Raises ValueError."""
        words = " ".join(str(text).split())
        kind = words.partition(" ")[0]
        found = kind in TEXTS and re.fullmatch(kind + TEXTS[kind], words)
        if not found:
            raise ValueError(text)
        given = {key: value for key, value in found.groupdict().items() if value is not None}
        size = given.pop("size", None)
        given.pop("all", None)
        numbers = {key: int(value) for key, value in given.items()}
        kernel = None
        if size:
            kernel = tuple(map(int, size.split("x")))
            kernel = kernel if len(kernel) == 2 else (1, *kernel)
        layer = cls(kind, kernel=kernel, **numbers)
        least = [layer.width or 1, layer.stride or 1, layer.groups, *(kernel or ())]
        if numbers.get("width") == 0 or min(least) < 1 or (layer.width or 0) > WIDEST:
            raise ValueError(text)
        if "stride" in numbers and layer.stride < 1 or kind == "residual" and not layer.count:
            raise ValueError(text)
        return layer

    def __str__(self):
        if self.kind == "residual":
            return f"residual {self.count}"
        parts = [self.kind]
        if self.kernel:
            parts.append("x".join(map(str, self.kernel)))
            plain = self.kernel[0] if self.kind in POOLS and self.kernel[0] == self.kernel[1] else 1
            if self.stride and self.stride != plain:
                parts[-1] += f"/{self.stride}"
        elif self.kind in POOLS:
            parts.append("all")
        parts += [f"pad {self.padding}"] * bool(self.padding)
        parts += [f"groups {self.groups}"] * (self.groups > 1)
        return " ".join([*parts, *([str(self.width)] if self.width else ())])

    @property
    def has_weights(self):
        return self.kind in ("dense", "conv", "depthwise")

    @property
    def reads_map(self):
        return self.kind != "dense"

    def module(self, shape, QuantType, **options):
        """The modules of a layer with weights, or of a pool, that reads values of `shape`.

        options: of a `BitLayer`. Raises `UserError` for a shape that it cannot read.
        """
        if self.kind == "dense":
            flat = [Flatten()] if len(shape) > 1 else []
            inputs = BitNetMCU.elements(shape)
            return [*flat, BitLinear(inputs, self.width, QuantType, **options)]
        if len(shape) == 1:
            raise UserError(
                f"layers='{self}' needs a map, but gets {shape[0]} values; begin with a dense "
                "layer, or put what reads maps in front of all dense layers"
            )
        if self.kind in POOLS:
            pool = MaxPool2d if self.kind == "maxpool" else SumPool2d
            return [pool(self.kernel or shape[1:], self.stride)]
        groups = self.groups if self.kind == "conv" else shape[0]
        padding = tuple(self.padding * (size > 1) for size in self.kernel)
        geometry = {"stride": self.stride or 1, "padding": padding, "groups": groups}
        width = self.width or shape[0]
        return [BitConv2d(shape[0], width, self.kernel, QuantType, **geometry, **options)]
