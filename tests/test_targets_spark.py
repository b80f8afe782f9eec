"""Scores of some nodes through Spark: every way that a run can go gives the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, planning, prepare, score, verify
from pipeline.errors import DataError
from pipeline.prepared import PreparedGraph
from pipeline.schema import spelled
from pipeline.settings import Settings
from tests.bits import WAYS
from tests.formulas import build
from tests.test_targets import SOME, of
from tests.typed_tables import ACCOUNT, CARD, EDGE_FEATURES, FEATURES, tables
from tests.typed_tables import model as typed_model
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def prepared(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> PreparedGraph:
    return prepare(whole("mixed").graph(spark, edge_features=()), tmp_path_factory.mktemp("graphs") / "g", blocks=3)


@pytest.fixture(scope="module")
def wanted(spark: SparkSession, prepared: PreparedGraph, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    at = tmp_path_factory.mktemp("all") / "o"
    score(prepared, build("sage"), at, spark=spark)
    return of(pq.read_table(at).sort_by("id"), SOME)


def rows(frame: Any) -> pa.Table:
    return frame.toArrow().sort_by("id").combine_chunks()


@pytest.mark.parametrize(("tier", "read"), WAYS)
def test_every_way(spark: SparkSession, prepared: PreparedGraph, wanted: pa.Table, tier: str, read: str) -> None:
    frame = infer(prepared, build("sage"), settings=Settings(tier=tier, read=read), spark=spark, targets=SOME)
    assert rows(frame).to_pylist() == wanted.to_pylist()


@pytest.mark.parametrize(
    "options",
    [
        {"tier": "fused"},
        {"tier": "fused", "write": "spark"},
        {"tier": "distributed", "transport": "files"},
        {"tier": "distributed", "transport": "shuffle"},
        {"tier": "distributed", "transport": "shuffle", "write": "spark"},
    ],
)
def test_results_on_disk(
    spark: SparkSession, prepared: PreparedGraph, wanted: pa.Table, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings = Settings(scratch=str(tmp_path / "scratch"), **options)
    report = score(prepared, build("sage"), tmp_path / "o", spark=spark, targets=SOME, settings=settings)
    assert report.rows == 5
    assert pq.read_table(tmp_path / "o").sort_by("id").combine_chunks().to_pylist() == wanted.to_pylist()


def test_verified_from_dataframes(spark: SparkSession, prepared: PreparedGraph, tmp_path: Path) -> None:
    score(prepared, build("sage"), tmp_path / "o", spark=spark, targets=SOME)
    raw = whole("mixed").graph(spark, edge_features=())
    found = verify(prepared, build("sage"), tmp_path / "o", raw.nodes, raw.edges, sample=3, spark=spark)
    assert (found.passed, found.rows, found.recomputed) == (True, 5, 3)


def test_a_frame_of_ids(spark: SparkSession, prepared: PreparedGraph, wanted: pa.Table, tmp_path: Path) -> None:
    for frame in (
        spark.createDataFrame([(each, "a") for each in SOME], "id bigint, why string"),
        spark.createDataFrame([(each,) for each in SOME], "`a.b` bigint"),
        spark.createDataFrame([(each,) for each in SOME], "`a``b` bigint"),
    ):
        assert rows(infer(prepared, build("sage"), spark=spark, targets=frame)).to_pylist() == wanted.to_pylist()
    with pytest.raises(DataError, match="the ids are of type string, for example 'a'"):
        infer(prepared, build("sage"), spark=spark, targets=spark.createDataFrame([("a",)], "id string"))
    with pytest.raises(DataError, match="there are no rows"):
        infer(prepared, build("sage"), spark=spark, targets=spark.createDataFrame([], "id bigint"))
    with pytest.raises(DataError, match="1 of 1 ids are null"):
        infer(prepared, build("sage"), spark=spark, targets=spark.createDataFrame([(None,)], "id bigint"))


def test_raw_tables(spark: SparkSession, wanted: pa.Table) -> None:
    graph = whole("mixed").graph(spark, edge_features=())
    frame = infer(graph, build("sage"), spark=spark, targets=SOME, settings=Settings(blocks=3))
    assert rows(frame).to_pylist() == wanted.to_pylist()
    with pytest.raises(DataError, match="not among the graph's nodes: 5"):
        infer(graph, build("sage"), spark=spark, targets=[5], settings=Settings(blocks=3))


def test_more_than_can_be_sent(spark: SparkSession, prepared: PreparedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MOST_SENT", 4)
    with pytest.raises(DataError, match="targets: 5 ids are more than can be sent to Spark's tasks, 4; leave them out"):
        infer(prepared, build("sage"), spark=spark, targets=SOME)


@pytest.mark.parametrize("tier", ["fused", "distributed"])
def test_typed_graphs(spark: SparkSession, tmp_path: Path, tier: str) -> None:
    nodes, edges = tables(accounts=60, cards=23, shops=40)
    raw = Graph(nodes, edges, features=FEATURES, edge_features=EDGE_FEATURES)
    graph, settings = prepare(raw, tmp_path / "g", 2), Settings(tier=tier, scratch=str(tmp_path / "scratch"))
    score(graph, typed_model(), tmp_path / "all", settings=settings, spark=spark)
    everything = {type: pq.read_table(tmp_path / "all" / spelled(type)) for type in (ACCOUNT, CARD)}
    wanted = {type: table["id"].to_pylist()[3:9:2] for type, table in everything.items()}
    score(graph, typed_model(), tmp_path / "o", settings=settings, spark=spark, targets=wanted)
    found = infer(graph, typed_model(), settings=settings, spark=spark, targets=wanted)
    assert [*found] == [*wanted]
    for type, ids in wanted.items():
        expected = of(everything[type].sort_by("id"), ids).to_pylist()
        assert len(expected) == 3
        assert rows(found[type]).to_pylist() == expected
        assert pq.read_table(tmp_path / "o" / spelled(type)).sort_by("id").to_pylist() == expected
