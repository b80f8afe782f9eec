"""What is wrong in a typed graph, or between it and a model, is said by its type before anything is written."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.formula import Program, Relation, node_input
from pipeline.formula.spaces import Edges, Nodes
from pipeline.model import Model
from pipeline.schema import EdgeType, spelled
from tests.tables.test_spec import folder, run
from tests.typed_tables import ACCOUNT, CARD, OWNED, OWNS, PAYS, SHOP, model, model_of, tables

__all__ = ["folder"]  # the fixture: graph.toml and its tables
GHOSTS = '[nodes.ghost]\npath = "nodes/ghost.parquet"\n'


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def section(text: str, edge_type: EdgeType) -> str:
    """What graph.toml says of an edge type."""
    return next(f"[[edges]]{part}" for part in text.split("[[edges]]") if f"edges/{edge_type}.parquet" in part)


def without(folder: Path, edge_type: EdgeType) -> None:
    file = folder / "graph.toml"
    edited(file, section(file.read_text(), edge_type), "")


def rewritten(folder: Path, name: str, column: str, values: Any) -> None:
    path = folder / f"{name}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), column, values(table[column])), path)


def refused(folder: Path, *messages: str, made: Any = None) -> None:
    """By infer from raw tables: exit code 2, the message, and nothing that was not there before."""
    (made or model()).save(folder / "m", overwrite=True)
    before = {path.relative_to(folder) for path in folder.rglob("*")}
    done = run("infer", "--graph-spec", folder / "graph.toml", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    said = " ".join(done.stderr.split())
    for message in messages:
        assert message in said
    assert {path.relative_to(folder) for path in folder.rglob("*")} == before


def test_an_edge_type_whose_node_type_has_no_table(folder: Path) -> None:
    edited(folder / "graph.toml", GHOSTS, "")
    refused(
        folder,
        "edges (ghost, haunts, account) lead from nodes of type 'ghost', which have no table",
        "(of nodes that there are none of, give an empty table)",
    )


def test_ids_that_are_text_in_one_table_and_numbers_in_another(folder: Path) -> None:
    rewritten(folder, f"edges/{PAYS}", "dst", lambda ids: ids.cast(pa.string()))
    refused(folder, f"edges[{PAYS}].src is bigint but edges[{PAYS}].dst is string; both are node ids, of one type")
    rewritten(folder, f"edges/{PAYS}", "src", lambda ids: ids.cast(pa.string()))
    refused(folder, f"nodes[account].id is bigint but edges[{PAYS}].src is string; ids must be integers in both tables")


def test_a_relation_of_the_model_that_the_tables_lack(folder: Path) -> None:
    without(folder, OWNED)
    refused(
        folder,
        "the model reads edges (bank card/1, rev_owns, account), of which this graph has no table",
        "it has nodes 'account', 'bank card/1', '__shop__', 'ghost'; edges (account, pays, account), (account, owns, b",
        "Where there are none of a type, give an empty table for it",
    )
    none = pa.table({"src": pa.array([], pa.string()), "dst": pa.array([], pa.int64())})
    pq.write_table(none, folder / "none.parquet")
    file = folder / "graph.toml"
    file.write_text(f'{file.read_text()}\n[[edges]]\ntype = {list(triple(OWNED))}\npath = "none.parquet"\n')
    done = run("infer", "--graph-spec", file, "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 0, done.output


def triple(edge_type: EdgeType) -> tuple[str, str, str]:
    return edge_type.source, edge_type.relation, edge_type.target


def test_types_of_the_tables_that_the_model_makes_no_use_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = "no output of the model depends on nodes '__shop__', 'ghost'; edges (account, pays, account), (account, owns, "
    owned = Relation(Edges(OWNED))
    model_of({ACCOUNT: {"y": owned.sum(owned.src(node_input("x", (2,), Nodes(CARD))))}}).save(folder / "m")
    with caplog.at_level(logging.WARNING, logger="graphsweep"):
        done = run("infer", "--graph-spec", folder / "graph.toml", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 0, done.output
    assert x in caplog.text
    assert "rev_owns" not in caplog.text
    caplog.clear()
    model().save(folder / "all")
    arguments = ["--graph-spec", folder / "graph.toml", "--model", folder / "all", "--output", folder / "o2"]
    with caplog.at_level(logging.WARNING, logger="graphsweep"):
        assert run("infer", *arguments, "--types", CARD).exit_code == 0
    assert "no output" not in caplog.text, "what other types need is not unknown to the model"


@pytest.mark.parametrize("type", [ACCOUNT, CARD, SHOP])
def test_an_empty_type(folder: Path, type: str) -> None:
    """All its edges are gone too; the others are scored."""
    name = "cards" if type == CARD else f"nodes/{spelled(type)}"
    pq.write_table(pq.read_table(folder / f"{name}.parquet").slice(0, 0), folder / f"{name}.parquet")
    for edge_type in tables()[1]:
        if type in (edge_type.source, edge_type.target):
            path = folder / "edges" / f"{edge_type}.parquet"
            pq.write_table(pq.read_table(path).slice(0, 0), path)
    model().save(folder / "m")
    done = run("infer", "--graph-spec", folder / "graph.toml", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 0, done.output
    rows = {each: pq.read_table(folder / "o" / spelled(each)).num_rows for each in (ACCOUNT, CARD, SHOP)}
    assert rows == {ACCOUNT: 60, CARD: 23, SHOP: 40, type: 0}


def test_features_of_another_width(folder: Path) -> None:
    rewritten(folder, "nodes/account", "x", lambda x: pa.array([row[:2] for row in x.to_pylist()]))
    refused(folder, "the model expects nodes[account].x of width 3; the graph has width 2")


def test_a_column_that_a_type_lacks(folder: Path) -> None:
    edited(folder / "graph.toml", 'features = "amount"', "features = []")
    refused(folder, f"the model reads edges[{PAYS}].amount (width 1), which the graph does not have; edges[{PAYS}] of")


ONE = """
[nodes]
path = "all_nodes.parquet"
type = "kind"

