"""Where the row axis of a tensor is, through views, moves and broadcasting.

Comes in: Rows and what torch did to their axes. Goes out: Rows, or a Refusal where the row axis would be lost. Torch
aligns shapes from the right, row axis included; a formula aligns the shapes of rows: this file is the translation. A
total has no row axis: it is aligned as a weight is, and spread over the rows that it meets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pipeline.formula.values import Value, apply
from pipeline.pyg.symbols import Learned, Refusal, Rows
from pipeline.pyg.totals import over, whole

Shape = tuple[int, ...]


def tensor_shape(rows: Rows, count: int) -> Shape:
    """The shape of the tensor, for `count` rows."""
    shape, start, end = rows.value.shape, rows.axis, rows.axis + rows.before + rows.after
    if rows.is_whole:
        return shape
    return (*shape[:start], count * math.prod(shape[start:end]), *shape[end:])


def lane_axis(rows: Rows, dim: int) -> int:
    """The value's axis behind axis `dim` of the tensor; a Refusal for the row axis."""
    dim = dim % max(rows.rank, 1)
    if dim == rows.axis and not rows.is_whole:
        raise Refusal(
            f"works across all {rows.space}, not within a row (axis {dim} holds the rows)",
            "over all rows a formula has sum, mean, max, min, var, std, norm and softmax",
        )
    return dim if dim < rows.axis else dim - 1 + rows.before + rows.after


def with_value(rows: Rows, value: Value) -> Rows:
    """The same places, another value of as many axes."""
    if value.is_graph:
        return whole(value)
    return Rows(value, rows.axis, rows.before, rows.after)


def view(rows: Rows, count: int, shape: Sequence[int]) -> Rows:
    """The same elements in the same order under another shape of the tensor.

    The axis that holds the rows is the one whose size is a multiple of `count`; what stands in front of the rows and
    what stands behind them may be split and merged, each on its own side.
    """
    sizes, lanes = tuple(shape), rows.value.shape
    if rows.is_whole:
        return whole(reshape(rows.value, sizes))
    in_front = math.prod(lanes[: rows.axis + rows.before])
    behind = math.prod(lanes[rows.axis + rows.before :])
    for axis, size in enumerate(sizes):
        before, left_over = divmod(in_front, math.prod(sizes[:axis]) or 1)
        after, right_over = divmod(behind, math.prod(sizes[axis + 1 :]) or 1)
        if not left_over and not right_over and size == before * count * after:
            inner = (*((before,) if before > 1 else ()), *((after,) if after > 1 else ()))
            value = reshape(rows.value, (*sizes[:axis], *inner, *sizes[axis + 1 :]))
            return Rows(value, axis, int(before > 1), int(after > 1))
    raise Refusal(
        f"mixes {rows.space} with other axes: {tensor_shape(rows, count)} → {sizes}",
        f"keep the {rows.space} in an axis of their own, the first one where forward begins and ends; or write this "
        "layer as a formula (Model.from_formula)",
    )


def permute(rows: Rows, dims: Sequence[int]) -> Rows:
    """The tensor's axes in another order; axes folded into the row axis move with it."""
    if rows.is_whole:
        return whole(transpose(rows.value, [d % rows.rank for d in dims]))
    order: list[int] = []
    axis = 0
    for position, dim in enumerate(d % rows.rank for d in dims):
        if dim == rows.axis:
            axis = position
            order += range(rows.axis, rows.axis + rows.before + rows.after)
        else:
            order.append(lane_axis(rows, dim))
    return Rows(transpose(rows.value, order), axis, rows.before, rows.after)


def expand(rows: Rows, count: int, shape: Sequence[int]) -> Rows:
    """torch.expand: new axes in front, axes of size 1 repeated."""
    if rows.is_whole:
        raise Refusal(f"repeats a total: {rows.value.shape} → {tuple(shape)}", "use torch.expand")
    new = len(shape) - rows.rank
    lanes = reshape(rows.value, (*(1 for _ in range(new)), *rows.value.shape))
    wide = Rows(lanes, rows.axis + new, rows.before, rows.after)
    folded = wide.value.shape[wide.axis : wide.axis + rows.before + rows.after]
    target = (*shape[: wide.axis], *folded, *shape[wide.axis + 1 :])
    if shape[wide.axis] != tensor_shape(wide, count)[wide.axis]:
        raise Refusal(f"repeats {rows.space}: {tensor_shape(rows, count)} → {tuple(shape)}")
    return with_value(wide, broadcast_to(wide.value, target))


