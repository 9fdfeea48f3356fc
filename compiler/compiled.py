"""A compiled model: its graph after each stage, the kernels of its steps, and their memory."""

from dataclasses import dataclass, replace

from compiler import memory, operators, selection
from compiler.graph import ARENA
from compiler.memory import Block


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    stages: the graph after each stage, by its name. choices, blocks and plan: of the last one; each
    of its steps is one in time. digest: SHA-256 of the file it comes from.
    """

    name: str
    digest: str
    stages: dict
    choices: list
    blocks: list
    plan: memory.Plan

    @property
    def graph(self):
        """The graph that is executed."""
        return list(self.stages.values())[-1]

    def offset(self, tensor):
        """Where in the arena the tensor with this index lies, in bytes."""
        return self.plan.offsets[self.graph.tensors[tensor].name]

    def scratch_offset(self, number):
        """Where scratch memory of a step lies, None if it needs none."""
        return self.plan.offsets.get(_scratch_name(number))

    @property
    def arena(self):
        """Bytes of activations and scratch memory."""
        return self.plan.size

    @property
    def state(self):
        """Bytes that keep their content from run to run, beside the arena."""
        return sum(map(self._state_bytes, self.graph.state))

    def state_offset(self, tensor):
        """Where in that memory the tensor with this index lies, in bytes."""
        return sum(self._state_bytes(i) for i in self.graph.state if i < tensor)

    def _state_bytes(self, tensor):
        """Whole words, so that the next one is aligned."""
        return -(-self.graph.tensors[tensor].bytes // 4) * 4

    def replanned(self):
        """The same with its memory planned again, as what its kernels work in has changed."""
        blocks, plan = _planned(self.graph, self.choices)
        return replace(self, blocks=blocks, plan=plan)

    @property
    def scratch(self):
        """Bytes of the largest scratch memory of a kernel."""
        return max((choice.scratch for choice in self.choices), default=0)

    @property
    def floor(self):
        """Bytes of activations alive at once, at most: no plan needs fewer."""
        return memory.floor([block for block in self.blocks if block.kind != "scratch"])

    @property
    def step_names(self):
        """For the axis of a picture of the plan."""
        return [step.name for step in self.graph.operators]

    @property
    def sources(self):
        """The C files of its kernels."""
        return selection.sources(self.choices)

    @property
    def assembly(self):
        """The files of assembly that its kernels use, on the cores that these are for."""
        return selection.assembly(self.choices)


def compile_graph(name, digest, stages, candidates):
    """The `Compiled` model of lowered graphs; the last one is what is executed.

    candidates: step -> the `selection.Kernel`s to choose from, the fastest first.
    """
    graph = operators.verify(list(stages.values())[-1])
    choices = [selection.choose(step, candidates(step)) for step in graph.operators]
    blocks, plan = _planned(graph, choices)
    return Compiled(name, digest, stages, choices, blocks, plan)


def _planned(graph, choices):
    """(blocks, plan), verified: with outputs in place of inputs, or without where that is smaller.

    What is written in place must stay where it is, so that it can cost more than it saves.
    """
    found = []
    for in_place in (True, False):
        blocks = blocks_of(graph, choices, in_place)
        found.append((blocks, memory.plan(blocks)))
        memory.verify(*found[-1])
        if found[-1][1].size == memory.floor(blocks):
            break
    return min(found, key=lambda pair: pair[1].size)


def blocks_of(graph, choices, in_place=True):
    """The `memory.Block`s of a lowered graph: tensors of the arena, and scratch of kernels.

    in_place: kernels that can write their output over an input do. A tensor lives from the step
    that writes it, or from step 0 for the input, to its last use.
    """
    last = last_uses(graph)
    blocks = [
        Block(tensor.name, tensor.bytes, 0, last[i], kind="input")
        for i, tensor in _in_arena(graph, graph.inputs)
    ]
    for number, (step, choice) in enumerate(zip(graph.operators, choices)):
        for i, tensor in _in_arena(graph, step.outputs):
            shares = None
            if in_place and i == step.outputs[0] and choice.kernel.in_place(step.fields):
                shares = _overwritten(graph, step, number, last)
            kind = "output" if i in graph.outputs else "activation"
            blocks.append(
                Block(tensor.name, tensor.bytes, number, last[i], kind=kind, shares=shares)
            )
        if choice.scratch:
            name = _scratch_name(number)
            blocks.append(Block(name, choice.scratch, number, number, kind="scratch"))
    return blocks


def last_uses(graph):
    """{index of a tensor: the step that uses it last}; the output is used to the end."""
    last = dict.fromkeys(graph.inputs, 0)
    for number, step in enumerate(graph.operators):
        last |= dict.fromkeys((*step.inputs, *step.outputs), number)
    return last | dict.fromkeys(graph.outputs, len(graph.operators) - 1)


def _in_arena(graph, tensors):
    found = ((i, graph.tensors[i]) for i in tensors)
    return [(i, tensor) for i, tensor in found if tensor.storage == ARENA]


def _overwritten(graph, step, number, last):
    """The name of an input whose memory the step's value can take, None if there is none."""
    size = graph.tensors[step.outputs[0]].bytes
    for i, tensor in _in_arena(graph, step.inputs):
        if last[i] == number and i not in graph.outputs and tensor.bytes >= size:
            return tensor.name
    return None


def _scratch_name(number):
    return f"scratch {number}"
