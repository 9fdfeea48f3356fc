"""All stages in their order: from the bytes of a model to its C, with what is known of it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tinyengine import emission, importer, lowering, memory, pruning, selection


@dataclass(frozen=True)
class Compiled:
    """A compiled model.

    stages: the graph after each stage, by its name. choices, blocks and plan: of the last one; each
    of its operators is a step in time. digest: SHA-256 of the file.
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
        return self.plan.offsets[_name(tensor)]

    def scratch_offset(self, step):
        """Where scratch memory of a step lies, None if it needs none."""
        return self.plan.offsets.get(_scratch_name(step))

    @property
    def arena(self):
        """Bytes of activations and scratch memory."""
        return self.plan.size

    @property
    def scratch(self):
        """Bytes of the largest scratch memory of a kernel."""
        return max(choice.scratch for choice in self.choices)

    @property
    def floor(self):
        """Bytes of activations alive at once, at most: no plan needs fewer."""
        return memory.floor([block for block in self.blocks if block.kind != "scratch"])

    def files(self):
        """{name: text} of the C, and the bytes of its constants."""
        return emission.emit(self)


def load(path, optimise="speed"):
    """The `Compiled` model of the .tflite file at `path`. Raises `UserError`."""
    name = "_".join(Path(path).stem.split()).encode(errors="replace").decode()
    return compile_model(importer.content_of(path), name, str(path), optimise)


def compile_model(content, name, source="model", optimise="speed"):
    """The `Compiled` model of a .tflite file's bytes; `source` names it in a `UserError`."""
    stages = {"imported": importer.parse(content, name, source)}
    stages["lowered"] = graph = lowering.lower(stages["imported"], source)
    if optimise == "speed":
        stages["pruned"] = graph = pruning.prune(graph)
    choices = selection.choose(graph, optimise)
    blocks = blocks_of(graph, choices)
    plan = memory.plan(blocks)
    memory.verify(blocks, plan)
    digest = hashlib.sha256(content).hexdigest()
    return Compiled(name, digest, stages, choices, blocks, plan)


def blocks_of(graph, choices):
    """The `memory.Block`s of a lowered graph: activations, and scratch memory of kernels."""
    end = len(graph.operators) - 1
    first = {graph.inputs[0]: 0}
    last = {graph.inputs[0]: 0}
    for step, operator in enumerate(graph.operators):
        for i in graph.activations(operator):
            last[i] = step
        first[operator.outputs[0]] = last[operator.outputs[0]] = step
    last[graph.outputs[0]] = end

    blocks = [_input_block(graph, last)]
    for step, (operator, choice) in enumerate(zip(graph.operators, choices)):
        output = operator.outputs[0]
        read = graph.activations(operator)
        dying = [i for i in read if last[i] == step and i not in graph.outputs]
        size = graph.tensors[output].size
        shared = [i for i in dying if graph.tensors[i].size >= size]
        in_place = shared and choice.kernel.in_place(operator.attributes)
        blocks.append(
            memory.Block(
                _name(output),
                size,
                step,
                last[output],
                kind="output" if output == graph.outputs[0] else "activation",
                shares=_name(shared[0]) if in_place else None,
            )
        )
        if choice.scratch:
            blocks.append(
                memory.Block(_scratch_name(step), choice.scratch, step, step, kind="scratch")
            )
    return blocks


def _input_block(graph, last):
    i = graph.inputs[0]
    return memory.Block(_name(i), graph.tensors[i].size, 0, last[i], kind="input")


def _name(tensor):
    return f"tensor {tensor}"


def _scratch_name(step):
    return f"scratch {step}"
