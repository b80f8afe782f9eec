"""Views and restrictions go down to where a value comes from, so that the other rules see products as products.

reshape(a * b)      → reshape(a) * reshape(b)          where a and b have the same row shape
reshape(softmax(a)) → softmax(reshape(a))
reshape(reshape(a)) → reshape(a)
restrict(a * b)     → restrict(a) * restrict(b)
restrict(src(v))    → src(v) on that part
src(fill(c))        → fill(c)                          a constant is not shipped
src(spread(t))      → dst(spread(t))                   nor is what every node has
f(spread(t), w)     → spread(f(t, w))                  and it is computed once, not once per node
extend(a, n) on all+self, restricted to the stored part → a
a * 1, a / 1, a + 0, a - 0                             → a
matmul(a, W) per edge, a of one lane                   → a * W: a loop instead of a matrix product per edge
"""

from __future__ import annotations

from pipeline.formula.operations import ELEMENTWISE, OPERATIONS
from pipeline.formula.spaces import BASE_PART, Edges, Nodes
from pipeline.formula.values import Value, apply, fill


def reshape_of_elementwise(value: Value) -> Value | None:
    """reshape(f(a, b)) → f(reshape(a), reshape(b)), for edge values only: node values are cheap to view."""
    if value.op != "reshape" or not value.is_edge:
        return None
    inner = value.inputs[0]
    shape = value.shape
    if inner.shape == shape:
        return inner
    if inner.op == "reshape":
        return apply("reshape", inner.inputs[0], shape=shape)
    if inner.op == "softmax":
        return apply("softmax", apply("reshape", inner.inputs[0], shape=shape))
    if inner.op not in ELEMENTWISE:
        return None
    if any(operand.shape not in ((), inner.shape) for operand in inner.inputs):
        return None
    if inner.shape == () and any(size != 1 for size in shape):
        return None
    operands = [
        operand if operand.is_weight and operand.shape == () else apply("reshape", operand, shape=shape)
        for operand in inner.inputs
        if operand.shape == inner.shape or operand.is_weight
    ]
    if len(operands) != len(inner.inputs):
        return None
    return apply(inner.op, *operands, **inner.attributes)


def restrict_to_leaves(value: Value) -> Value | None:
    """restrict(f(a, b)) → f(restrict(a), restrict(b)); a src or dst is taken on the part itself."""
    if value.op != "restrict":
        return None
    inner, part = value.inputs[0], value.attributes["part"]
    assert isinstance(inner.space, Edges)
    assert isinstance(value.space, Edges)
    if inner.space.part == part:
        return inner
    if inner.op in ("src", "dst"):
        return apply(inner.op, inner.inputs[0], edges=value.space)
    if inner.op == "fill":
        return fill(inner.attributes["value"], value.space, inner.shape)
    if inner.op == "restrict":
        return apply("restrict", inner.inputs[0], part=part)
    if inner.op == "extend":
        stored = inner.inputs[0]
        return stored if BASE_PART[inner.space.part] == part else apply("restrict", stored, part=part)
    if OPERATIONS[inner.op].kind in ("elementwise", "row"):
        operands = [operand if operand.is_weight else apply("restrict", operand, part=part) for operand in inner.inputs]
        return apply(inner.op, *operands, **inner.attributes)
    return None


def constants_stay(value: Value) -> Value | None:
    """src(fill(c)) → fill(c) on the edges, likewise dst and spread: nothing to ship."""
    if value.op in ("src", "dst", "spread") and value.inputs[0].op == "fill":
        return fill(value.inputs[0].attributes["value"], value.space, value.shape)
    return None


def totals_stay(value: Value) -> Value | None:
    """src(spread(t)) → dst(spread(t)): every block knows the total. And f(spread(t), w) → spread(f(t, w))."""
    if value.op == "src" and value.inputs[0].op == "spread":
        assert isinstance(value.space, Edges)
        here = apply("spread", value.inputs[0].inputs[0], nodes=value.space.target)
        return apply("dst", here, edges=value.space)
    if not value.is_node or OPERATIONS[value.op].kind not in ("elementwise", "row"):
        return None
    for operand in value.inputs:  # most often the first is neither: any(…) takes four times as long
        if operand.op != "spread" and not operand.is_weight:
            return None
    inner = [operand if operand.is_weight else operand.inputs[0] for operand in value.inputs]
    assert isinstance(value.space, Nodes)
    return apply("spread", apply(value.op, *inner, **value.attributes), nodes=value.space)


def identities(value: Value) -> Value | None:
    """a * 1 → a, a + 0 → a, and views of a constant → a constant."""
    if value.op == "reshape" and value.inputs[0].op == "fill":
        return fill(value.inputs[0].attributes["value"], value.space, value.shape)
    if value.op == "reshape" and value.inputs[0].shape == value.shape:
        return value.inputs[0]
    neutral = {"mul": 1.0, "div": 1.0, "add": 0.0, "sub": 0.0}.get(value.op)
    if neutral is None:
        return None
    left, right = value.inputs
    for kept, other in ((left, right), (right, left)):
        is_neutral = other.op in ("fill", "constant") and other.attributes["value"] == neutral
        same = kept.shape == value.shape and kept.space == value.space
        if is_neutral and same and (kept is left or value.op in ("mul", "add")):
            return kept
    return None


def thin_product(value: Value) -> Value | None:
    """matmul(a, W) → a * row of W, for edge values of one lane, such as a distance or an amount."""
    if value.op != "matmul" or not value.is_edge:
        return None
    a, matrix = value.inputs
    if not matrix.is_weight or matrix.shape != (1, value.shape[-1]):
        return None
    return a * apply("reshape", matrix, shape=(value.shape[-1],))
