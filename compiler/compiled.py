"""A compiled model: its graph after each stage, the kernels of its steps, and their memory."""

import itertools
from dataclasses import dataclass, replace

from compiler import memory, operators, selection
from compiler.graph import ARENA
from compiler.memory import Block

ALIGNMENT = 4  # of every tensor: kernels read words


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

    def parts(self, step):
        """Numbers of the inputs of a step that lie in its output."""
        whole = {block.name: block.within[0] for block in self.blocks if block.within}
        output, *names = (self.graph.tensors[i].name for i in (step.outputs[0], *step.inputs))
        return frozenset(n for n, name in enumerate(names) if whole.get(name) == output)

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
    """(blocks, plan), verified: the smallest with outputs in place of inputs or not, and inputs
    within outputs or not.

    What is written in place must stay where it is, and an output that has parts is there as long
    as the first of them, so that both can cost more than they save.
    """
    found, tried = [], set()
    for in_place, within in itertools.product((True, False), repeat=2):
        blocks = blocks_of(graph, choices, in_place, within)
        if tuple(blocks) in tried:
            continue
        tried.add(tuple(blocks))
        found.append((blocks, memory.plan(blocks)))
        memory.verify(*found[-1])
        if found[-1][1].size == memory.floor(blocks) and not any(b.within for b in blocks):
            break  # what lies within others is there longer: without it, less may be enough
    return min(found, key=lambda pair: pair[1].size)


def blocks_of(graph, choices, in_place=True, within=True):
    """The `memory.Block`s of a lowered graph: tensors of the arena, and scratch of kernels.

    in_place: kernels that can write their output over an input do; within: inputs lie in the
    output of a kernel that would only put them there. A tensor lives from the step that writes it,
    or from step 0 for the input, to its last use.
    """
    last = last_uses(graph)
    overwritten = _overwritten(graph, choices, last) if in_place else {}
    parts = _parts(graph, choices, last, overwritten) if within else {}
    blocks = [
        Block(tensor.name, tensor.bytes, 0, last[i], kind="input", within=parts.get(i))
        for i, tensor in _in_arena(graph, graph.inputs)
    ]
    for number, (step, choice) in enumerate(zip(graph.operators, choices)):
        for i, tensor in _in_arena(graph, step.outputs):
            source = overwritten.get(i)
            shared = source is not None and parts.get(source) == parts.get(i)
            shares = graph.tensors[source].name if shared else None
            kind = "output" if i in graph.outputs else "activation"
            lifetime = number, last[i]
            blocks.append(
                Block(tensor.name, tensor.bytes, *lifetime, ALIGNMENT, kind, shares, parts.get(i))
            )
        if choice.scratch:
            name = _scratch_name(number)
            blocks.append(Block(name, choice.scratch, number, number, kind="scratch"))
    return _with_parts(blocks)


def _overwritten(graph, choices, last):
    """{index of an output: index of the input whose memory it takes}"""
    found = {}
    for number, (step, choice) in enumerate(zip(graph.operators, choices)):
        if not choice.kernel.in_place(step.fields):
            continue
        size = graph.tensors[step.outputs[0]].bytes
        for i, tensor in _in_arena(graph, step.inputs):
            if last[i] == number and i not in graph.outputs and tensor.bytes >= size:
                found[step.outputs[0]] = i
                break
    return found


def _parts(graph, choices, last, overwritten):
    """{index of a tensor: (the name of the output that it lies in, where)}

    What a part is written in place of has the same place.
    """
    parts = {}
    for number, (step, choice) in enumerate(zip(graph.operators, choices)):
        if graph.tensors[step.outputs[0]].storage != ARENA:
            continue
        for n, at in choice.kernel.parts(step.fields).items():
            i = step.inputs[n]
            alone = last[i] == number and step.inputs.count(i) == 1 and i not in graph.outputs
            if alone and at % ALIGNMENT == 0 and graph.tensors[i].storage == ARENA:
                parts[i] = graph.tensors[step.outputs[0]].name, at
    for step in reversed(graph.operators):
        i, source = step.outputs[0], overwritten.get(step.outputs[0])
        sizes = {graph.tensors[each].bytes for each in (i, source) if each is not None}
        if i in parts and source is not None and len(sizes) == 1:
            parts[source] = parts[i]
    return parts


def _with_parts(blocks):
    """The blocks, where what has parts is there from the first of them on."""
    by_name = {block.name: block for block in blocks}
    for part in blocks:
        block = part
        while block.within:
            block = by_name[block.within[0]]
            first = min(part.first, block.first)
            by_name[block.name] = block = replace(block, first=first)
    return list(by_name.values())


def last_uses(graph):
    """{index of a tensor: the step that uses it last}; the output is used to the end."""
    last = dict.fromkeys(graph.inputs, 0)
    for number, step in enumerate(graph.operators):
        last |= dict.fromkeys((*step.inputs, *step.outputs), number)
    return last | dict.fromkeys(graph.outputs, len(graph.operators) - 1)


def _in_arena(graph, tensors):
    found = ((i, graph.tensors[i]) for i in tensors)
    return [(i, tensor) for i, tensor in found if tensor.storage == ARENA]


def _scratch_name(number):
    return f"scratch {number}"
