"""The tiles of one type of edges of a block, one behind another in a few arrays.

Comes in: tiles, or such arrays. Goes out: the other one. With P blocks there are P tiles in each: what is kept, checked
and read of them is a few arrays, whatever P is; a tile is a view of them. Knows nothing of rows and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import FloatArray, IntArray, LongArray, Tile

HEAD = 5
"""Numbers of a tile: the block at the other end or LOOPS, rows, edges, senders, 1 if it has middles."""


@dataclass(frozen=True, eq=False)
class StackedTiles(Mapping[int, Tile]):
    """Source block, or LOOPS → tile; for edges that may be pushed, target block → tile."""

    heads: IntArray
    """(k, HEAD) int32, by ascending block."""
    rows: IntArray
    """Of all tiles, one behind another; (sum of rows,) int32."""
    indptr: IntArray
    """(sum of rows + k,) int32: that of each tile begins with 0."""
    indices: IntArray
    """(sum of edges,) int32."""
    columns: Mapping[str, FloatArray] = field(default_factory=dict)
    """Edge column → (sum of edges, width) float32."""
    middles: IntArray | None = None
    """Of the tiles that have some, (sum of their rows,) int32. None: no tile has."""

    @staticmethod
    def of(tiles: Mapping[int, Tile]) -> StackedTiles:
        """The same tiles; those that are stacked already are not copied."""
        if isinstance(tiles, StackedTiles):
            return tiles
        sources = sorted(tiles)
        several = [tiles[source] for source in sources]
        heads = [
            (source, len(tile.rows), tile.edges, tile.senders, tile.middles is not None)
            for source, tile in zip(sources, several, strict=True)
        ]
        names = sorted({name for tile in several for name in tile.values})
        middles = [tile.middles for tile in several if tile.middles is not None]
        return StackedTiles(
            np.array(heads, np.int32).reshape(-1, HEAD),
            _joined([tile.rows for tile in several]),
            _joined([tile.indptr for tile in several]),
            _joined([tile.indices for tile in several]),
            {name: np.concatenate([tile.values[name] for tile in several]) for name in names},
            _joined(middles) if middles else None,
        )

    @cached_property
    def places(self) -> dict[int, int]:
        """Block → which of the tiles."""
        return {source: place for place, source in enumerate(self.heads[:, 0].tolist())}

    @cached_property
    def row_ends(self) -> LongArray:
        """(k + 1,): tile t has the rows row_ends[t] .. row_ends[t + 1]."""
        return ends_of(self.heads[:, 1])

    @cached_property
    def edge_ends(self) -> LongArray:
        """The same of edges."""
        return ends_of(self.heads[:, 2])

    @cached_property
    def sender_ends(self) -> LongArray:
        """The same of columns."""
        return ends_of(self.heads[:, 3])

    @cached_property
    def middle_ends(self) -> LongArray:
        """The same of middles."""
        return ends_of(self.heads[:, 1] * self.heads[:, 4])

    @cached_property
    def _bounds(self) -> list[tuple[int, ...]]:
        ends = (self.row_ends, self.edge_ends, self.middle_ends)
        return list(zip(*(part for end in ends for part in (end[:-1].tolist(), end[1:].tolist())), strict=True))

    def __getitem__(self, source: int) -> Tile:
        place = self.places[source]
        row, row_end, edge, edge_end, middle, middle_end = self._bounds[place]
        _, _, _, senders, has_middles = self.heads[place].tolist()
        return Tile(
            self.rows[row:row_end],
            self.indptr[row + place : row_end + place + 1],
            self.indices[edge:edge_end],
            {name: matrix[edge:edge_end] for name, matrix in self.columns.items()},
            senders,
            self.middles[middle:middle_end] if has_middles and self.middles is not None else None,
        )

    def part(self, first: int, last: int) -> StackedTiles:
        """Some of the tiles; views."""
        row, row_end = self.row_ends[first], self.row_ends[last]
        edge, edge_end = self.edge_ends[first], self.edge_ends[last]
        middle, middle_end = self.middle_ends[first], self.middle_ends[last]
        return StackedTiles(
            self.heads[first:last],
            self.rows[row:row_end],
            self.indptr[row + first : row_end + last],
            self.indices[edge:edge_end],
            {name: matrix[edge:edge_end] for name, matrix in self.columns.items()},
            None if self.middles is None else self.middles[middle:middle_end],
        )

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.heads)

    def __contains__(self, source: object) -> bool:
        return source in self.places

    @cached_property
    def degrees(self) -> IntArray:
        """Edges of each row of each tile, (sum of rows,) int32."""
        found = np.diff(self.indptr)
        between = self.row_ends[1:-1] + np.arange(len(self.heads) - 1)  # from one tile's last to the next one's first
        return np.delete(found, between)


def ends_of(counts: npt.NDArray[np.int32] | npt.NDArray[np.int64]) -> LongArray:
    """(k + 1,) int64: where each of k parts begins, and the last ends."""
    ends = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=ends[1:])
    return ends


def groups_of(ends: LongArray, most: int, first: int = 0) -> Iterator[tuple[int, int]]:
    """The parts that begin and end at `ends`, from part `first` on, in groups: first part, and the one after the last.
    A group is of at most so many items, or one part alone."""
    bounds = ends.tolist()
    for last in range(first + 1, len(bounds)):
        if last + 1 == len(bounds) or bounds[last + 1] - bounds[first] > most:
            yield first, last
            first = last


def indptr_of(degrees: IntArray, row_ends: LongArray) -> IntArray:
    """That of stacked tiles: `degrees` of their rows, tile t has those from row_ends[t] to row_ends[t + 1]."""
    tiles = len(row_ends) - 1
    indptr = np.zeros(len(degrees) + tiles, np.int32)
    ends = ends_of(degrees)
    each = np.diff(row_ends)
    place = np.arange(len(degrees)) + np.repeat(np.arange(1, tiles + 1), each)
    indptr[place] = ends[1:] - np.repeat(ends[row_ends[:-1]], each)
    return indptr


def _joined(parts: list[IntArray]) -> IntArray:
    return np.concatenate([np.empty(0, np.int32), *parts])
