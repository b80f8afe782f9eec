"""Tables to a prepared graph, once per graph; no edge is ever joined.

Comes in: a `Graph` of Spark DataFrames. Goes out: a `PreparedGraph` on disk. Knows Spark, and how rows get from one
step to the next; what a step does is in build/.

    nodes, edges → pack ─ shuffle 1: every node and edge once, packed ─► build: nodes, tiles, requests
                          shuffle 2: 8 bytes for each boundary node   ─► answer: send lists

On one machine that sees the tables itself, the same steps run in this process (build/local.py).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from pipeline import resources, storage
from pipeline.build.checks import refuse, spell
from pipeline.build.facts import FACTS
from pipeline.build.local import Source, keep, prepare_here, steps_written
from pipeline.build.pack import pack
from pipeline.build.steps import SEEDS, Plan, Step, findings_of, texts_of
from pipeline.columns import ROW_DDL, TARGET
from pipeline.errors import SettingError
from pipeline.graph import Graph, PreparedGraph, open_graph
from pipeline.placement import place
from pipeline.ranges import merge_ranges
from pipeline.rows import Row, by_target, from_batches, to_batches
from pipeline.schema import NODE, GraphSchema
from pipeline.tables.files import Piece, read_pieces
from pipeline.tables.layout import Layout, TextHash, text_keys
from pipeline.tables.survey import Pieces, look_around, measure, pieces_of, selected
from pipeline.workers import quoted, readable_errors, session_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

# 131 072 nodes: what tiles read of 64 float32 features is 32 MB, and mostly stays in cache (0.56 s instead of 1.1 s
# for one aggregation over 16.8M edges).
BLOCK_NODES = 1 << 17
# More blocks than this only if memory asks for them: every block more is another copy of the hubs (1.8 rows
# shipped per node with 8 blocks, 6.8 with 128).
MOST_BLOCKS = 256
# Of records in tables that come through the JVM: so much is prepared in the driver of a local session. Spark's fixed
# costs for it, in a session that has just started, are 5 s.
DRIVER_BYTES = 1 << 26

COUNTS = (
    "nodes",
    "edges",
    "self_loops",
    "payload_rows_loops",  # nodes with self-loops: rows that the block needs of itself for them
    "dropped",  # edges left out because an end is no node
    "both_ways",  # of undirected edges: rows of the table, no self-loops, whose reverse is a row too
    "max_in_degree",
    "payload_rows_in",  # rows that all tiles of the block need for one exchange, but those of the self-loops
    "payload_rows_in_reversed",  # the same for the edges against their direction
    "payload_rows_own",  # of payload_rows_in, rows of the block itself
    "payload_rows_pulled",  # rows for pulled edges, if the others are pushed ...
    "payload_rows_pushed",  # ... and partial results of those
    "payload_rows_pulled_reversed",
    "payload_rows_pushed_reversed",
    "payload_rows_out",
    "static_bytes",
    "static_bytes_reversed",  # of these, of tiles against the edges' direction
    "sends_bytes",
    "sends_bytes_reversed",
    "push_bytes",  # of sends_bytes, edges that may be pushed; in their direction, and against it
    "push_bytes_reversed",
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

    Where all is on this machine and the tables are Parquet, there are no jobs: this process does the work.

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
    spark = graph.session
    staging = storage.stage(path, overwrite)
    try:
        with session_settings(spark, SETTINGS) if spark else nullcontext(), readable_errors():
            pieces = {layout.table: pieces_of(graph, layout) for layout in (graph.node_layout, graph.edge_layout)}
            cores, pieces = look_around(spark, staging, pieces)
            memory = task_memory or resources.task_memory(spark) // (cores if resources.is_local(spark) else 1)
            found = measure(graph, pieces) if blocks is None or not all(pieces.values()) else None
            if blocks is None:
                assert found is not None
                blocks = choose_blocks(*found, memory, cores)
            here = Here(cores, cores * memory) if _fits_here(spark, pieces, found) else None
            rows = _run(graph, pieces, staging, blocks, text_hash, here)
        manifest = _manifest(graph, blocks, rows)
        _warn_both_ways(manifest["totals"])
        storage.publish(staging, path, manifest)
    except BaseException:
        storage.discard(staging)
        raise
    return open_graph(path)


def _warn_both_ways(totals: Mapping[str, int]) -> None:
    """Says that undirected edges are in the table in both directions, if some are: each of them is there twice then."""
    both, edges = totals["both_ways"], (totals["edges"] - totals["self_loops"]) // 2
    if both and both == edges:
        log.warning(
            "undirected=True, and every one of the %s edges is in the table in both directions already: each is stored "
            "twice in each direction, which changes sums and degrees; leave undirected=True out",
            f"{edges:,}",
        )
    elif both:
        log.warning(
            "undirected=True, and %s of the %s edges have their reverse in the table too: each of these is stored "
            "twice in each direction, which changes sums and degrees; keep one row for each pair, if that is not meant",
            f"{both:,}",
            f"{edges:,}",
        )


def choose_blocks(nodes: int, edges: int, width: int, task_memory: int = 1 << 30, cores: int = 1) -> int:
    """How many blocks: about 131 072 nodes in each, but no more than 256 unless a block would not fit a task's memory.

    A graph of one block's size is one block; a larger one has at least a block for each core.
    """
    if nodes <= BLOCK_NODES and edges <= 16 * BLOCK_NODES:
        return 1
    # records are held three times, as they arrived, in order, and as rows
    needed = math.ceil(3 * record_bytes(nodes, edges, width) / task_memory)
    return max(needed, cores, min(math.ceil(nodes / BLOCK_NODES), MOST_BLOCKS))


def record_bytes(nodes: int, edges: int, width: int) -> int:
    """Of all keys and features: 8 + 4 * width bytes a node, 16 an edge."""
    return nodes * (8 + 4 * width) + edges * 16


# ---- the job


class Here(NamedTuple):
    """What this process may use."""

    threads: int
    memory: int
    """Bytes, of all threads together."""


def _fits_here(spark: SparkSession | None, pieces: Pieces, found: tuple[int, int, int] | None) -> bool:
    """Whether this process is as good as the tasks: if they run on this machine, and no table has to come through the
    JVM, or a small one only. A shuffle in the JVM would take twice the time."""
    plain = all(found is not None for found in pieces.values())
    return resources.is_local(spark) and (plain or (found is not None and record_bytes(*found) <= DRIVER_BYTES))


def _run(graph: Graph, pieces: Pieces, staging: str, blocks: int, text_hash: TextHash, here: Here | None) -> list[Row]:
    """FACTS of all blocks, whose files are written; DataError for what is wrong."""
    for seed in SEEDS:
        layouts = [
            dataclasses.replace(layout, seed=seed, text_hash=text_hash)
            for layout in (graph.node_layout, graph.edge_layout)
        ]
        plan = Plan(layouts[0], layouts[1], blocks, graph.drop_dangling)
        if here:
            rows = prepare_here(_sources(graph, pieces, plan), plan, staging, here.threads, here.memory)
            resources.give_back()
        else:
            rows = list(from_batches(_frame(graph, pieces, plan, staging).toArrow().to_batches()))
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break
    if plan.edges.text:
        find = functools.partial(_texts, graph.edges, pieces["edges"] if here else None, plan.edges)
        findings = spell(findings, find)
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
    for step, writes in steps_written(plan, staging):
        work = functools.partial(_work, step=step, plan=plan, writes=writes)
        rows = place(rows, plan.blocks).mapInArrow(work, ROW_DDL)
    return rows


def _sources(graph: Graph, pieces: Pieces, plan: Plan) -> dict[str, list[Source]]:
    """What opens the parts of both tables in this process; a table that is not plain Parquet is one part."""
    sources: dict[str, list[Source]] = {}
    for table, layout in ((graph.nodes, plan.nodes), (graph.edges, plan.edges)):
        found = pieces[layout.table]
        if found is None:
            sources[layout.table] = [functools.partial(_collected, table, layout)]
        else:
            sources[layout.table] = [functools.partial(read_pieces, [piece], layout.columns) for piece in found]
    return sources


def _collected(table: DataFrame, layout: Layout) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = selected(table, layout).toArrow().to_batches()
    return batches


def _packed(table: DataFrame, layout: Layout, pieces: list[Piece] | None, blocks: int) -> DataFrame:
    """The packed rows of a table, which workers read themselves if there are pieces of it."""
    if pieces is not None:
        tasks = max(1, len(pieces))
        numbers = table.sparkSession.range(0, len(pieces), 1, tasks)
        return numbers.mapInArrow(functools.partial(_pack_pieces, pieces=pieces, layout=layout, blocks=blocks), ROW_DDL)
    return selected(table, layout).mapInArrow(functools.partial(_pack, layout=layout, blocks=blocks), ROW_DDL)


def _pack(batches: Iterable[pa.RecordBatch], layout: Layout, blocks: int) -> Iterator[pa.RecordBatch]:
    yield from to_batches(pack(batches, layout, blocks))


def _pack_pieces(
    batches: Iterable[pa.RecordBatch], pieces: list[Piece], layout: Layout, blocks: int
) -> Iterator[pa.RecordBatch]:
    mine = [pieces[number] for batch in batches for number in batch.column(0).to_pylist()]
    yield from to_batches(pack(read_pieces(mine, layout.columns), layout, blocks))


def _work(batches: Iterable[pa.RecordBatch], step: Step, plan: Plan, writes: str | None) -> Iterator[pa.RecordBatch]:
    """One step of all blocks of a partition. What a block keeps is written here, by the worker; the rest goes on."""
    arrived = by_target(batches)
    for index in list(arrived):  # each is let go when its turn comes
        rows = step(index, arrived.pop(index), plan)
        yield from to_batches(keep(rows, index, writes) if writes else rows)


# ---- what is known after


def _texts(
    edges: DataFrame, pieces: list[Piece] | None, layout: Layout, column: str, keys: list[int]
) -> dict[int, str]:
    """Runs a job, or reads pieces of the table here, but only to say what is wrong: edge ends by their keys."""
    if pieces is not None:
        named: dict[int, str] = {}
        for batch in read_pieces(pieces, [column]):
            named |= texts_of(batch.column(0), keys, layout)
        return named
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
    schema = GraphSchema({NODE: facts[0]["widths"]}, dict.fromkeys(graph.edge_layout.edge_types, edge_widths)).to_json()
    digests = [(block["static_digest"], block["sends_digest"]) for block in facts]
    per_block = {name: [block[name] for block in facts] for name in COUNTS}
    totals = {name: (max if name == "max_in_degree" else sum)(numbers) for name, numbers in per_block.items()}
    return {
        "fingerprint": hashlib.sha256(json.dumps([schema, digests]).encode()).hexdigest(),
        "blocks": blocks,
        "schema": schema,
        "ranges": merge_ranges(block["ranges"] for block in facts),
        **graph.describe(),
        "totals": totals,
        "per_block": per_block,
    }
