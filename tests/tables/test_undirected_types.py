"""Typed graphs whose edges are there in both directions, against PyG's ToUndirected in float64. Without Spark."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GATConv, HeteroConv, SAGEConv
from torch_geometric.transforms import ToUndirected
from typer.testing import CliRunner

from pipeline import Graph, Model, infer, prepare, verify
from pipeline.cli import app
from pipeline.errors import DataError
from pipeline.prepared import open_graph

pytestmark = pytest.mark.usefixtures("no_session")

USERS, SHOPS = 30, 12
KNOWS, PAYS, REV = ("user", "knows", "user"), ("user", "pays", "shop"), ("shop", "rev_pays", "user")


def pairs(seed: int, sources: int, targets: int, count: int, within: bool = False) -> np.ndarray:
    """(2, count) ends, no pair twice, nor against another one; of those within a type one is a self-loop."""
    every = [(a, b) for a in range(sources) for b in range(targets) if not within or a < b]
    chosen = [every[at] for at in np.random.default_rng(seed).permutation(len(every))[:count]]
    return np.array([*chosen, (3, 3)] if within else chosen).T


ENDS = {KNOWS: pairs(1, USERS, USERS, 60, within=True), PAYS: pairs(2, USERS, SHOPS, 70)}
RNG = np.random.default_rng(3)
X = {"user": RNG.normal(size=(USERS, 4)), "shop": RNG.normal(size=(SHOPS, 3))}
AMOUNT = RNG.uniform(0.5, 2.0, 70)


class Net(nn.Module):
    """Two layers over edges in both directions. `flow`: of the layers within a type."""

    def __init__(self, flow: str = "source_to_target") -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = HeteroConv({
            KNOWS: SAGEConv(4, 8, flow=flow),
            PAYS: GATConv((4, 3), 8, edge_dim=1, add_self_loops=False),
            REV: GATConv((3, 4), 8, edge_dim=1, add_self_loops=False),
        })  # fmt: skip
        self.second = HeteroConv({kind: SAGEConv((8, 8) if kind != KNOWS else 8, 4) for kind in (KNOWS, PAYS, REV)})

    def forward(self, x_dict: Any, edge_index_dict: Any, amount_dict: Any) -> Any:
        x_dict = {name: x.relu() for name, x in self.first(x_dict, edge_index_dict, amount_dict).items()}
        return self.second(x_dict, edge_index_dict)


def expected(net: nn.Module) -> dict[str, np.ndarray]:
    data = HeteroData()
    for name, x in X.items():
        data[name].x = torch.from_numpy(x)
    for kind, ends in ENDS.items():
        data[kind].edge_index = torch.from_numpy(ends)
    data[PAYS].edge_attr = torch.from_numpy(AMOUNT)[:, None]
    data = ToUndirected()(data)
    with torch.no_grad():
        found = net.double().eval()(data.x_dict, data.edge_index_dict, data.edge_attr_dict)
    return {name: rows.numpy() for name, rows in found.items()}


def tables() -> tuple[dict[str, pa.Table], dict[Any, pa.Table]]:
    nodes = {
        "user": pa.table({"id": np.arange(USERS) * 3 - 40, "x": list(X["user"].astype(np.float32))}),
        "shop": pa.table(
            {"id": [f"shop {number:02}" for number in range(SHOPS)], "x": list(X["shop"].astype(np.float32))}
        ),
    }
    ids = {name: table["id"] for name, table in nodes.items()}
    edges = {
        kind: pa.table({"a": ids[kind[0]].take(pa.array(src)), "b": ids[kind[2]].take(pa.array(dst))})
        for kind, (src, dst) in ENDS.items()
    }
    return nodes, {**edges, PAYS: edges[PAYS].append_column("amount", pa.array(AMOUNT))}


OPTIONS: dict[str, Any] = {"src": "a", "dst": "b", "edge_features": {PAYS: "amount"}, "undirected": True}


def model(flow: str = "source_to_target") -> Model:
    told = {"amount_dict": {PAYS: "amount", REV: "amount"}}
    return Model.from_pyg(Net(flow).eval(), inputs=told, features={"amount_dict": {PAYS: 1, REV: 1}})


def assert_same(found: Any, flow: str = "source_to_target") -> None:
    want = expected(Net(flow))
    for name, table in found.items():
        rows = np.array(table.sort_by("id")["output"].to_pylist())
        np.testing.assert_allclose(rows, want[name], atol=1e-5)


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_as_pyg_makes_them(flow: str, tmp_path: Path) -> None:
    """Edges that are read against their direction are the same edges within a type; of the others nothing is merged."""
    graph = Graph(*tables(), **OPTIONS)
    assert_same(infer(graph, model(flow), settings={"blocks": 3}), flow)
    prepared = prepare(graph, tmp_path / "g", 3)
    assert {str(kind): count for kind, count in prepared.edge_counts.items()} == {
        "user__knows__user": 121, "user__pays__shop": 70, "shop__rev_pays__user": 70,
    }  # fmt: skip
    assert_same(infer(prepared, model(flow)), flow)


class Against(nn.Module):
    """Reduces edges between two types at their sources, and those within a type at theirs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.pays, self.knows = nn.Linear(3, 4), nn.Linear(4, 4)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        found = torch.zeros_like(x_dict["user"])
        for kind, rows in ((PAYS, self.pays(x_dict["shop"])), (KNOWS, self.knows(x_dict["user"]))):
            src, dst = edge_index_dict[kind]
            found = found.index_add(0, src, rows[dst])
        return {"user": found}


