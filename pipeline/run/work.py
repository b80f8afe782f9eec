"""A work directory: what a run has done so far, so that the same command goes on where a killed one stopped.

Comes in: a path, and facts that say which run it is: its graph, model, settings, sources. Goes out: the directory of
the run's files, and the journal that says which supersteps are done. The journal is the directory's marker: only a
directory that carries one is ever written into, and only what a run has made there is removed. When the run has ended
well its files go, and the marker says so.

    W/_graphsweep.json           the journal
    W/0a1b2c3d4e5f6071/…         the files of the run (through_files.py), under the hash of its facts: what a task of a
                                 killed run still writes there is never taken for another run's
    W/graph/…                    the graph that raw tables were prepared as
    W/.work.graphsweep-lock      who is working
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.blocks.storage import find_manifest
from pipeline.errors import SettingError, StorageError, unwritable
from pipeline.places.beside import LOCK, beside
from pipeline.places.directories import list_directory, make_directories, remove_empty
from pipeline.places.filesystem import Opened, opened
from pipeline.places.lock import Lock, new_run
from pipeline.places.marker import MARKER, WORK, is_free, is_half_marker, read_marker, write_marker
from pipeline.places.place import Place
from pipeline.run.through_files import Files, Stored

GRAPH = "graph"
PREPARING = "preparing"
"""The state of a directory where no superstep has begun."""

Facts = Mapping[str, Any]
"""What has to be the same for a run to go on: what it is called where it is not ("another graph") → a value of JSON."""


class Work:
    """The journal of a work directory that this process has locked."""

    def __init__(self, place: Place, here: Opened, marker: Mapping[str, Any]) -> None:
        self._place, self._opened = place, here
        self._marker = dict(marker)
        self.files = files_of(here, marker["of"])

    def done(self) -> dict[int, list[Stored]]:
        """Superstep → the receipts of all its blocks."""
        try:
            supersteps = self._marker["supersteps"].items()
            return {int(number): [Stored(*row) for row in rows] for number, rows in supersteps}
        except (AttributeError, TypeError, ValueError) as error:
            raise StorageError(f"{self._place}: its marker is damaged ({error}); remove the directory") from None

    def note(self, superstep: int, stored: Sequence[Stored]) -> None:
        """All blocks of a superstep are done: what the superstep before left is removed."""
        self._marker["supersteps"][str(superstep)] = stored
        self.write()
        if superstep:
            shutil.rmtree(self.files.superstep(superstep - 1), ignore_errors=True)

    def end(self) -> None:
        """The run has ended well: its files go."""
        self._marker.update(state="done", supersteps={})
        self.write()
        shutil.rmtree(self.files.path, ignore_errors=True)
        remove_graph(self._opened)

    def write(self) -> None:
        try:
            write_marker(self._opened, WORK, {**self._marker, "changed": _now()})
        except OSError as error:
            raise unwritable(str(self._place), error) from error


@contextmanager
def work_directory(place: Place, facts: Facts, plan: Facts) -> Iterator[Work]:
    """The work directory at a place; nobody else works in it meanwhile. `plan`: what is told to people who ask.

    Raises
    ------
    StorageError
        If something else is there, or what another run has left; if another process works there; if it cannot be
        written. Nothing is touched then.
    SettingError
        If it is no place on a disk.
    """
    with _locked(place, facts) as here:
        marker = read_marker(here)
        if marker is None or marker.get("state") != "begun":
            marker = _new_marker("begun", facts, plan)
        work = Work(place, here, {name: marker[name] for name in ("of", "plan", "state", "begun", "supersteps")})
        work.write()
        yield work


@contextmanager
def preparing_in(place: Place) -> Iterator[bool]:
    """A directory where a graph is being prepared, its marker written; gives whether a run has begun with one that was
    there before. Nobody else works there meanwhile. What was made is removed if this ends with an error. Errors as of
    `work_directory`."""
    with _locked(place, {}) as here:
        before = read_marker(here)
        begun = before is not None and before.get("state") == "begun"
        if not begun:
            Work(place, here, _new_marker(PREPARING, {}, {})).write()
        try:
            yield begun
        except BaseException:
            if before is None:
                with suppress(OSError):
                    here.filesystem.delete_file(f"{here.path}/{MARKER}")
            raise


@contextmanager
def _locked(place: Place, facts: Facts) -> Iterator[Opened]:
    """A directory that is made if it is not there, and that nobody else works in meanwhile. Errors as of
    `work_directory`."""
    here = on_disk(place)
    refuse_other(place, here, facts)
    try:
        made = make_directories(here)
    except OSError as error:
        raise unwritable(str(place), error) from error
    try:
        with Lock(place, lock_of(here), new_run()):
            refuse_other(place, here, facts)
            yield here
    finally:
        remove_empty(made)  # if nothing has come there


def _new_marker(state: str, facts: Facts, plan: Facts) -> dict[str, Any]:
    return {"of": facts, "plan": plan, "state": state, "begun": _now(), "supersteps": {}}


def remove_graph(here: Opened) -> None:
    """Removes the graph that was prepared in a work directory, if there is one."""
    path = here.child(GRAPH).path
    if find_manifest(path) is not None:
        shutil.rmtree(path, ignore_errors=True)


def on_disk(place: Place, setting: str = "work_dir") -> Opened:
    """SettingError for a place whose files cannot be mapped."""
    here = opened(place) if place.is_local else None
    if here is None:
        raise SettingError(f"{place}: {setting} has to be a path on a disk, or of a file system that is mounted")
    return here


def refuse_other(place: Place, here: Opened, facts: Facts) -> None:
    """StorageError if a place holds anything but the work of the run with these facts."""
    marker = read_marker(here)
    if marker is None:
        if is_free(here) or _only_begun(here):
            return
        raise StorageError(f"{place}: exists, and is no work directory of ours; give another path. Nothing was touched")
    if marker["kind"] != WORK:
        raise StorageError(f"{place}: holds {_a(marker['kind'])}; give another path for the work. Nothing was touched")
    if marker.get("state") != "begun":
        return
    of = marker.get("of")
    other = [name for name, value in facts.items() if not isinstance(of, dict) or of.get(name) != value]
    if other:
        raise StorageError(
            f"{place}: holds what was left by a run with {_and(other)}; run that one again, give another path, or "
            "remove the directory. Nothing was touched"
        )


def files_of(here: Opened, facts: Facts) -> Files:
    """Where the files of a run are, in its work directory."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Files(here.child(digest[:16]).path, checksums=True)


def lock_of(here: Opened) -> Opened:
    """The place that a lock stands for: inside, because what is above may belong to somebody else."""
    return here.child("work")


def _only_begun(here: Opened) -> bool:
    """Whether a directory without a marker holds nothing but what runs of ours leave that are killed before they have
    written it, or are about to."""
    lock = beside(lock_of(here).name, LOCK)
    return all(is_half_marker(name) or name.startswith(lock) for name in list_directory(here))


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _a(kind: str) -> str:
    return f"a {kind}" if not kind.endswith("s") and kind != "unfinished" else kind


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
