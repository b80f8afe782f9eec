"""Every way that a run can go: both tiers, blocks that tasks read or Spark; the same bits, and the bytes that were
predicted. The tasks are those of a session, without one; tests/test_infer.py runs one model each way on Spark."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.shipped import kept_bytes, shipped_bytes
from pipeline.planning import planned_for
from pipeline.prepared import PreparedGraph
from pipeline.run.planned import Planned
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from tests.bits import WAYS, by_id, in_process, rounds_like
from tests.formulas import build
from tests.stages import Staged, run_stages
from tests.whole import whole

pytestmark = pytest.mark.usefixtures("no_session")

BLOCKS = 3


def prepared_graph(kind: str, at: Path, **options: bool) -> PreparedGraph:
    pq.write_table(whole(kind).nodes(), at / "nodes.parquet")
    pq.write_table(whole(kind).edges(), at / "edges.parquet")
    tables = f"{at}/nodes.parquet", f"{at}/edges.parquet"
    graph = Graph.of_files(*tables, edge_features=["weight", "attr"], **options)
    assert graph is not None
    return prepare(graph, at / "graph", blocks=BLOCKS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepared_graph("mixed", tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def reversible(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepared_graph("mixed", tmp_path_factory.mktemp("reversible"), reverse=True)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """In which pushing is fewer bytes, if partial results are no wider than rows."""
    return prepared_graph("skewed", tmp_path_factory.mktemp("skewed"), reverse=True)


def run(graph: PreparedGraph, name: str, settings: Settings) -> tuple[Planned, Staged]:
    planned = planned_for(graph, build(name), settings, handshake(None))
    assert planned.choice.tier == settings.tier
    assert planned.reads_files == (settings.read == "worker")
    return planned, run_stages(planned, settings)


def bits(graph: PreparedGraph, name: str, settings: Settings) -> dict[object, bytes]:
    return by_id(run(graph, name, settings)[1].result)


@pytest.mark.parametrize(("tier", "read"), WAYS)
@pytest.mark.parametrize(
    "name",
    ["sage", "gcn_weighted", "gat", "edge_attention", "extremes", "ordered", "graph_norm", "virtual_node"],
)
def test_the_same_bits_in_every_tier(prepared: PreparedGraph, name: str, tier: str, read: str) -> None:
    assert bits(prepared, name, Settings(tier=tier, read=read)) == in_process(name, whole("mixed"), BLOCKS)


@pytest.mark.parametrize("name", ["sage", "gat", "graph_norm"])
def test_the_same_bits_when_memory_has_no_room_for_the_values(
    prepared: PreparedGraph, name: str, tmp_path: Path
) -> None:
    settings = Settings(tier="fused", task_memory="1m", scratch=str(tmp_path / "spill"), read="worker")
    planned, staged = run(prepared, name, settings)
    assert planned.choice.spills
    assert by_id(staged.result) == in_process(name, whole("mixed"), BLOCKS)
    assert os.listdir(tmp_path / "spill") == []


@pytest.mark.parametrize(
    ("name", "wire"),
    [("sage", "float16"), ("gat", "float16"), ("sage", "bfloat16"), ("gat", "bfloat16"), ("merging", "bfloat16")],
)
def test_a_short_wire_rounds_alike_everywhere(skewed: PreparedGraph, name: str, wire: str) -> None:
    """Half of the bytes; the same bits in every tier; near the exact numbers, but not these."""
    got = {}
    for tier, read in WAYS:
        planned, staged = run(skewed, name, Settings(tier=tier, read=read, wire=wire))
        got[tier, read] = by_id(staged.result)
        if tier == "distributed":
            other, whole_numbers = run(skewed, name, Settings(tier=tier, read=read))
            counts = Counts.of(skewed.manifest)
            for number, step in enumerate(planned.plan.steps[:-1]):
                halved = shipped_bytes(counts, other.plan.steps[number]) / 2
                assert staged.shipped[number] == shipped_bytes(counts, step) == halved
            assert whole_numbers.kept == staged.kept
    first = got["fused", "worker"]
    assert all(rows == first for rows in got.values())
    want = bits(skewed, name, Settings(tier="fused", read="worker"))
    rounds_like(first, want, wire, products=name == "merging")


@pytest.mark.parametrize("exchange", ["auto", "pull"])
@pytest.mark.parametrize(("tier", "read"), WAYS)
@pytest.mark.parametrize("name", ["sage", "merging", "both_ways"])
def test_the_same_bits_in_every_tier_with_each_exchange(
    skewed: PreparedGraph, name: str, tier: str, read: str, exchange: str
) -> None:
    got = bits(skewed, name, Settings(tier=tier, read=read, exchange=exchange))
    pulling = Plan.of(build(name))
    pushing = choose_exchange(pulling, Counts.of(skewed.manifest))
    assert pushing.pushes
    plan, other = (pushing, pulling) if exchange == "auto" else (pulling, pushing)
    assert got == in_process(name, whole("skewed"), BLOCKS, plan=plan)
    assert got != in_process(name, whole("skewed"), BLOCKS, plan=other)  # other sums, other bits


@pytest.mark.parametrize(("tier", "read"), WAYS)
@pytest.mark.parametrize("name", ["both_ways", "against", "both_ends", "sage"])
def test_the_same_bits_in_every_tier_against_the_edges(
    reversible: PreparedGraph, name: str, tier: str, read: str
) -> None:
    assert bits(reversible, name, Settings(tier=tier, read=read)) == in_process(name, whole("mixed"), BLOCKS)


@pytest.mark.parametrize("exchange", ["auto", "pull"])
@pytest.mark.parametrize("read", ["worker", "spark"])
@pytest.mark.parametrize(
    "name", ["sage", "gcn_weighted", "appnp", "merging", "graph_norm", "virtual_node", "both_ways", "both_ends"]
)
def test_predicted_bytes_are_the_bytes_that_are_moved(
    skewed: PreparedGraph, name: str, read: str, exchange: str
) -> None:
    planned, staged = run(skewed, name, Settings(tier="distributed", read=read, exchange=exchange))
    assert bool(planned.plan.pushes) == (exchange == "auto")
    counts, steps = Counts.of(skewed.manifest), planned.plan.steps[:-1]
    assert staged.shipped == [shipped_bytes(counts, step) for step in steps]
    assert staged.kept == [kept_bytes(counts, step) for step in steps]
    assert staged.result.num_rows == skewed.nodes
