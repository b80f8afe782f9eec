"""Bad input: what each mistake is told as, from the command line and from Python.

A message says what, where, found and remedy; the exit code is 2; there is no traceback and no Java, and nothing is left
under the output path.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import pipeline
from pipeline import Graph, Model, cli, open_graph, prepare
from pipeline.command.exits import FAILED, INTERRUPTED, MEANINGS, MENDABLE, SPARK_FAILED
from pipeline.command.messages import message_of
from pipeline.errors import (
    DataError,
    FormulaError,
    GraphsweepError,
    ModelError,
    SettingError,
    StorageError,
    first_line,
    nearest,
)
from pipeline.formula import linear, lookup

FLOATS = pa.list_(pa.float32())


def refused(*arguments, code=MENDABLE):
    """Runs a command that must fail; what it said on stderr."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    for word in ("Traceback", "java.", "\tat ", "Py4J", "org.apache"):
        assert word not in result.output
    assert result.stdout == ""
    return result.stderr


def nodes(ids=(1, 2, 3), x=None, **columns):
    x = x if x is not None else [[float(i), 1.0] for i in range(len(ids))]
    return pa.table({"id": pa.array(ids), "x": pa.array(x, FLOATS), **columns})


def edges(ends=((1, 2), (2, 3)), **columns):
    return pa.table({"src": pa.array([s for s, _ in ends]), "dst": pa.array([d for _, d in ends]), **columns})


def written(directory, node_table, edge_table):
    pa.parquet.write_table(node_table, directory / "nodes.parquet")
    pa.parquet.write_table(edge_table, directory / "edges.parquet")
    return "--nodes", directory / "nodes.parquet", "--edges", directory / "edges.parquet"


def model(lanes=2, column="nodes.x"):
    def formula(g, x, w):
        return linear(g.mean(g.src(x)), w.lin)

    return Model.from_formula(formula, {"lin.weight": np.ones((1, lanes))}, {"nodes.x": lanes}, {"nodes.x": column})


@pytest.fixture
def net(tmp_path):
    model().save(tmp_path / "net")
    return tmp_path / "net"


