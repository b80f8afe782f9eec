"""A run that ends in a table on disk: every node's output written, put in place whole, and reported.

Comes in: what `infer` takes, and a path. Goes out: a Parquet or CSV table, log lines, a Report. Knows Spark only by the
DataFrame that infer.py builds. A failed run leaves nothing under the path, and an old table where it was.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError, StorageError, nearest, unwritable
from pipeline.graph import Graph, PreparedGraph
from pipeline.infer import RESULT, Frames, run_frames, session_of
from pipeline.model import Model
from pipeline.plan.memory import size
from pipeline.progress import Progress
from pipeline.resources import is_local
from pipeline.settings import Settings
from pipeline.workers import ask_workers, readable_errors
from pipeline.written import Receipt, complete

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger("graphsweep")

FORMATS = ("parquet", "csv")
# What a table written by Spark consists of: anything else under a path is somebody's, and is not overwritten.
_TABLE_NAMES = ("part-", "_SUCCESS", ".part-", "._SUCCESS")


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

    def with_preparing(self, seconds: float) -> Report:
        """The same, if the graph had been prepared for this run before."""
        return replace(self, seconds=self.seconds + seconds, prepare_seconds=self.prepare_seconds + seconds)

    def __str__(self) -> str:
        prepared = f", of which preparing the graph {self.prepare_seconds:.1f} s" if self.prepare_seconds else ""
        return f"{self.rows:,} nodes scored in {self.seconds:.1f} s{prepared} ({self.tier}), written to {self.output}"


def score(
    graph: Graph | PreparedGraph | str,
    model: Model | str,
    output: str,
    *,
    format: str = "parquet",
    overwrite: bool = False,
    classify: bool = False,
    settings: Settings | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
) -> Report:
    """Runs jobs: computes every node's output and writes it to `output`.

    Raises
    ------
    StorageError
        If the path exists (and `overwrite` is not given), or cannot be written. Before any job starts.
    """
    if format not in FORMATS:
        raise SettingError(f"unknown output format {format!r}; {nearest(format, FORMATS)}")
    started = time.perf_counter()
    model = Model.load(model) if isinstance(model, str) else model
    session = session_of(graph, spark)
    with _placed(output, overwrite, session) as (path, mode):
        settings = settings or Settings()
        directory = _written_by_workers(path, format, settings, session)
        marks = progress.directory if progress else None
        frames = run_frames(graph, model, settings, classify, session, marks, directory)
        ready = time.perf_counter()
        if progress:
            progress.expect(len(frames.plan.steps), frames.graph.blocks)
        log.info("%s: %s", frames.choice.tier, frames.choice.reason)
        if directory is not None:
            facts = _collect(frames, directory)
        else:
            table = frames.result if format == "parquet" else flattened(frames)
            writer = table.write.mode(mode)
            (writer.option("header", True).csv if format == "csv" else writer.parquet)(path)
            facts = dict(frames.observations[RESULT].get)
    prepared = ready - started if isinstance(graph, Graph) else 0.0
    return _report(frames, facts, output, time.perf_counter() - started, prepared)


def _written_by_workers(path: str, format: str, settings: Settings, spark: SparkSession) -> str | None:
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
    if settings.write == "worker" or is_local(spark):
        return directory
    answers = ask_workers(spark, functools.partial(_is_directory, directory))
    return directory if all(all(answer) for answer in answers) else None


def _is_directory(path: str) -> list[bool]:
    return [os.path.isdir(path)]


def _collect(frames: Frames, directory: str) -> dict[str, Any]:
    """Runs the job of a result that tasks write; its rows, and the milliseconds of supersteps."""
    with readable_errors():
        receipts = [Receipt(*row) for row in frames.result.collect()]
    facts: dict[str, Any] = {"rows": complete(directory, frames.graph.blocks, receipts)}
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


def _report(frames: Frames, facts: dict[str, Any], output: str, seconds: float, prepared: float) -> Report:
    seen = {name: observation.get for name, observation in frames.observations.items() if name != RESULT}
    supersteps = []
    for step in frames.plan.steps:
        found = seen.get(str(step.number), {})
        milliseconds = found.get("ms") or facts.get(f"ms_{step.number}") or 0
        report = SuperstepReport(step.number, milliseconds / 1000, found.get("shipped"), found.get("kept"))
        supersteps.append(report)
        moved = ""
        if found:
            moved = f", shipped {size(report.shipped or 0)}, kept {size(report.kept or 0)}"
        log.info("superstep %d: %d nodes, computed in %.2f s%s", step.number, facts["rows"], report.seconds, moved)
    choice = frames.choice
    return Report(output, facts["rows"], seconds, prepared, choice.tier, choice.reason, tuple(supersteps))


# ---- the path of the result


@contextmanager
def _placed(output: str, overwrite: bool, spark: SparkSession) -> Iterator[tuple[str, str]]:
    """(where to write, Spark's mode): on a local disk beside the path, moved there in the end; else the path itself.

    Where tasks run elsewhere, a path without a scheme is of the cluster's default file system, which Spark knows.
    """
    local = local_path(output)
    if local is None or not ("://" in output or is_local(spark)):
        yield output, "overwrite" if overwrite else "errorifexists"
        return
    refuse_taken(output, overwrite)
    if os.path.lexists(local):
        _check_table(output, local)
    parent, name = os.path.split(local)
    staging = os.path.join(parent, f".{name}-{uuid.uuid4().hex}")
    try:
        os.makedirs(parent, exist_ok=True)
        os.mkdir(staging)
    except OSError as error:
        raise unwritable(output, error) from error
    try:
        yield f"file://{staging}", "overwrite"
        if os.path.lexists(local):
            shutil.rmtree(local)
        os.rename(staging, local)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def local_path(path: str) -> str | None:
    """A path of this machine's file system, or None for a URI of another one."""
    scheme, found, rest = path.partition("://")
    if found and scheme != "file":
        return None
    return os.path.abspath(rest if found else path.removeprefix("file:"))


def refuse_taken(output: str, overwrite: bool) -> None:
    """StorageError if there is something at a path of this machine. Other file systems are Spark's business."""
    local = local_path(output)
    if local is not None and os.path.lexists(local) and not overwrite:
        raise StorageError(f"{output}: exists already; give another path, or --overwrite")


def _check_table(output: str, local: str) -> None:
    """Overwriting deletes: only a table that Spark wrote, or an empty directory."""
    if os.path.isdir(local) and not os.path.islink(local):
        names = os.listdir(local)
        if all(name.startswith(_TABLE_NAMES) for name in names):
            return
    raise StorageError(f"{output}: not overwritten, because it is not a table written by Spark")
