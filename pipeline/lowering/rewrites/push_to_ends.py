"""What depends on one end of an edge only is computed there once per node, not once per edge.

f(src(a), src(b), w) → src(f(a, b, w))          likewise dst
"""

from __future__ import annotations

from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import Value, apply


def push_to_ends(value: Value) -> Value | None:
    """f(src(a), src(b), w) → src(f(a, b, w)), or the same with dst."""
    if not value.is_edge or OPERATIONS[value.op].kind not in ("elementwise", "row"):
        return None
    rows = [operand for operand in value.inputs if not operand.is_weight]
    ends = {operand.op for operand in rows}
    if len(ends) != 1 or not ends <= {"src", "dst"}:
        return None
    inner = [operand if operand.is_weight else operand.inputs[0] for operand in value.inputs]
    return apply(ends.pop(), apply(value.op, *inner, **value.attributes), edges=value.space)