@pytest.fixture(scope="module")
def prepared(spark, tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "g"
    frames = (spark.createDataFrame(table) for table in (nodes(), edges(weight=pa.array([1.0, 2.0]))))
    prepare(Graph(*frames, edge_features="weight"), str(path), blocks=1)
    return path


@pytest.fixture
def no_spark(monkeypatch):
    monkeypatch.setattr("pipeline.cli.given._session", lambda verbose: pytest.fail("Spark was started"))


@pytest.fixture(params=["no Spark", "this process", "tasks"])
def by(request, monkeypatch):
    """Who prepares raw tables: this process, where no session is there or one is; or tasks of Spark."""
    if request.param == "no Spark":
        monkeypatch.setattr("pipeline.command.own_session.spark_is_optional", lambda: True)
        monkeypatch.setattr("pipeline.cli.given._session", lambda *_, **__: pytest.fail("Spark was started"))
    elif request.param == "tasks":
        monkeypatch.setattr(sys.modules["pipeline.prepare"], "_fits_in_process", lambda *_: False)


# ---- what is wrong with the rows of the tables: all of it in one message


BAD_ROWS = {
    "edge ends that are not nodes": (
        nodes(),
        edges([(1, 2), (90211, 2), (90212, 3), (90213, 1), (90214, 1), (2, 7)]),
        [
            r"edges\.src holds 4 ids absent from the nodes \(first: 90211, 90212, 90213\); add these nodes, or leave "
            r"their edges out with --drop-dangling",
            r"edges\.dst holds 1 id absent from the nodes \(first: 7\)",
        ],
    ),
    "the same with text": (
        nodes(["a", "b"]),
        edges([("a", "b"), ("zoë", "b")]),
        [r"edges\.src holds 1 id absent from the nodes \(first: zoë\)"],
    ),
    "duplicate ids": (
        nodes([1, 2, 3, 2, 3, 3]),
        edges(),
        [r"nodes\.id holds 2 ids more than once \(first: 2, 3\); keep one row for each"],
    ),
    "null ids and null ends": (
        nodes([1, 2, 3, None]),
        edges([(1, 2), (None, 2), (1, None), (2, None)]),
        [r"nodes\.id holds 1 null", r"edges\.src holds 1 null", r"edges\.dst holds 2 nulls"],
    ),
    "arrays of different lengths": (
        nodes(x=[[1, 2], [1, 2], [3]]),
        edges(),
        [r"nodes\.x holds arrays of different lengths: 2 in 2 rows, 1 in 1 rows? \(first: 3\)"],
    ),
    "nulls and NaN in features": (
        nodes([1, 2, 3, 4], x=[[1, 2], None, [np.nan, 1], [np.inf, 1]]),
        edges(),
        [
            r"nodes\.x holds 1 null \(first: 2\); fill them or drop these rows",
            r"nodes\.x holds NaN or infinite numbers in 2 rows \(first: 3, 4\); replace them",
        ],
    ),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_bad_rows_from_the_command_line(spark, tmp_path, what, by):
    node_table, edge_table, messages = BAD_ROWS[what]
    tables = written(tmp_path, node_table, edge_table)
    said = refused("prepare", *tables, "--output", tmp_path / "g", "--blocks", 2, "--quiet")
    for message in messages:
        assert re.search(message, said), said
    assert said.startswith("graphsweep: ")
    assert sorted(os.listdir(tmp_path)) == ["edges.parquet", "nodes.parquet"]


@pytest.mark.parametrize("what", ["edge ends that are not nodes", "nulls and NaN in features"])
def test_bad_rows_from_python(spark, tmp_path, what):
    node_table, edge_table, messages = BAD_ROWS[what]
    graph = Graph(spark.createDataFrame(node_table), spark.createDataFrame(edge_table))
    with pytest.raises(DataError) as caught:
        prepare(graph, str(tmp_path / "g"), blocks=1)
    for message in messages:
        assert re.search(message.replace("--drop-dangling", "drop_dangling=True"), str(caught.value))
    assert os.listdir(tmp_path) == []


def test_bad_rows_when_prepared_on_the_fly(spark, tmp_path, net):
    tables = written(tmp_path, nodes(), edges([(1, 2), (8, 2)]))
    said = refused("infer", *tables, "--model", net, "--output", tmp_path / "o", "--quiet")
    assert "edges.src holds 1 id absent from the nodes (first: 8)" in said
    assert not (tmp_path / "o").exists()


def test_dangling_edges_can_be_dropped(spark, tmp_path, by):
    tables = written(tmp_path, nodes(), edges([(1, 2), (8, 2), (1, 9)]))
    arguments = ["prepare", *tables, "--output", tmp_path / "g", "--drop-dangling"]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert open_graph(str(tmp_path / "g")).edges == 1
    assert "2 dangling edges dropped" in result.stdout


def test_colliding_hashes_of_text_are_detected(spark, tmp_path):
    graph = Graph(spark.createDataFrame(nodes(["a", "b"])), spark.createDataFrame(edges([("a", "b")])))
    with pytest.raises(DataError, match="64-bit hash"):
        prepare(graph, str(tmp_path / "g"), blocks=1, text_hash=same_hash)
    assert os.listdir(tmp_path) == []


def same_hash(texts, seed):
    return np.zeros(len(texts), np.int64)


# ---- what the columns' names and types tell, before any job


BAD_COLUMNS = {
    "id types that differ": (
        nodes(),
        edges([("1", "2")]),
        [],
        "nodes.id is bigint but edges.src is string; ids must be integers in both tables, or text in both",
    ),
    "ends that differ": (
        nodes(),
        pa.table({"src": pa.array([1]), "dst": pa.array(["2"])}),
        [],
        "edges.src is bigint but edges.dst is string",
    ),
    "ids of another type": (nodes([0.5]), edges(), [], "nodes.id is double; ids may be integers up to 64 bits, or str"),
    "no such column": (nodes(), edges(), ["--id", "idd"], "nodes has no column 'idd'; did you mean 'id'?"),
    "capitals": (
        nodes().rename_columns(["ID", "x"]),
        edges(),
        [],
        "nodes has no column 'id'; did you mean 'ID'? (--id ID)",
    ),
    "no such feature": (nodes(), edges(), ["--features", "y"], "nodes has no column 'y'; known: id, x"),
    "no such edge column": (nodes(), edges(), ["--edge-features", "w"], "edges has no column 'w'; known: dst, src"),
    "text as a feature": (
        nodes(name=pa.array(list("abc"))),
        edges(),
        ["--features", "name"],
        "nodes.name is string (for example 'a'); values must be numbers or arrays of numbers",
    ),
    "an array among numbers": (
        nodes(age=pa.array([1, 2, 3])),
        edges(),
        ["--features", "age,x"],
        "nodes.x is array<float>; a list of columns may hold numbers only",
    ),
}


@pytest.mark.parametrize("what", BAD_COLUMNS)
def test_bad_columns(spark, tmp_path, what, by):
    node_table, edge_table, options, message = BAD_COLUMNS[what]
    tables = written(tmp_path, node_table, edge_table)
    assert message in refused("prepare", *tables, "--output", tmp_path / "g", *options)
    assert not (tmp_path / "g").exists()


SWAPPED = {
    "usual names": (nodes(), edges(), {}),
    "names of their own": (
        nodes().rename_columns(["user", "x"]),
        edges().rename_columns(["payer", "payee"]),
        {"id": "user", "src": "payer", "dst": "payee"},
    ),
}


@pytest.mark.parametrize("what", SWAPPED)
def test_swapped_tables(no_spark, monkeypatch, tmp_path, net, what):
    monkeypatch.setattr("pipeline.command.own_session.spark_is_optional", lambda: True)
    node_table, edge_table, names = SWAPPED[what]
    written(tmp_path, node_table, edge_table)
    wrong = ("--nodes", tmp_path / "edges.parquet", "--edges", tmp_path / "nodes.parquet")
    options = [part for name, column in names.items() for part in (f"--{name}", column)]
    src, dst, id = (names.get(name, name) for name in ("src", "dst", "id"))
    found = f"the node table has the columns {src}, {dst}, and the edge table {id}; did you swap"
    for command in (["prepare"], ["infer", "--model", net]):
        said = refused(*command, *wrong, *options, "--output", tmp_path / "o")
        assert said == f"graphsweep: {found} --nodes and --edges?\n"
        assert not (tmp_path / "o").exists()
    for convert in (lambda table: table, lambda table: table.to_pandas()):
        with pytest.raises(DataError, match=f"{found} nodes and edges\\?"):
            Graph(convert(edge_table), convert(node_table), **names)


def test_swapped_dataframes(spark):
    with pytest.raises(
        DataError, match=r"the node table has the columns src, dst, and .* did you swap nodes and edges\?"
    ):
        Graph(spark.createDataFrame(edges()), spark.createDataFrame(nodes()))


def test_no_features_by_the_usual_name(no_spark, monkeypatch, tmp_path, net):
    """Whose columns have other names is told them, and the option; without a session."""
    monkeypatch.setattr("pipeline.command.own_session.spark_is_optional", lambda: True)
    tables = written(tmp_path, nodes().rename_columns(["id", "emb"]), edges())
    for command in (["prepare"], ["infer", "--model", net]):
        said = refused(*command, *tables, "--output", tmp_path / "o")
        assert said == "graphsweep: nodes has no column 'x'; known: emb, id; --features says which column is meant\n"
    with pytest.raises(
        DataError, match="nodes has no column 'x'; known: emb, id; features= says which column is meant"
    ):
        Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet")


# ---- a model that does not fit the graph: before any job


@pytest.mark.parametrize("command", ["infer", "explain"])
def test_model_and_graph_that_do_not_fit(no_spark, prepared, tmp_path, command):
    output = ["--output", tmp_path / "o"] if command == "infer" else []
    model(lanes=5).save(tmp_path / "wide")
    model(column="nodes.y").save(tmp_path / "other")
    said = refused(command, "--graph", prepared, "--model", tmp_path / "wide", *output)
    assert "the model expects nodes.x of width 5; the graph has width 2" in said
    said = refused(command, "--graph", prepared, "--model", tmp_path / "other", *output)
    assert "the model reads nodes.y (width 2), which the graph does not have; nodes of this graph: nodes.x (2)" in said


def test_a_graph_whose_columns_have_other_names(no_spark, tmp_path, prepared, net):
    """Where one column of it is as wide as what the model reads: how it would be prepared."""
    model(column="nodes.emb").save(tmp_path / "other")
    told = (
        "the model reads nodes.emb (width 2), which the graph does not have; nodes of this graph: nodes.x (2); if x is"
    )
    for command in (["infer", "--output", tmp_path / "o"], ["explain"]):
        said = refused(*command, "--graph", prepared, "--model", tmp_path / "other")
        assert said == f"graphsweep: {told} meant, prepare it with --features emb=x\n"
    with pytest.raises(ModelError, match=re.escape(f"{told} meant, prepare it with features={{'emb': 'x'}}")):
        pipeline.explain(open_graph(str(prepared)), model(column="nodes.emb"))
    model(lanes=3, column="nodes.emb").save(tmp_path / "wide")
    said = refused("explain", "--graph", prepared, "--model", tmp_path / "wide")
    assert said.endswith("which the graph does not have; nodes of this graph: nodes.x (2)\n")


def test_model_and_graph_that_do_not_fit_from_python(spark, prepared):
    for call in (pipeline.infer, pipeline.explain):
        with pytest.raises(ModelError, match=r"the model expects nodes\.x of width 5; the graph has width 2"):
            call(open_graph(str(prepared)), model(lanes=5))


def test_tables_that_lack_what_the_model_reads(spark, tmp_path):
    model(column="nodes.amount").save(tmp_path / "net")
    tables = written(tmp_path, nodes(), edges())
    said = refused("infer", *tables, "--model", tmp_path / "net", "--output", tmp_path / "o")
    assert "nodes has no column 'amount'" in said


def test_tables_too_wide_for_the_model_are_not_prepared(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys.modules["pipeline.planning"], "prepare", lambda *_, **__: pytest.fail("prepared all the same")
    )
    model(lanes=5).save(tmp_path / "net")
    tables = written(tmp_path, nodes(), edges())
    said = refused("infer", *tables, "--model", tmp_path / "net", "--output", tmp_path / "o")
    assert "the model expects nodes.x of width 5; the graph has width 2" in said
    graph = Graph(spark.createDataFrame(nodes()), spark.createDataFrame(edges()), features={"y": "x"})
    with pytest.raises(ModelError, match=r"reads nodes\.x \(width 2\), which the graph does not have"):
        pipeline.infer(graph, model())
    assert sorted(os.listdir(tmp_path)) == ["edges.parquet", "net", "nodes.parquet"]


# ---- paths


def test_tables_that_cannot_be_read(spark, tmp_path):
    written(tmp_path, nodes(), edges())
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("id,x\n1,2\n")
    (tmp_path / "nothing.csv").write_text("")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "nodes.parquet").read_bytes()[:90])
    shutil.copy(tmp_path / "nodes.parquet", tmp_path / "binary.csv")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part-0.orc").write_text("ORC")
    (tmp_path / "text.csv").write_text("id,x\n1,0.5\n2,high\n3,1\n")
    expected = {
        "missing.parquet": "no such file or directory",
        "missing.csv": "no such file or directory",
        "empty": "the directory holds no data files",
        "text.parquet": "text.parquet is not a Parquet file",
        "cut.parquet": "cut.parquet is a Parquet file whose end is missing",
        "binary.csv": "binary.csv is a Parquet file, not CSV",
        "nothing.csv": "nothing.csv is empty, without a header line",
        "other": "part-0.orc is a .orc file; parquet, csv, delta are read",
        "text.csv": "nodes.x is string (for example 'high'); values must be numbers",
    }
    for name, message in expected.items():
        options = ["--nodes", tmp_path / name, "--edges", tmp_path / "edges.parquet", "--output", tmp_path / "g"]
        said = refused("prepare", *options)
        assert message in said, said
        assert name in said or "nodes.x" in said
        assert not (tmp_path / "g").exists()


