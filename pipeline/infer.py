"""Inference over a whole graph: a prepared graph and a model → every node's exact output.

Comes in: a graph (prepared, or raw tables), a model, settings. Goes out: a lazy DataFrame. The whole run on one page;
what happens inside a task is in stage.py, how a result is written and reported in score.py.
"""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import storage
from pipeline.columns import DATA, KIND, PART, ROW_COLUMNS, ROW_DDL, SOURCE, TARGET
from pipeline.errors import ModelError
from pipeline.graph import Graph, PreparedGraph, open_graph
from pipeline.model import Model
from pipeline.output import MILLISECONDS, SUPERSTEP, OutputTable
from pipeline.placement import place
from pipeline.plan.memory import Choice, Counts, choose_tier
from pipeline.plan.plan import Plan
from pipeline.prepare import prepare
from pipeline.resources import task_cores, task_memory
from pipeline.settings import Settings
from pipeline.stage import CLOCK, PAYLOAD, SEED, STATE, Run, fused_worker, static_kinds, superstep_worker

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Observation, SparkSession

log = logging.getLogger("graphsweep")


def infer(
    graph: Graph | PreparedGraph | str,
    model: Model | str,
    *,
    settings: Settings | None = None,
    classify: bool = False,
    spark: SparkSession | None = None,
) -> DataFrame:
    """Every node's exact output, keyed by the user's id.

    A prepared graph is run lazily. A raw `Graph` is prepared first, which runs jobs, in `settings.scratch`.

    Returns
    -------
    DataFrame
        id (of the user's type), the model's outputs by name (array<float>; float where a row is one number), and with
        `classify` predicted int and probability float of the first output.

    Raises
    ------
    ModelError
        If the graph lacks a column that the model reads, or has it in another width. Before any job starts.
    """
    return run_frames(graph, model, settings or Settings(), classify, spark).result


@dataclass
class Frames:
    """A run, ready to start: the lazy result, and what will be known of it when it has been computed."""

    graph: PreparedGraph
    model: Model
    plan: Plan
    choice: Choice
    result: DataFrame
    observations: list[tuple[str, Observation]] = field(default_factory=list)


def run_frames(
    graph: Graph | PreparedGraph | str,
    model: Model | str,
    settings: Settings,
    classify: bool = False,
    spark: SparkSession | None = None,
    marks: str | None = None,
) -> Frames:
    """Plans a run and builds its frames; for a prepared graph no job starts."""
    model = Model.load(model) if isinstance(model, str) else model
    spark = graph.nodes.sparkSession if isinstance(graph, Graph) else spark or _active()
    if isinstance(graph, Graph):
        prepared = _prepare(graph, model, settings)
    else:
        prepared = open_graph(graph) if isinstance(graph, str) else graph
    model.check_against(prepared.schema)
    plan = Plan.of(model)
    counts = Counts.of(prepared.manifest)
    choice = choose_tier(plan, counts, settings.task_memory or task_memory(spark), settings.tier)
    id_type = "string" if prepared.id_type == "string" else "bigint"
    table = OutputTable.of(plan.program.outputs, "string" if id_type == "string" else "int64", classify)
    cores = settings.threads or (task_cores(spark) if choice.tier == "fused" else 1)
    path = prepared.path if _read_in_worker(spark, prepared, settings) else None
    run = Run(plan, table, path, marks, cores)
    frames = Frames(prepared, model, plan, choice, spark.range(0))
    build = _fused if choice.tier == "fused" else _distributed
    result = _observed(frames, build(spark, prepared, run, frames), "result", SUPERSTEP, MILLISECONDS)
    kept = result.where(f"{SUPERSTEP} is null").drop(SUPERSTEP, MILLISECONDS)
    if prepared.id_type not in ("string", "bigint"):
        kept = kept.withColumn("id", kept["id"].cast(prepared.id_type))
    frames.result = kept
    return frames


# ---- the two tiers


def _fused(spark: SparkSession, graph: PreparedGraph, run: Run, frames: Frames) -> DataFrame:
    """One task runs all supersteps of all blocks."""
    if run.path is not None:
        rows = _seeds(spark, graph.blocks)
    else:
        kinds = {kind for step in run.plan.steps for kind in static_kinds(step, False)}
        rows = _static(spark, graph, sorted(kinds)).repartition(1)
    return rows.mapInArrow(fused_worker(run), run.table.ddl)


