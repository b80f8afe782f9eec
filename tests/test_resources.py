"""What a task has, by the session's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.resources import is_local, local_tasks, task_cores, task_memory


def session(**settings: str) -> SimpleNamespace:
    named = {f"spark.{name.replace('_', '.')}": value for name, value in settings.items()}
    return SimpleNamespace(conf=SimpleNamespace(get=lambda key, default: named.get(key, default)))


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


def test_a_task_of_a_cluster_has_its_share_of_the_overhead() -> None:
    assert task_memory(session(master="yarn")) == 384 << 20
    spark = session(master="yarn", executor_memory="8g", executor_cores="4", task_cpus="2")
    assert task_memory(spark) == (8 << 30) // 10 // 2
    assert task_cores(spark) == 2
    overhead = session(master="yarn", executor_memoryOverhead="3g", executor_cores="3")
    assert task_memory(overhead) == 1 << 30


@pytest.mark.skipif(sys.platform != "linux", reason="memory of Linux")
def test_freed_memory_is_given_back() -> None:
    """Ten thousand arrays of 50 KB, of which every hundredth stays, hold all their pages until somebody asks."""
    code = (
        "import numpy as np, psutil; from pipeline.resources import give_back;"
        "rss = lambda: psutil.Process().memory_info().rss; before = rss();"
        "many = [np.ones(6400) for _ in range(10000)]; few = many[::100]; del many; held = rss() - before;"
        "give_back(); print(held >> 20, (rss() - before) >> 20)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    held, left = map(int, said.split())
    assert held > 200
    assert left < held / 4
