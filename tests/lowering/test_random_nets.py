"""Random nets of one and of several types: whatever planning makes of them, they give the same numbers, in float64."""

from __future__ import annotations

import pytest

from pipeline.pyg.as_run import check_as_run
from tests.lowering.nets import Net

SEEDS = 150


def checked(net: Net) -> None:
    check_as_run(net.program, net.weights, [net.graph])


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_no_rewrite_changes_a_number(first: int) -> None:
    for seed in range(first, first + 10):
        try:
            checked(Net(seed))
        except Exception as error:
            raise AssertionError(f"net {seed}: {error}") from error
