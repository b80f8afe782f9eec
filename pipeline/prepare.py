"""Tables to a prepared graph, once per graph; no edge is ever joined.

Comes in: a `Graph` of Spark DataFrames. Goes out: a `PreparedGraph` on disk. Knows Spark, and how rows get from one
step to the next; what a step does is in preparing/.

    nodes, edges → pack ─ shuffle 1: every node and edge once, packed ─► build: nodes, tiles, requests
                          shuffle 2: 8 bytes for each boundary node   ─► answer: send lists

On one machine that sees the tables itself, the same steps run in this process (preparing/local.py).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from pipeline.blocks import storage
from pipeline.blocks.columns import ROW_DDL, TARGET
from pipeline.blocks.rows import Row, by_target, from_batches, to_batches
from pipeline.errors import SettingError
from pipeline.graph import Graph
from pipeline.places.given import path_of
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.preparing.checks import check_totals, refuse
from pipeline.preparing.facts import FACTS
from pipeline.preparing.findings import find_names, findings_of, texts_of
from pipeline.preparing.local import TableSource, prepare_in_process
from pipeline.preparing.manifest import manifest_of, warn_both_ways
from pipeline.preparing.origin import origin_of, places_of, same_graph
from pipeline.preparing.pack import pack
from pipeline.preparing.preparation import SEEDS, Preparation, Step
from pipeline.preparing.publish import publishing, refuse_taken, sweep
from pipeline.preparing.sizes import MOST_BLOCKS, check_blocks, choose_blocks, record_bytes
from pipeline.preparing.steps import Writes, keep, steps_written
from pipeline.run.placement import place
from pipeline.schema import quoted
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.limits import trim_memory
from pipeline.spark.session import readable_errors, session_settings
from pipeline.tables.layout import Layout, TextHash, text_keys
from pipeline.tables.survey import Pieces, frame_of, measure, pieces_of, selected, table_probes
from pipeline.tables.table import Piece, Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

# Of records in tables that come through the JVM: so much is prepared in the driver of a local session. Spark's fixed
# costs for it, in a session that has just started, are 5 s.
DRIVER_BYTES = 1 << 26

IF_SAME = ("skip",)

# what prepare sets in the session while it runs
SETTINGS = {
    # a packed row is up to 1 MB: without a bound, 10 000 of them are one Arrow batch
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    # 10 000 edges are 160 KB; larger batches cost fewer round trips
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 17),
}


def prepare(
    graph: Graph,
    path: str | os.PathLike[str],
    blocks: int | None = None,
    overwrite: bool = False,
    task_memory: int | str | None = None,
    text_hash: TextHash = text_keys,
    if_same: str | None = None,
    shake: Handshake | None = None,
) -> PreparedGraph:
    """Runs jobs: cuts a graph into blocks and stores them at `path`, which all machines must be able to write.

    Where all is on this machine and the tables are files or in memory, there are no jobs: this process does the work.

    Parameters
    ----------
    path
        A directory, which is made. What a killed prepare has left there is removed.
    blocks : int, optional
        Into how many; `choose_blocks` decides if it is not given.
    overwrite : bool
        Replace the prepared graph that is at `path`, and nothing else: it stays until the new one is complete. A run
        that is reading the old one ends with an error.
    task_memory : int or text, optional
        Bytes that a task may use, for the choice of blocks.
    if_same : "skip", optional
        If the graph at `path` was made of the same files in the same way, return it and do nothing. Files are the same
        if their names, sizes and times are; of DataFrames they are not known.
    shake : Handshake, optional
        What is known of the tasks of the tables' session, if they were asked about `path` and the tables already.

    Raises
    ------
    ClusterError
        If tasks do not have what this process has.
    DataError
        If the tables cannot be used: one message with all that is wrong, with counts and examples.
    SettingError
        If the path is, holds or lies in one of the tables.
    StorageError
        If there is something at the path (but for a graph, with `overwrite`), or if it cannot be written. Nothing is
        left there that was not there before.
    """
    from pipeline.run.arguments import graph_of

    graph, path = graph_of(graph), path_of("the path of a prepared graph", path)
    checked = Settings.of({"blocks": blocks, "task_memory": task_memory})
    blocks, task_memory = checked.blocks, checked.task_memory
    if if_same not in (None, *IF_SAME):
        raise SettingError(f"if_same is {if_same!r}; accepted: {', '.join(IF_SAME)}")
    if if_same and (there := already_there(graph, path, blocks, overwrite)):
        return there
    spark = graph.session
    if shake is None:
        refuse_taken(path, overwrite, places_of(graph))  # before any job
        shake = handshake(spark, [Probe(os.fspath(path), made=True), *table_probes(graph)])
    shake.require_written(os.fspath(path), "give a path that all machines share")
    with publishing(path, overwrite, places_of(graph)) as target:
        origin = origin_of(graph, blocks)  # before they are read: what changes meanwhile is seen by the next prepare
        with session_settings(spark, SETTINGS) if spark else nullcontext(), readable_errors():
            pieces = {layout.table: pieces_of(graph, layout, shake) for layout in graph.layouts}
            cores = shake.tasks
            memory = task_memory or shake.task_memory // (cores if shake.local else 1)
            found = measure(graph, pieces) if blocks is None or not all(pieces.values()) else None
            if blocks is None:
                assert found is not None
                blocks = choose_blocks(*found, memory, cores)
            elif blocks > MOST_BLOCKS:
                found = found or measure(graph, pieces)
                check_blocks(blocks, choose_blocks(*found, memory, cores), found[0])
            here = Here(cores, cores * memory) if _fits_in_process(shake, pieces, found) else None
            rows = _run(graph, pieces, target.folder, blocks, text_hash, here)
        manifest = manifest_of(graph, blocks, rows)
        known = {layout.table: _known_rows(layout, pieces[layout.table]) for layout in graph.layouts}
        check_totals(manifest, known, graph.layouts)
        warn_both_ways(manifest["totals"])
        sizes = {name: manifest["per_block"][f"{name}_file_bytes"] for name in storage.FILES}
        target.publish({**manifest, **origin}, sizes)
    return open_graph(path)


def already_there(
    graph: Graph, path: str | os.PathLike[str], blocks: int | None, overwrite: bool = False
) -> PreparedGraph | None:
    """The graph that is at `path`, if it is the one that `prepare` would make; else None, or, without `overwrite`, a
    StorageError that says what is different. What killed runs left beside it is removed."""
    found = same_graph(graph, path, blocks, overwrite)
    if found:
        sweep(path)
    return found


# ---- the job


class Here(NamedTuple):
    """What this process may use."""

    threads: int
    memory: int
    """Bytes, of all threads together."""


def _fits_in_process(shake: Handshake, pieces: Pieces, found: tuple[int, int, int] | None) -> bool:
    """Whether this process is as good as the tasks: if they run on this machine, and no table has to come through the
    JVM, or a small one only. A shuffle in the JVM would take twice the time."""
    plain = all(found is not None for found in pieces.values())
    return shake.local and (plain or (found is not None and record_bytes(*found) <= DRIVER_BYTES))


def _run(graph: Graph, pieces: Pieces, folder: str, blocks: int, text_hash: TextHash, here: Here | None) -> list[Row]:
    """FACTS of all blocks, whose files are written; DataError for what is wrong."""
    for seed in SEEDS:
        layouts = (dataclasses.replace(layout, seed=seed, text_hash=text_hash) for layout in graph.layouts)
        plan = Preparation(tuple(layouts), blocks, graph.drop_dangling)
        if here:
            rows = prepare_in_process(_sources(graph, pieces, plan), plan, folder, here.threads, here.memory)
            trim_memory()
        else:
            rows = list(from_batches(_frame(graph, pieces, plan, folder).toArrow().to_batches()))
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break
    refuse(find_names(findings, plan, functools.partial(_texts, graph, pieces if here else {})))
    return [row for row in rows if row.kind == FACTS]


def _frame(graph: Graph, pieces: Pieces, plan: Preparation, folder: str) -> DataFrame:
    """The whole job, lazily: rows of kind FACTS and FINDING."""
    from pyspark.sql import functions as F

    # a row for each block: one without nodes and edges is a block too
    spark = graph.session
    assert spark is not None
    every = spark.range(0, plan.blocks, 1, 1).select(
        F.col("id").cast("int").alias(TARGET),
        *(F.lit(None).cast(column.split()[1]).alias(column.split()[0]) for column in ROW_DDL.split(", ")[1:]),
    )
    rows = every
    for layout in plan.layouts:
        rows = rows.union(_packed(spark, graph.tables[layout.table], layout, pieces[layout.table], plan.blocks))
    for step, file in steps_written(plan):
        work = functools.partial(_work, step=step, plan=plan, writes=(folder, file) if file else None)
        rows = place(rows, plan.blocks).mapInArrow(work, ROW_DDL)
    return rows


def _sources(graph: Graph, pieces: Pieces, plan: Preparation) -> dict[str, list[TableSource]]:
    """What opens the parts of all tables in this process; a table that comes through Spark is one part."""
    sources: dict[str, list[TableSource]] = {}
    for layout in plan.layouts:
        table, found = graph.tables[layout.table], pieces[layout.table]
        if found is None:
            sources[layout.table] = [functools.partial(_collected, frame_of(table, graph.session, layout), layout)]
        else:
            sources[layout.table] = [functools.partial(read_pieces, [piece], layout.columns) for piece in found]
    return sources


def _collected(table: DataFrame, layout: Layout) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = selected(table, layout).toArrow().to_batches()
    return batches


def _packed(
    spark: SparkSession, table: DataFrame | Table, layout: Layout, pieces: list[Piece] | None, blocks: int
) -> DataFrame:
    """The packed rows of a table, which workers read themselves if there are pieces of it."""
    if pieces is not None:
        tasks = max(1, len(pieces))
        numbers = spark.range(0, len(pieces), 1, tasks)
        return numbers.mapInArrow(functools.partial(_pack_pieces, pieces=pieces, layout=layout, blocks=blocks), ROW_DDL)
    table = frame_of(table, spark, layout)
    return selected(table, layout).mapInArrow(functools.partial(_pack, layout=layout, blocks=blocks), ROW_DDL)


def _pack(batches: Iterable[pa.RecordBatch], layout: Layout, blocks: int) -> Iterator[pa.RecordBatch]:
    yield from to_batches(pack(batches, layout, blocks))


def _pack_pieces(
    batches: Iterable[pa.RecordBatch], pieces: list[Piece], layout: Layout, blocks: int
) -> Iterator[pa.RecordBatch]:
    mine = [pieces[number] for batch in batches for number in batch.column(0).to_pylist()]
    yield from to_batches(pack(read_pieces(mine, layout.columns), layout, blocks))


def _work(
    batches: Iterable[pa.RecordBatch], step: Step, plan: Preparation, writes: Writes | None
) -> Iterator[pa.RecordBatch]:
    """One step of all blocks of a partition. What a block keeps is written here, by the worker; the rest goes on."""
    arrived = by_target(batches)
    for index in list(arrived):  # each is let go when its turn comes
        rows = step(index, arrived.pop(index), plan)
        yield from to_batches(keep(rows, index, *writes) if writes else rows)


# ---- what is known after


def _known_rows(layout: Layout, pieces: list[Piece] | None) -> int | None:
    """Rows of a table, as far as they were known before it was read."""
    if layout.where is not None:
        return layout.where.rows
    return None if pieces is None else sum(piece.rows for piece in pieces)


def _texts(graph: Graph, pieces: Pieces, layout: Layout, column: str, keys: list[int]) -> dict[int, str]:
    """Runs a job, or reads pieces of the table here, but only to say what is wrong: edge ends by their keys."""
    here = pieces.get(layout.table)
    if here is not None:
        named: dict[int, str] = {}
        for batch in read_pieces(here, [column]):
            named |= texts_of(batch.column(0), keys, layout)
        return named
    find = functools.partial(_find_texts, keys=keys, layout=layout)
    edges = frame_of(graph.tables[layout.table], graph.session, layout)
    found = edges.select(quoted(column)).mapInArrow(find, "key bigint, text string").distinct().collect()
    return {row.key: row.text for row in found}


def _find_texts(batches: Iterable[pa.RecordBatch], keys: list[int], layout: Layout) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found = texts_of(batch.column(0), keys, layout)
        yield pa.RecordBatch.from_arrays(
            [pa.array(found.keys(), pa.int64()), pa.array(found.values(), pa.string())], ["key", "text"]
        )
