"""Graphs of operators over tensors, as all stages of a compiler pass them on.

A front end reads a model as `Operator`s and lowers it to `Step`s, which kernels execute. After
lowering, constants are part of a step's fields, and its tensors are what is computed while it runs.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Range:
    """The integers that a value can be, from `lowest` to `highest`, both included."""

    lowest: int
    highest: int

    @property
    def signed(self):
        return self.lowest < 0

    @property
    def largest(self):
        """The largest magnitude."""
        return max(-self.lowest, self.highest)

    @property
    def bits(self):
        """Of the largest value, where none is negative."""
        return self.highest.bit_length()

    @property
    def span(self):
        """From the lowest to the highest."""
        return self.highest - self.lowest

    def holds(self, other):
        """Whether all of `other` lies inside."""
        return self.lowest <= other.lowest and other.highest <= self.highest


DTYPES = {  # of a tensor: what NumPy calls it, and so all integers that an element can be
    name: Range(int(np.iinfo(name).min), int(np.iinfo(name).max))
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32")
}
INT8 = DTYPES["int8"]
UINT7 = Range(0, INT8.highest)  # activations behind a ReLU, and pixels: half of an int8 is unused
INT32 = DTYPES["int32"]

# Where a tensor lies. A step's own local variables are no memory that a plan knows of.
ARENA = "arena"  # planned memory; its content is gone when the last reader has run
CALLER = "caller"  # memory of whoever runs the model: its input, or its output
LOCAL = "local"  # a variable of the C function: what a step says of its output, as a shift
FLASH = "flash"  # a constant of the model
STATE = "state"  # memory of its own, which keeps its content from run to run
WITHIN = "within"  # the end of the state that is the first input of the only step that reads it
STORAGE = (ARENA, CALLER, LOCAL, FLASH, STATE, WITHIN)


@dataclass
class Tensor:
    """A value in the graph. name: a C identifier, no other tensor's.

    shape: as in the model, the batch dimension with it where the model has one. dtype: of an
    element in memory: one of DTYPES, or "float32" at the edges of a model. range: the integers that
    there can be, all of the dtype by default. scales (float32) and zero_points: None, or one value,
    or one for each index of `axis`. data: the array of a constant, None for what is computed.
    storage: where it lies. initial: of a state, what is in it before the first run: one integer, or
    an array of all. channels: after pruning, which of the model's channels (the last dimension) are
    left, None for all.
    """

    name: str
    shape: tuple
    dtype: str
    scales: np.ndarray | None = None
    zero_points: np.ndarray | None = None
    axis: int = 0
    data: np.ndarray | None = None
    channels: np.ndarray | None = None
    range: Range | None = None
    storage: str = ARENA
    initial: int | np.ndarray = 0

    def __post_init__(self):
        if self.range is None:
            self.range = DTYPES.get(self.dtype)
        if self.data is not None:
            self.storage = FLASH

    @property
    def size(self):
        """How many elements there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def bytes(self):
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def last_dimension(self):
        """How many channels there are."""
        return self.shape[-1] if self.shape else 1

    @property
    def scale(self):
        return float(self.scales[0])

    @property
    def zero_point(self):
        return int(self.zero_points[0])

    def left_of(self, values):
        """What is computed of the model's `values` of this tensor, flat."""
        if self.channels is not None:
            values = values[..., self.channels]
        return values.ravel()


@dataclass
class Operator:
    """An operator as a model has it. index: its place there, by which messages name it.

    kind: of its front end, as CONV_2D. inputs, outputs: indices of tensors, -1 for an optional one
    that is not there. attributes: what was read of it.
    """

    index: int
    kind: str
    inputs: list
    outputs: list
    attributes: dict = field(default_factory=dict)

    @property
    def name(self):
        """What messages and reports call it."""
        return f"{self.kind} {self.index}"


@dataclass
class Step:
    """An operator as a kernel executes it.

    inputs, outputs: indices of what is computed; the first output is its value, others say more of
    it, as a shift. fields: all else that its rule and its kernels need, constants among it; which
    there are is up to the kind.
    """

    index: int
    kind: str
    inputs: list
    outputs: list
    fields: dict

    @property
    def name(self):
        """What messages and reports call it."""
        return f"{self.kind} {self.index}"


@dataclass(frozen=True)
class Graph:
    """Operators, or after lowering steps, in the order of execution. It is never changed, nor are
    its lists: a pass makes another one (`dataclasses.replace`).

    inputs, outputs: indices of tensors. rows: what is known of each kind: of steps `operators.Row`,
    of a model's operators what its front end has, with the methods of a row for pictures.
    """

    name: str
    tensors: list
    operators: list
    inputs: list
    outputs: list
    rows: dict = field(default_factory=dict)

    def consumers(self, tensor):
        """The operators that read the tensor with this index."""
        return list(self._consumers.get(tensor, ()))

    @cached_property
    def _consumers(self):
        """{index of a tensor: the operators that read it}"""
        found = {}
        for operator in self.operators:
            for tensor in dict.fromkeys(operator.inputs):
                found.setdefault(tensor, []).append(operator)
        return found

    def activations(self, operator):
        """The inputs of an operator that are no constants."""
        return [i for i in operator.inputs if i >= 0 and self.tensors[i].data is None]

    def row(self, operator):
        """The `operators.Row` of an operator or step."""
        return self.rows[operator.kind]

    @cached_property
    def state(self):
        """Indices of the tensors that keep their content from run to run."""
        return [i for i, tensor in enumerate(self.tensors) if tensor.storage == STATE]

    @property
    def input(self):
        """The only input's tensor."""
        (i,) = self.inputs
        return self.tensors[i]

    @property
    def output(self):
        """The only output's tensor."""
        (i,) = self.outputs
        return self.tensors[i]


def by_input(graph, inputs):
    """[array [runs, elements]] for each input of a graph.

    inputs: integers [runs, ...]; of a graph of several inputs a list of such, one for each.
    """
    several = [inputs] if len(graph.inputs) == 1 else inputs
    return [np.asarray(values).reshape(len(values), -1) for values in several]