def _distributed(spark: SparkSession, graph: PreparedGraph, run: Run, frames: Frames) -> DataFrame:
    """A stage per superstep: rows of the step before ∪ static rows → exact placement → the block program."""
    made: DataFrame | None = None
    last = run.plan.steps[-1]
    for step in run.plan.steps:
        rows = made
        if run.path is None:
            static = _static(spark, graph, static_kinds(step, step is last))
            rows = static if rows is None else static.union(rows)
        elif rows is None:
            rows = _seeds(spark, graph.blocks)
        assert rows is not None
        ddl = run.table.ddl if step is last else ROW_DDL
        made = place(rows, graph.blocks).mapInArrow(superstep_worker(run, step.number), ddl)
        if step is not last:
            made = _observed(frames, made, f"superstep {step.number}").where(f"{KIND} != '{CLOCK}'")
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


def _static(spark: SparkSession, graph: PreparedGraph, kinds: Any) -> DataFrame:
    """The stored rows of some kinds, read by Spark."""
    rows = spark.read.parquet(f"{graph.path.rstrip('/')}/blocks")
    return rows.where(rows[KIND].isin(list(kinds))).select(*ROW_COLUMNS)


def _observed(
    frames: Frames, rows: DataFrame, name: str, superstep: str | None = None, milliseconds: str = PART
) -> DataFrame:
    """Counts what passes, without a job of its own: filled when the run's one action ends."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    seen = Observation(name)
    frames.observations.append((name, seen))
    if superstep is not None:
        clocks = [
            F.sum(F.when(F.col(superstep) == number, F.col(milliseconds))).alias(f"ms_{number + 1}")
            for number in range(-1, len(frames.plan.steps))
        ]
        return rows.observe(seen, F.count(F.when(F.col(superstep).isNull(), 1)).alias("rows"), *clocks)
    shipped = F.col(KIND) == PAYLOAD
    kept = F.col(KIND) == STATE
    return rows.observe(
        seen,
        F.sum(F.when(shipped, F.length(DATA))).alias("shipped"),
        F.sum(F.when(kept, F.length(DATA))).alias("kept"),
        F.sum(F.when(F.col(KIND) == CLOCK, F.col(PART))).alias("ms"),
        F.max(F.when(F.col(KIND) == CLOCK, F.col(PART))).alias("slowest"),
    )


# ---- what a run needs first


def _prepare(graph: Graph, model: Model, settings: Settings) -> PreparedGraph:
    """Prepares raw tables for one run, in the scratch directory."""
    scratch = settings.scratch or tempfile.mkdtemp(prefix="graphsweep-")
    path = f"{scratch.rstrip('/')}/graph-{time.time_ns():x}"
    started = time.perf_counter()
    prepared = prepare(graph, path, settings.blocks)
    log.info("prepared %s nodes, %s edges in %.1f s", prepared.nodes, prepared.edges, time.perf_counter() - started)
    return prepared


def _active() -> SparkSession:
    from pyspark.sql import SparkSession

    found = SparkSession.getActiveSession()
    if found is None:
        raise ModelError("there is no active Spark session; make one, or pass spark=")
    return found


def _read_in_worker(spark: SparkSession, graph: PreparedGraph, settings: Settings) -> bool:
    """Whether tasks open the graph's files themselves. `auto` runs a small job to find out, unless all is local."""
    if settings.read != "auto":
        return settings.read == "worker"
    if spark.conf.get("spark.master", "").startswith("local["):  # type: ignore[union-attr]
        return True
    look = functools.partial(_look, path=graph.path, fingerprint=graph.fingerprint)
    answers = spark.range(0, 1000).mapInArrow(look, "seen boolean").collect()
    return all(row.seen for row in answers)


def _look(batches: Any, path: str, fingerprint: str) -> Any:
    for _ in batches:
        pass
    try:
        seen = storage.read_manifest(path)["fingerprint"] == fingerprint
    except OSError:
        seen = False
    yield pa.RecordBatch.from_arrays([pa.array([seen])], ["seen"])
