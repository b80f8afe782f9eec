"""Whether a prepared graph may be put at a path of this machine, before Spark is started to make it.

Comes in: the path that the user gave. Goes out: a refusal. Where results go is in destination.py.
"""

from __future__ import annotations

import os

from pipeline.errors import StorageError


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
