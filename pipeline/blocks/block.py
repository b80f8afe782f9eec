"""A block: one part of the graph, as arrays.

Comes in: nothing (these are records). Goes out: the arrays that a superstep works on. Knows nothing of Spark, of
models, or of how a block was built (preparing/) or is stored (storage.py).

All arrays are read-only to their users: most are views of Arrow buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.schema import EdgeType

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
LongArray = npt.NDArray[np.int64]

# A block's self-loops are a tile of their own, under this source: layers that drop, add or complete self-loops
# then need no mask over the other edges.
LOOPS = -1


@dataclass(frozen=True)
class Tile:
    """The edges from one block into this one, as compressed rows; ordered by (dst, src, the edge's own values)."""

    rows: IntArray
    """(r,) int32: local indices of the dst nodes that have an edge here, ascending."""
    indptr: IntArray
    """(r + 1,) int32: edges of rows[j] are indptr[j] .. indptr[j + 1]."""
    indices: IntArray
    """(e,) int32: the row of the payload that holds the edge's src."""
    values: Mapping[str, FloatArray] = field(default_factory=dict)
    """Edge column → (e, width) float32."""
    senders: int = 0
    """Rows that the payload for this tile has: the length of the send list at the other end."""
    middles: IntArray | None = None
    """(r,) int32: edges indptr[j] .. middles[j] of a row are pulled, others may be pushed. None: all are pulled."""

    @property
    def edges(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Block:
    """One of the P parts of the graph: a set of nodes of each type, the edges into them, and what to send elsewhere.

    The self-loops of an edge type are the tile with source LOOPS; its payload comes from the block itself, by the send
    list with target LOOPS.

    An exchange may *pull* or *push* an edge: of a pulled one its src's row is sent; pushed ones are reduced by the
    block of their src, which sends one partial result per dst. An edge is pulled if its src has at least as many edges
    in the tile as its dst: of a hub a single row travels, whichever end it is. The others are stored at both ends,
    because some reductions need all rows pulled; in a send list the nodes that only they need come last.
    """

    index: int
    ids: Mapping[str, pa.Array]
    """Node type → the user's ids (int64 or string), in local order: ascending by 64-bit key."""
    features: Mapping[str, Mapping[str, FloatArray]]
    """Node type → column → (n, width) float32."""
    tiles: Mapping[EdgeType, Mapping[int, Tile]]
    """Edge type → source block (or LOOPS) → tile. Tiles without edges are absent."""
    sends: Mapping[EdgeType, Mapping[int, IntArray]]
    """Edge type → target block (or LOOPS) → (k,) int32 local indices of src nodes, in payload order."""
    pulled: Mapping[EdgeType, Mapping[int, int]] = field(default_factory=dict)
    """Edge type → target block → how many rows of its send list the pulled edges need; all, if it is not here."""
    pushes: Mapping[EdgeType, Mapping[int, Tile]] = field(default_factory=dict)
    """Edge type → target block → the edges that may be pushed there: indices are local indices, row j is the j-th of
    the rows there that have such an edge."""

    def nodes(self, node_type: str) -> int:
        """Number of nodes of a type in this block."""
        return len(self.ids[node_type])
