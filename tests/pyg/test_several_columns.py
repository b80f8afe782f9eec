"""Several columns of a table as one argument of forward: how they are written, and the numbers of PyG by every way."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch_geometric.nn import GATv2Conv, GCNConv
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer, prepare, score, verify
from pipeline.errors import DataError, ModelError
from pipeline.pyg.several_columns import several_columns

NODES, EDGES = 60, 400
X, ATTR = ["amount", "age", "known"], ["late", "miles", "price"]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = GATv2Conv(len(X), 5, edge_dim=len(ATTR))

    def forward(self, x, edge_index, edge_attr):
        return self.conv(x, edge_index, edge_attr)


def imported(**inputs):
    return Model.from_pyg(Net().eval(), inputs={"x": X, "edge_attr": ATTR, **inputs})


@pytest.fixture(scope="module")
def tables():
    """A column of each type that a single column may have; none in the order in which the model reads them."""
    rng = np.random.default_rng(5)
    prices = [Decimal(int(cents)).scaleb(-2) for cents in rng.integers(0, 999, EDGES)]
    nodes = pa.table({
        "id": np.arange(NODES),
        "known": pa.array(rng.random(NODES) < 0.5),
        "age": pa.array(rng.integers(0, 90, NODES), pa.int16()),
        "amount": rng.normal(size=NODES),
    })  # fmt: skip
    edges = pa.table({
        "src": rng.integers(0, NODES, EDGES),
        "dst": rng.integers(0, NODES, EDGES),
        "price": pa.array(prices, pa.decimal128(6, 2)),
        "miles": pa.array(rng.integers(1, 40, EDGES), pa.int32()),
        "late": pa.array(rng.normal(size=EDGES), pa.float32()),
    })  # fmt: skip
    return nodes, edges


def matrix(table, names):
    return np.stack([np.array(table[name].to_pylist(), np.float64) for name in names], axis=1)


def by_torch(nodes, edges):
    net = Net().eval().double()
    index = torch.tensor(np.stack([edges["src"].to_numpy(), edges["dst"].to_numpy()]))
    with torch.no_grad():
        return net(torch.tensor(matrix(nodes, X)), index, torch.tensor(matrix(edges, ATTR))).numpy()


def scored(path):
    rows = pq.ParquetDataset(path).read().sort_by("id")
    return np.stack(rows["output"].to_numpy())


GRAPHS = {
    "by the argument's name": {"features": X, "edge_features": {"edge_attr": ATTR}},
    "by another name": {"features": {"mine": X}, "edge_features": {"theirs": ATTR}},
    "each by itself": {"features": {name: name for name in sorted(X)}, "edge_features": sorted(ATTR)},
}


@pytest.mark.parametrize("kind", GRAPHS)
def test_numbers_are_those_of_pyg(kind, tables, tmp_path):
    model = imported()
    graph = Graph(*tables, **GRAPHS[kind])
    prepared = prepare(graph, tmp_path / "g", 3)
    score(prepared, model, tmp_path / "prepared")
    score(graph, model, tmp_path / "raw")
    np.testing.assert_allclose(scored(tmp_path / "prepared"), by_torch(*tables), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(scored(tmp_path / "raw"), by_torch(*tables), rtol=2e-5, atol=2e-5)
    for sample in ("all", 20):
        found = verify(graph, model, tmp_path / "prepared", sample=sample)
        assert found.passed, str(found)


@pytest.mark.parametrize("kind", GRAPHS)
def test_spark_gives_the_same_bits(kind, spark, tables, tmp_path):
    model = imported()
    frames = [spark.createDataFrame(table) for table in tables]
    distributed = prepare(Graph(*frames, **GRAPHS[kind]), tmp_path / "frames", 3)
    here = prepare(Graph(*tables, **GRAPHS[kind]), tmp_path / "here", 3)
    assert distributed.fingerprint == here.fingerprint
    score(here, model, tmp_path / "fused")
    rows = infer(distributed, model, settings={"tier": "distributed"}, spark=spark).orderBy("id").toArrow()
    assert np.stack(rows["output"].to_numpy()).tobytes() == scored(tmp_path / "fused").tobytes()
    np.testing.assert_allclose(scored(tmp_path / "fused"), by_torch(*tables), rtol=2e-5, atol=2e-5)


def test_a_swapped_column_is_seen_by_verify(tables, tmp_path):
    graph = Graph(*tables, **GRAPHS["each by itself"])
    score(graph, imported(edge_attr=["miles", "late", "price"]), tmp_path / "o")
    assert not verify(graph, imported(), tmp_path / "o").passed


def test_a_column_of_arrays_of_the_same_name(tables, tmp_path):
    nodes, edges = tables
    rows = pa.array(list(matrix(edges, ATTR).astype(np.float32)), pa.list_(pa.float32()))
    graph = Graph(nodes, edges.append_column("edge_attr", rows), features=X, edge_features=["edge_attr"])
    score(graph, imported(), tmp_path / "o")
    np.testing.assert_allclose(scored(tmp_path / "o"), by_torch(*tables), rtol=2e-5, atol=2e-5)


def test_the_columns_are_saved_and_printed(tmp_path):
    model = imported()
    model.save(tmp_path / "m")
    again = Model.load(tmp_path / "m")
    assert "trained on edges.edge_attr: late, miles, price\n" in str(again)
    assert again.inputs == {"nodes.x": 3, "edges.edge_attr": 3}
    assert again.fingerprint == model.fingerprint


def test_integers_of_several_columns(tmp_path):
    class Embedded(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(4)
            self.kinds, self.conv = nn.Embedding(4, 6), GCNConv(12, 3)

        def forward(self, x, edge_index):
            return self.conv(self.kinds(x).flatten(1), edge_index)

    net = Embedded().eval()
    model = Model.from_pyg(net, inputs={"x": ["colour", "shape"]}, features={"x": (2, range(4))})
    nodes = pa.table({"id": [1, 2, 3], "shape": [3, 0, 1], "colour": [0, 1, 2]})
    edges = pa.table({"src": [1, 2, 3], "dst": [2, 3, 1]})
    for at, features in enumerate((["colour", "shape"], {"a": "colour", "b": "shape"})):
        score(Graph(nodes, edges, features=features), model, tmp_path / f"o{at}")
        expected = net(torch.tensor([[0, 3], [1, 0], [2, 1]]), torch.tensor([[0, 1, 2], [1, 2, 0]]))
        np.testing.assert_allclose(scored(tmp_path / f"o{at}"), expected.detach().numpy(), rtol=2e-5, atol=2e-5)
        wrong = nodes.set_column(1, "shape", pa.array([3, 4, 1]))
        with pytest.raises(ModelError, match=r"holds 4.*table kinds.weight has 4 rows|holds 4; the model's table"):
            score(Graph(wrong, edges, features=features), model, tmp_path / "wrong")


# ---- by the command


def test_the_command(tables, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.command.own_session.spark_is_optional", lambda: True)
    for name, table in zip(("n", "e"), tables, strict=True):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "several_net.py").write_text("from tests.pyg.test_several_columns import Net\n")

    def run(*arguments):
        done = CliRunner().invoke(cli.app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done.output

    raw = ("--nodes", tmp_path / "n.parquet", "--edges", tmp_path / "e.parquet")
    run("export", "several_net:Net", "--input", f"x=nodes.{'+nodes.'.join(X)}", "--input",
        f"edge_attr={'+'.join(ATTR)}", "--output", tmp_path / "m")  # fmt: skip
    run("infer", *raw, "--model", tmp_path / "m", "--output", tmp_path / "raw")
    named = ("--features", f"x={'+'.join(X)}", "--edge-features", f"price, edge_attr={'+'.join(ATTR)}")
    for at, options in enumerate((named, ("--features", ",".join(X), "--edge-features", "miles,price,late"))):
        run("prepare", *raw, *options, "--output", tmp_path / f"g{at}")
        run("infer", "--graph", tmp_path / f"g{at}", "--model", tmp_path / "m", "--output", tmp_path / f"o{at}")
        np.testing.assert_allclose(scored(tmp_path / f"o{at}"), by_torch(*tables), rtol=2e-5, atol=2e-5)
        told = run("verify", "--graph", tmp_path / f"g{at}", "--model", tmp_path / "m", "--output",
                   tmp_path / f"o{at}")  # fmt: skip
        assert told.endswith("PASS\n")
    np.testing.assert_allclose(scored(tmp_path / "raw"), by_torch(*tables), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("edge_attr=a+", "'edge_attr=a+': write NAME=COLUMN, or NAME=COLUMN+COLUMN"),
        ("=a+b", "'=a+b': write NAME=COLUMN, or NAME=COLUMN+COLUMN"),
        ("e=a,e=b", "'e' is given twice: e=a,e=b"),
    ],
)
@pytest.mark.parametrize("option", ["--features", "--edge-features"])
def test_columns_that_cannot_be_read_from_an_option(option, text, words, tmp_path):
    arguments = [
        "prepare",
        "--nodes",
        "n.parquet",
        "--edges",
        "e.parquet",
        option,
        text,
        "--output",
        str(tmp_path / "g"),
    ]
    done = CliRunner().invoke(cli.app, arguments)
    assert (done.exit_code, done.stderr.strip()) == (2, f"graphsweep: {words}")


# ---- what is refused


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "inputs gives 'edge_attr' as []; a list of names of columns is expected"),
        (["a", 1], "inputs gives 'edge_attr' as ['a', 1]; a list of names of columns is expected"),
        (["a", ""], "inputs gives 'edge_attr' as ['a', '']; a list of names of columns is expected"),
        (["a", "b", "a"], "inputs gives 'edge_attr' the column 'a' twice; name each column once, in their order"),
        (["edges.a", "edges.a"], "inputs gives 'edge_attr' the column 'a' twice"),
        (["edges.a", "nodes.b"], "inputs gives 'edge_attr' columns of both tables"),
        (["edges.a", "b"], "say of which table each column is: ['nodes.COLUMN', 'nodes.COLUMN'] or ['edges.COLUMN'"),
    ],
)
def test_columns_that_cannot_be_used(told, words):
    with pytest.raises(ModelError, match=re.escape(words)):
        imported(edge_attr=told)


def test_an_argument_of_its_own_name_says_its_table():
    with pytest.raises(ModelError, match=r"inputs gives 'feat' as \['a', 'b'\]; say of which table each column is"):
        several_columns("feat", ["a", "b"], None)
    assert several_columns("feat", ["nodes.a", "nodes.b.c"], None) == ("nodes", ("a", "b.c"))


def test_another_width():
    with pytest.raises(ModelError, match="features gives 'x' rows of 4 numbers, inputs gives it 3 columns: amount"):
        Model.from_pyg(Net().eval(), inputs={"x": X, "edge_attr": ATTR}, features={"x": 4})
    with pytest.raises(ModelError, match=r"with rows of {'x': \(3,\), 'edge_attr': \(2,\)}: .* cannot be multiplied"):
        imported(edge_attr=ATTR[:2])


def test_a_column_that_is_missing(tables, tmp_path):
    nodes, edges = tables
    with pytest.raises(DataError, match=re.escape("edges has no column 'miles'")):
        Graph(nodes, edges.drop_columns(["miles"]), features=X, edge_features={"edge_attr": ATTR})
    graph = Graph(nodes, edges, features=X, edge_features=["late", "price"])
    words = (
        "the model reads edges.edge_attr (width 3), which the graph does not have; edges of this graph: "
        "edges.late (1), edges.price (1); prepare it with edge_features={'edge_attr': ['late', 'miles', 'price']}"
    )
    with pytest.raises(ModelError, match=re.escape(words)):
        score(graph, imported(), tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_null_in_one_of_them(tables, tmp_path):
    nodes, edges = tables
    miles = pa.array([None, *edges["miles"].to_pylist()[1:]], pa.int32())
    edges = edges.set_column(edges.column_names.index("miles"), "miles", miles)
    first = f"{edges['src'][0]} -> {edges['dst'][0]}"
    for given in GRAPHS.values():
        with pytest.raises(DataError, match=rf"holds 1 null \(first: {first}\)"):
            score(Graph(nodes, edges, **given), imported(), tmp_path / "o")


def test_another_order(tables, tmp_path):
    graph = Graph(*tables, features=X, edge_features={"edge_attr": sorted(ATTR, reverse=True)})
    with pytest.raises(ModelError, match=r"edges.edge_attr is made of columns that are in another order than in train"):
        score(graph, imported(), tmp_path / "o")


def test_training_that_contradicts_the_columns(tables):
    with pytest.raises(ModelError, match=r"training gives nodes.x the columns age, amount, known; the model reads amo"):
        imported().trained_on(["age", "amount", "known"])
    told = imported().trained_on(matrix(tables[0], X))
    assert told.training["nodes.x"].names == tuple(X)
    assert told.training["nodes.x"].ranges is not None


def test_a_warning_of_one_of_the_columns_by_themselves(tables, tmp_path, caplog):
    model = imported().trained_on({"edge_attr": matrix(tables[1], ATTR) * [1, 1e-4, 1]})
    score(Graph(*tables, **GRAPHS["each by itself"]), model, tmp_path / "o")
    (said,) = [record.getMessage() for record in caplog.records if "far outside" in record.getMessage()]
    assert "edges.miles, miles: 1 to 39; in training 0.0001 to 0.0039" in said
    assert "price" not in said
