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
def pulled_first(offsets: Rows, columns: Rows, first: Marks, middles: Rows, order: Rows) -> None:
    """Which edges are pulled: those whose column has at least as many edges as their row.

    Compressed rows: offsets (r + 1,), columns (e,). first[c], (columns,), comes as False: whether an edge of c is
    pulled. order (e,): the edges of each row, pulled ones first; middles (r,): where these end.
    """
    degree = np.zeros(len(first), np.int32)
    for c in columns:
        degree[c] += 1
    for j in range(len(offsets) - 1):
        edges = offsets[j + 1] - offsets[j]
        at = offsets[j]
        for e in range(offsets[j], offsets[j + 1]):
            if degree[columns[e]] >= edges:
                first[columns[e]] = True
                order[at] = e
                at += 1
        middles[j] = at
        for e in range(offsets[j], offsets[j + 1]):
            if degree[columns[e]] < edges:
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
