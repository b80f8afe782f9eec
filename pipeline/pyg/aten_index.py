"""aten operations by an index: rows taken by edge_index → `src`, `dst`; rows scattered by it → reductions; rows of a
weight taken by a column of integers → `lookup`.

A formula reduces at dst; a reduction at src is one at the dst of the reversed edges, of the messages flipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.spaces import ALL, BASE_PART, LOOPS, PROPER, PROPER_SELF, Edges
from pipeline.formula.values import Value, apply, fill, topological
from pipeline.pyg.call import Call, Handler, need_operand, need_rows, say
from pipeline.pyg.layout import broadcast_to, elementwise, expand, lane_axis, reshape, transpose, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, NodeNumbers, PartMask, Refusal, Rows, Symbol
from pipeline.pyg.totals import all_rows, constant, number_of, over, whole

NODE_EMBEDDING = (
    "looks up a learned table by the number of a node",
    "store these embeddings as a column of the nodes and pass it to forward",
)
LAST_WINS = ("writes one edge's value over another's: which one stays depends on the order of the edges",)
ONE_GRAPH = "the nodes are those of one graph: give batch=None, or zeros"
MOST_CLASSES = 4096  # of a one-hot row: the unit matrix is 64 MB


# ---- rows taken


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
        raise Refusal(f"takes lanes by {say(index)}")
    if isinstance(index, NodeNumbers) and not index.twice:
        return rows
    if isinstance(index, PartMask):
        if _added_loops(rows, index):
            return with_value(rows, _own(rows.value))
        return with_value(rows, _cut(rows.value, index))
    if isinstance(index, Rows):
        raise Refusal(f"takes some of the {rows.space} by a mask", "multiply by the mask, or use torch.where")
    if not isinstance(index, End):
        raise Refusal(f"takes rows by {say(index)}", "take them by edge_index[0] and by edge_index[1]")
    if isinstance(rows.space, Edges):
        raise Refusal("takes edge values by the number of a node")
    return with_value(rows, apply(index.which, rows.value, edges=index.edges))


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
        raise Refusal(f"makes rows of {size:,} lanes of which one is not 0", "use torch.nn.Embedding instead")
    rows = need_rows(index)
    unit = learned(torch.eye(size, dtype=torch.float64))
    return with_value(rows, apply("lookup", unit.value, rows.value))


def _lanes(rows: Rows, dim: int, index: Learned) -> Rows:
    positions = index.tensor
    if positions.dtype is torch.bool:
        positions = positions.nonzero().flatten()
    if positions.dim() != 1:
        raise Refusal("takes lanes by an index of several axes")
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
        raise Refusal("gathers some of the lanes")
    return taken(rows, call["dim"], index)


def _lane_of_row(call: Call, rows: Rows, index: Rows) -> Symbol:
    """gather(x, 1, index[:, None]): of each row, the lane whose number the index says."""
    chosen = _named_lane(call, rows, index)
    kept = elementwise("where", [chosen, rows, 0.0])
    return with_value(kept, apply("lane_sum", kept.value, axes=(lane_axis(rows, call["dim"]),), keepdims=True))


def _named_lane(call: Call, rows: Rows, index: Rows) -> Rows:
    """1 in the lane along axis `dim` that the index names, one for each row; 0 in the others."""
    axis = lane_axis(rows, call["dim"])
    if index.value.width != 1 or rows.space != index.space or len(rows.value.shape) != 1 or rows.axis:
        raise Refusal(
            "takes several lanes of a row by numbers that depend on the row", "use torch.nn.functional.one_hot"
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
        return End(_part(symbol.edges, index), symbol.which)
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
        return replace(symbol, edges=_part(symbol.edges, index))
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


def _part(edges: Edges, mask: PartMask) -> Edges:
    """The edges that a mask leaves. Added self-loops come after all others, and go as they came."""
    if edges != mask.edges:
        raise Refusal(f"takes {edges} by a mask over {mask.edges}")
    if mask.part == LOOPS and edges.part != ALL:
        raise Refusal(f"takes the self-loops of {edges}", "take them before self-loops are added or removed")
    return Edges(edges.type, mask.part)


def _cut(value: Value, mask: PartMask) -> Value:
    """The values of the edges that a mask leaves."""
    edges = value.space
    if not isinstance(edges, Edges):
        raise Refusal(f"takes {edges} by a mask over {mask.edges}")
    part = _part(edges, mask).part
    if edges.part in BASE_PART:
        if value.op != "extend":
            raise Refusal(f"removes the self-loops of {edges} again", "remove them before they are added")
        value = value.inputs[0]
    assert isinstance(value.space, Edges)
    return value if value.space.part == part else apply("restrict", value, part=part)


def _added_loops(rows: Rows, mask: PartMask) -> bool:
    """Whether a mask leaves the added self-loops and no others: a row per node, in the nodes' order."""
    return mask.part == LOOPS and mask.edges.part == PROPER_SELF and rows.space == mask.edges


