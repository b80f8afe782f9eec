"""Several sets of edges over the same nodes: signed graphs, several views, a second graph of neighbours.

The witness is the module itself, in float64, on graphs that the import has not seen.
"""

from __future__ import annotations

import contextlib
import copy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, SignedConv, SignedGCN
from torch_geometric.utils import degree
from typer.testing import CliRunner

from pipeline import Graph, Model, cli, infer
from pipeline.errors import DataError, ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.schema import NODE, EdgeType

NODES = 40
BUYS, BOUGHT = ("user", "buys", "item"), ("item", "bought_by", "user")
SIGNS = {"pos_edge_index": "pos", "neg_edge_index": "neg"}
VIEWS = {"edge_index": "follows", "knn_edge_index": "knn", "edge_attr": "follows.kind"}


class Signed(nn.Module):
    def __init__(self):
        super().__init__()
        self.pos, self.neg = GCNConv(8, 4), GCNConv(8, 4)

    def forward(self, x, pos_edge_index, neg_edge_index, pos_weight=None):
        return self.pos(x, pos_edge_index, pos_weight) - self.neg(x, neg_edge_index)


class OfData(Signed):
    def forward(self, data):
        return super().forward(data.x, data.pos_edge_index, data.neg_edge_index)


class Views(nn.Module):
    """Attention over what each view gives."""

    def __init__(self):
        super().__init__()
        self.first, self.second = GATConv(8, 4, edge_dim=3), SAGEConv(8, 4)
        self.attention = nn.Linear(4, 1)

    def forward(self, x, edge_index, knn_edge_index, edge_attr):
        views = torch.stack([self.first(x, edge_index, edge_attr), self.second(x, knn_edge_index)], 1)
        return (self.attention(views).softmax(1) * views).sum(1)


class Joined(nn.Module):
    """Both sets as one, which a layer then reads."""

    def __init__(self, aggr):
        super().__init__()
        self.conv = SAGEConv(8, 4, aggr=aggr)

    def forward(self, x, edge_index_1, edge_index_2):
        return self.conv(x, torch.cat([edge_index_1, edge_index_2], dim=1))


