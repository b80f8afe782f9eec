"""The rivals compute what PyG computes, at a size that says nothing of speed; who fails loses its own row only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench.__main__ import read_output
from jobs.bench.graph import Parameters
from jobs.bench.measure import Run, run_python
from jobs.bench.rivals import __main__ as bench_rivals
from jobs.bench.rivals import contender as bench_contender
from jobs.bench.rivals import khop as bench_khop
from jobs.bench.rivals import spark as bench_spark
from jobs.bench.rivals.__main__ import NO_JAR, difference, make_task, run_round
from jobs.bench.rivals.contender import Outcome, Task, contend
from jobs.bench.rivals.growth import Point
from jobs.bench.rivals.growth import render as render_growth
from jobs.bench.rivals.growth_plot import plot
from jobs.bench.rivals.rivals_table import HEAD, render
from jobs.bench.rivals.work import sampled

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GRAPH = Parameters(scale=8, degree=3, features=70, hub=0.1)
MACHINE = {"cores": 2, "cpu": "a processor", "memory_bytes": 2e9, "commit": None}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """70→64→32, which narrows from the first layer on, and 70→70→32; PyG's outputs."""
    work = tmp_path_factory.mktemp("rivals")
    made = {model: make_task(GRAPH, work, model) for model in ("sage", "wide")}
    for model, task in made.items():
        paths = [*("--graph", task.graph), *("--models", task.models), *("--output", task.output("pyg") / "0.parquet")]
        run_python("-m", "jobs.bench.pyg", "run", *paths, "--model", model)
    return made


# ---- the same numbers


@pytest.mark.parametrize(
    ("form", "model"),
    [("slices", "sage"), ("slices", "wide"), ("columns", "wide"), ("vectors", "wide"), ("lists", "sage")],
)
def test_plain_spark_computes_what_pyg_computes(
    spark: SparkSession, tasks: dict[str, Task], tmp_path: Path, form: str, model: str
) -> None:
    task = tasks[model]
    bench_spark.run(spark, Path(task.graph), task.weights, tmp_path / "out", form)
    assert difference(tmp_path / "out", task.output("pyg")) < 1e-5
    assert len(read_output(tmp_path / "out")[0]) == 256


@pytest.mark.parametrize(("batch", "seeds"), [(1, 12), (7, 20), (1024, 256)])
def test_neighbourhoods_give_what_the_whole_graph_gives(
    spark: SparkSession, tasks: dict[str, Task], tmp_path: Path, batch: int, seeds: int
) -> None:
    task = tasks["sage"]
    bench_khop.run(spark, Path(task.graph), task.weights, tmp_path / "out", batch, seeds)
    assert difference(tmp_path / "out", task.output("pyg")) < 1e-5
    assert len(read_output(tmp_path / "out")[0]) == seeds


def test_a_neighbourhood_holds_all_edges_into_the_seed_and_its_neighbours(
    spark: SparkSession, tasks: dict[str, Task]
) -> None:
    """Counted by plain sets; a seed without in-edges is its own neighbourhood."""
    graph = Path(tasks["sage"].graph)
    table = pq.read_table(graph / "edges.parquet")
    ends = list(zip(table["src"].to_pylist(), table["dst"].to_pylist(), strict=True))
    seeds = bench_khop.sample(graph, 1, 10)
    edges, nodes = bench_khop.neighbourhoods(spark, graph, seeds)
    found_edges, found_nodes = edges.toPandas(), nodes.toPandas()
    edges.unpersist()
    assert len(set(seeds["id"].to_pylist())) == 10
    sizes = set()
    for batch, seed in zip(seeds["batch"].to_pylist(), seeds["id"].to_pylist(), strict=True):
        first = {seed} | {src for src, dst in ends if dst == seed}
        expected = sorted((src, dst) for src, dst in ends if dst in first)
        here = found_edges[found_edges["batch"] == batch]
        assert sorted(zip(here["src"], here["dst"], strict=True)) == expected
        there = found_nodes[found_nodes["batch"] == batch]
        assert sorted(there["id"]) == sorted(first | {src for src, _ in expected})
        assert there["id"][there["seed"]].tolist() == [seed]
        sizes.add(len(expected))
    assert len(sizes) > 3


