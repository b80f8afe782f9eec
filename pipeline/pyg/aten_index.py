"""aten operations by an index: rows taken by edge_index → `src`, `dst`; rows scattered by it → reductions at dst."""

from __future__ import annotations

import math
from typing import Any

import torch

from pipeline.formula.spaces import ALL, BASE_PART, LOOPS, Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.pyg.call import Call, Handler, need_operand, need_rows, say
from pipeline.pyg.layout import elementwise, expand, lane_axis, reshape, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, NodeNumbers, PartMask, Refusal, Rows, Symbol
from pipeline.pyg.totals import all_rows, constant, number_of, over, whole

REVERSED = (
    "sums messages at the source of an edge (flow='target_to_source')",
    "store the edges the other way round and use flow='source_to_target'",
)
NODE_EMBEDDING = (
    "looks up a learned table by the number of a node",
    "store these embeddings as a column of the nodes and pass it to forward",
)
LAST_WINS = ("writes one edge's value over another's: which one stays depends on the order of the edges",)
ONE_GRAPH = "the nodes are those of one graph: give batch=None, or zeros"


# ---- rows taken


def taken(symbol: Any, dim: int, index: Any) -> Symbol:
    """Rows of a tensor, by a row of edge_index; or lanes, by a constant."""
    number = constant(index)
    if number is not None and (isinstance(symbol, Learned) or (isinstance(symbol, Rows) and symbol.is_whole)):
        return _the_same(symbol, dim, index, int(number))
    if isinstance(symbol, Learned) and isinstance(index, End | NodeNumbers | EdgeIndex):
        raise Refusal(*NODE_EMBEDDING)
    rows = need_rows(symbol)
    if isinstance(index, Learned):
        return _lanes(rows, dim, index)
    if dim % rows.rank != rows.axis or rows.before or rows.after:
        raise Refusal(f"takes lanes by {say(index)}")
    if isinstance(index, NodeNumbers) and not index.twice:
        return rows
    if isinstance(index, PartMask):
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
    return taken(call["self"], call["dim"], call["index"])


def _embedding(call: Call) -> Symbol:
    if call.tensors["indices"].dim() != 1:
        raise Refusal("takes rows by an index of several axes")
    return taken(call["weight"], 0, call["indices"])


def _gather(call: Call) -> Symbol:
    index = call["index"]
    if not isinstance(index, End) or index.axis != call["dim"] % max(call.tensors["self"].dim(), 1):
        raise Refusal("gathers by something else than a row of edge_index")
    rows = need_rows(call["self"])
    if call.shape[: index.axis] + call.shape[index.axis + 1 :] != rows.value.shape:
        raise Refusal("gathers some of the lanes")
    return taken(rows, call["dim"], index)


def _index(call: Call) -> Symbol:
    """x[…, index, …]"""
    symbol = call["self"]
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1:
        raise Refusal("indexes several axes at once")
    dim, index = given[0]
    if isinstance(symbol, EdgeIndex):
        return _edges_taken(symbol, dim, index)
    if isinstance(symbol, End) and isinstance(index, PartMask):
        return End(_part(symbol.edges, index), symbol.which)
    if call.tensors["indices"][dim].dim() != 1:
        raise Refusal("takes rows by an index of several axes", "take them by edge_index[0] and by edge_index[1]")
    return taken(symbol, dim, index)


def _edges_taken(symbol: EdgeIndex, dim: int, index: Any) -> Symbol:
    if dim == 0 and isinstance(index, Learned):
        raise Refusal("reverses edges", "store the reversed edges as rows of the edge table")
    if isinstance(index, PartMask):
        return EdgeIndex(_part(symbol.edges, index))
    raise Refusal("takes some of the edges by a mask", "multiply their messages by the mask instead")


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
    if index.which != "dst":
        raise Refusal(*REVERSED)
    assert messages.space == index.edges  # torch has compared their sizes, and no two spaces have the same
    places = {(r.axis, r.before, r.after) for r in (base, messages)}
    if places != {(dim % messages.rank, 0, 0)} or base.space != index.edges.target:
        raise Refusal("reduces over another axis than the rows")
    return with_value(base, _combine(base.value, messages.value, reduce, include_base))


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


def _combine(base: Value, messages: Value, reduce: str, include_base: bool) -> Value:
    start = base.attributes["value"] if base.op == "fill" else None
    if reduce in ("sum", "mean"):
        if start != 0.0 and not include_base:
            raise Refusal(f"({reduce}) replaces rows of a tensor that is not zero")
        total = apply("sum", messages)
        total = total if start == 0.0 else base + total
        if reduce == "sum":
            return total
        space = messages.space
        assert isinstance(space, Edges)
        count = apply("sum", fill(1.0, space)) + float(include_base)
        count = reshape(apply("clamp", count, low=1.0, high=math.inf), tuple(1 for _ in total.shape))
        return total / count
    if reduce not in ("amax", "amin"):
        raise Refusal(f"reduces by {reduce!r}; formulas know sum, mean, max, min")
    op, worst = ("max", -math.inf) if reduce == "amax" else ("min", math.inf)
    if not include_base and start is not None:
        return apply(op, messages, empty=float(start))
    best = apply(op, messages, empty=worst)
    if include_base:
        return apply("maximum" if op == "max" else "minimum", base, best)
    return apply("where", apply("equal", best, worst), base, best)


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
    if not isinstance(index, End) or call.sizes.space(call["minlength"]) != index.edges.target:
        raise Refusal("counts by something else than a row of edge_index", "give minlength=x.size(0)")
    messages = Rows(fill(1.0, index.edges)) if weights is None else need_rows(weights)
    return _reduced(Rows(fill(0.0, index.edges.target)), 0, index, messages, "sum", True)


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
    if isinstance(index, End) and index.edges.part == LOOPS:
        return _own_loops(rows, index, need_rows(call["values"]))
    if isinstance(index, PartMask):
        raise Refusal("writes to the self-loops only", "compute both values, and choose by torch.where")
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
