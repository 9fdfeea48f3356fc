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
    last use in the step in which this one is written. within: (the name of the block that this one
    is a part of, where in it it starts); that one must be alive as long, and other parts of it lie
    elsewhere.
    """

    name: str
    size: int
    first: int
    last: int
    alignment: int = 4
    kind: str = "activation"
    shares: str | None = None
    within: tuple | None = None


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
        self.sizes = [0] * (self.last + 1 - self.first)
        for block in blocks:
            for step in range(block.first - self.first, block.last + 1 - self.first):
                self.sizes[step] = max(self.sizes[step], block.size)
        self.size = max(self.sizes)
        self.alignment = max(block.alignment for block in blocks)

    def align(self, offset):
        return _align(offset, self.alignment)


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
        if block.within is not None:
            _check_within(block, by_name)
    regions = []
    for block in blocks:
        if block.shares is None and block.within is None:
            chain = [block]
            while chain[-1].name in heirs:
                chain.append(heirs[chain[-1].name])
            regions.append(_Region(chain))
    return regions


def _check_within(block, by_name):
    whole, offset = by_name.get(block.within[0]), block.within[1]
    wish = f"{block.name} cannot be at {offset} of {block.within[0]}"
    if whole is None:
        raise ValueError(f"{wish}, which is no block")
    if offset < 0 or offset % block.alignment or offset + block.size > whole.size:
        raise ValueError(f"{wish}: it has {block.size} bytes, that {whole.size}")
    if block.first < whole.first or block.last > whole.last:
        raise ValueError(f"{wish}: it needs memory of its own")
    if block.shares is not None and by_name[block.shares].within != block.within:
        raise ValueError(f"{wish}: {block.shares}, whose memory it shares, is not there")


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
        if plans[-1][0] == least:
            break
    size, method, offsets = min(plans, key=lambda found: found[0])
    minimal = size == least
    if not minimal and len(regions) <= SEARCHED:
        search = _Search(regions, size, least)
        search.run()
        minimal = search.size == least or search.nodes <= NODES
        if search.found:
            size, method, offsets = search.size, "search", search.found
    named = {block.name: at for region, at in offsets.items() for block in region.blocks}
    by_name = {block.name: block for block in blocks}
    for block in blocks:
        at, whole = 0, block
        while whole.within is not None:
            at, whole = at + whole.within[1], by_name[whole.within[0]]
        named[block.name] = at + named[whole.name]
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

    A block that is alive together with another one must not start within an open interval around
    that one's offset; gaps are what these intervals leave.
    """
    offsets, placed = {}, _Placed(sum(len(region.blocks) for region in regions))
    for region in regions:
        around = [placed.around(block) for block in region.blocks]
        below, above = (np.concatenate(ends) for ends in zip(*around))
        offsets[region] = _tightest(below, region.align(above))
        for block in region.blocks:
            placed.add(block, offsets[region])
    return offsets


class _Placed:
    """Blocks that have an offset: their lifetimes and their bytes, as arrays."""

    def __init__(self, room):
        """room: how many blocks there will be."""
        self.first, self.last, self.start, self.end = np.zeros((4, room), np.int64)
        self.count = 0

    def add(self, block, offset):
        at, self.count = self.count, self.count + 1
        self.first[at], self.last[at] = block.first, block.last
        self.start[at], self.end[at] = offset, offset + block.size

    def around(self, block):
        """(lower ends, upper ends) of the open intervals in which `block` must not start."""
        there = slice(self.count)
        both = (self.first[there] <= block.last) & (self.last[there] >= block.first)
        return self.start[there][both] - block.size, self.end[there][both]