def _own(value: Value) -> Value:
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


# ---- rows scattered


def reduced(call: Call, source: str, reduce: str, include_base: bool) -> Symbol:
    """`self` after a reduction of messages into it, by a row of edge_index."""
    index, dim = call["index"], call["dim"]
    if constant(index) is not None:
        return _total(call, index, call.rows(source), reduce, include_base)
    if not isinstance(index, End):
        raise Refusal(f"reduces by {say(index)}, not by a row of edge_index", ONE_GRAPH)
    base, messages = call.rows("self"), call.rows(source)
    return _reduced(base, dim, index, messages, reduce, include_base)


def _reduced(base: Rows, dim: int, index: End, messages: Rows, reduce: str, include_base: bool) -> Symbol:
    assert messages.space == index.edges  # torch has compared their sizes, and no two spaces have the same
    places = {(r.axis, r.before, r.after) for r in (base, messages)}
    if places != {(dim % messages.rank, 0, 0)} or base.space != index.nodes:
        raise Refusal("reduces over another axis than the rows")
    mask = None if index.mask is None else index.facing(index.mask)
    return with_value(base, _combine(base.value, index.facing(messages.value), mask, reduce, include_base))


def _total(call: Call, index: Rows, rows: Rows, reduce: str, include_base: bool) -> Symbol:
    """A reduction by a batch of zeros: into the one row of a tensor whose axis `dim` is of size 1."""
    dim, shape = call["dim"] % max(rows.rank, 1), tuple(call.tensors["self"].shape)
    if (rows.axis, rows.before, rows.after) != (dim, 0, 0) or rows.space != index.space:
        raise Refusal("reduces over another axis than the rows")
    if shape[dim] != 1:
        raise Refusal(f"reduces all {rows.space} into one of {shape[dim]} rows", ONE_GRAPH)
    op = {"sum": "lane_sum", "mean": "lane_mean", "amax": "lane_max", "amin": "lane_min"}.get(reduce)
    if op is None or (op == "lane_mean" and include_base):
        raise Refusal(f"reduces by {reduce!r}; formulas know sum, mean, max, min")
    total = whole(reshape(all_rows(op, rows.value), shape))
    if not include_base:
        return total
    base = call.operand("self")
    if reduce == "sum" and isinstance(base, Learned) and not base.tensor.any():
        return total
    return elementwise({"sum": "add", "amax": "maximum", "amin": "minimum"}[reduce], [base, total])


def _combine(base: Value, messages: Value, mask: Value | None, reduce: str, include_base: bool) -> Value:
    start = base.attributes["value"] if base.op == "fill" else None
    space = messages.space
    assert isinstance(space, Edges)
    ones = fill(1.0, space) if mask is None else mask
    if mask is not None:
        neutral = {"prod": 1.0, "amax": -math.inf, "amin": math.inf}.get(reduce, 0.0)
        messages = apply("where", reshape(mask, tuple(1 for _ in messages.shape)), messages, neutral)
    if reduce in ("sum", "mean"):
        if start != 0.0 and not include_base:
            raise Refusal(f"({reduce}) replaces rows of a tensor that is not zero")
        total = apply("sum", messages)
        total = total if start == 0.0 else base + total
        if reduce == "sum":
            return total
        count = apply("sum", ones) + float(include_base)
        count = reshape(apply("clamp", count, low=1.0, high=math.inf), tuple(1 for _ in total.shape))
        return total / count
    if reduce == "prod":
        return _product(base, messages, ones, start, include_base)
    if reduce not in ("amax", "amin"):
        raise Refusal(f"reduces by {reduce!r}; formulas know sum, mean, prod, max, min")
    op, worst = ("max", -math.inf) if reduce == "amax" else ("min", math.inf)
    if not include_base and start is not None and mask is None:
        return apply(op, messages, empty=float(start))
    best = apply(op, messages, empty=worst)
    if include_base:
        return apply("maximum" if op == "max" else "minimum", base, best)
    return apply("where", apply("equal", best, worst), base, best)


def _product(base: Value, messages: Value, ones: Value, start: Any, include_base: bool) -> Value:
    product = apply("prod", messages)
    if include_base:
        return product if start == 1.0 else base * product
    occupied = reshape(apply("greater", apply("sum", ones), 0.0), tuple(1 for _ in product.shape))
    return apply("where", occupied, product, base)


def _whole(call: Call, source: str) -> None:
    """PyTorch allows an index that is smaller than what it scatters; then some messages are left out."""
    if call.tensors["index"].shape != call.tensors[source].shape:
        raise Refusal("scatters some of the lanes: index and source have different shapes")


