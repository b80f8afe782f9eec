"""Small tiles put together: the bits of one tile after another, in every tier; and what is said of lists too short."""

from __future__ import annotations

import dataclasses

import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare
from pipeline.errors import StorageError
from pipeline.plan.plan import Plan
from pipeline.planning import planned_for
from pipeline.prepared import PreparedGraph
from pipeline.run import reduce
from pipeline.run.fused import run_fused
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from tests.bits import by_id, in_process
from tests.formulas import build
from tests.stages import run_stages
from tests.whole import pushing, whole

pytestmark = pytest.mark.usefixtures("no_session")

BLOCKS = 20
ALONE = 10**9


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    at = tmp_path_factory.mktemp("skewed")
    pq.write_table(whole("skewed").nodes(), at / "nodes.parquet")
    pq.write_table(whole("skewed").edges(), at / "edges.parquet")
    graph = Graph(str(at / "nodes.parquet"), str(at / "edges.parquet"), edge_features=["weight", "attr"])
    return prepare(graph, at / "graph", blocks=BLOCKS)


@pytest.mark.parametrize(
    ("name", "pushed"),
    [("merging", False), ("merging", True), ("every_distributive", True), ("aggregators", False), ("gat", False)],
)
def test_the_bits_of_one_tile_after_another(name: str, pushed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.of(build(name))
    plan = pushing(plan) if pushed else plan
    output = next(iter(plan.program.outputs))
    together: list[int] = []
    add = reduce._add_several
    monkeypatch.setattr(reduce, "_add_several", lambda *given: (together.append(len(given[3])), add(*given)))
    for kind in ("mixed", "skewed"):
        got = in_process(name, whole(kind), BLOCKS, output, plan)
        assert max(together) >= reduce.FEWEST
        with monkeypatch.context() as changed:
            changed.setattr(reduce, "FEWEST", ALONE)
            together.clear()
            assert in_process(name, whole(kind), BLOCKS, output, plan) == got
            assert not together
        with monkeypatch.context() as changed:
            changed.setattr(reduce, "FEWEST", 2)
            changed.setattr(reduce, "TOGETHER", 20)  # groups begin and end within a block
            assert in_process(name, whole(kind), BLOCKS, output, plan) == got


@pytest.mark.parametrize(("name", "wire"), [("merging", "float32"), ("sage", "float16")])
def test_the_same_bits_in_every_tier(
    prepared: PreparedGraph, name: str, wire: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for tier, fewest in (("fused", 2), ("distributed", 2), ("fused", ALONE), ("distributed", ALONE)):
        monkeypatch.setattr(reduce, "FEWEST", fewest)
        settings = Settings(tier=tier, wire=wire)
        planned = planned_for(prepared, build(name), settings, handshake(None))
        assert planned.plan.pushes
        found.append(by_id(run_stages(planned, settings).result))
    assert all(rows == found[0] for rows in found)


def test_lists_that_are_too_short_are_told() -> None:
    blocks = whole("mixed").blocks(BLOCKS)
    (edge_type,) = blocks[3].sends
    short = {**blocks[3].sends[edge_type], 7: blocks[3].sends[edge_type][7][:-1]}
    blocks[3] = dataclasses.replace(blocks[3], sends={edge_type: short})
    with pytest.raises(StorageError, match="block 3 of the prepared graph does not send what block 7 reads of it"):
        run_fused(Plan.of(build("sage")), blocks)
