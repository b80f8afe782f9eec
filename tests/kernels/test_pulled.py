"""Which edges are pulled, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.kernels.jit import read_only
from pipeline.kernels.pulled import list_ranges, pulled_first


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
