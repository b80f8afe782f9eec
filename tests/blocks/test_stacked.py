"""Stacked tiles: a mapping of tiles that are views of a few arrays."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipeline.blocks.block import LOOPS, Tile
from pipeline.blocks.stacked import StackedTiles, ends_of, indptr_of
from pipeline.kernels.pulled import cut_each, pulled_first
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
        edges, rows, senders = len(stacked.indices), len(stacked.rows), int(stacked.sender_ends[-1])
        middles, order, columns = (np.empty(size, np.int32) for size in (rows, edges, edges))
        loops = stacked[LOOPS].senders if LOOPS in stacked else 0
        asked = np.arange(senders - loops, dtype=np.int64)
        keys, counts, pushed_rows = np.empty_like(asked), np.empty(len(stacked), np.int32), np.empty(len(stacked), int)
        degrees, pushed = np.empty(rows, np.int32), np.empty(edges, np.int32)
        made = (middles, order, columns, keys, counts, pushed_rows, degrees, pushed)
        some, count = cut_each(stacked.heads, stacked.indptr, stacked.indices, asked, *made)
        rest: list[tuple[int, list[int]]] = []
        for at, (source, tile) in enumerate(stacked.items()):
            row, edge, column = (ends[at] for ends in (stacked.row_ends, stacked.edge_ends, stacked.sender_ends))
            first = np.full(tile.senders, source == LOOPS)
            of_tile, its = tile.indptr[1:].copy(), np.arange(tile.edges, dtype=np.int32)
            if source != LOOPS:
                pulled_first(tile.indptr, tile.indices, first, of_tile, its)
                wanted = np.argsort(~first, kind="stable")
                assert (
                    keys[column - loops : column - loops + tile.senders].tolist() == (column - loops + wanted).tolist()
                )
                assert wanted[columns[edge : edge + tile.edges]].tolist() == tile.indices[its].tolist()
            assert middles[row : row + len(tile.rows)].tolist() == of_tile.tolist()
            assert (order[edge : edge + tile.edges] - edge).tolist() == its.tolist()
            assert counts[at] == first.sum()
            ends = zip(of_tile.tolist(), tile.indptr[1:].tolist(), strict=True)
            here = [list(range(edge + low, edge + high)) for low, high in ends if low < high]
            assert pushed_rows[at] == len(here)
            rest += [(len(each), each) for each in here]
        assert degrees[:some].tolist() == [length for length, _ in rest]
        assert pushed[:count].tolist() == [one for _, each in rest for one in each]
