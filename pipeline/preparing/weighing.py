"""How heavy communities are, and what it saves to keep them together.

Comes in: the ends of all edges, which community each node is of. Goes out: edges into each community; how many rows
blocks by the hash of ids would send. Reads edges once, in threads of this process or in tasks.

A node's row is sent once to each block that has edges from it, self-loops left out. With blocks by hash that is the
number of different pairs (src, block of dst). Of many edges the pairs of a part of the nodes are counted: of those
whose scrambled key ends in so many zeros.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.blocks.block import IntArray, LongArray
from pipeline.graph import Graph
from pipeline.kernels.hash import P1, P3, blocks_of
from pipeline.kernels.jit import read_only
from pipeline.preparing.communities import ByCommunity
from pipeline.preparing.pack import directions, flushes, good_columns, keys_of
from pipeline.schema import EdgeType
from pipeline.spark.task_function import task_function
from pipeline.tables.layout import Layout, TextHash
from pipeline.tables.survey import Pieces, frame_of, selected
from pipeline.tables.table import Piece, read_pieces

SAMPLED_EDGES = 1 << 22  # of more, pairs are counted of a part of the nodes
DDL = "type int, code bigint, edges bigint"
SCHEMA = pa.schema([("type", pa.int32()), ("code", pa.int64()), ("edges", pa.int64())])
INTO = -1  # in the place of a type: the code is a community, and so many edges lead into it


@dataclass(frozen=True, eq=False)
class Weights:
    """What is known of all edges."""

    edges: LongArray
    """(c,) how many lead into each community."""
    rows_by_hash: int
    """That would be sent in an exchange over all types of edges, if blocks were by the hash of ids."""
    estimated: bool
    """Whether that is of a part of the nodes."""


@dataclass(frozen=True)
class Weighing:
    """What every task knows."""

    by: ByCommunity
    blocks: int
    bits: int
    """One node in 2^bits is asked what it would send."""

    @staticmethod
    def of(by: ByCommunity, blocks: int, edges: int) -> Weighing:
        return Weighing(by, blocks, max(0, math.ceil(math.log2(max(1, edges) / SAMPLED_EDGES))))

    def batches(self, batches: Iterable[pa.RecordBatch], layout: Layout) -> Iterator[pa.RecordBatch]:
        """Of the ends of some edges: (INTO, community, edges into it), and (number of the type of edges, a pair of node
        and block, 1). Edges without ends are passed over: they are found out later."""
        for table in flushes(map(layout.chosen, batches)):
            keys = keys_of(good_columns(table, layout, []), layout)
            for number, (name, targets, sources, _) in enumerate(directions(keys, layout)):
                assert sources is not None, "edges have two ends"
                yield from self._some(number, EdgeType.parse(name), targets, sources)

    def _some(self, number: int, type: EdgeType, targets: LongArray, sources: LongArray) -> Iterator[pa.RecordBatch]:
        into = self.by.communities(type.target, targets)
        communities, edges = np.unique(into[into >= 0], return_counts=True)
        yield _batch(INTO, communities, edges)
        # another part of the scrambled key than what decides the block
        chosen = (sources.view(np.uint64) * P3 ^ P1) >> np.uint64(40) & np.uint64((1 << self.bits) - 1) == 0
        chosen &= into >= 0
        if type.source == type.target:
            chosen &= sources != targets
        at = self.by.of(type.source).positions(sources[chosen])
        block = np.empty(len(at), np.int32)
        blocks_of(read_only(targets[chosen]), self.blocks, block)
        pairs = np.unique((at.astype(np.int64) * self.blocks + block)[at >= 0])
        yield _batch(number, pairs, np.ones(len(pairs), np.int64))


def weigh(
    graph: Graph, pieces: Pieces, weighing: Weighing, seed: int, text_hash: TextHash, threads: int, folder: str | None
) -> Weights:
    """`threads`: of this process, which do it; unless there is a `folder` that tasks see, who do it then. Runs a job
    for each table of edges in that case."""
    communities = len(weighing.by.blocks)
    into, pairs = np.zeros(communities, np.int64), 0
    for layout in graph.edge_layouts:
        ends = replace(layout, values=(), seed=seed, text_hash=text_hash)
        some = pieces[layout.table]
        if folder is None:
            found = _here(graph, ends, some, weighing, threads)
        else:
            found = _in_tasks(graph, ends, some, replace(weighing, by=weighing.by.written(folder)))
        types, codes, edges = (column.to_numpy() for column in found.columns)
        of_nodes = types == INTO
        into += np.bincount(codes[of_nodes], edges[of_nodes], communities).astype(np.int64)
        pairs += len(np.unique(np.stack([types[~of_nodes], codes[~of_nodes]], axis=1), axis=0))
    return Weights(into, pairs << weighing.bits, weighing.bits > 0)


def _here(graph: Graph, layout: Layout, pieces: list[Piece] | None, weighing: Weighing, threads: int) -> pa.Table:
    if pieces is None:
        frame = selected(frame_of(graph.tables[layout.table], graph.session, layout), layout)
        return pa.Table.from_batches(weighing.batches(frame.toArrow().to_batches(), layout), SCHEMA)
    with ThreadPoolExecutor(threads) as pool:
        work = functools.partial(_pieces, layout=layout, weighing=weighing)
        return pa.Table.from_batches([batch for some in pool.map(work, pieces) for batch in some], SCHEMA)


def _pieces(piece: Piece, layout: Layout, weighing: Weighing) -> list[pa.RecordBatch]:
    return list(weighing.batches(read_pieces([piece], layout.columns), layout))


def _in_tasks(graph: Graph, layout: Layout, pieces: list[Piece] | None, weighing: Weighing) -> pa.Table:
    spark = graph.session
    assert spark is not None
    if pieces is None:
        rows = selected(frame_of(graph.tables[layout.table], spark, layout), layout)
    else:
        rows = spark.range(0, len(pieces), 1, max(1, len(pieces)))
    work = functools.partial(_task, pieces=pieces, layout=layout, weighing=weighing)
    found = rows.mapInArrow(task_function(work), DDL).groupBy("type", "code").agg({"edges": "sum"})
    return found.toArrow()


def _task(
    batches: Iterable[pa.RecordBatch], pieces: list[Piece] | None, layout: Layout, weighing: Weighing
) -> Iterator[pa.RecordBatch]:
    if pieces is not None:
        mine = [pieces[number] for batch in batches for number in batch.column(0).to_pylist()]
        batches = read_pieces(mine, layout.columns)
    yield from weighing.batches(batches, layout)


def _batch(type: int, codes: LongArray | IntArray, edges: LongArray) -> pa.RecordBatch:
    columns = [np.full(len(codes), type, np.int32), codes.astype(np.int64), edges.astype(np.int64)]
    return pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=SCHEMA)
