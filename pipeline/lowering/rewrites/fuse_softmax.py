"""Attention in one running pass.

    sum(softmax(a) * m) → softmax_sum(a, m)

Any other use of softmax over neighbours is written out:

    softmax(a) → exp(a - dst(max(a))) / (dst(sum(exp(a - dst(max(a))))) + 1e-16)
"""

from __future__ import annotations

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.lowering.rewrites.products import factors, product


def fuse_softmax(value: Value) -> Value | None:
    """sum(softmax(a) * m) → softmax_sum(a, m)."""
    if value.op != "sum":
        return None
    parts = factors(value.inputs[0])
    found = [part for part in parts if part.value.op == "softmax" and not part.inverse]
    if not found:
        return None
    logits = found[0].value.inputs[0]
    message = product(part for part in parts if part is not found[0])
    if message is None or not message.is_edge:
        ones = fill(1.0, value.inputs[0].space)
        message = ones if message is None else ones * message
    if logits.shape != () and len(logits.shape) < len(value.shape):
        logits = logits.reshape(*(1,) * (len(value.shape) - len(logits.shape)), *logits.shape)
    fused = apply("softmax_sum", logits, message)
    return fused if fused.shape == value.shape else None


def expand_softmax(value: Value) -> Value | None:
    """softmax(a) → the exponentials and their sums, for uses that are not summed at once."""
    if value.op != "softmax":
        return None
    logits = value.inputs[0]
    edges = value.space
    assert isinstance(edges, Edges)
    highest = apply("max", logits, empty=0.0)
    shares = apply("exp", logits - apply("dst", highest, edges=edges))
    return shares / (apply("dst", apply("sum", shares), edges=edges) + 1e-16)
