"""What each contender does, in the process that contender.py starts for it.

    python -m jobs.bench.rivals.work NAME TASK ROUND

Comes in: a name of CONTENDERS, a Task as JSON. Goes out: its Outcome, as one line of JSON.

A contender with a Spark session does its work once before, so that everything is warm, then is timed. PyG's process,
and our console command on the raw tables, are timed from their start, as a job would be run. Of a sample of
neighbourhoods a quarter is timed too: what the whole would take is reckoned from what the other three quarters added.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from jobs.bench.measure import Result, Run, run_python, timed
from jobs.bench.rivals.contender import Outcome, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

BATCHES = (1, 1024)  # seeds that share a neighbourhood; one is the published form
EDGES_PER_TASK = 1 << 21  # of a rival's shuffle


def prepare(spark: SparkSession, task: Task) -> Result:
    from jobs.bench.__main__ import prepare_tables

    task.prepared.parent.mkdir(parents=True, exist_ok=True)
    prepare_tables(spark, Path(task.graph), task.prepared, task.blocks)
    return Result()


def tier(name: str, spark: SparkSession, task: Task) -> Result:
    from pipeline import Settings, score

    paths = [str(path) for path in (task.prepared, task.models / task.model, task.output(name))]
    report = score(*paths, overwrite=True, settings=Settings(tier=name), spark=spark)
    return Result({"compute": sum(step.seconds for step in report.supersteps)})


def fused(spark: SparkSession, task: Task) -> Result:
    return tier("fused", spark, task)


def distributed(spark: SparkSession, task: Task) -> Result:
    return tier("distributed", spark, task)


def pyg(_: None, task: Task) -> Result:
    paths = [*("--graph", task.graph), *("--models", task.models), *("--output", task.output("pyg") / "0.parquet")]
    said, usage = run_python("-m", "jobs.bench.pyg", "run", *paths, "--model", task.model, "--order", "sorted")
    return Result(json.loads(said.splitlines()[-1]), usage)


def raw(_: None, task: Task) -> Result:
    """The console command: raw tables and a model directory to a table."""
    from jobs.bench.__main__ import infer_cold

    return infer_cold(Path(task.graph), task.models / task.model, task.output("raw"))


def join_and_group(spark: SparkSession, task: Task) -> Result:
    from jobs.bench.rivals.spark import run

    run(spark, Path(task.graph), task.weights, task.output("spark"), task.form)
    return Result()


def graphframes(spark: SparkSession, task: Task) -> Result:
    from jobs.bench.rivals.spark import run

    run(spark, Path(task.graph), task.weights, task.output("graphframes"), "graphframes")
    return Result()


def khop(batch: int, spark: SparkSession, task: Task) -> Result:
    from jobs.bench.rivals.khop import run

    run(spark, Path(task.graph), task.weights, task.output(f"khop {batch}"), batch, task.seeds or task.nodes)
    return Result()


OURS: dict[str, Callable[[SparkSession, Task], Result]] = {
    "prepare": prepare,
    "fused": fused,
    "distributed": distributed,
}
RIVALS: dict[str, Callable[[SparkSession, Task], Result]] = {
    "spark": join_and_group,
    **{f"khop {batch}": partial(khop, batch) for batch in BATCHES},
    "graphframes": graphframes,
}
JOBS: dict[str, Callable[[None, Task], Result]] = {"pyg": pyg, "raw": raw}  # no session: timed from their start
CONTENDERS: dict[str, Callable[..., Result]] = {**JOBS, **OURS, **RIVALS}


def take_part(name: str, task: Task, round: int) -> Outcome:
    work = CONTENDERS[name]
    part = task = sampled(name, task)
    if task.seeds:
        part = replace(task, seeds=task.seeds // 4)
    if name in JOBS:
        run = timed(name, round, lambda: work(None, task))
        return Outcome(name, run, whole=run.seconds)
    with session(name, task) as spark:
        work(spark, part)  # warms up
        small = timed(name, round, lambda: work(spark, part)) if part is not task else None
        spark.sparkContext._jvm.System.gc()  # type: ignore[union-attr]
        before = shuffle_bytes(spark)
        run = timed(name, round, lambda: work(spark, task))
        shuffled = shuffle_bytes(spark) - before
        if task.split and name in ("fused", "distributed"):
            run.parts = split(spark, task, run)
    if small is None:
        return Outcome(name, run, shuffled, whole=run.seconds)
    # what grows with the seeds, without what a job costs anyway
    each = max(run.seconds - small.seconds, 0.0) / (task.seeds - part.seeds)
    return Outcome(name, run, shuffled, task.seeds, run.seconds + each * (task.nodes - task.seeds))


def sampled(name: str, task: Task) -> Task:
    """With seeds only where they are fewer than all."""
    kind, _, batch = name.partition(" ")
    seeds = max(task.seeds, 4 * int(batch)) if kind == "khop" and task.seeds else 0
    return replace(task, seeds=seeds if seeds < task.nodes else 0)


@contextmanager
def session(name: str, task: Task) -> Iterator[SparkSession]:
    """Ours is what the command line starts. A rival has half of the memory, and as many tasks as suit its edges."""
    from pipeline.command.own_session import spark_session

    if name in OURS:
        with spark_session() as spark:
            yield spark
        return
    from pyspark.sql import SparkSession

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings: dict[str, Any] = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
        "spark.driver.memory": f"{psutil.virtual_memory().total >> 21}m",
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.shuffle.partitions": max(4 * cores, task.edges // EDGES_PER_TASK),
    }
    if name == "graphframes":
        settings["spark.jars"] = os.environ["GRAPHFRAMES_JAR"]
    builder = SparkSession.builder.appName(name)
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def shuffle_bytes(spark: SparkSession) -> int:
    """Written by all tasks until now, as Spark's own pages would show it."""
    context = spark.sparkContext._jsc.sc()  # type: ignore[union-attr]
    context.listenerBus().waitUntilEmpty()
    executors = context.statusStore().executorList(False)
    return sum(executors.apply(number).totalShuffleWrite() for number in range(executors.size()))


def split(spark: SparkSession, task: Task, run: Run) -> dict[str, float]:
    """Seconds of a run of ours: read and compute by clocks in the workers, write by a run that writes nothing, and
    the rest, which is moving bytes between processes and starting tasks."""
    from pipeline import Settings, infer, open_graph

    graph, cores = open_graph(str(task.prepared)), os.cpu_count() or 1
    started = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(graph.block, range(graph.blocks)))
    read = time.perf_counter() - started
    frame = infer(graph, str(task.models / task.model), settings=Settings(tier=run.what), spark=spark)
    started = time.perf_counter()
    frame.write.format("noop").mode("overwrite").save()
    write = max(run.seconds - (time.perf_counter() - started), 0.0)
    # distributed: summed over tasks that run side by side, which read their blocks on that clock
    compute = run.parts["compute"] if run.what == "fused" else max(run.parts["compute"] / cores - read, 0.0)
    parts = {"read": read, "compute": compute, "write": write}
    return {**parts, "move": max(run.seconds - sum(parts.values()), 0.0)}


if __name__ == "__main__":
    name, given, round = sys.argv[1:]
    print(json.dumps(asdict(take_part(name, Task(**json.loads(given)), int(round)))))