def test_output_that_exists(no_spark, prepared, net, tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "part-0.parquet").touch()
    for command in (
        ["infer", "--graph", prepared, "--model", net, "--output", tmp_path / "o"],
        ["prepare", "--nodes", "n.parquet", "--edges", "e.parquet", "--output", prepared],
    ):
        said = refused(*command)
        assert f"{command[-1]}: exists already; give another path" in said


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_prepared_graph_never_goes_among_its_tables(no_spark, tmp_path, overwrite):
    (tmp_path / "t").mkdir()
    tables = written(tmp_path / "t", nodes(), edges())
    before = sorted((tmp_path / "t").rglob("*"))
    for output, how in ((tmp_path / "t", "holds"), (tables[1], "is"), (f"file:{tmp_path}/x/../t", "holds")):
        said = refused("prepare", *tables, "--output", output, *overwrite)
        assert (
            f"{output}: the output {how} the node table ({tables[1]}); give another path. Nothing was touched" in said
        )
    assert sorted((tmp_path / "t").rglob("*")) == before


def test_somebody_elses_directory_is_not_overwritten(spark, prepared, net, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("love")
    tables = written(tmp_path, nodes(), edges())
    target = ["--output", tmp_path / "letters", "--overwrite"]
    said = refused("prepare", *tables, *target)
    assert "letters: exists already and is not a prepared graph (there is dear.txt); give another path" in said
    said = refused("infer", "--graph", prepared, "--model", net, *target)
    assert "not overwritten, because it holds dear.txt, and not scores that graphsweep wrote; give another path" in said
    assert (tmp_path / "letters" / "dear.txt").read_text() == "love"


def test_output_that_cannot_be_written(spark, prepared, net, tmp_path):
    (tmp_path / "file").write_text("")
    tables = written(tmp_path, nodes(), edges())
    for command in (["infer", "--graph", prepared, "--model", net], ["prepare", *tables]):
        assert "cannot be written" in refused(*command, "--output", tmp_path / "file" / "o")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_to_write(spark, prepared, net, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    said = refused("infer", "--graph", prepared, "--model", net, "--output", tmp_path / "closed" / "o")
    assert "cannot be written: Permission denied" in said


def test_graphs_and_models_that_are_none(no_spark, prepared, net, tmp_path):
    def said(graph=prepared, model=net):
        return refused("infer", "--graph", graph, "--model", model, "--output", f"{tmp_path}-other")

    assert "no prepared graph here (manifest.json is missing)" in said(graph=tmp_path)
    assert "no prepared graph here" in said(graph=tmp_path / "missing")
    assert "does not exist; a model is a directory of model.json and weights.safetensors" in said(model="missing")
    assert "holds no model.json: it is not a saved model" in said(model=tmp_path)
    assert "manifest.json is missing); it is a model" in said(graph=net)
    assert "holds no model.json: it is a prepared graph, not a saved model" in said(model=prepared)
    (tmp_path / "nodes.parquet").touch()
    assert "it is a file: prepare the graph of its table first" in said(graph=tmp_path / "nodes.parquet")
    text = (net / "model.json").read_text()
    (net / "model.json").write_text(text[:40])
    assert "model.json is not JSON" in said()
    (net / "model.json").write_text(text.replace('"matmul"', '"system"'))
    assert "unknown operation 'system'" in said()


def test_a_graph_of_another_version(no_spark, prepared, net, tmp_path):
    shutil.copytree(prepared, tmp_path / "g")
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    (tmp_path / "g" / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    said = refused("explain", "--graph", tmp_path / "g", "--model", net)
    assert re.search("written as version 99 of the format.* this is version", said)


def test_a_category_without_a_row(no_spark, spark, tmp_path):
    columns = {"kind": pa.array([0.0, 3.0, 17.0])}
    frames = (spark.createDataFrame(table) for table in (nodes(**columns), edges()))
    prepare(Graph(*frames, features={"kind": "kind"}), str(tmp_path / "g"), blocks=1)
    made = Model.from_formula(lambda kind, w: lookup(w.kinds, kind), {"kinds": np.ones((10, 2))}, {"nodes.kind": ()})
    made.save(tmp_path / "m")
    said = refused("infer", "--graph", tmp_path / "g", "--model", tmp_path / "m", "--output", tmp_path / "o")
    assert "nodes.kind holds 17; the model's table kinds has 10 rows (0 to 9)" in said


# ---- options and settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["infer", "--model", "m", "--output", "o", "--grap", "g"],
            "No such option: --grap (Possible options: --graph, --graph-spec)",
        ),
        (["infer", "--output", "o", "--graph", "g"], "Missing option '--model'"),
        (["infr"], "No such command 'infr'"),
        (
            ["infer", "--graph", "g", "--model", "m", "--output", "o", "--blocks", "many"],
            "Invalid value for '--blocks'",
        ),
        (["infer", "--model", "m", "--output", "o"], "give either --graph, or both --nodes and --edges"),
        (
            ["infer", "--model", "m", "--output", "o", "--nodes", "n"],
            "give either --graph, or both --nodes and --edges",
        ),
        (
            ["infer", "--model", "m", "--output", "o", "--graph", "g", "--nodes", "n", "--edges", "e"],
            "give either --graph, or both --nodes and --edges",
        ),
        (
            ["infer", "--model", "m", "--output", "o", "--graph", "g", "--undirected", "--blocks", "3"],
            "--undirected, --blocks: of no use with --graph, which was prepared already",
        ),
        (
            ["infer", "--model", "m", "--output", "o", "--graph", "g", "--tier", "fusd"],
            "tier is 'fusd'; accepted: auto, fused, distributed; did you mean 'fused'?",
        ),
        (
            ["prepare", "--nodes", "n", "--edges", "e", "--output", "o", "--blocks", "0"],
            "blocks is 0; accepted: a whole number from 1, or auto",
        ),
        (
            ["explain", "--graph", "g", "--model", "m", "--conf", "missing.toml"],
            "missing.toml: cannot be read: No such file or directory",
        ),
    ],
)
def test_options(no_spark, arguments, message):
    assert message in refused(*arguments)


