"""Undirected edges that the table holds in both directions already: counted while blocks are made, and said.

The witness reads the table: an edge counts if some row leads from its dst to its src. Self-loops do not.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from pipeline import Graph, prepare
from pipeline.command.messages import messages
from tests.graphs import tables

MODULE = importlib.import_module("pipeline.prepare")
Edge = tuple[Any, Any]


def reversed_too(edges: Sequence[Edge]) -> int:
    present = set(edges)
    return sum((dst, src) in present for src, dst in edges if src != dst)


def write(nodes: Sequence[Any], edges: Sequence[Edge], where: Path, kind: pa.DataType | None = None) -> dict[str, str]:
    made = tables(nodes, edges, kind)
    where.mkdir(exist_ok=True)
    for name, table in (("nodes", made.nodes), ("edges", made.edges)):
        pyarrow.parquet.write_table(table, where / f"{name}.parquet", row_group_size=50)
    return {name: str(where / f"{name}.parquet") for name in ("nodes", "edges")}


def totals(paths: dict[str, str], where: Path, blocks: int, **options: Any) -> dict[str, int]:
    graph = Graph.of_files(**paths, **{"undirected": True, "edge_features": ["weight"], **options})
    assert graph is not None
    prepared = prepare(graph, str(where), blocks)
    found: dict[str, int] = dict(prepared.manifest["totals"])
    assert found["both_ways"] == sum(prepared.manifest["per_block"]["both_ways"])
    return found


def random_edges(nodes: int, count: int, seed: int = 0) -> list[Edge]:
    return [tuple(ends) for ends in np.random.default_rng(seed).integers(0, nodes, (count, 2)).tolist()]


EDGES: dict[str, list[Edge]] = {
    "none": [(0, 1), (1, 2), (2, 3)],
    "one pair": [(0, 1), (1, 0), (1, 2)],
    "parallel edges, not reversed": [(0, 1)] * 5 + [(2, 3)],
    "parallel edges of which one is reversed": [(0, 1)] * 3 + [(1, 0), (2, 3)],
    "self-loops": [(0, 0), (0, 0), (1, 1), (1, 2)],
    "self-loops among pairs": [(0, 0), (0, 1), (1, 0), (1, 1), (4, 4)],
    "all": [edge for a, b in random_edges(30, 60) if a != b for edge in ((a, b), (b, a))],
    "random": random_edges(25, 300),
    "no edges": [],
}


@pytest.mark.parametrize("blocks", [1, 3, 8])
@pytest.mark.parametrize("name", EDGES)
def test_the_count_is_that_of_the_table(name: str, blocks: int, tmp_path: Path) -> None:
    edges = EDGES[name]
    found = totals(write(range(30), edges, tmp_path / "t"), tmp_path / "g", blocks)
    assert found["both_ways"] == reversed_too(edges)


def test_ids_that_are_text_and_edges_without_values(tmp_path: Path) -> None:
    edges = [(f"n{a}", f"n{b}") for a, b in random_edges(25, 200)]
    paths = write([f"n{i}" for i in range(25)], edges, tmp_path / "t", pa.string())
    assert totals(paths, tmp_path / "g", 3, edge_features=())["both_ways"] == reversed_too(edges)


@pytest.mark.parametrize("blocks", [1, 4])
def test_edges_that_are_dropped_do_not_count(blocks: int, tmp_path: Path) -> None:
    edges = random_edges(40, 400, seed=2)
    paths = write(range(30), edges, tmp_path / "t")
    found = totals(paths, tmp_path / "g", blocks, drop_dangling=True)
    kept = [edge for edge in edges if max(edge) < 30]
    assert found["both_ways"] == reversed_too(kept)
    assert 0 < reversed_too(kept) < reversed_too(edges)


def test_edges_with_a_direction_are_not_counted(tmp_path: Path) -> None:
    paths = write(range(30), EDGES["all"], tmp_path / "t")
    assert totals(paths, tmp_path / "g", 3, undirected=False)["both_ways"] == 0
    assert totals(paths, tmp_path / "r", 3, undirected=False, reverse=True)["both_ways"] == 0


@pytest.mark.parametrize("drop", [False, True])
def test_tasks_of_spark_count_the_same(spark: Any, tmp_path: Path, drop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    edges = EDGES["random"]
    paths = write(range(30), edges, tmp_path / "t")
    here = totals(paths, tmp_path / "here", 3, drop_dangling=drop)
    monkeypatch.setattr(MODULE, "_fits_in_process", lambda *_: False)
    graph = Graph.read(spark, **paths, undirected=True, edge_features=["weight"], drop_dangling=drop)
    assert dict(prepare(graph, str(tmp_path / "g"), 3).manifest["totals"]) == here


def warned(edges: Sequence[Edge], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.WARNING, "graphsweep"):
        totals(write(range(30), edges, tmp_path / "t"), tmp_path / "g", 3)
    return [record.getMessage() for record in caplog.records]


def test_a_table_of_both_directions_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    edges = [*EDGES["all"], (3, 3)]
    assert warned(edges, tmp_path, caplog) == [
        f"undirected=True, and every one of the {len(edges) - 1} edges is in the table in both directions already: "
        "each is stored twice in each direction, which changes sums and degrees; leave undirected=True out"
    ]


def test_some_edges_in_both_directions_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warned(EDGES["one pair"], tmp_path, caplog) == [
        "undirected=True, and 2 of the 3 edges have their reverse in the table too: each of these is stored twice in "
        "each direction, which changes sums and degrees; keep one row for each pair, if that is not meant"
    ]


def test_a_table_of_one_direction_needs_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warned(EDGES["none"], tmp_path, caplog) == []


def test_the_command_line_says_it_in_its_own_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with messages(quiet=True):
        totals(write(range(30), EDGES["all"], tmp_path / "t"), tmp_path / "g", 3)
    assert "--undirected, and every one of the" in capsys.readouterr().err
