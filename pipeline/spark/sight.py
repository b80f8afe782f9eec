"""Whether tasks see what the driver sees: a directory that a run has made.

Comes in: a session, a directory with a run's marker. Goes out: yes or no. This is the one place that decides where
workers may write results.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from pipeline.errors import StorageError
from pipeline.places.filesystem import opened
from pipeline.places.marker import read_marker
from pipeline.places.place import Place
from pipeline.resources import is_local
from pipeline.workers import ask_workers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def workers_see(spark: SparkSession, directory: Place, run: str) -> bool:
    """Runs a small job, unless all is in one process of this machine: whether every task finds the run's marker."""
    if is_here(spark):
        return True
    answers = ask_workers(spark, functools.partial(_sees, directory.uri, run))
    return all(all(answer) for answer in answers)


def is_here(spark: SparkSession) -> bool:
    """Whether tasks are sure to run on this machine: a session of Connect may tell the master of another one."""
    return is_local(spark) and not type(spark).__module__.startswith("pyspark.sql.connect")


def _sees(uri: str, run: str) -> list[bool]:
    found = opened(Place.of(uri))
    try:
        marker = read_marker(found) if found is not None else None
    except StorageError:
        return [False]
    return [marker is not None and marker.get("run") == run]
