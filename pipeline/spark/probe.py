"""Whether two processes see the same at a path: of what is there, its names and sizes; of a directory to write into,
files that each of them leaves for the other.

Comes in: paths. Goes out: texts that are equal where the same is seen. Runs in the process that starts a job and in its
tasks. Knows nothing of Spark, or of what is at the paths.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.blocks import storage
from pipeline.errors import StorageError, unwritable
from pipeline.places.place import Place

_PREFIX = ".graphsweep-probe-"
TAIL = 1 << 16
"""Bytes at the end of a file that are compared: of Parquet its footer, of a manifest all of it."""


@dataclass(frozen=True)
class Probe:
    """Something that tasks are going to read, or to make."""

    path: str
    made: bool = False
    """Tasks write it: it need not be there, and what matters is where it is going to be."""

    @property
    def probed(self) -> str:
        """What is looked at. Of a thing to be made on a disk, the nearest directory above that there is: nothing else
        has to be made to find out. An object store has no directories, and rights can begin at the path itself."""
        root = rooted(self.path)
        if self.made and root.startswith("/"):
            root = os.path.dirname(root)
            while not os.path.isdir(root) and os.path.dirname(root) != root:
                root = os.path.dirname(root)
        return root


def rooted(path: str) -> str:
    """A path that means the same in a task, whose working directory is another one; one spelling of each. Whether
    anybody can open it does not matter."""
    return Place.of(path).uri


@contextmanager
def prepared(places: Iterable[Probe], token: str) -> Iterator[list[dict[str, Any]]]:
    """What to ask of tasks about places: `visit` takes each. Leaves a small file in each directory that they are to
    write into, which is gone afterwards, with those of the tasks.

    Raises
    ------
    StorageError
        If this process cannot write where tasks are to write.
    """
    asked: list[dict[str, Any]] = []
    try:
        for place in places:
            asked.append({"path": place.probed, "made": place.made})
            if place.made:
                try:
                    storage.write_text(place.probed, _name(token), token)
                except OSError as error:
                    raise error if isinstance(error, StorageError) else unwritable(place.path, error) from error
        yield asked
    finally:
        for one in asked:
            if one["made"]:
                _sweep(one["path"], token)


def visit(place: Mapping[str, Any], token: str) -> dict[str, Any]:
    """In a task: what it sees at a place, and the name of the file that it has left there for `is_left`; or an error's
    text. A directory that is not the one of the process that asks is not written into."""
    try:
        if not place["made"]:
            return {"seen": look(place["path"])}
        if storage.read_text(place["path"], _name(token)) != token:
            return {"seen": None}
        name = f"{_name(token)}-{uuid.uuid4().hex}"
        storage.write_text(place["path"], name, token)
    except (OSError, pa.ArrowException, StorageError) as error:
        return {"seen": None, "error": str(error)}
    return {"seen": token, "left": name}


def is_left(path: str, name: str | None, token: str) -> bool:
    """Whether what a task has left, if it has, is there for this process too."""
    try:
        return name is not None and storage.read_text(path, name) == token
    except (pa.ArrowException, StorageError):
        return False


def look(path: str) -> str | None:
    """A digest of the names and sizes of all files at a path, and of the end of the first; None if there is nothing, or
    it cannot be read from here."""
    try:
        filesystem, root = storage.locate(path)
        info = filesystem.get_file_info(root)
        if info.type == fs.FileType.NotFound:
            return None
        below = filesystem.get_file_info(fs.FileSelector(root, recursive=True)) if not info.is_file else [info]
        own = (file for file in below if file.is_file and not file.base_name.startswith(_PREFIX))
        files = sorted((file.path[len(root) :], file.size, file.path) for file in own)
        digest = hashlib.sha256(repr([file[:2] for file in files]).encode())
        if files:
            with filesystem.open_input_file(files[0][2]) as stream:
                stream.seek(max(0, files[0][1] - TAIL))
                digest.update(stream.read(TAIL))
    except (OSError, pa.ArrowException, StorageError):
        return None
    return digest.hexdigest()


def _name(token: str) -> str:
    return _PREFIX + token


def _sweep(path: str, token: str) -> None:
    with suppress(OSError, pa.ArrowException):
        filesystem, root = storage.locate(path)
        for info in filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True)):
            if info.base_name.startswith(_name(token)):
                with suppress(OSError):  # of a task of another user, where nobody may delete what others made
                    filesystem.delete_file(info.path)
