"""Inference over a whole graph: a prepared graph and a model → every node's exact output.

Comes in: a graph (prepared, or raw tables), a model, settings. Goes out: a lazy DataFrame. The whole run on one page;
what happens inside a task is in stage.py, how a result is written and reported in score.py.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import storage
from pipeline.columns import DATA, KIND, NAME, PART, ROW_COLUMNS, ROW_DDL, SOURCE, TARGET
from pipeline.errors import ModelError, StorageError
from pipeline.graph import Graph, PreparedGraph, open_graph
from pipeline.model import Model
from pipeline.placement import place
from pipeline.places.place import Place
from pipeline.places.scratch import Scratch
from pipeline.plan.plan import Plan
from pipeline.plan.schedule import Superstep
from pipeline.planned import Planned, plan_run, warn_far_outside
from pipeline.prepare import prepare
from pipeline.result.output import MILLISECONDS, SUPERSTEP
from pipeline.result.written import Folder
from pipeline.rows import EDGE_KINDS
from pipeline.run.arguments import given_session, model_of, some_graph
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.paths import literal
from pipeline.stage import (
    CLOCK,
    PARTIAL,
    PAYLOAD,
    SEED,
    STATE,
    TOTAL,
    Run,
    fused_worker,
    static_edges,
    static_kinds,
    superstep_worker,
)
from pipeline.tables.survey import first_widths, table_probes
from pipeline.workers import active_session, readable_errors

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Observation, SparkSession

log = logging.getLogger("graphsweep")

Observations = dict[str, "Observation"]
"""RESULT, or the number of a superstep → what Spark counts while the run's one action passes by."""
RESULT = "result"
NO_SESSION = "there is no active Spark session; make one, or pass spark="


def infer(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    classify: bool = False,
    spark: SparkSession | None = None,
) -> DataFrame:
    """Every node's exact output, keyed by the user's id.

    A prepared graph is run lazily. A raw `Graph` is prepared first, which runs jobs, in `settings.scratch`; what is
    there of it is removed when the process ends.

    Returns
    -------
    DataFrame
        id (of the user's type), the model's outputs by name (array<float>; float where a row is one number), and with
        `classify` predicted int and probability float of the first output.

    Raises
    ------
    ModelError
        If the graph lacks a column that the model reads, or has it in another width. Before any work starts.
    ClusterError
        If tasks do not have what this process has.
    """
    settings, model, graph = Settings.taken(settings), model_of(model), some_graph(graph)
    spark = session_of(graph, spark)
    if spark is None:
        raise ModelError(NO_SESSION)
    shake = handshake(spark, probes_of(graph, settings))
    model = model if isinstance(model, Model) else Model.load(model)
    planned = planned_for(graph, model, settings, shake)
    warn_far_outside(planned.graph, model)
    return run_frames(planned, spark, settings, classify).result


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
    classify: bool = False,
    marks: str | None = None,
    output: Folder | None = None,
) -> Frames:
    """Builds the frames of a run; no job starts. `output` is a directory that tasks write their results into."""
    run, steps = Run.of(planned, settings, classify, marks, output), planned.plan.steps
    if run.folder is None:  # Spark takes any files that are there
        storage.check_files(planned.graph.folder, planned.graph.sizes)
    seen: Observations = {}
    if planned.choice.tier == "fused":
        rows = _fused(spark, planned.graph, run)
    else:
        rows = _distributed(spark, planned.graph, run, seen)
    if output is None:
        rows = _observe_result(rows, len(steps), seen)
        rows = rows.where(f"{SUPERSTEP} is null").drop(SUPERSTEP, MILLISECONDS)
    return Frames(planned.plan, rows, seen)


# ---- the two tiers


