"""How far a run is that keeps its work in a directory, or was when it was killed.

Comes in: the path of a work directory. Goes out: facts, as lines for people or as JSON. Looks at the directory only: it
knows neither the graph nor the model, and starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import StorageError
from pipeline.places.lock import is_locked
from pipeline.places.marker import WORK, read_marker
from pipeline.places.place import Place
from pipeline.plan.memory import size
from pipeline.plan.seconds import duration
from pipeline.run.work import GRAPH, PREPARING, files_of, lock_of, on_disk


@dataclass(frozen=True)
class Status:
    """Of a work directory. Times are UTC, like 2026-01-31T23:59:59Z."""

    path: str
    state: str
    """running, stopped (the same command goes on), or done."""
    begun: str
    changed: str
    """When a superstep was done last."""
    supersteps: int
    supersteps_done: int
    blocks: int
    """Of each superstep."""
    blocks_done: int
    """Of the superstep that is not done."""
    bytes: int
    """That wait here for the next superstep."""
    core_seconds: float
    """That the supersteps which are done took, summed over blocks."""
    graph: str
    """Of raw tables: preparing, prepared, or "" if there is none here."""

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def __str__(self) -> str:
        if self.state == "done":
            return f"{self.path}: done, {self.changed}; all {self.supersteps} supersteps"
        if self.graph == PREPARING:
            how = "is being prepared" if self.state == "running" else "is not whole; the same command prepares it again"
            return f"{self.path}: a run that was begun {self.begun}; the graph of its tables {how}"
        said = "is running" if self.state == "running" else "has stopped; the same command goes on"
        now = f"now      superstep {self.supersteps_done}: {self.blocks_done} of {self.blocks} blocks"
        if not self.blocks:
            now = "now      no superstep has begun"
        return "\n".join(
            [
                f"{self.path}: a run that was begun {self.begun} {said}",
                *(["graph    prepared; it is not prepared again, unless its tables change"] if self.graph else []),
                f"done     {self.supersteps_done} of {self.supersteps} supersteps in {duration(self.core_seconds)} of "
                f"core time, the last one {self.changed}",
                now,
                f"kept     {size(self.bytes)}",
            ]
        )


def status(path: str | os.PathLike[str]) -> Status:
    """StorageError if the path is no work directory."""
    place = Place.of(path)
    here = on_disk(place)
    marker = read_marker(here)
    if marker is None or marker["kind"] != WORK:
        raise StorageError(f"{place}: is no work directory of a run")
    try:
        rows = marker["supersteps"]
        done, preparing = marker["state"] == "done", marker["state"] == PREPARING
        prepared = find_manifest(here.child(GRAPH).path) is not None
        plan = {"supersteps": 0, "blocks": 0} if preparing else marker["plan"]
        stored = [row for superstep in rows.values() for row in superstep]
        newest = rows.get(str(len(rows) - 1), [])
        return Status(
            str(place),
            "done" if done else "running" if is_locked(place, lock_of(here)) else "stopped",
            marker["begun"],
            marker["changed"],
            plan["supersteps"],
            plan["supersteps"] if done else len(rows),
            plan["blocks"],
            0 if done or preparing else _blocks(files_of(here, marker["of"]).superstep(len(rows))),
            sum(row[1] for row in newest),
            sum(row[3] for row in stored) / 1000,
            "prepared" if prepared else PREPARING if preparing else "",
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise StorageError(f"{place}: its marker is damaged: {error!r}") from None


def _blocks(folder: str) -> int:
    try:
        return sum(name.isdigit() for name in os.listdir(folder))
    except OSError:
        return 0
