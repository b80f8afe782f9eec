"""A run that ends in a table on disk: every node's output written, put in place whole, and reported.

Comes in: what `infer` takes, and a path. Goes out: a Parquet or CSV table, log lines, a Report. Knows Spark only by the
DataFrame that infer.py builds, and does without it where there is no session (run/in_process.py). A failed run leaves
nothing under the path, and an old table where it was.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.computing import compute, folder_of, output_probes, supersteps_of, tables_of
from pipeline.errors import SettingError, StorageError
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.given import path_of
from pipeline.places.marker import SCORES
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.scratch import Scratch
from pipeline.places.through_spark import place_in
from pipeline.planning import planned_run, probes_of, refuse_targets, refuse_without_spark, session_of
from pipeline.prepared import PreparedGraph
from pipeline.report.run_report import RunReport, reads_of
from pipeline.result.by_type import giving, say_left_out, types_of, types_wanted
from pipeline.result.destination import Manifest, destination, find_manifest, tidy
from pipeline.result.inputs import inputs_of
from pipeline.result.into_table import refuse_name
from pipeline.result.manifest import facts_of, origin
from pipeline.result.report import NODES, Report
from pipeline.result.wish import Wish
from pipeline.result.written import PARQUET
from pipeline.run.arguments import model_of, some_graph
from pipeline.run.located import ids_of
from pipeline.run.progress import Progress
from pipeline.run.transport import exchange_files, refuse_work_dir, transport_probes
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from pipeline.tables.identity import identity
from pipeline.tables.targets import Targets, digest_of_all

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")


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
    settings: Settings | Mapping[str, Any] | None = None,
    spark: SparkSession | None = None,
    progress: Progress | None = None,
    types: Sequence[str | tuple[str, str, str]] | None = None,
    targets: Any = None,
    ignore_unknown: bool = False,
    output_id: str | None = None,
    report: str | os.PathLike[str] | None = None,
) -> Report:
    """Runs jobs: computes every node's output and writes it to `output`; of a typed graph a table for each type, in a
    folder of its name, all of them at once.

    Without a session, a graph that is prepared, or read by `Graph.of_files`, is run in this process: no Spark, no Java.

    Parameters
    ----------
    format
        "parquet", or "csv": with a column for each number of an array, output_0, output_1, …
    overwrite
        Replace scores that graphsweep wrote. Nothing else is ever replaced.
    if_same
        "skip": do nothing if scores of the same graph, model and settings are there already.
    types
        Of a typed graph, the types to score, and nothing is computed that these do not need; else all for which the
        model gives something. Where it gives a row per edge they are types of edges, (source, relation, target).
    targets
        The nodes to score, where not all are wanted: a table with a column of their ids, its path, or a list of ids; of
        a typed graph node type → one of these, and nodes of other types are not scored.
        The rows have the same bits as in a run for all nodes. What these nodes do not need is not computed, where the
        run is fused and that is less work.
    ignore_unknown
        Leave out targets that are not among the nodes; else they are an error.
    output_id
        What the column of ids is called; else as in the node table.
    report
        A file that ends in .html, or a folder: there goes a page about the run, for people. It takes the libraries of
        `graphsweep[report]`.

    Raises
    ------
    DataError
        If targets are unknown, null or of another type than the graph's ids, or there are none.
    SettingError
        If the path is, holds or lies in something that the run reads. If two columns of the result would have the same
        name, or names that differ by case only.
    StorageError
        If the path exists (and `overwrite` is not given, or it is not ours), or cannot be written. Before any job
        starts.
    """
    settings = Settings.taken(settings)
    wanted = Targets.of(targets, ignore_unknown)
    refuse_name(path_of("the output", output))
    wish = Wish(path_of("the output", output), format, overwrite, classify, if_same, types_of(types), wanted, output_id)
    page = None if report is None else _page(report, graph, model, wish, settings, spark)
    with Scratch(settings.scratch) as scratch, Progress.watched() as own:
        done = scored(graph, model, wish, settings, spark, progress or own, scratch, page=page)
        if page is not None:
            page.write(
                {**done.facts, "format_of_output": format}, place_in(session_of(some_graph(graph), spark), output)
            )
        return done


def _page(
    report: str | os.PathLike[str],
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    wish: Wish,
    settings: Settings,
    spark: SparkSession | None,
) -> RunReport:
    """Refused before any work, if it cannot be made."""
    opened_graph = some_graph(graph)
    files = {"the model": None if isinstance(model, Model) else model}
    files |= {} if wish.targets is None else wish.targets.paths
    output = place_in(session_of(opened_graph, spark), wish.output)
    page = RunReport.asked(report, "infer", reads_of(inputs_of(opened_graph, settings, files=files), output, settings))
    of_graph = opened_graph.path if isinstance(opened_graph, PreparedGraph) else None
    page.of(graph_path=of_graph, model_path=None if isinstance(model, Model) else model)
    return page


def scored(
    graph: Graph | PreparedGraph | str | os.PathLike[str],
    model: Model | str | os.PathLike[str],
    wish: Wish,
    settings: Settings,
    spark: SparkSession | None,
    progress: Progress | None,
    scratch: Scratch,
    tables: Mapping[str, Any] | None = None,
    page: RunReport | None = None,
) -> Report:
    """The same for who has a scratch directory, and for a graph that was prepared in it: of `tables`. `page` is told of
    graph, model and plan."""
    started = time.perf_counter()
    read = {"the model": None if isinstance(model, Model) else model}
    read |= {} if wish.targets is None else wish.targets.paths
    whole, graph = model_of(model), some_graph(graph)
    model = giving(whole, types_wanted(wish.types, wish.targets, whole))
    refuse_targets(model, wish.targets)
    wish.columns.tables(model.program, graph, wish.format, model.classes)
    say_left_out(whole, model)
    if page is not None:
        page.model(model)
        page.settings(settings)
    session = session_of(graph, spark)
    place = place_in(session, wish.output)
    inputs = inputs_of(graph, settings, files=read)
    refuse_overlap(place, inputs)
    refuse_work_dir(settings, place, inputs)
    if session is None:
        refuse_without_spark(place, settings)
    if isinstance(graph, Graph):
        tables = identity(graph)
    known = None if isinstance(graph, Graph) else graph.fingerprint
    targets = None if wish.targets is None else digest_of_all(ids_of(wish.targets, graph, session))
    ids = wish.columns.ids(graph)
    wanted = origin(model, settings, wish.format, wish.classify, ids, known, tables, wish.types, targets)

    def look(manifest: Manifest) -> None:
        if wish.is_met_by(manifest, wanted):
            raise AlreadyThere(manifest)

    try:
        if wish.if_same and (there := find_manifest(place, session)):
            look(there)
        with destination(place, wish.overwrite, session, look if wish.if_same else None) as staging:
            shake = handshake(
                session, [*probes_of(graph, settings), *output_probes(place), *transport_probes(settings)]
            )
            folder = folder_of(place, staging, wish.format, settings, shake)
            if folder is None and graph.is_typed:
                raise SettingError(
                    f"{place}: the tables of a typed graph are written by tasks, and these cannot write there, or are "
                    'not to (write = "spark"); give a path that all machines share, or write what infer gives in '
                    "Python, type by type"
                )
            planned = planned_run(graph, whole, model, settings, shake, session, wish.targets, scratch)
            prepared = time.perf_counter() - started if isinstance(graph, Graph) else 0.0
            if page is not None:
                page.planned(planned, settings)
            with exchange_files(planned, model, settings, shake, scratch, folder is not None) as exchange:
                facts, seen = compute(planned, session, settings, wish, progress, staging, folder, place, exchange)
                if staging.opened is not None and not staging.opened.renames:
                    log.info("%s: nothing can be renamed there; who lists it meanwhile sees old and new files", place)
                steps = supersteps_of(planned, seen, facts)
                fingerprint, made = planned.graph.fingerprint, tables_of(planned, wish)
                by_type = planned.graph.is_typed
                chosen = None if planned.targets is None else planned.targets.ids
                files, rows = facts["files"], facts["rows"]
                staging.publish(SCORES, facts_of(wanted, fingerprint, made, files, rows, by_type, chosen))
    except AlreadyThere as found:
        with suppress(StorageError):  # somebody is writing there, or nobody can: the result is there all the same
            tidy(place)
        return _skipped(wish, found.manifest, time.perf_counter() - started)
    seconds, choice = time.perf_counter() - started, planned.choice
    report = Report(os.fspath(wish.output), facts["rows"], seconds, prepared, choice.tier, choice.reason, steps)
    return replace(report, spark=session is not None, run=staging.run, of=whole.program.what)


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
    run, rows, of = str(manifest.get("run")), int(manifest["rows"]), str(manifest.get("rows_of", NODES))
    return Report(os.fspath(wish.output), rows, seconds, 0.0, "", reason, (), False, run, skipped=True, of=of)
