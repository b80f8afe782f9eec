"""How far a run or a prepare is that keeps its work in a directory, or was when it was killed.

Comes in: the path of a work directory. Goes out: facts, as lines for people or as JSON. Looks at the directory only: it
knows neither the graph nor the model, and starts nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened
from pipeline.places.lock import is_locked
from pipeline.places.marker import WORK, read_marker
from pipeline.places.place import Place
from pipeline.places.working import DONE, GRAPH, PREPARED, PREPARING, lock_of, on_disk, path_of
from pipeline.plan.seconds import duration
from pipeline.preparing.stored import StepFiles
from pipeline.run.through_files import Files
from pipeline.shown import counted, size


@dataclass(frozen=True)
class Status:
    """Of a work directory. Times are UTC, like 2026-01-31T23:59:59Z."""

    path: str
    state: str
    """running, stopped (the same command goes on), or done."""
    begun: str
    changed: str
    """When a superstep, or a step of prepare, was done last."""
    supersteps: int
    supersteps_done: int
    blocks: int
    """Of each superstep, or of the graph that is being prepared; 0 if that is not known yet."""
    blocks_done: int
    """Of the superstep that is not done."""
    bytes: int
    """That wait here for the next superstep, or step."""
    core_seconds: float
    """That the supersteps or steps which are done took, summed over blocks."""
    graph: str
    """preparing, prepared (for the run of raw tables), or "" if there is none here."""
    steps: tuple[str, ...] = ()
    """Of prepare, in their order: their names; none if no graph is being prepared, or they are not known yet."""
    steps_done: int = 0
    parts_done: int = 0
    """Of the step that is not done: blocks, or of the first step pieces of tables."""

    @property
    def facts(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def __str__(self) -> str:
        if self.state == "done":
            how_many = (
                counted(self.supersteps, "superstep") if self.supersteps else f"{len(self.steps)} steps of prepare"
            )
            return f"{self.path}: done, {self.changed}; all {how_many}"
        said = "is running" if self.state == "running" else "has stopped; the same command goes on"
        what = "a prepare" if self.graph == PREPARING else "a run"
        lines = [f"{self.path}: {what} that was begun {self.begun} {said}"]
        if self.graph == PREPARING:
            lines += self._steps()
        else:
            lines += ["graph    prepared; it is not prepared again, unless its tables change"] if self.graph else []
            lines += self._supersteps()
        return "\n".join([*lines, f"kept     {size(self.bytes)}"])

    def _steps(self) -> list[str]:
        if not self.steps:
            return ["now      the first step has not begun"]
        done = ", ".join(self.steps[: self.steps_done]) or "none"
        lines = [
            f"done     {self.steps_done} of {len(self.steps)} steps: {done}; {duration(self.core_seconds)} of core time"
        ]
        if self.steps_done == len(self.steps):
            return [*lines, "now      the graph is being put in its place"]
        name, rest = self.steps[self.steps_done], self.steps[self.steps_done + 1 :]
        of = "pieces of the tables" if self.steps_done == 0 else f"of {counted(self.blocks, 'block')}"
        lines.append(f"now      {name}: {self.parts_done} {of}")
        return [*lines, f"missing  {', '.join(rest)}"] if rest else lines

    def _supersteps(self) -> list[str]:
        now = f"now      superstep {self.supersteps_done}: {self.blocks_done} of {counted(self.blocks, 'block')}"
        return [
            f"done     {self.supersteps_done} of {counted(self.supersteps, 'superstep')} in "
            f"{duration(self.core_seconds)} of core time, the last one {self.changed}",
            now if self.blocks else "now      no superstep has begun",
        ]


def status(path: str | os.PathLike[str]) -> Status:
    """StorageError if the path is no work directory."""
    place = Place.of(path)
    here = on_disk(place)
    marker = read_marker(here)
    if marker is None or marker["kind"] != WORK:
        raise StorageError(f"{place}: is no work directory of a run")
    try:
        state = "done" if marker["state"] == DONE else "running" if is_locked(place, lock_of(here)) else "stopped"
        common = {"path": str(place), "state": state, "begun": marker["begun"], "changed": marker["changed"]}
        if marker["state"] in (PREPARING, PREPARED) or "steps" in marker:
            return Status(**common, **_of_steps(here, marker))
        return Status(**common, **_of_run(here, marker))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise StorageError(f"{place}: its marker is damaged: {error!r}") from None


def _of_run(here: Opened, marker: Mapping[str, Any]) -> dict[str, Any]:
    rows, plan, done = marker["supersteps"], marker["plan"], marker["state"] == DONE
    files = Files(path_of(here, marker["of"]), checksums=True)
    prepared = find_manifest(here.child(GRAPH).path) is not None
    return {
        "supersteps": plan["supersteps"],
        "supersteps_done": plan["supersteps"] if done else len(rows),
        "blocks": plan["blocks"],
        "blocks_done": 0 if done else _numbers(files.superstep(len(rows))),
        "bytes": sum(row[1] for row in rows.get(str(len(rows) - 1), [])),
        "core_seconds": sum(row[3] for stored in rows.values() for row in stored) / 1000,
        "graph": PREPARED if prepared else "",
    }


def _of_steps(here: Opened, marker: Mapping[str, Any]) -> dict[str, Any]:
    """Of a prepare; or of a run whose graph is there, and that has not begun."""
    rows, plan, state = marker["steps"], marker["plan"], marker["state"]
    none = {"supersteps": 0, "supersteps_done": 0, "blocks_done": 0}
    names = tuple(plan.get("steps", ()))
    if state != PREPARING:
        graph = PREPARED if state == PREPARED else ""
        done = {"bytes": 0, "core_seconds": 0.0, "graph": graph, "steps": names, "steps_done": len(names)}
        return {**none, **done, "blocks": 0 if state == PREPARED else plan["blocks"]}
    files, newest = StepFiles(path_of(here, marker["of"])), list(rows.values())[-1] if rows else []
    return {
        **none,
        "blocks": plan.get("blocks", 0),
        "bytes": sum(row[1] for row in newest),
        "core_seconds": sum(row[3] for written in rows.values() for row in written) / 1000,
        "graph": PREPARING,
        "steps": names,
        "steps_done": len(rows),
        "parts_done": _numbers(files.step(names[len(rows)])) if len(rows) < len(names) else 0,
    }


def _numbers(folder: str) -> int:
    try:
        return sum(name.isdigit() for name in os.listdir(folder))
    except OSError:
        return 0
