"""Which edges of a tile are pulled, where the others are pushed.

Comes in: compressed rows. Goes out: an order of edges.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Marks = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]


@jit
def pulled_first(indptr: Rows, indices: Rows, first: Marks, middles: Rows, order: Rows) -> None:
    """Which edges are pulled: those whose column has at least as many edges as their row.

    Compressed rows: indptr (r + 1,), indices (e,). first[c], (indices,), comes as False: whether an edge of c is
    pulled. order (e,): the edges of each row, pulled ones first; middles (r,): where these end.
    """
    degree = np.zeros(len(first), np.int32)
    for c in indices:
        degree[c] += 1
    for j in range(len(indptr) - 1):
        edges = indptr[j + 1] - indptr[j]
        at = indptr[j]
        for e in range(indptr[j], indptr[j + 1]):
            if degree[indices[e]] >= edges:
                first[indices[e]] = True
                order[at] = e
                at += 1
        middles[j] = at
        for e in range(indptr[j], indptr[j + 1]):
            if degree[indices[e]] < edges:
                order[at] = e
                at += 1


@jit
def list_ranges(starts: Rows, ends: Rows, out: Rows) -> None:
    """All numbers of the ranges starts[j] .. ends[j], one after another."""
    at = 0
    for j in range(len(starts)):
        for e in range(starts[j], ends[j]):
            out[at] = e
            at += 1
