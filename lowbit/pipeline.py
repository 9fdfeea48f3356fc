"""All stages in their order: from a trained network to its C, with what is known of it."""

from compiler.compiled import compile_graph
from lowbit import convolutions, fusion, kernelrows

CANDIDATES = {  # kind of a step -> (step, optimise, multiplier) -> its kernels
    "LINEAR": lambda step, *options: kernelrows.candidates(step.fields, *options),
    **dict.fromkeys(convolutions.KINDS, convolutions.candidates),
}


def compile_network(graph, optimise="size", multiplier=False, digest=""):
    """The `compiled.Compiled` network of a lowered graph.

    optimise: one of `kernelrows.OPTIMISE`; multiplier: the core has one; digest: SHA-256 of the
    file that the network comes from.
    """

    def candidates(step):
        if step.kind in CANDIDATES:
            return CANDIDATES[step.kind](step, optimise, multiplier)
        return graph.row(step).kernels

    stages = {"lowered": graph, "fused": fusion.fuse(graph)}
    return compile_graph(graph.name, digest, stages, candidates)


def layers_of(compiled):
    """The `selection.Choice` of each layer with weights of a `Compiled` network, in their order."""
    found = []
    for step, choice in zip(compiled.graph.operators, compiled.choices, strict=True):
        if step.kind == "LINEAR":
            found.append(choice)
        elif step.kind in CANDIDATES:
            found += choice.packed["layers"]
    return found
