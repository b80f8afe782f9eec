"""aten operations over the lanes of a row: sums, norms, softmax over classes, normalisation with learned statistics.

The same operations over the row axis would need every node at once: they are refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.formula.functions import batch_norm, lane_log_softmax, lane_softmax
from pipeline.formula.values import Value, apply
from pipeline.pyg.call import Call, Handler
from pipeline.pyg.layout import lane_axis, reshape, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, Refusal, Rows, Symbol


def _dims(call: Call, rows: Rows) -> list[int]:
    """The axes that a reduction names; all of them where it names none."""
    dim = call.get("dim")
    if dim is None or dim == []:
        return list(range(rows.rank))
    return [d % rows.rank for d in ([dim] if isinstance(dim, int) else dim)]


def _reduce(op: str, rows: Rows, dims: Sequence[int], keepdim: bool) -> Rows:
    """One reduction over axes of the tensor that hold lanes."""
    axes = tuple(sorted(lane_axis(rows, dim) for dim in dims))
    value = apply(op, rows.value, axes=axes, keepdims=bool(keepdim))
    gone = 0 if keepdim else sum(dim < rows.axis for dim in dims)
    return Rows(value, rows.axis - gone, rows.before, rows.after)


def _over(op: str) -> Handler:
    def handler(call: Call) -> Symbol:
        rows = call.rows("self")
        return _reduce(op, rows, _dims(call, rows), call.get("keepdim", False))

    return handler


def _extreme(op: str) -> Handler:
    """max(dim), min(dim): the numbers, and where they are."""

    def handler(call: Call) -> Symbol | tuple[Symbol, ...]:
        if isinstance(call["self"], EdgeIndex | End):
            raise Refusal(
                "counts the nodes by the largest number in edge_index, which misses isolated nodes",
                "give num_nodes=x.size(0) (or dim_size) explicitly",
            )
        rows = call.rows("self")
        dims, keepdim = _dims(call, rows), call.get("keepdim", False)
        best = _reduce(op, rows, dims, keepdim)
        if len(call.outputs) == 1:
            return best
        searched = rows if op == "lane_max" else with_value(rows, -rows.value)
        return (best, _reduce("lane_argmax", searched, dims, keepdim))

    return handler


def _variance(rows: Rows, dims: Sequence[int], correction: float, keepdim: bool) -> tuple[Rows, Rows]:
    axes = [lane_axis(rows, dim) for dim in dims]
    mean = _reduce("lane_mean", rows, dims, True)
    centred = with_value(rows, rows.value - mean.value)
    squares = _reduce("lane_sum", with_value(rows, centred.value * centred.value), dims, keepdim)
    count = math.prod(rows.value.shape[axis] for axis in axes) - correction
    variance = with_value(squares, squares.value / float(max(count, 0)))
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
        raise Refusal("counts the lanes that are not zero")
    powers = rows.value * rows.value if order == 2 else size.value if order == 1 else apply("pow", size.value, order)
    total = _reduce("lane_sum", with_value(rows, powers), dims, keepdim)
    if order == 1:
        return total
    return with_value(total, apply("sqrt", total.value) if order == 2 else apply("pow", total.value, 1 / order))


def _softmax(function: Any) -> Handler:
    def handler(call: Call) -> Symbol:
        rows = call.rows("self")
        return with_value(rows, function(rows.value, lane_axis(rows, call["dim"])))

    return handler


def _logsumexp(call: Call) -> Symbol:
    rows = call.rows("self")
    dims, keepdim = _dims(call, rows), call["keepdim"]
    highest = _reduce("lane_max", rows, dims, True)
    total = _reduce("lane_sum", with_value(rows, apply("exp", rows.value - highest.value)), dims, keepdim)
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
        raise Refusal("normalises by the statistics of the batch", "train it with track_running_stats=True")
    axis = lane_axis(rows, 1)
    lanes = tuple(size if a == axis else 1 for a, size in enumerate(rows.value.shape))[axis:]
    mean, variance = (_weight(call, name, lanes, 0.0) for name in ("running_mean", "running_var"))
    assert isinstance(mean, Value)
    assert isinstance(variance, Value)
    scale, shift = _weight(call, "weight", lanes, 1.0), _weight(call, "bias", lanes, 0.0)
    y = batch_norm(rows.value, mean, variance, scale, shift, float(call["eps"]))
    return (with_value(rows, y), *(call.learned(tensor, None) for tensor in call.outputs[1:]))


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
