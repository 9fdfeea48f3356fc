"""The kernels of pools, of what is added, and of what slides: plain C of BitNetMCU_inference.c."""

from compiler.selection import Kernel, always, never
from lowbit.kernelrows import GATHER, PLAIN_SOURCE


def pool_members(windows):
    """What the C calls a BitNetMCU_pool, for the `Windows` of a map."""
    rows, columns = windows.positions
    row = windows.map_size[1] * windows.channels
    down, right = windows.stride[0] * row, windows.stride[1] * windows.channels
    return (rows, columns, windows.channels, *windows.kernel, row, down, right)


def _pool(name, in_place=never):
    """The `Kernel` BitNetMCU_NAME of a `maps.Pool`."""
    function = f"BitNetMCU_{name}"

    def emit(pool, place):
        (source,), (target,) = place.inputs, place.outputs
        of, values = (
            f"{place.prefix}_pool_{target}",
            ", ".join(map(str, pool_members(pool.windows))),
        )
        place.constants.add(f"static const BitNetMCU_pool {of} = {{{values}}};\n\n")
        yield f"{function}({source}, &{of}, {target});"

    return Kernel(name, function, PLAIN_SOURCE, emit, in_place=in_place)


# In place: a window's result goes to where that window begins, or in front of it.
MAX_POOL = _pool("max_pool", always)
MAX_POOL_32 = _pool("max_pool_32", always)
SUM_POOL = _pool("sum_pool")
SUM_POOL_32 = _pool("sum_pool_32", always)


def _emit_add(fields, place):
    (accumulators, activations), (target,) = place.inputs, place.outputs
    yield add_line(fields, accumulators, fields.size, activations, target)


def add_line(fields, accumulators, count, activations, target):
    """C that adds `count` activations, as an `Add` says."""
    arguments = f"{accumulators}, {count}, {activations}, {fields.shift}, {target}"
    return f"{ADD.function}({arguments});"


ADD = Kernel("add", "BitNetMCU_add", PLAIN_SOURCE, _emit_add, in_place=always)


def _emit_slide(fields, place):
    (kept, fresh), _ = place.inputs, place.outputs
    left_out = max(0, fields.count - fields.size)  # of what is new, nothing is kept of the first
    begin = f"{fresh} + {left_out}" if left_out else fresh
    yield f"{SLIDE.function}({kept}, {fields.size}, {begin}, {fields.count - left_out});"


SLIDE = Kernel("slide", "BitNetMCU_slide", PLAIN_SOURCE, _emit_slide, uses=(GATHER,))


def _emit_room(fields, place):
    (kept, _), _ = place.inputs, place.outputs
    stay = fields.size - fields.count
    yield f"{GATHER.function}({kept} + {fields.count}, 1, {stay}, 0, {kept});"


# What is new is written where it belongs, once there is room.
ROOM = Kernel("room", GATHER.function, PLAIN_SOURCE, _emit_room, uses=(GATHER,), before=True)
