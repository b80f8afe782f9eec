"""logsumexp: log Σ exp(m) over the edges into a node, a smooth maximum; `empty` where there are none.

Infinite where a message is, as torch.logsumexp. Computed in running form, in `top`, the largest message so far, and
`total`, Σ exp(m - top): compiler/softmax.py. Results of some edges are messages of their own, so they merge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.formula.reductions.extremes import scatter_max
from pipeline.formula.reductions.record import EXPONENTIALS, SEEN, Array, EdgeWork, Reduction, State, States
from pipeline.formula.reductions.sum import scatter_sum

if TYPE_CHECKING:
    from pipeline.formula.values import Value


def scatter_logsumexp(messages: Array, dst: Array, count: int, *, empty: float) -> Array:
    """(count, …): the logarithm of the sum of the exponentials of the messages of each dst."""
    top = scatter_max(messages, dst, count, empty=0.0)
    top = np.where(np.isfinite(top), top, 0)
    result = np.log(scatter_sum(np.exp(messages - top[dst]), dst, count)) + top
    result[np.bincount(dst, minlength=count) == 0] = empty
    return result


def _start_own(states: States, own: Sequence[Array], value: Value) -> None:
    """One more edge for every node: the first one that is accumulated."""
    nodes = len(states["top"])
    states["top"][:] = np.broadcast_to(own[0], (nodes, *value.shape)).reshape(nodes, value.width)
    states["total"][:] = states["top"] > -np.inf
    states[SEEN.name][:] = True


def _finish(states: States, value: Value) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.log(states["total"], out=states["total"])
        out += states["top"]
    out[~states[SEEN.name]] = value.attributes["empty"]
    return out


def _work(value: Value) -> EdgeWork:
    return EdgeWork(added=value.width, costly=value.width)


LOGSUMEXP = Reduction(
    "logsumexp",
    scatter_logsumexp,
    state=(State("top", -np.inf), State("total", 0.0), SEEN),
    loop=EXPONENTIALS,
    merge=(
        "highest = maximum({top}, {partial})",
        "shift = highest if abs(highest) < INFINITY else ZERO",
        "{total} = {total} * exp({top} - shift) + exp({partial} - shift)",
        "{top} = highest",
    ),
    finish=_finish,
    start_own=_start_own,
    work=_work,
    passes=3,  # cleared, and logarithms
)
