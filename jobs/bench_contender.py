"""One contender in a process of its own: it fails alone, is stopped when its time is over, and takes all memory along.

Comes in: a name of CONTENDERS, a Task. Goes out: an Outcome, whatever happens. Knows nothing of tables and plots.

A contender with a Spark session does its work once before, so that everything is warm, then is timed. PyG's process is
timed from its start, as a job would be run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from jobs.bench_measure import ROOT, Result, Run, run_python, say, timed
from jobs.bench_spark import FASTEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

BATCHES = (1, 1024)  # seeds that share a neighbourhood; one is the published form
LOOK_SECONDS = 0.5
DISK_LEFT, MEMORY_LEFT = 5 << 30, 1 << 30  # who leaves less to the machine is stopped, before the system chooses whom
EDGES_PER_TASK = 1 << 21  # of a rival's shuffle


@dataclass(frozen=True)
class Task:
    """What a contender is to do, and where."""

    graph: str
    work: str
    nodes: int
    edges: int
    model: str = "sage"
    """sage or wide, of bench_pyg.py."""
    blocks: int = 8
    form: str = FASTEST
    """Of bench_spark.py."""
    seeds: int = 0
    """Nodes that k-hop neighbourhoods are cut for, four batches at least; the time of all is reckoned from that. 0, or
    more than there are: all."""
    split: bool = False
    """Two more runs of ours, for the parts of its time."""

    @property
    def models(self) -> Path:
        return Path(self.work, "models", Path(self.graph).name)

    @property
    def weights(self) -> Path:
        return self.models / f"{self.model}.safetensors"

    @property
    def prepared(self) -> Path:
        return Path(self.work, "prepared", Path(self.graph).name)

    def output(self, name: str) -> Path:
        return Path(self.work, "outputs", f"{name}-{self.model}".replace(" ", "-"))


@dataclass
class Outcome:
    """What became of it."""

    name: str
    run: Run | None = None
    shuffled: int | None = None
    """Bytes that its tasks wrote for others, in Spark's own count. None: there is no Spark."""
    seeds: int | None = None
    """Nodes that were scored, where it was not all of them: `run` is what these took."""
    whole: float | None = None
    """Seconds for all nodes: those of `run`, or reckoned from it."""
    failed: str | None = None
    """Why there is no run."""


# ---- from outside


def contend(name: str, task: Task, round: int, limit: float) -> Outcome:
    """Runs a contender anew; never raises for what happens in there. `limit`: seconds, warming up included."""
    scratch = Path(task.work, "scratch", name.replace(" ", "-"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    command = [sys.executable, "-W", "ignore", "-m", "jobs.bench_contender", name, json.dumps(asdict(task)), str(round)]
    # workers import jobs.* from where the process was started
    places = {"SPARK_LOCAL_DIRS": str(scratch), "PYSPARK_PYTHON": sys.executable}
    try:
        with open(scratch / "out", "w+") as out, open(scratch / "error", "w+") as error:
            process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **places}, stdout=out, stderr=error)
            try:
                stopped = wait(process, limit, scratch)
            finally:
                end(process.pid)
                code = process.wait()
            out.seek(0)
            error.seek(0)
            said, complaints = out.read().splitlines(), error.read().strip().splitlines()
        if stopped or code:
            outcome = Outcome(name, failed=stopped or f"failed: {reason(complaints)}")
            say(f"round {round}: {name}: {outcome.failed}")
            return outcome
        for line in complaints:
            if line.startswith("round "):
                say(line)
        found = json.loads(said[-1])
        return Outcome(**{**found, "run": Run(**found["run"])})
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def wait(process: subprocess.Popen[bytes], limit: float, scratch: Path) -> str | None:
    """Until it ends, or why it must not go on."""
    started = time.monotonic()
    while process.poll() is None:
        if time.monotonic() - started > limit:
            return f"gave up after {limit:.0f} s"
        if shutil.disk_usage(scratch).free < DISK_LEFT:
            return f"gave up after {time.monotonic() - started:.0f} s: the disk is full"
        if psutil.virtual_memory().available < MEMORY_LEFT:
            return f"gave up after {time.monotonic() - started:.0f} s: the memory is full"
        time.sleep(LOOK_SECONDS)
    return None


def end(pid: int) -> None:
    """A process and all below it: a JVM does not end with the Python that started it."""
    try:
        root = psutil.Process(pid)
        tree = [*root.children(recursive=True), root]
    except psutil.Error:
        return
    for process in tree:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs([process for process in tree if process.pid != pid], timeout=10)


def reason(complaints: list[str]) -> str:
    """The line of a traceback that says most."""
    telling = [line for line in complaints if "Error" in line or "Exception" in line]
    return (telling or complaints or ["without a word"])[-1].strip()[:200]


# ---- from inside


def prepare(spark: SparkSession, task: Task) -> Result:
    from jobs.bench import prepare_tables

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
    said, usage = run_python("-m", "jobs.bench_pyg", "run", *paths, "--model", task.model, "--order", "sorted")
    return Result(json.loads(said.splitlines()[-1]), usage)


def join_and_group(spark: SparkSession, task: Task) -> Result:
    from jobs.bench_spark import run

    run(spark, Path(task.graph), task.weights, task.output("spark"), task.form)
    return Result()


def graphframes(spark: SparkSession, task: Task) -> Result:
    from jobs.bench_spark import run

    run(spark, Path(task.graph), task.weights, task.output("graphframes"), "graphframes")
    return Result()


def khop(batch: int, spark: SparkSession, task: Task) -> Result:
    from jobs.bench_khop import run

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
CONTENDERS: dict[str, Callable[..., Result]] = {"pyg": pyg, **OURS, **RIVALS}


def take_part(name: str, task: Task, round: int) -> Outcome:
    work = CONTENDERS[name]
    part = task = sampled(name, task)
    if task.seeds:
        part = replace(task, seeds=task.seeds // 4)
    if name == "pyg":
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
    from pipeline.session import spark_session

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
