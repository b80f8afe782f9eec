"""Attention: shares over the edges into a node, and messages summed by these shares.

    softmax(a)        = exp(a - max a) / (Σ exp(a - max a) + 1e-16)       a row per edge; PyG's utils.softmax
    softmax_sum(a, m) = Σ softmax(a) * m                                  0 where there are no edges
    softmax_state(a, m) = [Σ exp(a - top) * m, Σ exp(a - top), top]       top = max a; [0, 0, -inf] without edges

The last two are computed in running form, in `out`, `total` and `top`: compiler/softmax.py. The last is for a softmax
over the edges of several relations: one state of each, which are brought to the same top and added up
(lowering/rewrites/shared_softmax.py). Of logits that are all -inf, `total` counts the edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.formula import rules
from pipeline.formula.reductions.extremes import scatter_max
from pipeline.formula.reductions.record import EXPONENTIALS, Array, EdgeWork, Reduction, State, States, aligned
from pipeline.formula.reductions.sum import scatter_sum
from pipeline.formula.rules import Shape

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


def scatter_softmax_state(logits: Array, messages: Array, dst: Array, count: int) -> Array:
    """(count, lanes of a message + 2 * lanes of a logit)."""
    top = np.full((count, *logits.shape[1:]), -np.inf, logits.dtype)
    np.fmax.at(top, dst, logits)
    infinite = top == -np.inf
    powers = np.exp(logits - np.where(infinite, 0, top)[dst])
    total = scatter_sum(powers + infinite[dst], dst, count)
    shares = aligned(powers, powers.shape[1:], messages.shape[1:])
    parts = scatter_sum(shares * messages, dst, count), total, top
    return np.concatenate([part.reshape(count, math.prod(part.shape[1:])) for part in parts], axis=1)


def _start_own(states: States, own: Sequence[Array], value: Value) -> None:
    """One more edge for every node: the first one that is accumulated."""
    out, top, total = states["out"], states["top"], states["total"]
    logits, nodes = value.inputs[0].shape, len(out)
    shape = _weighed(value)
    top[:] = np.broadcast_to(aligned(own[0], own[0].shape[1:], logits), (nodes, *logits)).reshape(top.shape)
    with np.errstate(invalid="ignore"):
        # exp(logit - top): 1; NaN for NaN and +inf; a -inf only counts until there is a larger logit
        share = np.where(top == -np.inf, np.float32(0), top - top + np.float32(1))
        total[:] = np.where(top == -np.inf, np.float32(1), share)
        message = aligned(own[1], own[1].shape[1:], shape) * aligned(share, logits, shape)
    width = math.prod(shape)
    out[:, :width] = np.broadcast_to(message, (nodes, *shape)).reshape(nodes, width)


def _finish(states: States, value: Value) -> Array:
    out, total = states["out"], states["total"]
    # a softmax of nothing but -inf is 0 / 0, as in PyG; `total` counts those edges
    total[(states["top"] == -np.inf) & (total > 0)] = np.nan
    result = out.reshape(len(out), *value.shape)
    result /= aligned(total, value.inputs[0].shape, value.shape) + np.float32(1e-16)
    return out


def _state(states: States, value: Value) -> Array:
    out, lanes = states["out"], value.inputs[0].width
    out[:, -2 * lanes : -lanes], out[:, -lanes:] = states["total"], states["top"]
    return out


def _weighed(value: Value) -> Shape:
    """Of a message by its share."""
    return rules.broadcast_shapes([operand.shape for operand in value.inputs[:2]])


def _work(value: Value) -> EdgeWork:
    return EdgeWork(weighed=math.prod(_weighed(value)), costly=value.inputs[0].width)


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

SOFTMAX_STATE = replace(
    SOFTMAX_SUM,
    name="softmax_state",
    meaning=scatter_softmax_state,
    finish=_state,  # `out`, as wide as the result, has room for the others
    shape=rules.state_of_softmax,
    passes=1,  # cleared
)
