"""Stacked tiles: a mapping of tiles that are views of a few arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.blocks.block import LOOPS, Tile
from pipeline.blocks.stacked import StackedTiles, ends_of, indptr_of
from pipeline.kernels.pulled import pulled_first, pulled_first_each
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.schema import EDGE
from tests.graphs import GRAPHS

PARTS = ("rows", "indptr", "indices", "middles")


def tiles_of(name: str) -> list[dict[int, Tile]]:
    graph = GRAPHS[name]()
    blocks = blocks_from_tables(graph.nodes, graph.edges, 3, edge_features=["attr", "weight"])
    return [dict(block.tiles[EDGE].items()) for block in blocks if block.tiles[EDGE]]


def same(one: Tile, other: Tile) -> bool:
    arrays = [(getattr(one, part), getattr(other, part)) for part in PARTS]
    arrays += [(one.values[name], other.values[name]) for name in one.values.keys() | other.values.keys()]
    return one.senders == other.senders and all(
        (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in arrays
    )


@pytest.mark.parametrize("name", ["mixed", "self_loops", "hub", "parallel"])
def test_tiles_are_what_they_were(name: str) -> None:
    for tiles in tiles_of(name):
        stacked = StackedTiles.of(dict(reversed(tiles.items())))
        assert list(stacked) == sorted(tiles)
        assert len(stacked) == len(tiles)
        assert all(same(stacked[source], tile) for source, tile in tiles.items())
        assert all(same(tile, tiles[source]) for source, tile in stacked.items())
        assert len(list(stacked.values())) == len(tiles), "a mapping's own values, not those of edges"
        assert 99 not in stacked
        assert StackedTiles.of(stacked) is stacked
        assert stacked.degrees.tolist() == [d for tile in stacked.values() for d in np.diff(tile.indptr)]
        assert np.array_equal(indptr_of(stacked.degrees, stacked.row_ends), stacked.indptr)
        assert all(np.shares_memory(stacked[source].indices, stacked.indices) for source in stacked)


def test_no_tiles() -> None:
    stacked = StackedTiles.of({})
    assert (list(stacked), len(stacked), len(stacked.degrees)) == ([], 0, 0)
    assert ends_of(stacked.heads[:, 1]).tolist() == [0]


@pytest.mark.parametrize("name", ["mixed", "self_loops", "hub"])
def test_what_is_pulled_of_all_tiles_is_what_is_pulled_of_each(name: str) -> None:
    for tiles in tiles_of(name):
        stacked = StackedTiles.of({source: dataclasses.replace(tile, middles=None) for source, tile in tiles.items()})
        middles, order = np.empty(len(stacked.rows), np.int32), np.empty(len(stacked.indices), np.int32)
        place, counts = np.empty(stacked.sender_ends[-1], np.int32), np.empty(len(stacked), np.int32)
        pulled_first_each(stacked.heads, stacked.indptr, stacked.indices, middles, order, place, counts)
        for at, (source, tile) in enumerate(stacked.items()):
            row, edge, column = (ends[at] for ends in (stacked.row_ends, stacked.edge_ends, stacked.sender_ends))
            first = np.full(tile.senders, source == LOOPS)
            of_tile, its = tile.indptr[1:].copy(), np.arange(tile.edges, dtype=np.int32)
            if source != LOOPS:
                pulled_first(tile.indptr, tile.indices, first, of_tile, its)
            assert middles[row : row + len(tile.rows)].tolist() == of_tile.tolist()
            assert (order[edge : edge + tile.edges] - edge).tolist() == its.tolist()
            assert counts[at] == first.sum()
            wanted = np.argsort(~first, kind="stable")
            assert place[column : column + tile.senders][wanted].tolist() == list(range(tile.senders))
