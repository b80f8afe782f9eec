"""Holistic reductions: what has to see all messages of a node at once, for a range of nodes at a time.

Comes in: the messages into some nodes, from all tiles. Goes out: the results of these nodes. A quantile of tiles does
not follow from the quantiles of each, so messages are kept, but no more than 32 MB of them, or those of one node: the
tiles are gone through once for each range of nodes. The order of equal numbers plays no part: same bits however cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from pipeline.blocks.block import FloatArray, IntArray, Tile
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.values import Value

FLOATS = 1 << 23  # of messages that are kept at a time
COPIES = 3  # of them: as they came, in order, sorted


def ranges(tiles: Sequence[Tile], nodes: int, width: int, floats: int | None = None) -> list[tuple[int, int]]:
    """Cuts the nodes of a block so that each part has FLOATS floats of messages at most, or is a single node."""
    floats = FLOATS if floats is None else floats
    edges = np.zeros(nodes + 1, np.int64)
    for tile in tiles:
        edges[tile.rows + 1] += np.diff(tile.indptr)
    until = np.cumsum(edges) * max(width, 1)
    cuts = [0]
    while cuts[-1] < nodes:
        fits = int(np.searchsorted(until, until[cuts[-1]] + floats, side="right")) - 1
        cuts.append(max(fits, cuts[-1] + 1))
    return list(itertools.pairwise(cuts))


def kept_floats(edges: int, in_degree: int, width: int) -> int:
    """The most that is kept at a time of a block of so many edges, copies included."""
    return COPIES * min(edges * width, max(FLOATS, in_degree * width))


def reduce_sorted(value: Value, dst: IntArray, messages: FloatArray, out: FloatArray) -> None:
    """out[i] for every node i of `dst`, from its messages (edges, width). Nodes of one degree are sorted together."""
    record = REDUCTIONS[value.op]
    assert record.of_sorted is not None, value.op
    starts = {state.start for state in record.state}  # an attribute for nodes without messages
    attributes = {name: item for name, item in value.attributes.items() if name not in starts}
    order = np.argsort(dst, kind="stable")
    nodes, first, counts = np.unique(dst[order], return_index=True, return_counts=True)
    for count in np.unique(counts).tolist():
        here = np.flatnonzero(counts == count)
        edges = order[first[here][:, None] + np.arange(count)]
        lanes = np.ascontiguousarray(np.moveaxis(messages[edges], 1, 2))
        lanes += np.float32(0)  # makes -0 a 0: which of the two comes first is not for a sort to say
        lanes.sort(axis=2)
        found = record.of_sorted(np.moveaxis(lanes, 2, 0), **attributes)
        out[nodes[here]] = np.moveaxis(found, 0, 1).reshape(len(here), -1)