def test_a_batch_of_nodes_without_neighbours_has_zeros() -> None:
    column = pa.array([None, None], pa.list_(pa.float32()))
    np.testing.assert_array_equal(bench_spark.matrix(column, 3), np.zeros((2, 3), np.float32))
    mixed = pa.array([None, [1.0, 2.0]], pa.list_(pa.float32()))
    np.testing.assert_array_equal(bench_spark.matrix(mixed, 2), [[0, 0], [1, 2]])


# ---- processes


def test_who_takes_too_long_is_stopped_with_all_that_it_started(tasks: dict[str, Task]) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    outcome = contend("spark", tasks["sage"], 1, 6.0)  # the JVM is there, the work is not done
    assert outcome.run is None
    assert outcome.failed == "gave up after 6 s"
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before
    assert not list(Path(tasks["sage"].work, "scratch").iterdir())


@pytest.mark.parametrize(("limit", "what"), [("DISK_LEFT", "the disk is full"), ("MEMORY_LEFT", "the memory is full")])
def test_who_fills_the_machine_is_stopped(
    tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch, limit: str, what: str
) -> None:
    monkeypatch.setattr(bench_contender, limit, 1 << 60)
    assert str(contend("pyg", tasks["sage"], 1, 60).failed).endswith(what)


def test_a_failure_is_one_row(tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is not there fails in its own process; a wrong answer, and a jar that is not there, are rows too."""
    monkeypatch.delenv("GRAPHFRAMES_JAR", raising=False)
    failed = contend("pyg", replace(tasks["sage"], model="gat"), 1, 120)
    assert "No such file" in str(failed.failed)

    answers = {"pyg": 0.0, "fused": 1.0, "spark": 2.0}

    def pretend(name: str, task: Task, round: int, limit: float) -> Outcome:
        ids, values = read_output(tasks["sage"].output("pyg"))
        off = 0.01 if answers[name] == 1 else 0.0
        lists = bench_spark.lists(values + np.float32(off))
        task.output(name).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"id": ids, "output": lists}), task.output(name) / "0.parquet")
        return Outcome(name, Run(name, round, 1.0, {}, 1, {"jvm": 1.0}, 0.0), whole=1.0)

    monkeypatch.setattr(bench_rivals, "contend", pretend)
    outcomes = run_round(tasks["sage"], ["pyg", "fused", "graphframes", "spark"], 1, 60)
    assert [outcome.run is not None for outcome in outcomes] == [True, False, False, True]
    assert "off by 0.01" in str(outcomes[1].failed)
    assert outcomes[2].failed == NO_JAR
    assert outcomes[3].run is not None
    assert outcomes[3].run.max_difference == 0


@pytest.mark.parametrize(("name", "seeds", "found"), [
    ("khop 1", 16, 16), ("khop 1", 256, 0), ("khop 1", 0, 0), ("khop 64", 16, 0), ("khop 8", 16, 32), ("fused", 16, 0),
])  # fmt: skip
def test_only_neighbourhoods_are_sampled(tasks: dict[str, Task], name: str, seeds: int, found: int) -> None:
    assert sampled(name, replace(tasks["sage"], seeds=seeds)).seeds == found


# ---- tables


def test_what_is_reckoned_says_so_and_a_ratio_is_of_one_round() -> None:
    """A machine that is three times slower in the second round changes no ratio."""
    outcomes = []
    for round, slow in ((1, 1.0), (2, 3.0)):
        for name, seconds, seeds in (("fused", 2.0, None), ("distributed", 4.0, None), ("khop 1", 5.0, 64)):
            run = Run(name, round, seconds * slow, {}, 10**9, {"jvm": 1.0}, 0.5, 1e-7)
            whole = 500.0 * slow if seeds else run.seconds
            outcomes.append(Outcome(name, run, 10**9, seeds, whole))
    outcomes.append(Outcome("spark", failed="gave up after 9 s"))
    about = {
        "parameters": {"features": 64, "hub": 0.1, "hub_end": "dst"},
        "task": {"model": "sage", "nodes": 10, "edges": 10**8, "blocks": 2, "form": "slices"},
        "machine": MACHINE,
    }
    text = render(outcomes, about)
    assert "10% of the edges have one node as dst" in text
    rows = {line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ") for line in text.splitlines()[2:]}
    khop = rows["k-hop on Spark + PyG, a neighbourhood per node"]
    assert khop[1:4] == ["~1000.0", "~250.00", "~125.00"]
    assert khop[7] == "~10,000"
    assert "measured: 10.0 s for 64 nodes" in khop[-1]
    for outcome in outcomes:
        outcome.whole = outcome.run.seconds if outcome.run else None
    assert "| ≥10.0 | ≥2.50 |" in render(outcomes, about)
    assert rows["graphsweep, distributed"][1:4] == ["8.0", "2.00", "1.00"]
    assert rows["plain Spark, join + groupBy"][1:] == [*["—"] * (len(HEAD) - 2), "gave up after 9 s"]


def test_growth_is_per_edge_and_a_hub_against_none(tmp_path: Path) -> None:
    points = [
        Point(name, scale, hub, 16 << scale, None if name == "pyg" and scale == 8 else seconds * (1.3 if hub else 1.0),
              2 * seconds, 1e9, None, {"read": 0.1, "move": 0.2, "compute": 0.3, "write": 0.4}, None)
        for name in ("pyg", "fused")
        for scale, seconds in ((7, 1.0), (8, 2.4))
        for hub in (0.0, 0.1)
    ]  # fmt: skip
    lines = [
        line.strip("| ").split(" | ") for line in render_growth(points, {"blocks": 8, "machine": MACHINE}).splitlines()
    ]
    fused = {(line[1], line[2]): line for line in lines if line[0] == "graphsweep, fused"}
    assert fused["2,048", ""][5] == "1.00"
    assert fused["4,096", ""][5:7] == ["1.20", ""]
    assert fused["4,096", "10%"][5:7] == ["1.20", "1.30"]
    assert fused["4,096", "10%"][10:14] == ["0.10", "0.20", "0.30", "0.40"]
    pyg = {(line[1], line[2]): line for line in lines if line[0].startswith("PyG")}
    assert pyg["4,096", ""][3] == "—"
    pytest.importorskip("matplotlib")
    plot(points, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes()[1:4] == b"PNG"


# ---- the commands


def command(module: str, work: Path, *options: str) -> dict[str, object]:
    given = [sys.executable, "-W", "ignore", "-m", module, "--runs", "1", "--work", str(work), *options]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "GRAPHFRAMES_JAR": ""})
    assert done.returncode == 0, done.stderr
    return json.loads((work / f"{module.rpartition('.')[2]}.json").read_text())


def test_rivals_run_on_the_same_files(tmp_path: Path) -> None:
    """A rival with a session, and PyG; ours are in test_growth_runs."""
    contenders = ["pyg", "khop 1"]
    written = command("jobs.bench.rivals", tmp_path, "--scale", "8", "--seeds", "16", "--contenders", *contenders)
    outcomes = {entry["name"]: entry for entry in written["outcomes"]}
    assert list(outcomes) == contenders
    assert [entry["failed"] for entry in outcomes.values()] == [None] * 2
    compared = [name for name, entry in outcomes.items() if entry["run"]["max_difference"] is not None]
    assert compared == ["khop 1"]
    assert outcomes["khop 1"]["run"]["max_difference"] < 1e-5
    assert outcomes["khop 1"]["shuffled"] > 10_000
    assert outcomes["khop 1"]["seeds"] == 16
    assert outcomes["khop 1"]["whole"] >= outcomes["khop 1"]["run"]["seconds"]
    assert outcomes["pyg"]["whole"] == outcomes["pyg"]["run"]["seconds"]


def test_growth_runs(tmp_path: Path) -> None:
    ours = ["raw", "prepare", "distributed"]
    written = command(
        "jobs.bench.rivals.growth", tmp_path, "--scales", "7", "--hub", "0", "--plot", "--contenders", *ours
    )
    points = {point["name"]: point for point in written["points"]}
    assert list(points) == ours
    assert all(point["seconds"] > 0 and point["failed"] is None for point in points.values())
    assert points["distributed"]["difference"] < 1e-5  # from what raw wrote
    assert sum(points["distributed"]["parts"].values()) == pytest.approx(points["distributed"]["seconds"], rel=0.5)
    assert (tmp_path / "growth.png").read_bytes()[1:4] == b"PNG"
