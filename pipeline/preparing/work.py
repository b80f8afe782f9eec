"""What a prepare has done so far, in its work directory: which steps, and what it is that is being prepared.

Comes in: a place, a graph of tables that are known again, where the prepared graph goes. Goes out: the journal of its
steps. Tables are known by the names, sizes and times of their files: if they have changed since the first step, what is
there is of no use, and all begins again. What a work directory is: places/working.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import DataError, SettingError
from pipeline.graph import Graph
from pipeline.places.filesystem import Opened
from pipeline.places.lock import new_run
from pipeline.places.marker import read_marker
from pipeline.places.place import Place, refuse_overlap
from pipeline.places.working import (
    BEGUN,
    DONE,
    PREPARED,
    PREPARING,
    Facts,
    Journal,
    damaged,
    locked,
    new_marker,
    reached,
    refuse_other,
    remove_folder,
)
from pipeline.preparing.origin import files_of
from pipeline.preparing.preparation import SEEDS
from pipeline.preparing.stored import StepFiles, Written
from pipeline.spark.handshake import package_hash
from pipeline.tables.layout import words_of

log = logging.getLogger("graphsweep")


class Steps:
    """The steps that are done."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.files = StepFiles(journal.path)

    @property
    def directory(self) -> str:
        """As the user gave it."""
        return str(self._journal.place)

    @property
    def prepare(self) -> str:
        """The id that the prepared graph is going to have, whoever ends it."""
        return str(self._journal.marker["prepare"])

    @property
    def blocks(self) -> int | None:
        """Into how many the graph is cut: decided by who began."""
        found: int | None = self._journal.marker["plan"].get("blocks")
        return found

    @property
    def seed(self) -> int:
        return int(self._journal.marker["seed"])

    def decide(self, blocks: int, names: Sequence[str]) -> None:
        """What is going to be done."""
        if self.blocks is None:
            self._journal.write(plan={"blocks": blocks, "steps": list(names)})

    def done(self) -> dict[str, list[Written]]:
        """Step → the receipts of all its parts, in the order in which they were done."""
        try:
            return {name: [Written(*row) for row in rows] for name, rows in self._journal.marker["steps"].items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise damaged(self._journal.place, error) from None

    def note(self, step: str, written: Sequence[Written]) -> None:
        """All parts of a step are done: what the step before left is removed."""
        before = list(self._journal.marker["steps"])
        self._journal.marker["steps"][step] = written
        self._journal.write()
        for name in before:
            remove_folder(self.files.step(name))

    def begin_again(self, seed: int | None = None) -> None:
        """What is done is of no use: it is removed."""
        self._journal.write(steps={}, seed=self.seed if seed is None else seed)
        self._journal.remove_files()

    def begin_step(self, step: str, key: str | None) -> None:
        """A step begins; `key` says which parts it has. What there is of others is removed."""
        if key is None or self._journal.marker.get("parts") != [step, key]:
            remove_folder(self.files.step(step))
            self._journal.write(parts=[step, key])

    def end(self, kept: bool) -> None:
        """The prepared graph is in its place: the files of the steps go. `kept`: it waits for a run of a model."""
        self._journal.write(state=PREPARED if kept else DONE, steps={})
        self._journal.remove_files()


@contextmanager
def steps_directory(
    place: Place, graph: Graph, path: str, blocks: int | None, in_run: bool, columns: Mapping[str, str] | None = None
) -> Iterator[Steps | None]:
    """The work directory of a prepare; nobody else works in it meanwhile. None if a run of a model has begun there with
    a graph that was prepared before. If the tables cannot be used, nothing is left of it. `in_run`: for `infer`.

    Raises
    ------
    StorageError
        If something else is there, or what another run has left; if another process works there; if it cannot be
        written. Nothing is touched then.
    SettingError
        If a table would not be known again.
    """
    files = files_of(graph)
    unknown = [words_of(table) for table, found in files.items() if found is None]
    if unknown:
        raise SettingError(
            f"work_dir: {unknown[0]} would not be known again by a second run, because it is not in files that are "
            "listed here; give its path, or leave work_dir out"
        )
    facts = _facts(graph, path, blocks, columns)
    expected = {PREPARING: facts, PREPARED: facts, BEGUN: {}} if in_run else {PREPARING: facts}
    with locked(place, expected) as here:
        before = read_marker(here)
        state = None if before is None else before.get("state")
        if state == BEGUN:
            yield None
            return
        journal = _journal(place, here, before if state in (PREPARING, PREPARED) else None, facts, files)
        journal.write()
        try:
            yield Steps(journal)
        except (DataError, SettingError):
            journal.forget()
            raise


def refuse_work(place: Place, path: str | os.PathLike[str], inputs: Mapping[str, Sequence[Place]]) -> None:
    """Before any work: SettingError or StorageError if the work directory is no place for one, touches what is read or
    written, or holds something else."""
    for what, places in {"the prepared graph": [Place.of(path)], **inputs}.items():
        for one in places:
            refuse_overlap(place, {what: one}, "the work directory")
    refuse_other(place, reached(place))


def was_ended(place: Place, path: str | os.PathLike[str]) -> bool:
    """Whether the graph at a path is the one that was being prepared with a work directory: killed at the very end."""
    marker, there = read_marker(reached(place)), find_manifest(os.fspath(path))
    if marker is None or there is None:
        return False
    return marker.get("state") == PREPARING and marker.get("prepare") == there.get("prepare")


def _journal(place: Place, here: Opened, before: Mapping[str, Any] | None, facts: Facts, files: Facts) -> Journal:
    names = ("of", "plan", "state", "begun", "files", "prepare", "seed", "steps")
    new = {**new_marker(PREPARING, facts, {}), "files": files, "prepare": new_run(), "seed": SEEDS[0], "steps": {}}
    if before is None:
        return Journal(place, here, new)
    if not set(names) <= before.keys():
        raise damaged(place, KeyError(*sorted(set(names) - before.keys())))
    changed = [words_of(table) for table, found in files.items() if found != before["files"].get(table)]
    if changed:
        log.warning("%s: %s changed since; prepared from the beginning", place, _have(changed))
        Journal(place, here, before).remove_files()
        return Journal(place, here, new)
    known = {name: before[name] for name in [*names, *({"parts"} & before.keys())]}
    return Journal(place, here, {**known, "state": PREPARING})


def _facts(graph: Graph, path: str, blocks: int | None, columns: Mapping[str, str] | None) -> Facts:
    about = graph.describe()
    return {
        "other tables": about.pop("sources"),
        "other columns or options": about,
        "another number of blocks": blocks,
        **({} if columns is None else {"blocks by another column": dict(columns)}),
        "another output": Place.of(os.fspath(path)).uri,
        "another version of graphsweep": package_hash(),
    }


def _have(what: Sequence[str]) -> str:
    return f"{' and '.join(what)} have" if len(what) > 1 else f"{what[0]} has"
