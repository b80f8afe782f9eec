"""Rows of edges: whose they are. The ids of both ends of each edge of a type in a block, its own columns, and which of
the edges between the same two nodes it is.

Comes in: a block, and the ids that other blocks' send lists name. Goes out: the key columns of a result, tile by tile.
Knows nothing of what is computed for the edges; their order is that of edges.tiles_for, and inside a tile its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from pipeline.blocks.block import LOOPS, Block, IntArray, Tile
from pipeline.formula.spaces import Edges
from pipeline.result.output import column_of
from pipeline.run.edges import not_sent, tiles_for
from pipeline.run.in_place import Sends
from pipeline.schema import EdgeType

Names = Callable[[EdgeType, int], pa.Array]
"""Edge type, source block → the ids of the nodes that its send list for this block names, in that order."""


def names_by(block: int, sends: Callable[[int], Sends], ids: Callable[[int], Mapping[str, pa.Array]]) -> Names:
    """Of a block that can look into the others: their send lists, their ids."""

    def names(edge_type: EdgeType, source: int) -> pa.Array:
        rows, known = sends(source).get(edge_type, {}).get(block), ids(source)[edge_type.source]
        return known[:0] if rows is None else known.take(pa.array(rows))

    return names


def keys_of_edges(
    block: Block, edge_type: EdgeType, names: Names, columns: Mapping[str, int]
) -> Iterator[tuple[slice, list[pa.Array]]]:
    """For each tile of a type: which of the block's edges it holds, and src, dst, the number among parallel edges and
    `columns` (name → width) of these.

    Raises
    ------
    StorageError
        If the block reads a node that the other one does not send.
    """
    start = 0
    for source, tile in tiles_for(Edges(edge_type), block):
        dst = np.repeat(tile.rows, np.diff(tile.indptr))
        targets = block.ids[edge_type.target].take(pa.array(dst))
        if source == LOOPS:
            sources = targets
        else:
            known = names(edge_type, source)
            if tile.edges and int(tile.indices.max()) >= len(known):
                raise not_sent(block, source)
            sources = known.take(pa.array(tile.indices))
        own = [column_of(_shaped(tile, name, width), () if width == 1 else (width,)) for name, width in columns.items()]
        yield slice(start, start + tile.edges), [sources, targets, pa.array(among_parallel(dst, tile.indices)), *own]
        start += tile.edges


def among_parallel(dst: IntArray, src: IntArray) -> IntArray:
    """0, 1, … of edges that lead from the same node to the same node, which stand one after the other."""
    if not len(dst):
        return np.empty(0, np.int32)
    at = np.arange(len(dst), dtype=np.int32)
    other = np.append(True, (dst[1:] != dst[:-1]) | (src[1:] != src[:-1]))
    return at - np.maximum.accumulate(np.where(other, at, 0))


def _shaped(tile: Tile, name: str, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return tile.values[name].reshape((tile.edges,) if width == 1 else (tile.edges, width))