EMPTY = {
    "prepare": ["--nodes", "--edges", "--output", "--conf"],
    "infer": ["--graph", "--nodes", "--edges", "--model", "--output", "--conf"],
    "explain": ["--graph", "--model", "--conf"],
    "verify": ["--graph", "--model", "--output", "--nodes", "--edges"],
    "export": ["--output", "--checkpoint", "--training"],
}


@pytest.mark.parametrize(
    ("command", "option"), [(name, option) for name, options in EMPTY.items() for option in options]
)
@pytest.mark.parametrize("path", ["", "  "])
def test_a_path_that_is_empty(no_spark, monkeypatch, tmp_path, command, option, path):
    """A variable of the shell that is not set, in a directory that holds a table."""
    written(tmp_path, nodes(), edges())
    monkeypatch.chdir(tmp_path)
    given = {name: name.strip("-") for name in EMPTY[command]} | {option: path}
    arguments = ["module:factory"] if command == "export" else []
    said = refused(command, *arguments, *[part for pair in given.items() for part in pair])
    assert said == f"graphsweep: {option} is empty; is a variable unset?\n"
    assert sorted(os.listdir(tmp_path)) == ["edges.parquet", "nodes.parquet"]


def test_other_formats(spark, prepared, net, tmp_path):
    arguments = ["infer", "--graph", prepared, "--model", net, "--output", tmp_path / "o"]
    assert "unknown output format 'parket'; did you mean 'parquet'?" in refused(*arguments, "--format", "parket")
    tables = written(tmp_path, nodes(), edges())
    said = refused("prepare", *tables, "--output", tmp_path / "g", "--nodes-format", "orc")
    assert "unknown format 'orc'; known: csv, delta, parquet" in said


