"""Where blocks of memory lie in one arena: planned at compile time, verified by other code.

This is dynamic storage allocation with known lifetimes, which is NP-hard: first greedy, as in
Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (arXiv 2001.03288),
then, where that needs more than the floor, a bounded branch and bound. All sizes and offsets are
bytes. The same blocks always give the same plan: nothing is random and nothing looks at a clock.
"""

from dataclasses import dataclass

import numpy as np

SEARCHED = 200  # regions; with more, only greedy plans are tried
NODES = 50_000  # of the search: about 1 s for 65 operators


@dataclass(frozen=True)
class Block:
    """Bytes that are needed from step `first` to step `last`, both included.

    A step is the execution of one operator: its inputs, its output and its scratch memory are all
    alive in it. A model's input lives from step 0 or before, its output to the last step.

    alignment: in bytes, a power of two. kind: "input", "activation", "scratch" or "output"; only
    an input may have been written before its first step. shares: the name of the block that this
    one overwrites in place, element by element or, for a depthwise convolution, channel by channel
    (MCUNet, arXiv 2007.10319); both then have the same offset. The overwritten block must have its
    last use in the step in which this one is written.
    """

    name: str
    size: int
    first: int
    last: int
    alignment: int = 4
    kind: str = "activation"
    shares: str | None = None


@dataclass(frozen=True)
class Plan:
    """Offsets of all blocks by name, and the arena's size. minimal: no smaller plan exists."""

    offsets: dict
    size: int
    method: str
    minimal: bool = False


class PlanError(AssertionError):
    """A plan under which one block would overwrite another, or that is no plan of these blocks."""


