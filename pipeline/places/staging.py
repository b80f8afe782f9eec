"""How a directory appears at a place: whole, or not at all, and what was there stays until then.

Comes in: a place, and what of it may be replaced. Goes out: a directory beside it to write into, which takes its place
when it is published. Knows nothing of what is written.

    1. .scores.graphsweep-RUN       is made beside the place, with a marker that says "unfinished"
    2. its marker is replaced       it is whole from now on
    3. scores                     → .scores.graphsweep-RUN-old, if something of ours was there
    4. .scores.graphsweep-RUN     → scores
    5. .scores.graphsweep-RUN-old   is removed

A run that is killed leaves one of these states, and the next run into the same place heals it: between 3 and 4 it does
step 4; otherwise what lies beside the place is removed. Object stores cannot rename: copied.py is for these.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.errors import SettingError, StorageError, unwritable
from pipeline.places.beside import OLD, beside, new_run, run_of
from pipeline.places.copied import copy_in, settle_copies
from pipeline.places.directories import (
    exists,
    list_directory,
    list_files,
    make_directories,
    move,
    remove_directory,
    remove_empty,
    remove_files,
)
from pipeline.places.filesystem import Opened
from pipeline.places.lock import Lock, refuse_locked
from pipeline.places.marker import MARKER, UNFINISHED, is_free, is_half_marker, read_marker, write_marker
from pipeline.places.place import Place

log = logging.getLogger("graphsweep")

Owned = Callable[[Opened], list[str]]
"""The names of the files of a directory if all of them may be removed; a StorageError says why they may not."""


@dataclass(frozen=True)
class Staging:
    """A directory that is being written, beside the place that it will take."""

    run: str
    place: Place
    """Of the directory itself, as Spark takes it."""
    opened: Opened
    """The same, for this process."""
    _target: Opened
    _lock: Lock
    _removable: Callable[[], list[str]]
    _output: Place

    def publish(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Puts it in place. `facts` with "files" go into its marker.

        StorageError if something else has come there meanwhile: then nothing is touched.
        """
        if not self._lock.is_held():
            raise StorageError(f"{self._output}: another run has begun to write there; what this run wrote is removed")
        facts = {"run": self.run, **facts}
        with _readable(self._output):
            names = self._removable()
            if self._target.renames:
                write_marker(self.opened, kind, facts)
                _swap(self._output, self.opened, self._target, self.run, names)
            else:
                copy_in(self.opened, self._target, kind, facts, names)


@contextmanager
def staged(
    output: Place, opened: Opened, owned: Owned, overwrite: bool = False, look: Callable[[Opened], None] | None = None
) -> Iterator[Staging]:
    """A directory to write into, until it is published, or removed.

    Parameters
    ----------
    output
        The user's place, for messages.
    opened
        The same place; links are followed.
    owned
        What may be replaced there.
    look
        Is shown what is there after everything was healed, while nobody else is writing; it may raise.

    Raises
    ------
    StorageError
        If something is there that may not be replaced, somebody else is writing there, or nobody can. Nothing is
        touched then, and nothing left behind.
    """
    target = followed(opened)
    refuse_unplaceable(output, target)

    def removable() -> list[str]:
        return refuse_taken(output, target, owned, overwrite)

    with ExitStack() as stack:
        with _readable(output):
            if look is None:
                _refuse_early(output, target, removable)
            run = new_run()
            made = make_directories(target.parent)
            stack.callback(lambda: remove_empty(made))
            lock = stack.enter_context(Lock(output, target, run))
            heal(output, target, owned)
            if look is not None:
                look(target)
            removable()
            name = beside(target.name, run)
            directory = target.sibling(name)
            stack.callback(lambda: _try_to_clear(output, directory, target))
            if target.renames:
                target.filesystem.create_dir(directory.path, recursive=False)
            write_marker(directory, UNFINISHED, {"run": run})
        yield Staging(run, _sibling(output, target, name), directory, target, lock, removable, output)
        made.clear()


def _refuse_early(output: Place, target: Opened, removable: Callable[[], object]) -> None:
    """What is refused needs no lock, and makes no directory.

    Without a lock another run may put its files in place between our look at the marker and that at the files: they
    seem to be a stranger's then. So a refusal counts if nobody writes there, and a second look says the same.
    """
    if is_unsettled(target):
        return
    said = None
    while True:
        try:
            removable()
        except StorageError as refusal:
            refuse_locked(output, target)
            if str(refusal) == said:
                raise
            said = str(refusal)
        else:
            return


def refuse_taken(output: Place, opened: Opened, owned: Owned, overwrite: bool) -> list[str]:
    """The names of the files that will be replaced; StorageError if there is something that must not be."""
    if is_free(opened):
        return []
    try:
        names = owned(opened)
    except StorageError:
        if overwrite:
            raise
        raise StorageError(f"{output}: exists already; give another path") from None
    if not overwrite:
        raise StorageError(f"{output}: exists already; give another path, or overwrite it")
    return names


