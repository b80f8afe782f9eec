"""Edges are sorted into tiles: keys of one block's nodes and edges become local indices, tiles and requests.

Comes in: 64-bit keys and float32 values, in no order. Goes out: the arrays of blocks/block.py, in an order that
depends on nothing but them. Knows nothing of rows, files, Spark, or of the other blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import FloatArray, IntArray, LongArray, Tile
from pipeline.blocks.stacked import HEAD, StackedTiles, ends_of, groups_of, indptr_of
from pipeline.blocks.tile_edges import some_edges
from pipeline.kernels.cells import cells_of, rows_of
from pipeline.kernels.hash import positions
from pipeline.kernels.jit import read_only
from pipeline.kernels.pulled import cut_each
from pipeline.kernels.sort import count_codes, group, merge, order_ties, spread, spread_pairs


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
    """Tiles as they are made of edges."""

    tiles: StackedTiles
    """All values are one matrix named ""."""
    wanted: LongArray
    """What the tiles ask of their sources, one behind another: the distinct src keys of each, ascending. LOOPS asks
    nothing."""
    both_ways: IntArray | None = None
    """Of undirected edges, for each key: how many edges of the table have their reverse in it too."""


GROUP_EDGES = 1 << 16
"""Of small tiles that are made together: fewer would cost more calls than work, more would leave the cache. A cell of
so many tiles, columns, and of 2^31 rows has 63 bits."""


def make_tiles(dst: IntArray, edges: Edges, source: IntArray, nodes: int, blocks: int, loops: bool = True) -> Made:
    """All edges into a block as tiles.

    `dst` are the local indices of edges.dst, below `nodes`; `source` the blocks of edges.src. `loops`: equal keys are
    the same node; of edges between two types they are not.
    """
    code = source + 1
    if loops:
        code[edges.src == edges.dst] = 0  # LOOPS come first, as their number does
    offsets = np.empty(blocks + 2, np.int64)
    count_codes(read_only(code), offsets)
    by_tile = _by_tile(code, offsets, dst, edges)
    codes = np.flatnonzero(np.diff(offsets))
    ends = np.append(offsets[codes], len(dst))
    indices = np.empty(len(dst), np.int32)
    values = np.empty((len(dst), edges.values.shape[1]), np.float32)
    row_bits = max(nodes - 1, 0).bit_length()
    parts: list[_Part] = []
    alone = int(len(codes) > 0 and codes[0] == 0)  # LOOPS
    for first, last in [*[(0, 1)] * alone, *groups_of(ends, GROUP_EDGES, alone)]:
        own = slice(ends[first], ends[last])
        bounds = ends[first : last + 1] - ends[first]
        make = _loops if codes[first] == 0 else _tiles
        parts.append(make(by_tile.part(own), edges, bounds, row_bits, indices[own], values[own]))
    heads = np.zeros((len(codes), HEAD), np.int32)
    heads[:, 0] = codes - 1
    heads[:, 2] = np.diff(ends)
    heads[:, 1] = _joined([part.tile_rows for part in parts], np.int64)
    heads[:, 3] = _joined([part.senders for part in parts], np.int64)
    tiles = StackedTiles(
        heads,
        _joined([part.rows for part in parts], np.int32),
        indptr_of(_joined([part.degrees for part in parts], np.int32), ends_of(heads[:, 1])),
        indices,
        {"": values},
    )
    both = None if edges.turned is None else _joined([part.both_ways for part in parts], np.int32)
    return Made(tiles, _joined([part.wanted for part in parts], np.int64), both)


class Sorted(NamedTuple):
    """Edges, one tile behind another."""

    dst: IntArray
    """Local indices."""
    src: LongArray
    """Keys."""
    number: IntArray | None
    """Which of the block's edges each is, if somebody asks for more of it."""

    def part(self, some: slice) -> Sorted:
        return Sorted(self.dst[some], self.src[some], None if self.number is None else self.number[some])


def _by_tile(code: IntArray, offsets: LongArray, dst: IntArray, edges: Edges) -> Sorted:
    """`code`: of each edge the tile, which has the places offsets[code] .. offsets[code + 1]."""
    made = Sorted(np.empty_like(dst), np.empty(len(dst), np.int64), None)
    given = read_only(code), read_only(offsets)
    spread_pairs(*given, read_only(dst), read_only(edges.src), made.dst, made.src)
    if not edges.values.shape[1] and edges.turned is None:
        return made
    number = np.empty(len(dst), np.int32)
    spread(*given, read_only(np.arange(len(dst), dtype=np.int32)), number)
    return made._replace(number=number)


