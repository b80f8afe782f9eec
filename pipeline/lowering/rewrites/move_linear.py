"""A linear map goes to the side of a sum where fewer lanes are shipped.

    matmul(sum(e * src(x)) + y, W) → sum(e * src(matmul(x, W))) + matmul(y, W)      where W narrows
    sum(e * src(matmul(x, W)))     → matmul(sum(e * src(x)), W)                     where W widens

e and any other factor are one number per row. A mean is a sum divided by a count, and moves with it.
"""

from __future__ import annotations

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply
from pipeline.lowering.rewrites.products import Factor, factors, one_per_row, product

DEEPEST = 100  # sums and products that are looked through on the way to a sum over edges


def linear_before_sum(value: Value) -> Value | None:
    """matmul(sum(e * src(x)) + y, W) → sum(e * src(matmul(x, W))) + matmul(y, W)."""
    if value.op != "matmul" or not value.is_node or len(value.inputs[1].shape) != 2:
        return None
    x, matrix = value.inputs
    if not matrix.is_weight or x.is_weight or matrix.shape[1] >= matrix.shape[0]:
        return None
    return _before(x, matrix, {}, 0)


def _before(x: Value, matrix: Value, done: dict[int, Value | None], depth: int) -> Value | None:
    """matmul(x, matrix) with the product inside the sums of x; None where x holds no sum to enter."""
    if x.id not in done:
        done[x.id] = _inside(x, matrix, done, depth) if depth < DEEPEST else None
    return done[x.id]


def _inside(x: Value, matrix: Value, done: dict[int, Value | None], depth: int) -> Value | None:
    if x.op in ("mul", "div") and one_per_row(x.inputs[1]) and not x.inputs[0].is_weight:
        inner = _before(x.inputs[0], matrix, done, depth + 1)
        return None if inner is None else apply(x.op, inner, x.inputs[1])
    if x.op == "mul" and one_per_row(x.inputs[0]) and not x.inputs[1].is_weight:
        inner = _before(x.inputs[1], matrix, done, depth + 1)
        return None if inner is None else x.inputs[0] * inner
    if x.op in ("add", "sub") and all(operand.shape == x.shape and operand.is_node for operand in x.inputs):
        sides = [_before(operand, matrix, done, depth + 1) for operand in x.inputs]
        if sides == [None, None]:
            return None
        left, right = (
            apply("matmul", operand, matrix) if side is None else side
            for side, operand in zip(sides, x.inputs, strict=True)
        )
        return apply(x.op, left, right)
    if x.op == "sum":
        parts = factors(x.inputs[0])
        wide = [part for part in parts if not one_per_row(part.value)]
        if len(wide) == 1 and wide[0].value.op == "src" and not wide[0].inverse:
            edges = x.inputs[0].space
            sent = apply("src", apply("matmul", wide[0].value.inputs[0], matrix), edges=edges)
            moved = product([*(part for part in parts if part is not wide[0]), Factor(sent)])
            assert moved is not None
            return apply("sum", moved)
    return None


def linear_after_sum(value: Value) -> Value | None:
    """sum(e * src(matmul(x, W))) → matmul(sum(e * src(x)), W)."""
    if value.op != "sum":
        return None
    parts = factors(value.inputs[0])
    wide = [part for part in parts if not one_per_row(part.value)]
    if len(wide) != 1 or wide[0].value.op != "src" or wide[0].inverse:
        return None
    inner = factors(wide[0].value.inputs[0])
    maps = [part for part in inner if not one_per_row(part.value)]
    if len(maps) != 1 or maps[0].inverse or maps[0].value.op != "matmul":
        return None
    x, matrix = maps[0].value.inputs
    if not matrix.is_weight or x.is_weight or len(matrix.shape) != 2 or matrix.shape[0] >= matrix.shape[1]:
        return None
    narrow = product([*(part for part in inner if part is not maps[0]), Factor(x)])
    assert narrow is not None
    edges = value.inputs[0].space
    assert isinstance(edges, Edges)
    sent = apply("src", narrow, edges=edges)
    moved = product([*(part for part in parts if part is not wide[0]), Factor(sent)])
    assert moved is not None
    return apply("matmul", apply("sum", moved), matrix)
