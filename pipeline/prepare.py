"""Tables to a prepared graph, once per graph; no edge is ever joined.

Comes in: a `Graph` of Spark DataFrames. Goes out: a `PreparedGraph` on disk. Knows Spark, and how rows get from one
step to the next; what a step does is in pack.py and build.py.

    nodes, edges → pack ─ shuffle 1: every node and edge once, packed ─► build: nodes, tiles, requests
                          shuffle 2: 8 bytes for each boundary node   ─► answer: send lists
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import resources, storage
from pipeline.blocks import LOOPS
from pipeline.build import FACTS, SEEDS, Plan, Step, findings_of, steps, texts_of
from pipeline.checks import refuse, spell
from pipeline.columns import ROW_DDL, TARGET
from pipeline.errors import SettingError, StorageError
from pipeline.graph import Graph, PreparedGraph, open_graph
from pipeline.layout import Layout, TextHash, text_keys
from pipeline.pack import pack
from pipeline.placement import place
from pipeline.rows import KINDS, SENDS, Row, by_target, from_batches, to_batches
from pipeline.schema import EDGE, NODE, GraphSchema
from pipeline.tables import Piece, is_visible, parquet_pieces, read_piece
from pipeline.workers import ask_workers, quoted, readable_errors, session_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# 131 072 nodes: what tiles read of 64 float32 features is 32 MB, and mostly stays in cache (0.56 s instead of 1.1 s
# for one aggregation over 16.8M edges).
BLOCK_NODES = 1 << 17
# More blocks than this only if memory asks for them: every block more is another copy of the hubs (1.8 rows
# shipped per node with 8 blocks, 6.8 with 128).
MOST_BLOCKS = 256
PROBE = ".probe"

Pieces = dict[str, list[Piece] | None]

COUNTS = (
    "nodes",
    "edges",
    "self_loops",
    "payload_rows_loops",  # nodes with self-loops: rows that the block needs of itself for them
    "dropped",  # edges left out because an end is no node
    "max_in_degree",
    "payload_rows_in",  # rows that all tiles of the block need for one exchange, but those of the self-loops
    "payload_rows_own",  # of these, rows of the block itself
    "payload_rows_out",
    "static_bytes",
    "sends_bytes",
)

# what prepare sets in the session while it runs
SETTINGS = {
    # a packed row is up to 1 MB: without a bound, 10 000 of them are one Arrow batch
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    # 10 000 edges are 160 KB; larger batches cost fewer round trips
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 17),
}


def prepare(
    graph: Graph,
    path: str,
    blocks: int | None = None,
    overwrite: bool = False,
    task_memory: int | None = None,
    text_hash: TextHash = text_keys,
) -> PreparedGraph:
    """Runs jobs: cuts a graph into blocks and stores them at `path`, which all machines must be able to write.

    Parameters
    ----------
    blocks : int, optional
        Into how many; `choose_blocks` decides if it is not given.
    overwrite : bool
        Replace the prepared graph that is at `path`. Anything else there is not touched.
    task_memory : int, optional
        Bytes that a task may use, for the choice of blocks.

    Raises
    ------
    DataError
        If the tables cannot be used: one message with all that is wrong, with counts and examples.
    StorageError
        If the path exists (and `overwrite` is not given) or cannot be written. Nothing is left under it.
    """
    if blocks is not None and blocks < 1:
        raise SettingError(f"blocks is {blocks}; a graph has at least 1 block")
    spark = graph.nodes.sparkSession
    staging = storage.stage(path, overwrite)
    try:
        with session_settings(spark, SETTINGS), readable_errors():
            pieces = {layout.table: _pieces(graph, layout) for layout in (graph.node_layout, graph.edge_layout)}
            cores, pieces = _look_around(spark, staging, pieces)
            if blocks is None:
                memory = task_memory or resources.task_memory(spark) // (cores if resources.is_local(spark) else 1)
                blocks = _count_and_choose(graph, pieces, memory, cores)
            rows = _run(graph, pieces, staging, blocks, text_hash)
        storage.publish(staging, path, _manifest(graph, blocks, rows))
    except BaseException:
        storage.discard(staging)
        raise
    return open_graph(path)


def choose_blocks(nodes: int, edges: int, width: int, task_memory: int = 1 << 30, cores: int = 1) -> int:
    """How many blocks: about 131 072 nodes in each, but no more than 256 unless a block would not fit a task's memory.

    A graph of one block's size is one block; a larger one has at least a block for each core.
    """
    if nodes <= BLOCK_NODES and edges <= 16 * BLOCK_NODES:
        return 1
    # records are held three times, as they arrived, in order, and as rows: 8 + 4 * width bytes a node, 16 an edge
    needed = math.ceil(3 * (nodes * (8 + 4 * width) + edges * 16) / task_memory)
    return max(needed, cores, min(math.ceil(nodes / BLOCK_NODES), MOST_BLOCKS))


# ---- the job


def _run(graph: Graph, pieces: Pieces, staging: str, blocks: int, text_hash: TextHash) -> list[Row]:
    """FACTS of all blocks, whose files are written; DataError for what is wrong."""
    for seed in SEEDS:
        layouts = [
            dataclasses.replace(layout, seed=seed, text_hash=text_hash)
            for layout in (graph.node_layout, graph.edge_layout)
        ]
        plan = Plan(layouts[0], layouts[1], blocks, graph.drop_dangling)
        rows = list(from_batches(_frame(graph, pieces, plan, staging).toArrow().to_batches()))
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break
    if plan.edges.text:
        findings = spell(findings, lambda column, keys: _texts(graph.edges, column, keys, plan.edges))
    refuse(findings)
    return [row for row in rows if row.kind == FACTS]


def _frame(graph: Graph, pieces: Pieces, plan: Plan, staging: str) -> DataFrame:
    """The whole job, lazily: rows of kind FACTS and FINDING."""
    from pyspark.sql import functions as F

    # a row for each block: one without nodes and edges is a block too
    every = graph.nodes.sparkSession.range(0, plan.blocks, 1, 1).select(
        F.col("id").cast("int").alias(TARGET),
        *(F.lit(None).cast(column.split()[1]).alias(column.split()[0]) for column in ROW_DDL.split(", ")[1:]),
    )
    rows = every.union(_packed(graph.nodes, plan.nodes, pieces["nodes"], plan.blocks))
    rows = rows.union(_packed(graph.edges, plan.edges, pieces["edges"], plan.blocks))
    todo = steps(plan)
    for step in todo:
        writes = staging if not plan.drop_dangling or step is todo[-1] else None
        work = functools.partial(_work, step=step, plan=plan, writes=writes)
        rows = place(rows, plan.blocks).mapInArrow(work, ROW_DDL)
    return rows


def _packed(table: DataFrame, layout: Layout, pieces: list[Piece] | None, blocks: int) -> DataFrame:
    """The packed rows of a table, which workers read themselves if there are pieces of it."""
    from pyspark.sql import functions as F

    if pieces is not None:
        tasks = max(1, len(pieces))
        numbers = table.sparkSession.range(0, len(pieces), 1, tasks)
        return numbers.mapInArrow(functools.partial(_pack_pieces, pieces=pieces, layout=layout, blocks=blocks), ROW_DDL)
    key = "string" if layout.text else "bigint"
    columns = [F.col(quoted(name)).cast(key) for name in layout.keys]
    types = dict(table.dtypes)
    for value in layout.values:
        for name in value.columns:
            column = F.col(quoted(name))
            if not value.array:
                columns.append(column.cast("float"))
            elif types[name] in ("array<float>", "array<double>"):
                columns.append(column)  # NumPy makes float32 of doubles faster than Spark casts an array
            else:
                columns.append(column.cast("array<float>"))
    renamed = [column.alias(f"c{i}") for i, column in enumerate(columns)]
    return table.select(*renamed).mapInArrow(functools.partial(_pack, layout=layout, blocks=blocks), ROW_DDL)


def _pack(batches: Iterable[pa.RecordBatch], layout: Layout, blocks: int) -> Iterator[pa.RecordBatch]:
    yield from to_batches(pack(batches, layout, blocks))


def _pack_pieces(
    batches: Iterable[pa.RecordBatch], pieces: list[Piece], layout: Layout, blocks: int
) -> Iterator[pa.RecordBatch]:
    mine = [pieces[number] for batch in batches for number in batch.column(0).to_pylist()]
    read = itertools.chain.from_iterable(read_piece(piece, layout.columns) for piece in mine)
    yield from to_batches(pack(read, layout, blocks))


def _work(batches: Iterable[pa.RecordBatch], step: Step, plan: Plan, writes: str | None) -> Iterator[pa.RecordBatch]:
    """One step of all blocks of a partition. What a block keeps is written here, by the worker; the rest goes on."""
    arrived = by_target(batches)
    for index in list(arrived):  # each is let go when its turn comes
        rows = step(index, arrived.pop(index), plan)
        yield from to_batches(_keep(rows, index, writes) if writes else rows)


def _keep(rows: Iterable[Row], index: int, path: str) -> Iterator[Row]:
    files: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.kind in KINDS:
            files["sends" if row.kind == SENDS and row.source != LOOPS else "static"].append(row)
        else:
            yield row
    for file, kept in files.items():
        storage.write_rows(path, index, file, kept)


# ---- what is known before


def _pieces(graph: Graph, layout: Layout) -> list[Piece] | None:
    """The pieces of a table that workers may read themselves: Parquet, and not changed since it was read."""
    source = graph.sources.get(layout.table, {})
    if not graph.as_read or source.get("format") != "parquet":
        return None
    return parquet_pieces(source["path"], layout.columns)


def _look_around(spark: SparkSession, staging: str, pieces: Pieces) -> tuple[int, Pieces]:
    """Runs a job: whether workers see the directory to write into, which they must, and the tables.

    Returns how many tasks run at once, and the pieces of tables that all workers see.
    """
    token = staging.rpartition("-")[2]
    storage.write_text(staging, PROBE, token)
    first = {table: found[0] for table, found in pieces.items() if found}
    answers = ask_workers(spark, functools.partial(_visible, staging, token, list(first.values())))
    storage.remove(staging, PROBE)
    if not all(answer[0] for answer in answers):
        raise StorageError(f"{staging}: the workers do not see this directory; give a path that all machines share")
    seen = {table for i, table in enumerate(first) if all(answer[i + 1] for answer in answers)}
    return len(answers), {table: found if table in seen else None for table, found in pieces.items()}


def _visible(staging: str, token: str, pieces: list[Piece]) -> list[bool]:
    return [storage.read_text(staging, PROBE) == token, *map(is_visible, pieces)]


def _count_and_choose(graph: Graph, pieces: Pieces, task_memory: int, cores: int) -> int:
    """Runs jobs, if workers do not read the tables themselves: counts rows. Looks at one node for the widths."""
    from pyspark.sql import functions as F

    counts = {}
    for table, frame in (("nodes", graph.nodes), ("edges", graph.edges)):
        found = pieces[table]
        counts[table] = frame.count() if found is None else sum(piece.rows for piece in found)
    values = graph.node_layout.values
    sizes = [F.size(quoted(value.columns[0])) if value.array else F.lit(len(value.columns)) for value in values]
    first = graph.nodes.select(sum(sizes, F.lit(0)).alias("width")).first() if counts["nodes"] > BLOCK_NODES else None
    width = max(first.width or 0, 0) if first else 0
    edges = counts["edges"] * (2 if graph.edge_layout.undirected else 1)
    return choose_blocks(counts["nodes"], edges, width, task_memory, cores)


# ---- what is known after


def _texts(edges: DataFrame, column: str, keys: list[int], layout: Layout) -> dict[int, str]:
    """Runs a job, but only to say what is wrong: edge ends by their keys."""
    find = functools.partial(_find_texts, keys=keys, layout=layout)
    found = edges.select(quoted(column)).mapInArrow(find, "key bigint, text string").distinct().collect()
    return {row.key: row.text for row in found}


def _find_texts(batches: Iterable[pa.RecordBatch], keys: list[int], layout: Layout) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = texts_of(batch.column(0), keys, layout)
        yield pa.RecordBatch.from_arrays(
            [pa.array(found.keys(), pa.int64()), pa.array(found.values(), pa.string())], ["key", "text"]
        )


def _manifest(graph: Graph, blocks: int, rows: list[Row]) -> dict[str, Any]:
    facts: list[dict[str, Any]] = [{} for _ in range(blocks)]
    for row in rows:
        facts[row.target] |= json.loads(row.data.tobytes())
    # widths of edge values are known where there are edges; without any, those of numbers still are
    edge_widths = {value.name: 0 if value.array else len(value.columns) for value in graph.edge_layout.values}
    for block in facts:
        edge_widths |= block["edge_widths"]
    schema = GraphSchema({NODE: facts[0]["widths"]}, {EDGE: edge_widths}).to_json()
    digests = [(block["static_digest"], block["sends_digest"]) for block in facts]
    per_block = {name: [block[name] for block in facts] for name in COUNTS}
    totals = {name: (max if name == "max_in_degree" else sum)(numbers) for name, numbers in per_block.items()}
    return {
        "fingerprint": hashlib.sha256(json.dumps([schema, digests]).encode()).hexdigest(),
        "blocks": blocks,
        "schema": schema,
        **graph.describe(),
        "totals": totals,
        "per_block": per_block,
    }
