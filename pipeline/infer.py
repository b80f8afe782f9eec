"""Inference over a whole graph: a prepared graph and a model → every node's exact output.

Comes in: a graph (prepared, or raw tables), a model, settings. Goes out: a lazy DataFrame, or an Arrow table where
nobody has a session. The whole run on one page; what happens inside a task is in stage.py, how a result is written and
reported in score.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.blocks import storage
from pipeline.blocks.columns import DATA, KIND, NAME, PART, ROW_COLUMNS, ROW_DDL, SOURCE, TARGET
from pipeline.blocks.rows import EDGE_KINDS
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.places.scratch import Scratch
from pipeline.places.through_spark import literal
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep
from pipeline.prepared import PreparedGraph
from pipeline.result.by_type import giving, say_left_out, types_of, types_wanted
from pipeline.result.columns import Columns
from pipeline.result.output import MILLISECONDS, SUPERSTEP
from pipeline.result.written import Folder
from pipeline.run.arguments import model_of, some_graph
from pipeline.run.in_process import table_in_process
from pipeline.run.located import ids_of
from pipeline.run.planned import Planned
from pipeline.run.stage import (
    CLOCK,
    PARTIAL,
    PAYLOAD,
    SEED,
    SOURCE_ID_OFFSETS,
    SOURCE_IDS,
    STATE,
    TOTAL,
    fused_worker,
    superstep_worker,
)
from pipeline.run.task import Run, static_edges, static_kinds
from pipeline.schema import NODE, AnyType
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, handshake
from pipeline.spark.message import refuse_message
from pipeline.spark.placement import place
from pipeline.spark.task_function import task_function
from pipeline.tables.targets import Targets

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Observation, SparkSession

from pipeline.planning import (
    plan_run,
    planned_run,
    probes_of,
    refuse_distributed,
    refuse_targets,
    refuse_without_spark,
    session_of,
)

log = logging.getLogger("graphsweep")

Observations = dict[str, "Observation"]
"""RESULT, or the number of a superstep → what Spark counts while the run's one action passes by."""
RESULT = "result"


def infer(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    classify: bool = False,
    spark: SparkSession | None = None,
    types: Sequence[str | tuple[str, str, str]] | None = None,
    targets: Any = None,
    ignore_unknown: bool = False,
    output_id: str | None = None,
) -> Any:
    """Every node's exact output, keyed by the user's id.

    With a Spark session, that of the graph's DataFrames, `spark`, or the active one, Spark runs the model: a prepared
    graph lazily. A raw `Graph` is prepared first, which runs jobs, in `settings.scratch`; what is there of it is
    removed when the process ends. Where nobody has a session this process runs the model at once, without Spark and
    Java, and gives Arrow tables: `.to_pandas()`, or `polars.from_arrow`. `targets` and `ignore_unknown` as for `score`.

    Returns
    -------
    DataFrame, or pyarrow.Table without a session
        The ids, under the name and in the type that they have in the node table, or under `output_id`; the model's
        outputs by name (array<float>; float where a row is one number), and with `classify` predicted int and
        probability float of the first output. Where the model names classes, also `label` string, of several outputs
        `OUTPUT_label`: the name of the largest number, of the first of equal ones; null where a number is NaN. Of a
        model that gives a row per edge, in place of the ids: src, dst, parallel int (0, 1, … of the edges between the
        same two nodes, in the order of their columns), and the columns of the edges in the graph. Of a typed graph:
        type → one of these, of all types for which the model gives something, or of `types`; a type of edges is
        (source, relation, target). Each is a run of its own, which computes what its type needs and nothing else:
        `score` writes all types in one run.

    Raises
    ------
    ModelError
        If the graph lacks a column that the model reads, or has it in another width. Before any work starts. Or if
        there is no session, and this process has too little memory for the run, or a setting asks for Spark.
    SettingError
        If two columns of the result would have the same name, or names that differ by case only.
    ClusterError
        If tasks do not have what this process has.
    """
    columns = Columns(classify, output_id)
    settings, whole, graph = Settings.taken(settings), model_of(model), some_graph(graph)
    wanted = Targets.of(targets, ignore_unknown)
    model = giving(whole, types_wanted(types_of(types), wanted, whole))
    columns.tables(model.program, graph, classes=model.classes)
    spark = session_of(graph, spark)
    refuse_targets(model, wanted)
    if wanted is not None:
        ids_of(wanted, graph, spark)  # what is wrong with them is said before any work
    if spark is None:
        return _in_process(graph, whole, model, settings, columns, wanted)
    shake = handshake(spark, probes_of(graph, settings))
    say_left_out(whole, model)
    planned = planned_run(graph, whole, model, settings, shake, spark, wanted)
    if not planned.graph.is_typed:
        return run_frames(planned, spark, settings, columns).result
    of_types = _by_type(planned, model, settings, shake)
    return {key_of(type): run_frames(each, spark, settings, columns).result for type, each in of_types.items()}


