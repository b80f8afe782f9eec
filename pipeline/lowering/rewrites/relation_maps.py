"""A linear map for each relation and head goes to the targets: sources then send the same rows over all relations.

    softmax_sum(a, src(x @ W))         → softmax_sum(a, src(x)) @ W
    softmax_state(a, src(x @ W))       → [out @ W, total, top], of softmax_state(a, src(x))
    lane_sum(dst(q) * src(k @ W))      → lane_sum(dst(q @ Wᵀ) * src(k))

So do the value and key matrices of HGT. Each would be applied to all nodes of its source type, and what it gives be
held for the next superstep; at the targets it is applied to the nodes that have an edge (branches.py). HGT of 6
relations, two layers, 2^20 nodes, 16.8M edges: 0.9 of the core-seconds, 3.2 instead of 4.0 GB.
"""

from __future__ import annotations

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply


def map_after_softmax(value: Value) -> Value | None:
    """softmax_sum(a, src(x @ W)) → softmax_sum(a, src(x)) @ W, W of shape (heads, in, out), a one number for each head;
    and of softmax_state the part that is such a sum."""
    if value.op not in ("softmax_sum", "softmax_state") or len(value.inputs) > 2:
        return None
    logits, message = value.inputs
    found = _mapped(message) if message.op == "src" else None
    if found is None or logits.shape != (*message.shape[:1], 1):
        return None
    x, matrix = found
    heads, narrow, _ = matrix.shape
    rows = apply("src", apply("reshape", x, shape=(heads, narrow)), edges=message.attributes["edges"])
    reduced = apply(value.op, logits, rows)
    if value.op == "softmax_sum":
        return (reduced.reshape(heads, 1, narrow) @ matrix).reshape(*value.shape)
    mapped = reduced[: heads * narrow].reshape(heads, 1, narrow) @ matrix
    return apply("concat", mapped.flat(), reduced[heads * narrow :], axis=0)


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
