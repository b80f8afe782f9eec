"""Factors of a summed message go to the end that knows them.

    sum(src(a) * e * src(b) * dst(c)) → sum(e * src(a * b)) * c

A node without edges keeps its 0 even where c is infinite there (1 / degree): c counts only where there are edges.
"""

from __future__ import annotations

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.lowering.rewrites.products import Factor, factors, product


def factor_sums(value: Value) -> Value | None:
    """sum(src(a) * e * src(b) * dst(c)) → sum(e * src(a * b)) * c."""
    if value.op != "sum":
        return None
    message = value.inputs[0]
    edges = message.space
    assert isinstance(edges, Edges)
    at_src, at_dst, along = [], [], []
    for part in factors(message):
        if part.value.op == "src":
            at_src.append(Factor(part.value.inputs[0], part.inverse))
        elif part.value.op == "dst":
            at_dst.append(Factor(part.value.inputs[0], part.inverse))
        elif part.value.is_weight:
            at_dst.append(part)
        else:
            along.append(part)
    if not at_dst and len(at_src) < 2:
        return None
    sent = product(at_src)
    if sent is not None:
        along.append(Factor(apply("src", sent, edges=edges)))
    inner = product(along)
    if inner is None:
        inner = fill(1.0, edges)
    result = apply("sum", inner)
    occupied = apply("greater", apply("sum", fill(1.0, edges)), 0.0)
    for part in at_dst:
        factor = part.value
        if not factor.is_weight:
            here = occupied.reshape(*(1 for _ in factor.shape))
            factor = apply("where", here, factor, 1.0 if part.inverse else 0.0)
        result = result / factor if part.inverse else result * factor
    return result if result.shape == value.shape else None