def drawn(seed: int = 0, sizes: tuple[int, int] = (150, 60)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, and two sets of edges with self-loops, edges that are there twice and nodes that have none."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=(NODES, 8)))
    first, second = (torch.from_numpy(rng.integers(0, NODES - 4, (2, size))) for size in sizes)
    return x, torch.cat([first, first[:, :9]], 1), second


@contextlib.contextmanager
def float64():
    """New tensors are in float64, as those of the module are."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def arrays_of(x: torch.Tensor, edges: dict[str, torch.Tensor], columns: dict[str, dict], node: str) -> GraphArrays:
    ends = {EdgeType(node, name, node): tuple(each.numpy()) for name, each in edges.items()}
    held = {kind: columns.get(kind.relation, {}) for kind in ends}
    return GraphArrays({node: len(x)}, ends, {node: {"x": x.numpy()}}, held)


def assert_gives(
    model: Model, expected: torch.Tensor, x: torch.Tensor, edges: dict[str, torch.Tensor], node: str = NODE, **columns
) -> None:
    (found,) = interpret(model.program, model.weights, arrays_of(x, edges, columns, node)).values()
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [(150, 60), (150, 0), (0, 0)])
@pytest.mark.parametrize("kind", [Signed, OfData])
def test_signed_edges(kind, sizes):
    net = kind().eval()
    model = Model.from_pyg(net, inputs=SIGNS)
    x, pos, neg = drawn(1, sizes)
    expected = Signed.forward(copy.deepcopy(net).double(), x, pos, neg)
    assert_gives(model, expected, x, {"pos": pos, "neg": neg})
    assert model.columns == {"nodes.x": "nodes.x"}


# ---- a sparse matrix of each set, made in forward


def adjacency(ends, count, values=None):
    values = torch.ones(ends.size(1), dtype=torch.get_default_dtype()) if values is None else values
    return torch.sparse_coo_tensor(ends.flip(0), values, (count, count))


def mean_of(ends, count, like):
    """The matrix whose product is a mean over the edges into a node."""
    share = degree(ends[1], count, dtype=like.dtype).clamp(min=1).reciprocal()
    return adjacency(ends, count, share[ends[1]])


MATRICES = {
    "each by itself": lambda p, q, h, k: torch.sparse.mm(p, h) - q @ k,
    "one after the other": lambda p, q, h, k: p @ (q @ h) + k,
    "compressed, turned": lambda p, q, h, k: p.coalesce().to_sparse_csr() @ h + q.t() @ k,
    "their difference": lambda p, q, h, k: (p - q) @ h + k,
    "a sum, scaled and turned": lambda p, q, h, k: (0.5 * (p + 2.0 * q)).t() @ h - (q + p) @ k,
    "a sum of three": lambda p, q, h, k: torch.sparse.mm(-(p + q) + p.t(), h) + k,
}


class Matrices(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way, self.one, self.two = way, nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x, pos_edge_index, neg_edge_index):
        p, q = adjacency(pos_edge_index, x.size(0)), mean_of(neg_edge_index, x.size(0), x)
        return self.way(p, q, self.one(x), self.two(x))


@pytest.mark.parametrize("way", MATRICES)
def test_matrices_of_several_sets(way):
    net = Matrices(MATRICES[way]).eval()
    model = Model.from_pyg(net, inputs=SIGNS, features=8)
    x, pos, neg = drawn(2)
    with float64():
        expected = copy.deepcopy(net).double()(x, pos, neg)
    assert_gives(model, expected, x, {"pos": pos, "neg": neg})


def test_entries_of_a_sum_of_matrices():
    def way(p, q, h, k):
        both = (p + q).coalesce()
        return torch.sparse_coo_tensor(both.indices(), both.values() * 2, both.shape) @ h + k

    with pytest.raises(
        ModelError,
        match=r"indices asks for the entries of a sum of sparse matrices: .*; multiply each matrix by itself",
    ):
        Model.from_pyg(Matrices(way).eval(), inputs=SIGNS, features=8)


def test_matrices_of_edges_between_types():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(8, 4)

        def forward(self, x_dict, edge_index_dict):
            users, items = len(x_dict["user"]), len(x_dict["item"])
            there, back = edge_index_dict[BUYS], edge_index_dict[BOUGHT]
            ones = torch.ones(there.size(1), dtype=torch.get_default_dtype())
            a = torch.sparse_coo_tensor(there.flip(0), ones, (items, users))
            b = torch.sparse_coo_tensor(back.flip(0), torch.ones(back.size(1), dtype=ones.dtype), (users, items))
            h = torch.sparse.mm(a, self.lin(x_dict["user"]))
            return {"item": h, "user": torch.sparse.mm(b, h)}

    net = Typed().eval()
    types = (["user", "item"], [BUYS, BOUGHT])
    model = Model.from_pyg(net, metadata=types, features={"x_dict": 8})
    rng = np.random.default_rng(3)
    x = {"user": rng.normal(size=(20, 8)), "item": rng.normal(size=(9, 8))}
    there, back = rng.integers(0, [[20], [9]], (2, 50)), rng.integers(0, [[9], [20]], (2, 30))
    ends = {EdgeType(*BUYS): (there[0], there[1]), EdgeType(*BOUGHT): (back[0], back[1])}
    arrays = GraphArrays(
        {"user": 20, "item": 9}, ends, {"user": {"x": x["user"]}, "item": {"x": x["item"]}}, {each: {} for each in ends}
    )
    found = interpret(model.program, model.weights, arrays)
    with float64():
        given = {name: torch.from_numpy(each) for name, each in x.items()}
        expected = copy.deepcopy(net).double()(given, {BUYS: torch.from_numpy(there), BOUGHT: torch.from_numpy(back)})
    for name, rows in expected.items():
        np.testing.assert_allclose(found[f"{name}.output"], rows.detach().numpy(), rtol=0, atol=1e-10)


def test_pygs_own_layers():
    x, pos, neg = drawn(2)
    net = SignedGCN(8, 16, 2).eval()
    model = Model.from_pyg(net, inputs=SIGNS)
    assert_gives(model, copy.deepcopy(net).double()(x, pos, neg), x, {"pos": pos, "neg": neg})
    assert set(model.about.unread) == {"lin.weight", "lin.bias"}
    for first, width in ((True, 8), (False, 4)):
        conv = SignedConv(width, 6, first).eval()
        model = Model.from_pyg(conv, inputs=SIGNS, features=8)
        assert_gives(model, copy.deepcopy(conv).double()(x, pos, neg), x, {"pos": pos, "neg": neg})


def test_columns_of_one_set():
    x, pos, neg = drawn(3)
    weight = torch.rand(pos.size(1), dtype=torch.float64)
    net = Signed().eval()
    model = Model.from_pyg(net, inputs={**SIGNS, "pos_weight": "pos.amount"})
    expected = copy.deepcopy(net).double()(x, pos, neg, weight)
    assert_gives(model, expected, x, {"pos": pos, "neg": neg}, pos={"pos_weight": weight.numpy()})
    assert model.columns["edges[node__pos__node].pos_weight"] == "edges[node__pos__node].amount"
    views = Views().eval()
    model = Model.from_pyg(views, inputs=VIEWS)
    kinds = torch.rand(pos.size(1), 3, dtype=torch.float64)
    expected = copy.deepcopy(views).double()(x, pos, neg, kinds)
    assert_gives(model, expected, x, {"follows": pos, "knn": neg}, follows={"edge_attr": kinds.numpy()})
    several = Model.from_pyg(views, inputs={**VIEWS, "edge_attr": ["follows.a", "follows.b", "follows.c"]})
    assert several.training["edges[node__follows__node].edge_attr"].names == ("a", "b", "c")


@pytest.mark.parametrize("aggr", ["mean", "max"])
def test_sets_that_are_joined(aggr):
    net = Joined(aggr).eval()
    model = Model.from_pyg(net, inputs={"edge_index_1": "one", "edge_index_2": "two"})
    x, one, two = drawn(9)
    assert_gives(model, copy.deepcopy(net).double()(x, one, two), x, {"one": one, "two": two})


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x, a, b: self.pos(x, a) + (self.neg(x, b) if b.numel() > 0 else 100.0),
        lambda self, x, a, b: self.pos(x, a) if a.size(1) > b.size(1) else self.neg(x, b),
    ],
)
def test_branches_on_how_many_edges_a_set_has(forward):
    class Branches(Signed):
        def forward(self, x, pos_edge_index, neg_edge_index):
            return forward(self, x, pos_edge_index, neg_edge_index)

    with pytest.raises(ModelError) as caught:
        Model.from_pyg(Branches().eval(), inputs=SIGNS, features=8, unused=["*"])
    assert "forward computes something else where there are no edges '" in str(caught.value)
    assert "import a module that always goes the way of your graph" in str(caught.value)


def test_named_types():
    """Of a graph whose nodes have a type of their own, as its edges are called there."""
    x, pos, neg = drawn(4)
    net = Signed().eval()
    expected = copy.deepcopy(net).double()(x, pos, neg)
    triples = {"pos_edge_index": ("user", "trusts", "user"), "neg_edge_index": EdgeType("user", "blocks", "user")}
    edges = {"trusts": pos, "blocks": neg}
    assert_gives(Model.from_pyg(net, inputs=triples), expected, x, edges, "user")
    data = HeteroData()
    data["user"].x = x
    data["user", "trusts", "user"].edge_index = pos
    data["user", "blocks", "user"].edge_index = neg
    told = {"pos_edge_index": "trusts", "neg_edge_index": "blocks"}
    assert_gives(Model.from_pyg(net, inputs=told, like=data), expected, x, edges, "user")
    with pytest.raises(ModelError, match="inputs gives 'neg_edge_index' the edges 'block', which like= has not; did"):
        Model.from_pyg(net, inputs={**told, "neg_edge_index": "block"}, like=data)


# ---- to scores


def tables(x, pos, neg):
    ids = np.arange(len(x)) * 7 + 3
    nodes = pa.table({"id": ids, "x": x.float().numpy().tolist()})
    amount = np.random.default_rng(5).uniform(0.1, 1, pos.size(1)).astype(np.float32)
    edges = [pa.table({"src": ids[each[0]], "dst": ids[each[1]]}) for each in (pos, neg)]
    return nodes, edges[0].append_column("amount", pa.array(amount)), edges[1]


def assert_scores(table, net, x, pos, neg, amount):
    table = table.sort_by("id")
    expected = net(x.float(), pos, neg, torch.tensor(amount)).detach().numpy()
    np.testing.assert_allclose(np.array(table["output"].to_pylist()), expected, rtol=0, atol=2e-6)


def test_a_graph_of_one_node_table(no_session):
    x, pos, neg = drawn(6)
    net = Signed().eval()
    model = Model.from_pyg(net, inputs={**SIGNS, "pos_weight": "pos.amount"})
    nodes, positive, negative = tables(x, pos, neg)
    amount = positive["amount"].to_numpy()
    for key in ("pos", (NODE, "pos", NODE)):
        graph = Graph(nodes, {key: positive, "neg": negative}, edge_features={"pos": ["amount"]})
        (scores,) = infer(graph, model).values()
        assert_scores(scores, net, x, pos, neg, amount)
    with pytest.raises(DataError, match="nodes are one table, and edges are between nodes of several types"):
        Graph(nodes, {"pos": positive, ("a", "neg", "a"): negative})
    with pytest.raises(DataError, match=r"edge_features names \(node, po, node\), which is no type of this graph"):
        Graph(nodes, {"pos": positive, "neg": negative}, edge_features={"po": ["amount"]})


SPEC = """
[nodes.node]
path = "nodes.parquet"

[[edges]]
type = ["node", "pos", "node"]
path = "pos.parquet"
features = ["amount"]

[[edges]]
type = ["node", "neg", "node"]
path = "neg.parquet"
"""


def test_on_the_command_line(tmp_path, no_session, monkeypatch):
    torch.manual_seed(0)
    x, pos, neg = drawn(7)
    parts = dict(zip(("nodes", "pos", "neg"), tables(x, pos, neg), strict=True))
    for name, table in parts.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "graph.toml").write_text(SPEC)
    net = Signed().eval()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    model, graph, scores = (str(tmp_path / name) for name in ("model", "prepared", "scores"))

    def run(*arguments: str) -> None:
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, result.output

    module = "tests.pyg.test_edge_sets:Signed"
    run(
        "export",
        module,
        "--checkpoint",
        str(tmp_path / "w.pt"),
        "--output",
        model,
        "--input",
        "pos_edge_index=pos",
        "--input",
        "neg_edge_index=neg",
        "--input",
        "pos_weight=pos.amount",
    )
    run("prepare", "--graph-spec", str(tmp_path / "graph.toml"), "--output", graph)
    run("infer", "--graph", graph, "--model", model, "--output", scores)
    assert_scores(pq.read_table(f"{scores}/node"), net, x, pos, neg, parts["pos"]["amount"].to_numpy())
    run("verify", "--graph", graph, "--model", model, "--output", scores, "--sample", "all")


# ---- what is refused


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            None,
            "forward takes several sets of edges (pos_edge_index, neg_edge_index), each a table of its own over the "
            "same nodes: name the tables, inputs={'pos_edge_index': 'pos', 'neg_edge_index': 'neg'}, and give the "
            "graph as Graph(nodes, {'pos': …, 'neg': …})",
        ),
        (
            {"pos_edge_index": "pos", "neg_edge_index": "edge_index"},
            "inputs takes pos_edge_index for the edges of the table 'pos', and neg_edge_index for the edges of a graph "
            "with one table of them: name the table of each, inputs={'neg_edge_index': 'TABLE'}; if pos_edge_index is "
            "a column, write 'nodes.pos' or 'edges.pos'",
        ),
        (
            {**SIGNS, "pos_weight": "edges.amount"},
            "input 'pos_weight' is 'edges.amount'; write nodes.COLUMN or pos.COLUMN or neg.COLUMN",
        ),
        (
            {**SIGNS, "pos_weight": "amount"},
            "input 'pos_weight' is 'amount'; write nodes.COLUMN or pos.COLUMN or neg.COLUMN",
        ),
        (
            {"pos_edge_index": "nodes", "neg_edge_index": "neg"},
            "inputs calls a table of edges 'nodes', which says any table; give it another name",
        ),
        (
            {"pos_edge_index": ("user", "buys", "item"), "neg_edge_index": "neg"},
            "inputs gives forward edges between nodes of several types (user, item, node), and it takes the columns of "
            "one: import a module whose forward takes x_dict and edge_index_dict",
        ),
    ],
)
def test_what_inputs_may_say(inputs, message):
    with pytest.raises(ModelError) as caught:
        Model.from_pyg(Signed().eval(), inputs=inputs)
    assert str(caught.value) == message


def test_a_column_of_which_table():
    with pytest.raises(ModelError) as caught:
        Model.from_pyg(Views().eval(), inputs={"edge_index": "follows", "knn_edge_index": "knn"})
    assert str(caught.value).startswith(
        "forward takes 'edge_attr': say where it comes from, inputs={'edge_attr': 'nodes.COLUMN'} or 'follows.COLUMN' "
        "or 'knn.COLUMN'; a number"
    )


def test_a_model_of_one_set_and_a_graph_of_several(no_session):
    nodes, positive, negative = tables(*drawn(8))
    model = Model.from_pyg(SAGEConv(8, 4).eval(), features=8)
    with pytest.raises(ModelError) as caught:
        infer(Graph(nodes, {"pos": positive, "neg": negative}), model)
    assert str(caught.value).startswith(
        "the model is for graphs without types, and this graph has several: nodes 'node'; edges (node, pos, node), "
        "(node, neg, node); import the model with metadata=, or give one node table and one edge table"
    )
    signed = Model.from_pyg(Signed().eval(), inputs=SIGNS)
    with pytest.raises(ModelError) as caught:
        infer(Graph(nodes, positive), signed)
    assert str(caught.value) == (
        "the model is for a typed graph, with nodes 'node'; edges (node, pos, node), (node, neg, node), and this graph "
        "has no types; give a table for each type: Graph(nodes, {'pos': …, 'neg': …})"
    )
