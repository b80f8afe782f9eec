"""Verification of typed graphs: nodes of each type against their table of scores, recomputed around them or at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import Graph, infer, open_graph, prepare, score, verify
from pipeline.errors import DataError, SettingError
from pipeline.formula import Relation, node_input, spread, total_mean
from pipeline.formula.spaces import Edges, Nodes
from pipeline.model import Model
from pipeline.schema import EdgeType, spelled
from pipeline.verifying.report import TypedVerification
from tests.tables.test_one_table import COLUMNS, EDGES, NODES, OPTIONS
from tests.tables.test_spec import folder, run
from tests.typed_tables import ACCOUNT, CARD, OWNS, PAYS, SHOP, model, model_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["folder"]  # the fixture: graph.toml and its tables


@pytest.fixture
def scored(folder: Path) -> Path:
    """A prepared graph g, a model m, scores o."""
    model().save(folder / "m")
    prepared(folder)
    done = run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 0, done.output
    return folder


def prepared(folder: Path) -> None:
    done = run("prepare", "--graph-spec", folder / "graph.toml", "--output", folder / "g", "--blocks", 3)
    assert done.exit_code == 0, done.output


def verified(folder: Path, *more: object) -> tuple[int, str]:
    done = run("verify", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o", *more)
    return done.exit_code, " ".join((done.stdout + done.stderr).split())


def changed(folder: Path, node_type: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """A change to a file of the scores, whose number of rows is as its marker says."""
    path = min((folder / "o" / spelled(node_type)).glob("*.parquet"))
    pq.write_table(change(pq.read_table(path)), path)


def wrong(name: str, row: int = 0) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[row][1] += 0.001
        return table.set_column(
            table.column_names.index(name), table.schema.field(name), pa.array(values, table.schema.field(name).type)
        )

    return change


def test_each_type_is_recomputed_and_said(scored: Path) -> None:
    code, said = verified(scored, "--sample", 10)
    assert code == 0, said
    for type, nodes in ((ACCOUNT, 60), (CARD, 23), (SHOP, 40)):
        part = said.partition(f"nodes of type {type} ")[2]
        assert part.startswith("recomputed 10 of 10 sampled nodes in float64 from the raw tables: ")
        assert f"all {nodes} ids: each node has one row, and there is no other" in part
    assert "output: largest error" in said
    assert "pair: largest error" in said
    assert said.endswith("all types: PASS")
    hops = [text.partition(" hop")[0].rpartition(" ")[2] for text in said.split("nodes of type ")[1:]]
    assert hops == ["3", "2", "1"], "as far as the outputs of each type read"
    assert verified(scored, "--sample", "all")[1].count("the whole graph, 123 nodes and ") == 3


@pytest.mark.parametrize("sample", ["23", "all"])
@pytest.mark.parametrize(("type", "name"), [(ACCOUNT, "pair"), (CARD, "card"), (SHOP, "shop")])
def test_a_wrong_number_of_one_type_is_found(scored: Path, type: str, name: str, sample: str) -> None:
    rows = pq.read_table(scored / "o" / spelled(type))
    id = pq.read_table(min((scored / "o" / spelled(type)).glob("*.parquet"))).column(0)[0].as_py()
    changed(scored, type, wrong(name))
    code, said = verified(scored, "--sample", max(23, len(rows)) if sample == "23" else "all")
    assert code == 3, said
    assert f"{name}: 1 of " in said
    assert f"(id {id}, number 1)" in said
    assert said.count("PASS") == 2, "of the other types"
    assert said.endswith("all types: FAIL")


def test_rows_that_are_missing_or_unknown_are_said_by_type(scored: Path) -> None:
    changed(
        scored,
        CARD,
        lambda table: table.set_column(
            0, table.column_names[0], pa.array(["no card", *table.column(0).to_pylist()[1:]])
        ),
    )
    code, said = verified(scored)
    assert code == 3
    of_cards = said.partition(f"nodes of type {CARD} ")[2].partition("nodes of type")[0]
    assert "1 node has no row (first: card é" in of_cards
    assert "1 id of the scores is not among the nodes (first: no card)" in of_cards
    assert said.count("PASS") == 2


def test_another_table_of_edges_is_found(scored: Path) -> None:
    """What is recomputed comes from the raw tables, each edge type from its own."""
    path = scored / "edges" / f"{OWNS}.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "src", pc.take(table["src"], pa.array(np.roll(np.arange(len(table)), 1)))), path)
    code, said = verified(scored, "--sample", "all")
    assert code == 3
    of = {part.split(" recomputed")[0]: part for part in said.split("nodes of type ")[1:]}
    assert "PASS" in of[SHOP], "which no card leads to"
    assert "FAIL" in of[CARD]
    assert "FAIL" in of[ACCOUNT]


def test_only_some_types_were_scored(scored: Path) -> None:
    arguments = ["--graph", scored / "g", "--model", scored / "m", "--output", scored / "o", "--overwrite"]
    assert run("infer", *arguments, "--types", CARD).exit_code == 0
    code, said = verified(scored)
    assert code == 0
    assert f"not verified, because there are no scores of them: {ACCOUNT}, {SHOP} all types: PASS" in said


def test_neighbourhoods_that_are_too_large_are_said(scored: Path) -> None:
    """Groups are halved until they fit; what does not fit alone is left out, and the rest is compared."""
    whole = verified(scored, "--sample", 60)[1]
    code, said = verified(scored, "--sample", 60, "--limit", 150)
    assert code == 0, said
    assert "nodes (first: " in said
    assert "that more than 150 edges lead to; a higher limit (--limit) includes them" in said
    assert "not recomputed" not in whole
    left = said.partition("recomputed ")[2].partition(" of 60")[0]
    assert 0 < int(left) < 60
    changed(scored, SHOP, wrong("shop"))
    assert verified(scored, "--sample", 60, "--limit", 150)[0] == 3


def of_totals() -> Model:
    """A total over all accounts in the scores of cards; that of shops reads none."""
    x = node_input("x", (3,), Nodes(ACCOUNT))
    owns, pays = Relation(Edges(OWNS)), Relation(Edges(PAYS))
    return model_of(
        {
            CARD: {"y": owns.sum(owns.src(x - spread(total_mean(x), Nodes(ACCOUNT))))},
            ACCOUNT: {"z": pays.sum(pays.src(x))},
        }
    )


def test_a_model_with_totals_over_a_type(folder: Path) -> None:
    """The whole graph is computed for the type that reads one, and neighbourhoods for the other."""
    of_totals().save(folder / "m")
    prepared(folder)
    done = run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o")
    assert done.exit_code == 0, done.output
    code, said = verified(folder, "--sample", 5)
    assert code == 0, said
    of = {part.split(" recomputed")[0]: part for part in said.split("nodes of type ")[1:]}
    assert ": the whole graph, 123 nodes" in of[CARD]
    assert ": 1 hop, " in of[ACCOUNT]


def test_what_does_not_fit_in_memory_is_refused(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.verifying.whole.local_memory", lambda: 1000)
    code, said = verified(scored, "--sample", "all")
    assert code == 2
    assert "the whole graph is computed at once, in float64: 123 nodes and 690 edges take 0.0 GB" in said


def test_reversed_edges_are_computed_at_once(folder: Path) -> None:
    x = node_input("x", (2,), Nodes(CARD))
    back = Relation(Edges(OWNS)).reversed()
    model_of({ACCOUNT: {"y": back.sum(back.src(x))}}).save(folder / "m")
    arguments = ["--graph-spec", folder / "graph.toml", "--reverse", "--output", folder / "g"]
    assert run("prepare", *arguments).exit_code == 0
    assert run("infer", "--graph", folder / "g", "--model", folder / "m", "--output", folder / "o").exit_code == 0
    code, said = verified(folder, "--sample", 5)
    assert code == 0, said
    assert "the whole graph" in said


@pytest.mark.parametrize("numbered", [False, True])
def test_one_table_of_several_types(tmp_path: Path, no_session: None, numbered: bool) -> None:
    edges, options = EDGES, OPTIONS
    if numbered:  # the column of relations holds something else than their names
        names = [relation for _, relation, _ in OPTIONS["edge_types"]]
        numbers = pc.index_in(EDGES["relation"], value_set=pa.array(names))
        edges = EDGES.set_column(EDGES.column_names.index("relation"), "relation", numbers)
        options = {**OPTIONS, "edge_types": dict(enumerate(OPTIONS["edge_types"]))}
    pq.write_table(NODES, tmp_path / "nodes.parquet")
    pq.write_table(edges, tmp_path / "edges.parquet")
    graph = Graph(tmp_path / "nodes.parquet", tmp_path / "edges.parquet", **options)
    made = prepare(graph, tmp_path / "g", 3)
    pays, back = (
        Relation(Edges(EdgeType(*each)), columns)
        for each, columns in (
            (("account", "pays", "shop"), {"amount": ()}),
            (("shop", "rev_pays", "account"), {}),
        )
    )
    x = node_input("age", (), Nodes("account"))
    paid = pays.sum(pays.src(x) * pays.edge("amount"))
    net = model_of({"shop": {"paid": paid}, "account": {"y": back.mean(back.src(paid))}})
    score(made, net, tmp_path / "o")
    for given in (open_graph(tmp_path / "g"), graph):
        found = verify(given, net, tmp_path / "o", sample=30)
        assert found.passed, str(found)
        assert isinstance(found, TypedVerification)
        assert {name: of.recomputed for name, of in found.types.items()} == {"account": 30, "shop": 30}


def test_tables_of_this_process(tmp_path: Path, no_session: None) -> None:
    nodes = {kind: NODES.filter(pc.equal(NODES["kind"], kind)) for kind in ("account", "shop", "tag")}
    edges = {kind: EDGES.filter(pc.equal(EDGES["relation"], kind[1])) for kind in OPTIONS["edge_types"]}
    made = prepare(Graph(nodes, edges, **COLUMNS), tmp_path / "g", 2)
    pays = Relation(Edges(EdgeType("account", "pays", "shop")))
    net = model_of({"shop": {"y": pays.sum(pays.src(node_input("age", (), Nodes("account"))))}})
    score(made, net, tmp_path / "o")
    with pytest.raises(SettingError, match=r"from tables in memory: nobody knows where nodes\[account\] is"):
        verify(made, net, tmp_path / "o")
    assert verify(Graph(nodes, edges, **COLUMNS), net, tmp_path / "o").passed
    with pytest.raises(DataError, match="there are scores of type 'tag', for which the model gives nothing; the mod"):
        verify(Graph(nodes, edges, **COLUMNS), net, {"tag": None})
    with pytest.raises(DataError, match="the scores of a typed graph are the folder that infer wrote, or type → D"):
        verify(Graph(nodes, edges, **COLUMNS), net, NODES)


def test_through_spark(spark: SparkSession, scored: Path) -> None:
    """Lazy scores by type, and tables that come as DataFrames."""
    made = open_graph(scored / "g")
    frames = infer(made, model(), spark=spark, types=[CARD])
    found = verify(made, model(), frames, sample=8, spark=spark)
    assert found.passed, str(found)
    assert isinstance(found, TypedVerification)
    assert found.types[CARD].recomputed == 8
    nodes = {ACCOUNT: spark.read.parquet(str(scored / "nodes" / "account.parquet"))}
    edges = {PAYS: spark.read.parquet(str(scored / "edges" / f"{PAYS}.parquet")).limit(200)}
    assert not verify(made, model(), frames, nodes, edges, sample=8, spark=spark).passed


def test_a_prepared_graph_and_other_tables(scored: Path) -> None:
    code, said = verified(scored, "--nodes", "n", "--edges", "e")
    assert code == 2
    assert "--nodes and --edges are tables without types, and this graph has several types" in said
