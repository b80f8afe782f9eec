"""aten operations that take rows by an index: by edge_index → `src`, `dst`; of a weight, by a column of integers →
`lookup`; by a mask over the edges → a part of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import apply, fill
from pipeline.pyg.call import Call, Handler, describe, need_rows
from pipeline.pyg.captured import Captured
from pipeline.pyg.chosen import ONE_MASK, Chosen, chosen
from pipeline.pyg.edge_parts import cut, is_added_loops, on_added_loops, part_of
from pipeline.pyg.layout import elementwise, lane_axis, reshape, transpose, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, NodeNumbers, Opaque, PartMask, Refusal, Rows, Symbol
from pipeline.pyg.totals import constant, over

NODE_EMBEDDING = (
    "looks up a learned table by the number of a node",
    "give node_ids=, the ids of the nodes in the order of its rows, which then go with the model; or store its rows as "
    "a column of the nodes, and name it: inputs={'embedding.weight': 'nodes.COLUMN'}, or pass it to forward",
)
JOINED_TABLES = (
    "put their rows into one weight of the module, one below the other as forward joins them; store these rows as a "
    "column of the nodes, and name it: inputs={'WEIGHT': 'nodes.COLUMN'}"
)
OUT_OF_BOUNDS = re.compile(
    r"out of bounds for dimension \d+ with size (\d+)|tensor a \((\d+)\) must match .* dimension 0"
)
A_MASK = "choose nodes by a mask over all of them; say that a column is one: features={'mask': bool}"
MOST_CLASSES = 4096  # of a one-hot row: the unit matrix is 64 MB


def table_of_nodes(symbols: Sequence[Any], captured: Captured) -> Refusal | None:
    """Why torch did not go on: the rows of a learned table beside those of the graph, `embedding.weight + x`."""
    sizes = [symbol.tensor.shape[:1] for symbol in symbols if isinstance(symbol, Learned)]
    table = next((size[0] for size in sizes if size and size[0] in captured.tables), None)
    if table is None or not any(isinstance(symbol, Rows | End) for symbol in symbols):
        return None
    return _of_table(table, captured)


def stored_as_column(name: str | None) -> str:
    """What to do about a learned table; `name`: of the weight, if it is known."""
    return NODE_EMBEDDING[1].replace("embedding.weight", name or "embedding.weight")


def table_too_short(symbols: Sequence[Any], captured: Captured, error: str) -> Refusal | None:
    """Why torch did not go on: nodes are numbered beyond the rows of something that has as many as a weight."""
    found = OUT_OF_BOUNDS.search(error)
    rows = int(found[1] or found[2]) if found else None
    if rows is None or not any(isinstance(each, End | Rows | NodeNumbers | Opaque) for each in symbols):
        return None
    if rows not in captured.first_axes:
        names = captured.joined_tables(rows)
        return joined_tables(names) if names else None
    return _of_table(rows, captured)


def _of_table(rows: int, captured: Captured) -> Refusal:
    names = captured.named(rows)
    name = names[0] if len(names) == 1 else None
    return Refusal(f"takes the {rows:,} rows of a learned table for the nodes", stored_as_column(name))


def joined_tables(names: Collection[str]) -> Refusal:
    """Of users and items, say."""
    return Refusal(
        f"takes the rows of several learned tables ({', '.join(sorted(names))}) for the nodes", JOINED_TABLES
    )


def by_node(tables: Sequence[Collection[str]]) -> Refusal:
    """A lookup by the number of a node in what was made of these weights."""
    names = tables[0] if tables else ()
    if len(names) > 1:
        return joined_tables(names)
    return Refusal(NODE_EMBEDDING[0], stored_as_column(next(iter(names), None)))


def taken(symbol: Any, dim: int, index: Any) -> Symbol:
    """Rows of a tensor, by a row of edge_index; or lanes, by a constant."""
    number = constant(index)
    if number is not None and (isinstance(symbol, Learned) or (isinstance(symbol, Rows) and symbol.is_whole)):
        return _the_same(symbol, dim, index, int(number))
    if isinstance(symbol, Learned) and isinstance(index, End | NodeNumbers | EdgeIndex):
        raise Refusal(*NODE_EMBEDDING)
    if isinstance(symbol, Learned) and isinstance(index, Rows):
        return _looked_up(symbol, dim, index)
    rows = need_rows(symbol)
    if isinstance(index, Learned):
        return _lanes(rows, dim, index)
    if dim % rows.rank != rows.axis or rows.before or rows.after:
        raise Refusal(f"takes columns by {describe(index)}")
    if isinstance(index, NodeNumbers) and not index.twice:
        return rows if index.nodes == rows.space and type(rows.space) is Nodes else _chosen(rows, index.nodes)
    if isinstance(index, PartMask):
        if is_added_loops(rows, index):
            return with_value(rows, on_added_loops(rows.value))
        return with_value(rows, cut(rows.value, index))
    if isinstance(index, Rows):
        raise Refusal(f"takes some of the {rows.space} by {describe(index)}", A_MASK)
    if not isinstance(index, End):
        raise Refusal(f"takes rows by {describe(index)}", "take them by edge_index[0] and by edge_index[1]")
    if isinstance(rows.space, Edges):
        raise Refusal("takes edge values by the number of a node")
    return with_value(rows, apply(index.which, rows.value, edges=index.edges))


def _both_ends(rows: Rows, dim: int, index: EdgeIndex) -> Rows:
    """x[edge_index], (2, edges, …), or x[edge_index.T], (edges, 2, …): of each edge the rows of its two ends."""
    ends = [taken(rows, dim, index.row(position)) for position in (0, 1)]
    values = [reshape(end.value, (1, *end.value.shape)) for end in ends if isinstance(end, Rows)]
    if dim or rows.axis:
        raise Refusal("takes rows that are not the first axis by edge_index", "take them by edge_index[0] and [1]")
    return Rows(apply("concat", *values, axis=0), 1 - index.axis)


def _chosen(rows: Rows, nodes: Nodes) -> Rows:
    """x[mask], x.index_select(0, mask.nonzero().flatten())"""
    if not isinstance(nodes, Chosen):
        raise Refusal(f"takes {rows.space} by the numbers of the {nodes}")
    if isinstance(rows.space, Edges):
        raise Refusal("takes edge values by the number of a node")
    if rows.space != Nodes():
        raise Refusal(f"takes, of the {rows.space}, the {nodes}", ONE_MASK)
    return with_value(rows, chosen(rows.value, nodes))


def _the_same(symbol: Learned | Rows, dim: int, index: Rows, position: int) -> Symbol:
    """total[batch], for a batch that names the same row of a tensor for every node."""
    shape = symbol.value.shape
    dim, lanes = dim % len(shape), shape[: dim % len(shape)] + shape[dim % len(shape) + 1 :]
    row = symbol.value
    if shape[dim] != 1:
        row = apply("take", row, axis=dim, indices=(position % shape[dim],))
    row = reshape(row, lanes)
    if isinstance(symbol, Learned):
        return Rows(apply("mul", fill(1.0, index.space, lanes), row), dim)
    return Rows(over(row, index.space), dim)


def _looked_up(table: Learned, dim: int, index: Rows) -> Rows:
    """Rows of a weight, by a column of integers: the index's axes stand where the table's axis `dim` was."""
    shape = tuple(table.tensor.shape)
    dim %= len(shape)
    if dim and index.rank != 1:
        raise Refusal("takes columns of a weight by an index of several axes", "take rows of its transpose")
    order = [dim, *(axis for axis in range(len(shape)) if axis != dim)]
    value = apply("lookup", transpose(table.value, order), index.value)
    return Rows(value, index.axis + dim, index.before, index.after)


def one_hot(index: Any, size: int, learned: Callable[[Tensor], Learned]) -> Rows:
    """(…, size): 1 in the lane that the number of a row names, 0 in the others. A row of the unit matrix."""
    if size > MOST_CLASSES:
        raise Refusal(f"makes rows of {size:,} columns of which one is not 0", "use torch.nn.Embedding instead")
    rows = need_rows(index)
    unit = learned(torch.eye(size, dtype=torch.float64))
    return with_value(rows, apply("lookup", unit.value, rows.value))


def _lanes(rows: Rows, dim: int, index: Learned) -> Rows:
    positions = index.tensor
    if positions.dtype is torch.bool:
        positions = positions.nonzero().flatten()
    if positions.dim() != 1:
        raise Refusal("takes columns by an index of several axes")
    axis = lane_axis(rows, dim)
    size = rows.value.shape[axis]
    return with_value(
        rows, apply("take", rows.value, axis=axis, indices=tuple(int(i) % size for i in positions.tolist()))
    )


def _index_select(call: Call) -> Symbol:
    if isinstance(call["self"], EdgeIndex):
        return _edges_taken(call["self"], call["dim"], call["index"])
    return taken(call["self"], call["dim"], call["index"])


def _embedding(call: Call) -> Symbol:
    if not isinstance(call["indices"], Rows) and call.tensors["indices"].dim() != 1:
        raise Refusal("takes rows by an index of several axes")
    return taken(call["weight"], 0, call["indices"])


def _gather(call: Call) -> Symbol:
    index = call["index"]
    if isinstance(index, Rows) and isinstance(call["self"], Rows):
        return _lane_of_row(call, call["self"], index)
    if not isinstance(index, End) or index.axis != call["dim"] % max(call.tensors["self"].dim(), 1):
        raise Refusal("gathers by something else than a row of edge_index")
    rows = need_rows(call["self"])
    if call.shape[: index.axis] + call.shape[index.axis + 1 :] != rows.value.shape:
        raise Refusal("gathers some of the columns")
    return taken(rows, call["dim"], index)


def _lane_of_row(call: Call, rows: Rows, index: Rows) -> Symbol:
    """gather(x, 1, index[:, None]): of each row, the lane whose number the index says."""
    chosen = named_lane(call, rows, index)
    kept = elementwise("where", [chosen, rows, 0.0])
    return with_value(kept, apply("lane_sum", kept.value, axes=(lane_axis(rows, call["dim"]),), keepdims=True))


def named_lane(call: Call, rows: Rows, index: Rows) -> Rows:
    """1 in the lane along axis `dim` that the index names, one for each row; 0 in the others."""
    axis = lane_axis(rows, call["dim"])
    if index.value.width != 1 or rows.space != index.space or len(rows.value.shape) != 1 or rows.axis:
        raise Refusal(
            "takes several columns of a row by numbers that depend on the row", "use torch.nn.functional.one_hot"
        )
    number = Rows(reshape(index.value, ()))
    return one_hot(number, rows.value.shape[axis], lambda tensor: call.learned(tensor, None))


def _index(call: Call) -> Symbol:
    """x[…, index, …]"""
    symbol = call["self"]
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1:
        raise Refusal("indexes several axes at once")
    dim, index = given[0]
    if isinstance(symbol, EdgeIndex):
        return _edges_taken(symbol, dim, index)
    if isinstance(symbol, End) and isinstance(index, PartMask) and symbol.mask is None:
        return End(part_of(symbol.edges, index), symbol.which)
    if isinstance(symbol, Rows) and isinstance(index, EdgeIndex):
        return _both_ends(symbol, dim, index)
    by_column = isinstance(symbol, Learned) and isinstance(index, Rows)
    if not by_column and call.tensors["indices"][dim].dim() != 1:
        raise Refusal("takes rows by an index of several axes", "take them by edge_index[0] and by edge_index[1]")
    return taken(symbol, dim, index)


def _edges_taken(symbol: EdgeIndex, dim: int, index: Any) -> Symbol:
    if dim % 2 == symbol.axis and isinstance(index, Learned):
        order = [position % 2 for position in index.tensor.flatten().tolist()]
        if order in ([0, 1], [1, 0]) and index.tensor.dtype is not torch.bool:
            return symbol if order == [0, 1] else symbol.turned()
        raise Refusal("takes the same end of each edge twice")
    if isinstance(index, PartMask) and symbol.mask is None:
        return replace(symbol, edges=part_of(symbol.edges, index))
    raise Refusal("takes some of the edges by a mask", "multiply their messages by the mask instead")


def some_edges(call: Call) -> Symbol | None:
    """edge_index[:, mask], edge_attr[mask], by a column of the edges: all edges, of which some are left out later.

    None for anything else.
    """
    if call.operation != "index":
        return None
    symbol = call["self"]
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1 or not isinstance(given[0][1], Rows):
        return None
    dim, mask = given[0]
    if call.tensors["indices"][dim].dtype is not torch.bool or mask.value.shape != ():
        return None
    along = 1 - symbol.axis if isinstance(symbol, EdgeIndex) else getattr(symbol, "axis", None)
    if isinstance(symbol, EdgeIndex | End) and symbol.edges == mask.space and dim == along:
        both = mask.value if symbol.mask is None else apply("mul", symbol.mask, mask.value)
        return replace(symbol, mask=both)
    if isinstance(symbol, Rows) and isinstance(mask.space, Edges) and symbol.space == mask.space and dim == along:
        return symbol
    return None


def mask_of_edges(arguments: Mapping[str, Any], tensors: Mapping[str, Any]) -> Tensor | None:
    """x[mask] = y[mask], by a column of the edges: the mask. None for anything else.

    Of y all edges are still there (some_edges), and as many as the mask has.
    """
    if len(arguments["indices"]) != 1:
        return None
    mask, rows, values = arguments["indices"][0], arguments["self"], arguments["values"]
    if not all(isinstance(each, Rows) and isinstance(each.space, Edges) for each in (mask, rows, values)):
        return None
    tensor: Tensor = tensors["indices"][0]
    if tensor.dtype is not torch.bool or tensor.dim() != 1 or mask.space != rows.space or rows.space != values.space:
        return None
    if tensors["values"].shape != tensors["self"].shape:
        return None
    return tensor


HANDLERS: dict[str, Handler] = {
    "index": _index,
    "_unsafe_index": _index,
    "index_select": _index_select,
    "embedding": _embedding,
    "gather": _gather,
}
