"""Scores into a table of the catalog: created whole, and what is refused. Of Delta: tests/tables/test_delta.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer, prepare, score
from pipeline.errors import SettingError
from pipeline.result.into_table import IntoTable, refuse_name
from tests.formulas import build
from tests.run.test_edge_rows import model_of
from tests.run.test_typed_edge_rows import model as typed
from tests.typed_tables import EDGE_FEATURES, FEATURES, PAYS, tables
from tests.whole import whole

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SCHEMA = "graphsweep_into"


@pytest.fixture(scope="module")
def schema(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    spark.sql(f"CREATE DATABASE {SCHEMA} LOCATION 'file://{tmp_path_factory.mktemp('warehouse')}'")
    spark.createDataFrame(whole("mixed").nodes()).write.saveAsTable(f"{SCHEMA}.accounts")
    spark.sql(f"CREATE VIEW {SCHEMA}.of_accounts AS SELECT * FROM {SCHEMA}.accounts")
    yield SCHEMA
    spark.sql(f"DROP DATABASE {SCHEMA} CASCADE")


def labelled() -> Model:
    model = build("sage")
    return Model(model.program, model.weights, model.columns, classes=["a", "b", "c", "d"])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    labelled().save("model")
    pq.write_table(whole("mixed").nodes(), "nodes.parquet")
    pq.write_table(whole("mixed").edges(), "edges.parquet")
    return tmp_path


def go(*arguments: str, code: int = 0) -> str:
    raw = [] if "--nodes" in arguments else ["--nodes", "nodes.parquet"]
    done = CliRunner().invoke(cli.app, ["infer", *raw, "--edges", "edges.parquet", "--model", "model", *arguments])
    assert done.exit_code == code, done.output
    return (done.output if code else done.stdout).splitlines()[-1]


@pytest.mark.parametrize("scratch", [False, True])
def test_created(spark: SparkSession, schema: str, here: Path, scratch: bool) -> None:
    Path("conf.toml").write_text(f'scratch = "{here}/scratch"\n' if scratch else "")
    name = f"{schema}.scores_{scratch}"
    said = json.loads(go("--output-table", name, "--conf", "conf.toml", "--json"))
    assert (said["output"], said["table_mode"], said["inserted"], said["updated"]) == (name, "create", 200, 0)
    raw = whole("mixed")
    wanted = infer(Graph(raw.nodes(), raw.edges(), edge_features=()), labelled(), spark=spark).toArrow()
    found = spark.table(name)
    assert wanted.column_names[-1] == "label"
    assert found.columns == [*wanted.column_names, "updated_at", "run_id"]
    values = found.toArrow().sort_by("id")
    assert values.select(wanted.column_names).to_pylist() == wanted.sort_by("id").to_pylist()
    assert set(values["run_id"].to_pylist()) == {said["run"]}
    assert len(set(values["updated_at"].to_pylist())) == 1
    assert sorted(path.name for path in here.iterdir()) == ["conf.toml", "edges.parquet", "model", "nodes.parquet"]
    assert f"{name}: there is a table of parquet of that name already" in go("--output-table", name, code=2)
    for mode in ("overwrite", "append", "merge"):
        said = go("--output-table", name, "--table-mode", mode, code=2)
        assert (
            f"{name}: is a table of parquet; {mode} takes a Delta or Iceberg table, whose rows change all at once"
            in said
        )
    assert found.count() == 200


def test_partitioned(spark: SparkSession, schema: str, here: Path) -> None:
    name = f"{schema}.by_label"
    said = json.loads(go("--output-table", name, "--partition-by", "label, run_id", "--json"))
    parts = {row.partition for row in spark.sql(f"SHOW PARTITIONS {name}").collect()}
    found = spark.table(name).toArrow()
    assert found.num_rows == 200
    assert parts == {f"label={label}/run_id={said['run']}" for label in found["label"].to_pylist()}
    assert 1 < len(parts) <= 4
    for column in ("id", "output", "labl"):
        said = go("--output-table", f"{schema}.none", "--partition-by", column, code=2)
        assert f"--partition-by {column}: " in said
    assert "did you mean 'label'" in said
    assert not spark.catalog.tableExists(f"{schema}.none")
    assert "--partition-by is of --output-table" in go("--output", "o", "--partition-by", "label", code=2)
    said = go("--output-table", name, "--table-mode", "append", "--partition-by", "label", code=2)
    assert "--partition-by: the table is there, with partitions or without; leave it out" in said


def test_rows_of_edges(spark: SparkSession, schema: str, here: Path) -> None:
    """Ends and number of each edge, its columns, its outputs."""
    model_of("classified").save("model", overwrite=True)
    name, columns = f"{schema}.of_edges", ["src", "dst", "parallel", "attr", "weight", "output"]
    said = json.loads(go("--output-table", name, "--json"))
    raw = whole("mixed")
    assert (said["inserted"], said["rows_of"]) == (len(raw.src), "edges")
    go("--output", "scores")
    order = [(column, "ascending") for column in columns[:3]]
    found, wanted = spark.table(name).toArrow().sort_by(order), pq.read_table("scores").sort_by(order)
    assert sorted(found.column_names[:6]) == sorted(columns)
    assert found.column_names[6:] == ["updated_at", "run_id"]
    assert found.select(columns).to_pylist() == wanted.select(columns).to_pylist()
    keys = zip(*(found[column].to_pylist() for column in columns[:3]), strict=True)
    assert len(set(keys)) == len(raw.src)
    said = go("--output-table", f"{schema}.none", "--output-id", "key", code=2)
    assert "-id names the ids of nodes, and the result of this model has a row per edge" in said
    assert not spark.catalog.tableExists(f"{schema}.none")


def test_rows_of_edges_of_a_type(spark: SparkSession, schema: str, here: Path) -> None:
    nodes, edges = tables()
    graph = Graph(nodes, edges, features=FEATURES, edge_features=EDGE_FEATURES)
    prepare(graph, "graph", blocks=2)
    typed().save("typed")
    given = ["infer", "--graph", "graph", "--model", "typed", "--output-table", f"{schema}.pays"]
    done = CliRunner().invoke(cli.app, given)
    assert done.exit_code == 2
    assert "one table takes the edges of one type, and the model gives account__pays__account" in done.output
    done = CliRunner().invoke(cli.app, [*given, "--types", "account__pays__account"])
    assert done.exit_code == 0, done.output
    found = spark.table(f"{schema}.pays")
    assert found.columns == ["src", "dst", "parallel", "amount", "score", "amounts", "updated_at", "run_id"]
    assert found.count() == edges[PAYS].num_rows


def test_refused(spark: SparkSession, schema: str, here: Path) -> None:
    accounts = f"{schema}.accounts"
    for nodes, output in (
        (accounts, accounts),
        (f"{schema}.of_accounts", accounts.upper()),
        (accounts, f"table:spark_catalog.{accounts}"),
    ):
        said = go("--nodes", nodes, "--output-table", output, code=2)
        assert f"the output is the node table ({nodes}); give another name. Nothing was touched" in said
    at = spark.sql(f"DESCRIBE TABLE EXTENDED {accounts}").where("col_name = 'Location'").first()
    assert at is not None
    said = go("--nodes", at.data_type, "--output-table", accounts, "--table-mode", "append", code=2)
    assert "the output is the node table" in said
    said = go("--output-table", f"{schema}.none", "--table-mode", "merge", code=2)
    assert f"{schema}.none: there is no such table to merge; --table-mode create makes it" in said
    said = go("--output-table", f"{schema}.of_accounts", code=2)
    assert "there is a view of that name already" in said
    assert "give --output, a path, or --output-table, the name of a table" in go(code=2)
    assert "give --output, a path, or" in go("--output", "o", "--output-table", "t", code=2)
    assert "--table-mode is of --output-table" in go("--output", "o", "--table-mode", "merge", code=2)
    assert "--targets scores only some; take merge" in go(
        "--output-table", f"{schema}.x", "--table-mode", "mirror", "--targets", "nodes.parquet", code=2
    )
    assert "--overwrite: of no use with --output-table; --table-mode says" in go(
        "--output-table", "t", "--overwrite", code=2
    )
    assert spark.table(accounts).count() == 200
    assert not Path("o").exists()


@pytest.mark.parametrize(
    ("given", "mode", "format", "said"),
    [
        ("a.b", "replace", None, "unknown table mode 'replace'; did you mean 'create'?"),
        ("a.b", "create", "csv", "unknown format 'csv' of a table; known: delta, iceberg, parquet"),
        ("a.b", "merge", "delta", "--format delta: the table is there and has a format; leave it out"),
        ("delta.`/x`", None, None, "names files; --output-table takes a table of the catalog, --output a path"),
        ("a.b@v1", None, None, "a.b@v1: old versions cannot be written; leave @v1 out"),
        ("my-graph.scores", None, None, "table:my-graph.scores: not the name of a table"),
    ],
)
def test_wishes(given: str, mode: str | None, format: str | None, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        IntoTable(given, mode, format)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("main.graph.scores", "is the name of a table, and this is for a path. A folder of that name: ./main.graph."),
        ("scores.v2", "A table of Spark's catalog: --output-table scores.v2, on the command line"),
        ("table:scores", "A folder of that name: ./scores. A table of Spark's catalog: --output-table scores,"),
        ("delta.`/x`", "delta.`/x`: names files of delta; scores go to a path, as /x"),
    ],
)
def test_a_name_where_a_path_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["infer", "--graph", "g", "--model", "m", "--output", given]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    with pytest.raises(SettingError, match=r"scores go to a path|is the name of a table"):
        score("g", "m", given)
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_name_has_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there is a path, and so is what says so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.v2").mkdir()
    for given in ("scores.v2", "./scores.v3", "o/scores.v3", "scores.parquet", "scores", "scores-2026.11"):
        refuse_name(given)
