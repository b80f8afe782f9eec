"""Both ends of an exchange that pushes: which edges of a tile are pulled, and partial results merged.

Comes in: compressed rows; partial results and where they belong. Goes out: an order of edges; an accumulator, added to.
A row appears once among those that are merged.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Marks = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
Matrix = npt.NDArray[np.float32]


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


@jit
def add_rows(rows: Rows, partial: Matrix, out: Matrix) -> None:
    """out[rows[j]] += partial[j] for each j; partial (r, w), out (n, w)."""
    for j in range(rows.shape[0]):
        i = rows[j]
        for c in range(partial.shape[1]):
            out[i, c] += partial[j, c]


@jit
def multiply_rows(rows: Rows, partial: Matrix, out: Matrix) -> None:
    """out[rows[j]] *= partial[j] for each j."""
    for j in range(rows.shape[0]):
        i = rows[j]
        for c in range(partial.shape[1]):
            out[i, c] *= partial[j, c]


@jit
def raise_rows(rows: Rows, partial: Matrix, out: Matrix) -> None:
    """out[rows[j]] becomes the larger of itself and partial[j], NaN if one is."""
    for j in range(rows.shape[0]):
        i = rows[j]
        for c in range(partial.shape[1]):
            a, b = out[i, c], partial[j, c]
            larger = a if a > b else b
            out[i, c] = a if a != a else larger


@jit
def lower_rows(rows: Rows, partial: Matrix, out: Matrix) -> None:
    """out[rows[j]] becomes the smaller of itself and partial[j], NaN if one is."""
    for j in range(rows.shape[0]):
        i = rows[j]
        for c in range(partial.shape[1]):
            a, b = out[i, c], partial[j, c]
            smaller = a if a < b else b
            out[i, c] = a if a != a else smaller
