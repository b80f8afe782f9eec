"""Several small tiles as one: what is done for each tile is done once for all of them.

Comes in: stacked tiles, and where each finds what it reads in a payload of all. Goes out: one tile, whose rows follow
one another tile by tile, so that a node may have several. Knows nothing of what is read over the edges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pipeline.blocks.block import IntArray, LongArray, Tile
from pipeline.blocks.stacked import StackedTiles
from pipeline.kernels.jit import read_only
from pipeline.kernels.pulled import put_together


class Together(NamedTuple):
    """Some edges of several tiles."""

    tile: Tile
    row_ends: LongArray
    """(k + 1,): the tile's rows row_ends[t] .. row_ends[t + 1] are those of the t-th of the tiles."""
    wrong: int | None
    """The first of the tiles that reads beyond its part of the payload."""

    def numbered(self) -> Tile:
        """The tile with rows 0, 1, 2, …"""
        return dataclasses.replace(self.tile, rows=np.arange(len(self.tile.rows), dtype=np.int32))


def together(
    tiles: StackedTiles, bases: LongArray, pulled: bool = True, pushed: bool = True, names: Iterable[str] = ()
) -> Together:
    """The pulled edges, the others, or all, with their values of `names`. Column c of tile t becomes bases[t] + c, and
    should lie below bases[t + 1]."""
    count, length = len(tiles.indices), len(tiles.rows)
    row_ends = np.empty(len(tiles) + 1, np.int64)
    rows, ends = np.empty(length, np.int32), np.empty(length + 1, np.int32)
    edges, columns = np.empty(count, np.int32), np.empty(count, np.int32)
    middles = tiles.indices[:0] if tiles.middles is None else tiles.middles
    heads, of_rows, bases = read_only(tiles.heads), read_only(tiles.rows), read_only(bases)
    indptr, indices, middles = read_only(tiles.indptr), read_only(tiles.indices), read_only(middles)
    asked = heads, of_rows, indptr, indices, middles, bases, pulled, pushed
    wrong = put_together(*asked, row_ends, rows, ends, edges, columns)
    there = int(row_ends[-1])
    some: IntArray = edges[: ends[there]]
    values = {name: tiles.columns[name].take(some, axis=0) for name in names}
    tile = Tile(rows[:there], ends[: there + 1], columns[: len(some)], values, int(bases[-1]))
    return Together(tile, row_ends, None if wrong < 0 else wrong)
