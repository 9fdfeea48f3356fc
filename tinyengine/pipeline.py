"""All stages in their order: from the bytes of a model to its C, with what is known of it."""

import hashlib
from pathlib import Path

from compiler.compiled import Compiled, compile_graph
from tinyengine import importer, lowering, pruning
from tinyengine.operators import ROWS


def load(path, optimise="speed"):
    """The `Compiled` model of the .tflite file at `path`. Raises `UserError`."""
    name = "_".join(Path(path).stem.split()).encode(errors="replace").decode()
    return compile_model(importer.content_of(path), name, str(path), optimise)


def compile_model(content, name, source="model", optimise="speed") -> Compiled:
    """The `Compiled` model of a .tflite file's bytes; `source` names it in a `UserError`."""
    stages = {"imported": importer.parse(content, name, source)}
    stages["lowered"] = lowering.lower(stages["imported"], source)
    if optimise == "speed":
        stages["pruned"] = pruning.prune(stages["lowered"])

    def candidates(step):
        kernels = ROWS[step.kind].kernels
        return kernels if optimise == "speed" else kernels[-1:]

    return compile_graph(name, hashlib.sha256(content).hexdigest(), stages, candidates)
