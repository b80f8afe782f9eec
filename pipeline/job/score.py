"""Scores every node of a graph, given by paths: refusals first, then Spark or none, preparing on the fly, warm-up.

Comes in: paths, a wish, settings. Goes out: scores on disk, and what a command says of them. How a run is carried out
is score.py's business; what this adds is that Spark is started only where this machine cannot do the work alone, and
only after everything that can be refused has been.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pipeline.errors import SettingError
from pipeline.events import event
from pipeline.formula.classes import labels_of
from pipeline.formula.program import PARALLEL
from pipeline.job.output import Asked
from pipeline.job.raw_tables import RawTables, columns_for
from pipeline.job.sessions import Sessions, is_small
from pipeline.job.texts import already_there, describe, report_line, summary
from pipeline.job.warm_up import WarmUp
from pipeline.mlflow.tracking import Tracking
from pipeline.model import Model
from pipeline.places.place import Place
from pipeline.places.scratch import Scratch
from pipeline.planning import prepare_for, refuse_targets, runs_in_process
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.report.run_report import RunReport
from pipeline.result.by_type import giving, types_wanted
from pipeline.result.destination import find_manifest
from pipeline.result.into_table import IntoTable, expected_columns
from pipeline.result.manifest import tables_by_type
from pipeline.result.merged import Written
from pipeline.result.report import Report
from pipeline.result.wish import Wish
from pipeline.run.progress import Progress
from pipeline.run.python_worker import wake_worker
from pipeline.schema import DST, ID, SRC, AnyType, folder_of
from pipeline.score import scored
from pipeline.settings import Settings
from pipeline.spark.resources import is_local
from pipeline.tables.layout import words_of

log = logging.getLogger("graphsweep")

EDGE_KEYS = (SRC, DST, PARALLEL)
"""What says whose row of a table of edges it is: these stand in it once."""


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
    def counts(self) -> dict[str, int]:
        """Of a table: what became of its rows."""
        return {}

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        told: dict[str, Any] = {"report": self.page} if self.page is not None else {}
        told |= {"format_of_output": self.format, "compile_seconds": self.compiling, "mlflow_run": self.mlflow_run}
        return {**self.report.facts, **told}

    def __str__(self) -> str:
        said = already_there if self.report.skipped else partial(summary, compiling=self.compiling)
        return "\n".join([said(self.report, format=self.format), *report_line(self.page)])


@dataclass(frozen=True)
class ScoredTable(Scored):
    """What came of it, and of the table."""

    mode: str = "create"
    written: Written = field(kw_only=True)

    @property
    def counts(self) -> dict[str, int]:
        done = self.written
        deleted = {"deleted": done.deleted} if self.mode == "mirror" else {}
        return {"inserted": done.inserted, "updated": done.updated, "unchanged": done.unchanged, **deleted}

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {**super().facts, "table_mode": self.mode, **self.counts}

    def __str__(self) -> str:
        done = self.written
        merged = f"{done.inserted:,} rows inserted, {done.updated:,} updated, {done.unchanged:,} unchanged"
        merged += f", {done.deleted:,} deleted" if self.mode == "mirror" else ""
        return f"{super().__str__()}\ntable    {self.mode}: {merged}"


def score_into_table(
    source: RawTables | str,
    columns: Mapping[str, Any],
    model: str,
    table: IntoTable,
    wish: Callable[[str], Wish],
    settings: Settings,
    sessions: Sessions,
    files: Mapping[str, str | None] | None = None,
    report: str | None = None,
    to_mlflow: bool = False,
) -> Scored:
    """Runs the model, and puts the scores into a table of Spark's catalog, at once.

    Parameters
    ----------
    wish
        A path in the scratch directory → what is wanted there: scores are whole files before the table sees a row.
    report, to_mlflow
        As `score_paths` takes them. They are about the table, when its rows are there.
    """
    read = dict(source.tables) if isinstance(source, RawTables) else {}
    prepared = None if isinstance(source, RawTables) else open_graph(source)
    read = {words_of(name): text for name, text in read.items()}
    if prepared is not None:
        read |= {"the prepared graph": prepared.path}
        for name, known in (prepared.manifest.get("sources") or {}).items():
            read |= {f"{words_of(name)} that the graph was prepared from": known.get("table") or known["path"]}
    read |= {"the model": model, **{what: path for what, path in (files or {}).items() if path is not None}}
    with sessions.start(False, None) as spark, Scratch(settings.scratch) as scratch:
        wanted = wish(scratch.inside("scores"))
        loaded = giving(Model.load(model), wanted.types)
        given = loaded.program
        if len(given.output_types) > 1:
            kind = "edges" if given.is_per_edge else "nodes"
            raise SettingError(
                f"{table}: one table takes the {kind} of one type, and the model gives "
                f"{', '.join(map(str, given.output_types))}; "
                "name one with --types, and run the others into tables of their own"
            )
        table.refuse_inputs(spark, read)
        (type,) = given.output_types
        keys = EDGE_KEYS if given.is_per_edge else _ids_of(source, prepared, columns, type, wanted.output_id)
        own = prepared.widths[type] if given.is_per_edge and prepared is not None else ()
        outputs, labels = given.outputs_of(type), labels_of(given, type, loaded.classes)
        table.check(
            spark,
            expected_columns((*keys, *own), outputs, wanted.classify, labels),
            expected_columns((), {}, wanted.classify, labels),
            keys,
        )
        wanted = wish(f"{scratch.make()}/scores")
        settings = replace(settings, scratch=f"{scratch.make()}/work")  # no output may lie in it
        same = Sessions(lambda: False, lambda small, meanwhile: nullcontext(spark))

        def fill(scored: Scored) -> ScoredTable:
            place = Place.of(wanted.output)
            marker = find_manifest(place, spark) or {}
            described: Mapping[str, Any] = marker
            if (by_type := tables_by_type(marker)) is not None:
                place, described = place.child(folder_of(type)), by_type[type]
            of_rows = EDGE_KEYS if given.is_per_edge else described["keys"]
            started = time.perf_counter()
            written = table.write(spark, place, scored.report.run, of_rows)
            seconds = scored.report.seconds + time.perf_counter() - started
            done = replace(scored.report, output=str(table), seconds=seconds)
            return ScoredTable(done, "table", scored.compiling, mode=table.mode, written=written)

        return score_paths(source, columns, model, wanted, settings, same, files, report, to_mlflow, then=fill)


def _ids_of(
    source: RawTables | str,
    prepared: PreparedGraph | None,
    columns: Mapping[str, Any],
    type: AnyType,
    asked: str | None,
) -> tuple[str, ...]:
    """What the ids are called in the result; of raw tables, nothing where a file tells it for each type."""
    if asked is not None:
        return (asked,)
    if prepared is not None:
        return (prepared.id_names[str(type)],)
    return (str(columns.get("id") or ID),) if isinstance(source, RawTables) and source.spec is None else ()


def score_paths(
    source: RawTables | str,
    columns: Mapping[str, Any],
    model: str,
    wish: Wish,
    settings: Settings,
    sessions: Sessions,
    files: Mapping[str, str | None] | None = None,
    report: str | None = None,
    to_mlflow: bool = False,
    then: Callable[[Scored], Scored] | None = None,
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
    then
        What is done with scores that are written, before anything is said of them: they become a table.
    """
    # whatever can be refused is refused before anything is started
    raw = source if isinstance(source, RawTables) else None
    optional = sessions.optional() and not (wish.targets is not None and wish.targets.needs_spark)
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
    loaded = giving(whole, types_wanted(wish.types, wish.targets, whole))
    refuse_targets(loaded, wish.targets)
    if prepared is not None:
        loaded.check_against(prepared.schema, prepared.ranges, prepared.manifest.get("columns"))
        told = event("graph", nodes=prepared.nodes, edges=prepared.edges, blocks=prepared.blocks)
        log.info("%s", describe(prepared), extra=told)
    found = asked.find_same(loaded, prepared)
    options = {} if raw is None else columns_for(loaded, columns, raw.spec)
    here = raw.read_without_spark(**options) if raw is not None and optional and asked.is_reached else None
    found = found or asked.find_same(loaded, here)
    if found is not None:
        return _reported(Scored(found, wish.format), page, asked, loaded, settings, prepared)
    warm_up = WarmUp(loaded)
    with Scratch(settings.scratch) as scratch, Progress.watched() as progress:
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
            done = scored(graph, whole, wish, settings, spark, progress, scratch, asked.tables, page)
        came = Scored(done if done.skipped else done.with_preparing(preparing), wish.format, compiling)
        if then is not None:
            came = then(came)
        if tracking is not None:
            told = {"model": model, **({"graph": source} if raw is None else raw.tables)}
            measured = {"compile_seconds": compiling, **{name: float(rows) for name, rows in came.counts.items()}}
            logged = tracking.try_to_log(came.report, told, measured, asked.place)
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
