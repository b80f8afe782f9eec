"""How partial results are merged, against plain NumPy; every distributive reduction is here."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compiler.merging import merge_function
from pipeline.formula.reductions import REDUCTIONS, SEEN
from pipeline.kernels.jit import read_only

WITNESS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
DISTRIBUTIVE = [name for name, record in REDUCTIONS.items() if record.is_distributive]


@pytest.mark.parametrize("name", DISTRIBUTIVE)
def test_merging_keeps_what_is_no_number(name: str) -> None:
    record = REDUCTIONS[name]
    odd = np.array([1.5, -2.0, 0.0, np.nan, np.inf, -np.inf, 3e38], np.float32)
    before, partial = (grid.reshape(-1, 7).astype(np.float32) for grid in np.meshgrid(odd, odd))
    out = np.vstack([np.full((1, 7), 9, np.float32), before])  # row 0 is not among those merged
    seen = np.zeros(8, bool)
    rows = np.arange(7, 0, -1, dtype=np.int32)
    marks = [seen] if SEEN in record.state else []
    merge_function(record)(read_only(rows), read_only(partial), out, *marks)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(out[rows], WITNESS[name](before[::-1], partial))
    assert (out[0] == 9).all()
    assert seen.tolist() == [False, *[bool(marks)] * 7]
