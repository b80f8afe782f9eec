"""What a page says of a graph beyond its counts: how even its blocks are, and how many edges its nodes have.

Comes in: a prepared graph. Goes out: facts with keys that stay. Opens blocks one at a time. Knows nothing of models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.blocks.rows import ID_OFFSETS, IDS, TILES
from pipeline.errors import StorageError
from pipeline.plan.skew import ratio
from pipeline.prepared import PreparedGraph

MOST_EDGES = 1 << 27
"""That are read; of a larger graph every k-th block. Nodes are given to blocks by a hash, so any block is a fair part
of them."""
MOST_BLOCKS = 1024
"""Whose counts are told one by one."""

Facts = dict[str, Any]


def block_facts(graph: PreparedGraph) -> Facts:
    """Of the blocks: most, median, and how much the heaviest is more than the median."""
    counts = graph.manifest["per_block"]
    nodes, edges = [int(count) for count in counts["nodes"]], [int(count) for count in counts["edges"]]
    told = graph.blocks <= MOST_BLOCKS
    return {
        "count": graph.blocks,
        "nodes": nodes if told else None,
        "edges": edges if told else None,
        "most_edges": max(edges, default=0),
        "median_edges": int(np.median(edges)) if edges else 0,
        "edges_skew": float(ratio(edges)),
    }


def degree_facts(graph: PreparedGraph) -> Facts:
    """Edge type → how many of its edges lead into a node: number of nodes with 0, 1, 2 to 3, 4 to 7, … of them."""
    step = max(1, -(-graph.edges // MOST_EDGES))
    chosen = range(0, graph.blocks, step)
    types = [type for type in graph.schema.edges if not type.is_reversed]
    bars = {type: np.zeros(65, np.int64) for type in types}
    largest, edges, nodes = dict.fromkeys(types, 0), dict.fromkeys(types, 0), dict.fromkeys(types, 0)
    try:
        for index in chosen:
            block = graph.block(index, (IDS, ID_OFFSETS, *TILES))
            for type in types:
                degrees = np.zeros(block.nodes(type.target), np.int64)
                for tile in block.tiles.get(type, {}).values():
                    degrees[tile.rows] += np.diff(tile.indptr)
                nodes[type] += len(degrees)
                edges[type] += int(degrees.sum())
                largest[type] = max(largest[type], int(degrees.max(initial=0)))
                bars[type] += np.bincount(_powers(degrees), minlength=65)
    except StorageError as error:
        return {"not_available": str(error), "blocks_read": 0, "edge_types": {}}
    return {
        "not_available": None,
        "blocks_read": len(chosen),
        "edge_types": {str(type): _facts(bars[type], nodes[type], edges[type], largest[type]) for type in types},
    }


def _facts(bars: npt.NDArray[np.int64], nodes: int, edges: int, largest: int) -> Facts:
    last = int(np.flatnonzero(bars).max(initial=0))
    return {
        "nodes_read": nodes,
        "edges_read": edges,
        "mean": edges / nodes if nodes else None,
        "largest": largest,
        "bars": [
            {"from": 0 if power == 0 else 1 << (power - 1), "to": 0 if power == 0 else (1 << power) - 1, "nodes": count}
            for power, count in enumerate(map(int, bars[: last + 1]))
        ],
    }


def _powers(degrees: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0 of none, 1 of 1, 2 of 2 to 3, 3 of 4 to 7, …: exact, as these are below 2^53."""
    return np.frexp(degrees.astype(np.float64))[1].astype(np.int64)
