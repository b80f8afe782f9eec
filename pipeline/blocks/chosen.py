"""The edges of a tile by the number that one of their columns has: a tile for each number.

Comes in: a tile. Goes out: tiles of edges in the same order, without those that have no number asked for. Knows nothing
of what is read over them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.blocks.block import FloatArray, Tile


def by_number(tile: Tile, column: str, numbers: Sequence[float], names: Iterable[str] = ()) -> dict[float, Tile]:
    """Number → the edges that have it, with their values of `names`; none of a number that no edge has. `numbers` are
    float32 numbers, ascending, each once."""
    wanted: FloatArray = np.asarray(numbers, np.float32)
    found = tile.values[column].reshape(-1)
    code = np.searchsorted(wanted, found)
    code[code == len(wanted)] = 0
    edges = np.flatnonzero(wanted[code] == found)
    if not len(edges):
        return {}
    code = code[edges].astype(np.uint16 if len(wanted) < 1 << 16 else np.int64)  # 16 bits are sorted by their digits
    order = np.argsort(code, kind="stable")
    edges, code = edges[order], code[order]
    rows = np.repeat(tile.rows, np.diff(tile.indptr))[edges]
    indices = tile.indices[edges]
    values = {name: tile.values[name].take(edges, axis=0) for name in names}
    # where a row of a number begins
    begins = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]) | (code[1:] != code[:-1])])
    rows, ends = rows[begins], np.append(begins, len(edges)).astype(np.int32)
    present = np.flatnonzero(np.r_[True, np.diff(code[begins].astype(np.int64)) != 0])
    parts = {}
    for low, high in zip(present.tolist(), [*present[1:].tolist(), len(rows)], strict=True):
        start, end = int(ends[low]), int(ends[high])
        parts[float(wanted[code[start]])] = Tile(
            rows[low:high],
            ends[low : high + 1] - np.int32(start),
            indices[start:end],
            {name: array[start:end] for name, array in values.items()},
            tile.senders,
        )
    return parts
