"""Attention in one running pass.

    sum(softmax(a) * m) → softmax_sum(a, m)

Any other use of softmax over neighbours is written out:

    softmax(a) → exp(a - dst(max(a))) / (dst(sum(exp(a - dst(max(a))))) + 1e-16)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.formula.spaces import Edges
from pipeline.formula.values import Value, apply, fill
from pipeline.lowering.rewrites.products import factors, product


class Weighed(NamedTuple):
    """sum(share * m)."""

    share: Value
    logits: Value
    """Of the share; they broadcast to messages."""
    message: Value


def fuse_softmax(value: Value) -> Value | None:
    """sum(softmax(a) * m) → softmax_sum(a, m)."""
    found = weighed(value, lambda share: share.inputs[0] if share.op == "softmax" else None)
    if found is None:
        return None
    fused = apply("softmax_sum", found.logits, found.message)
    return apply("reshape", fused, shape=value.shape) if fused.width == value.width else None


def weighed(value: Value, logits_of: Callable[[Value], Value | None]) -> Weighed | None:
    """A sum of messages by their shares; `logits_of`: of a value that is a share, what it is made of."""
    if value.op != "sum" or len(value.inputs) > 1:
        return None
    summed = below_views(value.inputs[0])
    parts = factors(summed, lambda each: logits_of(each) is not None)
    for number, part in enumerate(parts):
        share = below_views(part.value)
        logits = None if part.inverse else logits_of(share)
        if logits is None:
            continue
        message = product(each for place, each in enumerate(parts) if place != number)
        if message is None or not message.is_edge:
            ones = fill(1.0, value.inputs[0].space)
            message = ones if message is None else ones * message
        logits = apply("reshape", logits, shape=part.value.shape)
        if logits.shape != () and len(logits.shape) < len(summed.shape):
            logits = logits.reshape(*(1,) * (len(summed.shape) - len(logits.shape)), *logits.shape)
        return Weighed(share, logits, message)
    return None


def below_views(value: Value) -> Value:
    while value.op == "reshape":
        value = value.inputs[0]
    return value


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
