"""graphsweep against PyTorch Geometric on one machine, file to file. One command, one table, JSON beside it.

    python -m jobs.bench --scale 20 --runs 3 --work out/bench

Both sides read the same Parquet files (graph.py) and write the same table. They take turns, because no machine is
ever quiet: what counts is the ratio of two runs of one round. Each output of ours is compared with PyG's.

PyG runs in a process of its own on all cores, with the faster of its two forms of edges for each model (ORDER). Ours
runs in a session that has done each job once before, but for what is called cold: the console command, from the start
of its process to the end, which needs no Spark for such a graph; and the same by spark-submit, whose JVM starts
for it. The session's JVM gives back memory between runs, so that each has the peak that is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from jobs.bench.graph import Parameters, generate
from jobs.bench.measure import ROOT, Result, Run, keep, machine, run_process, run_python, say, timed
from jobs.bench.table import render

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FLIGHTS = ROOT / "data" / "flights"
# PyG's edges, as they come or sorted by destination: 12.4 s or 7.5 s of forward for sage, 25 s or 26 s for gat
ORDER = {"sage": "sorted", "gat": "coo"}
TIERS = ("distributed", "fused")
COLD = "sage"  # once is enough: what the console command adds is the same for all
TOLERANCE = 1e-4  # two float32 sums in different order; a wrong answer is off by 0.01 and more
CONSOLE = "from pipeline.cli import main; main()"
KERNELS = "import sys; from jobs.bench.__main__ import run_tiny; run_tiny(*sys.argv[1:])"


@dataclass
class Bench:
    """Where everything is, and what has been measured so far."""

    work: Path
    graph: Path
    blocks: int
    spark: SparkSession
    runs: list[Run] = field(default_factory=list)

    @property
    def own(self) -> Path:
        """Apart from what other benches leave in the same directory: a stray file would be a part of an output."""
        return self.work / "machine"

    @property
    def models(self) -> Path:
        return self.own / "models"

    @property
    def prepared(self) -> Path:
        return self.own / "prepared"

    def output(self, what: str) -> Path:
        return self.own / "outputs" / what.replace(" ", "-")

    def collect_garbage(self) -> None:
        self.spark.sparkContext._jvm.System.gc()  # type: ignore[union-attr]


# ---- the two sides


def pyg(bench: Bench, model: str) -> Result:
    output = bench.output(f"pyg {model}") / "part-0.parquet"
    paths = [*("--graph", bench.graph), *("--models", bench.models), *("--output", output)]
    said, usage = run_python("-m", "jobs.bench.pyg", "run", *paths, "--model", model, "--order", ORDER[model])
    return Result(json.loads(said.splitlines()[-1]), usage)


def prepare(bench: Bench) -> Result:
    """Raw tables to a prepared graph."""
    prepare_tables(bench.spark, bench.graph, bench.prepared, bench.blocks)
    return Result()


def prepare_tables(spark: SparkSession, tables: Path, path: Path, blocks: int) -> None:
    from pipeline import Graph
    from pipeline import prepare as run

    graph = Graph.read(spark, str(tables / "nodes.parquet"), str(tables / "edges.parquet"))
    run(graph, str(path), blocks=blocks, overwrite=True)


def infer(bench: Bench, model: str, tier: str) -> Result:
    """A prepared graph and a model directory to a table."""
    from pipeline import Settings, score

    paths = [str(path) for path in (bench.prepared, bench.models / model, bench.output(f"{tier} {model}"))]
    report = score(*paths, overwrite=True, settings=Settings(tier=tier), spark=bench.spark)
    return Result({f"superstep {step.number}": step.seconds for step in report.supersteps})


def infer_cold(tables: Path, model: Path, output: Path, *options: str, **environment: str) -> Result:
    """The console command in a new process: raw tables and a model directory to a table."""
    command = ["-c", CONSOLE, "infer", *paths_of(tables, model, output), *options]
    return Result(usage=run_python(*command, **environment)[1])


def infer_submitted(tables: Path, model: Path, output: Path) -> Result:
    """The same by spark-submit, on this machine."""
    import pyspark

    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    command = [submit, "--driver-memory", "4g", ROOT / "jobs" / "infer.py", *paths_of(tables, model, output)]
    python = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return Result(usage=run_process("bash", *command, **python)[1])


def paths_of(tables: Path, model: Path, output: Path) -> list[Any]:
    given = [*("--nodes", tables / "nodes.parquet"), *("--edges", tables / "edges.parquet"), *("--model", model)]
    return [*given, *("--output", output), "--overwrite", "--quiet"]


# ---- rounds


def run_rounds(bench: Bench, rounds: int) -> None:
    warm_up(bench)
    for number in range(1, rounds + 1):
        for model in ORDER:
            take(bench, number, f"pyg {model}", partial(pyg, bench, model))
            for tier in TIERS:
                done = take(bench, number, f"{tier} {model}", partial(infer, bench, model, tier))
                done.max_difference = difference(bench.output(done.what), bench.output(f"pyg {model}"))
        take(bench, number, "prepare", partial(prepare, bench))
        for what, run in (("cold", infer_cold), ("submitted", infer_submitted)):
            done = take(bench, number, what, partial(run, bench.graph, bench.models / COLD, bench.output(what)))
            done.max_difference = difference(bench.output(what), bench.output(f"pyg {COLD}"))


def warm_up(bench: Bench) -> None:
    say("warming up")
    prepare(bench)
    for model in ORDER:
        for tier in TIERS:
            infer(bench, model, tier)


def take(bench: Bench, number: int, what: str, job: Any) -> Run:
    bench.collect_garbage()
    bench.runs.append(timed(what, number, job))
    return bench.runs[-1]


def flights(bench: Bench, rounds: int) -> None:
    """The README's first command, installation aside: with an empty cache of kernels, then with that cache."""
    output = bench.output("flights")
    with tempfile.TemporaryDirectory() as cache:
        job = partial(infer_cold, FLIGHTS, FLIGHTS / "model", output, "--classify", NUMBA_CACHE_DIR=cache)
        for number in range(rounds + 1):
            done = take(bench, number, "flights again" if number else "flights first", job)
            done.max_difference = difference(output, FLIGHTS / "expected.parquet")


