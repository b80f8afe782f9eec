"""Tables by type: what `Graph` takes, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, prepare
from pipeline.errors import DataError
from pipeline.schema import NODE, EdgeType

ACCOUNTS = pa.table({"id": [1, 2, 3], "x": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]})
CARDS = pa.table({"id": ["1", "2"], "used": [0.5, 0.25]})
PAYS = pa.table({"src": [1, 1, 2], "dst": [2, 3, 2], "amount": [1.0, 2.0, 3.0]})
OWNS = pa.table({"src": [1, 2], "dst": ["1", "2"]})
NODES: dict[Any, Any] = {"account": ACCOUNTS, "card": CARDS}
EDGES: dict[Any, Any] = {("account", "pays", "account"): PAYS, ("account", "owns", "card"): OWNS}


def refused(nodes: Any = None, edges: Any = None, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        Graph(NODES if nodes is None else nodes, EDGES if edges is None else edges, **options)
    return str(caught.value)


def test_tables_of_every_kind_go_together(tmp_path: Path) -> None:
    pq.write_table(ACCOUNTS, tmp_path / "accounts.parquet")
    PAYS.to_pandas().to_csv(tmp_path / "pays.csv", index=False)
    graph = Graph(
        {"account": tmp_path / "accounts.parquet", "card": pd.DataFrame(CARDS.to_pydict())},
        {
            EdgeType("account", "pays", "account"): f"{tmp_path}/pays.csv",
            ("account", "owns", "card"): pl.from_arrow(OWNS),
        },
        edge_features={("account", "pays", "account"): "amount"},
    )
    same = Graph(NODES, EDGES, edge_features={("account", "pays", "account"): ["amount"]})
    found = [prepare(each, tmp_path / name, 2).fingerprint for name, each in (("a", graph), ("b", same))]
    assert found[0] == found[1]
    assert set(graph.sources) == {"nodes[account]", "edges[account__pays__account]"}


def test_options_are_for_all_types_or_by_type() -> None:
    nodes = {"account": ACCOUNTS, "card": CARDS.rename_columns(["number", "used"])}
    graph = Graph(nodes, EDGES, id={"card": "number"}, features={"card": {"usage": "used"}})
    account, card = graph.node_layouts
    assert (account.keys, card.keys) == (("id",), ("number",))
    assert [value.name for value in account.values] == ["x"], "of types that are not named, x"
    assert [value.name for value in card.values] == ["usage"]
    assert graph.id_types == {"account": "bigint", "card": "string"}
    none = Graph(NODES, EDGES, features={"account": None})
    assert [layout.values for layout in none.node_layouts] == [(), ()]
    assert not Graph({NODE: ACCOUNTS}, {EdgeType(): PAYS}).is_typed


def test_types_and_tables_that_do_not_go_together() -> None:
    ends = refused(edges={("account", "owns", "crad"): OWNS})
    assert ends == (
        "edges (account, owns, crad) lead to nodes of type 'crad', which have no table; did you mean 'card'? (of nodes "
        "that there are none of, give an empty table)"
    )
    assert "lead from nodes of type 'shop'" in refused(edges={("shop", "sells", "account"): PAYS})
    twice = refused(edges={("account", "pays", "account"): PAYS, EdgeType("account", "pays", "account"): PAYS})
    assert twice == "the edge type (account, pays, account) is there twice; one table for each type is expected"
    assert refused(nodes={}) == "a typed graph needs at least one node type; nodes is empty"
    assert refused(edges={}) == "a typed graph needs at least one edge type; edges is empty"
    assert refused(edges=PAYS).startswith("nodes are given by type, and edges are one table; give both by type: Graph(")
    assert refused(nodes=ACCOUNTS) == (
        "nodes are one table, and edges are between nodes of several types ('account', 'card'); give both by type: "
        'Graph(nodes={"account": …}, edges={("account", "pays", "account"): …})'
    )


@pytest.mark.parametrize("key", [None, "", 7, float("nan"), ("account",)])
def test_a_node_type_that_is_no_name(key: Any) -> None:
    assert refused(nodes={**NODES, key: CARDS}).startswith(
        f"a node type is {key!r}; a text that is not empty is expected"
    )


@pytest.mark.parametrize(
    "key", [None, "pays", ("account", None, "account"), ("account", "", "account"), ("account", "pays"), "a__pays__a"]
)  # fmt: skip
def test_an_edge_type_that_is_no_three_names(key: Any) -> None:
    assert refused(edges={**EDGES, key: PAYS}).startswith(f"an edge type is {key!r}; three texts that are not empty")


def test_edges_against_their_direction_are_no_table() -> None:
    turned = EdgeType("account", "pays", "account").reversed
    assert refused(edges={turned: PAYS}) == (
        "an edge type is account__~pays__account, edges against their direction; reverse=True stores these too"
    )


def test_options_of_types_that_are_not_there() -> None:
    assert refused(features={"acount": "x"}) == (
        "features names acount, which is no type of this graph; did you mean 'account'?"
    )
    assert refused(features={"x": ["x"]}) == "features names x, which is no type of this graph; known: account, card"
    assert refused(edge_features={("account", "pay", "account"): "amount"}).startswith(
        "edge_features names (account, pay, account), which is no type of this graph; did you mean"
    )
    assert refused(src={("account", "pays", "card"): "src"}).startswith("src names (account, pays, card)")


def test_ids_of_one_type_are_of_one_kind() -> None:
    assert refused(edges={("account", "pays", "account"): OWNS.rename_columns(["dst", "src"])}) == (
        "edges[account__pays__account].src is string but edges[account__pays__account].dst is bigint; both are node "
        "ids, of one type"
    )
    assert refused(edges={("account", "owns", "card"): PAYS}) == (
        "nodes[card].id is string but edges[account__owns__card].dst is bigint; ids must be integers in both tables, "
        "or text in both"
    )


def test_columns_that_are_not_there_are_said_with_their_table() -> None:
    assert refused(features={"card": ["usd"]}) == (
        "nodes[card] has no column 'usd'; did you mean 'used'? (id, used exist); features= says which column is meant, "
        "or features in the graph's file"
    )
    assert refused(edge_features=["amount"]).startswith("edges[account__owns__card] has no column 'amount'")


def test_ids_of_csv_are_settled_for_each_type(tmp_path: Path) -> None:
    """Those of accounts are integers, whatever those of cards are that stand in the same file."""
    (tmp_path / "owns.csv").write_text("src,dst\n1,1\n2,card 2\n")
    (tmp_path / "cards.csv").write_text("id\n1\ncard 2\n")
    graph = Graph(
        {"account": ACCOUNTS, "card": tmp_path / "cards.csv"}, {("account", "owns", "card"): tmp_path / "owns.csv"}
    )
    assert graph.id_types == {"account": "bigint", "card": "string"}
    assert graph.edge_layouts[0].texts == (False, True)
    assert prepare(graph, tmp_path / "g").edges == 2


def test_empty_types_are_fine(tmp_path: Path) -> None:
    nothing = pa.table({"src": pa.array([], pa.int64()), "dst": pa.array([], pa.string())})
    graph = Graph(
        {**NODES, "card": CARDS.slice(0, 0)},
        {("account", "pays", "account"): PAYS, ("account", "owns", "card"): nothing},
    )
    prepared = prepare(graph, tmp_path / "g", 3)
    assert prepared.node_counts == {"account": 3, "card": 0}
    assert list(prepared.edge_counts.values()) == [3, 0]


def test_the_same_tables_are_known_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, table in (("accounts", ACCOUNTS), ("cards", CARDS), ("pays", PAYS), ("owns", OWNS)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    nodes = {"account": tmp_path / "accounts.parquet", "card": tmp_path / "cards.parquet"}
    edges = {
        ("account", "pays", "account"): tmp_path / "pays.parquet",
        ("account", "owns", "card"): tmp_path / "owns.parquet",
    }
    first = prepare(Graph(nodes, edges), tmp_path / "g", 2)
    assert (
        prepare(Graph(nodes, edges), tmp_path / "g", 2, if_same="skip").manifest["prepare"] == first.manifest["prepare"]
    )
    pq.write_table(CARDS.slice(0, 2).append_column("more", pa.array([1, 2])), tmp_path / "cards.parquet")
    with pytest.raises(Exception, match=r"the node table nodes\[card\] has changed: it was 1 file of"):
        prepare(Graph(nodes, edges), tmp_path / "g", 2, if_same="skip")
    with pytest.raises(Exception, match=r"cards.parquet.*the node table nodes\[card\]"):
        prepare(Graph(nodes, edges), tmp_path / "cards.parquet", 2, overwrite=True)