def test_a_conf_file_with_a_wrong_name(no_spark, tmp_path):
    (tmp_path / "run.toml").write_text("block = 3\n")
    said = refused("explain", "--graph", "g", "--model", "m", "--conf", tmp_path / "run.toml")
    assert "run.toml: unknown setting 'block'; did you mean 'blocks'?" in said


# ---- graphs that are unusual, and right


@pytest.mark.parametrize(("ids", "ends"), [([], []), ([1, 2], []), ([5], [(5, 5)]), ([1, 2], [(1, 2), (1, 2), (2, 2)])])
def test_unusual_graphs_are_no_mistakes(spark, tmp_path, net, ids, ends):
    kind = pa.int64()
    node_table = pa.table({"id": pa.array(ids, kind), "x": pa.array([[i, 1.0] for i in ids], FLOATS)})
    edge_table = pa.table({"src": pa.array([s for s, _ in ends], kind), "dst": pa.array([d for _, d in ends], kind)})
    tables = written(tmp_path, node_table, edge_table)
    arguments = ["infer", *tables, "--model", net, "--output", tmp_path / "o", "--quiet"]
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    found = pa.parquet.read_table(tmp_path / "o").sort_by("id").to_pydict()
    means = [np.mean([[s, 1.0] for s, d in ends if d == i] or [[0, 0]], axis=0).sum() for i in ids]
    assert found["id"] == ids
    np.testing.assert_allclose(np.ravel(np.array(found["output"], np.float64)), means)


