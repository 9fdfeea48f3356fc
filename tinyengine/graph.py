"""The graph of a model, as all stages pass it on."""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Tensor:
    """A value in the graph.

    shape: of the model, the batch dimension with it. dtype: "int8", "int32" or "float32". scales
    (float32) and zero_points: None, or one value, or one for each index of `axis`. data: the
    array of a constant, None for an activation. channels: after pruning, which of the model's
    channels (the last dimension) are left, None for all.
    """

    name: str
    shape: tuple
    dtype: str
    scales: np.ndarray | None = None
    zero_points: np.ndarray | None = None
    axis: int = 0
    data: np.ndarray | None = None
    channels: np.ndarray | None = None

    @property
    def size(self):
        """Elements; of an int8 tensor, bytes."""
        return int(np.prod(self.shape, dtype=np.int64))

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
    """An operator. index: its place in the model file, by which messages and traces name it.

    kind: as in TensorFlow Lite's schema, CONV_2D. inputs, outputs: indices of tensors, -1 for an
    optional one that is not there. attributes: what importer.py read, or lowering.py added.
    """

    index: int
    kind: str
    inputs: list
    outputs: list
    attributes: dict = field(default_factory=dict)


@dataclass
class Graph:
    """Operators in the order of execution. inputs, outputs: indices of tensors."""

    name: str
    tensors: list
    operators: list
    inputs: list
    outputs: list

    def consumers(self, tensor):
        """The operators that read the tensor with this index."""
        return [operator for operator in self.operators if tensor in operator.inputs]

    def activations(self, operator):
        """The inputs of an operator that are no constants."""
        return [i for i in operator.inputs if i >= 0 and self.tensors[i].data is None]
