"""What a task has, by the session's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql.session import SparkSession

from pipeline.spark.limits import MemoryLeft
from pipeline.spark.resources import given_memory, is_local, local_memory, local_tasks, task_cores


class Session(SparkSession):
    """A classic session, of which nothing but its settings is there."""

    conf: Any = None

    def __init__(self, settings: dict[str, str]) -> None:
        self.conf = SimpleNamespace(get=lambda key, default: settings.get(key, default))


def named(settings: dict[str, str]) -> dict[str, str]:
    return {f"spark.{name.replace('_', '.')}": value for name, value in settings.items()}


def session(**settings: str) -> Session:
    return Session(named(settings))


@pytest.mark.parametrize(
    ("master", "tasks"),
    [("local", 1), ("local[3]", 3), ("local[*]", os.cpu_count()), ("local[4, 2]", 4), ("local[*,8]", os.cpu_count())],
)
def test_tasks_of_a_local_session(master: str, tasks: int) -> None:
    assert is_local(session(master=master))
    assert local_tasks(session(master=master)) == tasks


@pytest.mark.parametrize("master", ["local-cluster[2,1,1024]", "yarn", "spark://host:7077", "k8s://https://host", ""])
def test_sessions_that_are_not_local(master: str) -> None:
    assert not is_local(session(master=master))


def test_a_session_of_spark_connect_is_nowhere_for_certain() -> None:
    """Its server's master is this machine: that of the server."""
    remote = SimpleNamespace(conf=session(master="local[*]").conf)
    assert not is_local(remote)


@pytest.mark.parametrize(
    ("left", "memory"),
    [(MemoryLeft(1000, None), 600), (MemoryLeft(1000, 700), 600), (MemoryLeft(1000, 500), 500)],
)
def test_a_task_on_this_machine_has_its_share(monkeypatch: pytest.MonkeyPatch, left: MemoryLeft, memory: int) -> None:
    monkeypatch.setattr("pipeline.spark.resources.memory_left", lambda: left)
    assert local_memory() == memory


def test_a_task_of_a_cluster_has_its_share_of_the_overhead() -> None:
    assert given_memory(session(master="yarn")) == 384 << 20
    spark = session(master="yarn", executor_memory="8g", executor_cores="4", task_cpus="2")
    assert given_memory(spark) == (8 << 30) // 10 // 2
    assert task_cores(spark) == 2
    overhead = session(master="yarn", executor_memoryOverhead="3g", executor_cores="3")
    assert given_memory(overhead) == 1 << 30


@pytest.mark.skipif(sys.platform != "linux", reason="memory of Linux")
def test_freed_memory_is_given_back() -> None:
    """Ten thousand arrays of 50 KB, of which every hundredth stays, hold all their pages until somebody asks."""
    code = (
        "import numpy as np, psutil; from pipeline.spark.limits import trim_memory;"
        "rss = lambda: psutil.Process().memory_info().rss; before = rss();"
        "many = [np.ones(6400) for _ in range(10000)]; few = many[::100]; del many; held = rss() - before;"
        "trim_memory(); print(held >> 20, (rss() - before) >> 20)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    held, left = map(int, said.split())
    assert held > 200
    assert left < held / 4
