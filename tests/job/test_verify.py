"""`verify` of raw tables, as a command: the options of `infer`, and what is refused before Spark starts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pipeline import Graph, Model, cli, infer
from pipeline.command import own_session
from tests.formulas import build
from tests.tables.test_spec import folder
from tests.typed_tables import model as typed_model
from tests.whole import whole

__all__ = ["folder"]  # the fixture: graph.toml and the tables of its types


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_session: None) -> Path:
    """Tables whose columns are called otherwise, a model, scores; nobody starts a session."""

    def started(*_: Any) -> Any:
        raise AssertionError("Spark was started")

    monkeypatch.setattr(own_session, "spark_session", started)
    monkeypatch.chdir(tmp_path)
    nodes, edges = whole("mixed").nodes(), whole("mixed").edges()
    pq.write_table(nodes.rename_columns(["number", "vector"]), "n.parquet")
    pq.write_table(edges.rename_columns(["from", "to", "amount", "attr"]), "e.parquet")
    build("gcn_weighted").save("m")
    return tmp_path


RAW = ["--nodes", "n.parquet", "--edges", "e.parquet"]
COLUMNS = [
    "--id", "number", "--src", "from", "--dst", "to", "--features", "vector", "--edge-features", "weight=amount",
]  # fmt: skip


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, list(map(str, arguments)))


def scored(*more: object) -> None:
    done = run("infer", *RAW, *COLUMNS, "--model", "m", "--output", "o", *more)
    assert done.exit_code == 0, done.output


def verified(*arguments: object) -> Result:
    return run("verify", *arguments, "--model", "m", "--output", "o")


def test_raw_tables_with_the_options_of_infer(at: Path) -> None:
    scored()
    done = verified(*RAW, *COLUMNS, "--sample", "all", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["passed"], said["recomputed"], said["rows"]) == (True, 200, 200)
    edges = pq.read_table("e.parquet")
    pq.write_table(edges.slice(0, len(edges) - 1), "fewer.parquet")
    done = verified("--nodes", "n.parquet", "--edges", "fewer.parquet", *COLUMNS, "--sample", "all")
    assert done.exit_code == 3, done.output
    assert done.stdout.endswith("FAIL\n")


def test_undirected_dangling_and_csv(at: Path) -> None:
    edges = pq.read_table("e.parquet").drop_columns(["attr"])
    lost = pa.table({"from": [10**9], "to": edges["to"].slice(0, 1), "amount": pa.array([1.0], pa.float32())})
    pyarrow.csv.write_csv(pa.concat_tables([edges, lost]), "e.txt", pyarrow.csv.WriteOptions(delimiter=";"))
    raw = ["--nodes", "n.parquet", "--edges", "e.txt", "--edges-format", "csv", "--csv-sep", ";", *COLUMNS]
    options = ["--undirected", "--drop-dangling"]
    done = run("infer", *raw, *options, "--model", "m", "--output", "o")
    assert done.exit_code == 0, done.output
    assert verified(*raw, *options, "--sample", "all").exit_code == 0
    assert verified(*raw, "--drop-dangling", "--sample", "all").exit_code == 3, "other edges"
    done = verified(*raw, "--undirected")
    said = "give the tables that were scored, --nodes and --edges; or --drop-dangling, if the run left such edges out"
    assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_names_that_training_told(at: Path) -> None:
    """Without --features the columns are those that the model remembers, as for infer."""
    model = Model.load("m").trained_on({"weight": ["amount"]})
    model.save("m", overwrite=True)
    columns = COLUMNS[: COLUMNS.index("--edge-features")]
    done = run("infer", *RAW, *columns, "--model", "m", "--output", "o")
    assert done.exit_code == 0, done.output
    assert verified(*RAW, *columns).exit_code == 0


def test_the_page_of_raw_tables(at: Path) -> None:
    pytest.importorskip("jinja2")
    scored()
    done = verified(*RAW, *COLUMNS, "--report", "page.html", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)["report"]
    assert said["tables"] == {"nodes": "n.parquet", "edges": "e.parquet"}
    assert (said["graph_path"], said["scores_path"]) == (None, "o")
    done = verified(*RAW, *COLUMNS, "--report", "n.parquet/page.html")
    assert done.exit_code == 2, done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --graph, or the raw tables: both --nodes and --edges, or --graph-spec"),
        (["--nodes", "n.parquet"], "give --graph, or the raw tables: both --nodes and --edges, or --graph-spec"),
        (["--graph", "g", "--features", "x"], "--features: of no use with --graph, which knows its tables and columns"),
        (["--graph", "g", "--graph-spec", "t", "--csv-sep", ";"], "--graph-spec, --csv: of no use with --graph"),
        ([*RAW, *COLUMNS[:6], "--features", "vectr"], "vectr"),
        ([*RAW, *COLUMNS[:8], "--edge-features", "weight=amuont"], "amuont"),
        ([*RAW, *COLUMNS[2:]], "id"),
        (["--nodes", "e.parquet", "--edges", "n.parquet", *COLUMNS], "did you swap --nodes and --edges?"),
        (["--nodes", "none.parquet", "--edges", "e.parquet"], "none.parquet"),
        ([*RAW, *COLUMNS, "--sample", "many"], "sample is many; accepted: a whole number from 1, or all"),
        ([*RAW, *COLUMNS, "--limit", "0"], "limit is 0; accepted: a whole number from 1"),
        ([*RAW, *COLUMNS, "--tolerance", "2"], "tolerance is 2.0; accepted: a number from 0 to 1"),
        ([*RAW, *COLUMNS, "--output-id", "key"], "the scores have no column 'key' of ids; they have number, output;"),
    ],
)  # fmt: skip
def test_refused_without_spark(arguments: list[str], message: str, at: Path) -> None:
    scored()
    before = sorted(at.rglob("*"))
    done = verified(*arguments)
    assert (done.exit_code, message in " ".join(done.stderr.split())) == (2, True), done.output
    assert sorted(at.rglob("*")) == before


def test_scores_that_are_not_there(at: Path) -> None:
    done = verified(*RAW, *COLUMNS)
    assert (done.exit_code, "o: no such file or directory" in done.stderr) == (2, True), done.output
    scored()
    shutil.rmtree("m")
    done = verified(*RAW, *COLUMNS)
    assert (done.exit_code, "m does not exist; a model is a directory" in done.stderr) == (2, True), done.output


def test_a_model_that_reads_edges_against_their_direction(at: Path) -> None:
    build("both_ways").save("m", overwrite=True)
    scored()
    assert verified(*RAW, *COLUMNS, "--sample", "all").exit_code == 0


def test_a_typed_graph(folder: Path, no_session: None) -> None:
    typed_model().save(folder / "m")
    spec = ["--graph-spec", folder / "graph.toml", "--model", folder / "m", "--output", folder / "o"]
    assert run("infer", *spec).exit_code == 0
    done = run("verify", *spec, "--sample", "all")
    assert (done.exit_code, done.stdout.endswith("all types: PASS\n")) == (0, True), done.output
    done = run("verify", *spec, "--features", "x")
    assert (done.exit_code, "--features: of no use with --graph-spec;" in done.stderr) == (2, True), done.output
    done = run("verify", "--nodes", "n", "--edges", "e", *spec)
    assert (done.exit_code, "--graph-spec names the tables; leave --nodes and --edges out" in done.stderr) == (2, True)


def test_the_same_as_from_python(at: Path) -> None:
    """The command's scores and those in memory are judged alike."""
    from pipeline import verify

    scored()
    graph = Graph("n.parquet", "e.parquet", id="number", src="from", dst="to", features={"x": "vector"},
                  edge_features={"weight": "amount"})  # fmt: skip
    assert verify(graph, "m", "o").outputs == verify(graph, "m", infer(graph, "m")).outputs
