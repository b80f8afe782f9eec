"""Nodes with a column of types and edges with a column of relations: the same graph as a table for each type."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import Graph, cli, prepare
from pipeline.errors import DataError
from pipeline.prepared import open_graph
from pipeline.schema import EdgeType

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RNG = np.random.default_rng(3)
NODES = pa.table(
    {
        "kind": ["account", "shop", "account", "shop", "account", "tag"] * 20,
        "id": [number // 2 for number in range(120)],  # accounts and shops have ids in common
        "age": [None if number % 2 else float(number) for number in range(120)],  # of accounts only
        "size": [float(number) if number % 2 else None for number in range(120)],
    }
)
ACCOUNTS, SHOPS = (NODES.filter(pc.equal(NODES["kind"], kind))["id"].to_pylist() for kind in ("account", "shop"))
EDGES = pa.table(
    {
        "relation": ["pays"] * 150 + ["rev_pays"] * 60 + ["knows"] * 90,
        "src": [*RNG.choice(ACCOUNTS, 150), *RNG.choice(SHOPS, 60), *RNG.choice(ACCOUNTS, 90)],
        "dst": [*RNG.choice(SHOPS, 150), *RNG.choice(ACCOUNTS, 60), *RNG.choice(ACCOUNTS, 90)],
        "amount": [float(value) for value in RNG.integers(0, 99, 150)] + [None] * 150,
    }
)
TYPES = [
    ("account", "pays", "shop"), ("shop", "rev_pays", "account"), ("account", "knows", "account"), ("tag", "on", "shop")
]  # fmt: skip
COLUMNS: dict[str, Any] = {
    "features": {"account": "age", "shop": {"x": ["size"]}},
    "edge_features": {TYPES[0]: "amount"},
}
OPTIONS: dict[str, Any] = {**COLUMNS, "node_type": "kind", "relation": "relation", "edge_types": TYPES}


def by_type() -> Graph:
    nodes = {kind: NODES.filter(pc.equal(NODES["kind"], kind)) for kind in ("account", "shop", "tag")}
    edges = {kind: EDGES.filter(pc.equal(EDGES["relation"], kind[1])) for kind in TYPES}
    return Graph(nodes, edges, **COLUMNS)


def refused(nodes: Any = NODES, edges: Any = EDGES, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        Graph(nodes, edges, **{**OPTIONS, **options})
    return str(caught.value)


def test_the_same_graph_as_a_table_for_each_type(tmp_path: Path) -> None:
    expected = prepare(by_type(), tmp_path / "g", 3)
    pq.write_table(NODES, tmp_path / "nodes.parquet", row_group_size=7)
    pq.write_table(EDGES, tmp_path / "edges.parquet")
    csv.write_csv(NODES, tmp_path / "nodes.csv")
    csv.write_csv(EDGES, tmp_path / "edges.csv")
    dictionary = EDGES.set_column(0, "relation", EDGES["relation"].dictionary_encode())
    files = Graph.of_files(tmp_path / "nodes.parquet", tmp_path / "edges.csv", **OPTIONS)
    assert files is not None
    ways = {
        "Arrow": Graph(NODES, dictionary, **OPTIONS),
        "pandas": Graph(NODES.to_pandas(), EDGES.to_pandas(), **OPTIONS),
        "paths": Graph(tmp_path / "nodes.csv", tmp_path / "edges.parquet", **OPTIONS),
        "files": files,
    }
    for name, graph in ways.items():
        prepared = prepare(graph, tmp_path / name, 3)
        assert prepared.fingerprint == expected.fingerprint, name
        assert prepared.edge_counts == expected.edge_counts
    assert expected.node_counts == {"account": 60, "shop": 40, "tag": 20}
    assert expected.edge_counts[EdgeType("tag", "on", "shop")] == 0
    where = prepared.manifest["columns"]["edges[shop__rev_pays__account]"]["where"]
    assert where == ["relation", "rev_pays"]


def test_the_same_through_spark(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, one = prepare(by_type(), tmp_path / "g", 3), prepare(by_type(), tmp_path / "one", 1)
    monkeypatch.setattr(sys.modules["pipeline.prepare"], "_fits_in_process", lambda *_: False)
    graph = Graph(spark.createDataFrame(NODES), spark.createDataFrame(EDGES), **OPTIONS)
    assert prepare(graph, tmp_path / "spark").fingerprint == one.fingerprint
    pq.write_table(NODES, tmp_path / "nodes.parquet")
    pq.write_table(EDGES, tmp_path / "edges.parquet")
    read = Graph.read(spark, tmp_path / "nodes.parquet", tmp_path / "edges.parquet", **OPTIONS)
    assert prepare(read, tmp_path / "tasks", 3).fingerprint == expected.fingerprint


def test_relations_may_be_numbers(tmp_path: Path) -> None:
    number = pc.index_in(EDGES["relation"], value_set=pa.array(["pays", "rev_pays", "knows"]))
    edges = EDGES.set_column(0, "relation", number)
    graph = Graph(NODES, edges, **{**OPTIONS, "edge_types": {0: TYPES[0], "1": TYPES[1], 2: TYPES[2], 3: TYPES[3]}})
    assert prepare(graph, tmp_path / "a", 2).fingerprint == prepare(by_type(), tmp_path / "b", 2).fingerprint


def test_no_row_is_lost_in_silence() -> None:
    def with_(table: pa.Table, at: int, value: str | None) -> pa.Table:
        column = table.column_names[0]
        return table.set_column(0, column, pa.array([value, *table[column].to_pylist()[1:]]))

    assert refused(nodes=with_(NODES, 0, None)) == (
        "nodes.kind holds null in 1 row; each row needs a type: fill them or drop these rows"
    )
    assert refused(edges=with_(EDGES, 0, None)).startswith("edges.relation holds null in 1 row; each row needs a type")
    assert refused(edges=with_(EDGES, 0, "")).startswith(
        "edges.relation holds empty texts in 1 row; each row needs a type"
    )
    assert refused(edges=with_(EDGES, 0, "pay")) == (
        "edges.relation holds relations that edge_types does not name: 'pay' in 1 row (did you mean 'pays'?); name "
        "them with the types of their ends, or leave these rows out"
    )
    unnamed = refused(nodes=with_(NODES, 0, "acount"), edge_types=[*TYPES, ("acounts", "new", "shop")])
    assert unnamed.startswith("edges (acounts, new, shop) lead from nodes of type 'acounts', which have no table")


def test_what_a_table_of_several_types_needs() -> None:
    three = "a node table and an edge table of several types take three arguments together: node_type=, the column"
    assert refused(relation=None).startswith(three)
    assert refused(edge_types=None).startswith(three)
    assert refused(node_type="kin") == "nodes has no column 'kin' of types; did you mean 'kind'?"
    assert refused(relation="amount") == "edges.amount is double; types are texts or integers"
    twice = refused(edge_types=[*TYPES, ("shop", "pays", "account")])
    assert twice.startswith("edge_types names the relation 'pays' twice; where a relation is between several types")
    assert refused(nodes={"account": NODES}).startswith("node_type= and relation= are for one node table and one edge")
    with pytest.raises(DataError, match="edge_types is for a table of edges with a column of relations"):
        Graph(NODES, EDGES, edge_types=TYPES)


def test_what_changes_meanwhile_is_noticed(tmp_path: Path) -> None:
    pq.write_table(EDGES, tmp_path / "edges.parquet")
    graph = Graph(NODES, tmp_path / "edges.parquet", **{**OPTIONS, "edge_features": None}, drop_dangling=True)
    other = [*EDGES["relation"].to_pylist()[:-1], "pays"]
    pq.write_table(EDGES.set_column(0, "relation", pa.array(other)), tmp_path / "edges.parquet")
    with pytest.raises(DataError, match=r"edges\[account__pays__shop\] has 150 rows, but 151 came when it was read"):
        prepare(graph, tmp_path / "g", 2)


SPEC = """
[nodes]
path = "nodes.parquet"
type = "kind"
types.account.features = "age"
types.shop.features = {x = "size"}

