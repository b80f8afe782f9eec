"""Blocks by a column of the node tables: which communities there are, and which block each of them goes into.

Comes in: a `Graph`, and which column of each node type says what belongs together. Goes out: the block of each node;
or what is wrong with the column. Reads the ids and that column of all nodes into this process; how heavy communities
are is found in weighing.py.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.blocks.block import IntArray, LongArray
from pipeline.errors import DataError, SettingError, nearest, shortened
from pipeline.graph import Graph
from pipeline.preparing.checks import Finding, refuse
from pipeline.preparing.communities import NODE_BYTES, ByCommunity, Members, packed
from pipeline.preparing.pack import flushes, good_columns, keys_of
from pipeline.preparing.preparation import SEEDS
from pipeline.preparing.sizes import record_bytes
from pipeline.preparing.weighing import Weighing, Weights, weigh
from pipeline.shown import counted, size
from pipeline.tables.layout import INTEGERS, Layout, TextHash, words_of
from pipeline.tables.memory import ArrowTable
from pipeline.tables.survey import Pieces, frame_of, selected
from pipeline.tables.table import Piece, Table, read_pieces

log = logging.getLogger("graphsweep")

MOST = 1 << 22  # communities: so many numbers go to each task
RECORDS = 3  # times a block's records are held while it is prepared, as in sizes.py


# ---- before any work


def with_columns(graph: Graph, given: Any) -> tuple[Graph, dict[str, str]]:
    """The same graph, whose tables in memory have the columns too; and node type → the column. `given`: one column for
    all types, or by type.

    Raises
    ------
    SettingError
        If it is neither; if a node type has no column, or is not there.
    DataError
        If a table lacks its column; if one holds other than integers or text, or not the same in all tables.
    """
    columns = _by_type(given, [layout.type for layout in graph.node_layouts])
    found, kinds = copy(graph), {}
    found.tables = dict(graph.tables)
    for layout in graph.node_layouts:
        table, column = found.tables[layout.table], columns[layout.type]
        if isinstance(table, ArrowTable):
            found.tables[layout.table] = table.having(layout.table, column)
        kinds[layout.table] = _is_text(found, layout, column)
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{table} {'text' if text else 'integers'}" for table, text in kinds.items())
        raise DataError(f"blocks_by: the columns hold values of one kind in all node tables; here are {told}")
    return found, columns


def _by_type(given: Any, types: Sequence[str]) -> dict[str, str]:
    if isinstance(given, str):
        given = dict.fromkeys(types, given)
    if not isinstance(given, Mapping) or not all(isinstance(one, str) and one for one in given.values()) or not given:
        raise SettingError(
            f"blocks_by is {shortened(given)}; the name of a column of the node table is expected, or of a typed graph "
            "node type → column"
        )
    for type in given:
        if type not in types:
            raise SettingError(
                f"blocks_by names {shortened(type)}, which is no type of this graph's nodes; "
                f"{nearest(str(type), types)}"
            )
    for type in types:
        if type not in given:
            raise SettingError(
                f"blocks_by names no column of the node type {type!r}; each type needs one, and nodes of all types "
                "that have the same value there go into one block"
            )
    return dict(given)


def _is_text(graph: Graph, layout: Layout, column: str) -> bool:
    table = graph.tables[layout.table]
    word = dict(table.dtypes).get(column)
    if word is None:
        raise DataError(
            f"blocks_by: {words_of(layout.table)} has no column {column!r}; {nearest(column, table.columns)}"
        )
    if isinstance(table, Table):
        table.check(layout.table, [column])
    if word not in INTEGERS and word != "string" and not word.startswith(("varchar", "char")):
        raise DataError(
            f"blocks_by: {layout.table}.{column} is {word}; integers or text that name a community are expected"
        )
    return word not in INTEGERS


# ---- the communities of all nodes


@dataclass(frozen=True, eq=False)
class Means:
    """What is read, and by whom."""

    graph: Graph
    pieces: Pieces
    columns: Mapping[str, str]
    """Node type → the column."""
    text_hash: TextHash
    threads: int
    """Of this process."""
    in_tasks: bool
    """Whether tasks read the edges, and prepare the graph; else these threads."""
    folder: str
    """That tasks see."""


@dataclass(frozen=True, eq=False)
class ByColumn:
    """Which block each node goes into."""

    means: Means
    members: Mapping[str, Members]
    """Node type → its nodes, by keys of the first seed."""
    homes: IntArray
    """(c,) the block of each community."""
    blocks: int
    weights: Weights

    def placed(self, seed: int) -> ByCommunity:
        """For one attempt of prepare: keys of text are those of its seed."""
        means = self.means
        by = ByCommunity(self.homes, self.members if seed == SEEDS[0] else read_communities(means, seed).members)
        return by.written(means.folder) if means.in_tasks else by

    def facts(self, edge_types: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, Any]:
        """For the manifest, which knows the rows that are sent by type of edges."""
        rows, own = (
            sum(sum(counts[name]) for counts in edge_types.values()) for name in ("payload_rows_in", "payload_rows_own")
        )
        weights = self.weights
        told = {"count": len(self.homes), "rows": rows, "rows_own": own}
        return {"communities": {**told, "rows_by_hash": weights.rows_by_hash, "estimated": weights.estimated}}


def by_column(means: Means, blocks: int, fixed: bool, found: tuple[int, int, int], memory: int) -> ByColumn:
    """Reads two columns of all node tables, and the ends of all edges.

    Parameters
    ----------
    blocks : int
        How many. Unless they are `fixed` there may be fewer, one for each community, or more, where one would not fit.
    found
        Nodes, edges, and lanes of a node's features, as `measure` says.
    memory : int
        Bytes that a task may use.

    Raises
    ------
    DataError
        If a node is of no community; if there are too many of them; if one does not fit a task: it cannot be cut.
    SettingError
        If the communities of all nodes do not fit a task, which has to know them.
    """
    nodes, edges, lanes = found
    if NODE_BYTES * nodes > memory // 2:
        raise SettingError(
            f"blocks_by: to know the community of each of {nodes:,} nodes takes {size(NODE_BYTES * nodes)} in each "
            f"task, which may use {size(memory)}; give a task more memory (task_memory), or leave blocks_by out"
        )
    known = read_communities(means, SEEDS[0])
    count = len(known.names)
    if not fixed:
        blocks = max(1, min(blocks, count))
    elif blocks > count:
        log.warning("blocks_by: there are %s in %s blocks: some stay empty", counted(count, "value"), f"{blocks:,}")
    by = ByCommunity(np.zeros(count, np.int32), known.members)
    weights = weigh(
        means.graph,
        means.pieces,
        Weighing.of(by, blocks, edges),
        SEEDS[0],
        means.text_hash,
        means.threads,
        means.folder if means.in_tasks else None,
    )
    needed = RECORDS * (known.nodes * record_bytes(1, 0, lanes) + weights.edges * record_bytes(0, 1, lanes))
    if count and needed.max() > memory:
        worst = int(needed.argmax())
        raise DataError(
            f"blocks_by: the community {shortened(known.names[worst].as_py())} has "
            f"{counted(int(known.nodes[worst]), 'node')} and {counted(int(weights.edges[worst]), 'edge')}: to prepare "
            f"it as one block takes {size(needed[worst])}, and a task may use {size(memory)}; give a finer column, or "
            "more memory to a task (task_memory), or leave blocks_by out"
        )
    homes = packed(known.nodes + weights.edges, blocks)
    while not fixed and blocks < count and np.bincount(homes, needed).max() > memory:
        blocks = min(2 * blocks, count)
        homes = packed(known.nodes + weights.edges, blocks)
    return ByColumn(means, known.members, homes, blocks, weights)


class Communities(NamedTuple):
    """What the columns say."""

    names: pa.Array
    """(c,) the values, ascending: int64 or text."""
    nodes: LongArray
    """(c,) how many are of each."""
    members: Mapping[str, Members]
    """Node type → its nodes."""


def read_communities(means: Means, seed: int) -> Communities:
    """A node that is there twice, which is an error that is told later, is of the first of its communities.

    Raises
    ------
    DataError
        If a node is of none; if there are more than MOST.
    """
    findings: list[Finding] = []
    found: dict[str, tuple[LongArray, pa.Array]] = {}
    for layout in means.graph.node_layouts:
        column = means.columns[layout.type]
        both = dataclasses.replace(
            layout,
            keys=(layout.keys[0], column),
            values=(),
            target_text=_is_text(means.graph, layout, column),
            seed=seed,
            text_hash=means.text_hash,
        )
        found[layout.type] = _read(means, both, findings)
    refuse(findings)
    values = pc.unique(pa.chunked_array([each for _, each in found.values()]))
    names = values.take(pc.array_sort_indices(values))
    if len(names) > MOST:
        raise DataError(
            f"blocks_by: there are {len(names):,} different values, and at most {MOST:,} are taken; give a column of "
            "fewer and larger communities"
        )
    members, nodes = {}, np.zeros(len(names), np.int64)
    for type, (keys, each) in found.items():
        members[type] = _members(keys, pc.index_in(each, value_set=names).to_numpy().astype(np.int32))
        nodes += np.bincount(members[type].communities, minlength=len(names))
    return Communities(names, nodes, members)


def _read(means: Means, layout: Layout, findings: list[Finding]) -> tuple[LongArray, pa.Array]:
    """(n,) keys, and (n,) values of the column."""
    graph, pieces = means.graph, means.pieces[layout.table]
    if pieces is None:
        table = selected(frame_of(graph.tables[layout.table], graph.session, layout), layout)
        batches = [[layout.chosen(batch) for batch in table.toArrow().to_batches()]]
    else:
        with ThreadPoolExecutor(means.threads) as pool:
            read = functools.partial(_piece, layout=layout)
            batches = list(pool.map(read, pieces))
    word = pa.string() if layout.texts[1] else pa.int64()
    keys, values = [np.empty(0, np.int64)], [pa.array([], word)]
    for table in flushes(batch for some in batches for batch in some):
        columns = good_columns(table, layout, findings)
        keys += keys_of(columns[:1], layout)
        values.append(columns[1].cast(word))
    return np.concatenate(keys), pa.concat_arrays(values)


def _piece(piece: Piece, layout: Layout) -> list[pa.RecordBatch]:
    return [layout.chosen(batch) for batch in read_pieces([piece], layout.columns)]


def _members(keys: LongArray, communities: IntArray) -> Members:
    order = np.lexsort((communities, keys))
    keys = keys[order]
    once = np.ones(len(keys), bool)
    once[1:] = keys[1:] != keys[:-1]
    return Members.of(keys[once], communities[order][once])
