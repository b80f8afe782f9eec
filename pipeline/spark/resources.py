"""What a task is given: memory and cores, as far as the session's settings tell; and whether it runs on this machine.

Comes in: a session, or None where no Spark is running. Goes out: numbers. The Python worker's memory is not managed by
Spark: on a cluster it is the executor's overhead, on one machine what is free. What a cluster's machines really have,
and what they see, is asked of them by spark/handshake.py.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pipeline.spark.limits import memory_left
from pipeline.spark.session import setting

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of what is free on a machine, for all tasks that run on it; the JVM, which is already running, and the page cache want
# the rest.
LOCAL_SHARE = 0.6
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def is_local(spark: SparkSession | None) -> bool:
    """Whether it is certain that tasks run on this machine, in one JVM with the driver.

    A session of Spark Connect says "local[*]" too, if that is what its server runs on: on whichever machine.
    """
    return spark is None or (_is_classic(spark) and has_local_master(spark))


def has_local_master(spark: SparkSession) -> bool:
    """Whether tasks run in one JVM with the driver's, or with that of Spark Connect's server."""
    return _local_master(spark) is not None


def _is_classic(spark: SparkSession) -> bool:
    from pyspark.sql.session import SparkSession

    return isinstance(spark, SparkSession)


def local_tasks(spark: SparkSession | None) -> int:
    """How many tasks run at once in a local session; without any, as many as there are cores."""
    if spark is None:
        return task_cores(None)
    found = _local_master(spark)
    threads = (found and found[1]) or "1"
    return (os.cpu_count() or 1) if threads == "*" else int(threads)


def _local_master(spark: SparkSession) -> re.Match[str] | None:
    return local_master(setting(spark, "spark.master") or "")


def local_master(master: str) -> re.Match[str] | None:
    """local, local[4], local[*], local[4,2]: the first group is of tasks at once, the last number of failures."""
    return re.fullmatch(r"local(?:\[(\d+|\*)(?:,\d+)?\])?", master.replace(" ", ""))


def local_memory() -> int:
    """Bytes that a task on this machine may use which has it to itself."""
    left = memory_left()
    shared = int(LOCAL_SHARE * left.shared)
    return shared if left.own is None else min(shared, left.own)


def given_memory(spark: SparkSession) -> int:
    """Bytes that the settings of a cluster give the Python worker of one task."""
    memory = _bytes(setting(spark, "spark.executor.memory") or "1g")
    overhead = setting(spark, "spark.executor.memoryOverhead")
    given = _bytes(overhead) if overhead else max(384 << 20, memory // 10)
    tasks = max(1, int(setting(spark, "spark.executor.cores") or 1) // task_cores(spark))
    return given // tasks


def task_cores(spark: SparkSession | None) -> int:
    """Cores of one task; on this machine a task that runs alone has all of them."""
    if spark is None or is_local(spark):
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(setting(spark, "spark.task.cpus") or 1)


def _bytes(text: str) -> int:
    """Spark's sizes: "4g", "512m"; a bare number is MiB."""
    match = re.fullmatch(r"(\d+)\s*([kmgt]?)b?", text.strip().lower())
    return int(match[1]) * _UNITS[match[2] or "m"] if match else 1 << 30
