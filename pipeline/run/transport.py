"""How the blocks of a run send to each other: through arrays of one process, through Spark's shuffle, or through files.

Comes in: a run that is planned, settings, what is known of the session's tasks. Goes out: where its files are going to
be, or None: the run needs none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from pipeline.errors import SettingError
from pipeline.model import Model
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.scratch import Scratch
from pipeline.places.working import GRAPH, Facts, reached, refuse_other
from pipeline.run.by_superstep import Journal
from pipeline.run.planned import Planned
from pipeline.run.through_files import Files
from pipeline.run.work import work_directory
from pipeline.settings import Settings
from pipeline.spark.handshake import Handshake, Probe, package_hash

SEEN = "set it to a directory that all machines share"


def transport_probes(settings: Settings) -> list[Probe]:
    """What tasks are asked about, because a run may write its files there."""
    if settings.work_dir is not None:
        return [Probe(settings.work_dir, made=True)]
    return [Probe(_in_scratch(settings), made=True)] if settings.transport == "files" else []


def transport_of(planned: Planned, settings: Settings) -> tuple[str | None, str]:
    """What is known without a session of how blocks are going to send: "memory", "files", "shuffle", or None if the
    session's tasks decide; and why, in words."""
    if settings.work_dir is not None:
        return "files", f"through files in {settings.work_dir}, which outlast the process"
    if planned.choice.tier == "fused":
        return "memory", "in memory, because one process has all blocks"
    if settings.transport != "auto":
        what = "files in the scratch directory" if settings.transport == "files" else "Spark's shuffle"
        return settings.transport, f"through {what}: asked for"
    for name in ("read", "write"):
        if getattr(settings, name) == "spark":
            return "shuffle", f"through Spark's shuffle, because {name} is spark: tasks open no files themselves"
    return None, (
        "through files in the scratch directory if all tasks are on one machine, else through Spark's shuffle; on a "
        'cluster with a scratch directory that all machines see, transport "files" may be less'
    )


def _in_scratch(settings: Settings) -> str:
    return Scratch(settings.scratch).inside("exchange")


def refuse_work_dir(settings: Settings, output: Place, inputs: Mapping[str, Place]) -> None:
    """Before any work: SettingError or StorageError if the work directory is no place for one, touches what is read or
    written, or holds something else. Whether what it holds is of the same run shows later."""
    if settings.work_dir is not None:
        place = Place.of(settings.work_dir)
        own = place.child(GRAPH).uri  # which a run before may have prepared
        others = {what: each for what, each in inputs.items() if each.uri != own}
        refuse_overlap(place, {**others, "the output": output}, "the work directory")
        refuse_other(place, reached(place))


class Exchange(NamedTuple):
    """Where a run's files are, and who remembers what is done."""

    files: Files
    journal: Journal | None


@contextmanager
def exchange_files(
    planned: Planned, model: Model, settings: Settings, shake: Handshake, scratch: Scratch, tasks_write: bool
) -> Iterator[Exchange | None]:
    """A directory for the files of a run: the work directory, or one that is gone afterwards; None if the run sends
    nothing through files. What is in the work directory is removed if the run ends well. `tasks_write`: tasks write the
    result themselves.

    Raises
    ------
    SettingError
        If the settings want what cannot be.
    StorageError
        If the directory holds something else, or cannot be written.
    """
    if not _through_files(planned, settings, shake, tasks_write):
        yield None
    elif settings.work_dir is None:
        yield Exchange(Files(os.path.join(scratch.make(), "exchange"), checksums=False), None)
    else:
        facts = facts_of(planned, model, settings)
        plan: dict[str, Any] = {"supersteps": len(planned.plan.steps), "blocks": planned.graph.blocks}
        with work_directory(Place.of(settings.work_dir), facts, plan) as work:
            yield Exchange(work.files, work)
            work.end()


def facts_of(planned: Planned, model: Model, settings: Settings) -> Facts:
    """What a run has to have in common with the one that it goes on with."""
    return {
        "another graph": planned.graph.fingerprint,
        "another model": model.fingerprint,
        "other settings": {"wire": settings.wire, "exchange": settings.exchange},
        "another version of graphsweep": package_hash(),
    }


def _through_files(planned: Planned, settings: Settings, shake: Handshake, tasks_write: bool) -> bool:
    if settings.work_dir is not None:
        shake.require_written(settings.work_dir, f"work_dir: {SEEN}")
    elif planned.choice.tier == "fused":
        return False  # all values are in one process
    elif settings.transport == "files":
        shake.require_written(_in_scratch(settings), f"scratch: {SEEN}")
    wanted = settings.transport == "files" or settings.work_dir is not None
    if not planned.reads_files or not tasks_write:
        if wanted:
            what = "the prepared graph" if not planned.reads_files else "the output"
            raise SettingError(
                f"tasks do not reach {what} themselves: transport files and work_dir cannot be; leave them out"
            )
        return False
    on_disk = Place.of(_in_scratch(settings)).is_local  # through an object store takes longer than the shuffle of one
    return wanted or (settings.transport == "auto" and shake.local and on_disk)
