"""What a run will be, decided before anything of it starts: with which session or without one, on which graph, as what
plan.

Comes in: what the user gave. Goes out: a `Planned`. Raw tables are prepared here, in a directory of the run's own; no
superstep runs.
"""

from __future__ import annotations

import atexit
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.blocks import storage
from pipeline.errors import DataError, ModelError, SettingError, StorageError
from pipeline.events import event
from pipeline.formula.graph_types import named, unread_types
from pipeline.graph import Graph
from pipeline.model import Model
from pipeline.places.filesystem import opened
from pipeline.places.place import Place
from pipeline.places.scratch import Scratch
from pipeline.places.working import GRAPH
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.tier import choose_tier
from pipeline.prepare import prepare, prepare_in_steps
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.preparing.origin import files_of, same_graph
from pipeline.preparing.work import steps_directory
from pipeline.run.arguments import given_session
from pipeline.run.located import ids_of, locate, refuse_unknown
from pipeline.run.needed import why_whole
from pipeline.run.planned import Planned
from pipeline.run.transport import SEEN
from pipeline.settings import Settings
from pipeline.shown import counted, size
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.session import active_session, readable_errors
from pipeline.tables.survey import first_widths, table_probes
from pipeline.tables.targets import Targets

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

MOST_SENT = 1 << 24
"""Targets of a run in a session: 64 MB."""

MOST_ROWS = 1 << 30
"""Bytes of a model's learned rows of nodes, in a session."""

NO_SESSION = "there is no active Spark session; make one, or pass spark="


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
            settings = replace(settings, work_dir=None)  # a lazy run does not end, and nobody would tidy up
            scratch = Scratch(settings.scratch)
            atexit.register(scratch.discard)
        graph = prepare_for(graph, model, settings, scratch, shake)
    elif not isinstance(graph, PreparedGraph):
        graph = open_graph(os.fspath(graph))
    return plan_run(graph, model, settings, shake, _reads_files(shake, graph, settings))


def planned_run(
    graph: Graph | PreparedGraph,
    whole: Model,
    model: Model,
    settings: Settings,
    shake: Handshake,
    spark: SparkSession | None,
    targets: Targets | None = None,
    scratch: Scratch | None = None,
) -> Planned:
    """A run that is about to start: planned, for its targets; the log says what is odd about graph and model. `model`:
    what of the `whole` one is wanted. Errors as of `planned_for` and `with_targets`."""
    planned = planned_for(graph, model, settings, shake, scratch)
    check_node_rows(planned, spark)
    planned = with_targets(planned, targets, settings, spark)
    warn_far_outside(planned.graph, model)
    warn_unread(planned.graph, whole)
    return planned


def refuse_targets(model: Model, targets: Targets | None) -> None:
    """SettingError if some nodes are wanted of a model that gives edges."""
    if targets is not None and model.program.is_per_edge:
        raise SettingError(
            "targets are ids of nodes, and the result of this model has a row per edge; leave them out, and take the "
            "rows that you want from the result"
        )


def check_node_rows(planned: Planned, spark: SparkSession | None) -> None:
    """Reads the ids of all blocks, where the model has learned rows of nodes.

    Raises
    ------
    ModelError
        If nodes of the graph have no row; if the rows are too many to send them to tasks.
    """
    for type, rows in planned.plan.node_rows.items():
        if spark is not None and rows.nbytes > MOST_ROWS:
            raise ModelError(
                f"the model's learned rows of nodes take {size(rows.nbytes)}, more than is sent to Spark's tasks, "
                f"{size(MOST_ROWS)}: store them as a column of the node table, and export the model with "
                "inputs={'WEIGHT': 'nodes.COLUMN'} in place of node_ids"
            )
        refuse_unknown(planned.graph, type, rows, planned.threads)


def why_all(planned: Planned, settings: Settings) -> str | None:
    """Why a run computes all nodes, whatever its targets are; None if it does not."""
    if planned.choice.tier != "fused":
        return "the run is distributed"
    if settings.work_dir is not None:
        return "work_dir keeps what is done of all blocks"
    return why_whole(planned.plan)


def with_targets(planned: Planned, targets: Targets | None, settings: Settings, spark: SparkSession | None) -> Planned:
    """The same run for some nodes only: reads the ids of all blocks.

    Raises
    ------
    DataError
        If some are not among the nodes; if there are too many to send them to tasks.
    """
    if targets is None:
        return planned
    ids = ids_of(targets, planned.graph, spark)
    count = sum(map(len, ids.values()))
    if spark is not None and count > MOST_SENT:
        raise DataError(
            f"targets: {count:,} ids are more than can be sent to Spark's tasks, {MOST_SENT:,}; leave them out, and "
            "take the rows that you want from the result"
        )
    why = why_all(planned, settings)
    if why:
        log.info("targets: %s, so all nodes are computed, and the rows of the targets are kept", why)
    return replace(planned, targets=locate(planned.graph, ids, targets.ignore_unknown, planned.threads))