def sort_by(codes: IntArray, before: IntArray, buckets: int) -> tuple[npt.NDArray[np.int64], IntArray]:
    """Offsets of the buckets, and the order of the items `before`, stably by their codes."""
    offsets = np.empty(buckets + 1, np.int64)
    order = np.empty(len(before), np.int32)
    group(codes, before, offsets, order)
    return offsets, order


class _Part(NamedTuple):
    """What a group of tiles is, but for indices and values."""

    tile_rows: npt.NDArray[np.int64]
    """Rows of each tile."""
    senders: npt.NDArray[np.int64]
    """Columns of each tile."""
    rows: IntArray
    degrees: IntArray
    """Edges of each row."""
    wanted: LongArray
    both_ways: IntArray


def _tiles(
    here: Sorted, edges: Edges, bounds: LongArray, row_bits: int, indices: IntArray, values: FloatArray
) -> _Part:
    """Some tiles, their edges in the order of (dst, src, values). Tile t has those from bounds[t] to bounds[t + 1];
    `indices` and `values` are filled."""
    keys = distinct(np.sort(here.src))  # sorting all keys with SIMD beats a hash table of the distinct ones
    column = positions(here.src, keys)
    tiles = len(bounds) - 1
    if tiles == 1:
        wanted, ends = keys, np.array([0, len(keys)])
    else:
        of_key = np.empty(len(keys), np.int32)
        of_key[column] = np.repeat(np.arange(tiles, dtype=np.int32), np.diff(bounds))  # a node's edges are in one tile
        ends, order = sort_by(of_key, np.arange(len(keys), dtype=np.int32), tiles)
        place = np.empty(len(keys), np.int32)
        place[order] = np.arange(len(keys), dtype=np.int32)
        column, wanted = place[column], keys[order]
    column_bits = (len(keys) - 1).bit_length()
    cells, number = _sorted_cells(here, bounds, column, row_bits, column_bits)
    _put_values(cells, edges, number, values)
    both = np.empty(0, np.int32)
    if edges.turned is not None and number is not None:
        both = _both_ways(cells, edges.turned[number], column_bits, len(wanted))
    tile_rows, rows, degrees = _rows(bounds, cells, row_bits, column_bits, ends, indices)
    return _Part(tile_rows, np.diff(ends), rows, degrees, wanted, both)


def _sorted_cells(
    here: Sorted, bounds: LongArray, column: IntArray, row_bits: int, column_bits: int
) -> tuple[LongArray, IntArray | None]:
    """The cells of the edges, ascending, and the number of each, if they have numbers."""
    cells = np.empty(len(here.dst), np.int64)
    cells_of(read_only(bounds), read_only(here.dst), read_only(column), row_bits, column_bits, cells)
    if here.number is None:
        cells.sort()
        return cells, None
    order = np.argsort(cells)  # of equal cells in any order: what tells them apart is sorted by in order_ties
    return cells[order], here.number[order]


def _rows(
    bounds: LongArray, cells: LongArray, row_bits: int, column_bits: int, ends: LongArray, indices: IntArray
) -> tuple[LongArray, IntArray, IntArray]:
    """How many rows each tile has, the rows, and their degrees; `indices` are filled."""
    tile_rows = np.empty(len(bounds) - 1, np.int64)
    rows, degrees = np.empty(len(cells), np.int32), np.empty(len(cells), np.int32)
    given = (read_only(bounds), read_only(cells), row_bits, column_bits, read_only(ends))
    count = rows_of(*given, indices, rows, degrees, tile_rows)
    return tile_rows, rows[:count].copy(), degrees[:count].copy()


def _both_ways(cells: LongArray, turned: npt.NDArray[np.bool_], column_bits: int, columns: int) -> IntArray:
    """For each column, the edges of the table that lie at the same place as a turned one."""
    new = np.ones(len(cells), bool)
    new[1:] = cells[1:] != cells[:-1]
    starts = np.flatnonzero(new)
    copies = np.add.reduceat(turned, starts, dtype=np.int32)
    given = np.diff(np.append(starts, len(cells))) - copies
    column = cells[starts] & ((1 << column_bits) - 1)
    return np.bincount(column, np.where(copies > 0, given, 0), columns).astype(np.int32)