# ---- what Spark says, in words for people


class PythonException(Exception):
    """What it is called and where it lives is all that `say` looks at."""


PythonException.__module__ = "pyspark.errors.exceptions.captured"

WORKER = """An exception was thrown from the Python worker:
Traceback (most recent call last):
  File "worker.py", line 1, in main
pipeline.errors.DataError: block 3 has 5 edges, more than 4
prepare with more blocks

JVM stacktrace:
org.apache.spark.api.python.PythonException
\tat org.apache.spark.X"""


@pytest.mark.parametrize(
    ("error", "text", "code"),
    [
        (PythonException(WORKER), "block 3 has 5 edges, more than 4\nprepare with more blocks", MENDABLE),
        (
            PythonException("x\nModuleNotFoundError: No module named 'numba'"),
            "the tasks have no module numba: install the same wheel on every machine, or ship",
            MENDABLE,
        ),
        (
            PythonException("Job aborted: Python worker exited unexpectedly (crashed)"),
            "a Python worker died, ",
            SPARK_FAILED,
        ),
        (
            PythonException("java.lang.OutOfMemoryError: Java heap space\n\tat"),
            "ran out of memory (Java heap sp",
            SPARK_FAILED,
        ),
        (
            PythonException(
                "[UDF_PYSPARK_USER_CODE_ERROR.MEMORY_LIMIT_SERVERLESS] Execution failed.\nFunction exceeded the limit "
                "of 1024 megabytes. Please reduce the memory usage of your function. SQLSTATE: 39000"
            ),
            "a task took more than the 1024 MB that serverless compute gives it: prepare the graph with more blocks",
            MENDABLE,
        ),
        (
            PythonException("RESOURCE_EXHAUSTED: Sent message larger than max (629146388 vs. 134217728)"),
            "Spark Connect does not take as much at once (629146388 bytes): use more blocks",
            MENDABLE,
        ),
        (
            PythonException("RESOURCE_EXHAUSTED gRPC message exceeds maximum size 134217728: 269207219"),
            "Spark Connect does not take as much at once (269207219 bytes): use more blocks",
            MENDABLE,
        ),
        (
            PythonException("java.io.IOException: No space left on device"),
            "a disk is full, most likely that of spark.local",
            MENDABLE,
        ),
        (
            PythonException("Lost task (TID 5) (10.0.0.7 executor 3): java.io.IOException: No space left on device"),
            "a disk is full on 10.0.0.7: that of spark.local.dir (or SPARK_LOCAL_DIRS), where Spark shuffles",
            MENDABLE,
        ),
        (PythonException("\njava.io.IOException: Permission denied: /data\n"), "no permission: Permission", MENDABLE),
        (
            PythonException("[PATH_ALREADY_EXISTS] Path hdfs://n/o already exists. Set mode as..."),
            "hdfs://n/o: exists already; give another path",
            MENDABLE,
        ),
        (
            PythonException(
                "\n  An exception was thrown from the Python worker. Please see the stack trace below.\n"
                "Traceback (most recent call last):\n  File 'w.py', line 1\nValueError: inner\n\n"
                "The above exception was the direct cause of the following exception:\n\n"
                "Traceback (most recent call last):\n  File 'w.py', line 2\na.b.TaskError: the reason\n\tat y"
            ),
            "Spark failed: TaskError: the reason\n--verbose",
            SPARK_FAILED,
        ),
        (
            PythonException(
                "Traceback (most recent call last):\n  File 'w.py', line 1\npyspark.errors.x.PySparkRuntimeError: "
                "[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.10 than that in driver: 3.11, Py"
            ),
            "the tasks run Python 3.10, and this process Python 3.11: ",
            MENDABLE,
        ),
        (
            PythonException("An error occurred while calling o1.x\nthe reason\n\tat y"),
            "Spark failed: the reason\n",
            SPARK_FAILED,
        ),
        (
            PythonException(WORKER.replace("pipeline.errors.DataError: block", "ValueError: no block")),
            "Spark failed: ValueError: no block 3 has 5 edges, more than 4\n",
            SPARK_FAILED,
        ),
        (
            PythonException(
                "x\n\tat y\nCaused by: a.B: middle\n\tat z\nCaused by: java.io.IOException: the cause\n\tat c"
            ),
            "Spark failed: java.io.IOException: the cause\n",
            SPARK_FAILED,
        ),
        (StorageError("o: exists; or overwrite it"), "o: exists; or --overwrite", MENDABLE),
    ],
)
def test_what_is_said(error, text, code):
    said = message_of(error)
    assert text in said.text
    assert "\tat" not in said.text
    assert said.code == code


