"""The rows of a branch, in a block that is cut down to some nodes.

Comes in: which node each row is of. Goes out: the edges of a tile by these rows. How the rows are found, so that bits
stay what they are in the whole block, is in picked.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.blocks.block import IntArray, Tile


@dataclass(frozen=True)
class BranchRows:
    """Which nodes a branch is computed for."""

    nodes: IntArray
    """(rows,) int32: the place of each row's node, in the block that is cut down. Of a row that nobody needs it is that
    of another one."""
    needed: IntArray
    """(k,) int32: the rows that somebody needs, ascending."""

    def by_row(self, tile: Tile) -> Tile:
        """A tile whose rows are places, by the rows of the branch. Edges of nobody's are in a row behind all others."""
        order = np.argsort(self.nodes[self.needed], kind="stable")
        rows = self.needed[order]
        places = self.nodes[rows]
        at = np.minimum(np.searchsorted(places, tile.rows), len(places) - 1)
        return replace(tile, rows=np.where(places[at] == tile.rows, rows[at], np.int32(len(self.nodes))))

    def within(self, chunk: slice) -> IntArray:
        """The rows of a chunk that somebody needs."""
        return self.needed[np.searchsorted(self.needed, chunk.start) : np.searchsorted(self.needed, chunk.stop)]
