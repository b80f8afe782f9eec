"""aten operations that write rows by an index: by edge_index → reductions; by a batch of zeros → totals.

A formula reduces at dst; a reduction at src is one at the dst of the reversed edges, of the messages flipped.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from pipeline.formula.spaces import SELF_LOOPS, Nodes
from pipeline.formula.values import Value, apply, fill
from pipeline.pyg.aten_take import named_lane
from pipeline.pyg.call import Call, Handler, describe, need_operand, need_rows
from pipeline.pyg.chosen import ONE_MASK, Chosen, of_all
from pipeline.pyg.edge_parts import loops_written
from pipeline.pyg.joined import joined, part_at, parts_of
from pipeline.pyg.layout import elementwise, expand, reshape, with_value
from pipeline.pyg.symbols import End, Joined, Learned, NodeNumbers, Opaque, PartMask, Refusal, Rows, Symbol
from pipeline.pyg.totals import all_rows, constant, number_of, whole

LAST_WINS = ("writes one edge's value over another's: which one stays depends on the order of the edges",)
ONE_GRAPH = "the nodes are those of one graph: give batch=None, or zeros"


def reduced(call: Call, source: str, reduce: str, include_base: bool) -> Symbol:
    """`self` after a reduction of messages into it, by a row of edge_index."""
    index, dim = call["index"], call["dim"]
    if isinstance(index, NodeNumbers) and (reduce, include_base) == ("sum", True):
        return _written(call, dim, index, call.operand(source), accumulate=True)
    if constant(index) is not None:
        return _total(call, index, call.rows(source), reduce, include_base)
    if not all(isinstance(end, End) for end in parts_of(index)):
        raise Refusal(f"reduces by {describe(index)}, not by a row of edge_index", ONE_GRAPH)
    return _reduced(call, call["self"], dim, index, call[source], reduce, include_base)


def _reduced(call: Call, base: Any, dim: int, index: Any, messages: Any, reduce: str, include_base: bool) -> Symbol:
    """Messages of one edge type, or of several that are joined, into the rows of one type, or of several."""
    for each in (base, messages):
        if not isinstance(each, Joined):
            need_rows(each)
    ends, rows = parts_of(index), parts_of(messages)
    if len(ends) != len(rows) or any(one.space != end.edges for one, end in zip(rows, ends, strict=True)):
        raise Refusal("reduces messages by an index of other edges")  # joined in another order
    into = [part_at(base, end, call.sizes) for end in ends]
    found = [
        _into(part, dim, [(end, own) for end, own, to in zip(ends, rows, into, strict=True) if to == number], reduce,
              include_base)
        for number, part in enumerate(parts_of(base))
    ]  # fmt: skip
    return joined(found, call.sizes) if isinstance(base, Joined) else found[0]


def _into(base: Rows, dim: int, given: Sequence[tuple[End, Rows]], reduce: str, include_base: bool) -> Rows:
    """The messages of one or several edge types into the nodes of one type."""
    places = {(r.axis, r.before, r.after) for r in (base, *(messages for _, messages in given))}
    if places != {(dim % base.rank, 0, 0)}:
        raise Refusal("reduces over another axis than the rows")
    if not given:
        return base
    messages = [(end.facing(own.value), None if end.mask is None else end.facing(end.mask)) for end, own in given]
    return with_value(base, _combine(base.value, messages, reduce, include_base))


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


def _combine(base: Value, given: Sequence[tuple[Value, Value | None]], reduce: str, include_base: bool) -> Value:
    """`given`: of each edge type its messages, and which of them count."""
    start = base.attributes["value"] if base.op == "fill" else None
    neutral = {"prod": 1.0, "amax": -math.inf, "amin": math.inf}.get(reduce, 0.0)
    several = [each if mask is None else _where(mask, each, neutral) for each, mask in given]
    ones = [fill(1.0, each.space) if mask is None else mask for each, mask in given]
    if reduce in ("sum", "mean"):
        if start != 0.0 and not include_base:
            raise Refusal(f"({reduce}) replaces rows of a tensor that is not zero")
        total = _over_types("sum", "add", several)
        total = total if start == 0.0 else base + total
        if reduce == "sum":
            return total
        count = _over_types("sum", "add", ones) + float(include_base)
        count = reshape(apply("clamp", count, low=1.0, high=math.inf), tuple(1 for _ in total.shape))
        return total / count
    if reduce == "prod":
        product = _over_types("prod", "mul", several)
        return _product(base, product, _over_types("sum", "add", ones), start, include_base)
    if reduce not in ("amax", "amin"):
        raise Refusal(f"reduces by {reduce!r}; formulas know sum, mean, prod, max, min")
    op, larger, worst = ("max", "maximum", -math.inf) if reduce == "amax" else ("min", "minimum", math.inf)
    if not include_base and start is not None and len(given) == 1 and given[0][1] is None:
        return apply(op, several[0], empty=float(start))
    best = _over_types(op, larger, several, empty=worst)
    if include_base:
        return apply(larger, base, best)
    return apply("where", apply("equal", best, worst), base, best)


def _where(mask: Value, value: Value, otherwise: float) -> Value:
    return apply("where", reshape(mask, tuple(1 for _ in value.shape)), value, otherwise)


def _over_types(op: str, both: str, several: Sequence[Value], **attributes: float) -> Value:
    """One reduction over the edges of several types into the same nodes."""
    return functools.reduce(functools.partial(apply, both), (apply(op, each, **attributes) for each in several))


def _product(base: Value, product: Value, count: Value, start: Any, include_base: bool) -> Value:
    if include_base:
        return product if start == 1.0 else base * product
    occupied = reshape(apply("greater", count, 0.0), tuple(1 for _ in product.shape))
    return apply("where", occupied, product, base)


def _whole(call: Call, source: str) -> None:
    """PyTorch allows an index that is smaller than what it scatters; then some messages are left out."""
    if call.tensors["index"].shape != call.tensors[source].shape:
        raise Refusal("scatters some of the columns: index and source have different shapes")


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
        return elementwise("where", [named_lane(call, rows, index), float(call["value"]), rows])
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
    return _reduced(call, Rows(fill(0.0, index.nodes)), 0, index, messages, "sum", True)


def _index_copy(call: Call) -> Symbol:
    if not isinstance(call["index"], NodeNumbers):
        raise Refusal(*LAST_WINS)
    return _written(call, call["dim"], call["index"], call.operand("source"))


def _index_fill(call: Call) -> Symbol:
    if not isinstance(call["index"], NodeNumbers):
        raise Refusal(*LAST_WINS)
    return _written(call, call["dim"], call["index"], call.operand("value"))


def _written(call: Call, dim: int, index: NodeNumbers, new: Rows | Learned | float, accumulate: bool = False) -> Symbol:
    """x[mask] = rows: those of the same mask, or the same for each of them."""
    symbol, nodes = call["self"], index.nodes
    unwritten = symbol.unwritten if isinstance(symbol, Opaque) and not accumulate else None
    rows = unwritten if isinstance(unwritten, Rows) else call.rows("self")
    if not isinstance(nodes, Chosen):
        raise Refusal(f"writes to the {rows.space} by the numbers of the {nodes}")
    if rows.space != Nodes() or (rows.axis, rows.before, rows.after) != (dim % rows.rank, 0, 0):
        raise Refusal(f"writes rows of {nodes} to {rows.space}", ONE_MASK)
    if isinstance(new, Rows) and not new.is_whole:
        assert new.space == nodes  # torch has compared their sizes, and no two spaces have the same
        new = with_value(new, of_all(new.value))
    if accumulate:
        new = elementwise("add", [rows, new])
    mask = Rows(reshape(nodes.mask, tuple(1 for _ in rows.value.shape)), rows.axis)
    return elementwise("where", [mask, new, rows])


def _index_put(call: Call) -> Symbol:
    """x[index] = values, x[index] += values"""
    given = [(dim, index) for dim, index in enumerate(call["indices"]) if index is not None]
    if len(given) != 1 or given[0][0] != 0:
        raise Refusal("writes to some of the columns", "build the row with torch.cat or torch.where")
    index = given[0][1]
    if isinstance(index, NodeNumbers):
        return _written(call, 0, index, need_operand(call["values"], call.sizes), call["accumulate"])
    rows = call.rows("self")
    if isinstance(index, End) and call["accumulate"]:
        messages = expand(need_rows(call["values"]), call.sizes.counts[index.edges], call.tensors["values"].shape)
        return _reduced(call, rows, 0, index, messages, "sum", True)
    if isinstance(index, Rows) and call.tensors["indices"][0].dtype is torch.bool:
        return _masked(call, rows, index)
    if isinstance(index, End) and index.edges.part == SELF_LOOPS and index.mask is None:
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


def _own_loops(rows: Rows, index: End, values: Rows) -> Symbol:
    """own[src[src == dst]] = edge_attr[src == dst]: the last existing self-loop of a node."""
    if rows.axis or values.space != index.edges or values.axis:
        raise Refusal("writes to other rows than those of self-loops")
    return Rows(apply("last", values.value, rows.value))


HANDLERS: dict[str, Handler] = {
    "scatter_add": _scatter_add,
    "scatter_reduce": _scatter_reduce,
    "scatter": _scatter,
    "index_add": _index_add,
    "index_reduce": _index_reduce,
    "bincount": _bincount,
    "index_copy": _index_copy,
    "index_fill": _index_fill,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
}