def _scatter_add(call: Call) -> Symbol:
    _whole(call, "src")
    return reduced(call, "src", "sum", True)


def _scatter_reduce(call: Call) -> Symbol:
    _whole(call, "src")
    return reduced(call, "src", call["reduce"], call["include_self"])


def _scatter(call: Call) -> Symbol:
    index = call["index"]
    if isinstance(index, Rows) and call.get("reduce") is None and "value" in call.arguments:
        rows = call.rows("self")  # zeros.scatter(1, kind[:, None], 1): one-hot
        return elementwise("where", [_named_lane(call, rows, index), float(call["value"]), rows])
    if call.get("reduce") != "add" or "src" not in call.arguments:
        raise Refusal(*LAST_WINS)
    return _scatter_add(call)


def _index_add(call: Call) -> Symbol:
    if call["alpha"] != 1:
        raise Refusal("scales what it adds", "multiply the messages by alpha")
    return reduced(call, "source", "sum", True)


def _index_reduce(call: Call) -> Symbol:
    return reduced(call, "source", call["reduce"], call["include_self"])


def _bincount(call: Call) -> Symbol:
    index, weights = call["self"], call["weights"]
    if constant(index) == 0 and weights is None and call.shape == (1,):
        return whole(reshape(number_of(index.space), (1,)))
    if not isinstance(index, End) or call.sizes.space(call["minlength"]) != index.nodes:
        raise Refusal("counts by something else than a row of edge_index", "give minlength=x.size(0)")
    messages = Rows(fill(1.0, index.edges)) if weights is None else need_rows(weights)
    return _reduced(Rows(fill(0.0, index.nodes)), 0, index, messages, "sum", True)


def _index_put(call: Call) -> Symbol:
    """x[index] = values, x[index] += values"""
    rows = call.rows("self")
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1 or given[0][0] != 0:
        raise Refusal("writes to some of the lanes", "build the row with torch.cat or torch.where")
    index = given[0][1]
    if isinstance(index, End) and call["accumulate"]:
        messages = expand(need_rows(call["values"]), call.sizes.counts[index.edges], call.tensors["values"].shape)
        return _reduced(rows, 0, index, messages, "sum", True)
    if isinstance(index, Rows) and call.tensors["indices"][0].dtype is torch.bool:
        return _masked(call, rows, index)
    if isinstance(index, End) and index.edges.part == LOOPS and index.mask is None:
        return _own_loops(rows, index, need_rows(call["values"]))
    if isinstance(index, PartMask):
        return loops_written(rows, index, need_operand(call["values"], call.sizes), call["accumulate"])
    raise Refusal(*LAST_WINS)


def _masked(call: Call, rows: Rows, mask: Rows) -> Symbol:
    """x[mask] = number, e.g. infinite inverse degrees."""
    number = need_operand(call["values"], call.sizes)
    if not isinstance(number, Learned) or number.tensor.numel() != 1:
        raise Refusal("writes to the rows of a mask", "use torch.where")
    wide = mask.value.shape + (1,) * (len(rows.value.shape) - len(mask.value.shape))
    condition = Rows(reshape(mask.value, wide), mask.axis, mask.before, mask.after)
    scalar = Learned(number.tensor.reshape(()), lambda: reshape(number.value, ()))
    return elementwise("where", [condition, scalar, rows])


def loops_written(rows: Rows, mask: PartMask, own: Rows | Learned | float, accumulate: bool = False) -> Symbol:
    """w[src == dst] = own, where the self-loops are those that were added."""
    if not _added_loops(rows, mask) or accumulate:
        raise Refusal("writes to the self-loops only", "remove them first, and add them with their values")
    if not isinstance(own, Rows):
        own = elementwise("mul", [Rows(fill(1.0, mask.edges.target, rows.value.shape)), own])
    stored = apply("restrict", rows.value, part=PROPER)
    return with_value(rows, apply("extend", stored, own.value))


def _own_loops(rows: Rows, index: End, values: Rows) -> Symbol:
    """own[src[src == dst]] = edge_attr[src == dst]: the last existing self-loop of a node."""
    if rows.axis or values.space != index.edges or values.axis:
        raise Refusal("writes to other rows than those of self-loops")
    return Rows(apply("last", values.value, rows.value))


HANDLERS: dict[str, Handler] = {
    "index": _index,
    "_unsafe_index": _index,
    "index_select": _index_select,
    "embedding": _embedding,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "scatter_reduce": _scatter_reduce,
    "scatter": _scatter,
    "index_add": _index_add,
    "index_reduce": _index_reduce,
    "bincount": _bincount,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
}
