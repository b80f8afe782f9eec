"""The rules of the operations: of which space the result is, and of what shape its rows are.

Comes in: spaces and shapes of the inputs, and attributes. Goes out: those of the result, or a ValueError, which is
shown to the user behind the operation and its operands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.errors import nearest, shortened
from pipeline.formula.spaces import (
    ALL,
    BASE_PART,
    GRAPH,
    PROPER,
    SELF_LOOPS,
    SELF_PART,
    WEIGHT,
    Edges,
    Nodes,
    Space,
    Weight,
    WholeGraph,
)

Shape = tuple[int, ...]
Attributes = dict[str, Any]

MOST_ROWS = 1 << 24  # of a table: integers travel as float32
INTERPOLATIONS = ("linear", "lower", "higher", "midpoint")  # between the two messages around a quantile


# ---- spaces


def same_space(spaces: Sequence[Space], _: Attributes) -> Space:
    rows = {space for space in spaces if not isinstance(space, Weight)}
    if not rows:
        return WEIGHT
    if len(rows) == 1:
        return rows.pop()
    if any(isinstance(space, Nodes) for space in rows) and any(isinstance(space, Edges) for space in rows):
        raise ValueError("node and edge values do not mix: take g.src(...) or g.dst(...) of the node value first")
    if GRAPH in rows:
        raise ValueError(
            "a total has one row for the whole graph: take spread(...) of it first (on edges g.dst(spread))"
        )
    hint = "; flip(...) turns one round" if any(isinstance(s, Edges) and s.reversed in rows for s in rows) else ""
    raise ValueError("values of different types do not mix: " + ", ".join(sorted(map(str, rows))) + hint)


def to_edges(end: str) -> Callable[[Sequence[Space], Attributes], Space]:
    def rule(spaces: Sequence[Space], attributes: Attributes) -> Space:
        edges: Edges = attributes["edges"]
        wanted = edges.source if end == "src" else edges.target
        if spaces[0] != wanted:
            raise ValueError(f"{end} takes a value on {wanted}")
        return edges

    return rule


def to_nodes(spaces: Sequence[Space], _: Attributes) -> Space:
    edges, *own = spaces
    if not isinstance(edges, Edges):
        raise ValueError("a reduction takes edge values: g.src(...), g.dst(...) or g.edge(...)")
    return _with_own(edges, own)


def _with_own(edges: Edges, own: Sequence[Space]) -> Space:
    if any(space != edges.target and not isinstance(space, Weight) for space in own):
        raise ValueError("the parts of a reduction belong to different node types")
    return edges.target


def softmax_sum(spaces: Sequence[Space], _: Attributes) -> Space:
    if not isinstance(spaces[0], Edges) or spaces[1] != spaces[0]:
        raise ValueError("a weighted sum over edges takes logits and messages of the same edges")
    return _with_own(spaces[0], spaces[2:])


def looked_up(spaces: Sequence[Space], _: Attributes) -> Space:
    table, index = spaces
    if not isinstance(table, Weight):
        raise ValueError("a table that is looked up is a weight")
    if isinstance(index, Weight):
        raise ValueError("the index is a value per node or per edge, not a weight")
    return index


def restrict(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("only edge values can be restricted to a part of the edges")
    stored, part = BASE_PART.get(spaces[0].part, spaces[0].part), attributes["part"]
    if part != stored and (stored != ALL or part not in (PROPER, SELF_LOOPS)):
        raise ValueError(f"{spaces[0]} cannot be restricted to {part!r}, of which they are no part")
    return Edges(spaces[0].type, part)


def extend(spaces: Sequence[Space], _: Attributes) -> Space:
    edges, nodes = spaces
    if not isinstance(edges, Edges) or edges.part not in SELF_PART or nodes != edges.target:
        raise ValueError("added self-loops take an edge value without them and a value per node")
    return Edges(edges.type, SELF_PART[edges.part])


def flip(spaces: Sequence[Space], _: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("only an edge value can be seen from the other end of its edge")
    return spaces[0].reversed


def edges_only(spaces: Sequence[Space], _: Attributes) -> Space:
    if not isinstance(spaces[0], Edges):
        raise ValueError("softmax over neighbours takes an edge value")
    return spaces[0]


def loops_only(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], Edges) or spaces[0].part != SELF_LOOPS:
        raise ValueError("the last value of a self-loop takes a value on the self-loops")
    return to_nodes(spaces, attributes)


def total(spaces: Sequence[Space], _: Attributes) -> Space:
    if not all(isinstance(space, Nodes) and space == spaces[0] for space in spaces):
        raise ValueError("a total takes a node value" if len(spaces) == 1 else "a total takes node values of one type")
    return GRAPH


def spread(spaces: Sequence[Space], attributes: Attributes) -> Space:
    if not isinstance(spaces[0], WholeGraph):
        raise ValueError("only a total can be spread over the nodes: total_sum(...), total_mean(...)")
    nodes: Nodes = attributes["nodes"]
    return nodes


# ---- shapes


def broadcast_shapes(shapes: Sequence[Shape], _: Attributes | None = None) -> Shape:
    """NumPy's broadcasting of row shapes."""
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise ValueError("row shapes do not broadcast: " + " with ".join(map(str, shapes))) from None


