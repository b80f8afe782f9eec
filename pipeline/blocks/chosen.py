"""The edges of a tile by the number that one of their columns has.

Comes in: a tile. Goes out: its edges, those of a number together and in their order, without those that have no number
asked for. Knows nothing of what is read over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.blocks.block import FloatArray, IntArray, LongArray, Tile
from pipeline.kernels.jit import read_only
from pipeline.kernels.sort import find_numbers, group_edges

MOST_NUMBERS = 1 << 16
"""From the first to the last, to find them in a table of 256 kB."""


@dataclass(frozen=True)
class Numbered:
    """The edges of a tile, sorted by number."""

    bounds: LongArray
    """(numbers + 1,): number k has the rows bounds[k] .. bounds[k + 1]."""
    rows: IntArray
    """(r,): of the nodes with an edge of a number, ascending; a node with edges of two numbers is there twice."""
    ends: IntArray
    """(r + 1,): edges of rows[j] are ends[j] .. ends[j + 1]."""
    indices: IntArray
    values: Mapping[str, FloatArray]
    senders: int

    def part(self, first: int, last: int) -> Tile:
        """The edges of the numbers first .. last - 1, one number behind another; views."""
        low, high = self.bounds[[first, last]].tolist()
        start, end = self.ends[[low, high]].tolist()
        ends = self.ends[low : high + 1] - np.int32(start)
        values = {name: array[start:end] for name, array in self.values.items()}
        return Tile(self.rows[low:high], ends, self.indices[start:end], values, self.senders)


def by_number(tile: Tile, column: str, numbers: Sequence[float], names: Iterable[str] = ()) -> Numbered:
    """The edges that have one of `numbers`, with their values of `names`. `numbers` are float32 numbers, ascending,
    each once."""
    wanted: FloatArray = np.asarray(numbers, np.float32)
    codes = np.empty(tile.edges, np.int32)
    found = np.ascontiguousarray(tile.values[column].reshape(-1), np.float32)
    find_numbers(read_only(found), read_only(wanted), read_only(_table(wanted)), codes)
    rows, ends, indices, edges = (np.empty(tile.edges + more, np.int32) for more in (0, 1, 0, 0))
    bounds = np.empty(len(wanted) + 1, np.int64)
    given = read_only(tile.rows), read_only(tile.indptr), read_only(tile.indices), read_only(codes)
    count = group_edges(*given, bounds, rows, ends, indices, edges)
    used = int(bounds[-1])
    values = {name: tile.values[name].take(edges[:count], axis=0) for name in names}
    return Numbered(bounds, rows[:used].copy(), ends[: used + 1].copy(), indices[:count], values, tile.senders)


def _table(wanted: FloatArray) -> IntArray:
    """Of whole numbers that are close together the place of each, from the first on; 0 where there is none."""
    whole = len(wanted) and np.all(wanted == np.floor(wanted))
    if not whole or not float(wanted[-1]) - float(wanted[0]) < MOST_NUMBERS:  # nor if that is no number
        return np.empty(0, np.int32)
    table = np.zeros(int(wanted[-1] - wanted[0]) + 1, np.int32)
    table[(wanted - wanted[0]).astype(np.int64)] = np.arange(len(wanted), dtype=np.int32)
    return table
