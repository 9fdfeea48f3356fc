"""What a compiled model looks like: its graph as a table and as a picture, its memory over time.

Pictures are PNG files without dates or versions: the same model gives the same bytes. Sizes of
pictures are in inches, as Matplotlib has them.
"""

import io
import itertools

import cli
from compiler import memory

BLOCK_COLOURS = {
    "input": "#9ccb86",
    "activation": "#9dbfe3",
    "scratch": "#f0b666",
    "output": "#e39a9a",
}
MOST = 240  # operators of a graph, or steps of a plan with their names, in one picture
LEAST = 24, 8  # pixels, of what has room for a word
LINE, SKIP, FRAMES = "#555555", "#d9541e", "#dcdcdc"


def _save(figure, path):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    cli.write_atomic(path, buffer.getvalue())


def _shape(tensor):
    """40x40x8: without a batch of 1."""
    shape = tensor.shape[1:] if len(tensor.shape) > 1 and tensor.shape[0] == 1 else tensor.shape
    return "x".join(map(str, shape)) or "1"


def _shapes(graph, operator):
    """40x40x8 -> 40x40x48, constants left out."""
    inputs = [_shape(graph.tensors[i]) for i in graph.activations(operator)]
    outputs = [_shape(graph.tensors[i]) for i in operator.outputs]
    return f"{' + '.join(inputs)} -> {' + '.join(outputs)}"


def _quantisation(tensor):
    """Scale and zero point; of tensors that have none, the type."""
    if tensor.scales is None:
        return tensor.dtype
    return f"{tensor.scale:.5g} {tensor.zero_point:+d}"


# --- the graph as a table


def print_graph(graph):
    """The table of a graph as text, one line for each operator; quantisation is the output's."""
    header = ("", "operator", "shapes", "scale, zero", "MACs", "bytes", "attributes")
    rows = [header]
    for i in graph.inputs:
        tensor = graph.tensors[i]
        rows.append(("", "input", _shape(tensor), _quantisation(tensor), "", "", ""))
    for operator in graph.operators:
        count, constants = graph.row(operator).costs(graph, operator)
        rows.append(
            (
                str(operator.index),
                operator.kind,
                _shapes(graph, operator),
                _quantisation(graph.tensors[operator.outputs[0]]),
                f"{count:,}" if count else "",
                f"{constants:,}" if constants else "",
                " ".join(sum(graph.row(operator).details(graph, operator), [])),
            )
        )
    rows.append(("", "sum", "", "", *(f"{total:,}" for total in _totals(graph)), ""))
    widths = [max(map(len, column)) for column in zip(*rows)]
    right = {0, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    )


def _totals(graph):
    """Multiply-accumulates and bytes of constants."""
    costs = [graph.row(operator).costs(graph, operator) for operator in graph.operators]
    return [sum(column) for column in zip(*costs)] or [0, 0]


# --- the graph as a picture

ROWS = 16  # of boxes in a column, about
SLACK = 4  # rows that a column may differ, to end where no edge but one is cut
BOX = 2.75, 0.62
BETWEEN = 0.75, 0.26  # boxes; lanes of edges come on top
LANE = 0.12
TITLE = 4.8  # wide enough for it


def draw_graph(graph, path):
    """Writes a PNG of a graph: operators in columns, in the order of execution.

    Edges between operators that do not follow each other, as of residual blocks, stand out.
    """
    from matplotlib.figure import Figure

    nodes, edges = _nodes_and_edges(graph)
    places = _places(len(nodes), edges)
    lanes = _lanes(edges, places)
    pitch = BOX[0] + BETWEEN[0] + LANE * max(lanes.values(), default=0), BOX[1] + BETWEEN[1]
    columns, rows = max(c for c, _ in places) + 1, max(r for _, r in places) + 1
    width = max(columns * pitch[0] - BETWEEN[0] + 0.7, TITLE)
    height = rows * pitch[1] + 0.9
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(-height + 0.75, 0.75))
    axes.set_axis_off()
    count, constants = _totals(graph)
    title = f"{len(graph.operators)} operators, {count:,} MACs, {constants:,} bytes of constants"
    axes.text(0.25, 0.45, graph.name, fontsize=13, weight="bold", va="center")
    axes.text(0.25, 0.2, title, fontsize=9, va="center")
    corners = [(0.25 + c * pitch[0], -0.2 - r * pitch[1]) for c, r in places]
    for (text, colour), corner in zip(nodes, corners):
        _draw_box(axes, text, colour, *corner)
    for edge in edges:
        ends = [(places[i][0], *corners[i]) for i in edge]
        _draw_edge(axes, *ends, lanes.get(edge))
    _save(figure, path)


