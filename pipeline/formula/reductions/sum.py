"""sum: Σ m over the edges into a node; 0 where there are none."""

from __future__ import annotations

import math

import numpy as np

from pipeline.formula.reductions.record import SUMMED, Array, Reduction


def scatter_sum(messages: Array, dst: Array, count: int) -> Array:
    """(count, …): the sum of the messages of each dst, one after another in the order of the rows.

    As a product with a sparse matrix of ones: the bits of `np.add.at` in half the time (200,000 rows of 64 lanes: 0.09
    s instead of 0.21 s).
    """
    from scipy import sparse  # here: a seventh of a second, and the compiled path never asks for it

    order = np.argsort(dst, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(dst, minlength=count))])
    ones = np.ones(len(dst), messages.dtype)
    flat = messages.reshape(len(messages), math.prod(messages.shape[1:]))
    result = sparse.csr_array((ones, order, ends), (count, len(dst))) @ flat
    return np.asarray(result).reshape(count, *messages.shape[1:])


SUM = Reduction(
    "sum",
    scatter_sum,
    loop=SUMMED,
    step="{out} += {message}",
    merge=("{out} += {partial}",),
    own="add",
)
