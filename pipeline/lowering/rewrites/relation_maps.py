"""A linear map for each relation and head goes to the targets: sources then send the same rows over all relations.

    sum(e * src(x @ W))                → sum(e * src(x)) @ W
    softmax_state(a, src(x @ W))       → [out @ W, total, top] of softmax_state(a, src(x))
    lane_sum(dst(q) * src(k @ W))      → lane_sum(dst(q @ Wᵀ) * src(k))

So do the value and key matrices of HGT. Of 90 relations each would be applied to all nodes of its source type, and what
it gives be held for the next superstep; at the targets it is applied to the nodes that have an edge (branches.py). Of
few relations both are much the same, and nothing is changed.
"""

from __future__ import annotations

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply


def map_after_sum(value: Value) -> Value | None:
    """sum(e * src(x @ W)) → sum(e * src(x)) @ W, W of shape (heads, in, out), e one number for each head."""
    if value.op != "sum" or len(value.inputs) > 1:
        return None
    message = value.inputs[0]
    while message.op == "reshape":
        message = message.inputs[0]
    if message.op != "mul":
        return None
    for sent, factor in (message.inputs, message.inputs[::-1]):
        found = _mapped(sent) if sent.op == "src" and sent.shape == message.shape else None
        if found is None or factor.is_weight or factor.shape != (*message.shape[:1], 1):
            continue
        x, matrix = found
        heads, narrow, _ = matrix.shape
        rows = apply("src", apply("reshape", x, shape=(heads, narrow)), edges=sent.attributes["edges"])
        total = apply("reshape", apply("sum", rows * factor), shape=(heads, 1, narrow))
        return apply("reshape", apply("matmul", total, matrix), shape=value.shape)
    return None


def map_after_state(value: Value) -> Value | None:
    """softmax_state(a, src(x @ W)) → the state of src(x), what it has of messages @ W; a is a number for each head."""
    if value.op != "softmax_state":
        return None
    logits, message = value.inputs
    found = _mapped(message) if message.op == "src" else None
    if found is None or logits.shape != (*message.shape[:1], 1):
        return None
    x, matrix = found
    heads, narrow, _ = matrix.shape
    rows = apply("src", apply("reshape", x, shape=(heads, narrow)), edges=message.attributes["edges"])
    state = apply("softmax_state", logits, rows)
    out = apply("slice", state, axis=0, start=0, stop=heads * narrow, step=1)
    mapped = apply("matmul", apply("reshape", out, shape=(heads, 1, narrow)), matrix)
    rest = apply("slice", state, axis=0, start=heads * narrow, stop=state.width, step=1)
    return apply("concat", apply("reshape", mapped, shape=(message.width,)), rest, axis=0)


def map_of_query(value: Value) -> Value | None:
    """lane_sum(dst(q) * src(k @ W)) → lane_sum(dst(q @ Wᵀ) * src(k)), of (heads, lanes) over the lanes."""
    if value.op != "lane_sum" or tuple(value.attributes["axes"]) != (1,) or value.inputs[0].op != "mul":
        return None
    product = value.inputs[0]
    for here, sent in (product.inputs, product.inputs[::-1]):
        if (here.op, sent.op) != ("dst", "src") or here.shape != sent.shape or len(here.shape) != 2:
            continue
        found = _mapped(sent)
        if found is None:
            continue
        k, matrix = found
        heads, narrow, wide = matrix.shape
        edges = sent.attributes["edges"]
        assert isinstance(edges, Edges)
        query = apply("reshape", here.inputs[0], shape=(heads, 1, wide))
        query = apply("matmul", query, apply("transpose", matrix, axes=(0, 2, 1)))
        query = apply("dst", apply("reshape", query, shape=(heads, narrow)), edges=edges)
        moved = query * apply("src", apply("reshape", k, shape=(heads, narrow)), edges=edges)
        return apply("lane_sum", moved, axes=(1,), keepdims=value.attributes["keepdims"])
    return None


def _mapped(sent: Value) -> tuple[Value, Value] | None:
    """src(reshape(x @ W)) of shape (heads, out) → x of shape (heads, 1, in), W of shape (heads, in, out)."""
    inner = sent.inputs[0]
    while inner.op == "reshape":
        inner = inner.inputs[0]
    if inner.op != "matmul" or not inner.inputs[1].is_weight or inner.inputs[0].is_weight:
        return None
    x, matrix = inner.inputs
    if len(matrix.shape) != 3 or x.shape != (matrix.shape[0], 1, matrix.shape[1]):
        return None
    return (x, matrix) if sent.shape == (matrix.shape[0], matrix.shape[2]) else None
