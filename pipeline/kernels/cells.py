"""Edges as cells of adjacency matrices: which tile, which row, which column, in one number that sorts.

Comes in: edges of a few tiles, one tile behind another. Goes out: a cell of each edge; of sorted cells the rows of the
tiles. NumPy sorts such numbers with SIMD, in 6 ns an edge where two counting sorts and what they gather take 20.

    cell = tile << (row_bits + column_bits) | row << column_bits | column
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.kernels.jit import jit

Numbers = npt.NDArray[np.int32]
Cells = npt.NDArray[np.int64]


@jit
def cells_of(
    bounds: npt.NDArray[np.int64], rows: Numbers, columns: Numbers, row_bits: int, column_bits: int, out: Cells
) -> None:
    """Tile t has the edges bounds[t] .. bounds[t + 1], each in rows[e] and columns[e]."""
    for t in range(len(bounds) - 1):
        tile = np.int64(t) << np.int64(row_bits + column_bits)
        for e in range(bounds[t], bounds[t + 1]):
            out[e] = tile | np.int64(rows[e]) << np.int64(column_bits) | np.int64(columns[e])


@jit
def rows_of(
    bounds: npt.NDArray[np.int64],
    cells: Cells,
    row_bits: int,
    column_bits: int,
    firsts: npt.NDArray[np.int64],
    columns: Numbers,
    rows: Numbers,
    degrees: Numbers,
    counts: npt.NDArray[np.int64],
) -> int:
    """Of ascending cells: columns (e,), where firsts[t] is column 0 of tile t; the rows of all tiles and how many edges
    each has, at the start of `rows` and `degrees`; counts (t,): the rows of each tile. Returns how many rows there are.
    """
    row_mask = (np.int64(1) << np.int64(row_bits)) - 1
    column_mask = (np.int64(1) << np.int64(column_bits)) - 1
    at = -1
    for t in range(len(bounds) - 1):
        before, last = at, np.int64(-1)
        for e in range(bounds[t], bounds[t + 1]):
            columns[e] = (cells[e] & column_mask) - firsts[t]
            row = cells[e] >> np.int64(column_bits)
            if row != last:
                at += 1
                rows[at] = row & row_mask
                degrees[at] = 0
                last = row
            degrees[at] += 1
        counts[t] = at - before
    return at + 1
