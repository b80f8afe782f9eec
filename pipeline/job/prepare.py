"""Prepares a graph of raw tables, given by their paths: without Spark where this machine reads them.

Comes in: paths, and the options of a `Graph`. Goes out: a prepared graph. Knows nothing of how it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import SettingError
from pipeline.job.raw_tables import RawTables
from pipeline.job.sessions import Sessions, is_small
from pipeline.job.texts import describe, report_line
from pipeline.places.place import Place
from pipeline.prepare import already_there, prepare
from pipeline.prepared import PreparedGraph
from pipeline.preparing.by_column import with_columns
from pipeline.preparing.origin import places_named
from pipeline.preparing.publish import refuse_taken
from pipeline.preparing.work import refuse_work, was_ended
from pipeline.report.run_report import RunReport, reads_of
from pipeline.result.inputs import inputs_of
from pipeline.settings import Settings


class Prepared:
    """What came of it."""

    def __init__(self, graph: PreparedGraph, output: str, there: bool, page: RunReport | None = None) -> None:
        self.graph, self._output, self._there = graph, output, there
        self._page: Mapping[str, Any] | None = None
        if page is not None:
            page.graph(graph)
            self._page = page.write(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        told = {"report": self._page} if self._page is not None else {}
        return {**self.graph.told(self._output, self._there), **told}

    def __str__(self) -> str:
        said = f"{describe(self.graph)}; {'already there, in' if self._there else 'written to'} {self._output}"
        return "\n".join([said, *report_line(self._page)])


def prepare_paths(
    tables: RawTables,
    output: str,
    options: dict[str, Any],
    settings: Settings,
    sessions: Sessions,
    overwrite: bool = False,
    if_same: str | None = None,
    report: str | None = None,
    files: Mapping[str, str | None] | None = None,
    blocks_by: str | Mapping[str, str] | None = None,
) -> Prepared:
    """`options` are those of `Graph`. With `if_same`, nothing is done if the same graph is there already.
    `report`: where a page about it goes; `files`: what else the command reads, as for `score_paths`. `blocks_by`: as
    for `prepare`."""
    if if_same not in (None, "skip"):
        raise SettingError(f"if_same is {if_same!r}; accepted: skip")
    places = places_named(tables.tables)
    work = None if settings.work_dir is None else Place.of(settings.work_dir)
    if work is not None:
        refuse_work(work, output, places)
    ended = work is not None and was_ended(work, output)
    if not ended and (if_same is None or find_manifest(output) is None):
        # prepare does too, when Spark has been started
        refuse_taken(output, overwrite, places)
    page = None
    if report is not None:
        reads = inputs_of(settings=settings, tables=tables.tables, files=files)
        page = RunReport.asked(report, "prepare", reads_of(reads, Place.of(output), settings))
        page.settings(settings)
        page.tables(tables.tables)
    here = tables.read_without_spark(**options) if sessions.optional() else None
    session: Any = nullcontext() if here else sessions.start(is_small(None, tables.tables.values()), None)
    with session as spark:
        graph = here or tables.read(spark, **options)
        columns = None if blocks_by is None else with_columns(graph, blocks_by)[1]
        there = already_there(graph, output, settings.blocks, overwrite, columns) if if_same and not ended else None
        memory, kept = settings.task_memory, settings.work_dir
        prepared = there or prepare(graph, output, settings.blocks, overwrite, memory, work_dir=kept, blocks_by=columns)
    return Prepared(prepared, output, there is not None, page)