class _Region:
    """Blocks that share one offset, one after the other. sizes: in each step from the first."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.first, self.last = blocks[0].first, blocks[-1].last
        self.sizes = [
            max(block.size for block in blocks if block.first <= step <= block.last)
            for step in range(self.first, self.last + 1)
        ]
        self.size = max(self.sizes)
        self.alignment = max(block.alignment for block in blocks)

    def align(self, offset):
        return _align(offset, self.alignment)

    def conflicts(self, other):
        """(own size, other's size) in each step in which both are alive."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        own = self.sizes[first - self.first : last + 1 - self.first]
        return zip(own, other.sizes[first - other.first : last + 1 - other.first])


def _align(offset, alignment):
    return -(-offset // alignment) * alignment


def _regions(blocks):
    """Blocks by the memory they share. Raises ValueError for blocks that cannot be."""
    by_name, heirs = {block.name: block for block in blocks}, {}
    if len(by_name) != len(blocks):
        raise ValueError("two blocks have the same name; names tell blocks apart")
    for block in blocks:
        if block.size <= 0 or block.first > block.last:
            raise ValueError(
                f"{block.name}: {block.size} bytes from step {block.first} to {block.last}"
            )
        if block.alignment < 1 or block.alignment & (block.alignment - 1):
            raise ValueError(f"{block.name}: alignment {block.alignment} is no power of two")
        if block.shares is not None:
            _check_sharing(block, by_name, heirs)
            heirs[block.shares] = block
    regions = []
    for block in blocks:
        if block.shares is None:
            chain = [block]
            while chain[-1].name in heirs:
                chain.append(heirs[chain[-1].name])
            regions.append(_Region(chain))
    return regions


def _check_sharing(block, by_name, heirs):
    if block.shares not in by_name:
        raise ValueError(f"{block.name} shares the memory of {block.shares}, which is no block")
    source = by_name[block.shares]
    wish = f"{block.name} cannot share the memory of {source.name}"
    if source.name in heirs:
        raise ValueError(f"{wish}: {heirs[source.name].name} shares it already")
    if source.last != block.first:
        raise ValueError(
            f"{wish}: that is last used in step {source.last}, this is written in step "
            f"{block.first}; in place, both must be the same step"
        )
    if source.first == block.first and source.kind != "input":
        raise ValueError(f"{wish}: both are written in step {block.first}")


def _alive(regions):
    """{step: sizes of what is alive in it}"""
    alive = {}
    for region in regions:
        for step, size in enumerate(region.sizes, region.first):
            alive.setdefault(step, []).append(size)
    return alive


def alive(blocks):
    """{step: bytes alive in it}; blocks that share count once."""
    return {step: sum(sizes) for step, sizes in _alive(_regions(blocks)).items()}


def floor(blocks):
    """Bytes alive at once, at most: no plan needs fewer."""
    return max(alive(blocks).values(), default=0)


def _least(regions):
    """As `floor`, with what alignment wastes at least: behind all blocks but the topmost."""
    unit = min(region.alignment for region in regions)

    def least(sizes):
        padding = [_align(size, unit) - size for size in sizes]
        return sum(sizes) + sum(padding) - max(padding)

    return max(map(least, _alive(regions).values()))


def plan(blocks):
    """The smallest `Plan` found. Raises ValueError for blocks that cannot be, naming them."""
    regions = _regions(blocks)
    if not regions:
        return Plan({}, 0, "nothing to plan", True)
    least = _least(regions)
    plans = []
    for name, order in ORDERS.items():
        offsets = _greedy(sorted(regions, key=order(regions)))
        plans.append((_size(offsets), f"greedy by {name}", offsets))
    size, method, offsets = min(plans, key=lambda found: found[0])
    minimal = size == least
    if not minimal and len(regions) <= SEARCHED:
        search = _Search(regions, size, least)
        search.run()
        minimal = search.size == least or search.nodes <= NODES
        if search.found:
            size, method, offsets = search.size, "search", search.found
    named = {block.name: at for region, at in offsets.items() for block in region.blocks}
    return Plan({block.name: named[block.name] for block in blocks}, size, method, minimal)


def _size(offsets):
    return max(offset + region.size for region, offset in offsets.items())


def _by_breadth(regions):
    alive = {step: sum(sizes) for step, sizes in _alive(regions).items()}
    return lambda r: (-max(alive[t] for t in range(r.first, r.last + 1)), -r.size, r.first)


# Which region is placed first. Python's sort is stable: the order of the blocks breaks ties.
ORDERS = {
    "size": lambda regions: lambda r: (-r.size, r.first),
    "breadth": _by_breadth,
    "lifetime": lambda regions: lambda r: (-len(r.sizes), -r.size, r.first),
    "first step": lambda regions: lambda r: (r.first, -r.size),
}


def _greedy(regions):
    """{region: offset}: each in its turn into the tightest gap that holds it, the lowest of these.

    A region that is alive together with another one must not start within an open interval around
    that one's offset; gaps are what these intervals leave.
    """
    offsets = {}
    for region in regions:
        forbidden = sorted(
            (offset - own, offset + size)
            for other, offset in offsets.items()
            for own, size in region.conflicts(other)
        )
        at, best = 0, None
        for below, above in forbidden:
            if at <= below and (best is None or below - at < best[0]):
                best = (below - at, at)
            at = max(at, region.align(above))
        offsets[region] = at if best is None else best[1]
    return offsets


class _Search:
    """Branch and bound over plans in which every region rests on another one or on the ground.

    Each plan can be pushed down into such a one, and those are found by placing regions in the
    order of their offsets, each as low as what is alive with it allows. A region is not placed
    where another one would still fit below it: that plan is found elsewhere (as in MiniMalloc,
    Moffitt, ASPLOS 2023). Ends when `least` is reached, when all was tried, or after NODES.
    """

    def __init__(self, regions, size, least):
        """size: to be beaten."""
        self.size, self.least, self.found, self.nodes = size, least, None, 0
        start = min(region.first for region in regions)
        steps = max(region.last for region in regions) + 1 - start
        by_area = sorted(regions, key=lambda region: -sum(region.sizes))
        self.left = {
            i: (r, range(r.first - start, r.last + 1 - start)) for i, r in enumerate(by_area)
        }
        self.offsets = {}
        self.height = [0] * steps  # above all that is placed
        self.waiting = [0] * steps  # bytes that are still to be placed
        for region, alive in self.left.values():
            for step, size in zip(alive, region.sizes):
                self.waiting[step] += size

    def run(self, lowest=(0, -1)):
        """Places all that is left; lowest: (offset, number) of the region placed before."""
        if not self.left:
            self.size, self.found = max(self.height), dict(self.offsets)
            return
        height = self.height
        options = sorted(
            (region.align(max(height[alive.start : alive.stop])), i)
            for i, (region, alive) in self.left.items()
        )
        covered = min(offset + self.left[i][0].size for offset, i in options)
        for offset, i in options:
            if offset >= covered:
                break
            if (offset, i) < lowest:
                continue
            self.nodes += 1
            if self.nodes > NODES or self.size == self.least:
                return
            self._place(offset, i)

    def _place(self, offset, i):
        """Tries all plans in which region i is the next one."""
        region, alive = self.left.pop(i)
        before = self.height[alive.start : alive.stop]
        for step, size in zip(alive, region.sizes):
            self.height[step] = offset + size
            self.waiting[step] -= size
        self.offsets[region] = offset
        needed = max(
            max(height, offset) + waiting if waiting else height
            for height, waiting in zip(self.height, self.waiting)
        )
        if needed < self.size:
            self.run((offset, i))
        del self.offsets[region]
        self.height[alive.start : alive.stop] = before
        for step, size in zip(alive, region.sizes):
            self.waiting[step] += size
        self.left[i] = region, alive


def verify(blocks, plan):
    """Raises `PlanError` if under `plan` one block would overwrite another that is still needed.

    Shares no code with the planner: paints a map of the arena's bytes in every step.
    """
    by_name = {block.name: block for block in blocks}
    if set(plan.offsets) != set(by_name):
        raise PlanError(f"offsets of {sorted(plan.offsets)} for blocks {sorted(by_name)}")
    for block in blocks:
        offset = plan.offsets[block.name]
        where = f"{block.name} lies at {offset}"
        if offset < 0 or offset + block.size > plan.size:
            raise PlanError(f"{where} with {block.size} bytes, outside the arena of {plan.size}")
        if offset % block.alignment:
            raise PlanError(f"{where}, which is no multiple of {block.alignment}")
        if block.shares is not None and plan.offsets.get(block.shares) != offset:
            raise PlanError(
                f"{where}, but shares the memory of {block.shares}, which lies at "
                f"{plan.offsets.get(block.shares)}"
            )
    for step in sorted({step for b in blocks for step in range(b.first, b.last + 1)}):
        _paint(step, [b for b in blocks if b.first <= step <= b.last], by_name, plan)


def _paint(step, alive, by_name, plan):
    """A map of the arena: for each byte 0, or a number for the block that lies there."""

    def overwritten(block):
        """What the block may overwrite in this step."""
        source = by_name.get(block.shares)
        return source if source and step == block.first == source.last else None

    painted, numbers = np.zeros(plan.size, np.int32), {}
    order = sorted(alive, key=lambda b: overwritten(b) is not None)
    for number, block in enumerate(order, 1):
        start, end = plan.offsets[block.name], plan.offsets[block.name] + block.size
        allowed = [0, *(n for n, b in numbers.items() if b is overwritten(block))]
        strange = np.flatnonzero(~np.isin(painted[start:end], allowed))
        if strange.size:
            other = painted[start + strange[0]]
            count = np.count_nonzero(painted[start:end] == other)
            raise PlanError(
                f"{numbers[other].name} and {block.name} overlap in step {step}: {count} bytes "
                f"from {start + strange[0]}"
            )
        numbers[number] = block
        painted[start:end] = number