def _nodes_and_edges(graph):
    """([(lines, colour)], [(from, to)]): of inputs, operators, outputs, and edges between them."""
    nodes, edges, writer = [], [], {}
    for i in graph.inputs:
        writer[i] = len(nodes)
        nodes.append((["input", _shape(graph.tensors[i])], BLOCK_COLOURS["input"]))
    for operator in graph.operators:
        read = dict.fromkeys(graph.activations(operator))  # of a state, what the last run wrote
        edges += [(writer[i], len(nodes)) for i in read if i in writer]
        count, constants = graph.row(operator).costs(graph, operator)
        costs = [f"{count:,} MACs"] * bool(count) + [f"{constants:,} bytes"] * bool(constants)
        row = graph.row(operator)
        shape, _ = row.details(graph, operator)
        head = " ".join([str(operator.index), operator.kind, *shape])
        lines = [head, _shapes(graph, operator), ", ".join(costs)]
        colour = row.colour
        writer |= {i: len(nodes) for i in operator.outputs}
        nodes.append(([line for line in lines if line], colour))
    for i in graph.outputs:
        edges.append((writer[i], len(nodes)))
        nodes.append((["output", _shape(graph.tensors[i])], BLOCK_COLOURS["output"]))
    return nodes, edges


def _places(count, edges):
    """[(column, row)] of nodes: even columns that end, if they can, where only one edge is cut."""
    cut = {i for start, end in edges if end - start > 1 for i in range(start + 1, end + 1)}
    places, columns = [], -(-count // ROWS)
    for column in range(columns):
        left = count - len(places)
        even = -(-left // (columns - column))
        lengths = range(max(even - SLACK, 1), min(even + SLACK, left) + 1)
        clean = [n for n in lengths if len(places) + n not in cut]
        last = column == columns - 1
        length = left if last else min(clean, key=lambda n: abs(n - even), default=even)
        places += [(column, row) for row in range(length)]
    return places


def _lanes(edges, places):
    """{edge: lane} of the edges that skip nodes: no two in one lane at the same height."""
    skipping = sorted(edge for edge in edges if edge[1] - edge[0] > 1)
    lanes, ends = {}, []
    for start, end in (e for e in skipping if places[e[0]][0] == places[e[1]][0]):
        lane = next((i for i, last in enumerate(ends) if last <= start), len(ends))
        ends[lane : lane + 1] = [end]
        lanes[start, end] = lane
    for edge in (e for e in skipping if e not in lanes):  # to another column
        ends.append(edge[1])
        lanes[edge] = len(ends) - 1
    return lanes


def _draw_box(axes, lines, colour, x, y):
    """x, y: of its upper left corner."""
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch((x, y - BOX[1]), *BOX, boxstyle=style, facecolor=colour, edgecolor=LINE)
    )
    for i, line in enumerate(lines):
        middle = y - BOX[1] * (i + 0.7) / (len(lines) + 0.4)
        weight = "normal" if i else "bold"
        axes.text(x + BOX[0] / 2, middle, line, size=8, weight=weight, ha="center", va="center")


def _draw_edge(axes, start, end, lane):
    """start, end: column, upper left corner of the box. lane: None if the boxes follow each other.

    To a column that is not the next one, an edge runs above the boxes.
    """
    column, x, y = start
    end_column, end_x, end_y = end
    middle, side, top = BOX[0] / 2, x + BOX[0], 0.02
    if lane is None and column == end_column:
        points = [(x + middle, y - BOX[1]), (end_x + middle, end_y)]
    elif lane is None:  # to the top of the next column
        below, gutter, over = y - BOX[1] - 0.12, end_x - 0.15, end_y + 0.15
        points = [(x + middle, y - BOX[1]), (x + middle, below), (gutter, below), (gutter, over)]
        points += [(end_x + middle, over), (end_x + middle, end_y)]
    else:
        aside = side + 0.2 + LANE * lane
        leave, arrive = y - 0.7 * BOX[1], end_y - 0.3 * BOX[1]
        points = [(side, leave), (aside, leave)]
        if end_column > column + 1:
            points += [(aside, top), (end_x - 0.25, top), (end_x - 0.25, arrive)]
        else:
            points.append((aside, arrive))
        points.append((end_x + BOX[0] if column == end_column else end_x, arrive))
    colour, width = (LINE, 1) if lane is None else (SKIP, 1.6)
    axes.plot(*zip(*points), color=colour, linewidth=width, solid_joinstyle="round", zorder=0.5)
    axes.annotate(
        "",
        points[-1],
        points[-2],
        arrowprops={"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0},
    )


# --- memory over time


def draw_plan(blocks, plan, path, steps=(), name="the arena", frames=()):
    """Writes a PNG of a memory plan: what lies where in the arena in which step.

    steps: names of the steps for the axis, from step 0; their numbers if there are none. name: of
    what is planned. frames: bytes of stack that the kernel of each step takes beside the arena.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    first = min((b.first for b in blocks), default=0)
    last = max([len(steps) - 1, *(b.last for b in blocks)])
    count = last + 1 - first
    named = len(steps) > last
    legend_rows = 2 if any(frames) else 1  # all in one would be wider than the picture
    left, right, top, bottom = 0.95, 0.2, 0.55 + 0.2 * legend_rows, 1.9 if named else 0.65
    width, height = left + right + max(8, 0.25 * min(count, MOST)), 5.2 + top + bottom
    figure = Figure(figsize=(width, height))
    box = left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height
    highest = max(plan.size + max(frames, default=0), 1)
    axes = figure.add_axes(box, xlim=(first, last + 1), ylim=(0, highest * 1.04))
    _draw_blocks(figure, axes, blocks, plan)
    if any(frames):
        label = f"frames of kernels, at most {max(frames):,} B"
        places = [step + 0.5 for step in range(len(frames))]
        look = {"color": FRAMES, "edgecolor": LINE, "linewidth": 0.5, "hatch": "//", "width": 1}
        axes.bar(places, frames, bottom=plan.size, label=label, **look)
    alive = memory.alive(blocks)
    most = max(alive.values(), default=0)
    axes.axhline(plan.size, color="black", label=f"arena {plan.size:,} B ({plan.method})")
    dashes = {"color": SKIP, "linestyle": (0, (5, 4))}
    axes.axhline(most, **dashes, label=f"alive at once {most:,} B (bold steps)")
    ticks = range(first, last + 1, -(-count // MOST))
    names = [steps[step] if named and step >= 0 else str(step) for step in ticks]
    axes.set_xticks([t + 0.5 for t in ticks], names, rotation=90 if named else 0, fontsize=8)
    for step, label in zip(ticks, axes.get_xticklabels()):
        if alive.get(step) == most:
            label.set(color=SKIP, weight="bold")
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("" if named else "step (execution of one operator)")
    axes.set_ylabel("offset in the arena (bytes)")
    axes.spines[["top", "right"]].set_visible(False)
    kinds = [kind for kind in BLOCK_COLOURS if any(b.kind == kind for b in blocks)]
    handles = [Patch(facecolor=BLOCK_COLOURS[k], edgecolor=LINE, label=k) for k in kinds]
    handles += axes.get_legend_handles_labels()[0]
    look = {"frameon": False, "fontsize": 8, "handlelength": 2.4, "columnspacing": 1}
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - 0.3 / height)}  # below the title
    figure.legend(handles=handles, ncols=-(-len(handles) // legend_rows), **place, **look)
    figure.suptitle(f"memory of {name}", y=1 - 0.1 / height, va="top", fontsize=11)
    _save(figure, path)


def _draw_blocks(figure, axes, blocks, plan):
    """A block that overwrites another one takes over in the middle of the step, dashed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patches import Rectangle

    renderer = FigureCanvasAgg(figure).get_renderer()
    overwritten = {block.shares for block in blocks}
    in_place = "written in place"
    for block in blocks:
        start = block.first + (0.5 if block.shares else 0)
        end = block.last + (0.5 if block.name in overwritten else 1)
        offset = plan.offsets[block.name]
        rectangle = Rectangle(
            (start, offset),
            end - start,
            block.size,
            facecolor=BLOCK_COLOURS[block.kind],
            edgecolor=LINE,
            linewidth=0.5,
        )
        axes.add_patch(rectangle)
        if block.shares:
            axes.plot([start] * 2, [offset, offset + block.size], "k:", label=in_place)
            in_place = None
        _label(axes, rectangle, block, renderer)


def _label(axes, rectangle, block, renderer):
    """Name and size in the largest form that fits into the rectangle, if one does."""
    size = f"{block.size / 1024:.1f} KiB" if block.size >= 1024 else f"{block.size} B"
    forms = [(f"{block.name}\n{size}", 0), (f"{block.name}  {size}", 0)]
    forms += [(f"{block.name}\n{size}", 90), (f"{block.name}  {size}", 90)]
    forms += [(block.name, 0), (block.name, 90), (size, 0), (size, 90)]
    room = rectangle.get_window_extent(renderer)
    if min(room.width, room.height) < LEAST[1] or max(room.width, room.height) < LEAST[0]:
        return
    x, y = rectangle.get_center()
    for (text, rotation), fontsize in itertools.product(forms, (8, 6.5)):
        label = axes.text(
            x, y, text, rotation=rotation, fontsize=fontsize, ha="center", va="center"
        )
        extent = label.get_window_extent(renderer)
        if extent.width < room.width - 2 and extent.height < room.height - 1:
            return
        label.remove()
