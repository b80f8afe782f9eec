"""A planned run is computed, its rows are written and counted: by threads of this process, by tasks, or by Spark.

Comes in: a Planned, and where the result is made. Goes out: files there, how many rows they have, and what was seen of
each superstep. Puts nothing in place: score.py does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import SettingError
from pipeline.events import event
from pipeline.infer import RESULT, Observations, run_frames
from pipeline.places.filesystem import opened
from pipeline.places.place import Place
from pipeline.places.staging import Staging
from pipeline.planning import refuse_distributed
from pipeline.result.by_spark import count_by_spark, writable, write_by_spark
from pipeline.result.counted import count_files, mark_done, refuse_missing, refuse_other_blocks
from pipeline.result.destination import Direct
from pipeline.result.folders import count_types, make_folders
from pipeline.result.output import OutputTable
from pipeline.result.report import SuperstepReport
from pipeline.result.wish import Wish
from pipeline.result.written import Folder, Receipt
from pipeline.run.by_superstep import InTasks, InThreads, run_by_superstep
from pipeline.run.in_process import run_in_process
from pipeline.run.planned import Planned
from pipeline.run.progress import Progress
from pipeline.run.task import Run
from pipeline.run.transport import Exchange
from pipeline.settings import Settings
from pipeline.shown import counted, size
from pipeline.spark.handshake import Handshake, Probe
from pipeline.spark.message import refuse_message
from pipeline.spark.session import readable_errors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger("graphsweep")

Seen = dict[int, Mapping[str, Any]]
"""Superstep → "ms", "shipped", "kept", as far as somebody has looked."""


def folder_of(
    output: Place, staging: Staging | Direct, format: str, settings: Settings, shake: Handshake
) -> Folder | None:
    """Where workers write the table themselves; None: Spark writes it, from their rows."""
    if staging.opened is None:
        if settings.write == "worker":
            raise SettingError(f'write is "worker", but {output} is a place that can be reached by Spark only')
        return None
    if output.is_local or settings.write == "worker":  # on disks of their own, Spark's executors would write too
        shake.require_written(_probed(output), "give a path that all machines share, or of a file system that they do")
    if settings.write == "spark":
        return None
    return Folder(staging.place.uri, str(output), format) if shake.writes(_probed(output)) else None


def output_probes(output: Place) -> list[Probe]:
    return [] if opened(output) is None else [Probe(_probed(output), made=True)]


def _probed(output: Place) -> str:
    """What tasks are asked about: in the user's own words, where these mean the same to them."""
    return str(output) if output.is_local else output.uri


def compute(
    planned: Planned,
    session: SparkSession | None,
    settings: Settings,
    wish: Wish,
    progress: Progress | None,
    staging: Staging | Direct,
    folder: Folder | None,
    output: Place,
    exchange: Exchange | None,
) -> tuple[dict[str, Any], Seen]:
    """Computes and writes; what came of it: "rows" and "files", and milliseconds of supersteps; what was seen of each
    superstep."""
    choice, marks = planned.choice, progress.directory if progress else None
    if session is None:
        refuse_distributed(planned)
    told = event("plan", tier=choice.tier, reason=choice.reason, spark=session is not None, rows=planned.rows)
    log.info("%s%s: %s", choice.tier, "" if session else ", without Spark", choice.reason, extra=told)
    if progress:
        progress.expect(len(planned.plan.steps), planned.graph.blocks)
    receipts: list[Receipt] = []
    observations: Observations = {}
    seen: Seen = {}
    types = [table.type for table in tables_of(planned, wish)]
    by_type = planned.graph.is_typed
    if by_type:
        assert folder is not None, "refused before"
        assert staging.opened is not None
        folder = replace(folder, by_type=True)
        make_folders(staging.opened, types, str(output))
    if exchange is not None:
        run = Run.of(planned, settings, wish.columns, marks, folder)
        if session is not None:
            refuse_message(session, planned.plan.weights, 1)
        each = InThreads(planned.threads) if session is None else InTasks(session)
        with readable_errors():
            receipts, moved = run_by_superstep(run, exchange.files, each, exchange.journal)
        seen = {number: {"ms": did.milliseconds, "shipped": did.bytes} for number, did in enumerate(moved)}
    elif session is None:
        assert folder is not None
        receipts = run_in_process(planned, settings, wish.columns, folder, marks)
    else:
        frames = run_frames(planned, session, settings, wish.columns, marks, folder)
        observations = frames.observations
        if folder is not None:
            with readable_errors():
                receipts = [Receipt(*row) for row in frames.result.collect()]
        else:
            widths, text = tables_of(planned, wish)[0].widths, planned.graph.id_type == "string"
            with writable(output, staging):
                write_by_spark(frames.result, widths, wish.format, staging, text)
    facts = _clock(receipts) if folder else dict(observations[RESULT].get)
    rows, what, blocks = planned.rows, planned.plan.program.what, planned.graph.blocks
    if staging.opened is None:
        assert session is not None
        facts["files"] = []
        refuse_missing(count_by_spark(session, wish.format, staging.place), facts["rows"], rows, str(output), what)
        return facts, _observed(observations)
    if by_type:
        nodes = planned.graph.node_counts if planned.targets is None else planned.targets.counts
        edges = planned.graph.edge_counts
        expected = {type: nodes[type] if isinstance(type, str) else edges[type] for type in types}
        facts["files"] = count_types(staging.opened, wish.format, expected, blocks, receipts, str(output))
        return facts, seen or _observed(observations)
    facts["files"] = files = count_files(staging.opened, wish.format, str(output))
    if folder is not None:
        refuse_other_blocks(files, blocks, receipts, str(output))
    refuse_missing(sum(file.rows for file in files), facts["rows"], rows, str(output), what)
    mark_done(staging.opened)
    return facts, seen or _observed(observations)


def _observed(observations: Observations) -> Seen:
    return {int(name): observation.get for name, observation in observations.items() if name != RESULT}


def _clock(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Of a result that tasks have written: its rows, and the milliseconds of supersteps."""
    rows = {(receipt.type, receipt.block): receipt.rows or 0 for receipt in receipts if receipt.block is not None}
    facts: dict[str, Any] = {"rows": sum(rows.values())}  # a block that was tried twice has two receipts
    for receipt in receipts:
        if receipt.milliseconds is not None:
            name = f"ms_{receipt.superstep}"
            facts[name] = facts.get(name, 0) + receipt.milliseconds
    return facts


def tables_of(planned: Planned, wish: Wish) -> tuple[OutputTable, ...]:
    return wish.columns.tables(planned.plan.program, planned.graph, wish.format, planned.classes)


def supersteps_of(planned: Planned, seen: Seen, facts: dict[str, Any]) -> tuple[SuperstepReport, ...]:
    supersteps = []
    of = counted(facts["rows"], planned.plan.program.what.removesuffix("s"))
    nodes = of if planned.targets is None else f"for {of}"
    for step in planned.plan.steps:
        found = seen.get(step.number, {})
        milliseconds = found.get("ms") or facts.get(f"ms_{step.number}") or 0
        report = SuperstepReport(step.number, milliseconds / 1000, found.get("shipped"), found.get("kept"))
        supersteps.append(report)
        moved = ""
        if found:
            moved = f", shipped {size(report.shipped or 0)}, kept {size(report.kept or 0)}"
        told = event(
            "superstep",
            superstep=step.number,
            seconds=report.seconds,
            shipped_bytes=report.shipped,
            kept_bytes=report.kept,
        )
        log.info("superstep %d: %s, computed in %.2f s%s", step.number, nodes, report.seconds, moved, extra=told)
    return tuple(supersteps)
