"""The typed benchmark runs, and its tables are the same edges however many relations there are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.bench.typed import main
from jobs.bench.typed_graph import HALVINGS, PAIRS, TypedParameters, generate, triples

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
