"""What lies at a path and below it: on this machine's disks, or in another file system that pyarrow opens.

Comes in: an opened place. Goes out: files with their sizes, names in a folder. Knows nothing of tables.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow.fs as fs

from pipeline.errors import StorageError
from pipeline.places.filesystem import Opened
from pipeline.tables.belonging import Found, is_hidden

DEEPEST = 40  # folders in each other; a link to a folder above it would never end


class Walk(Protocol):
    """A file system, to be looked at."""

    def size(self, path: str) -> int | None:
        """Bytes of a file; None if nothing or a folder is there."""

    def is_folder(self, path: str) -> bool: ...

    def names(self, folder: str) -> list[str]:
        """What is in a folder; nothing if it is none."""

    def files(self, folder: str) -> Iterator[Found]:
        """All files below a folder, but those with hidden names."""

    def above(self, path: str) -> list[str]:
        """The path and the folders that it lies in, by every name that they have; the nearest first."""

    def real(self, path: str) -> str:
        """The same without links."""


def walk_of(opened: Opened) -> Walk:
    return OnDisk() if opened.is_local else Elsewhere(opened.filesystem)


class OnDisk:
    """This machine's file system. pyarrow's own listing leaves out links that lead nowhere."""

    def size(self, path: str) -> int | None:
        try:
            found = os.stat(path)
        except FileNotFoundError as error:
            if os.path.islink(path):
                raise _broken(path) from error
            return None
        except NotADirectoryError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
        if stat.S_ISDIR(found.st_mode):
            return None
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{path}: neither a file nor a folder (a pipe, a socket or a device)")
        return found.st_size

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def names(self, folder: str) -> list[str]:
        if not os.path.isdir(folder):
            return []
        try:
            return os.listdir(folder)
        except OSError as error:
            raise StorageError(f"{folder}: cannot be read: {os.strerror(error.errno or 0)}") from error

    def files(self, folder: str) -> Iterator[Found]:
        yield from self._files(folder, "", 0)

    def _files(self, root: str, below: str, depth: int) -> Iterator[Found]:
        if depth > DEEPEST:
            raise StorageError(f"{root}: more than {DEEPEST} folders in each other ({below}); is one a link to itself?")
        for name in self.names(os.path.join(root, below)):
            if is_hidden(name):
                continue
            inner = f"{below}/{name}" if below else name
            path = os.path.join(root, inner)
            if os.path.isdir(path):
                yield from self._files(root, inner, depth + 1)
            elif (size := self.size(path)) is not None:
                yield Found(inner, size)

    def above(self, path: str) -> list[str]:
        return list(dict.fromkeys([*_above(path), *_above(os.path.realpath(path))]))

    def real(self, path: str) -> str:
        return os.path.realpath(path)


class Elsewhere:
    """A file system of pyarrow's."""

    def __init__(self, filesystem: fs.FileSystem) -> None:
        self._filesystem = filesystem

    def size(self, path: str) -> int | None:
        info = self._filesystem.get_file_info(path)
        return int(info.size or 0) if info.type == fs.FileType.File else None

    def is_folder(self, path: str) -> bool:
        return bool(self._filesystem.get_file_info(path).type == fs.FileType.Directory)

    def names(self, folder: str) -> list[str]:
        selector = fs.FileSelector(folder, allow_not_found=True)
        return [info.base_name for info in self._filesystem.get_file_info(selector)]

    def files(self, folder: str) -> Iterator[Found]:
        for info in self._filesystem.get_file_info(fs.FileSelector(folder, recursive=True)):
            below = info.path[len(folder.rstrip("/")) + 1 :]
            if info.type == fs.FileType.File and not any(map(is_hidden, below.split("/"))):
                yield Found(below, int(info.size or 0))

    def above(self, path: str) -> list[str]:
        return _above(path)

    def real(self, path: str) -> str:
        return path


def _above(path: str) -> list[str]:
    parts: Sequence[str] = path.rstrip("/").split("/")
    return ["/".join(parts[:end]) or "/" for end in range(len(parts), 0, -1)]


def _broken(path: str) -> StorageError:
    return StorageError(f"{path}: a link that leads nowhere (to {os.readlink(path)}); mend it or remove it")