def first(shapes: Sequence[Shape], _: Attributes) -> Shape:
    return shapes[0]


def message(shapes: Sequence[Shape], _: Attributes) -> Shape:
    shape = broadcast_shapes(shapes[:2])
    for of_edges, own in zip(shapes[:2], shapes[2:], strict=False):
        _check_own(of_edges, own)
    return shape


def state_of_softmax(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """One axis: the lanes of a message, and twice those of a logit."""
    found = message(shapes, attributes)
    if found != shapes[1]:
        raise ValueError("the messages have the shape of what they add up to")
    return (math.prod(found) + 2 * math.prod(shapes[0]),)


def merge_states(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    """Of two states of a softmax with so many logits: one axis, as many lanes of messages for each."""
    shape, logits = shapes[0], attributes["logits"]
    if shape != shapes[1] or len(shape) != 1 or logits < 1 or shape[0] < 2 * logits or shape[0] % logits:
        raise ValueError(f"states of {logits} logits are expected, not rows of shape {shapes[0]} and {shapes[1]}")
    return shape


def with_own(shapes: Sequence[Shape], _: Attributes) -> Shape:
    for own in shapes[1:]:
        _check_own(shapes[0], own)
    return shapes[0]


def _check_own(shape: Shape, own: Shape) -> None:
    if broadcast_shapes([shape, own]) != shape:
        raise ValueError(f"messages have shape {shape}, but own ones {own}")


def quantile(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    q, interpolation, shape = attributes["q"], attributes["interpolation"], shapes[0]
    if shapes[-1] != shape:
        raise ValueError(f"messages have shape {shape}, but own ones {shapes[-1]}")
    if not q or not all(0 <= part <= 1 for part in q):
        raise ValueError(f"quantiles are numbers from 0 to 1, not {tuple(q)}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"unknown interpolation {interpolation!r}; {nearest(interpolation, INTERPOLATIONS)}")
    if len(q) == 1:
        return shape
    return (len(q) * shape[0], *shape[1:]) if shape else (len(q),)


def matmul(shapes: Sequence[Shape], _: Attributes) -> Shape:
    left, right = shapes
    if not left or len(right) < 2:
        raise ValueError("a matrix product takes a row of at least one axis and a matrix")
    if left[-1] != right[-2]:
        raise ValueError(f"widths differ: {left[-1]} columns against a matrix of {right[-2]} → {right[-1]}")
    if len(left) == 1:
        if len(right) != 2:
            raise ValueError("a vector per row takes one matrix")
        return (right[-1],)
    return (*broadcast_shapes([left[:-2], right[:-2]]), left[-2], right[-1])


def reshape(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    shape = tuple(attributes["shape"])
    if math.prod(shapes[0]) != math.prod(shape):
        raise ValueError(f"cannot reshape rows of {shapes[0]} to {shape}")
    return shape


def broadcast_to(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    shape = tuple(attributes["shape"])
    if broadcast_shapes([shapes[0], shape]) != shape:
        raise ValueError(f"cannot broadcast rows of {shapes[0]} to {shape}")
    return shape


def outer(shapes: Sequence[Shape], _: Attributes) -> Shape:
    left, right = shapes
    if not left or not right or left[:-1] != right[:-1]:
        raise ValueError(f"rows of {left} and {right} have no outer product: all axes but the last must be the same")
    return (*left, right[-1])


def transpose(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axes = attributes["axes"]
    if sorted(axes) != list(range(len(shapes[0]))):
        raise ValueError(f"rows of {shapes[0]} cannot be transposed to axes {tuple(axes)}: each axis once is expected")
    return tuple(shapes[0][axis] for axis in axes)


def concat(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis = attributes["axis"]
    if axis < 0:
        raise ValueError(f"rows of {shapes[0]} have no axis {axis}")
    rest = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rest) != 1 or any(len(shape) <= axis for shape in shapes):
        raise ValueError("cannot join rows of shapes " + ", ".join(map(str, shapes)))
    joined = sum(shape[axis] for shape in shapes)
    return (*shapes[0][:axis], joined, *shapes[0][axis + 1 :])


def slice_lanes(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis, start, stop, step = (attributes[key] for key in ("axis", "start", "stop", "step"))
    _check_axis(shapes[0], axis)
    if not 0 <= start <= stop <= shapes[0][axis] or step < 1:
        raise ValueError(f"columns {start}:{stop}:{step} are not in rows of {shapes[0]}")
    return (*shapes[0][:axis], len(range(start, stop, step)), *shapes[0][axis + 1 :])


def take(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axis = attributes["axis"]
    _check_axis(shapes[0], axis)
    if any(not 0 <= index < shapes[0][axis] for index in attributes["indices"]):
        raise ValueError(f"columns {shortened(attributes['indices'])} are not in rows of {shapes[0]}")
    return (*shapes[0][:axis], len(attributes["indices"]), *shapes[0][axis + 1 :])


def lookup(shapes: Sequence[Shape], _: Attributes) -> Shape:
    table, index = shapes
    if not table or not table[0]:
        raise ValueError("a table has at least one row")
    if table[0] > MOST_ROWS:
        raise ValueError(f"a table of {table[0]:,} rows: float32 keeps no more than {MOST_ROWS:,} integers apart")
    return (*index, *table[1:])


def over_lanes(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    axes = attributes["axes"]
    if len(set(axes)) < len(axes) or any(not 0 <= axis < len(shapes[0]) for axis in axes):
        raise ValueError(f"rows of {shapes[0]} have no axes {shortened(tuple(axes))}")
    keep = attributes["keepdims"]
    return tuple(1 if axis in axes else size for axis, size in enumerate(shapes[0]) if keep or axis not in axes)


def extreme_lanes(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    shape = over_lanes(shapes, attributes)
    if any(not shapes[0][axis] for axis in attributes["axes"]):
        raise ValueError(f"rows of {shapes[0]} have no largest column")
    return shape


def lane_argmax(shapes: Sequence[Shape], attributes: Attributes) -> Shape:
    if len(attributes["axes"]) != 1:
        raise ValueError(f"the largest column is looked for along one axis, not {len(attributes['axes'])}")
    return extreme_lanes(shapes, attributes)


def _check_axis(shape: Shape, axis: int) -> None:
    if not 0 <= axis < len(shape):
        raise ValueError(f"rows of {shape} have no axis {axis}")
