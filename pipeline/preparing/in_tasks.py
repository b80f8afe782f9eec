"""Prepare in the tasks of a session: as one job whose rows go through shuffles, or packed into files.

Comes in: a `Graph`, pieces of its tables that tasks see, a plan. Goes out: a DataFrame of FACTS and FINDINGs, or the
receipts of files. The only file of this room that knows what a session does; what a step does, it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.blocks.columns import ROW_DDL, TARGET
from pipeline.blocks.rows import by_target, to_batches
from pipeline.graph import Graph
from pipeline.preparing.by_step import PACK, timed
from pipeline.preparing.pack import pack
from pipeline.preparing.preparation import Preparation, Step
from pipeline.preparing.steps import Writes, keep, steps_written
from pipeline.preparing.stored import WRITTEN_DDL, StepFiles, Written
from pipeline.spark.placement import place
from pipeline.spark.task_function import task_function
from pipeline.tables.layout import Layout
from pipeline.tables.survey import Pieces, frame_of, selected
from pipeline.tables.table import Piece, Table, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_MOST_PARTITIONS = 1 << 20  # of one table, in the numbers of files


def steps_in_tasks(graph: Graph, pieces: Pieces, plan: Preparation, folder: str) -> DataFrame:
    """The whole job, lazily: rows of kind FACTS and FINDING."""
    # a row for each block: one without nodes and edges is a block too
    spark = graph.session
    assert spark is not None
    rest = [f"cast(null as {column.split()[1]}) as {column.split()[0]}" for column in ROW_DDL.split(", ")[1:]]
    rows = spark.range(0, plan.blocks, 1, 1).selectExpr(f"cast(id as int) as {TARGET}", *rest)
    for layout in plan.layouts:
        rows = rows.union(_packed(spark, graph.tables[layout.table], layout, pieces[layout.table], plan))
    for step, file in steps_written(plan):
        work = partial(_work, step=step, plan=plan, writes=(folder, file) if file else None)
        rows = place(rows, plan.blocks).mapInArrow(task_function(work), ROW_DDL)
    return rows


def _packed(
    spark: SparkSession, table: DataFrame | Table, layout: Layout, pieces: list[Piece] | None, plan: Preparation
) -> DataFrame:
    """The packed rows of a table, which workers read themselves if there are pieces of it."""
    if pieces is not None:
        tasks = max(1, len(pieces))
        numbers = spark.range(0, len(pieces), 1, tasks)
        work = partial(_pack_pieces, pieces=pieces, layout=layout, plan=plan)
        return numbers.mapInArrow(task_function(work), ROW_DDL)
    table = frame_of(table, spark, layout)
    work = partial(_pack, layout=layout, plan=plan)
    return selected(table, layout).mapInArrow(task_function(work), ROW_DDL)


def _pack(batches: Iterable[pa.RecordBatch], layout: Layout, plan: Preparation) -> Iterator[pa.RecordBatch]:
    yield from to_batches(pack(batches, layout, plan))


def _pack_pieces(
    batches: Iterable[pa.RecordBatch], pieces: list[Piece], layout: Layout, plan: Preparation
) -> Iterator[pa.RecordBatch]:
    mine = [pieces[number] for batch in batches for number in batch.column(0).to_pylist()]
    yield from to_batches(pack(read_pieces(mine, layout.columns), layout, plan))


def _work(
    batches: Iterable[pa.RecordBatch], step: Step, plan: Preparation, writes: Writes | None
) -> Iterator[pa.RecordBatch]:
    """One step of all blocks of a partition. What a block keeps is written here, by the worker; the rest goes on."""
    arrived = by_target(batches)
    for index in list(arrived):  # each is let go when its turn comes
        rows = step(index, arrived.pop(index), plan)
        yield from to_batches(keep(rows, index, *writes) if writes else rows)


# ---- into files


def pack_in_tasks(graph: Graph, pieces: Pieces, plan: Preparation, files: StepFiles) -> list[Written]:
    """Runs a job for each table: packs it into files, one for each partition of it that has rows."""
    spark = graph.session
    assert spark is not None
    written = []
    for at, layout in enumerate(plan.layouts):
        found = pieces[layout.table]
        if found is None:
            rows = selected(frame_of(graph.tables[layout.table], spark, layout), layout)
        else:
            rows = spark.range(0, len(found), 1, max(1, len(found)))
        first = at * _MOST_PARTITIONS
        work = partial(_pack_to_file, pieces=found, layout=layout, plan=plan, files=files, first=first)
        numbered = rows.selectExpr("*", "spark_partition_id() as partition")
        written += [Written(*row) for row in numbered.mapInArrow(task_function(work), WRITTEN_DDL).collect()]
    return written


def _pack_to_file(
    batches: Iterable[pa.RecordBatch],
    pieces: list[Piece] | None,
    layout: Layout,
    plan: Preparation,
    files: StepFiles,
    first: int,
) -> Iterator[pa.RecordBatch]:
    batches = iter(batches)
    head = next((batch for batch in batches if batch.num_rows), None)
    if head is None:
        return
    part = first + head.column(head.num_columns - 1)[0].as_py()
    given = (batch.select(range(batch.num_columns - 1)) for batch in _again(head, batches))
    if pieces is None:
        rows = pack(given, layout, plan)
    else:
        mine = [pieces[number] for batch in given for number in batch.column(0).to_pylist()]
        rows = pack(read_pieces(mine, layout.columns), layout, plan)
    yield timed(files.made(PACK, part), part, rows)


def _again(head: pa.RecordBatch, rest: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield head
    yield from rest
