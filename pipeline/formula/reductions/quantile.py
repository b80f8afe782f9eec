"""quantile: of a node's sorted messages, lane by lane, those at q * (count - 1); `empty` where there are none.

Between two messages `interpolation` decides. Several q stand one behind the other: (d, …) → (len(q) * d, …).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.formula import rules
from pipeline.formula.reductions.record import Array, EdgeWork, Reduction, State

if TYPE_CHECKING:
    from pipeline.formula.values import Value


def scatter_quantile(
    messages: Array, dst: Array, count: int, *, q: Sequence[float], interpolation: str, empty: float
) -> Array:
    """(count, len(q), …): the quantiles of the messages of each dst."""
    result = np.full((count, len(q), *messages.shape[1:]), empty, messages.dtype)
    order = np.argsort(dst, kind="stable")
    ends = np.cumsum(np.bincount(dst, minlength=count))[:-1]
    for node, own in enumerate(np.split(order, ends)):
        if len(own):
            result[node] = between(np.sort(messages[own], axis=0), q=q, interpolation=interpolation)
    return result


def between(ordered: Array, *, q: Sequence[float], interpolation: str) -> Array:
    """(len(q), …): the quantiles of (n, …) sorted along the first axis, n > 0. NaN counts as largest, as in torch."""
    places = np.asarray(q, np.float64) * (len(ordered) - 1)
    low, high = ordered[np.floor(places).astype(np.int64)], ordered[np.ceil(places).astype(np.int64)]
    if interpolation == "lower":
        return low
    if interpolation == "higher":
        return high
    if interpolation == "midpoint":
        return low * low.dtype.type(0.5) + high * low.dtype.type(0.5)
    share = (places - np.floor(places)).astype(low.dtype)
    return low + (high - low) * share.reshape(-1, *(1,) * (low.ndim - 1))


def _work(value: Value) -> EdgeWork:
    return EdgeWork(sorted=value.inputs[0].width)


QUANTILE = Reduction(
    "quantile",
    scatter_quantile,
    state=(State("out", "empty"),),
    loop=None,
    of_sorted=between,
    shape=rules.quantile,
    work=_work,
)
