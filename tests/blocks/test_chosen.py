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
    asked = [-7.0, 1.0, 2.0, 2.5]
    found = by_number(tile(edges), "kind", asked, ["w"])
    for place, number in enumerate(asked):
        part = found.part(place, place + 1)
        assert edges_of(part) == [(row, column, 2 * own + 1) for row, column, own in edges if own == number]
        assert list(part.values) == ["w"]
    assert not found.part(1, 2).edges, "nothing of a number that no edge has"
    assert len(found.indices) == sum(own in asked for _, _, own in edges), "nor of one that nobody asks for"
    several = [edge for number in (1.0, 2.0, 2.5) for edge in edges if edge[2] == number]
    assert edges_of(found.part(1, 4)) == [(row, column, 2 * own + 1) for row, column, own in several]


def test_no_edge_has_the_number() -> None:
    found = by_number(tile([(0, 1, 3.0), (0, 2, 3.0)]), "kind", [1.0, 5.0])
    assert [found.part(*ends).edges for ends in ((0, 1), (1, 2), (0, 2))] == [0, 0, 0]


ASKED = {
    "whole numbers": [0.0, 1.0, 2.0, 5.0], "others": [-0.5, 0.25, 3.0], "far apart": [-(2.0**30), 0.0, 2.0**30],
    "beyond integers": [1e10, 1e38], "one": [-0.0], "none": [], "infinite": [1.0, np.inf], "-inf": [-np.inf, 2.0],
    "not a number": [1.0, np.nan], "wide": [-1e38, 1e38], "many": [float(number) for number in range(-60_000, 5000, 3)],
    "too many": [0.0, 65_535.0, 65_536.0], "just so many": [0.0, 65_535.0],
}  # fmt: skip
# 1e-6 is 60000 after -60000 in float32
FOUND = [0.0, -0.0, 1.0, 2.0, 0.5, -0.5, 1e-6, -1e-6, 1e10, 1e38, 2.0**30, -60_000.0, 65_535.0, 65_536.0,
         np.inf, -np.inf, np.nan, 3.0]  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_any_numbers(name: str) -> None:
    rng = np.random.default_rng(3)
    edges = [(int(row), place, float(number)) for place, (row, number) in enumerate(
        zip(np.sort(rng.integers(0, 5, 90)), rng.choice(FOUND, 90), strict=True))]  # fmt: skip
    numbers = [float(np.float32(number)) for number in ASKED[name]]
    found = by_number(tile(edges), "kind", numbers, ["w"])
    for place, number in enumerate(numbers):
        part = found.part(place, place + 1)
        want = [(row, column) for row, column, own in edges if np.float32(own) == np.float32(number)]
        assert [(row, column) for row, column, _ in edges_of(part)] == want
        assert (np.diff(part.rows) > 0).all()
