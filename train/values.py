"""The kinds of values that hyperparameters take: how each is read, and what it may be, in words.

Each has `parse`, which gives a valid value or raises ValueError, and says as text what it takes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from lowbit import inputmap
from train.layers import HELP, WIDEST, Layer

AUTO = "auto"
ALL = "all"


@dataclass(frozen=True)
class Choice:
    options: tuple
    absent: str | None = None

    def parse(self, value):
        value = "None" if value is None else str(value)
        if value not in self.options:
            raise ValueError
        return value

    def __str__(self):
        return "one of: " + ", ".join(self.options)


@dataclass(frozen=True)
class Number:
    kind: type
    low: float
    high: float
    absent: float | None = None

    def parse(self, value):
        if isinstance(value, bool):
            raise ValueError
        number = float(value)  # also text, such as '1e-3' in YAML 1.1; nan is out of range
        if not self.low <= number <= self.high or number != self.kind(number):
            raise ValueError
        return self.kind(number)

    def __str__(self):
        name = "a whole number" if self.kind is int else "a number"
        return f"{name} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Name:
    """One of `options`, or any text that `also` accepts: a path of the user's."""

    options: tuple
    also: Callable
    hint: str

    def parse(self, value):
        if value not in self.options and not (isinstance(value, str) and self.also(value)):
            raise ValueError
        return value

    def __str__(self):
        return f"one of: {', '.join(self.options)}, or {self.hint}"


@dataclass(frozen=True)
class Flag:
    options: ClassVar = ("True", "False")

    def parse(self, value):
        if str(value) not in ("True", "False", "true", "false"):
            raise ValueError
        return str(value).lower() == "true"

    def __str__(self):
        return "one of: " + ", ".join(self.options)


def items(value):
    """The list that a text such as "64,64" or "[64, 64]" means; anything else as it is."""
    return value.strip("[]").split(",") if isinstance(value, str) else value


def _list(value, fewest, most):
    """The list that a value is or means, of so many items."""
    values = items(value)
    if not isinstance(values, list) or not fewest <= len(values) <= most:
        raise ValueError
    return values


def _one_or_each(rule, value):
    """What `rule` makes of a value or, where they are several, of each."""
    values = items(value)
    if not isinstance(values, list):
        return rule.parse(values)
    if not values:
        raise ValueError
    parsed = [rule.parse(each) for each in values]
    return parsed if len(parsed) > 1 else parsed[0]


@dataclass(frozen=True)
class Widths:
    """The widths of hidden layers, or AUTO: `models.WIDTHS`."""

    fewest: int
    most: int
    widest: int

    def parse(self, value):
        if value == AUTO:
            return value
        rule = Number(int, 1, self.widest)
        return [rule.parse(width) for width in _list(value, self.fewest, self.most)]

    def __str__(self):
        numbers = f"whole numbers from 1 to {self.widest}, as 64,64"
        return f"{AUTO}; or {self.fewest} to {self.most} {numbers}"


@dataclass(frozen=True)
class Layers:
    """The layers of a network but the last, as text, or AUTO: those of the model."""

    most: int
    absent: str = AUTO

    def parse(self, value):
        if value == AUTO:
            return value
        return [str(Layer.parse(text)) for text in _list(value, 1, self.most)]

    def __str__(self):
        return f"{AUTO}; or 1 to {self.most} layers, each {HELP}"


@dataclass(frozen=True)
class OnePerLayer:
    """One of `options` for all layers, or a list with one of them for each.

    `alone` is an option that cannot stand in a list.
    """

    options: tuple
    alone: str

    def parse(self, value):
        values = items(value) if isinstance(value, str) and "," in value else value
        if not isinstance(values, list):
            return Choice(self.options).parse(values)
        if not values:
            raise ValueError
        mixable = Choice(tuple(option for option in self.options if option != self.alone))
        return [mixable.parse(str(each).strip()) for each in values]

    def __str__(self):
        return (
            f"{Choice(self.options)}; or one for each layer, as Ternary,Ternary,4bitsym "
            f"(without {self.alone})"
        )


@dataclass(frozen=True)
class EachLayer:
    """A whole number for all hidden layers, or a list with one for each."""

    low: int
    high: int
    absent: int

    def parse(self, value):
        return _one_or_each(Number(int, self.low, self.high), value)

    def __str__(self):
        return (
            f"a whole number from {self.low} to {self.high}, or one for each hidden layer, as 7,4,4"
        )


@dataclass(frozen=True)
class Kept:
    """How many outputs of each hidden layer stay, or ALL."""

    absent: str = ALL

    def parse(self, value):
        if value == ALL:
            return value
        return [Number(int, 1, WIDEST).parse(count) for count in _list(value, 1, math.inf)]

    def __str__(self):
        return f"{ALL}; or a whole number from 1 to {WIDEST} for each hidden layer, as 32,12,64"


@dataclass(frozen=True)
class OrAuto:
    """What `rule` takes, or AUTO: `images` for images, `measured` for measured values; `windows`
    for images and `sequences`, if that is another, for measured values where `layers`, given or a
    preset's, begin with a convolution."""

    rule: Choice | Number | EachLayer
    images: str | int
    measured: str | int
    windows: str | int
    sequences: str | int | None = None

    def parse(self, value):
        return value if value == AUTO else self.rule.parse(value)

    def __str__(self):
        return f"{self.rule}; or {AUTO}"

    def of(self, is_measured, has_windows):
        """What AUTO is."""
        if not is_measured:
            return self.windows if has_windows else self.images
        return self.sequences if has_windows and self.sequences else self.measured

    @property
    def absent(self):
        return self.rule.absent

    @property
    def options(self):
        return (*getattr(self.rule, "options", ()), AUTO)


@dataclass(frozen=True)
class RawUnits:
    """`inputmap.AUTO`, one number > 0 for all channels, or a list with one for each."""

    low: float
    high: float
    absent: str = inputmap.AUTO

    def parse(self, value):
        if value == inputmap.AUTO:
            return value
        return _one_or_each(Number(float, self.low, self.high), value)

    def __str__(self):
        return (
            f"{inputmap.AUTO}; or a number from {self.low:g} to {self.high:g}, or one for each "
            "channel, as 100,16384,16384"
        )