def _in_process(
    graph: Graph | PreparedGraph,
    whole: Model,
    model: Model,
    settings: Settings,
    columns: Columns,
    wanted: Targets | None,
) -> Any:
    """The same without a session: Arrow tables, computed now."""
    refuse_without_spark(None, settings)
    say_left_out(whole, model)
    with Scratch(settings.scratch) as scratch:
        shake = handshake(None)
        planned = planned_run(graph, whole, model, settings, shake, None, wanted, scratch)
        runs = _by_type(planned, model, settings, shake) if planned.graph.is_typed else {NODE: planned}
        for each in runs.values():
            refuse_distributed(each)
        tables = {key_of(type): table_in_process(each, settings, columns) for type, each in runs.items()}
    return tables if planned.graph.is_typed else tables[NODE]


def key_of(type: AnyType) -> str | tuple[str, str, str]:
    """What a result of several types has a table under."""
    return type if isinstance(type, str) else (type.source, type.relation, type.target)


def _by_type(planned: Planned, model: Model, settings: Settings, shake: Handshake) -> dict[AnyType, Planned]:
    """A run for each type that the model gives something for."""
    targets = planned.targets
    return {
        type: replace(
            plan_run(planned.graph, giving(model, [type]), settings, shake, planned.reads_files),
            targets=None if targets is None or not isinstance(type, str) else targets.of_type(type),
        )
        for type in model.program.output_types
    }


@dataclass(frozen=True)
class Frames:
    """A run, ready to start: the lazy result, and what will be known of it when it has been computed."""

    plan: Plan
    result: DataFrame
    """A row for each node; or, where tasks write the output themselves, rows of written.RECEIPT_DDL."""
    observations: Observations


def run_frames(
    planned: Planned,
    spark: SparkSession,
    settings: Settings,
    columns: Columns | None = None,
    marks: str | None = None,
    output: Folder | None = None,
) -> Frames:
    """Builds the frames of a run; no job starts. `output` is a directory that tasks write their results into."""
    run, steps = Run.of(planned, settings, columns, marks, output), planned.plan.steps
    if run.folder is None:  # Spark takes any files that are there
        storage.check_files(planned.graph.folder, planned.graph.sizes)
    fused = planned.choice.tier == "fused"
    refuse_message(spark, planned.plan.weights, 1 if fused else len(steps))
    seen: Observations = {}
    rows = _fused(spark, planned.graph, run) if fused else _distributed(spark, planned.graph, run, seen)
    if output is None:
        rows = _observe_result(rows, len(steps), seen)
        rows = rows.where(f"{SUPERSTEP} is null").drop(SUPERSTEP, MILLISECONDS)
    return Frames(planned.plan, rows, seen)


# ---- the two tiers


def _fused(spark: SparkSession, graph: PreparedGraph, run: Run) -> DataFrame:
    """One task runs all supersteps of all blocks."""
    static = run.folder is None
    rows = _static(spark, graph, run.plan.steps).repartition(1) if static else _seeds(spark, graph.blocks)
    return rows.mapInArrow(task_function(fused_worker(run)), run.ddl)


