"""Tables by name: what is one, what it gives, and what is said where there is none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, infer, prepare, score, verify
from pipeline.errors import SettingError, StorageError
from pipeline.prepared import open_graph
from pipeline.tables.named import TableName, is_name
from tests.formulas import build
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "graphsweep_named"


@pytest.mark.parametrize(
    ("given", "parts", "version"),
    [
        ("main.graph.accounts", ("main", "graph", "accounts"), None),
        ("graph.accounts", ("graph", "accounts"), None),
        ("graph.accounts@v12", ("graph", "accounts"), 12),
        ("main.`my-graph`.`a.b`", ("main", "my-graph", "a.b"), None),
        ("graph.`a``b`", ("graph", "a`b"), None),
        ("Größe.Straße", ("Größe", "Straße"), None),
        ("table:accounts", ("accounts",), None),
        ("table:graph.csv", ("graph", "csv"), None),
        ("graph.`csv`", ("graph", "csv"), None),
        ("delta.`/data/accounts`", ("delta", "/data/accounts"), None),
        ("a.b.c.d", ("a", "b", "c", "d"), None),
    ],
)
def test_names(given: str, parts: tuple[str, ...], version: int | None) -> None:
    name = TableName.of(given)
    assert name == TableName(parts, version)
    assert TableName.of(str(name)) == name


@pytest.mark.parametrize(
    "given",
    [
        "accounts",
        "acounts.parquet",  # a misspelt path
        "nodes.CSV",
        "nodes.csv.gz",
        "./graph.accounts",
        "data/graph.accounts",
        "s3://bucket/graph.accounts",
        "graph.2026",
        "my-graph.accounts",
        "graph.*",
        "graph..accounts",
        ".hidden.accounts",
        "graph.accounts@v",
        "graph.`accounts",
        "C:graph.accounts",
        " graph.accounts",
        "",
    ],
)
def test_paths(given: str) -> None:
    assert TableName.of(given) is None


def test_what_is_there_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_name("graph.accounts")
    (tmp_path / "graph.accounts").mkdir()
    assert not is_name("graph.accounts")
    assert is_name("table:graph.accounts")


@pytest.mark.parametrize("given", ["table:", "table:my-graph.accounts", "table:/data/accounts", "table:a.b@v-1"])
def test_no_name_after_table(given: str) -> None:
    with pytest.raises(SettingError, match=rf"^{given}: not the name of a table; catalog.schema.table is expected"):
        TableName.of(given)


def test_files_by_their_format(tmp_path: Path, no_session: None) -> None:
    """Spark's spelling of a table at a path takes no Spark where we read it."""
    tables = whole("mixed")
    pq.write_table(tables.nodes(), tmp_path / "nodes")
    pq.write_table(tables.edges(), tmp_path / "edges.parquet")
    graph = Graph(f"parquet.`{tmp_path}/nodes`", f"PARQUET.`{tmp_path}/edges.parquet`", edge_features=["weight"])
    assert graph.session is None
    assert graph.sources["nodes"]["path"] == f"{tmp_path}/nodes"
    with pytest.raises(StorageError, match=r"nodes: has no versions, it is a table of parquet; leave @v3 out"):
        Graph(f"parquet.`{tmp_path}/nodes`@v3", f"{tmp_path}/edges.parquet")


# ---- with Spark


