"""Parts of the edges: what a mask over self-loops leaves of an edge index, of edge values, and of added self-loops.

Comes in: `src != dst` and `src == dst`, as PyG's self-loop helpers make them. Goes out: the part, or the values on it.
"""

from __future__ import annotations

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import ALL, BASE_PART, PROPER, PROPER_SELF, SELF_LOOPS, Edges
from pipeline.formula.values import Value, apply, fill, topological
from pipeline.pyg.layout import broadcast_to, elementwise, with_value
from pipeline.pyg.symbols import Learned, PartMask, Refusal, Rows, Symbol


def part_of(edges: Edges, mask: PartMask) -> Edges:
    """The edges that a mask leaves. Added self-loops come after all others, and go as they came."""
    if edges != mask.edges:
        raise Refusal(f"takes {edges} by a mask over {mask.edges}")
    if mask.part == SELF_LOOPS and edges.part != ALL:
        raise Refusal(f"takes the self-loops of {edges}", "take them before self-loops are added or removed")
    return Edges(edges.type, mask.part)


def cut(value: Value, mask: PartMask) -> Value:
    """The values of the edges that a mask leaves."""
    edges = value.space
    if not isinstance(edges, Edges):
        raise Refusal(f"takes {edges} by a mask over {mask.edges}")
    part = part_of(edges, mask).part
    if edges.part in BASE_PART:
        if value.op != "extend":
            raise Refusal(f"removes the self-loops of {edges} again", "remove them before they are added")
        value = value.inputs[0]
    assert isinstance(value.space, Edges)
    return value if value.space.part == part else apply("restrict", value, part=part)


def is_added_loops(rows: Rows, mask: PartMask) -> bool:
    """Whether a mask leaves the added self-loops and no others: a row per node, in the nodes' order."""
    return mask.part == SELF_LOOPS and mask.edges.part == PROPER_SELF and rows.space == mask.edges


def on_added_loops(value: Value) -> Value:
    """The values on the added self-loops, as a node value."""
    own: dict[int, Value] = {}
    for below in topological([value], stop=("src", "dst", "extend")):
        space, inputs = below.space, below.inputs
        if below.is_weight:
            own[below.id] = below
        elif below.op == "extend":
            own[below.id] = broadcast_to(inputs[1], below.shape)
        elif below.op in ("src", "dst"):
            own[below.id] = inputs[0]
        elif below.op == "flip":
            own[below.id] = own[inputs[0].id]
        elif below.op == "fill":
            assert isinstance(space, Edges)
            own[below.id] = fill(below.attributes["value"], space.target, below.shape)
        elif OPERATIONS[below.op].kind in ("elementwise", "row"):
            own[below.id] = apply(below.op, *(own[operand.id] for operand in inputs), **below.attributes)
        else:
            raise Refusal(f"takes the added self-loops of a {below.op}")
    return own[value.id]


def loops_written(rows: Rows, mask: PartMask, own: Rows | Learned | float, accumulate: bool = False) -> Symbol:
    """w[src == dst] = own, where the self-loops are those that were added."""
    if not is_added_loops(rows, mask) or accumulate:
        raise Refusal("writes to the self-loops only", "remove them first, and add them with their values")
    if not isinstance(own, Rows):
        own = elementwise("mul", [Rows(fill(1.0, mask.edges.target, rows.value.shape)), own])
    stored = apply("restrict", rows.value, part=PROPER)
    return with_value(rows, apply("extend", stored, own.value))
