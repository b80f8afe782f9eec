"""graphsweep against PyTorch Geometric on one machine, file to file. One command, one table, JSON beside it.

    python -m jobs.bench --scale 20 --runs 3 --work out/bench

Both sides read the same Parquet files (rmat.py) and write the same table, and take turns: machines are never quiet, so
what counts is the ratio of two runs of one round. Every output of ours is compared with PyG's of the same round.
PyG is given the faster of its own two forms for each model (ORDER), in a process of its own that has all cores. Ours
runs in a warm session, but for what is called cold, which is the console command in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow.parquet as pq

from jobs.rmat import Parameters, generate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.score import Report

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "data" / "flights"
MODELS = {"sage": "GraphSAGE, 2 layers 64→64→32, mean", "gat": "GAT layer, 64→4×16"}
# of PyG's two forms of edges the faster one: sorted, forward takes 7.5 s instead of 12.4 for sage, and no less for gat
ORDER = {"sage": "sorted", "gat": "coo"}
TOLERANCE = 1e-4  # of two float32 sums in different order; a wrong answer is off by 0.1 and more
SAMPLE_SECONDS = 0.1
VERSIONS = ("graphsweep", "pyspark", "pyarrow", "numpy", "numba", "torch", "torch_geometric")
CONSOLE = "from pipeline.cli import main; main()"


@dataclass
class Run:
    """One timed run of one side."""

    what: str
    seconds: float
    peak_bytes: int = 0
    """Resident memory of all its processes together; a page that two of them share counts twice."""
    parts: dict[str, float] = field(default_factory=dict)
    load: float = 0.0
    """Processes that wanted a core in the minute before: above 0, others were at work."""
    max_difference: float | None = None
    """From PyG's output of the same round."""


@dataclass
class Bench:
    """Where everything is, and how a run is timed."""

    work: Path
    graph: Path
    blocks: int
    spark: SparkSession
    runs: list[Run] = field(default_factory=list)

    @property
    def models(self) -> Path:
        return self.work / "models"

    @property
    def prepared(self) -> Path:
        return self.work / "prepared"

    def output(self, what: str) -> Path:
        return self.work / "outputs" / what.replace(" ", "-")

    def time(self, what: str, work: Callable[[], Mapping[str, float] | None]) -> Run:
        """Runs one side once; `work` gives the seconds of its parts."""
        if self.spark.sparkContext._jvm is not None:
            self.spark.sparkContext._jvm.System.gc()  # gives back what runs before have left, for the peak's sake
        load = os.getloadavg()[0]
        with peak_memory() as peak:
            started = time.perf_counter()
            parts = work() or {}
            seconds = time.perf_counter() - started
        run = Run(what, seconds, peak[0], dict(parts), load)
        self.runs.append(run)
        say(f"{what}: {seconds:.1f} s")
        return run


# ---- the two sides


def pyg(bench: Bench, model: str) -> Run:
    """In a process of its own, whose memory alone is counted."""
    arguments = [*("--graph", bench.graph), *("--models", bench.models), *("--model", model)]
    arguments += [*("--output", pyg_output(bench, model)), *("--order", ORDER[model])]
    child: dict[str, Any] = {}

    def work() -> Mapping[str, float]:
        with python("-m", "jobs.bench_pyg", "run", *arguments) as process, peak_memory(process.pid) as peak:
            text = process.communicate()[0]
        check(process)
        child["peak"] = peak
        parts: dict[str, float] = json.loads(text.splitlines()[-1])
        return parts

    run = bench.time(f"pyg {model}", work)
    run.peak_bytes = child["peak"][0]
    return run


def pyg_output(bench: Bench, model: str) -> Path:
    return bench.output(f"pyg {model}") / "part-0.parquet"


def prepare(bench: Bench) -> Run:
    """Raw tables to a prepared graph."""
    from pipeline.graph import Graph
    from pipeline.prepare import prepare

    def work() -> None:
        graph = Graph.read(bench.spark, str(bench.graph / "nodes.parquet"), str(bench.graph / "edges.parquet"))
        prepare(graph, str(bench.prepared), blocks=bench.blocks, overwrite=True)

    return bench.time("prepare", work)


def infer(bench: Bench, model: str, tier: str) -> Run:
    """Prepared graph and model directory to a table."""
    from pipeline.score import score
    from pipeline.settings import Settings

    what = f"{tier} {model}"

    def work() -> Mapping[str, float]:
        output = str(bench.output(what))
        settings = Settings(tier=tier)
        done = score(
            str(bench.prepared), str(bench.models / model), output, overwrite=True, settings=settings, spark=bench.spark
        )
        return parts_of(done)

    return compared(bench, model, bench.time(what, work))


def parts_of(report: Report) -> dict[str, float]:
    """Seconds as the run itself knows them; distributed, they are sums over tasks that run side by side."""
    return {f"superstep {step.number}": step.seconds for step in report.supersteps}