# ---- the same answer


def difference(ours: Path, theirs: Path) -> float:
    """Largest of all numbers; SystemExit if it is more than rounding."""
    (ids, values), (other_ids, other_values) = read_output(ours), read_output(theirs)
    if not np.array_equal(ids, other_ids) or values.shape != other_values.shape:
        raise SystemExit(f"{ours} and {theirs} have different rows")
    found = float(np.abs(values - other_values).max())
    if not found <= TOLERANCE:
        raise SystemExit(f"{ours} differs from {theirs} by {found:g}; rounding is at most {TOLERANCE:g}")
    return found


def read_output(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """ids in ascending order, and the rows of the first output."""
    table = pq.read_table(path).sort_by("id")
    values = table.column(1).combine_chunks().flatten().to_numpy()
    return table["id"].to_numpy(), values.reshape(len(table), -1)


# ---- kernels


def kernels(bench: Bench) -> None:
    """All kernels of the models: compiled by a new process with an empty cache, loaded by another one."""
    tiny = bench.work / "tiny"
    prepare_tables(bench.spark, generate(Parameters(scale=6), tiny), tiny / "prepared", 2)
    with tempfile.TemporaryDirectory() as cache:
        models = [bench.models / model for model in ORDER]
        for what in ("kernels compiled", "kernels loaded"):
            said, usage = run_python("-c", KERNELS, tiny / "prepared", *models, NUMBA_CACHE_DIR=cache)
            parts = json.loads(said.splitlines()[-1])
            seconds = sum(parts.values())
            bench.runs.append(Run(what, 1, seconds, parts, usage.peak_bytes, usage.cpu, os.getloadavg()[0]))


def run_tiny(prepared: str, *models: str) -> None:
    """In a child: models on a tiny graph, without Spark. Prints the seconds of each, imports aside."""
    from pipeline import Model, open_graph
    from pipeline.plan.plan import Plan
    from pipeline.run.fused import run_fused

    graph = open_graph(prepared)
    blocks = [graph.block(index) for index in range(graph.blocks)]
    seconds = {}
    for path in models:
        started = time.perf_counter()
        run_fused(Plan.of(Model.load(path)), blocks)
        seconds[Path(path).name] = time.perf_counter() - started
    print(json.dumps(seconds))


# ---- the command


def main(arguments: Sequence[str] | None = None) -> None:
    given = parse(arguments)
    work = given.work.resolve()
    parameters = Parameters(given.scale, given.degree, seed=given.seed)
    say(f"{parameters.nodes:,} nodes, {parameters.edges:,} edges")
    graph = generate(parameters, work)

    from pipeline.command.own_session import spark_session

    with spark_session() as spark:
        bench = Bench(work, graph, given.blocks, spark)
        bench.own.mkdir(parents=True, exist_ok=True)
        run_python("-m", "jobs.bench.pyg", "models", "--models", bench.models, "--features", parameters.features)
        run_rounds(bench, given.runs)
        kernels(bench)
        if not given.skip_flights:
            flights(bench, given.runs)
    about = {"parameters": asdict(parameters), "blocks": given.blocks, "machine": machine()}
    table = render(bench.runs, about)
    keep(work, "bench", about, bench.runs, table)
    print(table)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=20, help="2 ** SCALE nodes (20)")
    parser.add_argument("--degree", type=int, default=16, help="edges per node (16)")
    parser.add_argument("--blocks", type=int, default=8, help="parts of the graph (8)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the graph (1)")
    parser.add_argument("--skip-flights", action="store_true", help="leave out data/flights")
    parser.add_argument("--work", type=Path, default=ROOT / "out" / "bench", help="directory for all files (out/bench)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
