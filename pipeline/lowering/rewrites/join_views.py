"""Views of joined edge values become joined views, so that linear maps meet the join itself.

concat(a)                        → a
slice(concat(a, b)), other axis  → concat(slice(a), slice(b))
slice(concat(a, b)), inside of a → slice(a)
slice of everything              → nothing
reshape(concat(a, b)) that drops or adds axes of size 1 → concat(reshape(a), reshape(b))
"""

from __future__ import annotations

from pipeline.formula.operations import Shape
from pipeline.formula.values import Value, apply


def join_views(value: Value) -> Value | None:
    """Moves slice and reshape into a concat of edge values."""
    if not value.is_edge:
        return None
    if value.op == "concat" and len(value.inputs) == 1:
        return value.inputs[0]
    if value.op == "slice":
        return _slice(value)
    if value.op == "reshape" and value.inputs[0].op == "concat":
        return _reshape(value)
    return None


def _slice(value: Value) -> Value | None:
    inner = value.inputs[0]
    if inner.shape == value.shape:
        return inner
    if inner.op != "concat" or any(part.is_weight for part in inner.inputs):
        return None
    taken, axis = value.attributes, inner.attributes["axis"]
    if taken["axis"] != axis:
        return apply("concat", *(apply("slice", part, **taken) for part in inner.inputs), axis=axis)
    start = 0
    for part in inner.inputs:
        stop = start + part.shape[axis]
        if start <= taken["start"] and taken["stop"] <= stop:
            moved = {**taken, "start": taken["start"] - start, "stop": taken["stop"] - start}
            return apply("slice", part, **moved)
        start = stop
    return None


def _reshape(value: Value) -> Value | None:
    inner = value.inputs[0]
    axis = inner.attributes["axis"]
    if any(part.is_weight for part in inner.inputs) or _wide(inner.shape) != _wide(value.shape):
        return None
    if inner.shape[axis] == 1:
        return None
    position = sum(size != 1 for size in inner.shape[:axis])  # which of the axes that are not of size 1
    target = [number for number, size in enumerate(value.shape) if size != 1][position]
    parts = []
    for part in inner.inputs:
        shape = (*value.shape[:target], part.shape[axis], *value.shape[target + 1 :])
        parts.append(apply("reshape", part, shape=shape))
    return apply("concat", *parts, axis=target)


def _wide(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
