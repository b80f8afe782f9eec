"""`explain`: readable, complete, and without Spark."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline import explain, prepare
from pipeline.errors import ModelError
from pipeline.graph import Graph
from pipeline.plan.counts import Counts
from pipeline.plan.explain import explain_plan
from pipeline.plan.plan import Plan
from pipeline.plan.seconds import about, duration, expect
from pipeline.plan.tier import choose_tier
from pipeline.prepared import PreparedGraph
from pipeline.schema import EDGE
from pipeline.settings import Settings
from pipeline.shown import size
from tests.counts import counts as counts_of
from tests.counts import manifest_of
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FLIGHTS = Path(__file__).parents[1] / "data" / "flights"


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(
        whole("mixed").graph(spark, edge_features=()), str(tmp_path_factory.mktemp("graphs") / "mixed"), blocks=3
    )


def test_it_says_what_a_run_would_do(prepared: PreparedGraph) -> None:
    said = explain(prepared, build("sage"), Settings(tier="distributed", exchange="pull"))
    rows = sum(prepared.manifest["per_block"]["payload_rows_in"])
    loops = sum(prepared.manifest["per_block"]["payload_rows_loops"])
    assert "200 nodes, 1,500 edges" in said
    assert "3 blocks" in said
    assert "reads nodes.x (6); gives output (4)" in said
    assert "tier     distributed: asked for; the whole run needs about" in said
    assert [line for line in said.splitlines() if line.startswith("superstep")] == [f"superstep {n}" for n in range(3)]
    assert f"6 columns × {rows + loops:,} rows" in said
    assert f"4 columns × {rows + loops:,} rows" in said
    assert "keeps   5 columns per node" in said
    assert "matmul 6→4" in said
    assert max(map(len, said.splitlines())) <= 120


def test_it_says_how_long_and_how_even(prepared: PreparedGraph) -> None:
    lines = explain(prepared, build("sage"), Settings(threads=64)).splitlines()
    assert re.search(
        r"seconds expected: under 0\.1 s fused, \d\.\d s distributed through files, \d\.\d s through the shuffle, "
        r"on 3 of 64 cores; rates of [^;]*, warm",
        " ".join(" ".join(lines).split()),
    )
    edges = sorted(prepared.manifest["per_block"]["edges"])
    assert f"skew     heaviest block over the median: edges {edges[2] / edges[1]:.2f}, received 1." in "\n".join(lines)
    assert not [line for line in lines if line.startswith(("would", "  takes"))], "no noise on a tiny graph"


def test_it_says_what_would_change_the_choice(prepared: PreparedGraph) -> None:
    said = explain(prepared, build("sage"), Settings(task_memory=100 << 20))
    need = re.search(r"distributed: the whole run needs about (\S+ MB) in one task, which has 105 MB", said)
    assert need
    assert f"would    with {need[1]} in one task it would be fused" in said


def test_a_large_run_is_said_part_by_part() -> None:
    plan, blocks = Plan.of(build("gat")), 4
    block = {"nodes": [10**6] * blocks, "edges": [10**8] * blocks, "max_in_degree": [10**4] * blocks}
    block |= {"payload_rows_in": [2 * 10**6] * blocks, "payload_rows_loops": [0] * blocks}
    block |= {"static_bytes": [10**9] * blocks, "sends_bytes": [10**7] * blocks}
    totals = {"nodes": 4 * 10**6, "edges": 4 * 10**8, "self_loops": 0, "max_in_degree": 10**4}
    manifest = manifest_of(block, totals)
    choice = choose_tier(plan, Counts.of(manifest), 1 << 33, "distributed")
    said = explain_plan(build("gat"), plan, manifest, choice, 2)
    found = expect(plan, Counts.of(manifest), "distributed", 2)
    total, reading = duration(found.total), f"{found.parts['reading']:.1f}"
    assert f"{total} through the shuffle, on 2 cores (of the shuffle: reading {reading}" in " ".join(said.split())
    assert [line for line in said.splitlines() if "takes" in line] == [
        f"  takes   {about(seconds)}" for seconds in found.steps
    ]
    assert "\n         wire float16 would ship half: 160 MB\n" in said
    assert max(map(len, said.splitlines())) <= 120


def test_the_design_document_shows_what_it_says_of_the_flights(tmp_path: Path) -> None:
    tables = (str(FLIGHTS / f"{table}.parquet") for table in ("nodes", "edges"))
    graph = prepare(Graph.of_files(*tables, edge_features=["distance"]), f"{tmp_path}/graph", blocks=4)
    said = explain(graph, str(FLIGHTS / "model"), Settings(threads=2, task_memory="8g"))
    shown = (FLIGHTS.parents[1] / "docs" / "design.md").read_text()
    shown = re.sub(r"in one task, which has \S+ GB", "in one task, which has 8.6 GB", shown)
    assert f"```\n{said}\n```" in shown


def test_it_says_what_goes_against_the_edges(spark: SparkSession, tmp_path: Path) -> None:
    graph = prepare(whole("mixed").graph(spark, edge_features=(), reverse=True), f"{tmp_path}/graph", blocks=3)
    said = explain(graph, build("both_ways"), Settings(tier="distributed", exchange="pull"))
    counts = graph.manifest["totals"]
    loops = counts["payload_rows_loops"]
    assert f"6 columns × {counts['payload_rows_in'] + loops:,} rows" in said
    back = next(line for line in said.splitlines() if ", against the edges" in line)
    reverse = sum(graph.manifest["edge_types"][str(EDGE.reversed)]["payload_rows_in"])
    assert f"6 columns × {reverse + loops:,} rows" in back
    assert "over edges[node__rev_to__node]" in said


def test_it_says_what_the_other_exchange_would_ship(spark: SparkSession, tmp_path: Path) -> None:
    prepared = prepare(whole("skewed").graph(spark, edge_features=()), f"{tmp_path}/graph", blocks=3)
    counts = prepared.manifest["totals"]
    rows = counts["payload_rows_in"] + counts["payload_rows_loops"]
    pulled, pushed = counts["payload_rows_pulled"] + counts["payload_rows_loops"], counts["payload_rows_pushed"]
    said = explain(prepared, build("sage"))
    hybrid, pull = size(4 * 6 * (pulled + pushed)), size(4 * 6 * rows)
    assert (
        f"6 columns × {pulled:,} rows + 6 × {pushed:,} partial results = {hybrid}; {pull} without partial res" in said
    )
    said = explain(prepared, build("sage"), Settings(exchange="pull"))
    assert f"6 columns × {rows:,} rows = {pull}; {hybrid} with partial results" in said
    assert "partial" not in explain(prepared, build("gat"))  # which reads both ends of an edge


def test_totals_are_shown(prepared: PreparedGraph) -> None:
    said = explain(prepared, build("graph_norm"), Settings(tier="distributed"))
    lines = [line.strip() for line in said.splitlines()]
    assert any(line.endswith("total_sum[]: 1 column from each of 3 blocks to each = 72 B") for line in lines)
    assert sum(line.endswith("total_sum[4]: 4 columns from each of 3 blocks to each = 288 B") for line in lines) == 2
    assert "graph   div, add, sqrt" in lines
    assert "keeps   4 columns per node and 1 per block = 3.2 KB" in lines


def test_a_model_that_does_not_fit_is_refused(prepared: PreparedGraph) -> None:
    with pytest.raises(ModelError, match=r"prepare it with reverse=True"):
        explain(prepared, build("both_ways"))
    with pytest.raises(ModelError, match=r"reads edges\.weight"):
        explain(prepared, build("gcn_weighted"))


def test_no_spark_is_started(prepared: PreparedGraph, tmp_path: Path) -> None:
    build("gat").save(str(tmp_path / "model"))
    code = (
        "import json, sys; from pipeline import explain; "
        f"said = explain({prepared.path!r}, {str(tmp_path / 'model')!r}); "
        "print(json.dumps([len(said), 'pyspark' in sys.modules, 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    length, spark, torch = json.loads(done.stdout)
    assert length > 300
    assert not spark
    assert not torch


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tier": "fused"}, "in memory, because one process has all blocks"),
        ({"tier": "fused", "work_dir": "w"}, "through files in w, which outlast the process"),
        (
            {"tier": "distributed"},
            "through files in the scratch directory if all tasks are on one machine, else through",
        ),
        ({"tier": "distributed", "transport": "files"}, "through files in the scratch directory: asked for"),
        ({"tier": "distributed", "transport": "shuffle"}, "through Spark's shuffle: asked for"),
        (
            {"tier": "distributed", "read": "spark"},
            "through Spark's shuffle, because read is spark: tasks open no files",
        ),
    ],
)
def test_it_says_how_blocks_send(prepared: PreparedGraph, settings: dict[str, str], says: str) -> None:
    said = " ".join(explain(prepared, build("sage"), settings).split())
    assert f"sends {says}" in said
    assert "sends" not in explain(prepared, build("no_edges"), settings)


def test_seconds_are_those_of_the_way_that_is_taken() -> None:
    plan = Plan.of(build("sage"))
    counts = counts_of([10**6] * 8, [10**7] * 8, [10**6] * 8, [0] * 8, [10**8] * 8)
    fused, files, shuffle = (expect(plan, counts, way, 2) for way in ("fused", "files", "distributed"))
    assert fused.total < files.total < shuffle.total
    assert 0 < files.parts["moving"] < shuffle.parts["moving"]
    assert files.steps[-1] > fused.steps[-1], "the last superstep leaves no files, but has tasks"
