"""A prepared graph put in place: written beside the one that is there, and then named by the manifest.

Comes in: the path that the user gave. Goes out: a folder to write blocks into, which becomes the graph's when the
manifest is switched, in one step. One protocol for disks and object stores:

    1  look: only a prepared graph of ours is replaced, and only if that is asked for
    2  lock: of two that write there one is refused; what killed runs left is removed
    3  write the blocks into a folder of this prepare's own, within the directory
    4  count the files, write the manifest beside and put it in place of the old one
    5  remove the old folder: a run that reads it is told

Whatever goes wrong before 4, the graph that was there is still the graph. Knows nothing of what a block is.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

import pyarrow as pa

from pipeline.blocks.storage import FORMAT, MANIFEST, VERSION, find_manifest, folder_name, missing_blocks
from pipeline.errors import DataError, SettingError, StorageError, unwritable
from pipeline.places.directories import exists, make_directories, remove_directory, remove_empty, sizes_within
from pipeline.places.filesystem import Opened, opened
from pipeline.places.lock import Lock, new_run
from pipeline.places.marker import write_marker
from pipeline.places.place import Place, refuse_overlap, refuse_unreachable
from pipeline.preparing.contents import KIND, LOCK, LOCKED, OLD_FOLDER, Contents, refuse_contents

log = logging.getLogger("graphsweep")

Inputs = Mapping[str, Sequence[Place]]
"""What the graph is made of, in words for messages → where that is."""
ATTEMPTS = 3


def refuse_taken(path: str | os.PathLike[str], overwrite: bool, inputs: Inputs) -> Place:
    """Step 1: StorageError or SettingError unless a graph may be written there. Nothing is touched."""
    place = Place.of(path)
    for what, places in inputs.items():
        for one in places:
            refuse_overlap(place, {what: one})
    found = _opened(place)
    if place.is_local and os.path.islink(place.path) and not os.path.exists(place.path):
        raise StorageError(f"{place}: a link that leads nowhere; give another path")
    refuse_contents(place, Contents.of(place, found), overwrite)
    return place


@contextmanager
def publishing(
    path: str | os.PathLike[str], overwrite: bool, inputs: Inputs, prepare: str | None = None
) -> Iterator[Publication]:
    """A folder for the blocks of a new prepared graph. Unless `publish` has been called when this is left, nothing is
    left of it, nor of the directories that were made for it.

    `prepare`: the id of one that was begun before, or may have been. What it has written is kept, and stays if this one
    fails as well, unless the tables cannot be used.

    Raises
    ------
    StorageError
        If there is something else, if somebody else is writing there, or if it cannot be written.
    SettingError
        If it is, holds, or lies in one of the inputs.
    """
    place = refuse_taken(path, overwrite, inputs)
    found, run = _opened(place), prepare or new_run()
    with ExitStack() as stack:
        lock = _locked(place, found, new_run(), stack)
        contents = Contents.of(place, found)
        refuse_contents(place, contents, overwrite)  # again: now nobody else writes there
        assert contents is not None
        publication = Publication(place, found, run, contents.current, lock)
        stack.push(partial(_end, publication, prepare is not None))
        publication.begin(contents)
        yield publication


def _end(
    publication: Publication,
    kept: bool,
    kind: type[BaseException] | None,
    error: BaseException | None,
    at: TracebackType | None,
) -> None:
    if not kept or isinstance(error, (DataError, SettingError)):
        publication.end()


def sweep(path: str | os.PathLike[str]) -> None:
    """Removes what killed runs left beside a graph, their locks too, unless somebody is writing there."""
    place = Place.of(path)
    found, run = _opened(place), new_run()
    contents = Contents.of(place, found)
    if contents is None or not (contents.left or contents.beside or exists(found.child(LOCK))):
        return
    with suppress(StorageError), ExitStack() as stack:
        lock = _locked(place, found, run, stack)
        contents = Contents.of(place, found)
        if contents is not None:
            Publication(place, found, run, contents.current, lock).clean(contents)


def _locked(place: Place, found: Opened, prepare: str, stack: ExitStack) -> Lock:
    """Makes the directory and locks it from within: what is above it may belong to somebody else. When the stack is
    left, the lock is given back, and what was made is removed if it is empty."""
    for attempt in range(ATTEMPTS):
        try:
            stack.callback(remove_empty, make_directories(found))
            return stack.enter_context(Lock(place, found._replace(path=f"{found.path}/{LOCKED}"), prepare))
        except OSError as error:
            cause = error.__cause__ if isinstance(error, StorageError) else error
            # another one, which was refused or has failed, has removed its directory, or files of the kind of ours
            if isinstance(cause, FileNotFoundError) and attempt < ATTEMPTS - 1:
                continue
            if isinstance(error, StorageError):
                raise
            raise unwritable(str(place), error) from error
    raise AssertionError("the last attempt returns or raises")


@dataclass(frozen=True)
class Publication:
    """A prepared graph on its way."""

    place: Place
    opened: Opened
    prepare: str
    """The id of this prepare."""
    before: str | None
    """The folder of the graph that is there already."""
    lock: Lock

    @property
    def folder(self) -> str:
        """Where the blocks go; a path or URI that workers can open wherever they run."""
        return f"{self.place.uri.rstrip('/')}/{folder_name(self.prepare)}"

    def begin(self, contents: Contents) -> None:
        """Removes what killed runs left, but not of this prepare, and makes the folder, marked as ours."""
        own = folder_name(self.prepare)
        try:
            self.clean(replace(contents, folders=tuple(name for name in contents.folders if name != own)))
            make_directories(self._child(folder_name(self.prepare)))
            self._mark(folder_name(self.prepare))
        except OSError as error:
            raise unwritable(str(self.place), error) from error

    def clean(self, contents: Contents) -> None:
        """Removes what killed runs left. OSError."""
        for name in contents.left:
            self._remove(name)
        for name in contents.beside:
            with suppress(FileNotFoundError):
                self.opened.filesystem.delete_file(f"{self.opened.path}/{name}")

    def publish(self, manifest: Mapping[str, Any], sizes: Mapping[str, Sequence[int]]) -> None:
        """From now on this is the graph at its place.

        Parameters
        ----------
        sizes
            `static` and `sends` → bytes of that file of each block, as those who have written them say.

        Raises
        ------
        StorageError
            If files are not there, or if another run has taken the place over meanwhile.
        """
        missing = missing_blocks(self.folder, sizes)
        if missing:
            raise StorageError(
                f"{self.place}: {len(missing)} of {len(sizes['static'])} blocks were not written where this machine "
                f"sees them, for example block {missing[0]}; give a path that all machines share"
            )
        self._tidy()
        if not self.lock.is_held():
            raise StorageError(f"{self.place}: another run has taken over the place; nothing was replaced")
        whole = {"format": FORMAT, "version": VERSION, "prepare": self.prepare, **manifest}
        try:
            if self.before == OLD_FOLDER:
                self._mark(OLD_FOLDER)  # so that it is known again, if we are killed while it is removed
            self._switch(json.dumps(whole, indent=1))
        except OSError as error:
            raise unwritable(str(self.place), error) from error
        if self.before is not None:
            self._remove(self.before)

    def end(self) -> None:
        """Removes the folder, unless the graph is there: whatever interrupted us, the manifest knows."""
        with suppress(OSError, pa.ArrowException):
            now = find_manifest(self.place.uri)
            if now is None or now.get("prepare") != self.prepare:
                remove_directory(self._child(folder_name(self.prepare)))

    # ---- the steps

    def _mark(self, name: str) -> None:
        write_marker(self._child(name), KIND, {"folder": name})

    def _switch(self, text: str) -> None:
        filesystem, path = self.opened.filesystem, f"{self.opened.path}/{MANIFEST}"
        if not self.opened.renames:  # an object appears whole, in place of the old one
            with filesystem.open_output_stream(path, compression=None) as stream:
                stream.write(text.encode())
            return
        beside = f"{self.opened.path}/.{MANIFEST}-{uuid.uuid4().hex}"
        try:
            with filesystem.open_output_stream(beside, compression=None) as stream:
                stream.write(text.encode())
            if self.opened.is_local:
                os.replace(beside, path)
            else:  # HDFS moves nothing over a file: for an instant there is no manifest
                with suppress(FileNotFoundError):
                    filesystem.delete_file(path)
                filesystem.move(beside, path)
        except BaseException:
            with suppress(OSError):
                filesystem.delete_file(beside)
            raise

    def _tidy(self) -> None:
        """Removes what tasks were writing when they were killed."""
        here = self._child(folder_name(self.prepare))
        for path, size in sizes_within(here).items():
            if size is not None and path.rpartition("/")[2].startswith("."):
                with suppress(OSError):
                    here.filesystem.delete_file(f"{here.path}/{path}")

    def _remove(self, name: str) -> None:
        """A folder that no graph needs. If something of somebody's has come into it, it stays as it is."""
        contents = Contents.of(self.place, self.opened)
        if contents is None or any(path.startswith(f"{name}/") for path in contents.strange):
            log.warning("%s/%s: not removed, because there is something in it that is not ours", self.place, name)
            return
        try:
            remove_directory(self._child(name))
        except OSError as error:
            log.warning("%s/%s: of no use any more, but not removed: %s", self.place, name, error)

    def _child(self, name: str) -> Opened:
        return self.opened._replace(path=f"{self.opened.path}/{name}")


def _opened(place: Place) -> Opened:
    found = opened(place)
    if found is None:
        raise refuse_unreachable(place)
    return found
