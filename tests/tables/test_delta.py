"""Delta tables by name and by path: which version is read, what is remembered of it, and what is refused.

Delta Lake is a package for Spark from Maven Central, of which there is none yet for the newest Spark. These tests run
in an environment of their own, where GRAPHSWEEP_DELTA names it:

    pip install 'pyspark==4.1.*' …
    GRAPHSWEEP_DELTA=io.delta:delta-spark_4.1_2.13:4.1.0 python -m pytest tests/tables/test_delta.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, infer, prepare, score, verify
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


# ---- scores into a Delta table


def go(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli.app, ["infer", "--model", "model", *arguments])
    assert done.exit_code == code, done.output
    return done.output.splitlines()[-1]


def table(spark: SparkSession, name: str) -> dict[int, tuple[object, ...]]:
    """id → output, updated_at, run_id, and what else there is."""
    return {row[0]: tuple(row[1:]) for row in spark.table(name).collect()}


def test_merged(spark: SparkSession, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows whose numbers are the same keep their time and their run; ids that are gone keep their rows."""
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    name, raw = f"{SCHEMA}.scores", whole("mixed")
    pq.write_table(raw.nodes(), "nodes.parquet")
    pq.write_table(raw.edges(), "edges.parquet")
    given = ["--nodes", "nodes.parquet", "--edges", "edges.parquet", "--output-table", name, "--json"]
    created = json.loads(go(*given, "--format", "delta"))
    before = table(spark, name)
    again = json.loads(go(*given, "--table-mode", "merge"))
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 200)
    assert table(spark, name) == before
    # without the last edge and the first node with its edges, and with a new one
    first = raw.ids[0]
    nodes = raw.nodes().slice(1)
    new = pa.table({"id": [7], "x": pa.array([raw.x[3].tolist()], pa.list_(pa.float32()))})
    pq.write_table(pa.concat_tables([nodes, new]), "nodes.parquet")
    edges = [row for row in raw.edges().to_pylist()[:-1] if first not in (row["src"], row["dst"])]
    pq.write_table(pa.Table.from_pylist(edges, raw.edges().schema), "edges.parquet")
    note = spark.createDataFrame([], "id bigint, note string")
    note.write.format("delta").mode("append").option("mergeSchema", True).saveAsTable(name)
    merged = json.loads(go(*given, "--table-mode", "merge"))
    scores = infer(Graph("nodes.parquet", "edges.parquet", edge_features=()), build(MODEL)).toArrow()
    wanted = {row["id"]: row for row in scores.to_pylist()}
    after = table(spark, name)
    changed = {id for id, row in wanted.items() if id in before and row["output"] != before[id][0]}
    assert 0 < len(changed) < 199
    assert (merged["inserted"], merged["updated"], merged["unchanged"]) == (1, len(changed), 199 - len(changed))
    assert after[first] == (*before[first], None)
    for id, row in wanted.items():
        assert after[id][0] == row["output"]
        assert after[id][2] == (merged["run"] if id in changed or id == 7 else created["run"])
    assert after.keys() == before.keys() | {7}


def test_overwritten_and_appended_to(
    spark: SparkSession, names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build(MODEL).save("model")
    name = f"{SCHEMA}.scores"
    given = ["--nodes", names[0], "--edges", names[1], "--output-table", name, "--json"]
    go(*given, "--format", "delta")
    fewer_edges(spark, names)
    run = json.loads(go(*given, "--table-mode", "overwrite"))["run"]
    assert {row[2] for row in table(spark, name).values()} == {run}
    go(*given, "--table-mode", "append")
    assert spark.table(name).count() == 400
    # a table of somebody else's: merge alone may touch it, if it has the columns
    spark.sql(f"CREATE TABLE {SCHEMA}.own (id bigint, output array<double>, updated_at timestamp) USING delta")
    given[5] = f"{SCHEMA}.own"
    assert "graphsweep did not create it (it has no property graphsweep.kind)" in go(
        *given[:-1], "--table-mode", "overwrite", code=2
    )
    assert "own: has no column run_id, which the scores have" in go(*given[:-1], "--table-mode", "merge", code=2)
    spark.sql(f"DROP TABLE {SCHEMA}.own")
    columns = "id bigint, output array<double>, updated_at timestamp, run_id string"
    spark.sql(f"CREATE TABLE {SCHEMA}.own ({columns}) USING delta")
    assert json.loads(go(*given, "--table-mode", "merge"))["inserted"] == 200
    # what the table does not take leaves it as it was
    spark.sql(f"CREATE TABLE {SCHEMA}.strict ({columns}, note string NOT NULL) USING delta")
    given[5] = f"{SCHEMA}.strict"
    said = go(*given[:-1], "--table-mode", "append", code=2)
    assert f"{SCHEMA}.strict: does not take the scores; it is as it was: " in said
    assert spark.table(f"{SCHEMA}.strict").count() == 0
    # the output is an input, through a view
    spark.sql(f"CREATE VIEW {SCHEMA}.seen AS SELECT * FROM {names[0]}")
    for nodes in (f"{SCHEMA}.seen", f"{names[0]}@v0", located(spark, names[0])):
        said = go("--nodes", nodes, *given[2:4], "--output-table", names[0], "--table-mode", "append", code=2)
        assert "the output is the node table" in said
