"""Claims about memory plans, what verify() finds, and the drawings of plans and graphs."""

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from compiler import draw, memory
from compiler.graph import Graph, Operator, Tensor
from compiler.memory import Block, Plan, PlanError
from tinyengine.operators import KINDS


def random_blocks(rng, steps=30):
    """As of a model: an activation for each step, some of them in place, some scratch memory."""
    blocks = [Block("input", rng.randrange(1, 2000), 0, rng.randrange(2), kind="input")]
    for step in range(steps):
        dying = [b for b in blocks if b.last == step and (b.first < step or b.kind == "input")]
        shares = rng.choice(dying).name if dying and rng.random() < 0.4 else None
        last = min(steps - 1, step + rng.choice((1, 1, 1, 2, 4, 8)))
        size = rng.choice((1, 3, 8, 16, 100, 48)) * rng.randrange(1, 50)
        blocks.append(Block(f"tensor {step}", size, step, last, shares=shares))
        if rng.random() < 0.3:
            alignment, size = rng.choice((1, 4, 8)), rng.randrange(1, 1000)
            blocks.append(Block(f"scratch {step}", size, step, step, alignment, kind="scratch"))
    return blocks


def tiny_blocks(rng):
    """Few and small enough to try all plans."""
    blocks = []
    for i in range(rng.randrange(3, 7)):
        first = rng.randrange(5)
        dying = [b for b in blocks if b.last == first and b.first < first]
        dying = [b for b in dying if b.name not in {other.shares for other in blocks}]
        shares = rng.choice(dying).name if dying and rng.random() < 0.5 else None
        last, alignment = min(4, first + rng.randrange(3)), rng.choice((1, 1, 2))
        blocks.append(Block(f"{i}", rng.randrange(1, 6), first, last, alignment, shares=shares))
    return blocks


def overlaps(a, b, offsets):
    """Whether one of two blocks overwrites the other, by their corners."""
    if a.shares == b.name or b.shares == a.name:
        return False
    alive = max(a.first, b.first) <= min(a.last, b.last)
    start_a, start_b = offsets[a.name], offsets[b.name]
    return alive and start_a < start_b + b.size and start_b < start_a + a.size


def fits(blocks, size, offsets=None):
    """Whether any plan needs no more than `size` bytes: all of them are tried."""
    offsets = offsets or {}
    if len(offsets) == len(blocks):
        return True
    block, placed = blocks[len(offsets)], blocks[: len(offsets)]
    every = range(0, size - block.size + 1, block.alignment)
    for offset in every if block.shares is None else (offsets[block.shares],):
        more = offsets | {block.name: offset}
        if offset not in every or any(overlaps(block, other, more) for other in placed):
            continue
        if fits(blocks, size, more):
            return True
    return False


@pytest.mark.parametrize("seed", range(20))
def test_plans_of_random_blocks_hold(seed):
    blocks = random_blocks(random.Random(seed), 20)
    plan = memory.plan(blocks)
    memory.verify(blocks, plan)
    assert plan.size >= memory.floor(blocks)
    assert plan.size == max(plan.offsets[b.name] + b.size for b in blocks)


def test_no_plan_is_smaller_than_one_that_is_minimal():
    rng, above_floor = random.Random(1), 0
    for _ in range(200):
        blocks = tiny_blocks(rng)
        plan = memory.plan(blocks)
        memory.verify(blocks, plan)
        assert plan.minimal
        assert fits(blocks, plan.size) and not fits(blocks, plan.size - 1)
        above_floor += plan.size > memory.floor(blocks)
    assert above_floor  # some sets of blocks cannot be planned into their floor


def test_search_reaches_the_floor_where_greedy_does_not():
    blocks = [
        Block("a", 12, 0, 2),
        Block("b", 16, 1, 1),
        Block("c", 16, 3, 3),
        Block("d", 12, 2, 4),
    ]
    plan = memory.plan(blocks)
    assert (plan.size, plan.method) == (memory.floor(blocks), "search") == (28, "search")
    memory.verify(blocks, plan)