def _fused(spark: SparkSession, graph: PreparedGraph, run: Run) -> DataFrame:
    """One task runs all supersteps of all blocks."""
    static = run.folder is None
    rows = _static(spark, graph, run.plan.steps).repartition(1) if static else _seeds(spark, graph.blocks)
    return rows.mapInArrow(fused_worker(run), run.ddl)


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
        made = place(rows, graph.blocks).mapInArrow(superstep_worker(run, step.number), ddl)
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
        total((PAYLOAD, PARTIAL, TOTAL), F.length(DATA)).alias("shipped"),
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


# ---- what a run needs first


def probes_of(graph: Graph | PreparedGraph | str | os.PathLike[str], settings: Settings) -> list[Probe]:
    """What tasks of a run read, and the graph that is made for it of raw tables."""
    if isinstance(graph, Graph):
        return [Probe(Scratch(settings.scratch).inside("graph"), made=True), *table_probes(graph)]
    return [Probe(_manifest(graph.path if isinstance(graph, PreparedGraph) else os.fspath(graph)))]


def planned_for(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    settings: Settings,
    shake: Handshake,
    scratch: Scratch | None = None,
) -> Planned:
    """Decides what a run will be; prepares raw tables for it, in a scratch directory: the one that is given, or one for
    as long as the process lives. `shake` is of tasks that were asked about `probes_of` the graph."""
    model = model if isinstance(model, Model) else Model.load(model)
    if isinstance(graph, Graph):
        if scratch is None:
            scratch = Scratch(settings.scratch)
            atexit.register(scratch.discard)
        graph = prepare_for(graph, model, settings, scratch, shake)
    elif not isinstance(graph, PreparedGraph):
        graph = open_graph(os.fspath(graph))
    return plan_run(graph, model, settings, shake, _opens(shake, graph, settings))


def prepare_for(
    graph: Graph, model: Model, settings: Settings, scratch: Scratch, shake: Handshake | None = None
) -> PreparedGraph:
    """Prepares raw tables for one run. If that fails, the scratch directory is gone at once. `shake` as for
    `planned_for`.

    Raises
    ------
    ModelError
        If one row of each table shows that the model cannot read them.
    """
    if shake is None or graph.session is None:  # files are prepared by this process, whoever runs the model
        shake = handshake(None)
    with readable_errors():
        model.check_against(first_widths(graph, shake).both_ways(), columns=graph.describe()["columns"])
    if model.reads_reversed:
        graph = graph.with_reverse()
    path = scratch.inside("graph")
    shake.require_written(path, 'set "scratch" to a directory that all machines share')
    started = time.perf_counter()
    try:
        path = f"{scratch.make()}/graph-{time.time_ns():x}"
        prepared = prepare(graph, path, settings.blocks, task_memory=settings.task_memory, shake=shake)
    except BaseException as error:
        scratch.discard()
        if isinstance(error, StorageError) and "cannot be written" in str(error):
            where = "raw tables are prepared there: the setting scratch gives another place"
            raise StorageError(f"{error}; {where}") from error
        raise
    log.info("prepared %s nodes, %s edges in %.1f s", prepared.nodes, prepared.edges, time.perf_counter() - started)
    return prepared


def session_of(
    graph: Graph | PreparedGraph | str | os.PathLike[str], spark: SparkSession | None
) -> SparkSession | None:
    """The session of raw tables; else the one that is given, or the one that is there; None if there is none."""
    of_tables = graph.session if isinstance(graph, Graph) else None
    return of_tables or given_session(spark) or active_session()


def _opens(shake: Handshake, graph: PreparedGraph, settings: Settings) -> bool:
    """Whether tasks open the graph's files themselves. Where they do not see them, Spark can read them for tasks from a
    file system that only it knows; but what is on a disk its executors see no better."""
    manifest = _manifest(graph.path)
    if settings.read == "spark":
        return False
    if settings.read == "worker" or Place.of(graph.path).is_local:
        shake.require_seen(manifest, "give a prepared graph at a path that all machines share")
    return shake.sees(manifest)


def _manifest(path: str) -> str:
    return f"{path.rstrip('/')}/{storage.MANIFEST}"
