"""A work directory: what is done so far of something long, so that the same command goes on where a killed one stopped.

Comes in: a place, and facts that say which run it is. Goes out: the directory, locked, with its journal. The journal is
the directory's marker: only a directory that carries one is ever written into, and only what a run has made there is
removed. What is noted in it is the business of those who work there: run/work.py, preparing/work.py.

    W/_graphsweep.json           the journal
    W/0a1b2c3d4e5f6071/…         files, under the hash of the facts: what a task of a killed run still writes there is
                                 never taken for another run's
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

import pyarrow as pa

from pipeline.errors import StorageError, unreadable, unwritable
from pipeline.places.beside import LOCK, beside
from pipeline.places.directories import list_directory, make_directories, remove_directory, remove_empty
from pipeline.places.filesystem import Opened, opened
from pipeline.places.lock import Lock, new_run
from pipeline.places.marker import MARKER, WORK, is_free, is_half_marker, read_marker, write_marker
from pipeline.places.place import Place, refuse_unreachable

GRAPH = "graph"

# states
PREPARING = "preparing"  # a graph: some steps may be done
PREPARED = "prepared"  # the graph of raw tables is there, and no superstep of the run has begun
BEGUN = "begun"  # a run: some supersteps may be done
DONE = "done"
_WHAT = {PREPARING: "a prepare", PREPARED: "an infer of raw tables", BEGUN: "an infer"}

Facts = Mapping[str, Any]
"""What has to be the same to go on: what it is called where it is not ("another graph") → a value of JSON."""


class Journal:
    """The marker of a work directory that this process has locked."""

    def __init__(self, place: Place, here: Opened, marker: Mapping[str, Any]) -> None:
        self.place, self.opened = place, here
        self.marker = dict(marker)

    @property
    def path(self) -> str:
        """Where its files are: a path, or a URI."""
        return path_of(self.place, self.marker["of"])

    def write(self, **changed: Any) -> None:
        """With these changes. StorageError."""
        self.marker.update(changed)
        try:
            write_marker(self.opened, WORK, {**self.marker, "changed": _now()})
        except (OSError, pa.ArrowException) as error:
            raise unwritable(str(self.place), error) from error

    def remove_files(self) -> None:
        remove_folder(self.path)

    def forget(self) -> None:
        """The directory is nobody's again."""
        self.remove_files()
        with suppress(OSError):
            self.opened.filesystem.delete_file(f"{self.opened.path}/{MARKER}")


def new_marker(state: str, facts: Facts, plan: Facts) -> dict[str, Any]:
    return {"of": facts, "plan": plan, "state": state, "begun": _now()}


@contextmanager
def locked(place: Place, expected: Mapping[str, Facts]) -> Iterator[Opened]:
    """A directory that is made if it is not there, and that nobody else works in meanwhile. `expected`: as of
    `refuse_other`.

    Raises
    ------
    StorageError
        If something else is there; if another process works there; if it cannot be written. Nothing is touched then.
    """
    here = reached(place)
    refuse_other(place, here, expected)
    try:
        made = make_directories(here)
    except (OSError, pa.ArrowException) as error:
        raise unwritable(str(place), error) from error
    try:
        with Lock(place, lock_of(here), new_run()):
            refuse_other(place, here, expected)
            yield here
    finally:
        remove_empty(made)  # if nothing has come there


def reached(place: Place) -> Opened:
    """StorageError for a place that only Spark reaches, or nobody."""
    here = opened(place)
    if here is None:
        raise refuse_unreachable(place)
    return here


def make_folder(path: str) -> None:
    """A directory for files of ours, if it is not there; an object store needs none. StorageError."""
    here = reached(Place.of(path))
    if not here.renames:
        return
    try:
        here.filesystem.create_dir(here.path)
    except OSError as error:
        raise unwritable(path, error) from error


def is_begun(path: str) -> bool:
    """Whether there are files in such a directory. StorageError."""
    try:
        return bool(list_directory(reached(Place.of(path))))
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error) from error


def remove_folder(path: str) -> None:
    """Of files of ours, with all that is in it; what cannot be removed stays, and is of no use to anybody."""
    with suppress(OSError, pa.ArrowException):
        here = reached(Place.of(path))
        if here.is_local:
            shutil.rmtree(here.path, ignore_errors=True)
        else:
            remove_directory(here)


def refuse_other(place: Place, here: Opened, expected: Mapping[str, Facts] | None = None) -> None:
    """StorageError if a place holds anything but a work directory, or one that was left as it is not expected.

    `expected`: states in which it may have been left → the facts that have to be the same then. None: any.
    """
    marker = read_marker(here)
    if marker is None:
        if is_free(here) or _only_begun(here):
            return
        raise StorageError(f"{place}: exists, and is no work directory of ours; give another path. Nothing was touched")
    if marker["kind"] != WORK:
        raise StorageError(f"{place}: holds {_a(marker['kind'])}; give another path for the work. Nothing was touched")
    state, of = marker.get("state"), marker.get("of")
    if expected is None or state not in _WHAT:
        return
    if state not in expected:
        raise _left(place, _WHAT[state])
    known = json.loads(json.dumps(expected[state]))  # as it was written
    other = [name for name, value in known.items() if not isinstance(of, dict) or of.get(name) != value]
    if other:
        raise _left(place, f"a run with {_and(other)}")


def _left(place: Place, what: str) -> StorageError:
    return StorageError(
        f"{place}: holds what was left by {what}; run that one again, give another path, or remove the directory. "
        "Nothing was touched"
    )


def path_of(place: Place, facts: Facts) -> str:
    """Where the files of a run are, in its work directory."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return place.child(digest[:16]).uri


def damaged(place: Place, error: Exception) -> StorageError:
    return StorageError(f"{place}: its marker is damaged ({error!r}); remove the directory")


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
