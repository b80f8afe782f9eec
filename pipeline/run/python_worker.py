"""A Python worker that starts while the driver still reads footers.

Comes in: a session. Goes out: nothing; a run's first task finds a worker that has imported what it needs.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.spark.resources import is_local
from pipeline.spark.task_function import task_function

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def wake_worker(spark: SparkSession) -> None:
    """Runs a job in the background, if tasks run on this machine: a Python worker starts and imports what a run will
    need, while Spark reads the first footers (1 of 13 s for small tables)."""
    if is_local(spark):
        threading.Thread(target=_wake, args=(spark,), name="wake worker", daemon=True).start()


def _wake(spark: SparkSession) -> None:
    with suppress(Exception):  # it is about speed only; and the session may be stopped meanwhile
        spark.range(0, 1, 1, 1).mapInArrow(task_function(_import), "id bigint").collect()


def _import(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import pipeline.run.stage  # noqa: F401

    yield from batches
