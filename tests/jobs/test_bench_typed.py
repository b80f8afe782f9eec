"""The typed benchmark runs, and its tables are the same edges however many relations there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.bench import typed
from jobs.bench.measure import Run
from jobs.bench.typed import Bench, compare, infer, main, render
from jobs.bench.typed_graph import HALVINGS, PAIRS, TypedParameters, generate, triples

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow


def ends(directory: Path, relations: int) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Pair of types → its edges, of all relations."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {pair: [] for pair in PAIRS}
    for source, relation, target in triples(relations):
        table = pq.read_table(directory / f"typed/edges/{source}__{relation}__{target}.parquet")
        found[source, target] += zip(table["src"].to_pylist(), table["dst"].to_pylist(), strict=True)
    return {pair: sorted(rows) for pair, rows in found.items()}


def test_more_relations_are_the_same_edges(tmp_path: Path) -> None:
    few, many = (TypedParameters(scale=7, degree=4, relations=number, features=3) for number in (6, 20))
    tables = [generate(each, tmp_path) for each in (few, many)]
    found = ends(tables[0], 6)
    assert sum(map(len, found.values())) == 512
    assert found == ends(tables[1], 20)
    nodes = {name: pq.read_table(tables[0] / f"typed/nodes/{name}.parquet") for name in HALVINGS}
    assert [len(table) for table in nodes.values()] == [64, 32, 32]
    known = {name: set(table["id"].to_pylist()) for name, table in nodes.items()}
    assert all(src in known[pair[0]] and dst in known[pair[1]] for pair, rows in found.items() for src, dst in rows)


def test_one_table_has_the_same_edges_with_a_column_of_relations(tmp_path: Path) -> None:
    directory = generate(TypedParameters(scale=6, degree=4, relations=20, features=3), tmp_path)
    whole = pq.read_table(directory / "plain/edges.parquet")
    counts = np.bincount(whole["edge_type"].to_numpy(), minlength=20).tolist()
    typed = [pq.read_table(directory / f"typed/edges/{'__'.join(each)}.parquet") for each in triples(20)]
    assert counts == [len(table) for table in typed]
    nodes = pq.read_table(directory / "plain/nodes.parquet")
    assert len(set(nodes["id"].to_pylist())) == 64
    assert set(nodes["id"].to_pylist()) >= set(whole["src"].to_pylist()) | set(whole["dst"].to_pylist())


def test_fewer_relations_than_pairs_of_types_are_refused() -> None:
    with pytest.raises(SystemExit, match="5 relations; there are 6 pairs of types, each has at least one"):
        TypedParameters(relations=5)


def test_every_job_is_measured_and_agrees_with_pyg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--scale", "7", "--relations", "6", "7", "--models", "sage", "--runs", "1", "--work", str(tmp_path)])
    runs = {run["what"]: run for run in json.loads((tmp_path / "typed.json").read_text())["runs"]}
    jobs = [f"{job}, {number} relations" for number in (6, 7) for job in JOBS]
    assert set(runs) == set(jobs)
    assert list(runs["pyg sage, 7 relations"]["parts"]) == ["import", "read", "map ids", "forward", "write"]
    assert all(runs[f"first fused sage, {number} relations"]["max_difference"] < 1e-5 for number in (6, 7))
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "typed.md").read_text() + "\n"
    assert {line.split("|")[1].strip() for line in printed.splitlines()[2:-1]} == set(jobs)


JOBS = ("import sage", "prepare typed", "first fused sage", "pyg sage", "fused sage")


def test_both_tiers_in_a_session(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def without_spark(bench: Bench, model: str, tier: str) -> object:
        told.append(tier)
        return infer(bench, model, "fused")

    monkeypatch.setattr(typed, "infer", without_spark)  # a session of its own for one run is 10 s
    small = ["--scale", "7", "--relations", "6", "--models", "sage", "--runs", "1", "--session", "--skip-pyg"]
    main([*small, "--work", str(tmp_path)])
    runs = [run["what"] for run in json.loads((tmp_path / "typed.json").read_text())["runs"]]
    ours = ["session fused sage", "session distributed sage"]
    jobs = ["import sage", *(f"first {job}" for job in ("fused sage", "distributed sage", *ours))]
    assert runs == [f"{job}, 6 relations" for job in (*jobs, "prepare typed", "fused sage", *ours)]
    assert told == ["fused", "distributed", "fused"]


def test_other_rows_in_the_session_stop_the_benchmark(tmp_path: Path) -> None:
    bench = Bench(tmp_path, tmp_path, 6, ["sage"])
    for side, row in (("fused", 0.0), ("session fused", 0.0), ("session distributed", -0.0)):
        (bench.output(side, "sage") / "account").mkdir(parents=True)
        table = pa.table({"id": [7], "output": pa.array([[row]], pa.list_(pa.float32()))})
        pq.write_table(table, bench.output(side, "sage") / "account/part-0.parquet")
    compare(bench, "sage", "session fused")
    with pytest.raises(SystemExit, match="session distributed sage, account: other rows than those of the fused run"):
        compare(bench, "sage", "session distributed")


def test_a_machine_that_is_slower_in_one_round_changes_no_ratio() -> None:
    seconds = {"pyg": 8.0, "fused": 1.5, "session fused": 2.0, "session distributed": 3.0}
    runs = [
        Run(
            f"{job} sage, 6 relations",
            number,
            slow * took,
            {"import": slow * 2.0} if job == "pyg" else {},
            0,
            {"workers": took},
            load=0.0,
        )
        for number, slow in ((1, 1.0), (2, 7.0), (3, 1.0))
        for job, took in seconds.items()
    ]
    said = render(runs, [Bench(Path("nowhere"), Path("nowhere"), 6, ["sage"])])
    assert "| fused sage, 6 relations | 1.5 | 0.19 | 0.25 |  | 1.5 | 0.19 |  | 1.00 |" in said
    assert "| session distributed sage, 6 relations | 3.0 | 0.38 | 0.50 | 1.50 | 3.0 | 0.38 | 1.50 | 1.00 |" in said
