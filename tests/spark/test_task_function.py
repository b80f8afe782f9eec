"""What PySpark's collections of garbage look at in a worker."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from pipeline.spark import task_function as module
from pipeline.spark.task_function import task_function

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def _looked_at(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    import numba  # noqa: F401  # most of what a run imports

    for _ in batches:
        yield pa.record_batch({"frozen": [gc.get_freeze_count()], "alive": [len(gc.get_objects())]})


def test_the_second_task_of_a_worker_leaves_modules_alone(spark: SparkSession) -> None:
    for _ in range(4):  # two workers at most, so one of them has a second task
        job = spark.range(0, 2, 1, 2).mapInArrow(task_function(_looked_at), "frozen bigint, alive bigint")
        found = job.collect()
    assert all(row.frozen > 10 * row.alive for row in found)


def test_modules_are_left_alone_when_there_are_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(module, "_modules", 0)
    monkeypatch.setattr(gc, "freeze", lambda: counted.append(len(sys.modules)))
    batch = pa.record_batch({"id": [1, 2]})
    work = task_function(iter)  # type: ignore[arg-type]
    assert list(work([batch])) == [batch]
    assert list(work([batch, batch])) == [batch, batch]
    assert len(counted) == 1
    monkeypatch.setitem(sys.modules, "one_more", ModuleType("one_more"))
    assert list(work([])) == []
    assert len(counted) == 2
