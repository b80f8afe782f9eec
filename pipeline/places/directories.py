"""Directories and what is in them: listed, moved, copied, made, removed; on disks of this machine and through pyarrow.

Comes in: an opened place. Goes out: nothing, or names. Knows nothing of what the files hold. On this machine Python's
own calls are used: their errors have numbers, and links are seen as links and never followed, because what they lead to
is somebody else's. Object stores have no directories: there a name is a prefix.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.places.filesystem import Opened
from pipeline.places.marker import MARKER

THREADS = 16  # requests to an object store at a time
LINK = -1


def exists(opened: Opened) -> bool:
    """Whether anything has that name, be it a link that leads nowhere."""
    if opened.is_local:
        return os.path.lexists(opened.path)
    return bool(opened.info.type != fs.FileType.NotFound)


def move(source: Opened, target: Opened) -> None:
    """In one step; OSError if there is something at the target that is no empty directory."""
    if source.is_local:
        os.rename(source.path, target.path)
        return
    if target.info.type == fs.FileType.Directory:  # hdfs would move into it
        target.filesystem.delete_dir(target.path)
    source.filesystem.move(source.path, target.path)


def sizes_within(opened: Opened) -> dict[str, int | None]:
    """What is in a directory and in those inside: path from there → bytes of a file; None of a directory, `LINK` of a
    link. Empty if it is not there. OSError."""
    if opened.is_local:
        return dict(_local(opened.path, ""))
    selector = fs.FileSelector(opened.path, recursive=True, allow_not_found=True)
    start = len(opened.path.rstrip("/")) + 1
    return {
        info.path[start:].rstrip("/"): info.size if info.type == fs.FileType.File else None
        for info in opened.filesystem.get_file_info(selector)
    }


def _local(directory: str, before: str) -> Iterator[tuple[str, int | None]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        path = before + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield path, None
            yield from _local(entry.path, f"{path}/")
        elif entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # gone meanwhile
                yield path, entry.stat(follow_symlinks=False).st_size
        else:  # a link, a pipe, a device
            yield path, LINK


def list_files(opened: Opened) -> dict[str, int]:
    """Every file inside, by its name from here on, and its bytes. Links are among them; so are, on this machine, empty
    directories, with a slash at their end."""
    found = sizes_within(opened)
    files = {path: size for path, size in found.items() if size is not None}
    if not opened.is_local:
        return files
    for path, size in files.items():
        if size == LINK:
            files[path] = os.lstat(f"{opened.path}/{path}").st_size
    full = {path.rpartition("/")[0] for path in found}
    return files | {f"{path}/": 0 for path, size in found.items() if size is None and path not in full}


def list_directory(opened: Opened) -> list[str]:
    """The names in a directory; none if it is not there."""
    if opened.is_local:
        try:
            return sorted(os.listdir(opened.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
    inside = opened.filesystem.get_file_info(fs.FileSelector(opened.path, allow_not_found=True))
    return sorted(info.base_name for info in inside)


def make_directories(opened: Opened) -> list[Opened]:
    """Makes a directory and those above it; returns the ones that were not there, outermost first. OSError.

    Object stores make them by themselves, when an object is written or removed: there they are only told.
    """
    missing: list[Opened] = []
    at = opened
    while at.name and not _is_directory(at):  # a bucket has no name: that is the user's
        missing.insert(0, at)
        at = at.parent
    if not opened.is_local:
        if missing and opened.renames:
            opened.filesystem.create_dir(opened.path)
        return missing
    made: list[Opened] = []
    try:
        for directory in missing:
            with suppress(FileExistsError):  # another process was quicker: then it is not ours to remove
                os.mkdir(directory.path)
                made.append(directory)
        if not os.path.isdir(opened.path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), opened.path)
    except BaseException:
        remove_empty(made)
        raise
    return made


def _is_directory(opened: Opened) -> bool:
    return os.path.isdir(opened.path) if opened.is_local else opened.info.type != fs.FileType.NotFound


def remove_empty(made: Sequence[Opened]) -> None:
    """Removes those of the directories that are empty, innermost first; one that is in use stays."""
    for directory in reversed(made):
        with suppress(OSError, pa.ArrowException):
            if directory.is_local:
                os.rmdir(directory.path)
            elif not list_directory(directory):
                directory.filesystem.delete_dir(directory.path)


def remove_directory(opened: Opened) -> None:
    """With everything in it; nothing if it is not there. The marker goes when the rest is gone: what is left of a
    removal that is killed can be known again. OSError."""
    if opened.info.type == fs.FileType.NotFound:
        return
    if opened.is_local:
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(opened.path)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != MARKER:
                    os.remove(entry.path)
            shutil.rmtree(opened.path)
        return

    def remove(info: fs.FileInfo) -> None:
        if info.type == fs.FileType.Directory:
            opened.filesystem.delete_dir(info.path)
        elif info.base_name != MARKER:
            opened.filesystem.delete_file(info.path)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(remove, opened.filesystem.get_file_info(fs.FileSelector(opened.path))))
    opened.filesystem.delete_dir(opened.path)


def remove_others(opened: Opened, kept: Collection[str]) -> None:
    """Everything in a directory but these files."""
    if not opened.is_local:
        remove_files(opened, list_files(opened).keys() - set(kept))
        return
    for name in list_directory(opened):
        path = os.path.join(opened.path, name)
        if name in kept:
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.remove(path)


def remove_files(opened: Opened, names: Iterable[str]) -> None:
    """These files of a directory, as far as they are there."""

    def remove(name: str) -> None:
        with suppress(FileNotFoundError):
            opened.filesystem.delete_file(f"{opened.path}/{name}")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(remove, names))


def copy_files(source: Opened, target: Opened, names: Iterable[tuple[str, str]]) -> None:
    """Files of one directory under other names in another one, without leaving the file system."""

    def copy(pair: tuple[str, str]) -> None:
        source.filesystem.copy_file(f"{source.path}/{pair[0]}", f"{target.path}/{pair[1]}")

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(copy, names))
