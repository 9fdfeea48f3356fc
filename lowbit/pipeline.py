"""All stages in their order: from a trained network to its C, with what is known of it."""

from compiler.compiled import compile_graph
from lowbit import kernelrows


def compile_network(graph, optimise="size", multiplier=False, digest=""):
    """The `compiled.Compiled` network of a lowered graph.

    optimise: one of `kernelrows.OPTIMISE`; multiplier: the core has one; digest: SHA-256 of the
    file that the network comes from.
    """

    def candidates(step):
        if step.kind == "LINEAR":
            return kernelrows.candidates(step, optimise, multiplier)
        return graph.row(step).kernels

    return compile_graph(graph.name, digest, {"lowered": graph}, candidates)