def test_models_that_reduce_at_the_source(tmp_path: Path) -> None:
    net = Against().eval()
    made = Model.from_pyg(net, metadata=(list(X), [KNOWS, PAYS]), features={"x_dict": {"user": 4, "shop": 3}})
    both = np.concatenate([ENDS[KNOWS], ENDS[KNOWS][::-1, :-1]], axis=1)
    edges = {kind: torch.from_numpy(ends) for kind, ends in {PAYS: ENDS[PAYS], KNOWS: both}.items()}
    with torch.no_grad():
        want = net.double()({name: torch.from_numpy(x) for name, x in X.items()}, edges)["user"]
    found = infer(Graph(*tables(), **OPTIONS), made)["user"].sort_by("id")
    np.testing.assert_allclose(np.array(found["output"].to_pylist()), want.numpy(), atol=1e-5)


def write(folder: Path, kind: str) -> list[str]:
    """A graph in files, as options of the command line."""
    nodes, edges = tables()
    for part in ("nodes", "edges"):
        (folder / part).mkdir(parents=True)
    for name, table in nodes.items():
        pq.write_table(table, folder / "nodes" / f"{name}.parquet")
    for names, table in edges.items():
        pq.write_table(table, folder / "edges" / f"{'__'.join(names)}.parquet")
    if kind == "folder":
        return ["--graph-spec", str(folder), "--src", "a", "--dst", "b"]
    lines = [f'[nodes.{name}]\npath = "nodes/{name}.parquet"' for name in nodes]
    for names in edges:
        lines += [
            "[[edges]]",
            f"type = {[*names]}",
            f'path = "edges/{"__".join(names)}.parquet"',
            'src = "a"',
            'dst = "b"',
        ]
    lines.append('features = ["amount"]')  # of the last one, who pays
    (folder / "graph.toml").write_text("\n".join(lines))
    return ["--graph-spec", str(folder / "graph.toml")]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_on_the_command_line(kind: str, tmp_path: Path) -> None:
    spec = write(tmp_path / "raw", kind)
    model().save(tmp_path / "m")
    done = run("infer", *spec, "--undirected", "--model", tmp_path / "m", "--output", tmp_path / "o")
    assert done.exit_code == 0, done.output
    assert_same({name: pq.read_table(tmp_path / "o" / name) for name in X})
    done = run(
        "verify", *spec, "--undirected", "--model", tmp_path / "m", "--output", tmp_path / "o", "--sample", "all"
    )
    assert done.exit_code == 0, done.output
    if kind == "folder":  # its options are for all types alike
        return
    done = run("prepare", *spec, "--undirected", "--output", tmp_path / "g")
    assert done.exit_code == 0, done.output
    assert open_graph(tmp_path / "g").undirected
    done = run("infer", "--graph", tmp_path / "g", "--model", tmp_path / "m", "--output", tmp_path / "p")
    assert done.exit_code == 0, done.output
    assert_same({name: pq.read_table(tmp_path / "p" / name) for name in X})
    found = verify(open_graph(tmp_path / "g"), model(), tmp_path / "p", sample="all")
    assert found.passed, str(found)


def test_in_one_table_of_several_types() -> None:
    ids = {"user": ["u1", "u2"], "shop": ["s1"]}
    nodes = pa.table({"id": [*ids["user"], *ids["shop"]], "kind": ["user", "user", "shop"]})
    edges = pa.table({"a": ["u1", "u2"], "b": ["u2", "s1"], "relation": ["knows", "pays"]})
    types: dict[str, Any] = {"node_type": "kind", "relation": "relation", "edge_types": [KNOWS, PAYS]}
    graph = Graph(nodes, edges, src="a", dst="b", undirected=True, **types)
    assert [layout.type for layout in graph.edge_layouts] == ["__".join(kind) for kind in (KNOWS, PAYS, REV)]
    assert [layout.keys for layout in graph.edge_layouts] == [("a", "b"), ("a", "b"), ("b", "a")]
    assert [layout.undirected for layout in graph.edge_layouts] == [True, False, False]


def test_what_is_there_already(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nodes, edges = tables()
    twice = {**edges, REV: edges[PAYS].rename_columns(["b", "a", "amount"])}
    message = r"undirected makes edges \(shop, rev_pays, user\) of those of \(user, pays, shop\), and there is a table"
    with pytest.raises(DataError, match=message):
        Graph(nodes, twice, **OPTIONS)
    knows = edges[KNOWS]
    both = pa.concat_tables([knows, pa.table({"a": knows["b"][:5], "b": knows["a"][:5]})])
    caplog.set_level(logging.WARNING, logger="graphsweep")
    prepare(Graph(nodes, {**edges, KNOWS: both}, **OPTIONS), tmp_path / "g", 2)
    assert "of edges[user__knows__user] have their reverse in the table too" in caplog.text
