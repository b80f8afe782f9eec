"""sum: Σ m over the edges into a node; 0 where there are none."""

from __future__ import annotations

import numpy as np

from pipeline.formula.reductions.record import SUMMED, Array, Reduction


def scatter_sum(messages: Array, dst: Array, count: int) -> Array:
    """(count, …): the sum of the messages of each dst."""
    result = np.zeros((count, *messages.shape[1:]), messages.dtype)
    np.add.at(result, dst, messages)
    return result


SUM = Reduction(
    "sum",
    scatter_sum,
    loop=SUMMED,
    step="{out} += {message}",
    merge=("{out} += {partial}",),
    own="add",
)