def cold(bench: Bench, model: str) -> Run:
    """The console command in a fresh process: raw tables to scores."""
    what = f"cold {model}"

    def work() -> None:
        infer_command(bench.graph, bench.models / model, bench.output(what))

    return compared(bench, model, bench.time(what, work))


def infer_command(graph: Path, model: Path, output: Path, *options: str, **environment: str) -> None:
    tables = [*("--nodes", graph / "nodes.parquet"), *("--edges", graph / "edges.parquet")]
    arguments = ["infer", *tables, *("--model", model), *("--output", output), "--overwrite", "--quiet", *options]
    with python("-c", CONSOLE, *arguments, **environment) as process:
        process.communicate()
    check(process)


# ---- that they agree


def compared(bench: Bench, model: str, run: Run) -> Run:
    """SystemExit if a run's output is not PyG's."""
    run.max_difference = max_difference(bench.output(run.what), pyg_output(bench, model))
    if not run.max_difference <= TOLERANCE:
        raise SystemExit(f"{run.what} differs from PyG by {run.max_difference:g}; at most {TOLERANCE:g} is rounding")
    return run


def max_difference(ours: Path, theirs: Path) -> float:
    (ids, values), (other_ids, other_values) = read_output(ours), read_output(theirs)
    if not np.array_equal(ids, other_ids) or values.shape != other_values.shape:
        return float("nan")
    return float(np.abs(values - other_values).max())


def read_output(path: Path) -> tuple[Any, Any]:
    """ids in ascending order, and their rows."""
    table = pq.read_table(path).sort_by("id")
    values = table["embedding"].combine_chunks().flatten().to_numpy()
    return table["id"].to_numpy(), values.reshape(len(table), -1)


# ---- starting cold


def flights(bench: Bench, runs: int) -> None:
    """The README's first command, installation aside: once with an empty cache of kernels, then with that cache."""
    with tempfile.TemporaryDirectory() as cache:
        for number in range(1 + runs):
            what = "flights, first time" if number == 0 else "flights, again"
            output = bench.output("flights")
            bench.time(
                what,
                lambda output=output: infer_command(
                    FLIGHTS, FLIGHTS / "model", output, "--classify", NUMBA_CACHE_DIR=cache
                ),
            )


def kernels(bench: Bench) -> None:
    """Kernels of all models, compiled in a fresh process with an empty cache, and loaded by another one."""
    tiny = bench.work / "tiny"
    generate_tiny(bench.spark, tiny)
    code = "import sys; from jobs.bench import compile_kernels; compile_kernels(*sys.argv[1:])"
    models = [bench.models / name for name in MODELS]
    with tempfile.TemporaryDirectory() as cache:
        for what in ("kernels, compiled", "kernels, loaded"):
            with python("-c", code, tiny / "prepared", *models, NUMBA_CACHE_DIR=cache) as process:
                text = process.communicate()[0]
            check(process)
            parts = json.loads(text.splitlines()[-1])
            bench.runs.append(Run(what, sum(parts.values()), parts=parts))
            say(f"{what}: {sum(parts.values()):.1f} s")


def generate_tiny(spark: SparkSession, path: Path) -> None:
    from pipeline.graph import Graph
    from pipeline.prepare import prepare

    directory = generate(Parameters(scale=6), path)
    graph = Graph.read(spark, str(directory / "nodes.parquet"), str(directory / "edges.parquet"))
    prepare(graph, str(path / "prepared"), blocks=2, overwrite=True)


def compile_kernels(prepared: str, *models: str) -> None:
    """In a child: runs models on a tiny graph without Spark, and prints the seconds of each, imports aside."""
    from pipeline import Model, open_graph
    from pipeline.fused import run_fused
    from pipeline.plan.plan import Plan

    graph = open_graph(prepared)
    blocks = [graph.block(index) for index in range(graph.blocks)]
    seconds = {}
    for path in models:
        model = Model.load(path)
        started = time.perf_counter()
        run_fused(Plan.of(model), blocks)
        seconds[Path(path).name] = time.perf_counter() - started
    print(json.dumps(seconds))


# ---- processes


@contextmanager
def python(*arguments: Any, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A Python of our own, which finds the library as this one does."""
    command = [sys.executable, *map(str, arguments)]
    settings: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, **environment}, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **settings) as process:
        process.said = ""  # type: ignore[attr-defined]
        yield process


def check(process: subprocess.Popen[str]) -> None:
    if process.returncode:
        raise SystemExit(f"failed with exit code {process.returncode}: {' '.join(map(str, process.args))}")  # type: ignore[arg-type]


@contextmanager
def peak_memory(pid: int | None = None) -> Iterator[list[int]]:
    """[peak], in the end: the resident bytes of a process and all that it started, sampled; now those of this one."""
    peak, stop = [0], threading.Event()

    def sample() -> None:
        root = psutil.Process(pid)
        while True:
            peak[0] = max(peak[0], resident(root))
            if stop.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def resident(root: psutil.Process) -> int:
    total = 0
    try:
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in tree:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# ---- the table