def elementwise(op: str, operands: Sequence[Rows | Learned | float], **attributes: Any) -> Rows:
    """One elementwise operation, broadcast as torch does."""
    pattern, values = align(operands)
    result = apply(op, *values, **attributes)
    lean = apply(op, *map(_unspread, values), **attributes)
    return with_value(pattern, lean if (lean.shape, lean.space) == (result.shape, result.space) else result)


def _unspread(value: Value | float) -> Value | float:
    """What a value was before torch wrote its broadcasting out."""
    return value.inputs[0] if isinstance(value, Value) and value.op == "broadcast_to" else value


def align(operands: Sequence[Rows | Learned | float]) -> tuple[Rows, list[Value | float]]:
    """Operands of a broadcast → values to be broadcast as rows, and the places of the result's axes."""
    rows = [operand for operand in operands if isinstance(operand, Rows)]
    ranks = [r.rank for r in rows] + [o.tensor.dim() for o in operands if isinstance(o, Learned)]
    if all(r.is_whole for r in rows):
        return rows[0], [o.value if isinstance(o, Rows | Learned) else o for o in operands]
    first, *others = (r for r in rows if not r.is_whole)
    for other in others:
        if other.space != first.space:
            raise Refusal(f"mixes rows of {first.space} with rows of {other.space}")
        if _places(other) != _places(first):
            raise Refusal(
                f"broadcasts {first.space} in axis {first.axis} of {first.rank} against axis {other.axis} of "
                f"{other.rank}: the rows do not meet"
            )
    axis = max(ranks) - 1 - first.tail
    values = [_aligned(operand, first) for operand in operands]
    return Rows(first.value, axis, first.before, first.after), values


def _places(rows: Rows) -> tuple[int, Shape, Shape]:
    shape, middle = rows.value.shape, rows.axis + rows.before
    return rows.tail, shape[rows.axis : middle], shape[middle : middle + rows.after]


def _aligned(operand: Rows | Learned | float, pattern: Rows) -> Value | float:
    if isinstance(operand, Rows):
        return (
            over(_lanes_of(operand.value, operand.value.shape, pattern), pattern.space)
            if operand.is_whole
            else operand.value
        )
    if not isinstance(operand, Learned):
        return operand
    return _lanes_of(operand.value, tuple(operand.tensor.shape), pattern)


def _lanes_of(value: Value, shape: Shape, pattern: Rows) -> Value:
    """A tensor without a row axis as it meets each of the rows."""
    if len(shape) <= pattern.tail:
        return value
    axis = len(shape) - 1 - pattern.tail
    if shape[axis] != 1:
        kind = "total" if value.is_graph else "weight"
        raise Refusal(f"meets a {kind} of shape {shape}, of which axis {axis} would be {pattern.space}")
    front = shape[:axis]
    folded = (1,) * (pattern.before + pattern.after) if front else ()
    return reshape(value, (*front, *folded, *shape[axis + 1 :]))


# ---- the same on values; what changes nothing is left out


def reshape(value: Value, shape: Sequence[int]) -> Value:
    while value.op == "reshape":
        value = value.inputs[0]
    return value if tuple(shape) == value.shape else apply("reshape", value, shape=tuple(shape))


def transpose(value: Value, axes: Sequence[int]) -> Value:
    """Of the lanes; there and back is nothing, and moving axes of size 1 is a reshape."""
    shape = tuple(value.shape[axis] for axis in axes)
    if value.op == "transpose":
        axes, value = [value.attributes["axes"][axis] for axis in axes], value.inputs[0]
    wide = [axis for axis in axes if value.shape[axis] != 1]
    return reshape(value, shape) if wide == sorted(wide) else apply("transpose", value, axes=tuple(axes))


def broadcast_to(value: Value, shape: Sequence[int]) -> Value:
    return value if tuple(shape) == value.shape else apply("broadcast_to", value, shape=tuple(shape))
