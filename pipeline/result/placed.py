"""Where a result goes: put in place whole, or not at all.

Comes in: the path that the user gave. Goes out: a place to write into, which becomes the path when all is written. An
old table stays where it is until then. Knows nothing of what is written.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import StorageError, unwritable
from pipeline.spark.handshake import Handshake

# What a table written by Spark consists of: anything else under a path is somebody's, and is not overwritten.
_TABLE_NAMES = ("part-", "_SUCCESS", ".part-", "._SUCCESS")


@contextmanager
def placed(output: str, overwrite: bool, shake: Handshake) -> Iterator[tuple[str, str]]:
    """(where to write, Spark's mode): on a local disk beside the path, moved there in the end; else the path itself.

    A path without a scheme is of Spark's default file system, which need not be the disks.
    """
    local = local_path(output)
    if local is None or not shake.means_same(output):
        yield output, "overwrite" if overwrite else "errorifexists"
        return
    refuse_taken(output, overwrite)
    if os.path.lexists(local):
        _check_table(output, local)
    parent, name = os.path.split(local)
    staging = os.path.join(parent, f".{name}-{uuid.uuid4().hex}")
    try:
        os.makedirs(parent, exist_ok=True)
        os.mkdir(staging)
    except OSError as error:
        raise unwritable(output, error) from error
    try:
        yield f"file://{staging}", "overwrite"
        if os.path.lexists(local):
            shutil.rmtree(local)
        os.rename(staging, local)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def local_path(path: str) -> str | None:
    """A path of this machine's file system, or None for a URI of another one."""
    scheme, found, rest = path.partition("://")
    if found and scheme != "file":
        return None
    return os.path.abspath(rest if found else path.removeprefix("file:"))


def refuse_taken(output: str, overwrite: bool) -> None:
    """StorageError if there is something at a path of this machine. Other file systems are Spark's business."""
    local = local_path(output)
    if local is not None and os.path.lexists(local) and not overwrite:
        raise StorageError(f"{output}: exists already; give another path, or --overwrite")


def _check_table(output: str, local: str) -> None:
    """Overwriting deletes: only a table that Spark wrote, or an empty directory."""
    if os.path.isdir(local) and not os.path.islink(local):
        names = os.listdir(local)
        if all(name.startswith(_TABLE_NAMES) for name in names):
            return
    raise StorageError(f"{output}: not overwritten, because it is not a table written by Spark")
