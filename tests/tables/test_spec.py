"""A typed graph in a TOML file or a folder: read, prepared and scored by the commands; what is wrong in it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import SettingError
from pipeline.prepared import open_graph
from pipeline.schema import EdgeType, spelled
from pipeline.tables.spec import GraphSpec
from tests.preparing.test_typed import check
from tests.typed_tables import ACCOUNT, CARD, GHOST, OWNS, PAYS, SELLS, SHOP, model, tables

SPEC = """
[nodes.account]
path = "nodes/account.parquet"

[nodes."bank card/1"]
path = "cards.parquet"
id = "number"
features = ["limit", "used"]

[nodes.__shop__]
path = "nodes/%5F%5Fshop%5F%5F.parquet"
features = {x = "x"}

[nodes.ghost]
path = "nodes/ghost.parquet"
"""
EDGE = """
[[edges]]
type = {type}
path = "edges/{path}.parquet"
{more}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tables of tests/typed_tables.py by the convention; cards with other ids too, and a file of all."""
    nodes, edges = tables()
    (tmp_path / "nodes").mkdir()
    (tmp_path / "edges").mkdir()
    for node_type, table in nodes.items():
        pq.write_table(table, tmp_path / "nodes" / f"{spelled(node_type)}.parquet")
    for edge_type, table in edges.items():
        pq.write_table(table, tmp_path / "edges" / f"{edge_type}.parquet")
    pq.write_table(nodes[CARD].rename_columns(["number", "limit", "used"]), tmp_path / "cards.parquet")
    said = {PAYS: 'features = "amount"', SELLS: 'features = {price = "amount"}'}
    parts = [
        EDGE.format(type=[each.source, each.relation, each.target], path=each, more=said.get(each, ""))
        for each in edges
    ]
    (tmp_path / "graph.toml").write_text(SPEC + "".join(parts))
    return tmp_path


IDS = {CARD: "number"}  # as SPEC says


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_a_file_is_prepared_and_scored(folder: Path) -> None:
    done = run("prepare", "--graph-spec", folder / "graph.toml", "--output", folder / "g", "--blocks", 3)
    assert done.exit_code == 0, done.output
    prepared = open_graph(folder / "g")
    assert prepared.node_counts == {ACCOUNT: 60, CARD: 23, SHOP: 40, GHOST: 0}
    assert prepared.schema.edges[SELLS] == {"price": 1}
    assert prepared.manifest["columns"]["nodes[bank%20card%2F1]"] == {
        "ids": ["number"],
        "values": {"x": ["limit", "used"]},
    }
    model().save(folder / "m")
    said = run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o")
    assert said.exit_code == 0, said.output
    check(folder / "o", [ACCOUNT, CARD, SHOP], IDS)
    said = run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o2", "--types", CARD)
    assert said.exit_code == 0, said.output
    check(folder / "o2", [CARD], IDS)


def test_what_commands_say_of_types(folder: Path) -> None:
    done = run("prepare", "--graph-spec", folder / "graph.toml", "--output", folder / "g", "--blocks", 3)
    assert (
        "; nodes: account 60, bank card/1 23, __shop__ 40, ghost 0; edges: account pays account 400, account owns bank "
        "card/1 70, bank card/1 rev_owns account 70, __shop__ sells to: a.b account 150, ghost haunts account 0, "
        "account rents __shop__ 0; written to "
    ) in done.stdout
    model().save(folder / "m")
    said = " ".join(run("explain", "--graph", folder / "g", "--model", folder / "m").stdout.split())
    assert "nodes: account 60, bank card/1 23, __shop__ 40, ghost 0" in said
    assert "edges: account__pays__account 400 (largest in-degree 141)," in said
    assert "for edges bank%20card%2F1__rev_owns__account" in said
    score = ["--graph", folder / "g", "--model", folder / "m", "--output", folder / "o"]
    for types, message in (
        ("acount", "types names 'acount', for which the model gives nothing; did you mean 'account'?"),
        (",", "types is []; a list of node types is expected"),
    ):
        done = run("infer", *score, "--types", types)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    assert not (folder / "o").exists()


def test_raw_tables_are_scored(folder: Path) -> None:
    model().save(folder / "m")
    arguments = ["infer", "--graph-spec", folder / "graph.toml", "--model", folder / "m", "--output", folder / "o"]
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    check(folder / "o", [ACCOUNT, CARD, SHOP], IDS)
    again = run(*arguments, "--if-same", "skip")
    assert again.stdout.startswith("skipped  123 nodes are scored already")
    other = run(*arguments, "--if-same", "skip", "--types", "account")
    assert other.exit_code == 2
    assert "types None instead of ['account']" in other.stderr


def test_a_folder_is_a_graph(folder: Path) -> None:
    done = run("prepare", "--graph-spec", folder, "--output", folder.parent / "g", "--blocks", 2)
    assert done.exit_code == 0, done.output
    prepared = open_graph(folder.parent / "g")
    assert prepared.edge_counts[OWNS] == 70
    assert prepared.schema.nodes == {ACCOUNT: {"x": 3}, CARD: {}, SHOP: {"x": 2}, GHOST: {}}
    (folder / "edges" / "bank card__is of__account.csv").write_text("src,dst\n")
    spec = GraphSpec.read(folder)
    assert spec.edges[EdgeType("bank card", "is of", "account")].endswith("/edges/bank card__is of__account.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[nodes.account]", "[node.account]", "it has a key 'node'; did you mean 'nodes'?"),
        ('id = "number"', 'ids = "number"', "nodes.bank card/1 has a key 'ids'; did you mean 'id'?"),
        ("features = \"amount\"", "feature = \"amount\"", "edges number 1 has a key 'feature'; did you mean 'featu"),
        ('path = "cards.parquet"', "", 'nodes.bank card/1 has no path; write path = "…", from the folder of'),
        ('path = "cards.parquet"', "path = 7", "nodes.bank card/1 has the path 7; write path"),
        ("[nodes.ghost]", "[nodes.account]", "is not TOML: "),
        ("[nodes.ghost]", "[nodes.account]", "; is a node type there twice, or [edges] in"),
        ("type = ['account', 'owns', 'bank card/1']", "", "edges number 2 has no type; write type"),
        ("type = ['account', 'owns', 'bank card/1']", "type = ['account', 'owns']", "an edge type is ['account', "),
        (
            "type = ['account', 'owns', 'bank card/1']",
            "type = ['account', 'pays', 'account']",
            "the edge type (account, pays, account) is there twice; one table for each is expected",
        ),
        ('id = "number"', "id = 3", "id of nodes.bank card/1 is 3; a column's name is expected"),
        ("features = {x = \"x\"}", "features = {x = 1}", "features of nodes.__shop__ is {'x': 1}; a column, a list of"),
        ("[nodes.ghost]", "[nodes.\"\"]", "a node type is ''; a text that is not empty is expected"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file(folder: Path, old: str, new: str, message: str) -> None:
    file = folder / "graph.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    done = run("prepare", "--graph-spec", file, "--output", folder / "g")
    assert done.exit_code == 2
    assert f"{file}: " in done.stderr
    assert message in done.stderr
    assert not (folder / "g").exists()


def test_a_file_without_tables(tmp_path: Path) -> None:
    for text, message in (
        ("", "names no node tables; write [nodes.account] and below it path = …, for each type"),
        ('[nodes.a]\npath = "a"\n', 'names no edge tables; write [[edges]] and below it type = ["account", "pays"'),
        ("nodes = 3\n", "names no node tables"),
        ("a = [", "is not TOML: "),
    ):
        (tmp_path / "g.toml").write_text(text)
        with pytest.raises(SettingError, match=r"g\.toml: ") as caught:
            GraphSpec.read(tmp_path / "g.toml")
        assert message in str(caught.value)
    with pytest.raises(SettingError, match="no file and no folder of tables is there; give a TOML file"):
        GraphSpec.read(tmp_path / "none")


def test_what_the_documents_show_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "typed.md").read_text()
    shown = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
    assert len(shown) == 2
    for example in shown:
        (tmp_path / "graph.toml").write_text(example)
        spec = GraphSpec.read(tmp_path / "graph.toml")
        assert list(spec.nodes) == ["account", "shop"]
        assert list(spec.edges) == [EdgeType("account", "pays", "shop"), EdgeType("account", "knows", "account")]
        assert spec.options["features"] == {"account": ["age", "balance"]}
        assert spec.options["edge_features"] == {EdgeType("account", "pays", "shop"): ["amount"]}


def test_a_folder_that_is_none(folder: Path) -> None:
    (folder / "edges" / "pays.parquet").touch()
    with pytest.raises(SettingError, match="edges/pays: is not the name of an edge type; SOURCE__RELATION__TARGET"):
        GraphSpec.read(folder)
    (folder / "edges" / "pays.parquet").unlink()
    (folder / "nodes" / "account.csv").touch()
    with pytest.raises(SettingError, match=r"account\.csv and account\.parquet are of one type"):
        GraphSpec.read(folder)
    with pytest.raises(SettingError, match=r"holds no tables in nodes/; a folder with nodes/TYPE"):
        GraphSpec.read(folder / "nodes")


def test_a_model_of_a_typed_graph_and_tables_without_types(folder: Path) -> None:
    model().save(folder / "m")
    paths = [folder / "nodes" / "account.parquet", folder / "edges" / f"{PAYS}.parquet"]
    done = run("infer", "--nodes", paths[0], "--edges", paths[1], "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 2
    assert "reads nodes[account].x, of a typed graph; --nodes and --edges are tables without types" in done.stderr


def test_options_that_leave_no_room(folder: Path) -> None:
    spec = folder / "graph.toml"
    for arguments, message in (
        (["--graph-spec", spec, "--nodes", "a", "--edges", "b"], "--graph-spec names the tables; leave --nodes and"),
        (["--graph-spec", spec, "--features", "x"], f"--features: of no use with --graph-spec; {spec} names the"),
        (["--graph-spec", ""], "--graph-spec is empty; is a variable unset?"),
        (["--nodes", "a"], "give --nodes and --edges, or --graph-spec"),
    ):
        done = run("prepare", *arguments, "--output", folder / "g")
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
