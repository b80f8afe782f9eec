"""How partial results are merged, against plain NumPy; every distributive reduction is here."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.compiler.merging import merge_function
from pipeline.formula import Relation, node_input
from pipeline.formula.reductions import REDUCTIONS
from pipeline.kernels.jit import read_only
from tests.reductions import CASES

DISTRIBUTIVE = [name for name, record in REDUCTIONS.items() if record.is_distributive]


@pytest.mark.parametrize("name", DISTRIBUTIVE)
def test_merging_keeps_what_is_no_number(name: str) -> None:
    """Two partial results of each node, each of one message, of all pairs of odd numbers; node 0 is not among those
    merged."""
    record, g = REDUCTIONS[name], Relation()
    value = CASES[name].reduction(name, g.src(node_input("x", (7,))))
    odd = np.array([1.5, -2.0, 0.0, np.nan, np.inf, -np.inf, 3e38], np.float32)
    messages = [grid.reshape(-1, 7).astype(np.float64) for grid in np.meshgrid(odd, odd)]
    with np.errstate(all="ignore"):
        parts = [CASES[name].witness(message[None]).astype(np.float32) for message in messages]
    states = record.start(8, value)
    rows = np.arange(7, 0, -1, dtype=np.int32)
    for part in parts:
        merge_function(record)(read_only(rows), read_only(part), *states.values())
    with np.errstate(all="ignore"):
        got = record.result(states, value)
        want = CASES[name].witness(np.stack(messages)).astype(np.float32)
    np.testing.assert_allclose(got[rows], want, rtol=1e-6)
    np.testing.assert_array_equal(got[0], np.full(7, CASES[name].empty))
