"""Cells of edges, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.kernels.cells import cells_of, rows_of


@pytest.mark.parametrize(("row_bits", "column_bits"), [(5, 4), (31, 16), (31, 31)])
def test_sorted_cells_are_rows_of_tiles(row_bits: int, column_bits: int) -> None:
    rng = np.random.default_rng(row_bits)
    sizes = [300] if column_bits == 31 else [40, 0, 1, 259]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    # the last row and column that there may be are among them
    rows, columns = ((1 << bits) - 1 - rng.integers(0, 9, 300) for bits in (row_bits, column_bits))
    cells = np.empty(300, np.int64)
    cells_of(bounds, rows.astype(np.int32), columns.astype(np.int32), row_bits, column_bits, cells)
    assert (cells >= 0).all()
    cells.sort()

    tile = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort([columns, rows, tile])
    firsts = np.arange(len(sizes))
    found, of_row, degrees = (np.empty(300, np.int32) for _ in range(3))
    counts = np.empty(len(sizes), np.int64)
    many = rows_of(bounds, cells, row_bits, column_bits, firsts, found, of_row, degrees, counts)
    assert found.tolist() == (columns - firsts[tile])[order].tolist()
    wanted, times = np.unique(np.stack([tile, rows]), axis=1, return_counts=True)
    assert of_row[:many].tolist() == wanted[1].tolist()
    assert degrees[:many].tolist() == times.tolist()
    assert counts.tolist() == np.bincount(wanted[0], minlength=len(sizes)).tolist()