[edges]
path = "edges.csv"
relation = "relation"
types = [
    {type = ["account", "pays", "shop"], features = "amount"},
    {type = ["shop", "rev_pays", "account"]},
    {type = ["account", "knows", "account"]},
    {type = ["tag", "on", "shop"]},
]
"""


def test_a_file_says_it(tmp_path: Path) -> None:
    pq.write_table(NODES, tmp_path / "nodes.parquet")
    csv.write_csv(EDGES, tmp_path / "edges.csv")
    (tmp_path / "graph.toml").write_text(SPEC)
    arguments = ["prepare", "--graph-spec", str(tmp_path / "graph.toml"), "--blocks", "3", "--output"]
    done = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "g")])
    assert done.exit_code == 0, done.output
    assert open_graph(tmp_path / "g").fingerprint == prepare(by_type(), tmp_path / "other", 3).fingerprint
    for old, new, message in (
        ('type = "kind"', "", 'nodes has no type; write type = "…", the column that tells it'),
        ('relation = "relation"', 'relations = "relation"', "edges has a key 'relations'; did you mean 'relation'?"),
        ("types = [", "kinds = [", "edges has a key 'kinds'; known: dst, path, relation, src, types"),
        ('["tag", "on", "shop"]', '["account", "pays", "shop"]', "the edge type (account, pays, shop) is there twice"),
        ('["tag", "on", "shop"]', '["tag", "on"]', "an edge type is ['tag', 'on']; three texts"),
        ("types.shop.features", "types.shop.feature", "nodes.types.shop has a key 'feature'; did you mean 'features'?"),
        (
            "types.shop.features",
            "types.shp.features",
            "features names shp, which is no type of this graph; did you mean",
        ),
    ):
        (tmp_path / "graph.toml").write_text(SPEC.replace(old, new))
        done = CliRunner().invoke(cli.app, [*arguments, str(tmp_path / "no")])
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