def prepare_for(
    graph: Graph, model: Model, settings: Settings, scratch: Scratch, shake: Handshake | None = None
) -> PreparedGraph:
    """Prepares raw tables for one run, in the work directory if there is one and the tables are known again, else in
    the scratch directory. If that fails, the scratch directory is gone at once. `shake` as for `planned_for`.

    Raises
    ------
    ModelError
        If one row of each table shows that the model cannot read them.
    StorageError
        If the work directory holds what a run of other tables has left.
    """
    if shake is None or graph.session is None:  # files are prepared by this process, whoever runs the model
        shake = handshake(None)
    with readable_errors():
        model.check_against(first_widths(graph, shake).both_ways(), columns=graph.describe()["columns"])
    if model.reads_reversed:
        graph = graph.with_reverse()
    if settings.work_dir is not None and None not in files_of(graph).values():
        shake.require_written(settings.work_dir, f"work_dir: {SEEN}")
        return _prepare_to_keep(graph, settings, Place.of(settings.work_dir), shake)
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
    say_prepared(prepared, time.perf_counter() - started)
    return prepared


def _prepare_to_keep(graph: Graph, settings: Settings, work: Place, shake: Handshake) -> PreparedGraph:
    """The graph in a work directory: the one that is there, if it was made of the same tables, or a new one."""
    path, started = work.child(GRAPH).uri, time.perf_counter()
    with steps_directory(work, graph, path, settings.blocks, in_run=True) as steps:
        found = same_graph(graph, path, settings.blocks, overwrite=True)
        if found is not None:
            log.info("prepared already: %s nodes, %s edges", found.nodes, found.edges)
        elif steps is None:
            raise StorageError(
                f"{work}: holds what was left by a run with other tables, or of other columns or blocks; run that one "
                "again, give another path, or remove the directory. Nothing was touched"
            )
        prepared = found or prepare_in_steps(
            graph, path, settings.blocks, True, settings.task_memory, shake=shake, steps=steps
        )
        if steps is not None:
            steps.end(kept=True)
    if found is None:
        say_prepared(prepared, time.perf_counter() - started)
    return prepared


def session_of(
    graph: Graph | PreparedGraph | str | os.PathLike[str], spark: SparkSession | None
) -> SparkSession | None:
    """The session of raw tables; else the one that is given, or the one that is there; None if there is none."""
    of_tables = graph.session if isinstance(graph, Graph) else None
    return of_tables or given_session(spark) or active_session()


def say_prepared(graph: PreparedGraph, seconds: float) -> None:
    """A graph has been prepared for a run."""
    told = event("prepared", nodes=graph.nodes, edges=graph.edges, blocks=graph.blocks, seconds=seconds)
    log.info(
        "prepared %s, %s in %.1f s", counted(graph.nodes, "node"), counted(graph.edges, "edge"), seconds, extra=told
    )


def _reads_files(shake: Handshake, graph: PreparedGraph, settings: Settings) -> bool:
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


def plan_run(
    graph: PreparedGraph, model: Model, settings: Settings, shake: Handshake, reads_files: bool = True
) -> Planned:
    """Decides what a run will be. Starts no work.

    Parameters
    ----------
    reads_files : bool
        Tasks open the graph's files themselves.

    Raises
    ------
    ModelError
        If the graph lacks a column that the model reads, or has it in another width.
    """
    columns = graph.manifest.get("columns", {})
    model.check_against(graph.schema, graph.ranges, columns)
    model = model.bound_to(columns)
    counts = Counts.of(graph.manifest)
    plan = choose_exchange(Plan.of(model, graph.undirected, settings.wire), counts, settings.exchange)
    memory, threads = settings.task_memory or shake.task_memory, settings.threads or shake.task_cores
    choice = choose_tier(plan, counts, memory, settings.tier, shake.local, threads, reads_files)
    return Planned(graph, plan, choice, threads, reads_files, classes=model.classes)


def warn_far_outside(graph: PreparedGraph, model: Model) -> None:
    """Says which columns hold numbers far outside of those that the model was trained on, if it remembers them."""
    lines = model.bound_to(graph.manifest.get("columns", {})).far_outside(graph.ranges)
    if lines:
        log.warning("columns far outside of what the model was trained on:\n  %s", "\n  ".join(lines))


def warn_unread(graph: PreparedGraph, model: Model) -> None:
    """Says which types of a typed graph the model knows nothing of, or makes no use of."""
    idle = unread_types(model.program, graph.schema) if graph.is_typed else []
    if idle:
        log.warning("no output of the model depends on %s: they play no part in the scores", named(idle))


def runs_in_process(graph: PreparedGraph, model: Model, output: Place, settings: Settings) -> bool:
    """Whether a run needs no Spark: this process sees all files and has the memory, and nobody asked for something
    else."""
    if _why_spark(output, settings) is not None:
        return False
    return planned_for(graph, model, settings, handshake(None)).choice.tier == "fused"


def refuse_without_spark(output: Place | None, settings: Settings) -> None:
    """ModelError if a run needs a session, as far as that is known before the graph is. Without an output its rows stay
    in memory."""
    why = _why_spark(output, settings)
    if why is not None:
        raise ModelError(f"{why}, but {NO_SESSION}")


def refuse_distributed(planned: Planned) -> None:
    """ModelError if a run that has no session does not fit this process."""
    if planned.choice.tier != "fused":
        raise ModelError(f"{planned.choice.reason}; {NO_SESSION}")


def _why_spark(output: Place | None, settings: Settings) -> str | None:
    if settings.tier == "distributed":
        return "tier is distributed, which takes Spark"
    for name in ("read", "write"):
        if getattr(settings, name) == "spark":
            return f"{name} is spark"
    if output is not None and opened(output) is None:
        return f"{output} can be reached by Spark only"
    return None
