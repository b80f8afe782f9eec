"""The edges of a tile by the number that one of their columns has.

Comes in: a tile. Goes out: its edges, those of a number together and in their order, without those that have no number
asked for. Knows nothing of what is read over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.blocks.block import FloatArray, IntArray, LongArray, Tile


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
    found = tile.values[column].reshape(-1)
    code = np.searchsorted(wanted, found)
    code[code == len(wanted)] = 0
    edges = np.flatnonzero(wanted[code] == found)
    code = code[edges].astype(np.uint16 if len(wanted) < 1 << 16 else np.int64)  # 16 bits are sorted by their digits
    order = np.argsort(code, kind="stable")
    edges, code = edges[order], code[order]
    rows = np.repeat(tile.rows, np.diff(tile.indptr))[edges]
    # where a row of a number begins
    begins = np.flatnonzero((rows[1:] != rows[:-1]) | (code[1:] != code[:-1])) + 1
    begins = np.concatenate([np.zeros(min(1, len(edges)), np.int64), begins])
    return Numbered(
        np.searchsorted(code[begins], np.arange(len(wanted) + 1)),
        rows[begins],
        np.append(begins, len(edges)).astype(np.int32),
        tile.indices[edges],
        {name: tile.values[name].take(edges, axis=0) for name in names},
        tile.senders,
    )
