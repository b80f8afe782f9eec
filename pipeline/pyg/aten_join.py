"""aten operations that put tensors one after the other: cat, stack.

Comes in: symbols. Goes out: rows with more lanes; an edge_index with added self-loops, and the values of its edges; an
edge_index of two of its rows; rows of several types, one type after the other (joined.py). Rows of one table are never
joined to others of it: a node or an edge keeps its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.formula.spaces import BASE_PART, SELF_PART, Edges, Nodes
from pipeline.formula.values import apply
from pipeline.pyg.call import Call, Handler, need_rows
from pipeline.pyg.joined import joined, parts_of, row_axis
from pipeline.pyg.layout import align, lane_axis, view, with_value
from pipeline.pyg.symbols import EdgeIndex, End, NodeNumbers, Refusal, Rows, Symbol

TWICE = Refusal(
    "adds self-loops to edges to which they were added before",
    "add them once, with the sum of both values: (1 + 1) x, or one fill_value",
)


def _cat(call: Call) -> Symbol:
    symbols, ranks = call["tensors"], [tensor.dim() for tensor in call.tensors["tensors"]]
    if len(symbols) == 1:
        return symbols[0]
    if _are_types(symbols, ranks, call["dim"]):
        return joined(symbols, call.sizes)
    return _joined(symbols, ranks, call["dim"])


def _are_types(symbols: Sequence[Any], ranks: Sequence[int], dim: int) -> bool:
    """Whether rows, or edges, of several types are put one after the other."""
    parts = [part for symbol in symbols for part in parts_of(symbol)]
    if len(set(ranks)) != 1 or not all(isinstance(part, Rows | EdgeIndex | End) for part in parts):
        return False
    if any(row_axis(part) != dim % ranks[0] or (isinstance(part, Rows) and part.is_whole) for part in parts):
        return False
    if all(isinstance(part, Rows) for part in parts):
        spaces = [part.space for part in parts if isinstance(part, Rows)]
        # not those that a mask chooses; and not the rows of a graph of one type twice: users, then items
        return {type(space) for space in spaces} in ({Nodes}, {Edges}) and spaces.count(Nodes()) < 2
    return len({part.edges for part in parts if not isinstance(part, Rows)}) == len(parts)


def _joined(symbols: Sequence[Any], ranks: Sequence[int], dim: int) -> Symbol:
    first = symbols[0]
    if isinstance(first, EdgeIndex) and len(symbols) == 2 and dim % 2 != first.axis:
        return _with_self_loops(first, symbols[1])
    if set(ranks) == {2} and all(isinstance(end, End) and end.axis == 1 - dim % 2 for end in symbols):
        return _of_rows(symbols, dim % 2)
    rows = [need_rows(symbol) for symbol in symbols]
    pattern = next((r for r in rows if not r.is_whole), rows[0])
    if dim % pattern.rank == pattern.axis:
        return _extended(rows)
    pattern, values = align(rows)
    if len({r.rank for r in rows}) != 1 or len(set(ranks)) != 1:
        raise Refusal("joins tensors of different ranks")
    return with_value(pattern, apply("concat", *values, axis=lane_axis(pattern, dim)))


def _with_self_loops(index: EdgeIndex, loops: Any) -> Symbol:
    """edge_index followed by one self-loop per node."""
    if loops == index.turned():
        raise Refusal(
            "adds every edge against its direction to edge_index",
            "leave this out, and prepare the graph with undirected=True",
        )
    if index.edges.source != index.edges.target and isinstance(loops, NodeNumbers):
        raise Refusal("adds self-loops to edges between two types", "make this layer with add_self_loops=False")
    one_for_each = NodeNumbers(index.edges.target, twice=True)
    if loops == one_for_each and index.edges.part in BASE_PART:
        raise TWICE
    if loops != one_for_each or index.axis or index.edges.part not in SELF_PART:
        raise Refusal("adds other edges to edge_index than one self-loop per node", "store these edges in the table")
    if index.starts != (0, 0):
        raise Refusal("adds self-loops to the edges of one of several types", "add them before the types are joined")
    if index.mask is not None:
        raise Refusal("adds self-loops to some of the edges", "add them before the mask is applied")
    return EdgeIndex(Edges(index.edges.type, SELF_PART[index.edges.part]), index.reversed)


def _of_rows(ends: Sequence[End], axis: int) -> Symbol:
    """An edge index made of rows of one."""
    first, second = ends if len(ends) == 2 else (ends[0], ends[0])
    if (first.edges, first.mask) != (second.edges, second.mask) or first.which == second.which:
        raise Refusal("makes an edge index of other rows than the src and the dst of the same edges")
    return EdgeIndex(first.edges, first.which == "dst", axis, first.mask, (first.start, second.start))


def _extended(rows: Sequence[Rows]) -> Symbol:
    """Edge values followed by node values: the values of edges with added self-loops."""
    if len(rows) != 2 or not isinstance(rows[0].space, Edges) or not isinstance(rows[1].space, Nodes):
        raise Refusal("joins " + " and ".join(str(r.space) for r in rows) + " one after the other")
    if rows[0].space.part in BASE_PART:
        raise TWICE
    if any(r.axis or r.before or r.after for r in rows):
        raise Refusal("joins rows that are not the first axis")
    return Rows(apply("extend", rows[0].value, rows[1].value))


def _stack(call: Call) -> Symbol:
    symbols, dim = call["tensors"], call["dim"]
    if all(isinstance(symbol, End) for symbol in symbols) and len(call.shape) == 2:
        return _of_rows(symbols, dim % 2)
    first = symbols[0]
    if isinstance(first, NodeNumbers) and call.shape[:-1] == (2,) and all(symbol == first for symbol in symbols):
        return replace(first, twice=True)
    dim = dim % len(call.shape)
    wide = [
        view(rows, call.count(rows), (*call.shape[:dim], 1, *call.shape[dim + 1 :])) for rows in map(need_rows, symbols)
    ]
    return _joined(wide, [rows.rank for rows in wide], dim)


HANDLERS: dict[str, Handler] = {"cat": _cat, "stack": _stack}
