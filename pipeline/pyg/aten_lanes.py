"""aten operations over the lanes of a row: sums, norms, softmax over classes, normalisation with learned statistics.

The same over the row axis, or over all axes, are totals over all rows (totals.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.formula.functions import batch_norm, lane_log_softmax, lane_softmax
from pipeline.formula.values import Value, apply
from pipeline.pyg.call import Call, Handler
from pipeline.pyg.layout import elementwise, lane_axis, reshape, tensor_shape, view, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, Refusal, Rows, Symbol
from pipeline.pyg.totals import all_rows, constant, number_of, whole


def _dims(call: Call, rows: Rows) -> list[int]:
    """The axes that a reduction names; all of them where it names none."""
    dim = call.get("dim")
    if dim is None or dim == []:
        return list(range(rows.rank))
    return [d % max(rows.rank, 1) for d in ([dim] if isinstance(dim, int) else dim)]


def _reduce(op: str, rows: Rows, dims: Sequence[int], keepdim: bool) -> Rows:
    """One reduction over axes of the tensor."""
    if rows.axis in dims and not rows.is_whole:
        return _total(op, rows, dims, keepdim)
    axes = tuple(sorted(lane_axis(rows, dim) for dim in dims))
    value = apply(op, rows.value, axes=axes, keepdims=bool(keepdim))
    gone = 0 if keepdim else sum(dim < rows.axis for dim in dims)
    return Rows(value, rows.axis - gone, rows.before, rows.after)


def _total(op: str, rows: Rows, dims: Sequence[int], keepdim: bool) -> Rows:
    """The same over the row axis and perhaps others: within each row first."""
    folded = range(rows.axis, rows.axis + rows.before + rows.after)
    axes = tuple(sorted([*folded, *(lane_axis(rows, dim) for dim in dims if dim != rows.axis)]))
    value = apply(op, rows.value, axes=axes, keepdims=False) if axes else rows.value
    sizes = [1 if axis in dims else size for axis, size in enumerate(tensor_shape(rows, 1))]
    kept = [size for axis, size in enumerate(sizes) if keepdim or axis not in dims]
    return whole(reshape(all_rows(op, value), kept))


def _terms(rows: Rows, dims: Sequence[int], correction: float) -> Rows | float:
    """How many numbers a reduction runs over, less the correction."""
    sizes = tensor_shape(rows, 1)
    lanes = math.prod(sizes[dim] for dim in dims)
    if rows.axis not in dims or rows.is_whole:
        return float(max(lanes - correction, 0))
    count = elementwise("mul", [whole(number_of(rows.space)), float(lanes)])
    return elementwise("clamp", [elementwise("sub", [count, float(correction)])], low=0.0, high=math.inf)


def _over(op: str) -> Handler:
    def handler(call: Call) -> Symbol:
        rows = call.rows("self")
        return _reduce(op, rows, _dims(call, rows), call.get("keepdim", False))

    return handler


def _extreme(op: str) -> Handler:
    """max(dim), min(dim): the numbers, and where they are."""

    def handler(call: Call) -> Symbol | tuple[Symbol | Refusal, ...]:
        if isinstance(call["self"], EdgeIndex | End):
            raise Refusal(
                "counts the nodes by the largest number in edge_index, which misses isolated nodes",
                "give num_nodes=x.size(0) (or dim_size) explicitly",
            )
        rows = call.rows("self")
        dims, keepdim = _dims(call, rows), call.get("keepdim", False)
        if constant(rows) is not None and rows.axis in dims and len(call.outputs) == 1:
            return call.learned(call.outputs[0], None)  # int(batch.max()) + 1, for a batch of zeros
        best = _reduce(op, rows, dims, keepdim)
        if len(call.outputs) == 1:
            return best
        if rows.axis in dims and not rows.is_whole:
            return (best, Refusal(f"asks which of the {rows.space} is the largest: rows have no numbers"))
        searched = rows if op == "lane_max" else with_value(rows, -rows.value)
        return (best, _reduce("lane_argmax", searched, dims, keepdim))

    return handler


def _variance(rows: Rows, dims: Sequence[int], correction: float, keepdim: bool) -> tuple[Rows, Rows]:
    mean = _reduce("lane_mean", rows, dims, True)
    centred = elementwise("sub", [rows, mean])
    squares = _reduce("lane_sum", elementwise("mul", [centred, centred]), dims, keepdim)
    variance = elementwise("div", [squares, _terms(rows, dims, correction)])
    return variance, _reduce("lane_mean", rows, dims, keepdim)


def _var(call: Call) -> Symbol | tuple[Symbol, ...]:
    rows = call.rows("self")
    correction = call.get("correction", 1 if call.get("unbiased", True) else 0)
    variance, mean = _variance(
        rows, _dims(call, rows), 1 if correction is None else correction, call.get("keepdim", False)
    )
    if call.operation.startswith("std"):
        variance = with_value(variance, apply("sqrt", variance.value))
    return (variance, mean) if call.operation.endswith("_mean") else variance


def _norm(call: Call) -> Symbol:
    """A vector norm of each row."""
    rows, order = call.rows("self"), call.get("ord", call.get("p"))
    order = 2.0 if order is None else float(order)
    dims, keepdim = _dims(call, rows), call.get("keepdim", False)
    size = with_value(rows, apply("abs", rows.value))
    if order == math.inf:
        return _reduce("lane_max", size, dims, keepdim)
    if order == -math.inf:
        return _reduce("lane_min", size, dims, keepdim)
    if order == 0:
        raise Refusal("counts the columns that are not zero")
    powers = rows.value * rows.value if order == 2 else size.value if order == 1 else apply("pow", size.value, order)
    total = _reduce("lane_sum", with_value(rows, powers), dims, keepdim)
    if order == 1:
        return total
    return with_value(total, apply("sqrt", total.value) if order == 2 else apply("pow", total.value, 1 / order))


def _softmax(function: Any) -> Handler:
    def handler(call: Call) -> Symbol:
        rows = call.rows("self")
        if not rows.is_whole and call["dim"] % rows.rank == rows.axis:
            return _softmax_of_rows(rows, call["dim"] % rows.rank, function is lane_log_softmax)
        return with_value(rows, function(rows.value, lane_axis(rows, call["dim"])))

    return handler


def _softmax_of_rows(rows: Rows, dim: int, log: bool) -> Rows:
    """Shares of all nodes: attention over the whole graph."""
    shifted = elementwise("sub", [rows, _reduce("lane_max", rows, [dim], True)])
    powers = elementwise("exp", [shifted])
    total = _reduce("lane_sum", powers, [dim], True)
    return elementwise("sub", [shifted, elementwise("log", [total])]) if log else elementwise("div", [powers, total])


def _logsumexp(call: Call) -> Symbol:
    rows = call.rows("self")
    dims, keepdim = _dims(call, rows), call["keepdim"]
    highest = _reduce("lane_max", rows, dims, True)
    total = _reduce("lane_sum", elementwise("exp", [elementwise("sub", [rows, highest])]), dims, keepdim)
    top = _reduce("lane_max", rows, dims, keepdim)
    return with_value(total, apply("log", total.value) + top.value)


def _weight(call: Call, name: str, shape: Sequence[int], default: float) -> Value | float:
    """A learned scale or shift in the shape that its lanes have, or the number that changes nothing."""
    symbol = call.get(name)
    if symbol is None:
        return default
    if not isinstance(symbol, Learned):
        raise Refusal(f"has a {name} that depends on the graph")
    return reshape(symbol.value, shape)


def _learned(call: Call, name: str, shape: Sequence[int]) -> Learned:
    """The same as a tensor."""
    symbol = call[name]
    if not isinstance(symbol, Learned):
        raise Refusal(f"has a {name} that depends on the graph")
    return Learned(symbol.tensor.reshape(tuple(shape)), lambda: reshape(symbol.value, shape))


def _layer_norm(call: Call) -> tuple[Symbol, ...]:
    rows, over = call.rows("input"), tuple(call["normalized_shape"])
    dims = list(range(rows.rank - len(over), rows.rank))
    variance, mean = _variance(rows, dims, 0, True)
    scale = with_value(variance, apply("rsqrt", variance.value + float(call["eps"])))
    y = (rows.value - mean.value) * scale.value
    y = y * _weight(call, "weight", over, 1.0) if call["weight"] is not None else y
    y = y + _weight(call, "bias", over, 0.0) if call["bias"] is not None else y
    return (with_value(rows, y), mean, scale)


def _batch_norm(call: Call) -> tuple[Symbol, ...]:
    rows = call.rows("input")
    if call.get("training", False):
        return _by_all_rows(call, rows)
    axis = lane_axis(rows, 1)
    lanes = tuple(size if a == axis else 1 for a, size in enumerate(rows.value.shape))[axis:]
    mean, variance = (_weight(call, name, lanes, 0.0) for name in ("running_mean", "running_var"))
    assert isinstance(mean, Value)
    assert isinstance(variance, Value)
    scale, shift = _weight(call, "weight", lanes, 1.0), _weight(call, "bias", lanes, 0.0)
    y = batch_norm(rows.value, mean, variance, scale, shift, float(call["eps"]))
    return (with_value(rows, y), *(call.learned(tensor, None) for tensor in call.outputs[1:]))


def _by_all_rows(call: Call, rows: Rows) -> tuple[Symbol, ...]:
    """Batch norm without statistics of training: with those of all rows."""
    if call.get("running_mean") is not None:
        raise Refusal("changes its statistics (training=True)", "call it with training=False")
    lane_axis(rows, 1)
    dims = [dim for dim in range(rows.rank) if dim != 1]
    variance, mean = _variance(rows, dims, 0, True)
    scale = elementwise("rsqrt", [elementwise("add", [variance, float(call["eps"])])])
    y = elementwise("mul", [elementwise("sub", [rows, mean]), scale])
    channels = (tensor_shape(rows, 1)[1], *(1 for _ in range(rows.rank - 2)))
    for name, op in (("weight", "mul"), ("bias", "add")):
        if call.get(name) is not None:
            y = elementwise(op, [y, _learned(call, name, channels)])
    return (y, *(view(s, 1, tensor.shape) for s, tensor in zip((mean, scale), call.outputs[1:], strict=True)))


def _group_norm(call: Call) -> tuple[Symbol, ...]:
    rows = call.rows("input")
    if rows.axis or rows.before or rows.after:
        raise Refusal("needs the rows as the first axis")
    shape, groups = rows.value.shape, int(call["group"])
    grouped = Rows(reshape(rows.value, (groups, rows.value.width // groups)))
    variance, mean = _variance(grouped, [2], 0, True)
    scale = apply("rsqrt", variance.value + float(call["eps"]))
    y = reshape((grouped.value - mean.value) * scale, shape)
    lanes = (shape[0], *(1 for _ in shape[1:]))
    y = y * _weight(call, "weight", lanes, 1.0) + _weight(call, "bias", lanes, 0.0)
    flat = (groups,)
    return (Rows(y), Rows(reshape(mean.value, flat)), Rows(reshape(scale, flat)))


HANDLERS: dict[str, Handler] = {
    "sum": _over("lane_sum"),
    "mean": _over("lane_mean"),
    "amax": _over("lane_max"),
    "amin": _over("lane_min"),
    "prod": _over("lane_prod"),
    "any": _over("lane_max"),
    "all": _over("lane_min"),
    "argmax": _over("lane_argmax"),
    "max": _extreme("lane_max"),
    "min": _extreme("lane_min"),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _var),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _norm),
    "_softmax": _softmax(lane_softmax),
    "softmax": _softmax(lane_softmax),
    "_log_softmax": _softmax(lane_log_softmax),
    "log_softmax": _softmax(lane_log_softmax),
    "logsumexp": _logsumexp,
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), _batch_norm
    ),
    "native_group_norm": _group_norm,
}
