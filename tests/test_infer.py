"""Inference through Spark: both tiers, both ways to read, every kind of id; the same bits everywhere.

One model for each way, and what else is tried by both tiers and both ways to read, once each (SOME): all of them are in
tests/run/test_tiers.py, by the same tasks without a session.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chispa import assert_df_equality

from pipeline import Graph, infer, open_graph, prepare
from pipeline.command.messages import message_of
from pipeline.errors import DataError, ModelError, StorageError
from pipeline.formula import GraphArrays, interpret
from pipeline.infer import Frames, run_frames
from pipeline.model import Model
from pipeline.places.scratch import Scratch
from pipeline.plan.counts import Counts
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.shipped import kept_bytes, shipped_bytes
from pipeline.planning import planned_for, probes_of
from pipeline.prepared import PreparedGraph
from pipeline.schema import EDGE
from pipeline.settings import Settings
from pipeline.spark.handshake import handshake
from tests.bits import WAYS, Bits, by_id, in_process, rounds_like
from tests.formulas import build
from tests.stages import run_stages
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BLOCKS = 3
SOME = [("distributed", "spark"), ("fused", "worker")]


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    path = tmp_path_factory.mktemp("graphs") / "mixed"
    return prepare(whole("mixed").graph(spark), str(path), blocks=BLOCKS)


@pytest.fixture(scope="module")
def reversible(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    path = tmp_path_factory.mktemp("graphs") / "reversible"
    return prepare(whole("mixed").graph(spark, reverse=True), str(path), blocks=BLOCKS)


@pytest.fixture(scope="module")
def skewed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    """In which pushing is fewer bytes, if partial results are no wider than rows."""
    path = tmp_path_factory.mktemp("graphs") / "skewed"
    return prepare(whole("skewed").graph(spark, reverse=True), str(path), blocks=BLOCKS)


def frames(spark: SparkSession, graph: PreparedGraph, model: Model, settings: Settings) -> Frames:
    return run_frames(
        planned_for(graph, model, settings, handshake(spark, probes_of(graph, settings))), spark, settings
    )


def collected(result: DataFrame) -> Bits:
    return by_id(result.toArrow())


@pytest.mark.parametrize(("tier", "read"), WAYS)
def test_the_same_bits_in_every_tier(spark: SparkSession, prepared: PreparedGraph, tier: str, read: str) -> None:
    """One model, with rows from blocks to themselves, to others, and to all; tests/run/test_tiers.py has the others."""
    got = collected(infer(prepared, build("graph_norm"), settings=Settings(tier=tier, read=read), spark=spark))
    assert got == in_process("graph_norm", whole("mixed"), BLOCKS)


def test_the_same_bits_when_memory_has_no_room_for_the_values(
    spark: SparkSession, prepared: PreparedGraph, tmp_path: Path
) -> None:
    settings = Settings(tier="fused", task_memory="1m", scratch=str(tmp_path / "spill"), read="worker")
    planned = planned_for(prepared, build("graph_norm"), settings, handshake(spark, probes_of(prepared, settings)))
    assert planned.choice.spills
    got = collected(run_frames(planned, spark, settings).result)
    assert got == in_process("graph_norm", whole("mixed"), BLOCKS)
    assert os.listdir(tmp_path / "spill") == []


@pytest.mark.parametrize(("tier", "read"), SOME)
def test_a_short_wire_rounds_alike_everywhere(spark: SparkSession, skewed: PreparedGraph, tier: str, read: str) -> None:
    settings = Settings(tier=tier, read=read, wire="bfloat16")
    here = run_stages(planned_for(skewed, build("gat"), settings, handshake(None)), settings)
    got = collected(infer(skewed, build("gat"), settings=settings, spark=spark))
    assert got == by_id(here.result)
    exact = planned_for(skewed, build("gat"), Settings(tier=tier, read=read), handshake(None)).plan
    rounds_like(got, in_process("gat", whole("skewed"), BLOCKS, plan=exact), "bfloat16", products=False)


@pytest.mark.parametrize("tier", ["fused", "distributed"])
def test_what_a_short_wire_cannot_hold_is_an_error(spark: SparkSession, skewed: PreparedGraph, tier: str) -> None:
    """Products of hundreds of numbers, sent as partial results: 1e29."""
    with pytest.raises(
        Exception, match=r"a value of [\d.e+]+ is too large for the wire float16; take bfloat16 or float32"
    ):
        infer(skewed, build("merging"), settings=Settings(tier=tier, wire="float16"), spark=spark).collect()


@pytest.mark.parametrize(("tier", "read"), SOME)
def test_the_same_bits_where_edges_are_pushed(spark: SparkSession, skewed: PreparedGraph, tier: str, read: str) -> None:
    got = collected(infer(skewed, build("merging"), settings=Settings(tier=tier, read=read), spark=spark))
    pushing = choose_exchange(Plan.of(build("merging")), Counts.of(skewed.manifest))
    assert pushing.pushes
    assert got == in_process("merging", whole("skewed"), BLOCKS, plan=pushing)
    assert got != in_process("merging", whole("skewed"), BLOCKS)  # other sums, other bits


@pytest.mark.parametrize(("tier", "read"), SOME)
def test_the_same_bits_in_every_tier_against_the_edges(
    spark: SparkSession, reversible: PreparedGraph, tier: str, read: str
) -> None:
    got = collected(infer(reversible, build("both_ends"), settings=Settings(tier=tier, read=read), spark=spark))
    assert got == in_process("both_ends", whole("mixed"), BLOCKS)


@pytest.mark.parametrize("name", ["both_ends", "gat"])
def test_raw_tables_are_reversed_if_the_model_reads_it(spark: SparkSession, name: str, tmp_path: Path) -> None:
    settings = Settings(tier="distributed", blocks=2, scratch=str(tmp_path))
    got = collected(infer(whole("mixed").graph(spark), build(name), settings=settings))
    assert got == in_process(name, whole("mixed"), 2)
    (made,) = os.listdir(tmp_path)
    schema = open_graph(next((tmp_path / made).glob("graph-*"))).schema
    assert set(schema.edges) == ({EDGE, EDGE.reversed} if name == "both_ends" else {EDGE})


@pytest.mark.parametrize("tier", ["fused", "distributed"])
def test_an_undirected_graph_is_its_own_reverse(spark: SparkSession, tier: str, tmp_path: Path) -> None:
    model, graph = build("both_ends"), whole("mixed")
    prepared = prepare(graph.graph(spark, undirected=True, reverse=True), f"{tmp_path}/graph", blocks=BLOCKS)
    assert not prepared.manifest["reverse"]
    assert list(prepared.manifest["edge_types"]) == [str(EDGE)]
    back = graph.src != graph.dst
    arrays = GraphArrays.single(
        np.concatenate([graph.src, graph.dst[back]]),
        np.concatenate([graph.dst, graph.src[back]]),
        graph.x,
        weight=np.concatenate([graph.weight, graph.weight[back]]),
    )
    want = interpret(model.program, model.weights, arrays)["output"]
    got = collected(infer(prepared, model, settings=Settings(tier=tier), spark=spark))
    for node, expected in zip(graph.ids, want, strict=True):
        np.testing.assert_allclose(np.frombuffer(got[node], np.float32), expected, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize(
    ("kind", "tier", "name"),
    [
        ("no edges", "distributed", "graph_norm"),
        ("one node", "distributed", "graph_norm"),
        ("loops only", "distributed", "gat"),
        ("one node", "fused", "gat"),
    ],
)
def test_small_graphs_and_text_ids_from_raw_tables(
    spark: SparkSession, kind: str, tier: str, name: str, tmp_path: Path
) -> None:
    settings = Settings(tier=tier, blocks=2, scratch=str(tmp_path))
    got = collected(infer(whole(kind).graph(spark), build(name), settings=settings))
    assert got == in_process(name, whole(kind), 2)


def test_what_was_prepared_for_a_run_goes_with_the_process(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Any] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    infer(whole("one node").graph(spark), build("gat"), settings=Settings(scratch=str(tmp_path)))
    (name,) = os.listdir(tmp_path)
    assert open_graph(next((tmp_path / name).glob("graph-*"))).nodes == 1
    for function in at_exit:
        if isinstance(getattr(function, "__self__", None), Scratch):
            function()
    assert os.listdir(tmp_path) == []


def test_nothing_stays_of_raw_tables_that_cannot_be_prepared(spark: SparkSession, tmp_path: Path) -> None:
    nodes, edges = (
        spark.sql("select id, array(1.0f, 2, 3, 4, 5, 6) x from range(4)"),
        spark.sql("select 1L src, 9L dst"),
    )
    with pytest.raises(DataError, match="absent from the nodes"):
        infer(Graph(nodes, edges), build("no_edges"), settings=Settings(scratch=f"{tmp_path}/made/scratch"))
    assert os.listdir(tmp_path) == []


# ---- a graph that is replaced


@pytest.mark.parametrize(("when", "tier", "read"), [
    ("opened", "distributed", "spark"), ("opened", "fused", "worker"), ("built", "distributed", "worker"),
    ("built", "fused", "spark"),
])  # fmt: skip
def test_a_run_whose_graph_was_replaced_is_told(
    spark: SparkSession, tmp_path: Path, tier: str, read: str, when: str
) -> None:
    """Never the scores of neither graph: not if it was opened before, nor if the lazy result was there already."""
    tables, path, settings = whole("mixed"), tmp_path / "a [b]{c} é", Settings(tier=tier, read=read)
    opened = prepare(tables.graph(spark), path, blocks=BLOCKS)
    assert collected(infer(path, build("sage"), settings=settings, spark=spark)) == in_process("sage", tables, BLOCKS)
    result = infer(opened, build("sage"), settings=settings, spark=spark) if when == "built" else None
    prepare(tables.graph(spark), path, blocks=BLOCKS, overwrite=True)

    def run() -> None:
        (result or infer(opened, build("sage"), settings=settings, spark=spark)).collect()

    with pytest.raises(Exception, match=r"replaced while being read|FILE_NOT_EXIST") as caught:
        run()
    said = message_of(caught.value)
    assert said is not None
    assert said.code == 2
    assert said.text.endswith(" é: replaced while being read; run again")


@pytest.mark.parametrize("tier", ["fused", "distributed"])
def test_spark_reads_no_files_of_another_prepare(spark: SparkSession, tmp_path: Path, tier: str) -> None:
    tables = whole("mixed")
    first, second = (prepare(tables.graph(spark), tmp_path / name, blocks=BLOCKS) for name in ("a", "b"))
    shutil.copy(f"{first.folder}/target=1/static.parquet", f"{second.folder}/target=1")
    with pytest.raises(StorageError, match=r"static\.parquet of block 1 is of another prepare .*files were mixed up"):
        infer(second, build("sage"), settings=Settings(tier=tier, read="spark"), spark=spark)


def test_several_outputs_and_classes(spark: SparkSession, prepared: PreparedGraph) -> None:
    result = infer(prepared, build("jumping"), classify=True, spark=spark)
    assert dict(result.dtypes) == {
        "id": "bigint",
        "both": "array<float>",
        "early": "array<float>",
        "score": "float",
        "degree": "float",
        "predicted": "int",
        "probability": "float",
    }
    rows = result.collect()
    assert len(rows) == prepared.nodes
    for row in rows[:20]:
        logits = np.array(row.both)
        assert row.predicted == logits.argmax()
        share = np.exp(logits - logits.max())
        assert row.probability == pytest.approx(share.max() / share.sum(), rel=1e-5)


def test_ids_keep_their_type(spark: SparkSession, tmp_path: Path) -> None:
    nodes = spark.sql("select cast(id as int) id, array(1.0f, 2, 3, 4, 5, 6) x from range(4)")
    edges = spark.sql("select cast(id as short) src, cast(0 as short) dst from range(4)")
    result = infer(Graph(nodes, edges), build("no_edges"), settings=Settings(scratch=str(tmp_path)))
    assert_df_equality(result.select("id"), nodes.select("id"), ignore_row_order=True, ignore_nullable=True)


@pytest.mark.parametrize(("name", "pushes", "read"), [("merging", True, "worker"), ("graph_norm", False, "spark")])
def test_predicted_bytes_are_the_bytes_that_are_moved(
    spark: SparkSession, skewed: PreparedGraph, name: str, read: str, pushes: bool
) -> None:
    """As Spark counts them, without a job of its own."""
    exchange = "auto" if pushes else "pull"
    run = frames(spark, skewed, build(name), Settings(tier="distributed", read=read, exchange=exchange))
    assert bool(run.plan.pushes) == pushes
    run.result.collect()
    counts = Counts.of(skewed.manifest)
    seen = {name: observation.get for name, observation in run.observations.items()}
    for step in run.plan.steps[:-1]:
        found = seen[str(step.number)]
        assert found["shipped"] == shipped_bytes(counts, step)
        assert (found["kept"] or 0) == kept_bytes(counts, step)
    assert seen["result"]["rows"] == skewed.nodes


def test_a_model_that_does_not_fit_is_refused_before_any_job(spark: SparkSession, prepared: PreparedGraph) -> None:
    model = build("gcn_weighted", {"edges.weight": "edges.amount"})
    with pytest.raises(ModelError, match=r"reads edges\.amount \(width 1\).*does not have"):
        infer(prepared, model, spark=spark)
    model = build("gcn_weighted", {"edges.weight": "edges.attr"})
    with pytest.raises(ModelError, match=r"expects edges\.attr of width 1; the graph has width 3"):
        infer(prepared, model, spark=spark)
    for name in ("both_ways", "against", "both_ends"):
        with pytest.raises(ModelError, match=r"reduces at the source of edges, .* prepare it with reverse=True"):
            infer(prepared, build(name), spark=spark)


@pytest.mark.cluster
@pytest.mark.parametrize("read", ["worker", "spark"])
def test_across_processes(cluster: SparkSession, prepared: PreparedGraph, read: str) -> None:
    again = open_graph(prepared.path)
    for name in ("sage", "gat", "graph_norm"):
        got = collected(infer(again, build(name), settings=Settings(tier="distributed", read=read), spark=cluster))
        assert got == in_process(name, whole("mixed"), BLOCKS)