def test_a_search_that_ends_early_claims_no_minimum(monkeypatch):
    blocks = random_blocks(random.Random(3), 60)
    monkeypatch.setattr(memory, "NODES", 5)
    monkeypatch.setattr(memory, "ORDERS", {"order of names": lambda _: lambda r: r.blocks[0].name})
    plan = memory.plan(blocks)
    memory.verify(blocks, plan)
    assert plan.size > memory.floor(blocks) and not plan.minimal


def test_a_chain_of_operators_alternates_between_two_ends():
    sizes = (640, 128, 128, 128, 8, 128, 640)
    blocks = [Block(f"{i}", size, i, i + 1) for i, size in enumerate(sizes)]
    plan = memory.plan(blocks)
    memory.verify(blocks, plan)
    assert plan.size == 768


def test_alignment_may_cost_more_than_the_floor():
    blocks = [Block("a", 5, 0, 0), Block("b", 5, 0, 0)]
    assert memory.floor(blocks) == 10
    plan = memory.plan(blocks)
    assert plan.size == 13 and plan.minimal
    assert memory.plan([replace(b, alignment=1) for b in blocks]).size == 10


def test_the_same_blocks_give_the_same_plan():
    for seed in range(8):
        first, second = (memory.plan(random_blocks(random.Random(seed), 12)) for _ in range(2))
        assert first == second and list(first.offsets) == list(second.offsets)


def test_nothing_needs_nothing():
    assert memory.floor([]) == 0
    assert memory.plan([]).size == 0
    memory.verify([], memory.plan([]))


# --- in place

CHAIN = [
    Block("x", 100, 0, 1, kind="input"),
    Block("residual", 60, 0, 3),
    Block("depthwise", 80, 1, 3, shares="x"),
    Block("sum", 80, 3, 4, shares="depthwise"),
]


def test_blocks_in_place_count_once_and_lie_at_one_offset():
    assert memory.alive(CHAIN) == {0: 160, 1: 160, 2: 140, 3: 140, 4: 80}
    plan = memory.plan(CHAIN)
    memory.verify(CHAIN, plan)
    assert plan.size == 160
    assert plan.offsets["x"] == plan.offsets["depthwise"] == plan.offsets["sum"]


def test_what_an_in_place_block_leaves_free_is_used():
    blocks = [Block("x", 100, 0, 1), Block("half", 52, 1, 2, shares="x"), Block("y", 48, 2, 3)]
    plan = memory.plan(blocks)
    memory.verify(blocks, plan)
    assert plan.size == memory.floor(blocks) == 100


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": {"last": 2}}, "depthwise cannot share the memory of x: that is last used in step 2"),
        ({"x": {"last": 0}}, "x: that is last used in step 0, this is written in step 1"),
        ({"residual": {"last": 1, "shares": "x"}}, "residual cannot share the memory of x: that"),
        ({"sum": {"shares": "nobody"}}, "sum shares the memory of nobody, which is no block"),
        ({"sum": {"first": 1, "shares": "x"}}, "depthwise shares it already"),
        ({"depthwise": {"last": 1}, "sum": {"first": 1}}, "both are written in step 1"),
        ({"x": {"size": 0}}, "x: 0 bytes from step 0 to 1"),
        ({"x": {"first": 3}}, "x: 100 bytes from step 3 to 1"),
        ({"x": {"alignment": 6}}, "x: alignment 6 is no power of two"),
        ({"residual": {"name": "x"}}, "two blocks have the same name"),
    ],
)
def test_blocks_that_cannot_be_are_refused(change, message):
    blocks = [replace(block, **change.get(block.name, {})) for block in CHAIN]
    for use in (memory.plan, memory.floor):
        with pytest.raises(ValueError, match=re.escape(message)):
            use(blocks)


# --- verify

GOOD = {"x": 0, "residual": 100, "depthwise": 0, "sum": 0}