def refuse_unplaceable(output: Place, opened: Opened) -> None:
    """SettingError for a place beside of which nothing can be, or that somebody stands in."""
    if not opened.name:
        raise SettingError(f"{output}: the root of a file system; give a path inside of it")
    if not opened.is_local:
        return
    if os.path.ismount(opened.path):
        raise SettingError(f"{output}: a mount point, which cannot be replaced; give a path inside of it")
    if _is_above_us(opened.path):
        raise SettingError(f"{output}: the directory that this command runs in, or one above it; give a path inside")


def _is_above_us(path: str) -> bool:
    try:
        return Place.of(path).holds(Place.of(os.getcwd()))
    except FileNotFoundError:  # where we are has been removed
        return False


def followed(opened: Opened) -> Opened:
    """The place that a link of this machine leads to: it is replaced there, and the link stays."""
    return Opened(opened.filesystem, os.path.realpath(opened.path)) if opened.is_local else opened


# ---- what a killed run has left


def has_leftovers(opened: Opened) -> bool:
    """Whether there may be something to heal."""
    return any(run_of(opened.name, entry) for entry in list_directory(opened.parent))


def is_unsettled(opened: Opened) -> bool:
    """Whether files that a killed run copied, or was to replace, may lie in the place itself: they look like those of a
    stranger until it is healed."""
    return not opened.renames and has_leftovers(opened)


def settle(output: Place, opened: Opened, owned: Owned) -> None:
    """Heals a place without writing there. StorageError if somebody else is writing there."""
    target = followed(opened)
    with _readable(output), Lock(output, target, new_run()):
        heal(output, target, owned)


def heal(output: Place, target: Opened, owned: Owned) -> None:
    """Ends what killed runs have begun; only for who holds the lock: all other runs into this place are dead then."""
    entries = list_directory(target.parent)
    runs: dict[str, set[bool]] = {}
    for entry in entries:
        found = run_of(target.name, entry)
        if found is not None:
            runs.setdefault(found[0], set()).add(found[1])
    for run, kinds in sorted(runs.items()):
        new, old = target.sibling(beside(target.name, run)), target.sibling(beside(target.name, run + OLD))
        if True in kinds:
            _heal_swap(output, new, old, target, run, owned)
        if False in kinds:
            _clear(new, target)


def _heal_swap(output: Place, new: Opened, old: Opened, target: Opened, run: str, owned: Owned) -> None:
    if is_free(target):
        marker = read_marker(new) or {}
        whole = marker.get("kind") not in (None, UNFINISHED) and marker.get("run") == run
        move(new if whole else old, target)
        log.warning("%s: put in place what run %s had %s", output, run, "written" if whole else "moved aside")
    if exists(old) and is_free(old):
        remove_directory(old)
    elif exists(old) and (read_marker(target) or {}).get("run") == run:
        try:
            names = owned(old)
        except StorageError:
            log.warning("%s: %s holds files of somebody, and stays", output, old.path)
        else:
            _remove_old(output, old, names)


def _clear(staging: Opened, target: Opened) -> None:
    """Removes what a run has written beside the place, if it is ours."""
    if not exists(staging):
        return
    if not target.renames:
        settle_copies(staging, target)
    elif read_marker(staging) is None and not all(map(_is_ours, list_directory(staging))):
        return
    remove_directory(staging)


def _try_to_clear(output: Place, staging: Opened, target: Opened) -> None:
    try:
        _clear(staging, target)
    except (OSError, pa.ArrowException) as error:
        log.warning("%s: %s stays until the next run into the same place: %s", output, staging.path, error)


def _is_ours(name: str) -> bool:
    """What can be in a directory of ours before it has its marker, or when one of Spark's tasks comes too late."""
    return is_half_marker(name) or name == "_temporary"


# ---- putting in place


def _swap(output: Place, new: Opened, target: Opened, run: str, names: list[str]) -> None:
    old = target.sibling(beside(target.name, run + OLD))
    try:
        if not is_free(target):
            move(target, old)
        move(new, target)
    except BaseException:
        if exists(old):
            try:
                move(old, target)
            except (OSError, pa.ArrowException):
                log.warning("%s: what was there before is in %s", output, old.path)
        raise
    if exists(old):
        _remove_old(output, old, names)


def _remove_old(output: Place, old: Opened, names: list[str]) -> None:
    """The files that we wrote, and nothing that somebody put there in the last moment. The run is done whatever comes
    of it."""
    try:
        remove_files(old, names)
        folders = {f"{name.rpartition('/')[0]}/" for name in names if "/" in name}  # of tables, empty now
        if set(list_files(old)) <= {MARKER, *folders}:
            remove_directory(old)
            return
    except (OSError, pa.ArrowException) as error:
        log.warning("%s: what was there before cannot be removed from %s: %s", output, old.path, error)
        return
    log.warning("%s: files of somebody that were there are kept in %s", output, old.path)


def _sibling(output: Place, target: Opened, name: str) -> Place:
    """For Spark: on this machine beside the place that a link leads to."""
    return Place.of(target.path).sibling(name) if output.is_local else output.sibling(name)


@contextmanager
def _readable(output: Place) -> Iterator[None]:
    """What goes wrong with a disk is told with the user's own path."""
    try:
        yield
    except (SettingError, StorageError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise unwritable(str(output), error) from error