def _distributed(spark: SparkSession, graph: PreparedGraph, run: Run, seen: Observations) -> DataFrame:
    """A stage per superstep: rows of the step before ∪ static rows → exact placement → the block program."""
    made: DataFrame | None = None
    last = run.plan.steps[-1]
    for step in run.plan.steps:
        rows = made
        if run.folder is None:
            static = _static(spark, graph, [step])
            rows = static if rows is None else static.union(rows)
        elif rows is None:
            rows = _seeds(spark, graph.blocks)
        assert rows is not None
        ddl = run.ddl if step is last else ROW_DDL
        made = place(rows, graph.blocks).mapInArrow(task_function(superstep_worker(run, step.number)), ddl)
        if step is not last:
            made = _observe_superstep(made, step.number, seen).where(f"{KIND} != '{CLOCK}'")
    assert made is not None
    return made


def _seeds(spark: SparkSession, blocks: int) -> DataFrame:
    """A row for each block in one partition: enough for tasks that read their blocks themselves."""
    from pyspark.sql import functions as F

    given = {TARGET: F.col("id").cast("int"), SOURCE: F.col("id").cast("int"), KIND: F.lit(SEED), DATA: F.lit(b"")}
    types = dict(column.split() for column in ROW_DDL.split(", "))
    empty = {"string": F.lit(""), "int": F.lit(0)}
    columns = [(given[name] if name in given else empty[types[name]]).alias(name) for name in ROW_COLUMNS]
    return spark.range(0, blocks, 1, 1).select(*columns)


def _static(spark: SparkSession, graph: PreparedGraph, steps: Sequence[Superstep]) -> DataFrame:
    """The stored rows that some supersteps need, read by Spark."""
    from pyspark.sql import functions as F

    rows = _stored(spark, graph)
    of_edges = rows[KIND].isin(list(EDGE_KINDS))
    here = F.substring_index(rows[NAME], "/", 1).isin(list(static_edges(steps)))
    return rows.where(rows[KIND].isin(list(static_kinds(steps))) & (~of_edges | here)).select(*ROW_COLUMNS)


def _stored(spark: SparkSession, graph: PreparedGraph) -> DataFrame:
    """All rows of a graph. Spark would take brackets and stars in a path for a pattern."""
    folder = Place.of(graph.path).child(storage.folder_name(graph.manifest["prepare"]))
    try:
        return spark.read.parquet(literal(folder))
    except Exception as error:  # of Java, of py4j, of PySpark
        storage.check_files(graph.folder, graph.sizes)  # if it has been replaced, this says so
        raise error


def _observe_superstep(rows: DataFrame, number: int, seen: Observations) -> DataFrame:
    """Counts bytes and time of what passes, without a job of its own."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    def total(kinds: tuple[str, ...], column: Column) -> Column:
        return F.sum(F.when(F.col(KIND).isin(*kinds), column))

    seen[str(number)] = Observation(f"superstep {number}")
    return rows.observe(
        seen[str(number)],
        total((PAYLOAD, PARTIAL, TOTAL, SOURCE_IDS, SOURCE_ID_OFFSETS), F.length(DATA)).alias("shipped"),
        total((STATE,), F.length(DATA)).alias("kept"),
        total((CLOCK,), F.col(PART)).alias("ms"),
    )


def _observe_result(rows: DataFrame, steps: int, seen: Observations) -> DataFrame:
    """Counts the result's rows, and the milliseconds of each superstep whose clock is among them."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    seen[RESULT] = Observation(RESULT)
    clocks = [
        F.sum(F.when(F.col(SUPERSTEP) == number, F.col(MILLISECONDS))).alias(f"ms_{number}") for number in range(steps)
    ]
    return rows.observe(seen[RESULT], F.count(F.when(F.col(SUPERSTEP).isNull(), 1)).alias("rows"), *clocks)
