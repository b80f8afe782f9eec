"""How a directory appears at a place of an object store, where nothing can be renamed.

Comes in: a directory that is whole, beside the place. Goes out: its files in the place, under names of their run, and
the marker there, which is one object and appears at once: it says which files count.

    1. the marker of the directory beside says what will be copied, and what it replaces
    2. each file is copied to the place, as part-00000-RUN.parquet, next to the old ones
    3. the marker of the place is replaced: from now on the new files count
    4. the old files are removed, then the directory beside

A run that is killed leaves the directory beside, whose marker tells the next run what to remove: before 3 the copies,
after it the old files. Between 2 and 4 who lists the place sees both; who follows its marker does not. So a run that
cannot remove the old files has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa

from pipeline.errors import StorageError
from pipeline.places.contents import DONE
from pipeline.places.directories import copy_files, list_files, remove_files
from pipeline.places.filesystem import Opened
from pipeline.places.marker import UNFINISHED, read_marker, write_marker


def copy_in(staging: Opened, target: Opened, kind: str, facts: Mapping[str, Any], replaces: list[str]) -> None:
    """Puts a whole directory in place; `replaces` are the names of the files there that it takes the place of."""
    run = facts["run"]
    files = [{**file, "name": named(file["name"], run)} for file in facts["files"]]
    copies = [file["name"] for file in files]
    done = [name for name in list_files(staging) if name.rpartition("/")[2] == DONE]
    old = [name for name in replaces if name not in (*copies, *done)]
    write_marker(staging, kind, {"run": run, "copies": copies, "replaces": old})
    copy_files(staging, target, [(file["name"], named(file["name"], run)) for file in facts["files"]])
    write_marker(target, kind, {**facts, "files": files})
    copy_files(staging, target, [(name, name) for name in done])
    try:
        remove_files(target, old)
    except (OSError, pa.ArrowException) as error:
        raise StorageError(
            f"{target.path}: the new files are there and count, but the old ones could not be removed ({error}): who "
            "lists the place reads rows of both. Run the same command again, which removes them first"
        ) from error
    with suppress(OSError, pa.ArrowException):  # nothing is left to settle, so nobody looks for each file again
        write_marker(staging, UNFINISHED, {"run": run})


def settle_copies(staging: Opened, target: Opened) -> None:
    """Removes from the place what does not count, as the marker of the directory beside tells: the old files if the new
    ones count, else these."""
    journal = read_marker(staging) or {}
    if journal.get("kind") in (None, UNFINISHED):
        return
    counts = (read_marker(target) or {}).get("run") == journal.get("run")
    remove_files(target, journal.get("replaces" if counts else "copies", ()))


def named(name: str, run: str) -> str:
    """The name of a run's file in the place, which no file of another run has."""
    stem, dot, ending = name.partition(".")  # folders of types have no dot
    return f"{stem}-{run}{dot}{ending}"
