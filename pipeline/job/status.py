"""How far a run is that keeps its work in a directory, or was when it was killed.

Comes in: the path of a work directory. Goes out: facts, as lines for people or as JSON. Looks at the directory only: it
knows neither the graph nor the model, and starts nothing.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.errors import StorageError
from pipeline.places.lock import is_locked
from pipeline.places.marker import WORK, read_marker
from pipeline.places.place import Place
from pipeline.plan.memory import size
from pipeline.plan.seconds import duration
from pipeline.run.work import files_of, lock_of, on_disk


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

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def __str__(self) -> str:
        if self.state == "done":
            return f"{self.path}: done, {self.changed}; all {self.supersteps} supersteps"
        said = "is running" if self.state == "running" else "has stopped; the same command goes on"
        return "\n".join(
            [
                f"{self.path}: a run that was begun {self.begun} {said}",
                f"done     {self.supersteps_done} of {self.supersteps} supersteps in {duration(self.core_seconds)} of "
                f"core time, the last one {self.changed}",
                f"now      superstep {self.supersteps_done}: {self.blocks_done} of {self.blocks} blocks",
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
        plan, rows = marker["plan"], marker["supersteps"]
        done = marker["state"] == "done"
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
            0 if done else _blocks(files_of(here, marker["of"]).superstep(len(rows))),
            sum(row[1] for row in newest),
            sum(row[3] for row in stored) / 1000,
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise StorageError(f"{place}: its marker is damaged: {error!r}") from None


def _blocks(folder: str) -> int:
    try:
        return sum(name.isdigit() for name in os.listdir(folder))
    except OSError:
        return 0