@pytest.mark.parametrize(
    "offsets, size, message",
    [
        ({"residual": 96}, 160, "x and residual overlap in step 0: 4 bytes from 96"),
        ({"residual": 0}, 160, "x and residual overlap in step 0: 60 bytes from 0"),
        ({"residual": 102}, 164, "residual lies at 102, which is no multiple of 4"),
        ({"residual": -4}, 160, "residual lies at -4 with 60 bytes, outside the arena of 160"),
        ({}, 159, "residual lies at 100 with 60 bytes, outside the arena of 159"),
        ({"sum": 4}, 160, "sum lies at 4, but shares the memory of depthwise, which lies at 0"),
        ({"another": 0}, 160, "offsets of"),
    ],
)
def test_verify_names_what_is_wrong_with_a_plan(offsets, size, message):
    memory.verify(CHAIN, Plan(GOOD, 160, "by hand"))
    with pytest.raises(PlanError, match=re.escape(message)):
        memory.verify(CHAIN, Plan(GOOD | offsets, size, "by hand"))


JOINED = [
    Block("x", 16, 0, 2, kind="input"),
    Block("left", 24, 0, 3, within=("joined", 0)),
    Block("right", 8, 2, 3, within=("joined", 24)),
    Block("joined", 32, 0, 4),
]


def test_parts_lie_in_their_whole_and_take_no_memory_of_their_own():
    plan = memory.plan(JOINED)
    assert plan.minimal and plan.size == memory.floor(JOINED) == 16 + 32
    whole = plan.offsets["joined"]
    assert plan.offsets["left"] == whole and plan.offsets["right"] == whole + 24
    memory.verify(JOINED, plan)


def test_parts_of_parts_lie_in_the_whole():
    blocks = [Block("inner", 8, 0, 3, within=("left", 12)), *JOINED]
    plan = memory.plan(blocks)
    assert plan.offsets["inner"] == plan.offsets["joined"] + 12
    memory.verify(blocks, plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left": {"within": ("nobody", 0)}}, "left cannot be at 0 of nobody, which is no block"),
        ({"right": {"within": ("joined", 28)}}, "right cannot be at 28 of joined: it has 8 bytes"),
        ({"right": {"within": ("joined", 22)}}, "right cannot be at 22 of joined"),
        ({"joined": {"first": 1}}, "left cannot be at 0 of joined: it needs memory of its own"),
        ({"left": {"last": 5}}, "left cannot be at 0 of joined: it needs memory of its own"),
    ],
)
def test_parts_that_cannot_be_are_refused(change, message):
    blocks = [replace(block, **change.get(block.name, {})) for block in JOINED]
    with pytest.raises(ValueError, match=message):
        memory.plan(blocks)


@pytest.mark.parametrize(
    ("change", "offsets", "message"),
    [
        ({}, {"right": 12}, "right lies at 12, which is 12 of joined, not 24"),
        ({"right": {"within": ("joined", 20)}}, {"right": 20}, "left and right overlap"),
        ({}, {"x": 8}, "joined and x overlap|x and joined overlap|left and x|x and left"),
        ({"joined": {"first": 3}}, {}, "left is needed when joined is not there"),
    ],
)
def test_verify_looks_at_parts(change, offsets, message):
    blocks = [replace(block, **change.get(block.name, {})) for block in JOINED]
    placed = {"x": 32, "left": 0, "right": 24, "joined": 0} | offsets
    with pytest.raises(PlanError, match=message):
        memory.verify(blocks, Plan(placed, 48, "by hand"))


def test_verify_refuses_sharing_with_what_is_still_needed():
    blocks = [Block("x", 8, 0, 3), Block("y", 8, 1, 3, shares="x")]
    with pytest.raises(PlanError, match="x and y overlap in step 1: 8 bytes from 0"):
        memory.verify(blocks, Plan({"x": 0, "y": 0}, 8, "by hand"))


