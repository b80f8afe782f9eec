"""Some of the edges of a tile, as a tile: those that are pulled, and those that are pushed, see Block.

Comes in: a tile. Goes out: another one, whose edges keep their order. Knows nothing of what is read over them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from pipeline.blocks.block import IntArray, Tile
from pipeline.kernels.jit import read_only
from pipeline.kernels.pulled import list_ranges


def pulled_edges(tile: Tile, names: Iterable[str] = ()) -> Tile | None:
    """The pulled edges of a tile, with some of their values; None if there are none."""
    if tile.middles is None:
        return tile
    some = dataclasses.replace(tile, values={name: tile.values[name] for name in names})
    return edges_between(some, tile.indptr[:-1], tile.middles)


def pushed_edges(tile: Tile, names: Iterable[str] = ()) -> Tile:
    """The edges of a tile that are not, with some of their values; row j is that of pushed_rows(tile)[j]."""
    assert tile.middles is not None, "some edges may be pushed"
    some = dataclasses.replace(tile, values={name: tile.values[name] for name in names})
    rest = edges_between(some, tile.middles, tile.indptr[1:])
    assert rest is not None
    return dataclasses.replace(rest, rows=np.arange(len(rest.rows), dtype=np.int32))


def pushed_rows(tile: Tile) -> IntArray:
    """The rows that have edges that are not: row j of the partial results is of pushed_rows(tile)[j]."""
    return tile.rows[:0] if tile.middles is None else tile.rows[tile.middles < tile.indptr[1:]]


def edges_between(tile: Tile, starts: IntArray, ends: IntArray) -> Tile | None:
    """The edges starts[j] .. ends[j] of each row."""
    degree = ends - starts
    edges = np.empty(int(degree.sum()), np.int32)
    list_ranges(read_only(starts), read_only(ends), edges)
    return some_edges(tile, edges, degree, None, tile.senders) if len(edges) else None


def some_edges(tile: Tile, edges: IntArray, degree: IntArray, place: IntArray | None, senders: int) -> Tile:
    """Some edges of a tile, of which its rows have `degree`; column c becomes place[c]."""
    rows = degree > 0
    columns = tile.indices[edges]
    return Tile(
        tile.rows[rows],
        np.concatenate([[0], np.cumsum(degree[rows])]).astype(np.int32),
        columns if place is None else place[columns],
        {name: values.take(edges, axis=0) for name, values in tile.values.items()},
        senders,
    )
