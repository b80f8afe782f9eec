"""Tiles put together, against each tile by itself."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.blocks.stacked import StackedTiles, ends_of, groups_of
from pipeline.blocks.tile_edges import pulled_edges, pushed_edges, pushed_rows
from pipeline.blocks.together import together
from tests.blocks.test_stacked import tiles_of


@pytest.mark.parametrize("name", ["mixed", "self_loops", "hub", "parallel"])
@pytest.mark.parametrize("part", ["all", "pulled", "pushed"])
def test_the_rows_of_each_tile_follow_one_another(name: str, part: str) -> None:
    for tiles in tiles_of(name):
        stacked = StackedTiles.of(tiles)
        bases = ends_of(stacked.heads[:, 3] + 2)
        found = together(stacked, bases, part != "pushed", part != "pulled", ["weight"])
        rows, degrees, columns, values = [], [], [], []
        row_ends = [0]
        for base, tile in zip(bases.tolist(), stacked.values(), strict=False):
            its = tile if part == "all" else pulled_edges(tile, ["weight"])
            if part == "pushed":
                its = None if tile.middles is None else pushed_edges(tile, ["weight"])
            if its is not None:
                rows += (pushed_rows(tile) if part == "pushed" else its.rows).tolist()
                degrees += np.diff(its.indptr).tolist()
                columns += (its.indices + base).tolist()
                values += its.values["weight"].tolist()
            row_ends.append(len(rows))
        assert found.wrong is None
        assert found.row_ends.tolist() == row_ends
        assert found.tile.rows.tolist() == rows
        assert np.diff(found.tile.indptr).tolist() == degrees
        assert found.tile.indices.tolist() == columns
        assert found.tile.values["weight"].tolist() == values
        assert found.numbered().rows.tolist() == list(range(len(rows)))


def test_who_reads_beyond_its_part_is_told() -> None:
    stacked = StackedTiles.of(tiles_of("mixed")[0])
    lengths = stacked.heads[:, 3].copy()
    assert together(stacked, ends_of(lengths)).wrong is None
    lengths[1] -= 1
    assert together(stacked, ends_of(lengths)).wrong == 1


@pytest.mark.parametrize("name", ["mixed", "hub"])
def test_a_part_of_the_tiles(name: str) -> None:
    for tiles in tiles_of(name):
        stacked = StackedTiles.of(tiles)
        for first in range(len(stacked)):
            for last in range(first, len(stacked) + 1):
                part = stacked.part(first, last)
                assert list(part) == sorted(tiles)[first:last]
                for source, tile in part.items():
                    assert tile.indices.tolist() == tiles[source].indices.tolist()
                    assert tile.indptr.tolist() == tiles[source].indptr.tolist()
                    assert tile.values["attr"].tolist() == tiles[source].values["attr"].tolist()
                    middles = tiles[source].middles
                    assert (tile.middles is None) == (middles is None)
                    assert middles is None or tile.middles.tolist() == middles.tolist()


def test_groups() -> None:
    def groups(sizes: list[int], first: int = 0) -> list[tuple[int, int]]:
        return list(groups_of(ends_of(np.array(sizes, np.int64)), 10, first))

    assert groups([]) == []
    assert groups([99]) == [(0, 1)]
    assert groups([4, 6, 1, 10, 11, 0, 3]) == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 7)]
    assert groups([4, 6, 1], 1) == [(1, 3)]
    assert groups([4], 1) == []