@pytest.mark.parametrize(
    "said",
    [
        "AWS Error ACCESS_DENIED during GetObject operation: no",
        "google::cloud::Status(PERMISSION_DENIED: no)",
        "GetProperties failed. Azure Error: [AuthorizationFailure] 403",
    ],
)
def test_what_a_store_answers(said):
    told = message_of(OSError(f"When reading x: {said}"))
    assert told.text == f"an object store did not do what it was asked for: When reading x: {said}"
    assert told.code == MENDABLE
    assert message_of(OSError("When reading x: no")) is None, "a mistake of ours"


def test_a_mistake_of_ours_keeps_its_traceback(no_spark, monkeypatch):
    assert message_of(KeyError("x")) is None
    monkeypatch.setattr("pipeline.cli.explain.settings_from", lambda *_, **__: 1 / 0)
    result = CliRunner().invoke(cli.app, ["explain", "--graph", "g", "--model", "m"])
    assert result.exit_code == FAILED
    assert "ZeroDivisionError" in result.stderr


def test_interrupted(monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.cli.explain.settings_from", stop)
    assert refused("explain", "--graph", "g", "--model", "m", code=INTERRUPTED) == "graphsweep: interrupted\n"


def test_told_to_end(monkeypatch):
    """As an interrupt, which lets everything be cleaned up; afterwards the process is as it was."""

    def stop(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
        pytest.fail("it went on")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("pipeline.cli.explain.settings_from", stop)
    assert refused("explain", "--graph", "g", "--model", "m", code=INTERRUPTED) == "graphsweep: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_exit_codes_are_in_the_help():
    said = CliRunner().invoke(cli.app, ["--help"]).stdout
    assert sorted(MEANINGS) == [0, 1, 2, 3, 4, 130]
    for code, meaning in MEANINGS.items():
        assert f"  {code:<4} {meaning}\n" in said


@pytest.mark.parametrize("kind", [DataError, FormulaError, ModelError, SettingError])
def test_kinds_of_errors(kind):
    assert issubclass(kind, GraphsweepError)
    assert issubclass(kind, ValueError)


def test_nearest():
    assert nearest("tear", ["tier", "blocks"]) == "did you mean 'tier'?"
    assert nearest("zzz", ["tier", "blocks"]) == "known: blocks, tier"


CALLING = "An error occurred while calling o1.load.\n: "


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("[PATH_NOT_FOUND] Path does not exist: x.;\n'DataSource", "[PATH_NOT_FOUND] Path does not exist: x.;"),
        (f"{CALLING}org.apache.hadoop.fs.UnsupportedFileSystemException: No such\n\tat org.apache", "No such"),
        (f"{CALLING}java.lang.NullPointerException\n\tat java.base", "NullPointerException"),
        (f"{CALLING}org.apache.spark.SparkException: [A_B] all: of it\n\tat org", "[A_B] all: of it"),
        ("plain\nsecond", "plain"),
    ],
)
def test_what_spark_says_in_one_line(said, told):
    assert first_line(RuntimeError(said)) == told
