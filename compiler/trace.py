"""What the steps of a running model wrote: one macro in the C, one format, one reader.

BITNETMCU_TRACE(step, data, bytes) is called for each output of each step, after it ran. Whoever
defines it, a program on this computer, the emulator or a core under QEMU, appends the bytes to a
record: little-endian, nothing between them. A `Layout` says what they are.
"""

from dataclasses import dataclass

import numpy as np

from compiler.graph import LOCAL, by_input

DEFINITION = """/* Called after each step with what it wrote; define it to look at that. */
#ifndef BITNETMCU_TRACE
#define BITNETMCU_TRACE(step, data, bytes) ((void)(data))
#endif
"""


def calls(graph, number, step):
    """The lines of C that trace `step`, the one with that number."""
    for i in step.outputs:
        tensor = graph.tensors[i]
        data = f"&{tensor.name}" if tensor.storage == LOCAL else tensor.name
        yield f"BITNETMCU_TRACE({number}, {data}, {tensor.bytes});"


@dataclass(frozen=True)
class Result:
    """What an executor of a network computed for some inputs.

    values: {index of a tensor: array [runs, elements]} of all outputs of its steps; output: what
    its function gave back, array [runs, elements], a list of such where it has several;
    predictions: the class that it returned of each run, and counts: cycles or instructions of each
    run: None where there are none.
    """

    values: dict
    output: np.ndarray | list
    predictions: np.ndarray | None = None
    counts: np.ndarray | None = None


def bytes_of(graph, tensors):
    """How many bytes the tensors with these indices have."""
    return sum(graph.tensors[i].bytes for i in tensors)


def written(graph, tensors, values):
    """uint8 [runs, bytes]: `values` {index of a tensor: array [runs, elements]} of the tensors with
    these indices, one behind the other."""
    columns = [
        np.ascontiguousarray(values[i], np.dtype(graph.tensors[i].dtype).newbyteorder("<"))
        for i in tensors
    ]
    return np.concatenate([column.view(np.uint8) for column in columns], axis=1)


def inputs_of(graph, inputs):
    """The same of inputs, as `graph.by_input` takes them."""
    values = dict(zip(graph.inputs, by_input(graph, inputs), strict=True))
    return written(graph, graph.inputs, values)


def outputs_of(graph, records):
    """What a `Result` has as its output, of uint8 [runs, bytes]: one output behind the other."""
    found, at = [], 0
    for tensor in (graph.tensors[i] for i in graph.outputs):
        part = np.ascontiguousarray(records[:, at : at + tensor.bytes])
        found.append(part.view(np.dtype(tensor.dtype).newbyteorder("<")))
        at += tensor.bytes
    return found[0] if len(found) == 1 else found


@dataclass(frozen=True)
class Layout:
    """The record of a graph's run: for each output of each step its name, tensor and type."""

    fields: tuple

    @classmethod
    def of(cls, graph):
        """The `Layout` of a lowered graph."""
        return cls(
            tuple(
                (f"{step.name}: {graph.tensors[i].name}", i, graph.tensors[i])
                for step in graph.operators
                for i in step.outputs
            )
        )

    @property
    def bytes(self):
        """Of one run."""
        return sum(tensor.bytes for _, _, tensor in self.fields)

    def dtype(self, counted=False):
        """Of one run, as `np.dtype` takes it: each tensor by its index as text.

        counted: behind each comes an uint32 of whoever recorded it, as "count 5".
        """
        columns = []
        for _, i, tensor in self.fields:
            columns.append((str(i), np.dtype(tensor.dtype).newbyteorder("<"), (tensor.size,)))
            columns += [(f"count {i}", np.dtype("<u4"))] * counted
        return columns

    def values(self, rows):
        """{index of a tensor: array [runs, elements]} of rows that have the fields of `dtype`."""
        return {i: rows[str(i)] for _, i, _ in self.fields}

    def read(self, records):
        """The same of uint8 `records` [runs, bytes]."""
        records = np.ascontiguousarray(records[:, : self.bytes])
        return self.values(records.view(np.dtype(self.dtype()))[:, 0])

    def write(self, values):
        """The records, uint8 [runs, bytes], of values as `read` returns them."""
        columns = [
            np.ascontiguousarray(values[i], np.dtype(tensor.dtype).newbyteorder("<")).view(np.uint8)
            for _, i, tensor in self.fields
        ]
        return np.concatenate(columns, axis=1)

    def differences(self, ours, theirs):
        """{name of an output: how many of its values differ} of two results of `read`.

        Outputs without a difference are left out. Raises KeyError where one is missing, ValueError
        where one has another shape: neither is a comparison.
        """
        found = {}
        for name, i, _ in self.fields:
            one, other = ours[i], theirs[i]
            if one.shape != other.shape:
                raise ValueError(f"{name}: {one.shape} against {other.shape}")
            count = int(np.count_nonzero(one != other))
            if count:
                found[name] = count
        return found

    def differing(self, ours, theirs):
        """How many values differ in all."""
        return sum(self.differences(ours, theirs).values())
