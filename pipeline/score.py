"""A run that ends in a table on disk: every node's output written, put in place whole, and reported.

Comes in: what `infer` takes, and a path. Goes out: a Parquet or CSV table, log lines, a Report. Knows Spark only by the
DataFrame that infer.py builds, and does without it where there is no session (infer_local.py). A failed run leaves
nothing under the path, and an old table where it was.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

from pipeline.errors import ModelError, SettingError, nearest
from pipeline.graph import Graph, PreparedGraph
from pipeline.infer import NO_SESSION, RESULT, Frames, Observations, planned_for, run_frames, session_of
from pipeline.infer_local import infer_here, refuse_without_spark
from pipeline.model import Model
from pipeline.places.given import path_of
from pipeline.plan.memory import size
from pipeline.planned import Planned
from pipeline.progress import Progress
from pipeline.resources import is_local
from pipeline.result.placed import placed
from pipeline.result.written import Receipt, complete
from pipeline.run.arguments import model_of, some_graph
from pipeline.settings import Settings
from pipeline.workers import ask_workers, readable_errors

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

FORMATS = ("parquet", "csv")


@dataclass(frozen=True)
class SuperstepReport:
    """What one superstep did; bytes are None where nothing left the process."""

    number: int
    seconds: float
    """Computing, summed over tasks (fused: elapsed)."""
    shipped: int | None = None
    kept: int | None = None


@dataclass(frozen=True)
class Report:
    """What a run did."""

    output: str
    rows: int
    seconds: float
    prepare_seconds: float
    tier: str
    reason: str
    supersteps: tuple[SuperstepReport, ...]
    spark: bool = True
    """Whether Spark ran it; else this process did."""

    def with_preparing(self, seconds: float) -> Report:
        """The same, if the graph had been prepared for this run before."""
        return replace(self, seconds=self.seconds + seconds, prepare_seconds=self.prepare_seconds + seconds)

    def __str__(self) -> str:
        prepared = f", of which preparing the graph {self.prepare_seconds:.1f} s" if self.prepare_seconds else ""
        return f"{self.rows:,} nodes scored in {self.seconds:.1f} s{prepared} ({self.tier}), written to {self.output}"


def score(
    graph: Graph | PreparedGraph | str | PathLike[str],
    model: Model | str | PathLike[str],
    output: str | PathLike[str],
    *,
    format: str = "parquet",
    overwrite: bool = False,
    classify: bool = False,
    settings: Settings | Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
) -> Report:
    """Runs jobs: computes every node's output and writes it to `output`.

    Without a session, a graph that is prepared, or read by `Graph.of_files`, is run in this process: no Spark, no Java.

    Raises
    ------
    StorageError
        If the path exists (and `overwrite` is not given), or cannot be written. Before any job starts.
    """
    if format not in FORMATS:
        raise SettingError(f"unknown output format {format!r}; {nearest(format, FORMATS)}")
    output = path_of("the output", output)
    settings, model, graph = Settings.taken(settings), model_of(model), some_graph(graph)
    session = session_of(graph, spark)
    if session is None:
        refuse_without_spark(output, format, settings)
    started = time.perf_counter()
    with placed(output, overwrite, session) as (path, mode):
        directory = _written_by_workers(path, format, settings, session)
        planned = planned_for(graph, model, settings, session)
        prepared = time.perf_counter() - started if isinstance(graph, Graph) else 0.0
        choice, marks = planned.choice, progress.directory if progress else None
        if session is None and choice.tier != "fused":
            raise ModelError(f"{choice.reason}; {NO_SESSION}")
        log.info("%s%s: %s", choice.tier, "" if session else ", without Spark", choice.reason)
        if progress:
            progress.expect(len(planned.plan.steps), planned.graph.blocks)
        observations: Observations = {}
        if session is None:
            assert directory is not None
            facts = _facts(infer_here(planned, settings, classify, directory, marks), directory, planned)
        else:
            frames = run_frames(planned, session, settings, classify, marks, directory)
            observations = frames.observations
            if directory is not None:
                with readable_errors():
                    facts = _facts((Receipt(*row) for row in frames.result.collect()), directory, planned)
            else:
                table = frames.result if format == "parquet" else flattened(frames)
                writer = table.write.mode(mode)
                (writer.option("header", True).csv if format == "csv" else writer.parquet)(path)
                facts = dict(observations[RESULT].get)
    steps = _supersteps(planned, observations, facts)
    seconds = time.perf_counter() - started
    return Report(output, facts["rows"], seconds, prepared, choice.tier, choice.reason, steps, session is not None)


def _written_by_workers(path: str, format: str, settings: Settings, spark: SparkSession | None) -> str | None:
    """The directory that workers write a Parquet table into themselves; None: Spark writes it, from their rows.

    `auto` runs a small job to find out whether they see it, unless all is local.
    """
    if format != "parquet" or settings.write == "spark":
        return None
    directory = path.removeprefix("file://")
    if directory == path:
        if settings.write == "worker":
            raise SettingError(f'write is "worker", but {path} is no path of disks that all machines share: file://…')
        return None
    if settings.write == "worker" or spark is None or is_local(spark):
        return directory
    answers = ask_workers(spark, functools.partial(_is_directory, directory))
    return directory if all(all(answer) for answer in answers) else None


def _is_directory(path: str) -> list[bool]:
    return [os.path.isdir(path)]


def _facts(receipts: Iterable[Receipt], directory: str, planned: Planned) -> dict[str, Any]:
    """Of a result that tasks have written: its rows, and the milliseconds of supersteps."""
    receipts = list(receipts)
    facts: dict[str, Any] = {"rows": complete(directory, planned.graph.blocks, receipts)}
    for receipt in receipts:
        if receipt.milliseconds is not None:
            name = f"ms_{receipt.superstep}"
            facts[name] = facts.get(name, 0) + receipt.milliseconds
    return facts


def flattened(frames: Frames) -> DataFrame:
    """The result for formats without arrays: a column per lane, embedding_0, embedding_1, …"""
    from pyspark.sql import functions as F

    columns: list[Any] = []
    outputs = frames.plan.program.outputs
    for name in frames.result.columns:
        value = outputs.get(name)
        if value is None or value.shape == ():
            columns.append(F.col(f"`{name}`"))
        else:
            columns += [F.col(f"`{name}`")[lane].alias(f"{name}_{lane}") for lane in range(value.width)]
    return frames.result.select(*columns)


def _supersteps(planned: Planned, observations: Observations, facts: dict[str, Any]) -> tuple[SuperstepReport, ...]:
    seen = {name: observation.get for name, observation in observations.items() if name != RESULT}
    supersteps = []
    for step in planned.plan.steps:
        found = seen.get(str(step.number), {})
        milliseconds = found.get("ms") or facts.get(f"ms_{step.number}") or 0
        report = SuperstepReport(step.number, milliseconds / 1000, found.get("shipped"), found.get("kept"))
        supersteps.append(report)
        moved = ""
        if found:
            moved = f", shipped {size(report.shipped or 0)}, kept {size(report.kept or 0)}"
        log.info("superstep %d: %d nodes, computed in %.2f s%s", step.number, facts["rows"], report.seconds, moved)
    return tuple(supersteps)
