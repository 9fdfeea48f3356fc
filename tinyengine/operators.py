"""The operators of TensorFlow Lite that the compiler takes: all that is known of each in one row.

The rows stand in families/, with their shape rules, the fields of their descriptions in C, and
their exact rules. A new one is a row there, and a plain kernel (CONTRIBUTING.md).
"""

from compiler import operators
from tinyengine import kernelrows
from tinyengine.families import convolutions, copies, lookups, pairs, pools, reductions, softmax

FAMILIES = (convolutions, copies, lookups, pairs, pools, reductions, softmax)
_KINDS = sorted((kind for family in FAMILIES for kind in family.KINDS), key=lambda k: k.row.kind)
KINDS = {kind.row.kind: kind for kind in _KINDS}
ROWS = operators.table(*(kind.row for kind in KINDS.values()))
assert len(KINDS) == len(_KINDS)
assert kernelrows.KERNELS.keys() == {kind for kind, row in ROWS.items() if row.kernels}
