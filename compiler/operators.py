"""What there is to know of an operator: one `Row` of its front end's table.

All that is keyed by the kind of an operator stands in its row, so that no table can lack one. From
it follow the reference executor of a lowered graph and the check of a graph after each pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from compiler.graph import DTYPES, INT32, LOCAL, STORAGE, Step, by_input
from compiler.selection import nothing


def not_given(fields):
    return None


def no_words(fields):
    return [], []


PLAIN_COLOUR = "#ececec"


@dataclass(frozen=True)
class Row:
    """An operator of lowered graphs.

    sizes: fields -> elements of each input and then of each output; dtypes: theirs, int8 all if
    None, or fields -> theirs; ranges: fields -> theirs, as far as proofs take them from the fields,
    else None. rule: (fields, *inputs) -> the output, or a tuple of outputs, arrays [runs,
    elements]: exactly, in integers, what all kernels compute. kernels: `selection.Kernel`s, the
    fastest first; the last one takes everything; none if lowering leaves no such step. bound:
    fields -> the largest magnitude of an accumulator, for any input in range. macs: fields ->
    multiply-accumulates; padding counts as if it were multiplied. weights: fields -> bytes of its
    weights and biases before a kernel packs them. words: fields -> short words for tables and
    pictures, ([for its box in a picture], [more, for a table]); colour: of the box.
    """

    kind: str
    sizes: Callable
    rule: Callable
    kernels: tuple
    dtypes: tuple | Callable | None = None
    ranges: Callable = not_given
    bound: Callable = nothing
    macs: Callable = nothing
    weights: Callable = nothing
    words: Callable = no_words
    colour: str = PLAIN_COLOUR

    def costs(self, graph, step):
        """(multiply-accumulates, bytes of weights and biases)"""
        return self.macs(step.fields), self.weights(step.fields)

    def details(self, graph, step):
        """Short words on a step, as `words` gives them."""
        return self.words(step.fields)


def table(*rows):
    """{kind: row}. Raises ValueError if two rows have one kind."""
    found = {row.kind: row for row in rows}
    if len(found) != len(rows):
        raise ValueError("two rows of one kind")
    return found


def execute(graph, inputs):
    """Runs a lowered graph by the rules of its rows, the reference of all executors.

    inputs: as `by_input` takes them, in the range of their tensors. Returns {index of a tensor:
    array [runs, elements] of its dtype}. Runs follow one another where a graph has state, which has
    its initial values before the first. Raises ValueError for inputs out of range.
    """
    given = dict(zip(graph.inputs, by_input(graph, inputs), strict=True))
    for i, rows in given.items():
        ends = graph.tensors[i].range
        if rows.size and not ends.lowest <= rows.min() <= rows.max() <= ends.highest:
            raise ValueError(f"inputs from {rows.min()} to {rows.max()}, not in {ends}")
    if not graph.state:
        return _execute(graph, given)
    tensors = [(i, graph.tensors[i]) for i in graph.state]
    state, runs = {i: np.full((1, t.size), t.initial, t.dtype) for i, t in tensors}, []
    for run in range(len(given[graph.inputs[0]])):
        now = {i: rows[run : run + 1] for i, rows in given.items()}
        runs.append(_execute(graph, state | now))
        state = {i: runs[-1][i] for i in state}
    return {i: np.concatenate([run[i] for run in runs]) for i in runs[0]}


def _execute(graph, values):
    """`execute` of runs that have all they need in `values`."""
    for step in graph.operators:
        results = graph.row(step).rule(step.fields, *(values[i] for i in step.inputs))
        results = results if isinstance(results, tuple) else (results,)
        for i, result in zip(step.outputs, results, strict=True):
            values[i] = result.astype(graph.tensors[i].dtype, copy=False)
    return values


def run(graph, inputs):
    """The values of the graph's only output for `inputs` [batch, ...]: [batch, elements]."""
    return execute(graph, inputs)[graph.outputs[0]]


class GraphError(AssertionError):
    """A pass left a graph that cannot be executed; the message names the place."""


def verify(graph, executable=True):
    """The lowered `graph`, if each step and tensor keeps the rules; else raises `GraphError`.

    After each pass, so that a mistake shows where it is made. executable: all passes are done.
    """
    known, written, names = {*graph.inputs, *graph.state}, set(graph.inputs), set()
    for step in graph.operators:
        _check(isinstance(step, Step), f"{step.name} is not lowered")
        _check(step.kind in graph.rows, f"{step.name}: no row of that kind")
        for i in step.inputs:
            _check(i in known, f"{step.name} reads tensor {i} before it is written")
        for i in step.outputs:
            _check(i not in written, f"{step.name} writes tensor {i} a second time")
            written.add(i)
            known.add(i)
        tensors = [graph.tensors[i] for i in (*step.inputs, *step.outputs)]
        sizes, row = [tensor.size for tensor in tensors], graph.row(step)
        wanted = [int(size) for size in row.sizes(step.fields)]
        _check(sizes == wanted, f"{step.name} has tensors of {sizes} elements, not {wanted}")
        bound = row.bound(step.fields)
        _check(bound <= INT32.highest, f"{step.name}: accumulators up to {bound}")
        if executable:
            _check(row.kernels, f"{step.name}: no kernel executes it")
            _check_tensors(step, tensors, row)
    for i in graph.outputs:
        _check(i in written, f"nothing writes output {i}")
    for i in known:
        name = graph.tensors[i].name
        _check(name.isidentifier() and name not in names, f"tensor {i} has the name {name}")
        names.add(name)
    return graph


def _check_tensors(step, tensors, row):
    """Types, ranges and storage of a step's inputs and outputs."""
    dtypes = row.dtypes(step.fields) if callable(row.dtypes) else row.dtypes
    dtypes = dtypes or ("int8",) * len(tensors)
    ranges = row.ranges(step.fields) or (None,) * len(tensors)
    for tensor, dtype, given in zip(tensors, dtypes, ranges, strict=True):
        where = f"{step.name}: {tensor.name}"
        _check(tensor.dtype == dtype, f"{where} is {tensor.dtype}")
        _check(DTYPES[dtype].holds(tensor.range), f"{where} has {tensor.range} as {dtype}")
        _check(given in (None, tensor.range), f"{where} has {tensor.range}, its fields {given}")
        _check(tensor.storage in STORAGE and tensor.data is None, f"{where} is {tensor.storage}")
        _check(tensor.storage != LOCAL or tensor.size == 1, f"{where} is no single value")


def _check(holds, complaint):
    if not holds:
        raise GraphError(complaint)