@pytest.fixture(scope="module")
def names(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Tables of a schema whose files lie in a directory of the test's, and a view."""
    place = tmp_path_factory.mktemp("warehouse")
    spark.sql(f"CREATE DATABASE {SCHEMA} LOCATION 'file://{place}'")
    tables = whole("mixed")
    spark.createDataFrame(tables.nodes()).write.saveAsTable(f"{SCHEMA}.accounts")
    spark.createDataFrame(tables.edges()).write.saveAsTable(f"{SCHEMA}.payments")
    spark.sql(f"CREATE VIEW {SCHEMA}.of_accounts AS SELECT * FROM {SCHEMA}.accounts")
    yield f"{SCHEMA}.accounts", f"{SCHEMA}.payments"
    spark.sql(f"DROP DATABASE {SCHEMA} CASCADE")


def rows(table: object) -> list[object]:
    frame = table if isinstance(table, pa.Table) else table.toArrow()  # type: ignore[attr-defined]
    return frame.sort_by("id").to_pylist()


@pytest.fixture(scope="module")
def wanted(spark: SparkSession) -> list[object]:
    tables = whole("mixed")
    return rows(infer(Graph(tables.nodes(), tables.edges(), edge_features=()), build("sage")))


@pytest.mark.parametrize("nodes", ["accounts", "of_accounts", "ACCOUNTS"])
def test_the_same_rows(spark: SparkSession, names: tuple[str, str], wanted: list[object], nodes: str) -> None:
    graph = Graph(f"{SCHEMA}.{nodes}", f"table:spark_catalog.{names[1]}", edge_features=())
    assert rows(infer(graph, build("sage"))) == wanted


def test_from_the_command_line(
    names: tuple[str, str], wanted: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build("sage").save("model")
    raw = ["--nodes", names[0], "--edges", names[1]]
    run = CliRunner()

    def go(*arguments: str, code: int = 0) -> str:
        done = run.invoke(cli.app, [*arguments])
        assert done.exit_code == code, done.output
        return done.output

    go("infer", *raw, "--model", "model", "--output", "scores")
    assert rows(pq.read_table("scores")) == wanted
    go("prepare", *raw, "--output", "graph")
    sources = json.loads(Path("graph/manifest.json").read_text())["sources"]
    assert sources["nodes"]["table"] == f"table:spark_catalog.{SCHEMA}.accounts"
    go("infer", "--graph", "graph", "--model", "model", "--output", "again", "--targets", names[0])
    assert rows(pq.read_table("again")) == wanted
    assert "PASS" in go("verify", "--graph", "graph", "--model", "model", "--output", "scores")
    assert "PASS" in go("verify", "--graph", "graph", "--model", "model", "--output", "scores", *raw)


def test_scores_are_verified_by_name(spark: SparkSession, names: tuple[str, str]) -> None:
    tables = whole("mixed")
    graph = Graph(tables.nodes(), tables.edges(), edge_features=())
    infer(graph, build("sage")).write.saveAsTable(f"{SCHEMA}.scores")
    assert verify(Graph(*names, edge_features=()), build("sage"), f"{SCHEMA}.scores", sample="all").passed


def test_a_graph_file_names_tables(names: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("graph.toml").write_text(
        f'[nodes.account]\npath = "{names[0]}"\n\n'
        f'[[edges]]\ntype = ["account", "pays", "account"]\npath = "{names[1]}"\n'
    )
    done = CliRunner().invoke(cli.app, ["prepare", "--graph-spec", "graph.toml", "--output", "g"])
    assert done.exit_code == 0, done.output
    assert open_graph("g").node_counts == {"account": len(whole("mixed").ids)}


def test_a_temporary_view(spark: SparkSession, names: tuple[str, str], tmp_path: Path) -> None:
    """It can be read by who made it; nobody else can, so a prepared graph does not name it."""
    spark.table(names[0]).createOrReplaceTempView("graphsweep_view")
    graph = Graph("table:graphsweep_view", names[1], edge_features=())
    assert set(graph.sources) == {"edges"}
    prepared = prepare(graph, tmp_path / "g")
    score(prepared, build("sage"), tmp_path / "scores")
    with pytest.raises(SettingError, match="was prepared from DataFrames: give the nodes table"):
        verify(prepared, build("sage"), tmp_path / "scores")
    spark.catalog.dropTempView("graphsweep_view")


def test_no_such_table(spark: SparkSession, names: tuple[str, str]) -> None:
    with pytest.raises(
        StorageError,
        match=rf"^{SCHEMA}.acounts: there is no file of that name, and no table or view in Spark's catalog \(which is "
        r"empty at each start, because spark.sql.catalogImplementation is in-memory; hive takes that of a metastore\). "
        "A view of createOrReplaceTempView is known only to the session that made it$",
    ):
        Graph(f"{SCHEMA}.acounts", names[1])
    with pytest.raises(StorageError, match=r"nowhere\.at\.all: Spark's catalog does not say what this is: .*nowhere"):
        Graph("nowhere.at.all", names[1])
    with pytest.raises(StorageError, match=r"accounts@v3: has no versions, it is a table of parquet; leave @v3 out"):
        Graph(f"{names[0]}@v3", names[1])
    with pytest.raises(StorageError, match=r"of_accounts@v0: has no versions, it is a view; leave @v0 out"):
        Graph(f"{SCHEMA}.of_accounts@v0", names[1])
    with pytest.raises(SettingError, match=r"^table:accounts: a table of the catalog has a format of its own; leave"):
        Graph("table:accounts", names[1], format="parquet")
    with pytest.raises(StorageError, match=r"accounts: no such file or directory"):
        Graph(names[0], names[1], format="parquet")


@pytest.mark.parametrize("nodes", ["accounts", "of_accounts"])
def test_an_output_among_the_files_of_a_table(
    spark: SparkSession, names: tuple[str, str], tmp_path: Path, nodes: str
) -> None:
    graph = Graph(f"{SCHEMA}.{nodes}", names[1], edge_features=())
    at = spark.sql(f"DESCRIBE TABLE EXTENDED {names[0]}").where("col_name = 'Location'").first()
    assert at is not None
    inside = f"{at.data_type}/scores"
    with pytest.raises(SettingError, match=r"scores: the output lies in the node table \(file:.*/accounts\)"):
        score(graph, build("sage"), inside)
    with pytest.raises(SettingError, match=r"scores: the output lies in the node table"):
        prepare(graph, inside)
    prepared = prepare(graph, tmp_path / "g")
    if nodes == "accounts":
        with pytest.raises(SettingError, match="lies in the node table that the graph was prepared from"):
            score(prepared, build("sage"), inside)


def test_a_misspelt_path_starts_no_spark(tmp_path: Path, no_session: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pipeline.cli.given._session", lambda *_: sys.exit("Spark was started"))
    done = CliRunner().invoke(cli.app, ["prepare", "--nodes", "n.parquet", "--edges", "e.csv", "--output", "g"])
    assert (done.exit_code, done.output.splitlines()[-1]) == (2, "graphsweep: n.parquet: no such file or directory")
