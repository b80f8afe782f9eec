"""What a block asks of another one: the rows that a tile reads, and the edges that the other one may push.

Comes in: the tiles of a block, cut. Goes out: a few bytes for each, and again what they say. They are all that crosses
between blocks when a graph is prepared: of P blocks P * P, so each is one row (or some, if it is long).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.blocks.block import LOOPS, FloatArray, IntArray, LongArray
from pipeline.blocks.rows import Row, array_rows
from pipeline.blocks.stacked import ends_of
from pipeline.preparing.preparation import REQUEST
from pipeline.preparing.tiles import Cut
from pipeline.schema import EdgeType

COUNTS = 4  # int64 each: keys of pulled edges, other keys, rows and edges that may be pushed; then the columns' widths


class Request(NamedTuple):
    """Of one tile."""

    keys: LongArray
    """Those of pulled edges, ascending, then the others, ascending."""
    first: int
    """How many are of pulled edges."""
    degrees: IntArray
    """Edges that may be pushed of each row that has some."""
    indices: IntArray
    """Of each of these edges the place of its key."""
    values: list[FloatArray]
    """Of each edge column, in the order of their names."""


def request_rows(index: int, edge_type: EdgeType, cut: Cut) -> Iterator[Row]:
    """Rows of kind REQUEST, for each source of tiles."""
    tiles, pushed, name = cut.tiles, cut.pushed, str(edge_type)
    loops = tiles.heads[0, 3] if LOOPS in tiles else 0
    keys = (tiles.sender_ends - loops).tolist()
    row_ends = ends_of(pushed.tile_rows)
    edges = ends_of(pushed.degrees)[row_ends].tolist()
    rows, first = row_ends.tolist(), cut.first.tolist()
    matrices = [matrix for _, matrix in sorted(pushed.values.items())]
    widths = [matrix.shape[1] for matrix in matrices]
    for place, source in enumerate(tiles):
        if source == LOOPS:
            continue
        (key, key_end), (row, row_end), (edge, edge_end) = (ends[place : place + 2] for ends in (keys, rows, edges))
        counts = [first[place], key_end - key - first[place], row_end - row, edge_end - edge, *widths]
        parts: tuple[npt.NDArray[Any], ...] = (
            np.array(counts, np.int64),
            cut.wanted[key:key_end],
            pushed.degrees[row:row_end],
            pushed.indices[edge:edge_end],
            *(matrix[edge:edge_end].reshape(-1) for matrix in matrices),
        )
        together = np.concatenate([part.view(np.uint8) for part in parts])
        yield from array_rows(source, index, REQUEST, name, together)


def parse_request(data: npt.NDArray[np.uint8], columns: int) -> Request:
    """`columns`: how many edge columns there are."""
    head = 8 * (COUNTS + columns)
    first, then, rows, edges, *widths = data[:head].view(np.int64).tolist()
    sizes: Sequence[int] = (head, 8 * (first + then), 4 * rows, 4 * edges, *(4 * edges * width for width in widths))
    keys, degrees, indices, *values = (
        data[start:end] for start, end in itertools.pairwise(itertools.accumulate(sizes))
    )
    return Request(
        keys.view(np.int64),
        first,
        degrees.view(np.int32),
        indices.view(np.int32),
        [matrix.view(np.float32).reshape(edges, width) for matrix, width in zip(values, widths, strict=True)],
    )
