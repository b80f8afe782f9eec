"""Tables to a prepared graph, once per graph; no edge is ever joined.

Comes in: a `Graph` of Spark DataFrames. Goes out: a `PreparedGraph` on disk. Knows Spark, and how rows get from one
step to the next; what a step does is in preparing/.

    nodes, edges → pack ─ shuffle 1: every node and edge once, packed ─► build: nodes, tiles, requests
                          shuffle 2: 8 bytes for each boundary node   ─► answer: send lists

On one machine that sees the tables itself, the same steps run in this process (preparing/local.py).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from pipeline.blocks import storage
from pipeline.blocks.rows import Row, from_batches
from pipeline.errors import SettingError
from pipeline.graph import Graph
from pipeline.places.given import check_flags, path_of
from pipeline.places.place import Place
from pipeline.prepared import PreparedGraph, open_graph
from pipeline.preparing.by_column import ByColumn, Means, by_column, with_columns
from pipeline.preparing.by_step import PACK, Packing, Parts, prepare_by_step, step_names
from pipeline.preparing.checks import check_totals, refuse
from pipeline.preparing.facts import FACTS
from pipeline.preparing.findings import find_names, findings_of
from pipeline.preparing.followed import blocks_written, followed, parts_made
from pipeline.preparing.in_tasks import pack_in_tasks, steps_in_tasks
from pipeline.preparing.local import TableSource, prepare_in_process
from pipeline.preparing.manifest import manifest_of, warn_both_ways
from pipeline.preparing.origin import origin_of, places_of, same_graph
from pipeline.preparing.preparation import SEEDS, Preparation
from pipeline.preparing.publish import publishing, refuse_taken, sweep
from pipeline.preparing.sizes import MOST_BLOCKS, check_blocks, choose_blocks, record_bytes
from pipeline.preparing.texts import texts_by_key
from pipeline.preparing.work import Steps, refuse_work, steps_directory, was_ended
from pipeline.result.inputs import inputs_of
from pipeline.run.by_superstep import InTasks, InThreads
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe, handshake
from pipeline.spark.limits import trim_memory
from pipeline.spark.session import readable_errors, session_settings
from pipeline.tables.layout import Layout, TextHash, text_keys
from pipeline.tables.survey import Pieces, frame_of, measure, pieces_of, selected, table_probes
from pipeline.tables.table import Piece, read_pieces

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger("graphsweep")

# Of records in tables that come through the JVM: so much is prepared in the driver of a local session. Spark's fixed
# costs for it, in a session that has just started, are 5 s.
DRIVER_BYTES = 1 << 26

IF_SAME = ("skip",)

# what prepare sets in the session while it runs
SETTINGS = {
    # a packed row is up to 1 MB: without a bound, 10 000 of them are one Arrow batch
    "spark.sql.execution.arrow.maxBytesPerBatch": str(64 << 20),
    # 10 000 edges are 160 KB; larger batches cost fewer round trips
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(1 << 17),
}


def prepare(
    graph: Graph,
    path: str | os.PathLike[str],
    blocks: int | None = None,
    overwrite: bool = False,
    task_memory: int | str | None = None,
    text_hash: TextHash = text_keys,
    if_same: str | None = None,
    shake: Handshake | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    blocks_by: str | Mapping[str, str] | None = None,
) -> PreparedGraph:
    """Runs jobs: cuts a graph into blocks and stores them at `path`, which all machines must be able to write.

    Where all is on this machine and the tables are files or in memory, there are no jobs: this process does the work.

    Parameters
    ----------
    path
        A directory, which is made. What a killed prepare has left there is removed.
    blocks : int, optional
        Into how many; `choose_blocks` decides if it is not given.
    overwrite : bool
        Replace the prepared graph that is at `path`, and nothing else: it stays until the new one is complete. A run
        that is reading the old one ends with an error.
    task_memory : int or text, optional
        Bytes that a task may use, for the choice of blocks.
    if_same : "skip", optional
        If the graph at `path` was made of the same files in the same way, return it and do nothing. Files are the same
        if their names, sizes and times are; of DataFrames they are not known.
    shake : Handshake, optional
        What is known of the tasks of the tables' session, if they were asked about `path`, the tables and `work_dir`
        already.
    work_dir : path, optional
        A directory that all machines see, where what is done is kept until the graph is there: the same call goes on
        where a killed one stopped. The tables have to be files. What is done of the graph itself stays at `path` when
        a call fails; whatever is prepared there next goes on with it, or removes it.
    report : path, optional
        A file that ends in .html, or a folder: there goes a page about the graph, for people. It takes the libraries of
        `graphsweep[report]`.
    blocks_by : str, or node type → str, optional
        A column of the node table, integers or text, such as the number of a community: nodes with the same value go
        into one block, so that less is sent between blocks. Without it the hash of a node's id decides. A typed graph
        needs the column in each table of nodes.

    Raises
    ------
    ClusterError
        If tasks do not have what this process has.
    DataError
        If the tables cannot be used: one message with all that is wrong, with counts and examples.
    SettingError
        If the path is, holds or lies in one of the tables.
    StorageError
        If there is something at the path (but for a graph, with `overwrite`), or if it cannot be written; if `work_dir`
        holds what was left of something else. Without `work_dir`, nothing is left that was not there before.
    """
    from pipeline.run.arguments import graph_of

    check_flags(overwrite=overwrite)
    graph, path = graph_of(graph), path_of("the path of a prepared graph", path)
    checked = Settings.of({"blocks": blocks, "task_memory": task_memory, "work_dir": work_dir})
    blocks, task_memory = checked.blocks, checked.task_memory
    work = None if checked.work_dir is None else Place.of(checked.work_dir)
    if if_same not in (None, *IF_SAME):
        raise SettingError(f"if_same is {if_same!r}; accepted: {', '.join(IF_SAME)}")
    if work is not None:
        refuse_work(work, path, places_of(graph))
    page = None
    if report is not None:
        from pipeline.report.run_report import RunReport, reads_of

        page = RunReport.asked(report, "prepare", reads_of(inputs_of(graph), Place.of(path), checked))
        page.settings(checked)
        page.tables({name: source.get("path") or source.get("table") for name, source in graph.sources.items()})
    ended = work is not None and was_ended(work, path)
    columns = None
    if blocks_by is not None:
        graph, columns = with_columns(graph, blocks_by)
    made = already_there(graph, path, blocks, overwrite, columns) if if_same and not ended else None
    skipped = made is not None
    if made is None and not ended:
        refuse_taken(path, overwrite, places_of(graph))  # before any job
    if made is None and work is None:
        made = prepare_in_steps(graph, path, blocks, overwrite, task_memory, text_hash, shake, columns=columns)
    elif made is None:
        assert work is not None
        with steps_directory(work, graph, path, blocks, in_run=False, columns=columns) as steps:
            assert steps is not None, "no run has begun there"
            if was_ended(work, path):
                sweep(path)
            else:
                prepare_in_steps(graph, path, blocks, overwrite, task_memory, text_hash, shake, steps, columns)
            steps.end(kept=False)
        made = open_graph(path)
    if page is not None:
        page.graph(made)
        page.write(made.told(path, skipped))
    return made


def prepare_in_steps(
    graph: Graph,
    path: str | os.PathLike[str],
    asked: int | None,
    overwrite: bool = False,
    task_memory: int | None = None,
    text_hash: TextHash = text_keys,
    shake: Handshake | None = None,
    steps: Steps | None = None,
    columns: Mapping[str, str] | None = None,
) -> PreparedGraph:
    """The same, of what has been checked. `asked`: for so many blocks. `steps`: the journal of an open work
    directory. `columns`: that say which nodes go into one block."""
    spark = graph.session
    if shake is None:
        probes = [Probe(os.fspath(path), made=True), *table_probes(graph)]
        shake = handshake(spark, [*probes, *([Probe(steps.directory, made=True)] if steps else [])])
    shake.require_written(os.fspath(path), "give a path that all machines share")
    if steps is not None:
        shake.require_written(steps.directory, "work_dir: set it to a directory that all machines share")
    blocks = asked if steps is None or steps.blocks is None else steps.blocks
    with publishing(path, overwrite, places_of(graph), steps.prepare if steps else None) as target:
        # before they are read: what changes meanwhile is seen by the next prepare
        origin = origin_of(graph, asked, columns)
        with session_settings(spark, SETTINGS) if spark else nullcontext(), readable_errors():
            pieces = {layout.table: pieces_of(graph, layout, shake) for layout in graph.layouts}
            cores = shake.tasks
            memory = task_memory or shake.task_memory // (cores if shake.local else 1)
            found = measure(graph, pieces) if blocks is None or columns or not all(pieces.values()) else None
            fixed = blocks is not None
            if blocks is None:
                assert found is not None
                blocks = choose_blocks(*found, memory, cores)
            elif blocks > MOST_BLOCKS:
                found = found or measure(graph, pieces)
                check_blocks(blocks, choose_blocks(*found, memory, cores), found[0])
            here = Here(cores, cores * memory) if _fits_in_process(shake, pieces, found) else None
            by = None
            if columns is not None:
                assert found is not None
                means = Means(graph, pieces, columns, text_hash, here.threads if here else 1, not here, target.folder)
                by = by_column(means, blocks, fixed, found, memory)
                blocks = by.blocks
            rows = _run(graph, pieces, target.folder, blocks, text_hash, here, steps, by)
        manifest = manifest_of(graph, blocks, rows)
        if by is not None:
            manifest |= by.facts(manifest["edge_types"])
        known = {layout.table: _known_rows(layout, pieces[layout.table]) for layout in graph.layouts}
        check_totals(manifest, known, graph.layouts)
        warn_both_ways(manifest, graph.edge_layouts)
        sizes = {name: manifest["per_block"][f"{name}_file_bytes"] for name in storage.FILES}
        target.publish({**manifest, **origin}, sizes)
    return open_graph(path)


def already_there(
    graph: Graph,
    path: str | os.PathLike[str],
    blocks: int | None,
    overwrite: bool = False,
    columns: Mapping[str, str] | None = None,
) -> PreparedGraph | None:
    """The graph that is at `path`, if it is the one that `prepare` would make; else None, or, without `overwrite`, a
    StorageError that says what is different. What killed runs left beside it is removed."""
    found = same_graph(graph, path, blocks, overwrite, columns)
    if found:
        sweep(path)
    return found


# ---- the job


class Here(NamedTuple):
    """What this process may use."""

    threads: int
    memory: int
    """Bytes, of all threads together."""


def _fits_in_process(shake: Handshake, pieces: Pieces, found: tuple[int, int, int] | None) -> bool:
    """Whether this process is as good as the tasks: if they run on this machine, and no table has to come through the
    JVM, or a small one only. A shuffle in the JVM would take twice the time."""
    plain = all(found is not None for found in pieces.values())
    return shake.local and (plain or (found is not None and record_bytes(*found) <= DRIVER_BYTES))


def _run(
    graph: Graph,
    pieces: Pieces,
    folder: str,
    blocks: int,
    text_hash: TextHash,
    here: Here | None,
    steps: Steps | None,
    by: ByColumn | None,
) -> list[Row]:
    """FACTS of all blocks, whose files are written; DataError for what is wrong."""
    for seed in SEEDS[SEEDS.index(steps.seed) :] if steps else SEEDS:
        layouts = (dataclasses.replace(layout, seed=seed, text_hash=text_hash) for layout in graph.layouts)
        plan = Preparation(tuple(layouts), blocks, graph.drop_dangling, by.placed(seed) if by else None)
        if steps is not None:
            rows = _run_by_step(graph, pieces, plan, folder, here, steps, seed)
        elif here:
            rows = prepare_in_process(_sources(graph, pieces, plan), plan, folder, here.threads, here.memory)
        else:
            with followed(len(storage.FILES) * blocks, blocks_written(folder, blocks)):
                rows = list(from_batches(steps_in_tasks(graph, pieces, plan, folder).toArrow().to_batches()))
        trim_memory()
        findings = findings_of(rows)
        if not any(finding.what == "collision" for finding in findings):
            break
    refuse(find_names(findings, plan, functools.partial(texts_by_key, graph, pieces if here else {})))
    return [row for row in rows if row.kind == FACTS]


def _run_by_step(
    graph: Graph, pieces: Pieces, plan: Preparation, folder: str, here: Here | None, steps: Steps, seed: int
) -> list[Row]:
    """The same rows; what is done outlasts this process."""
    if steps.seed != seed:
        steps.begin_again(seed)
    steps.decide(plan.blocks, step_names(plan))
    if here or all(found is not None for found in pieces.values()):
        sources = _sources(graph, pieces, plan)
        parts = [(layout, source) for layout in plan.layouts for source in sources[layout.table]]
        packing: Packing = Parts(parts, hashlib.sha256(repr((plan.blocks, pieces)).encode()).hexdigest())
    else:
        packing = functools.partial(pack_in_tasks, graph, pieces, plan)
    counts = dict.fromkeys(step_names(plan), plan.blocks)
    counts[PACK] = len(packing.sources) if isinstance(packing, Parts) else 0  # of DataFrames nobody knows it before
    with followed(sum(counts.values()), parts_made(steps.files, counts, steps.done())):
        if here:
            return prepare_by_step(packing, plan, folder, steps, InThreads(here.threads))
        assert graph.session is not None
        return prepare_by_step(packing, plan, folder, steps, InTasks(graph.session))


def _sources(graph: Graph, pieces: Pieces, plan: Preparation) -> dict[str, list[TableSource]]:
    """What opens the parts of all tables in this process; a table that comes through Spark is one part."""
    sources: dict[str, list[TableSource]] = {}
    for layout in plan.layouts:
        table, found = graph.tables[layout.table], pieces[layout.table]
        if found is None:
            sources[layout.table] = [functools.partial(_collected, frame_of(table, graph.session, layout), layout)]
        else:
            sources[layout.table] = [functools.partial(read_pieces, [piece], layout.columns) for piece in found]
    return sources


def _collected(table: DataFrame, layout: Layout) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = selected(table, layout).toArrow().to_batches()
    return batches


# ---- what is known after


def _known_rows(layout: Layout, pieces: list[Piece] | None) -> int | None:
    """Rows of a table, as far as they were known before it was read."""
    if layout.where is not None:
        return layout.where.rows
    return None if pieces is None else sum(piece.rows for piece in pieces)
