"""aten's matrix products → `matmul`: each row times a learned matrix, or times a matrix of its own."""

from __future__ import annotations

import math
from typing import Any

from pipeline.formula.values import apply
from pipeline.pyg.aten_factories import DENSE
from pipeline.pyg.call import Call, Handler, need_operand, need_rows
from pipeline.pyg.layout import elementwise, permute, reshape, transpose, with_value
from pipeline.pyg.symbols import Learned, Refusal, Rows, Symbol
from pipeline.pyg.totals import over, over_products, whole


def product(a: Rows | Learned, b: Rows | Learned) -> Rows:
    """a @ b, of two or three axes each; one of them has rows."""
    if isinstance(a, Rows) and isinstance(b, Learned):
        return _by_weight(a, b)
    if isinstance(a, Learned) and isinstance(b, Rows):
        # (a b)ᵀ = bᵀ aᵀ
        turned = [*range(b.rank - 2), b.rank - 1, b.rank - 2]
        flipped = Learned(a.tensor.transpose(-1, -2), lambda: transpose(a.value, turned))
        return permute(_by_weight(permute(b, turned), flipped), turned)
    assert isinstance(a, Rows)
    assert isinstance(b, Rows)
    if a.is_whole and b.is_whole:
        return with_value(a, apply("matmul", a.value, b.value))
    if a.is_whole:
        turned = [*range(b.rank - 2), b.rank - 1, b.rank - 2]
        return permute(_by_total(permute(b, turned), permute(a, turned)), turned)
    if b.is_whole:
        return _by_total(a, b)
    if (a.axis, b.axis) == (a.rank - 1, b.rank - 2) and a.space == b.space and not _folded(a, b):
        return whole(over_products(a.value, b.value))
    if a.rank != 3 or a.axis or b.axis or (a.before, a.after) != (b.before, b.after):
        raise Refusal(f"multiplies rows with rows of {a.space}: a dense product over the whole graph", DENSE)
    return with_value(a, apply("matmul", a.value, b.value))


def _folded(*rows: Rows) -> bool:
    return any(r.before or r.after for r in rows)


def _by_total(a: Rows, b: Rows) -> Rows:
    """a @ b, where b is the same matrix for every row, such as the sum of keys times values in linear attention."""
    if a.axis != a.rank - 2 or _folded(a):
        raise Refusal(f"multiplies {a.space} with a total along the axis of the {a.space}", DENSE)
    lead, inner = a.value.shape[:-1], a.value.shape[-1]
    y = apply("matmul", reshape(a.value, (*lead, 1, inner)), over(b.value, a.space))
    return with_value(a, reshape(y, (*lead, b.value.shape[-1])))


def _by_weight(a: Rows, b: Learned) -> Rows:
    if a.axis == a.rank - 1:
        raise Refusal(f"sums over all {a.space} in a matrix product")
    if a.rank == 2:
        return with_value(a, apply("matmul", a.value, b.value))
    if a.axis != 1:
        raise Refusal(f"multiplies {a.space} with a matrix that has a row per {a.space}")
    # (batch, rows, k) @ (batch, k, n): per row, a matrix product for each of the batch
    batch, inner = a.value.shape[0], a.value.shape[1:-1]
    tall = reshape(a.value, (batch, math.prod(inner), a.value.shape[-1]))
    y = apply("matmul", tall, b.value)
    return with_value(a, reshape(y, (batch, *inner, y.shape[-1])))


def _product(first: str, second: str) -> Handler:
    return lambda call: product(_matrix(call[first], call), _matrix(call[second], call))


def _matrix(symbol: Any, call: Call) -> Rows | Learned:
    operand = need_operand(symbol, call.sizes)
    return operand if isinstance(operand, Learned) else need_rows(operand)


def _added(first: str, second: str) -> Handler:
    """addmm, baddbmm, addmv: beta * self + alpha * first @ second."""

    def handler(call: Call) -> Symbol:
        a, b = _matrix(call[first], call), _matrix(call[second], call)
        y = _vector(a, b) if second == "vec" else product(a, b)
        if call["alpha"] != 1:
            y = elementwise("mul", [y, float(call["alpha"])])
        added = call.operand("self")
        if call["beta"] != 1:
            scale = float(call["beta"])
            if isinstance(added, Learned):
                tensor, value = added.tensor, added.value
                added = Learned(tensor, lambda: apply("mul", value, scale))
            else:
                added = elementwise("mul", [added, scale])
        return elementwise("add", [y, added])

    return handler


def _vector(matrix: Rows | Learned, vector: Rows | Learned) -> Rows:
    if isinstance(vector, Rows) and vector.is_whole and isinstance(matrix, Learned):
        return with_value(vector, apply("matmul", vector.value, transpose(matrix.value, (1, 0))))
    if not isinstance(matrix, Rows):
        raise Refusal("multiplies a matrix with a vector of all rows")
    column: Rows | Learned
    if isinstance(vector, Learned):
        column = Learned(vector.tensor[:, None], lambda: reshape(vector.value, (vector.tensor.shape[0], 1)))
    else:
        column = with_value(vector, reshape(vector.value, (*vector.value.shape, 1)))
    y = product(matrix, column)
    value = reshape(y.value, y.value.shape[:-1])
    return whole(value) if y.is_whole else Rows(value, y.axis, y.before, y.after)


HANDLERS: dict[str, Handler] = {
    "mm": _product("self", "mat2"),
    "bmm": _product("self", "mat2"),
    "addmm": _added("mat1", "mat2"),
    "baddbmm": _added("batch1", "batch2"),
    "addmv": _added("mat", "vec"),
    "mv": lambda call: _vector(_matrix(call["self"], call), _matrix(call["vec"], call)),
}
