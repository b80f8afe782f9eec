"""Awkward graphs as tables, and a plain reading of blocks to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.blocks.block import LOOPS, Block, Tile
from pipeline.schema import EDGE, NODE, EdgeType

BLOCKS = (1, 3, 8, 17)
WIDTH = 5
SEED = 20_24


@dataclass(frozen=True)
class Tables:
    nodes: pa.Table
    """id, x array<float>(5), age (float)."""
    edges: pa.Table
    """src, dst, weight (double), attr array<float>(2)."""

    def shuffled(self, seed: int) -> Tables:
        """The same graph in another order of rows."""
        rng = np.random.default_rng(seed)
        return Tables(*(table.take(rng.permutation(len(table))) for table in (self.nodes, self.edges)))


def tables(ids: Sequence[Any], edges: Sequence[tuple[Any, Any]], kind: pa.DataType | None = None) -> Tables:
    """A graph with values that tell nodes and edges apart."""
    rng = np.random.default_rng(SEED)
    kind = kind or pa.int64()
    n, e = len(ids), len(edges)
    x = rng.normal(size=(n, WIDTH)).astype(np.float32)
    attr = rng.integers(-2, 3, (e, 2)).astype(np.float32)
    floats = pa.list_(pa.float32())
    nodes = {
        "id": pa.array(ids, kind),
        "x": pa.array(list(x), floats),
        "age": pa.array(rng.normal(size=n).astype(np.float32)),
    }
    rows = {
        "src": pa.array([src for src, _ in edges], kind),
        "dst": pa.array([dst for _, dst in edges], kind),
        "weight": pa.array(rng.integers(0, 3, e).astype(np.float64)),
        "attr": pa.array(list(attr), floats),
    }
    return Tables(pa.table(nodes), pa.table(rows))


def _random(ids: Sequence[Any], edges: int, seed: int = SEED, kind: pa.DataType | None = None) -> Tables:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, len(ids), (edges, 2))
    return tables(ids, [(ids[s], ids[d]) for s, d in ends.tolist()], kind)


def _spread(count: int) -> list[int]:
    rng = np.random.default_rng(SEED)
    return np.unique(rng.integers(-(2**63), 2**63 - 1, count, dtype=np.int64)).tolist()


def empty() -> Tables:
    return tables([], [])


def isolated() -> Tables:
    return tables([5, 3, -1, 12], [])


def one_node() -> Tables:
    return tables([7], [(7, 7)])


def self_loops() -> Tables:
    return tables(range(40), [(i, i) for i in range(0, 40, 2)] * 2 + [(i, i + 1) for i in range(39)])


def parallel() -> Tables:
    return tables(range(10), [(i % 3, i % 2 + 4) for i in range(600)])


def hub() -> Tables:
    """One node with an edge from and to every other."""
    return tables(range(500), [(i, 0) for i in range(500)] + [(0, i) for i in range(500)])


def extremes() -> Tables:
    return _random([-(2**63), 2**63 - 1, 0, -1, 1, -(2**62), 2**32, -(2**31)], 60)


def mixed() -> Tables:
    return _random(_spread(300), 3000)


def text() -> Tables:
    ids = ["", "a", "ä", "日本語", "x" * 1000, " a", "A", *(f"user-{i:07d}" for i in range(200))]
    return _random(ids, 1500, kind=pa.string())


GRAPHS: dict[str, Callable[[], Tables]] = {
    graph.__name__: graph for graph in (empty, isolated, one_node, self_loops, parallel, hub, extremes, mixed, text)
}


def nodes_of(blocks: Sequence[Block]) -> dict[Any, dict[str, tuple[float, ...]]]:
    """id → feature → values, read one by one; no id may be in two blocks."""
    nodes: dict[Any, dict[str, tuple[float, ...]]] = {}
    for block in blocks:
        for at, name in enumerate(block.ids[NODE].to_pylist()):
            assert name not in nodes
            nodes[name] = {value: tuple(matrix[at].tolist()) for value, matrix in block.features[NODE].items()}
    return nodes


def edges_of(blocks: Sequence[Block], edge_type: EdgeType = EDGE) -> list[tuple[Any, ...]]:
    """(src id, dst id, values …) of each edge, followed from the tile through the send list to the other block."""
    edges = []
    for block in blocks:
        ids = block.ids[NODE].to_pylist()
        for source, tile in block.tiles.get(edge_type, {}).items():
            other = block if source == LOOPS else blocks[source]
            sent = other.sends[edge_type][LOOPS if source == LOOPS else block.index]
            assert len(sent) == tile.senders
            names = [other.ids[NODE][at].as_py() for at in sent.tolist()]
            edges += _edges_of(tile, names, [ids[at] for at in tile.rows.tolist()])
    return edges


def pushes_of(blocks: Sequence[Block], edge_type: EdgeType = EDGE) -> list[tuple[Any, ...]]:
    """The same of the edges that may be pushed only, as the blocks of their src know them."""
    edges = []
    for block in blocks:
        names = block.ids[NODE].to_pylist()
        for target, tile in block.pushes.get(edge_type, {}).items():
            assert tile.rows.tolist() == list(range(len(tile.rows)))
            ids, there = blocks[target].ids[NODE].to_pylist(), blocks[target].tiles[edge_type][block.index]
            last = zip(there.rows.tolist(), there.middles.tolist(), there.indptr[1:].tolist(), strict=True)
            edges += _edges_of(tile, names, [ids[row] for row, middle, end in last if middle < end])
    return edges


def _edges_of(tile: Tile, src: Sequence[Any], dst: Sequence[Any]) -> list[tuple[Any, ...]]:
    """`src`: id of each row of the payload; `dst`: of each row of the tile."""
    edges = []
    for row, name in enumerate(dst):
        for e in range(tile.indptr[row], tile.indptr[row + 1]):
            values = [tuple(matrix[e].tolist()) for _, matrix in sorted(tile.values.items())]
            edges.append((src[tile.indices[e]], name, *values))
    return edges
