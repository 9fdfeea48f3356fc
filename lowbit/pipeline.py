"""All stages in their order: from a trained network to its C, with what is known of it."""

from compiler.compiled import compile_graph
from lowbit import channels, convolutions, fusion, kernelrows, streams

MOST_WEIGHTS = 10_000  # bytes beside which 16 KB of flash have room for all kernels of a network
ONE_FORMAT = ("nibbles", "multiply")  # kernels of 4 bits alone
CANDIDATES = {  # kind of a step other than LINEAR -> (step, optimise, multiplier) -> its kernels
    **dict.fromkeys(convolutions.KINDS, convolutions.candidates),
    "STREAMED": streams.candidates,
    "CHANNELLED": channels.candidates,
}


def compile_network(graph, optimise="size", multiplier=False, digest=""):
    """The `compiled.Compiled` network of a lowered graph.

    optimise: one of `kernelrows.OPTIMISE`; multiplier: the core has one; digest: SHA-256 of the
    file that the network comes from.
    """

    stages = {"lowered": graph, "fused": fusion.fuse(graph)}

    def compiled(last=()):
        def candidates(step):
            if step.kind == "LINEAR":
                return kernelrows.candidates(step.fields, optimise, multiplier, last)
            if step.kind in CANDIDATES:
                return CANDIDATES[step.kind](step, optimise, multiplier)
            return graph.row(step).kernels

        return compile_graph(graph.name, digest, stages, candidates)

    found = compiled()
    return _in_dead_memory(compiled(last=ONE_FORMAT) if _is_crowded(found) else found)


def _in_dead_memory(compiled):
    """The same with what convolutions would have on the stack in the arena, if that has room."""
    for choice in compiled.choices:
        if isinstance(choice.packed, dict) and "in_arena" in choice.packed:
            choice.packed["in_arena"] = True
            again = compiled.replanned()
            if again.arena > compiled.arena:
                choice.packed["in_arena"] = False
            else:
                compiled = again
    return compiled


def _is_crowded(compiled):
    """Whether its weights leave too little flash for the code of two kernels where one would do:
    planes have any bits, and are hardly slower with a few thousand weights."""
    layers = layers_of(compiled)
    sources = {choice.kernel.source.stem for choice in layers}
    weights = sum(choice.packed["words"].nbytes for choice in layers)
    return weights > MOST_WEIGHTS and "planes" in sources and not sources.isdisjoint(ONE_FORMAT)


def layers_of(compiled):
    """The `selection.Choice` of each layer with weights of a `Compiled` network, in their order."""
    found = []
    for step, choice in zip(compiled.graph.operators, compiled.choices, strict=True):
        if step.kind == "LINEAR":
            found.append(choice)
        elif step.kind in CANDIDATES:
            found += choice.packed["layers"]
    return found
