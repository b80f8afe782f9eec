"""A run that ends in a table on disk: every node's output written, put in place whole, and reported.

Comes in: what `infer` takes, and a path. Goes out: a Parquet or CSV table, log lines, a Report. Knows Spark only by the
DataFrame that infer.py builds, and does without it where there is no session (infer_local.py). A failed run leaves
nothing under the path, and an old table where it was.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import StorageError
from pipeline.graph import Graph, PreparedGraph, open_graph
from pipeline.infer import RESULT, Observations, planned_for, session_of
from pipeline.infer_local import refuse_without_spark
from pipeline.model import Model
from pipeline.places.marker import SCORES
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.scratch import Scratch
from pipeline.plan.memory import size
from pipeline.planned import Planned
from pipeline.progress import Progress
from pipeline.result.destination import Manifest, destination, find_manifest, tidy
from pipeline.result.inputs import inputs_of
from pipeline.result.manifest import facts_of, origin
from pipeline.result.wish import Wish
from pipeline.result.written import PARQUET
from pipeline.run.writing import compute, folder_of, table_of
from pipeline.settings import Settings
from pipeline.spark.paths import default_filesystem
from pipeline.tables.identity import identity

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")


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
    run: str = ""
    """Of the run that wrote the table: it is in the table's marker, _graphsweep.json."""
    skipped: bool = False
    """Whether the same result was there already, and nothing was done."""

    def with_preparing(self, seconds: float) -> Report:
        """The same, if the graph had been prepared for this run before."""
        return replace(self, seconds=self.seconds + seconds, prepare_seconds=self.prepare_seconds + seconds)

    def __str__(self) -> str:
        if self.skipped:
            return f"already there: {self.rows:,} nodes scored by run {self.run}, {self.reason}, in {self.output}"
        prepared = f", of which preparing the graph {self.prepare_seconds:.1f} s" if self.prepare_seconds else ""
        return f"{self.rows:,} nodes scored in {self.seconds:.1f} s{prepared} ({self.tier}), written to {self.output}"


class AlreadyThere(Exception):
    """The result that is wanted is there; it has been found while nobody else writes."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__("the same result is there already")
        self.manifest = manifest


def score(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    format: str = PARQUET,
    overwrite: bool = False,
    classify: bool = False,
    if_same: str | None = None,
    settings: Settings | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
) -> Report:
    """Runs jobs: computes every node's output and writes it to `output`.

    Without a session, a graph that is prepared, or read by `Graph.of_files`, is run in this process: no Spark, no Java.

    Parameters
    ----------
    format
        "parquet", or "csv": with a column for each lane, embedding_0, embedding_1, …
    overwrite
        Replace scores that graphsweep wrote. Nothing else is ever replaced.
    if_same
        "skip": do nothing if scores of the same graph, model and settings are there already.

    Raises
    ------
    SettingError
        If the path is, holds or lies in something that the run reads.
    StorageError
        If the path exists (and `overwrite` is not given, or it is not ours), or cannot be written. Before any job
        starts.
    """
    settings = settings or Settings()
    wish = Wish(output, format, overwrite, classify, if_same)
    with Scratch(settings.scratch) as scratch:
        return scored(graph, model, wish, settings, spark, progress, scratch)


def scored(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    wish: Wish,
    settings: Settings,
    spark: SparkSession | None,
    progress: Progress | None,
    scratch: Scratch,
    tables: Mapping[str, Any] | None = None,
) -> Report:
    """The same for who has a scratch directory, and for a graph that was prepared in it: of `tables`."""
    started = time.perf_counter()
    read = {"the model": None if isinstance(model, Model) else model}
    model = model if isinstance(model, Model) else Model.load(model)
    graph = open_graph(os.fspath(graph)) if isinstance(graph, str | os.PathLike) else graph
    session = session_of(graph, spark)
    default = default_filesystem(session)
    place = Place.of(wish.output, default)
    refuse_overlap(place, inputs_of(default, graph, settings, files=read))
    if session is None:
        refuse_without_spark(place, settings)
    if isinstance(graph, Graph):
        tables = identity(graph, default)
    known = None if isinstance(graph, Graph) else graph.fingerprint
    wanted = origin(model, settings, wish.format, wish.classify, known, tables)

    def look(manifest: Manifest) -> None:
        if wish.is_met_by(manifest, wanted):
            raise AlreadyThere(manifest)

    try:
        if wish.if_same and (there := find_manifest(place, session)):
            look(there)
        with destination(place, wish.overwrite, session, look if wish.if_same else None) as staging:
            folder = folder_of(place, staging, wish.format, settings, session)
            planned = planned_for(graph, model, settings, session, scratch)
            prepared = time.perf_counter() - started if isinstance(graph, Graph) else 0.0
            facts, observations = compute(planned, session, settings, wish, progress, staging, folder, place)
            if staging.opened is not None and not staging.opened.renames:
                log.info("%s: nothing can be renamed there; who lists it meanwhile sees old and new files", place)
            steps = _supersteps(planned, observations, facts)
            fingerprint, table = planned.graph.fingerprint, table_of(planned, wish)
            staging.publish(SCORES, facts_of(wanted, fingerprint, table, facts["files"], facts["rows"]))
    except AlreadyThere as found:
        with suppress(StorageError):  # somebody is writing there, or nobody can: the result is there all the same
            tidy(place)
        return _skipped(wish, found.manifest, time.perf_counter() - started)
    seconds, choice = time.perf_counter() - started, planned.choice
    report = Report(os.fspath(wish.output), facts["rows"], seconds, prepared, choice.tier, choice.reason, steps)
    return replace(report, spark=session is not None, run=staging.run)


def find_same(place: Place, wish: Wish, wanted: Mapping[str, Any], spark: SparkSession | None) -> Report | None:
    """The report of a result that is there already, if the wish is content with it. Nothing is begun."""
    started = time.perf_counter()
    there = find_manifest(place, spark) if wish.if_same else None
    if there is None or not wish.is_met_by(there, wanted):
        return None
    with suppress(StorageError):
        tidy(place)
    return _skipped(wish, there, time.perf_counter() - started)


def _skipped(wish: Wish, manifest: Manifest, seconds: float) -> Report:
    reason = f"of {manifest.get('created', 'an unknown time')}, from the same graph, model and settings"
    run, rows = str(manifest.get("run")), int(manifest["rows"])
    return Report(os.fspath(wish.output), rows, seconds, 0.0, "", reason, (), False, run, skipped=True)


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