def _tightest(below, above):
    """The start of the smallest gap that open intervals from `below` to `above` leave, or, if some
    are equal, of the lowest; of the endless one behind them all if there is no other."""
    order = np.argsort(below, kind="stable")
    reached = np.maximum.accumulate([0, *above[order]])
    gaps = below[order] - reached[:-1]
    fits = np.flatnonzero(gaps >= 0)
    return int(reached[fits[np.argmin(gaps[fits])]] if fits.size else reached[-1])


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
        by_area = sorted(regions, key=lambda region: -sum(region.sizes))
        table = _crowded(by_area)
        self.left = {i: (r, *_lifetime(row)) for i, (r, row) in enumerate(zip(by_area, table))}
        self.offsets = {}
        self.height = [0] * len(table[0])  # above all that is placed, in each of these steps
        self.waiting = table.sum(0).tolist()  # bytes that are still to be placed

    def run(self, lowest=(0, -1)):
        """Places all that is left; lowest: (offset, number) of the region placed before."""
        if not self.left:
            self.size, self.found = max(self.height), dict(self.offsets)
            return
        height = self.height
        options = sorted(
            (region.align(max(height[alive.start : alive.stop])), i)
            for i, (region, alive, _) in self.left.items()
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
        region, alive, sizes = self.left.pop(i)
        before = self.height[alive.start : alive.stop]
        for step, size in zip(alive, sizes):
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
        for step, size in zip(alive, sizes):
            self.waiting[step] += size
        self.left[i] = region, alive, sizes


def _crowded(regions):
    """int64 [regions, steps], bytes of each: without steps in which each region that is alive is so
    in another step with as many bytes. What fits there fits everywhere."""
    start = min(region.first for region in regions)
    table = np.zeros((len(regions), max(region.last for region in regions) + 2 - start), np.int64)
    for region, row in zip(regions, table):
        row[region.first - start : region.last + 1 - start] = region.sizes
    kept = []
    for step in range(table.shape[1] - 1):
        others = table[:, [*kept[-1:], step + 1]]  # the column behind the last one is empty
        if not (table[:, [step]] <= others).all(0).any():
            kept.append(step)
    return table[:, kept]


def _lifetime(row):
    """(steps in which a region of `_crowded` is alive, its bytes in each)"""
    alive = np.flatnonzero(row)
    return range(alive[0], alive[-1] + 1), row[alive].tolist()


def verify(blocks, plan):
    """Raises `PlanError` if under `plan` one block would overwrite another that is still needed.

    Shares no code with the planner: each block is painted into a map of the arena's bytes when its
    life begins, where nothing may be that is still alive.
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
        if block.within is not None:
            whole, at = by_name[block.within[0]], offset - plan.offsets[block.within[0]]
            if at != block.within[1] or at + block.size > whole.size:
                raise PlanError(f"{where}, which is {at} of {whole.name}, not {block.within[1]}")
            if block.first < whole.first or block.last > whole.last:
                raise PlanError(f"{block.name} is needed when {whole.name} is not there")
    _paint(blocks, by_name, plan)


def _paint(blocks, by_name, plan):
    """A map of the arena from step to step: for each byte 0, or a number for the block there."""

    def whole(block):
        """What the block is a part of."""
        return by_name[block.within[0]] if block.within else None

    def overwritten(block):
        """What the block may overwrite in its first step, as it is written in place."""
        source = by_name.get(block.shares)
        return source if source and source.last == block.first else None

    def depth(block):
        return 1 + depth(whole(block)) if block.within else 0

    def number_of(block):
        return next((n for n, other in alive.items() if other is block), 0)

    painted, alive = np.zeros(plan.size, np.int32), {}
    order = sorted(blocks, key=lambda b: (b.first, overwritten(b) is not None, depth(b)))
    for number, block in enumerate(order, 1):
        for n in [n for n, other in alive.items() if other.last < block.first]:
            gone = alive.pop(n)
            place = _bytes_of(painted, gone, plan)
            place[place == n] = number_of(whole(gone))
        place = _bytes_of(painted, block, plan)
        allowed = [0, number_of(whole(block)), number_of(overwritten(block))]
        strange = np.flatnonzero(~np.isin(place, allowed))
        if strange.size:
            other = place[strange[0]]
            raise PlanError(
                f"{alive[other].name} and {block.name} overlap in step {block.first}: "
                f"{np.count_nonzero(place == other)} bytes "
                f"from {plan.offsets[block.name] + strange[0]}"
            )
        alive[number] = block
        place[:] = number


def _bytes_of(painted, block, plan):
    """The part of the map in which a block lies."""
    return painted[plan.offsets[block.name] :][: block.size]
