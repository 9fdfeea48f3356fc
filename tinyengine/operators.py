"""The operators of TensorFlow Lite that the compiler takes: all that is known of each in one row.

The rows stand in families/, with their shape rules, the fields of their descriptions in C, and
their exact rules. A new one is a row there, and a plain kernel (CONTRIBUTING.md).
"""

from dataclasses import replace

from compiler import operators
from tinyengine import kernelrows
from tinyengine.families import (
    convolutions,
    copies,
    joins,
    lookups,
    pairs,
    pools,
    recurrent,
    reductions,
    resizing,
    sizes,
    softmax,
    variables,
    wide,
)

FAMILIES = (
    convolutions,
    copies,
    lookups,
    pairs,
    joins,
    pools,
    recurrent,
    reductions,
    resizing,
    sizes,
    softmax,
    variables,
    wide,
)
_KINDS = sorted((kind for family in FAMILIES for kind in family.KINDS), key=lambda k: k.row.kind)
KINDS = {kind.row.kind: kind for kind in _KINDS}
ROWS = operators.table(*(kind.row for kind in KINDS.values()))
assert len(KINDS) == len(_KINDS)
assert kernelrows.KERNELS.keys() == {kind for kind, row in ROWS.items() if row.kernels}


def by_type(operator, tensors):
    """The operator of a model by the name of its own kind, where there is one for 16 bits."""
    ends = (*operator.inputs[:1], *operator.outputs[:1])
    wide = any(i >= 0 and tensors[i].dtype == "int16" for i in ends)
    kind = f"{operator.kind}_INT16"
    return replace(operator, kind=kind) if wide and kind in KINDS else operator
