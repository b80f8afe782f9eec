"""What is done to files and directories, the same on disks of this machine and through pyarrow.

Comes in: an opened place. Goes out: nothing, or names. Knows nothing of what the files hold. On this machine Python's
own calls are used: their errors have numbers, and they do not follow links.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.places.filesystem import Opened
from pipeline.places.marker import MARKER

THREADS = 16  # requests to an object store at a time


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


def list_files(opened: Opened) -> dict[str, int]:
    """Every file inside, by its name from here on, and its bytes. Links are listed and not followed; so are empty
    directories, with a slash at their end."""
    if not opened.is_local:
        inside = opened.filesystem.get_file_info(fs.FileSelector(opened.path, recursive=True, allow_not_found=True))
        start = len(opened.path.rstrip("/")) + 1
        return {info.path[start:]: info.size for info in inside if info.type == fs.FileType.File}
    found = {}
    for above, directories, names in os.walk(opened.path):
        links = [name for name in directories if os.path.islink(os.path.join(above, name))]
        for name in [*names, *links]:
            path = os.path.join(above, name)
            found[os.path.relpath(path, opened.path)] = os.lstat(path).st_size
        if not directories and not names and above != opened.path:
            found[os.path.relpath(above, opened.path) + "/"] = 0
    return found


def list_directory(opened: Opened) -> list[str]:
    """The names in a directory; none if it is not there."""
    if opened.is_local:
        try:
            return sorted(os.listdir(opened.path))
        except (FileNotFoundError, NotADirectoryError):
            return []
    inside = opened.filesystem.get_file_info(fs.FileSelector(opened.path, allow_not_found=True))
    return sorted(info.base_name for info in inside)


def remove_directory(opened: Opened) -> None:
    """With everything in it. The marker goes last: what is left of a removal that is killed can be known again."""
    remove_others(opened, {MARKER})
    with suppress(FileNotFoundError):
        if opened.is_local:
            with suppress(FileNotFoundError):
                os.remove(os.path.join(opened.path, MARKER))
            os.rmdir(opened.path)
        else:
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


def make_parents(opened: Opened) -> list[Opened]:
    """Makes the directories above; those that were not there before, the innermost first."""
    made: list[Opened] = []
    missing = []
    above = opened.parent
    while not exists(above) and above.name:
        missing.append(above)
        above = above.parent
    try:
        for directory in reversed(missing):
            if opened.is_local:
                with suppress(FileExistsError):  # by another run, which has the same right to it
                    os.mkdir(directory.path)
                    made.insert(0, directory)
            else:
                directory.filesystem.create_dir(directory.path)
                made.insert(0, directory)
    except BaseException:
        remove_empty(made)
        raise
    return made


def remove_empty(directories: Iterable[Opened]) -> None:
    """Those of them that are empty; errors are nobody's business here."""
    for directory in directories:
        with suppress(OSError, pa.ArrowException):
            if directory.is_local:
                os.rmdir(directory.path)
            elif not list_directory(directory):
                directory.filesystem.delete_dir(directory.path)