[edges]
path = "all_edges.parquet"
relation = "relation"
types = [{type = ["account", "pays", "account"]}]
"""


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ("all_nodes", "kind", "nodes.kind holds null in 1 row; each row needs a type: fill them or drop these rows"),
        ("all_edges", "relation", "edges.relation holds null in 1 row; each row needs a type"),
    ],
)
def test_a_type_that_is_null(folder: Path, table: str, column: str, message: str) -> None:
    (folder / "graph.toml").write_text(ONE)
    nodes, edges = pq.read_table(folder / "nodes/account.parquet"), pq.read_table(folder / f"edges/{PAYS}.parquet")
    for name, rows, kind, value in (("all_nodes", nodes, "kind", ACCOUNT), ("all_edges", edges, "relation", "pays")):
        kinds = pa.array([None if name == table and at == 7 else value for at in range(len(rows))])
        pq.write_table(rows.append_column(kind, kinds), folder / f"{name}.parquet")
    refused(folder, message, made=of_accounts())


def of_accounts() -> Any:
    pays = Relation(Edges(PAYS))
    return model_of({ACCOUNT: {"y": pays.sum(pays.src(node_input("x", (3,), Nodes(ACCOUNT))))}})


def test_a_misspelt_key(folder: Path) -> None:
    edited(folder / "graph.toml", 'id = "number"', 'idd = "number"')
    refused(folder, "graph.toml: nodes.bank card/1 has a key 'idd'; did you mean 'id'?")


def test_the_same_type_twice(folder: Path) -> None:
    file = folder / "graph.toml"
    file.write_text(file.read_text() + section(file.read_text(), OWNS))
    refused(folder, "the edge type (account, owns, bank card/1) is there twice; one table for each is expected")


def test_a_model_without_types(folder: Path) -> None:
    refused(
        folder,
        "the model is for graphs without types, and this graph has several: nodes 'account', 'bank card/1', ",
        made=Model(Program({"output": node_input("x", (3,))}), {}),
    )


def test_a_typed_model_of_a_graph_without_types(folder: Path) -> None:
    plain = folder / "nodes" / "account.parquet", folder / "edges" / f"{PAYS}.parquet"
    done = run("prepare", "--nodes", plain[0], "--edges", plain[1], "--output", folder / "g")
    assert done.exit_code == 0, done.output
    model().save(folder / "m")
    done = run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "the model is for a typed graph, with nodes 'account', 'bank card/1', '__shop__'; edges (account, pa" in said
    assert "and this graph has no types; give a table for each type" in said
