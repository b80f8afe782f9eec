"""Attention: shares over the edges into a node, and messages summed by these shares.

    softmax(a)        = exp(a - max a) / (Σ exp(a - max a) + 1e-16)       a row per edge; PyG's utils.softmax
    softmax_sum(a, m) = Σ softmax(a) * m                                  0 where there are no edges

The second is computed in running form, in `top`, the largest logit so far, `total`, Σ exp(a - top), and `out`,
Σ exp(a - top) * m: compiler/softmax.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.formula import rules
from pipeline.formula.reductions.extremes import scatter_max
from pipeline.formula.reductions.record import EXPONENTIALS, Array, EdgeWork, Reduction, State, States, aligned
from pipeline.formula.reductions.sum import scatter_sum

if TYPE_CHECKING:
    from pipeline.formula.values import Value


def softmax(logits: Array, dst: Array, count: int) -> Array:
    """(e, …): the share of each edge."""
    e = np.exp(logits - scatter_max(logits, dst, count, empty=0.0)[dst])
    return e / (scatter_sum(e, dst, count) + 1e-16)[dst]


def scatter_softmax_sum(logits: Array, messages: Array, dst: Array, count: int) -> Array:
    """(count, …): the messages of each dst, weighed by the softmax of their logits."""
    share = softmax(logits, dst, count)
    rank = max(share.ndim, messages.ndim)
    share, messages = (array.reshape(len(array), *(1,) * (rank - array.ndim), *array.shape[1:])
                       for array in (share, messages))  # fmt: skip
    return scatter_sum(share * messages, dst, count)


def _start_own(states: States, own: Sequence[Array], value: Value) -> None:
    """One more edge for every node: the first one that is accumulated."""
    out, top, total = states["out"], states["top"], states["total"]
    logits, shape, nodes = value.inputs[0].shape, value.shape, len(out)
    top[:] = np.broadcast_to(aligned(own[0], own[0].shape[1:], logits), (nodes, *logits)).reshape(top.shape)
    with np.errstate(invalid="ignore"):
        # exp(logit - top): 1; NaN for NaN and +inf; a -inf only counts until there is a larger logit
        share = np.where(top == -np.inf, np.float32(0), top - top + np.float32(1))
        total[:] = np.where(top == -np.inf, np.float32(1), share)
        message = aligned(own[1], own[1].shape[1:], shape) * aligned(share, logits, shape)
    out[:] = np.broadcast_to(message, (nodes, *shape)).reshape(out.shape)


def _finish(states: States, value: Value) -> Array:
    out, total = states["out"], states["total"]
    # a softmax of nothing but -inf is 0 / 0, as in PyG; `total` counts those edges
    total[(states["top"] == -np.inf) & (total > 0)] = np.nan
    result = out.reshape(len(out), *value.shape)
    result /= aligned(total, value.inputs[0].shape, value.shape) + np.float32(1e-16)
    return out


def _work(value: Value) -> EdgeWork:
    return EdgeWork(weighed=value.width, costly=value.inputs[0].width)


SOFTMAX_SUM = Reduction(
    "softmax_sum",
    scatter_softmax_sum,
    state=(State("out", 0.0), State("top", -np.inf, of=0), State("total", 0.0, of=0)),
    loop=EXPONENTIALS,
    finish=_finish,
    start_own=_start_own,
    messages=2,
    space=rules.softmax_sum,
    shape=rules.message,
    work=_work,
    passes=3,  # cleared, and divided
)
