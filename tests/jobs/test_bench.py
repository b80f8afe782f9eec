"""The benchmark runs, at a size where it says nothing of speed: its table is whole, and both sides agree."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench.__main__ import FLIGHTS, difference, infer_cold
from jobs.bench.graph import Parameters, draw_edges, generate, spread
from jobs.bench.measure import Run, run_python, watched
from jobs.bench.table import render

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOTH = {"pyg sage", "distributed sage", "fused sage", "pyg gat", "distributed gat", "fused gat"}
OTHERS = {"prepare", "cold", "submitted", "kernels compiled", "kernels loaded"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About a minute: nine processes that start cold, as the benchmark is meant to measure."""
    work = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "jobs.bench", "--scale", "9", "--runs", "1", "--skip-flights", "--work", str(work)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (work / "bench.md").read_text() + "\n"
    return work


def test_everything_is_measured_and_agrees_with_pyg(bench: Path) -> None:
    written = json.loads((bench / "bench.json").read_text())
    runs = {run["what"]: Run(**run) for run in written["runs"]}
    assert set(runs) == BOTH | OTHERS
    compared = {what for what, run in runs.items() if run.max_difference is not None}
    assert compared == {what for what in BOTH if not what.startswith("pyg")} | {"cold", "submitted"}
    assert all(run.max_difference < 1e-5 for run in runs.values() if run.max_difference is not None)
    assert all(run.seconds > 0 and run.peak_bytes > 10e6 for run in runs.values())
    assert list(runs["pyg gat"].parts) == ["import", "read", "map ids", "forward", "write"]
    assert "jvm" in runs["submitted"].cpu
    assert "jvm" not in runs["cold"].cpu
    assert [len(runs[f"fused {model}"].parts) for model in ("sage", "gat")] == [3, 2]
    assert written["machine"]["versions"].keys() >= {"python", "pyspark", "numba", "torch_geometric"}


def test_the_table_is_made_of_the_json(bench: Path) -> None:
    written = json.loads((bench / "bench.json").read_text())
    runs = [Run(**run) for run in written.pop("runs")]
    assert render(runs, written) == (bench / "bench.md").read_text()


def test_the_first_command_of_the_readme_gives_what_pyg_gives(tmp_path: Path) -> None:
    """What the benchmark does with data/flights, once: the console command in a process of its own."""
    usage = infer_cold(FLIGHTS, FLIGHTS / "model", tmp_path / "scores", "--classify").usage
    assert difference(tmp_path / "scores", FLIGHTS / "expected.parquet") < 1e-5
    assert pq.read_schema(next((tmp_path / "scores").glob("*.parquet"))).names[2:] == ["predicted", "probability"]
    assert usage is not None
    assert usage.cpu["python"] > 0
    assert "jvm" not in usage.cpu, "one machine does it alone"


def test_a_ratio_compares_runs_of_one_round() -> None:
    """A machine that gets three times slower in the second round does not change it."""
    runs = [
        Run(
            what,
            number,
            seconds * slower,
            {"import": 2.0 * slower} if what.startswith("pyg") else {},
            1 << 30,
            {"jvm": 1.0, "workers": seconds - 1},
            0.0,
        )
        for number, slower in ((1, 1.0), (2, 3.0))
        for what, seconds in (dict.fromkeys(BOTH | OTHERS, 5.0) | {"pyg sage": 10.0, "pyg gat": 10.0}).items()
    ]
    about = {
        "parameters": {"scale": 3, "degree": 2, "features": 4},
        "blocks": 1,
        "machine": {"cores": 2, "cpu": "a processor", "memory_bytes": 2e9, "commit": None, "versions": {}},
    }
    fused = next(line for line in render(runs, about).splitlines() if "fused: prepared" in line)
    assert [cell.strip() for cell in fused.split("|")[2:7]] == ["10.0", "0.50", "0.62", "5.0", "0.50"]


