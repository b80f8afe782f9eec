"""A linear map of joined rows is a sum of linear maps, each computed where its part is known.

    matmul(concat(src(x), dst(y), e), W) → src(matmul(x, W₁)) + dst(matmul(y, W₂)) + matmul(e, W₃)

Message networks begin like this: torch.cat([x_i, x_j, edge_attr]) and a Linear. A product per edge becomes a product
per node. Where that would ship more lanes than x has, the part from src stays on the edges.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.formula.values import Value, apply


def linear_of_concat(value: Value) -> Value | None:
    """matmul(concat(src(x), dst(y), e), W) → src(matmul(x, W₁)) + dst(matmul(y, W₂)) + matmul(e, W₃)."""
    return _split(value, ("src", "dst"))


def linear_of_concat_at_dst(value: Value) -> Value | None:
    """matmul(concat(src(x), dst(y)), W) → matmul(src(x), W₁) + dst(matmul(y, W₂))."""
    return _split(value, ("dst",))


def _split(value: Value, ends: Collection[str]) -> Value | None:
    if value.op != "matmul" or not value.is_edge or value.inputs[0].op != "concat":
        return None
    joined, matrix = value.inputs
    if not matrix.is_weight or len(matrix.shape) != 2 or len(joined.shape) != 1:
        return None
    if not any(part.op in ends for part in joined.inputs):
        return None
    products: list[Value] = []
    rest: list[tuple[Value, int]] = []
    start = 0
    for part in joined.inputs:
        if part.op in ends:
            inner = apply("matmul", part.inputs[0], _rows(matrix, start, part.width))
            products.append(apply(part.op, inner, edges=part.space))
        else:
            rest.append((part, start))
        start += part.width
    if rest:
        products.append(_product(rest, matrix))
    result = products[0]
    for term in products[1:]:
        result = result + term
    return result


def _product(parts: list[tuple[Value, int]], matrix: Value) -> Value:
    """One product for all parts that stay: a matrix product per edge is costly to begin, not to widen."""
    rows = [_rows(matrix, start, part.width) for part, start in parts]
    if len(parts) == 1:
        return apply("matmul", parts[0][0], rows[0])
    return apply("matmul", apply("concat", *(part for part, _ in parts), axis=0), apply("concat", *rows, axis=0))


def _rows(matrix: Value, start: int, count: int) -> Value:
    return apply("slice", matrix, axis=0, start=start, stop=start + count, step=1)
