"""Directories made, listed and removed, on disks and where there are none.

Comes in: an opened place. Goes out: what was made, what is there. On disks links are seen as links and never followed:
what they lead to is somebody else's. Object stores have no directories: there a name is a prefix.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow.fs as fs

from pipeline.places.filesystem import Opened


def make_directories(opened: Opened) -> list[str]:
    """Makes a directory and those above it; returns the ones that were not there, outermost first. OSError.

    Object stores make them by themselves, when an object is written or removed: there they are only told.
    """
    if not opened.is_local:
        absent = _absent(opened)
        if absent and opened.renames:
            opened.filesystem.create_dir(opened.path)
        return absent
    missing: list[str] = []
    path = opened.path
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    made: list[str] = []
    try:
        for path in reversed(missing):
            with suppress(FileExistsError):  # another process was quicker: then it is not ours to remove
                os.mkdir(path)
                made.append(path)
        os.listdir(opened.path)  # a file of this name is no directory
    except OSError:
        remove_empty(opened, made)
        raise
    return made


def _absent(opened: Opened) -> list[str]:
    """Not the bucket: that is the user's."""
    found: list[str] = []
    path = opened.path.rstrip("/")
    while "/" in path.lstrip("/") and opened.filesystem.get_file_info(path).type == fs.FileType.NotFound:
        found.insert(0, path)
        path = path.rpartition("/")[0]
    return found


def remove_empty(opened: Opened, made: Sequence[str]) -> None:
    """Removes those of the directories that are empty, innermost first; one that is in use stays."""
    for path in reversed(made):
        with suppress(OSError):
            if opened.is_local:
                os.rmdir(path)
            elif not opened.filesystem.get_file_info(fs.FileSelector(path)):
                opened.filesystem.delete_dir(path)


def remove_tree(opened: Opened, last: str = "") -> None:
    """Removes a directory with all that is in it; nothing if it is not there. The file `last` goes when the rest is
    gone: a kill in between leaves it as the mark of what is to be removed. OSError."""
    if opened.info.type == fs.FileType.NotFound:
        return
    if opened.is_local:
        with suppress(FileNotFoundError):
            for entry in list(os.scandir(opened.path)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                elif entry.name != last:
                    os.remove(entry.path)
            shutil.rmtree(opened.path)
        return

    def remove(info: fs.FileInfo) -> None:
        if info.type == fs.FileType.Directory:
            opened.filesystem.delete_dir(info.path)
        elif info.base_name != last:
            opened.filesystem.delete_file(info.path)

    with ThreadPoolExecutor(16) as pool:  # an object store takes its time for each
        list(pool.map(remove, opened.filesystem.get_file_info(fs.FileSelector(opened.path))))
    opened.filesystem.delete_dir(opened.path)


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


LINK = -1


def _local(directory: str, before: str) -> Iterator[tuple[str, int | None]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
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
