"""The edges of a tile by a number of theirs, against a plain loop over them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.blocks.block import Tile
from pipeline.blocks.chosen import by_number


def tile(edges: list[tuple[int, int, float]]) -> Tile:
    """(row, column, number) of each edge, ascending by row."""
    rows, counts = np.unique([row for row, _, _ in edges], return_counts=True)
    numbers = np.array([[number] for _, _, number in edges], np.float32).reshape(-1, 1)
    return Tile(
        rows.astype(np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        np.array([column for _, column, _ in edges], np.int32),
        {"kind": numbers, "w": numbers * 2 + 1},
        10,
    )


def edges_of(part: Tile) -> list[tuple[int, int, float]]:
    rows = np.repeat(part.rows, np.diff(part.indptr)).tolist()
    return list(zip(rows, part.indices.tolist(), part.values["w"][:, 0].tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_each_number_has_its_edges_in_their_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(0, 12, 60)).tolist()
    numbers = rng.choice([0.0, 2.0, 2.5, np.nan, -7.0], 60).tolist()
    edges = list(zip(rows, rng.integers(0, 10, 60).tolist(), numbers, strict=True))
    found = by_number(tile(edges), "kind", [-7.0, 1.0, 2.0, 2.5], ["w"])
    for number in (-7.0, 2.0, 2.5):
        expected = [(row, column, 2 * own + 1) for row, column, own in edges if own == number]
        assert edges_of(found[number]) == expected
        assert list(found[number].values) == ["w"]
    assert found.keys() == {-7.0, 2.0, 2.5}, "nothing of a number that no edge has, or that nobody asks for"


def test_no_edge_has_the_number() -> None:
    assert by_number(tile([(0, 1, 3.0), (0, 2, 3.0)]), "kind", [1.0, 5.0]) == {}
