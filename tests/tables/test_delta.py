"""Delta tables by name and by path: which version is read, what is remembered of it, and what is refused.

Delta Lake is a package for Spark from Maven Central, of which there is none yet for the newest Spark. These tests run
in an environment of their own, where GRAPHSWEEP_DELTA names it:

    pip install 'pyspark==4.1.*' …
    GRAPHSWEEP_DELTA=io.delta:delta-spark_4.1_2.13:4.1.0 python -m pytest tests/tables/test_delta.py
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from pipeline import Graph, infer, prepare, score, verify
from pipeline.errors import StorageError
from pipeline.prepared import PreparedGraph
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.skipif("GRAPHSWEEP_DELTA" not in os.environ, reason="needs Delta Lake: see the module")

SCHEMA = "graphsweep_delta"
MODEL = "sage"


@pytest.fixture
def names(spark: SparkSession, tmp_path: Path) -> Iterator[tuple[str, str]]:
    spark.sql(f"CREATE DATABASE {SCHEMA} LOCATION 'file://{tmp_path}/warehouse'")
    for name, table in (("accounts", whole("mixed").nodes()), ("payments", whole("mixed").edges())):
        spark.createDataFrame(table).write.format("delta").saveAsTable(f"{SCHEMA}.{name}")
    yield f"{SCHEMA}.accounts", f"{SCHEMA}.payments"
    spark.sql(f"DROP DATABASE {SCHEMA} CASCADE")


def rows(table: object) -> list[object]:
    frame = table if isinstance(table, pa.Table) else table.toArrow()  # type: ignore[attr-defined]
    return frame.sort_by("id").to_pylist()


@pytest.fixture
def wanted() -> list[object]:
    raw = whole("mixed")
    return rows(infer(Graph(raw.nodes(), raw.edges(), edge_features=()), build(MODEL)))


def fewer_edges(spark: SparkSession, names: tuple[str, str]) -> None:
    """A new version, which gives other scores."""
    spark.sql(f"DELETE FROM {names[1]} WHERE weight > 0.5")


def located(spark: SparkSession, name: str) -> str:
    row = spark.sql(f"DESCRIBE DETAIL {name}").first()
    assert row is not None
    return str(row.location).removeprefix("file:")


@pytest.mark.parametrize("by", ["name", "path", "delta.path"])
def test_verify_reads_the_versions_of_the_graph(
    spark: SparkSession, names: tuple[str, str], wanted: list[object], tmp_path: Path, by: str
) -> None:
    given = list(names)
    if by != "name":
        given = [located(spark, name) for name in names]
    if by == "delta.path":
        given = [f"delta.`{path}`" for path in given]
    prepared = prepare(Graph(*given, edge_features=()), tmp_path / "g")
    assert {source["version"] for source in prepared.manifest["sources"].values()} == {0}
    score(prepared, build(MODEL), tmp_path / "scores")
    fewer_edges(spark, names)
    assert verify(prepared, build(MODEL), tmp_path / "scores", sample="all").passed
    # of the tables as they are now these are not the scores
    assert not verify(prepared, build(MODEL), tmp_path / "scores", *given, sample="all").passed
    assert rows(spark.read.parquet(str(tmp_path / "scores"))) == wanted


def test_a_table_that_changes_while_it_is_read(
    spark: SparkSession, names: tuple[str, str], wanted: list[object]
) -> None:
    graph = Graph(*names, edge_features=())
    fewer_edges(spark, names)
    spark.sql(f"DELETE FROM {names[0]}")
    assert rows(infer(graph, build(MODEL))) == wanted


def test_versions_that_are_given(spark: SparkSession, names: tuple[str, str], wanted: list[object]) -> None:
    fewer_edges(spark, names)
    assert rows(infer(Graph(names[0], f"{names[1]}@v0", edge_features=()), build(MODEL))) == wanted
    path = located(spark, names[1])
    assert rows(infer(Graph(names[0], f"delta.`{path}`@v0", edge_features=()), build(MODEL))) == wanted
    assert rows(infer(Graph(names[0], names[1], edge_features=()), build(MODEL))) != wanted
    for edges in (f"{names[1]}@v2", f"delta.`{path}`@v2"):
        with pytest.raises(StorageError, match="there is no version 2; the newest is 1"):
            Graph(names[0], edges)


def test_the_same_graph_is_known_again(spark: SparkSession, names: tuple[str, str], tmp_path: Path) -> None:
    def again() -> PreparedGraph:
        return prepare(Graph(*names, edge_features=()), tmp_path / "g", if_same="skip")

    first = again()
    assert again().fingerprint == first.fingerprint
    fewer_edges(spark, names)
    with pytest.raises(StorageError, match=r"the edge table has changed: it was version 0 .*, and is version 1 of"):
        again()
    spark.sql(f"DROP TABLE {names[0]}")
    spark.createDataFrame(whole("mixed").nodes()).write.format("delta").saveAsTable(names[0])
    with pytest.raises(StorageError, match=r"the node table has changed: it was version 0 .*, and is version 0 of"):
        again()


def test_a_view_over_delta(spark: SparkSession, names: tuple[str, str], wanted: list[object]) -> None:
    spark.sql(f"CREATE VIEW {SCHEMA}.strong AS SELECT * FROM {names[1]} WHERE weight >= 0")
    assert rows(infer(Graph(names[0], f"{SCHEMA}.strong", edge_features=()), build(MODEL))) == wanted