def test_verify_refuses_two_blocks_in_the_place_of_one():
    blocks = [Block("x", 8, 0, 1), Block("y", 8, 1, 2, shares="x"), Block("z", 8, 1, 2, shares="x")]
    with pytest.raises(PlanError, match="y and z overlap in step 1: 8 bytes from 0"):
        memory.verify(blocks, Plan(dict.fromkeys("xyz", 0), 8, "by hand"))


def test_verify_finds_exactly_the_overlaps_that_moving_a_block_plants():
    rng, outcomes = random.Random(2), set()
    for _ in range(150):
        blocks = [replace(b, shares=None) for b in random_blocks(rng, 8)]
        plan = memory.plan(blocks)
        moved = rng.choice(blocks)
        offset = rng.randrange(0, plan.size - moved.size + 1)
        offset -= offset % moved.alignment
        offsets = plan.offsets | {moved.name: offset}
        planted = any(overlaps(moved, b, offsets) for b in blocks if b is not moved)
        try:
            memory.verify(blocks, replace(plan, offsets=offsets))
            found = False
        except PlanError as error:
            found = True
            assert moved.name in str(error)
        assert found == planted
        outcomes.add(found)
    assert outcomes == {True, False}


# --- drawings


def residual_network(pairs):
    """pairs of a convolution and an ADD of its input, one after the other."""
    scale = {"scales": np.float32([0.5]), "zero_points": np.array([-3])}
    shape = (1, 8, 8, 4)
    tensors = [
        Tensor("weights", (4, 3, 3, 4), "int8", data=np.ones((4, 3, 3, 4), np.int8)),
        Tensor("bias", (4,), "int32", data=np.ones(4, np.int32)),
        Tensor("input", shape, "int8", **scale),
    ]
    window = {"stride_y": 1, "stride_x": 1, "padding": "SAME", "activation": "RELU6"}
    operators = []
    for i in range(pairs):
        before = len(tensors) - 1
        tensors += [Tensor(f"{name} {i}", shape, "int8", **scale) for name in ("conv", "add")]
        operators += [
            Operator(2 * i, "CONV_2D", [before, 0, 1], [before + 1], window),
            Operator(2 * i + 1, "ADD", [before, before + 1], [before + 2], {"activation": "NONE"}),
        ]
    return Graph("residual", tensors, operators, [2], [len(tensors) - 1], KINDS)


def test_the_table_of_a_graph_has_one_line_for_each_operator():
    header, start, *rows, total = draw.print_graph(residual_network(3)).splitlines()
    assert len(rows) == 6
    assert rows[2].split() == [
        *("2", "CONV_2D", "8x8x4", "->", "8x8x4", "0.5", "-3", "9,216", "160"),
        *("3x3", "SAME", "RELU6"),
    ]
    assert rows[3].split() == ["3", "ADD", "8x8x4", "+", "8x8x4", "->", "8x8x4", "0.5", "-3"]
    assert start.split()[:2] == ["input", "8x8x4"]
    assert total.split() == ["sum", "27,648", "480"]


@pytest.mark.parametrize("operators", [5, 40])
def test_drawings_are_pictures_and_repeat(tmp_path, operators):
    graph = residual_network(-(-operators // 2))
    blocks = random_blocks(random.Random(operators), operators)
    plan = memory.plan(blocks)
    steps = [operator.name for operator in graph.operators]
    drawings = {
        "graph": lambda path: draw.draw_graph(graph, path),
        "plan": lambda path: draw.draw_plan(blocks, plan, path),
        "named": lambda path: draw.draw_plan(blocks, plan, path, steps),
    }
    pictures = set()
    for name, make in drawings.items():
        make(tmp_path / f"{name}.png")
        pictures.add((tmp_path / f"{name}.png").read_bytes())
    assert len(pictures) == 3
    assert all(p.startswith(b"\x89PNG") and len(p) > 10_000 for p in pictures)
    drawings["plan"](tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() in pictures
