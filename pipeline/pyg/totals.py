"""Reductions over every node (or edge) of the graph, and their result for every node again.

Comes in: values with rows. Goes out: values of the whole graph, and Rows that hold them. PyG's norms reduce by a
constant `batch` of zeros where they are not given one: an index that names the same row for every node is a total too.
"""

from __future__ import annotations

import math

from pipeline.formula.spaces import Edges, Nodes, WholeGraph
from pipeline.formula.values import Value, apply, fill
from pipeline.pyg.chosen import Chosen, only
from pipeline.pyg.symbols import Operand, Refusal, Rows

# what a reduction over lanes is over rows
_KINDS = {"lane_sum": "sum", "lane_max": "max", "lane_min": "min"}
_WORST = {"sum": 0.0, "max": -math.inf, "min": math.inf}  # of a node without edges, and of one that was not chosen
_ELSE = {
    "lane_prod": "multiplies all {space}",
    "lane_argmax": "asks which of the {space} is the largest: rows have no numbers",
}


def whole(value: Value) -> Rows:
    """A tensor that has no row axis, computed from rows."""
    return Rows(value, axis=len(value.shape))


def all_rows(op: str, value: Value) -> Value:
    """A reduction over all rows of a value, named as the one over lanes is; one row for the whole graph."""
    space = value.space
    if op == "lane_mean":
        return all_rows("lane_sum", value) / number_of(space)
    kind = _KINDS.get(op)
    if kind is None:
        raise Refusal(_ELSE[op].format(space=space), "use sum, mean, max or min over the nodes")
    if isinstance(space, Edges):  # first into the nodes, which is no exchange
        value = apply("sum", value) if kind == "sum" else apply(kind, value, empty=_WORST[kind])
    return apply(f"total_{kind}", only(value, _WORST[kind]))


def over_products(a: Value, b: Value) -> Value:
    """aᵀ b over all rows: the sum of their outer products."""
    if not a.is_node:
        raise Refusal(f"sums over all {a.space} in a matrix product", "reduce into the nodes first")
    return apply("total_product", only(a, 0.0), only(b, 0.0))


def number_of(space: object) -> Value:
    """How many nodes, or edges, there are: a value for the whole graph."""
    assert isinstance(space, Nodes | Edges)
    if isinstance(space, Chosen):
        return apply("total_sum", space.mask)
    return all_rows("lane_sum", fill(1.0, space))


def over(value: Value, space: Nodes | Edges | WholeGraph) -> Value:
    """A value of the whole graph for every row of a space."""
    if isinstance(space, WholeGraph):
        return value
    if isinstance(space, Nodes):
        return apply("spread", value, nodes=space)
    return apply("dst", apply("spread", value, nodes=space.target), edges=space)


def constant(symbol: Operand) -> float | None:
    """The number that every row of a tensor holds, if it was filled with it."""
    if not isinstance(symbol, Rows) or symbol.is_whole:
        return None
    value = symbol.value
    while value.op in ("reshape", "broadcast_to", "src", "dst"):
        value = value.inputs[0]
    return float(value.attributes["value"]) if value.op == "fill" else None
