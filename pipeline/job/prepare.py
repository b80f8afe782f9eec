"""Prepares a graph of raw tables, given by their paths: without Spark where this machine reads them.

Comes in: paths, and the options of a `Graph`. Goes out: a prepared graph. Knows nothing of how it is made.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import SettingError
from pipeline.job.raw_tables import RawTables
from pipeline.job.sessions import Sessions, is_small
from pipeline.job.texts import describe
from pipeline.places.place import Place
from pipeline.prepare import already_there, prepare
from pipeline.prepared import PreparedGraph
from pipeline.preparing.origin import places_named
from pipeline.preparing.publish import refuse_taken
from pipeline.preparing.work import refuse_work, was_ended
from pipeline.settings import Settings


class Prepared:
    """What came of it."""

    def __init__(self, graph: PreparedGraph, output: str, there: bool) -> None:
        self.graph, self._output, self._there = graph, output, there

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return {"output": self._output, "skipped": self._there, **self.graph.facts}

    def __str__(self) -> str:
        return f"{describe(self.graph)}; {'already there, in' if self._there else 'written to'} {self._output}"


def prepare_paths(
    tables: RawTables,
    output: str,
    options: dict[str, Any],
    settings: Settings,
    sessions: Sessions,
    overwrite: bool = False,
    if_same: str | None = None,
) -> Prepared:
    """`options` are those of `Graph`. With `if_same`, nothing is done if the same graph is there already."""
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
    here = tables.read_without_spark(**options) if sessions.optional() else None
    session: Any = nullcontext() if here else sessions.start(is_small(None, tables.tables.values()), None)
    with session as spark:
        graph = here or tables.read(spark, **options)
        there = already_there(graph, output, settings.blocks, overwrite) if if_same and not ended else None
        memory, kept = settings.task_memory, settings.work_dir
        prepared = there or prepare(graph, output, settings.blocks, overwrite, memory, work_dir=kept)
    return Prepared(prepared, output, there is not None)
