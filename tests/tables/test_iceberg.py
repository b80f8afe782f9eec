"""Iceberg tables by name: which snapshot is read, what is remembered of it; scores into one.

Iceberg is a package for Spark from Maven Central, of which there is none yet for the newest Spark. These tests run in
an environment of their own, where GRAPHSWEEP_ICEBERG names it:

    pip install 'pyspark==4.1.*' …
    GRAPHSWEEP_ICEBERG=org.apache.iceberg:iceberg-spark-runtime-4.1_2.13:1.11.0 python -m pytest \\
        tests/tables/test_iceberg.py
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

pytestmark = pytest.mark.skipif("GRAPHSWEEP_ICEBERG" not in os.environ, reason="needs Iceberg: see the module")

SCHEMA = "lake.graph"
MODEL = "sage"
NAMES = (f"{SCHEMA}.accounts", f"{SCHEMA}.payments")


@pytest.fixture
def names(spark: SparkSession) -> Iterator[tuple[str, str]]:
    spark.sql(f"CREATE NAMESPACE {SCHEMA}")
    write(spark, NAMES[0], whole("mixed").nodes())
    write(spark, NAMES[1], whole("mixed").edges())
    yield NAMES
    for row in spark.sql(f"SHOW TABLES IN {SCHEMA}").collect():
        spark.sql(f"DROP TABLE {SCHEMA}.{row.tableName} PURGE")
    spark.sql(f"DROP NAMESPACE {SCHEMA}")


def write(spark: SparkSession, name: str, rows: pa.Table) -> None:
    spark.createDataFrame(rows).writeTo(name).using("iceberg").create()


def rows(table: object) -> list[object]:
    frame = table if isinstance(table, pa.Table) else table.toArrow()  # type: ignore[attr-defined]
    return frame.sort_by("id").to_pylist()


@pytest.fixture
def wanted() -> list[object]:
    raw = whole("mixed")
    return rows(infer(Graph(raw.nodes(), raw.edges(), edge_features=()), build(MODEL)))


def fewer_edges(spark: SparkSession) -> None:
    """A new snapshot, which gives other scores."""
    spark.sql(f"DELETE FROM {NAMES[1]} WHERE weight > 0.5")


def newest(spark: SparkSession, name: str) -> int:
    row = spark.sql(f"SELECT snapshot_id FROM {name}.snapshots ORDER BY committed_at DESC LIMIT 1").first()
    assert row is not None
    return int(row.snapshot_id)


def test_verify_reads_the_snapshots_of_the_graph(
    spark: SparkSession, names: tuple[str, str], wanted: list[object], tmp_path: Path
) -> None:
    before = [newest(spark, name) for name in names]
    prepared = prepare(Graph(*names, edge_features=()), tmp_path / "g")
    assert [prepared.manifest["sources"][table]["version"] for table in ("nodes", "edges")] == before
    score(prepared, build(MODEL), tmp_path / "scores")
    fewer_edges(spark)
    assert verify(prepared, build(MODEL), tmp_path / "scores", sample="all").passed
    # of the tables as they are now these are not the scores
    assert not verify(prepared, build(MODEL), tmp_path / "scores", *names, sample="all").passed
    assert rows(spark.read.parquet(str(tmp_path / "scores"))) == wanted


def test_a_table_that_changes_while_it_is_read(
    spark: SparkSession, names: tuple[str, str], wanted: list[object]
) -> None:
    graph = Graph(*names, edge_features=())
    fewer_edges(spark)
    spark.sql(f"DELETE FROM {names[0]}")
    assert rows(infer(graph, build(MODEL))) == wanted


def test_snapshots_that_are_given(spark: SparkSession, names: tuple[str, str], wanted: list[object]) -> None:
    before = newest(spark, names[1])
    fewer_edges(spark)
    assert rows(infer(Graph(names[0], f"{names[1]}@v{before}", edge_features=()), build(MODEL))) == wanted
    assert rows(infer(Graph(*names, edge_features=()), build(MODEL))) != wanted
    with pytest.raises(StorageError, match=f"there is no snapshot 7; the newest is {newest(spark, names[1])}"):
        Graph(names[0], f"{names[1]}@v7")


def test_the_same_graph_is_known_again(spark: SparkSession, names: tuple[str, str], tmp_path: Path) -> None:
    def again() -> PreparedGraph:
        return prepare(Graph(*names, edge_features=()), tmp_path / "g", if_same="skip")

    first = again()
    assert again().manifest["prepare"] == first.manifest["prepare"]
    fewer_edges(spark)
    with pytest.raises(StorageError, match=r"the edge table has changed: it was version \d+ .*, and is version \d+ of"):
        again()
    spark.sql(f"DROP TABLE {names[1]}")
    write(spark, names[1], whole("mixed").edges())  # the same rows, and another table
    with pytest.raises(StorageError, match="the edge table has changed"):
        again()


def test_a_table_without_a_snapshot(spark: SparkSession, names: tuple[str, str]) -> None:
    """It was created, and nothing was ever written."""
    spark.sql(f"CREATE TABLE {SCHEMA}.nothing (src BIGINT, dst BIGINT) USING iceberg")
    scores = infer(Graph(names[0], f"{SCHEMA}.nothing", edge_features=()), build(MODEL))
    assert len(rows(scores)) == 200


# ---- scores into an Iceberg table


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
    created = json.loads(go(*given, "--format", "iceberg"))
    before = table(spark, name)
    again = json.loads(go(*given, "--table-mode", "merge"))
    assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 200)
    assert table(spark, name) == before
    first = raw.ids[0]
    nodes = raw.nodes().slice(1)
    new = pa.table({"id": [7], "x": pa.array([raw.x[3].tolist()], pa.list_(pa.float32()))})
    pq.write_table(pa.concat_tables([nodes, new]), "nodes.parquet")
    edges = [row for row in raw.edges().to_pylist()[:-1] if first not in (row["src"], row["dst"])]
    pq.write_table(pa.Table.from_pylist(edges, raw.edges().schema), "edges.parquet")
    spark.sql(f"ALTER TABLE {name} ADD COLUMN note STRING")
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
    go(*given, "--format", "iceberg")
    assert "there is a table of iceberg of that name already" in go(*given[:-1], code=2)
    fewer_edges(spark)
    run = json.loads(go(*given, "--table-mode", "overwrite"))["run"]
    assert {row[2] for row in table(spark, name).values()} == {run}
    go(*given, "--table-mode", "append")
    assert spark.table(name).count() == 400
    columns = "id bigint, output array<float>, updated_at timestamp, run_id string"
    spark.sql(f"CREATE TABLE {SCHEMA}.own ({columns}) USING iceberg")
    given[5] = f"{SCHEMA}.own"
    assert "graphsweep did not create it (it has no property graphsweep.kind)" in go(
        *given[:-1], "--table-mode", "overwrite", code=2
    )
    assert json.loads(go(*given, "--table-mode", "merge"))["inserted"] == 200
    # what the table does not take leaves it as it was
    spark.sql(f"CREATE TABLE {SCHEMA}.strict ({columns}, note string NOT NULL) USING iceberg")
    given[5] = f"{SCHEMA}.strict"
    said = go(*given[:-1], "--table-mode", "append", code=2)
    assert f"{SCHEMA}.strict: does not take the scores; it is as it was: " in said
    assert spark.table(f"{SCHEMA}.strict").count() == 0
    # the output is an input
    for read in (names[0], f"{names[0]}@v{newest(spark, names[0])}"):
        said = go("--nodes", read, *given[2:4], "--output-table", names[0], "--table-mode", "append", code=2)
        assert "the output is the node table" in said