def _loops(
    here: Sorted, edges: Edges, bounds: LongArray, row_bits: int, indices: IntArray, values: FloatArray
) -> _Part:
    """Self-loops: the payload has the very rows that the tile has."""
    nothing = np.zeros(len(here.dst), np.int32)
    cells, number = _sorted_cells(here, bounds, nothing, row_bits, 0)
    _put_values(cells, edges, number, values)
    tile_rows, rows, degrees = _rows(bounds, cells, row_bits, 0, bounds, indices)
    indices[:] = np.repeat(np.arange(len(rows), dtype=np.int32), degrees)
    return _Part(tile_rows, tile_rows, rows, degrees, np.empty(0, np.int64), np.empty(0, np.int32))


def _put_values(cells: LongArray, edges: Edges, number: IntArray | None, out: FloatArray) -> None:
    """The values of some tiles' edges, moved once: of edge e, in cells[e], those of number[e]. Parallel edges come in
    the order of their values."""
    if edges.values.shape[1] and number is not None:
        order = number.copy()
        order_ties(cells, edges.values.view(np.uint32), order)
        # of eight lanes in a quarter of the time that values[order] takes
        edges.values.take(order, axis=0, out=out, mode="clip")  # no position is outside; "raise" fills a copy first


def _joined(parts: list[Any], dtype: Any) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *parts])


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
    """Tiles whose edges are sorted by what an exchange may do with them, see Block. LOOPS is as it was."""

    tiles: StackedTiles
    """All edges, with `middles` if some may be pushed."""
    wanted: LongArray
    """The src keys of each tile's columns: of pulled edges, ascending, then the others', ascending. LOOPS has none."""
    first: IntArray
    """How many of these are of pulled edges, for each tile."""
    pushed: Pushed


class Pushed(NamedTuple):
    """The edges that may be pushed, tile by tile."""

    tile_rows: npt.NDArray[np.int64]
    """Rows with such edges of each tile."""
    degrees: IntArray
    """Such edges of each row."""
    indices: IntArray
    values: dict[str, FloatArray]


def cut(tiles: StackedTiles, wanted: LongArray) -> Cut:
    """Pulled edges first in each row, and first in the payload; `wanted`: the keys of the columns, ascending.

    Pulled edges, and the others, stay in the order of the keys.
    """
    edges, rows = len(tiles.indices), len(tiles.rows)
    middles, order, columns = np.empty(rows, np.int32), np.empty(edges, np.int32), np.empty(edges, np.int32)
    keys, first, tile_rows = np.empty_like(wanted), np.empty(len(tiles), np.int32), np.empty(len(tiles), np.int64)
    degrees, pushed = np.empty(rows, np.int32), np.empty(edges, np.int32)
    given = read_only(tiles.heads), read_only(tiles.indptr), read_only(tiles.indices), read_only(wanted)
    some, number = cut_each(*given, middles, order, columns, keys, first, tile_rows, degrees, pushed)
    if not number:
        return uncut(tiles, wanted)
    heads = tiles.heads.copy()
    heads[:, 4] = tile_rows > 0
    values = _taken(tiles.columns, order)
    of_cut = np.repeat(tile_rows > 0, tiles.heads[:, 1])
    whole = StackedTiles(heads, tiles.rows, tiles.indptr, columns, values, middles[of_cut])
    others = pushed[:number]
    return Cut(whole, keys, first, Pushed(tile_rows, degrees[:some].copy(), columns[others], _taken(values, others)))


def uncut(tiles: StackedTiles, wanted: LongArray) -> Cut:
    """The same where nothing is pushed."""
    nothing = tiles.indices[:0]
    pushed = Pushed(np.zeros(len(tiles), np.int64), nothing, nothing, _taken(tiles.columns, nothing))
    return Cut(tiles, wanted, tiles.heads[:, 3], pushed)


def _taken(values: Mapping[str, FloatArray], order: npt.NDArray[Any]) -> dict[str, FloatArray]:
    return {name: matrix.take(order, axis=0) for name, matrix in values.items()}
