"""max and min: the largest, the smallest m over the edges into a node; `empty` where there are none (PyG: 0).

NaN if one of them is. Of 0 and -0 it is the first that came, and of partial results the last.
"""

from __future__ import annotations

import numpy as np

from pipeline.formula.reductions.record import SEEN, Array, Reduction, State, fill_empty


def scatter_max(messages: Array, dst: Array, count: int, *, empty: float) -> Array:
    """(count, …): the largest message of each dst."""
    return _extreme(np.maximum, -np.inf, messages, dst, count, empty)


def scatter_min(messages: Array, dst: Array, count: int, *, empty: float) -> Array:
    """(count, …): the smallest message of each dst."""
    return _extreme(np.minimum, np.inf, messages, dst, count, empty)


def _extreme(function: np.ufunc, start: float, messages: Array, dst: Array, count: int, empty: float) -> Array:
    result = np.full((count, *messages.shape[1:]), start, messages.dtype)
    function.at(result, dst, messages)
    result[np.bincount(dst, minlength=count) == 0] = empty
    return result


MAX = Reduction(
    "max",
    scatter_max,
    state=(State("out", -np.inf), SEEN),
    step="{out} = maximum({out}, {message})",
    merge=("{out} = maximum({partial}, {out})",),
    finish=fill_empty,
    own="maximum",
    is_exact=True,
)
MIN = Reduction(
    "min",
    scatter_min,
    state=(State("out", np.inf), SEEN),
    step="{out} = minimum({out}, {message})",
    merge=("{out} = minimum({partial}, {out})",),
    finish=fill_empty,
    own="minimum",
    is_exact=True,
)
