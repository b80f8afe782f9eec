"""Scores every node of a graph, given by paths: refusals first, then Spark or none, preparing on the fly, warm-up.

Comes in: paths, a wish, settings. Goes out: scores on disk, and what a command says of them. How a run is carried out
is score.py's business; what this adds is that Spark is started only where this machine cannot do the work alone, and
only after everything that can be refused has been.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.job.output import Asked
from pipeline.job.raw_tables import RawTables, columns_for
from pipeline.job.sessions import Sessions, is_small
from pipeline.job.texts import already_there, describe, report_line, summary
from pipeline.job.warm_up import WarmUp
from pipeline.mlflow.tracking import Tracking
from pipeline.model import Model
from pipeline.places.scratch import Scratch
from pipeline.planning import prepare_for, refuse_targets, runs_in_process
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.report.run_report import RunReport
from pipeline.result.by_type import giving
from pipeline.result.report import Report
from pipeline.result.wish import Wish
from pipeline.run.progress import Progress
from pipeline.run.python_worker import wake_worker
from pipeline.score import scored
from pipeline.settings import Settings
from pipeline.spark.resources import is_local

log = logging.getLogger("graphsweep")


@dataclass(frozen=True)
class Scored:
    """What came of it."""

    report: Report
    format: str
    compiling: float = 0.0
    """Seconds that the run waited for compiled code before it started."""
    page: Mapping[str, Any] | None = None
    """What the page about the run says beyond this, if there is one."""
    mlflow_run: str | None = None
    """The run of MLflow that it was logged as."""

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        told: dict[str, Any] = {"report": self.page} if self.page is not None else {}
        told |= {"format_of_output": self.format, "compile_seconds": self.compiling, "mlflow_run": self.mlflow_run}
        return {**self.report.facts, **told}

    def __str__(self) -> str:
        said = already_there if self.report.skipped else partial(summary, compiling=self.compiling)
        return "\n".join([said(self.report, format=self.format), *report_line(self.page)])


def score_paths(
    source: RawTables | str,
    columns: Mapping[str, Any],
    model: str,
    wish: Wish,
    settings: Settings,
    sessions: Sessions,
    files: Mapping[str, str | None] | None = None,
    show_progress: bool = True,
    report: str | None = None,
    to_mlflow: bool = False,
) -> Scored:
    """Runs the model, or finds that this has been done.

    Parameters
    ----------
    source
        Raw tables, or the path of a prepared graph.
    columns
        Of raw tables: options of `Graph`. What they leave out is what the model reads.
    files
        What else the command reads, and the output must not touch: "the settings' file" → its path.
    report
        Where a page about the run goes: a file or a folder.
    to_mlflow
        Log the run there, once the scores are written.
    """
    # whatever can be refused is refused before anything is started
    raw = source if isinstance(source, RawTables) else None
    optional = sessions.optional()
    asked = Asked.of(wish, settings, optional)
    read = {"the model": model, **(files or {})}
    asked.refuse_overlap({} if raw is None else raw.tables, read)
    prepared = None if isinstance(source, RawTables) else open_graph(source)
    if prepared is not None:
        asked.refuse_overlap_with(prepared)
    asked.refuse_taken()
    page = None
    if report is not None:
        page = RunReport.asked(report, "infer", asked.reads({} if raw is None else raw.tables, read, prepared))
        page.of(graph_path=source if isinstance(source, str) else None, model_path=model)
        if raw is not None:
            page.tables(raw.tables)
    tracking = Tracking() if to_mlflow else None
    whole = Model.load(model)
    loaded = giving(whole, wish.types)
    refuse_targets(loaded, wish.targets)
    if prepared is not None:
        loaded.check_against(prepared.schema, prepared.ranges, prepared.manifest.get("columns"))
        log.info("%s", describe(prepared))
    found = asked.find_same(loaded, prepared)
    options = {} if raw is None else columns_for(loaded, columns, raw.spec)
    here = raw.read_without_spark(**options) if raw is not None and optional else None
    found = found or asked.find_same(loaded, here)
    if found is not None:
        return _reported(Scored(found, wish.format), page, asked, loaded, settings, prepared)
    warm_up = WarmUp(loaded)
    with Scratch(settings.scratch) as scratch, Progress.on_terminal() as progress:
        graph: Any = prepared
        preparing, started = 0.0, time.perf_counter()
        if here is not None:
            warm_up.start()
            graph = prepare_for(here, loaded, settings, scratch)
            preparing = time.perf_counter() - started
        alone = graph is not None and optional and runs_in_process(graph, loaded, asked.place, settings)
        paths = () if raw is None else raw.tables.values()
        session = nullcontext() if alone else sessions.start(is_small(prepared, paths), warm_up.start)
        with session as spark:
            if spark:
                wake_worker(spark)
                if raw is not None and not (graph and is_local(spark)):
                    graph, preparing = raw.read(spark, **options), 0.0
            waited = time.perf_counter()
            warm_up.wait()
            compiling = time.perf_counter() - waited
            bar = progress if show_progress else None
            done = scored(graph, whole, wish, settings, spark, bar, scratch, asked.tables, page)
        came = Scored(done if done.skipped else done.with_preparing(preparing), wish.format, compiling)
        if tracking is not None:
            told = {"model": model, **({"graph": source} if raw is None else raw.tables)}
            logged = tracking.try_to_log(came.report, told, {"compile_seconds": compiling})
            came = replace(came, mlflow_run=logged)
        return _reported(came, page, asked, loaded, settings, prepared)


def _reported(
    came: Scored,
    page: RunReport | None,
    asked: Asked,
    model: Model,
    settings: Settings,
    prepared: PreparedGraph | None,
) -> Scored:
    """The same, with its page written."""
    if page is None:
        return came
    page.model(model)
    page.settings(settings)
    if came.report.skipped and prepared is not None:
        page.graph(prepared)
    return replace(came, page=page.write(came.facts, asked.place))
