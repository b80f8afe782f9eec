"""Which edges are pulled, and how partial results are merged, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.kernels.exchange import add_rows, list_ranges, lower_rows, multiply_rows, pulled_first, raise_rows
from pipeline.kernels.jit import read_only

WITNESS = {add_rows: np.add, multiply_rows: np.multiply, raise_rows: np.maximum, lower_rows: np.minimum}


@pytest.mark.parametrize("seed", range(5))
def test_edges_by_their_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, columns = np.sort(rng.integers(0, 20, 200)), rng.integers(0, 30, 200).astype(np.int32) ** 2 // 30
    rows, degrees = np.unique(row, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int32)
    first, middles, order = np.zeros(30, bool), np.empty(len(rows), np.int32), np.empty(200, np.int32)
    pulled_first(read_only(offsets), read_only(columns), first, middles, order)

    pulled = np.bincount(columns)[columns] >= np.repeat(degrees, degrees)
    assert pulled.any()
    assert not pulled.all()
    assert order.tolist() == sorted(range(200), key=lambda e: (row[e], not pulled[e], e))
    assert middles.tolist() == [offsets[j] + pulled[row == i].sum() for j, i in enumerate(rows)]
    assert np.flatnonzero(first).tolist() == np.unique(columns[pulled]).tolist()


def test_ranges() -> None:
    out = np.empty(5, np.int32)
    list_ranges(read_only(np.array([3, 7, 9], np.int32)), read_only(np.array([5, 7, 12], np.int32)), out)
    assert out.tolist() == [3, 4, 9, 10, 11]


@pytest.mark.parametrize("kernel", WITNESS, ids=lambda kernel: kernel.__name__)
def test_merging_keeps_what_is_no_number(kernel) -> None:
    odd = np.array([1.5, -2.0, 0.0, np.nan, np.inf, -np.inf, 3e38], np.float32)
    before, partial = (grid.reshape(-1, 7).astype(np.float32) for grid in np.meshgrid(odd, odd))
    out = np.vstack([np.full((1, 7), 9, np.float32), before])  # row 0 is not among those merged
    rows = np.arange(7, 0, -1, dtype=np.int32)
    kernel(read_only(rows), read_only(partial), out)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out[rows], WITNESS[kernel](before[::-1], partial))
    assert (out[0] == 9).all()
