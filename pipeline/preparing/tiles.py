"""Edges are sorted into tiles: keys of one block's nodes and edges become local indices, tiles and requests.

Comes in: 64-bit keys and float32 values, in no order. Goes out: the arrays of blocks/block.py, in an order that
depends on nothing but them. Knows nothing of rows, files, Spark, or of the other blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import LOOPS, FloatArray, IntArray, LongArray, Tile
from pipeline.blocks.tile_edges import edges_between, some_edges
from pipeline.kernels.hash import positions
from pipeline.kernels.jit import read_only
from pipeline.kernels.pulled import pulled_first
from pipeline.kernels.sort import group, merge, order_ties


class Edges(NamedTuple):
    """Edges into one block, by their keys; values side by side, (e, lanes) float32."""

    dst: LongArray
    src: LongArray
    values: FloatArray
    turned: npt.NDArray[np.bool_] | None = None
    """Of undirected edges: which are copies against the direction in the table."""

    def where(self, chosen: npt.NDArray[np.bool_]) -> Edges:
        if chosen.all():
            return self
        turned = None if self.turned is None else self.turned[chosen]
        return Edges(self.dst[chosen], self.src[chosen], self.values[chosen], turned)


class Made(NamedTuple):
    """A tile as it is made of edges."""

    source: int
    """Block, or LOOPS."""
    tile: Tile
    wanted: LongArray | IntArray
    """What the tile asks of its source: the distinct src keys, ascending; of LOOPS the local indices."""
    both_ways: IntArray | None = None
    """Of undirected edges, for each column: how many edges of the table have their reverse in it too."""


def make_tiles(
    dst: IntArray, edges: Edges, source: IntArray, nodes: int, blocks: int, loops: bool = True
) -> Iterator[Made]:
    """All edges into a block as tiles.

    `dst` are the local indices of edges.dst, `source` the blocks of edges.src. Tiles come by ascending source, those
    without edges not at all, and carry all values as one matrix named "". `loops`: equal keys are the same node; of
    edges between two types they are not.
    """
    by_dst = sort_by(dst, np.arange(len(dst), dtype=np.int32), nodes)[1]
    source = source + 1
    if loops:
        source[edges.src == edges.dst] = 0  # LOOPS come first, as their number does
    offsets, order = sort_by(source, by_dst, blocks + 1)
    for code in range(blocks + 1):
        chosen = order[offsets[code] : offsets[code + 1]]
        if len(chosen):
            yield Made(LOOPS, *_loops(dst, edges, chosen)) if code == 0 else Made(code - 1, *_tile(dst, edges, chosen))


def sort_by(codes: IntArray, before: IntArray, buckets: int) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Offsets of the buckets, and the order of the items `before`, stably by their codes."""
    offsets = np.empty(buckets + 1, np.int64)
    order = np.empty(len(before), np.int32)
    group(codes, before, offsets, order)
    return offsets, order


def _tile(dst: IntArray, edges: Edges, chosen: IntArray) -> tuple[Tile, LongArray, IntArray | None]:
    """The edges `chosen`, whose dst are ascending, by (dst, src, values); of them, those that are there both ways."""
    here, src = dst[chosen], edges.src[chosen]
    wanted = distinct(np.sort(src))  # sorting all keys with SIMD beats a hash table of the distinct ones
    column = positions(src, wanted)
    starts, row = _runs(here)
    # by column first, then stably by row: each pass is linear in the tile's edges, whatever a node's degree
    order = sort_by(column, np.arange(len(here), dtype=np.int32), len(wanted))[1]
    order = sort_by(row, order, len(starts))[1]
    columns = column[order]
    offsets = np.append(starts, len(here)).astype(np.int32)
    tile = Tile(here[starts], offsets, columns, _values(row, columns, edges, chosen[order]), len(wanted))
    both = None if edges.turned is None else _both_ways(row, columns, edges.turned[chosen[order]], len(wanted))
    return tile, wanted, both


def _both_ways(row: IntArray, column: IntArray, turned: npt.NDArray[np.bool_], columns: int) -> IntArray:
    """For each column, the edges of the table that lie at the same place as a turned one."""
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (column[1:] != column[:-1])
    starts = np.flatnonzero(new)
    copies = np.add.reduceat(turned, starts, dtype=np.int32)
    given = np.diff(np.append(starts, len(row))) - copies
    return np.bincount(column[starts], np.where(copies > 0, given, 0), columns).astype(np.int32)


