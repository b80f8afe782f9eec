"""The bench of a large graph, at a size where it says nothing; and the rows that exchanges ship, counted twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from jobs.bench.boundary import boundary_rows, main
from jobs.bench.graph import draw_edges, spread
from jobs.bench.large import main as large
from pipeline.blocks.block import LOOPS
from pipeline.preparing.in_memory import blocks_from_tables
from pipeline.schema import EDGE

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_boundary_rows_are_those_of_the_send_lists(blocks: int) -> None:
    src, dst = draw_edges(np.random.default_rng(3), 4000, 8)
    src, dst = src[src != dst], dst[src != dst]
    nodes = pa.table({"id": spread(np.arange(256)), "x": pa.array([[0.0]] * 256, pa.list_(pa.float32()))})
    edges = pa.table({"src": spread(src), "dst": spread(dst)})
    made = blocks_from_tables(nodes, edges, blocks)
    sent = sum(len(rows) for block in made for to, rows in block.sends[EDGE].items() if to != LOOPS)
    pull, hybrid = boundary_rows(src, dst, blocks)
    assert pull == sent
    assert hybrid < pull
    if blocks > 1:  # one block ships to itself only, and is not split
        pulled = sum(
            block.pulled[EDGE].get(to, len(rows))
            for block in made
            for to, rows in block.sends[EDGE].items()
            if to != LOOPS
        )
        assert hybrid == pulled + sum(len(tile.rows) for block in made for tile in block.pushes[EDGE].values())


def test_a_star_is_one_row_each_way_by_the_hybrid() -> None:
    """A hub with 200 in-edges and one with 200 out-edges: a partial result for each block, a row for each block."""
    leaves = np.arange(2, 202)
    hub, other = np.zeros(200, np.int64), np.ones(200, np.int64)
    pull, hybrid = boundary_rows(leaves, hub, 4)
    assert (pull, hybrid) == (200, 4)
    assert boundary_rows(other, leaves, 4) == (4, 4)


def test_the_table_of_boundary_rows(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--scale", "8", "--degrees", "4", "--blocks", "2", "4"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["2", "4"]


def test_from_raw_tables_to_verified_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch_geometric")
    large(["--scale", "8", "--features", "4", "--sample", "20", "--work", str(tmp_path)])
    said = capsys.readouterr().out
    assert "256 nodes and 4,096 edges" in said
    assert said.rstrip().endswith("PASS")
    found = json.loads((tmp_path / "large" / "large.json").read_text())
    assert [run["what"] for run in found["runs"]] == ["prepare", "infer", "verify"]
    assert all(run["peak_bytes"] > 0 for run in found["runs"])
