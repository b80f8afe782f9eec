"""Volumes of Databricks: Python sees them as folders, and Spark knows them by another name.

Comes in: a path without a scheme. Goes out: whether Python opens it itself there, and how Spark spells it. There a path
without a scheme is one of `dbfs:` to Spark, which knows /Volumes/x as dbfs:/Volumes/x, and finds no file:/Volumes/x.
Elsewhere /Volumes is a folder as any other: on a Mac the disks are there.
"""

from __future__ import annotations

import os

VARIABLE = "DATABRICKS_RUNTIME_VERSION"  # set by each runtime, that of serverless compute too
VOLUMES = "/Volumes/"
SEEN = (VOLUMES, "/Workspace/")
SCHEME = "dbfs"  # the file system of paths without a scheme


def on_databricks() -> bool:
    """Whether this process runs there; not that of a client that is connected to it."""
    return VARIABLE in os.environ


def is_seen(path: str) -> bool:
    """Whether it is a folder of Databricks that Python opens itself."""
    return on_databricks() and path.startswith(SEEN)


def is_volume(path: str) -> bool:
    return on_databricks() and path.startswith(VOLUMES)


def before(path: str) -> str:
    """What comes before an absolute path of this machine, for Spark."""
    return f"{SCHEME}:" if is_volume(path) else "file://"
