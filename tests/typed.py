"""Graphs of several types: random ones with all that is awkward, as blocks made in plain NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.blocks.block import LOOPS, Block, Tile
from pipeline.formula import GraphArrays
from pipeline.schema import EdgeType

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class TypedGraph:
    """Nodes of several types by their numbers, and edges between them."""

    counts: Mapping[str, int]
    ends: Mapping[EdgeType, tuple[Array, Array]]
    x: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    values: Mapping[EdgeType, Mapping[str, Array]] = field(default_factory=dict)
    made: dict[int, list[Block]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Blocks, which nobody writes to."""

    @property
    def arrays(self) -> GraphArrays:
        nodes = {name: self.x.get(name, {}) for name in self.counts}
        return GraphArrays(self.counts, self.ends, nodes, {kind: self.values.get(kind, {}) for kind in self.ends})

    def blocks(self, count: int) -> list[Block]:
        """The graph cut into blocks at random, each type for itself. All edges are pulled."""
        if count not in self.made:
            self.made[count] = self._cut(count)
        return list(self.made[count])

    def _cut(self, count: int) -> list[Block]:
        homes = self.homes(count)
        parts = [Block(t, *({} for _ in range(4))) for t in range(count)]
        for name in self.counts:
            for part in parts:
                here = np.flatnonzero(homes[name] == part.index)
                part.ids[name] = pa.array(here)
                columns = self.x.get(name, {}).items()
                part.features[name] = {key: _matrix(column[here]) for key, column in columns}
        for kind, (src, dst) in self.ends.items():
            for part in parts:
                part.tiles[kind], part.sends[kind] = {}, {}
            own = (src == dst) & (kind.source == kind.target)
            local = {name: _local(home) for name, home in homes.items()}
            order = np.lexsort((src, dst))
            for target in range(count):
                for source in (LOOPS, *range(count)):
                    into = order[homes[kind.target][dst[order]] == target]
                    edges = into[
                        own[into] if source == LOOPS else ~own[into] & (homes[kind.source][src[into]] == source)
                    ]
                    if not len(edges):
                        continue
                    sender = target if source == LOOPS else source
                    sent, indices = np.unique(local[kind.source][src[edges]], return_inverse=True)
                    rows, counts = np.unique(local[kind.target][dst[edges]], return_counts=True)
                    parts[sender].sends[kind][LOOPS if source == LOOPS else target] = sent.astype(np.int32)
                    parts[target].tiles[kind][source] = Tile(
                        rows.astype(np.int32),
                        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
                        indices.astype(np.int32),
                        {name: _matrix(column[edges]) for name, column in self.values.get(kind, {}).items()},
                        len(sent),
                    )
        return parts

    def homes(self, count: int) -> dict[str, Array]:
        """Type → the block of each node."""
        rng = np.random.default_rng(7)
        return {name: rng.integers(0, count, nodes) for name, nodes in self.counts.items()}

    def whole(self, name: str, blocks: Sequence[Block], arrays: Sequence[Array]) -> Array:
        """What the blocks have of a type, in the order of its nodes."""
        ids = np.concatenate([block.ids[name].to_numpy() for block in blocks])
        return np.concatenate(list(arrays))[np.argsort(ids)]


def _local(home: Array) -> Array:
    """The number of each node within its block."""
    places = np.zeros(len(home), np.int64)
    for block in np.unique(home):
        here = home == block
        places[here] = np.arange(here.sum())
    return places


def _matrix(column: Array) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(column if column.ndim > 1 else column[:, None], np.float32)


def random_graph(
    counts: Mapping[str, int],
    edges: Mapping[EdgeType, int],
    widths: Mapping[str, int],
    seed: int = 0,
    values: Mapping[EdgeType, Mapping[str, int | None]] | None = None,
) -> TypedGraph:
    """Isolated nodes, a hub, parallel edges, self-loops. `values`: edge column → width, None is a number."""
    rng = np.random.default_rng(seed)
    ends = {}
    for kind, number in edges.items():
        sources, targets = ((9 * counts[name] + 9) // 10 for name in (kind.source, kind.target))
        number = number if sources and targets else 0
        src, dst = (rng.integers(0, max(each, 1), number) for each in (sources, targets))
        dst[: number // 6] = 0
        src[number - number // 8 :], dst[number - number // 8 :] = src[: number // 8], dst[: number // 8]
        if kind.source == kind.target:
            src[: number // 10] = dst[: number // 10] = np.arange(number // 10) % max(targets, 1)
        ends[kind] = src, dst
    x = {name: {"x": rng.normal(size=(counts[name], width))} for name, width in widths.items()}
    columns: dict[EdgeType, dict[str, Array]] = {}
    for kind, wanted in (values or {}).items():
        rows = len(ends[kind][0])
        columns[kind] = {
            name: rng.uniform(0.2, 1.5, rows) if width is None else rng.normal(size=(rows, width))
            for name, width in wanted.items()
        }
    return TypedGraph(counts, ends, x, columns)
