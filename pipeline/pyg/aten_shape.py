"""aten operations that only arrange: views, moves of axes, slices.

Lanes may be arranged freely; rows may not: a node or an edge keeps its number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.formula.values import Value, apply, fill
from pipeline.pyg.aten_factories import DENSE
from pipeline.pyg.call import Call, Handler, describe, need_rows
from pipeline.pyg.layout import broadcast_to, expand, lane_axis, permute, reshape, transpose, view, with_value
from pipeline.pyg.symbols import EdgeIndex, End, Learned, NodeNumbers, PartMask, Refusal, Rows, Symbol
from pipeline.pyg.totals import constant, over, whole

BY_POSITION = "the rows of a table have no order that a model could use"
TELL_EDGES = (
    "give a column of the edges that says which they are, such as their relation, or a type of edges for each kind"
)


def _same(call: Call) -> Symbol:
    """detach, clone, contiguous, …: the same numbers."""
    symbol: Symbol = call["self"]
    return call.learned(call.outputs[0], lambda: symbol.value) if isinstance(symbol, Learned) else symbol


def _view(call: Call) -> Symbol:
    """view, reshape, unsqueeze, squeeze, …: the same elements in the same order, in the shape that came out."""
    symbol, shape = call["self"], call.shape
    if isinstance(symbol, Rows):
        return view(symbol, call.count(symbol), shape)
    if isinstance(symbol, Learned):
        return call.learned(call.outputs[0], lambda: reshape(symbol.value, shape))
    if isinstance(symbol, End):
        return replace(symbol, axis=_row_axis(shape, call.sizes.counts[symbol.edges]))
    if isinstance(symbol, NodeNumbers) and not symbol.twice:
        return symbol
    if shape == tuple(call.tensors["self"].shape):
        return symbol
    raise Refusal(f"rearranges {describe(symbol)} to {shape}")


def _row_axis(shape: Sequence[int], count: int) -> int:
    if list(shape).count(count) != 1:
        raise Refusal(f"rearranges a row of edge_index to {tuple(shape)}")
    return list(shape).index(count)


def _permute(call: Call) -> Symbol:
    symbol, rank = call["self"], call.tensors["self"].dim()
    if call.operation == "permute":
        dims = [dim % rank for dim in call["dims"]]
    else:
        dims = list(range(rank))
        a, b = (0, rank - 1) if call.operation == "t" else (call["dim0"] % rank, call["dim1"] % rank)
        dims[a], dims[b] = dims[b], dims[a]
    if isinstance(symbol, Rows):
        return permute(symbol, dims)
    if isinstance(symbol, Learned):
        return call.learned(call.outputs[0], lambda: transpose(symbol.value, dims))
    if isinstance(symbol, End):
        return replace(symbol, axis=dims.index(symbol.axis))
    if isinstance(symbol, EdgeIndex):
        return replace(symbol, axis=dims.index(symbol.axis))
    raise Refusal(f"moves the axes of {describe(symbol)}")


def _expand(call: Call) -> Symbol:
    return _expanded(call["self"], call, call.shape)


def _expanded(symbol: Any, call: Call, shape: Sequence[int]) -> Symbol:
    if isinstance(symbol, Learned) or (isinstance(symbol, Rows) and symbol.is_whole):
        return _spread(symbol, call, shape)
    if isinstance(symbol, Rows):
        return expand(symbol, call.count(symbol), shape)
    new = len(shape) - call.tensors["self"].dim()
    if isinstance(symbol, End):
        return replace(symbol, axis=symbol.axis + new)
    if isinstance(symbol, NodeNumbers) and tuple(shape[:-1]) == (2,):
        return replace(symbol, twice=True)
    raise Refusal(f"repeats {describe(symbol)}")


def _spread(symbol: Learned | Rows, call: Call, shape: Sequence[int]) -> Symbol:
    """A weight or a total repeated; in every row, where a new size is a number of rows."""
    given = symbol.tensor.shape if isinstance(symbol, Learned) else symbol.value.shape
    old = (*(1 for _ in range(len(shape) - len(given))), *given)
    spaces = [(axis, call.sizes.space(size)) for axis, size in enumerate(shape) if old[axis] == 1]
    rows = [(axis, space) for axis, space in spaces if space is not None]
    if not rows and isinstance(symbol, Rows):
        return whole(broadcast_to(reshape(symbol.value, old), shape))
    if not rows:
        return call.learned(call.outputs[0], lambda: broadcast_to(reshape(symbol.value, old), shape))
    (axis, space), *more = rows
    if more:
        raise Refusal(f"makes a dense array of {space} by {more[0][1]}", DENSE)
    lanes = (*shape[:axis], *shape[axis + 1 :])
    value = reshape(symbol.value, (*old[:axis], *old[axis + 1 :]))
    if isinstance(symbol, Rows):
        return Rows(broadcast_to(over(value, space), lanes), axis)
    return Rows(apply("mul", fill(1.0, space, lanes), value), axis)


def _repeat(call: Call) -> Symbol:
    symbol, repeats = call["self"], [int(times) for times in call["repeats"]]
    if isinstance(symbol, NodeNumbers):
        if not symbol.twice and repeats in ([2, 1], [2]) and call.shape[:-1] == (2,):
            return replace(symbol, twice=True)
        raise Refusal("repeats the numbers of the nodes")
    if isinstance(symbol, Learned) or (isinstance(symbol, Rows) and symbol.is_whole):
        old = call.tensors["self"].shape
        if all(times == 1 or size == 1 for times, size in zip(repeats[::-1], old[::-1], strict=False)):
            return _spread(symbol, call, call.shape)
    if isinstance(symbol, Learned):
        return call.learned(call.outputs[0], None)
    rows = call.rows("self")
    shape = call.tensors["self"].shape
    rows = view(rows, call.count(rows), (*(1 for _ in range(len(repeats) - len(shape))), *shape))
    for dim, times in enumerate(repeats):
        if times != 1:
            axis = lane_axis(rows, dim)
            rows = with_value(rows, apply("concat", *[rows.value] * times, axis=axis))
    return rows


def _slice_lanes(rows: Rows, dim: int, start: int, stop: int, step: int = 1) -> Rows:
    axis = lane_axis(rows, dim)
    if (start, stop, step) == (0, rows.value.shape[axis], 1):
        return rows
    return with_value(rows, apply("slice", rows.value, axis=axis, start=start, stop=stop, step=step))


def _drop(rows: Rows, dim: int) -> Rows:
    """Without an axis of size 1."""
    axis, shape = lane_axis(rows, dim), rows.value.shape
    value = reshape(rows.value, (*shape[:axis], *shape[axis + 1 :]))
    return Rows(value, rows.axis - int(dim % rows.rank < rows.axis), rows.before, rows.after)


def _select(call: Call) -> Symbol:
    return _selected(call, call["dim"], call["index"])


def _selected(call: Call, dim: int, index: int) -> Symbol:
    symbol = call["self"]
    if isinstance(symbol, EdgeIndex) and dim % 2 == symbol.axis:
        return symbol.row(index)
    if isinstance(symbol, EdgeIndex):
        raise Refusal("takes one edge of edge_index", BY_POSITION)
    if isinstance(symbol, NodeNumbers) and symbol.twice and dim % 2 == 0:
        return replace(symbol, twice=False)
    if isinstance(symbol, NodeNumbers) and call.tensors["self"].shape[dim] == 1:  # nonzero()[:, 0]
        return symbol
    rows = need_rows(symbol)
    if dim % rows.rank == rows.axis and constant(rows) is not None:
        return call.learned(call.outputs[0], None)
    if dim % rows.rank == rows.axis:
        raise Refusal(f"takes one of the {rows.space} by its position", BY_POSITION)
    start = index % call.tensors["self"].shape[dim]
    return _drop(_slice_lanes(rows, dim, start, start + 1), dim)


def _slice(call: Call) -> Symbol:
    symbol, dim = call["self"], call["dim"]
    size = call.tensors["self"].shape[dim]
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(size)
    if (start, stop, step) == (0, size, 1):
        return _same(call)
    if isinstance(symbol, EdgeIndex) and dim % 2 == symbol.axis and stop - start == 1:
        return symbol.row(start, kept=True)
    if isinstance(symbol, EdgeIndex | End):
        raise Refusal("takes some of the edges by their position", f"{BY_POSITION}; {TELL_EDGES}")
    rows = need_rows(symbol)
    if dim % rows.rank == rows.axis:
        raise Refusal(f"takes some of the {rows.space} by their position", BY_POSITION)
    return _slice_lanes(rows, dim, start, stop, step)


def _split(call: Call) -> tuple[Symbol, ...]:
    """split, chunk, split_with_sizes: slices of the sizes that came out."""
    dim, symbol = call["dim"], call["self"]
    if isinstance(symbol, EdgeIndex) and dim % 2 == symbol.axis and len(call.outputs) == 2:
        return (symbol.row(0, kept=True), symbol.row(1, kept=True))
    rows = need_rows(symbol)
    parts, start = [], 0
    for output in call.outputs:
        stop = start + output.shape[dim]
        parts.append(_slice_lanes(rows, dim, start, stop))
        start = stop
    return tuple(parts)


def _unbind(call: Call) -> tuple[Symbol, ...]:
    symbol = call["self"]
    if isinstance(symbol, Rows):
        lane_axis(symbol, call["dim"])  # a Refusal once, not for each of a thousand rows
    return tuple(_selected(call, call["dim"], index) for index in range(len(call.outputs)))


def _flip(call: Call) -> Symbol:
    if isinstance(call["self"], EdgeIndex):
        if any(dim % 2 != call["self"].axis for dim in call["dims"]):
            raise Refusal("changes the order of the edges", BY_POSITION)
        return call["self"].turned() if call["dims"] else call["self"]
    rows = call.rows("self")
    for dim in call["dims"]:
        if dim % rows.rank == rows.axis:
            raise Refusal(f"changes the order of the {rows.space}", BY_POSITION)
        axis = lane_axis(rows, dim)
        order = tuple(reversed(range(rows.value.shape[axis])))
        rows = with_value(rows, apply("take", rows.value, axis=axis, indices=order))
    return rows


def _pad(call: Call) -> Symbol:
    rows, pad, number = call.rows("self"), list(call["pad"]), float(call["value"] or 0.0)
    for position in range(len(pad) // 2):
        front, behind = pad[2 * position : 2 * position + 2]
        if (front, behind) == (0, 0):
            continue
        axis, shape = lane_axis(rows, rows.rank - 1 - position), rows.value.shape
        if min(front, behind) < 0:
            raise Refusal("pads by a negative number")
        parts: list[Value] = [
            fill(number, rows.space, (*shape[:axis], size, *shape[axis + 1 :])) for size in (front, behind)
        ]
        joined = [part for part in (parts[0], rows.value, parts[1]) if math.prod(part.shape)]
        rows = with_value(rows, apply("concat", *joined, axis=axis))
    return rows


def _copy(call: Call) -> Symbol:
    """copy_: what it held before is gone."""
    source, target = call["src"], call["self"]
    if isinstance(source, End) and isinstance(target, End) and replace(source, start=target.start) == target:
        return source  # edge_index[0] += offset
    if isinstance(call["src"], PartMask | EdgeIndex | End | NodeNumbers):
        raise Refusal(f"copies {describe(call['src'])}")
    return _expanded(call["src"], call, call.shape)


VIEWS = ("view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "unflatten", "flatten", "view_as")
COPIES = ("detach", "alias", "clone", "contiguous", "lift", "lift_fresh", "lift_fresh_copy", "positive")
SPLITS = ("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk", "unsafe_chunk")

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(VIEWS, _view),
    **dict.fromkeys(COPIES, _same),
    **dict.fromkeys(SPLITS, _split),
    "permute": _permute,
    "transpose": _permute,
    "t": _permute,
    "expand": _expand,
    "repeat": _repeat,
    "select": _select,
    "slice": _slice,
    "unbind": _unbind,
    "flip": _flip,
    "constant_pad_nd": _pad,
    "copy": _copy,
}

# These keep the name of a parameter, and may give a weight a row axis: they are asked even where torch has the result.
SHAPE_ONLY = frozenset((*VIEWS, *COPIES, "permute", "transpose", "t", "expand", "repeat", "copy"))