def test_graph_is_the_same_again_and_is_not_made_twice(tmp_path: Path) -> None:
    parameters = Parameters(scale=7, degree=4, features=3)
    first, second = generate(parameters, tmp_path / "a"), generate(parameters, tmp_path / "b")
    assert (first / "edges.parquet").read_bytes() == (second / "edges.parquet").read_bytes()
    nodes, edges = pq.read_table(first / "nodes.parquet"), pq.read_table(first / "edges.parquet")
    assert (len(nodes), len(edges)) == (128, 512)
    ids = set(nodes["id"].to_pylist())
    assert len(ids) == 128
    assert min(ids) < -(1 << 62)
    assert max(ids) > 1 << 62
    assert ids >= set(edges["src"].to_pylist()) | set(edges["dst"].to_pylist())
    (first / "nodes.parquet").write_bytes(b"kept")
    assert generate(parameters, tmp_path / "a") == first
    assert (first / "nodes.parquet").read_bytes() == b"kept"


def test_graph_has_hubs_in_the_first_quadrant() -> None:
    """Of all edges the part `A + B` leaves the first half of the nodes, and `A + C` arrives there."""
    random = np.random.default_rng(0)
    src, dst = draw_edges(random, 100_000, 10)
    assert abs((src < 512).mean() - 0.76) < 0.01
    assert abs((dst < 512).mean() - 0.76) < 0.01
    assert abs(((src < 512) & (dst < 512)).mean() - 0.57) < 0.01


def test_ids_are_mixed_without_a_collision() -> None:
    assert len(np.unique(spread(np.arange(1 << 16)))) == 1 << 16


@pytest.mark.parametrize("change", ["value", "nan", "row"])
def test_a_wrong_answer_stops_the_benchmark(tmp_path: Path, change: str) -> None:
    ids, values = [3, 1, 2], [[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]]
    write(tmp_path / "theirs", ids, values)
    write(tmp_path / "same", ids[::-1], values[::-1])
    assert difference(tmp_path / "same", tmp_path / "theirs") == 0
    if change == "row":
        ids = [3, 1, 7]
    else:
        values[1] = [2.0, float("nan") if change == "nan" else 3.01]
    write(tmp_path / "ours", ids, values)
    with pytest.raises(SystemExit, match="differ"):
        difference(tmp_path / "ours", tmp_path / "theirs")


def write(path: Path, ids: list[int], values: list[list[float]]) -> None:
    pq.write_table(pa.table({"id": ids, "output": pa.array(values, pa.list_(pa.float32()))}), path)


def test_memory_and_work_of_child_processes_count() -> None:
    grow = """
import time
taken = b"1" * (200 << 20)
while time.process_time() < 2:
    pass
"""
    with watched() as own:
        said, child = run_python("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grow!r}])")
    assert said == ""
    assert child.peak_bytes >= 200 << 20
    assert own.peak_bytes > child.peak_bytes
    assert 1 < child.cpu["workers"] < 3
    assert child.cpu["python"] < 1
    assert 1 < own.cpu["workers"] < 4


def test_work_done_before_does_not_count() -> None:
    while time.process_time() < 1:
        pass
    with watched() as usage:
        pass
    assert usage.cpu["python"] < 0.5


def test_a_failed_process_says_why() -> None:
    with pytest.raises(SystemExit, match="no such thing"):
        run_python("-c", "raise SystemExit('no such thing')")


def test_layers_are_timed_and_agree_with_pyg(tmp_path: Path) -> None:
    """One layer of jobs/bench/layers.py, which stops if an output is not PyG's."""
    options = ["--scale", "8", "--runs", "1", "--only", "GraphSAGE", "--work", str(tmp_path)]
    command = [sys.executable, "-W", "ignore", "-m", "jobs.bench.layers", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| GraphSAGE")]
    assert rows[0][:2] == ["| GraphSAGE, mean", "2"]
    assert float(rows[1][1].rstrip(" |")) > 0  # the generated loop beside the one by hand