def _loops(dst: IntArray, edges: Edges, chosen: IntArray) -> tuple[Tile, IntArray]:
    """Self-loops: the payload has the very rows that the tile has."""
    here = dst[chosen]
    starts, row = _runs(here)
    rows = here[starts]
    offsets = np.append(starts, len(here)).astype(np.int32)
    return Tile(rows, offsets, row, _values(row, row, edges, chosen), len(rows)), rows


def _values(row: IntArray, column: IntArray, edges: Edges, order: IntArray) -> dict[str, FloatArray]:
    """The values of a tile's edges, moved once: of edge e, in row[e] and column[e], those of order[e]."""
    if edges.values.shape[1]:
        order = order.copy()
        order_ties(row, column, edges.values.view(np.uint32), order)
    # of eight lanes in a quarter of the time that values[order] takes
    return {"": edges.values.take(order, axis=0)}


def _runs(ascending: IntArray) -> tuple[npt.NDArray[np.intp], IntArray]:
    """Where each run of equal items starts, and for each item the number of its run."""
    new = np.ones(len(ascending), bool)
    new[1:] = ascending[1:] != ascending[:-1]
    return np.flatnonzero(new), (np.cumsum(new) - 1).astype(np.int32)


def distinct(ascending: LongArray) -> LongArray:
    new = np.ones(len(ascending), bool)
    new[1:] = ascending[1:] != ascending[:-1]
    return ascending[new]


def by_block(keys: LongArray, block: IntArray) -> Iterator[tuple[int, LongArray]]:
    """The keys of each block that has some; `block`: of each key."""
    for index in np.unique(block).tolist():
        yield index, keys[block == index]


def answer(keys: LongArray, wanted: LongArray) -> tuple[IntArray, LongArray]:
    """A request for ascending keys: local indices of those that are here, and the positions of those that are not."""
    found = np.empty(len(wanted), np.int32)
    merge(wanted, keys, found)
    return found[found >= 0], np.flatnonzero(found < 0)


def without_columns(tile: Tile, missing: LongArray) -> Tile | None:
    """The tile without the edges from some rows of its payload, which have gone from the payload too."""
    kept = np.ones(tile.senders, bool)
    kept[missing] = False
    edges = kept[tile.indices]
    if not edges.any():
        return None
    degree = np.add.reduceat(edges, tile.indptr[:-1], dtype=np.int32)  # no row of a tile is empty
    place = (np.cumsum(kept) - 1).astype(np.int32)
    return some_edges(tile, np.flatnonzero(edges).astype(np.int32), degree, place, int(kept.sum()))


class Cut(NamedTuple):
    """A tile whose edges are sorted by what an exchange may do with them, see Block."""

    tile: Tile
    """All edges, with `middles` if some may be pushed."""
    pushed: Tile | None
    """Those that may be pushed; the columns are those of `tile`."""
    first: LongArray
    """The src keys of pulled edges, ascending: the first rows of the payload."""
    then: LongArray
    """The others', ascending."""


def cut(tile: Tile, wanted: LongArray) -> Cut:
    """Pulled edges first in each row, and first in the payload; `wanted`: the keys of the columns, ascending.

    Pulled edges, and the others, stay in the order of the keys.
    """
    first = np.zeros(tile.senders, np.bool_)
    middles, order = np.empty(len(tile.rows), np.int32), np.empty(tile.edges, np.int32)
    pulled_first(read_only(tile.indptr), read_only(tile.indices), first, middles, order)
    if (middles == tile.indptr[1:]).all():
        return Cut(tile, None, wanted, wanted[:0])
    count = int(np.count_nonzero(first))
    place = np.empty(tile.senders, np.int32)
    place[first] = np.arange(count, dtype=np.int32)
    place[~first] = np.arange(count, tile.senders, dtype=np.int32)
    values = {name: matrix.take(order, axis=0) for name, matrix in tile.values.items()}
    whole = Tile(tile.rows, tile.indptr, place[tile.indices[order]], values, tile.senders, middles)
    return Cut(whole, edges_between(whole, middles, tile.indptr[1:]), wanted[first], wanted[~first])
