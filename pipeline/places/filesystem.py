"""The file system of a place, as far as Python can reach it.

Comes in: a `Place`. Goes out: pyarrow's file system and the path within it, or None: Spark knows more of them. Knows
nothing of what lies there.
"""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import pyarrow as pa
import pyarrow.fs as fs

from pipeline.places.hadoop import NAME, hadoop
from pipeline.places.place import Place
from pipeline.places.schemes import PYTHON

# Looking up a bucket's region, or a name node that is not there, took 25 and 120 s until somebody gave up.
PATIENCE = 10.0


class Opened(NamedTuple):
    """A place that this process reaches."""

    filesystem: fs.FileSystem
    path: str
    """Within the file system."""

    @property
    def info(self) -> fs.FileInfo:
        found: fs.FileInfo = self.filesystem.get_file_info(self.path)
        return found

    @property
    def renames(self) -> bool:
        """Whether a directory can be moved in one step."""
        return isinstance(self.filesystem, fs.LocalFileSystem) or self.filesystem.type_name in ("hdfs", NAME)

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    @property
    def name(self) -> str:
        """The last part of the path; empty for the root of a file system, and for a bucket."""
        return self.path.rpartition("/")[2] if "/" in self.path else ""

    @property
    def parent(self) -> Opened:
        return Opened(self.filesystem, self.path.rpartition("/")[0] or "/")

    def child(self, name: str) -> Opened:
        return Opened(self.filesystem, f"{self.path.rstrip('/')}/{name}")

    def sibling(self, name: str) -> Opened:
        return self.parent.child(name)


def opened(place: Place) -> Opened | None:
    """None if this process has no way to the place: no such file system here, or no answer within PATIENCE."""
    if place.is_local:
        return Opened(fs.LocalFileSystem(), place.path)
    filesystem = _filesystem(place.scheme, place.authority)
    if filesystem is None:
        return None
    inner = f"{place.authority}{place.path}".rstrip("/") if place.scheme in ("s3", "gs", "abfs") else place.path
    if place.scheme == "abfs":  # container@account.dfs.core.windows.net: the account is part of the file system
        inner = f"{place.authority.partition('@')[0]}{place.path}".rstrip("/")
    return Opened(filesystem, inner)


@functools.lru_cache(maxsize=64)
def _filesystem(scheme: str, authority: str) -> fs.FileSystem | None:
    """Once for each host or bucket; a daemon thread that never comes back ends with the process."""
    if scheme not in PYTHON:  # looking it up is never worth a try
        return None
    found: list[fs.FileSystem] = []

    def look() -> None:
        try:
            ours = hadoop(authority) if scheme == "hdfs" else None
            filesystem, inner = (ours, "/") if ours else fs.FileSystem.from_uri(f"{scheme}://{authority}/")
            filesystem.get_file_info(inner)
        except (OSError, pa.ArrowException, ValueError):
            return
        found.append(filesystem)

    thread = threading.Thread(target=look, name=f"look up {scheme}://{authority}", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found[0] if found else None
