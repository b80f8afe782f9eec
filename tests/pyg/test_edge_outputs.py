"""Models that give a row per edge: edge classifiers, interaction networks, scores of the given edges.

Public families, written anew for these tests in the spelling of their authors. The witness is the module itself, in
float64, on graphs that the import has not seen.
"""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINEConv,
    HeteroConv,
    MessagePassing,
    PNAConv,
    SAGEConv,
    to_hetero,
)
from torch_geometric.utils import add_self_loops, degree, remove_self_loops, softmax

from pipeline import Graph, Model, infer
from pipeline.errors import ModelError
from tests.pyg.graphs import Does, assert_same


def mlp(*sizes):
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[each for layer in layers for each in (layer, nn.ReLU())][:-1])


class LaunderingGINe(nn.Module):
    """Transactions (anti money laundering): each layer also changes what is known of the edge, from both ends; the head
    reads the ends as pairs."""

    def __init__(self, width=8, layers=2, classes=2):
        super().__init__()
        self.node_emb, self.edge_emb = nn.Linear(16, width), nn.Linear(5, width)
        self.convs = nn.ModuleList(GINEConv(mlp(width, width, width), edge_dim=width) for _ in range(layers))
        self.emlps = nn.ModuleList(mlp(3 * width, width, width) for _ in range(layers))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(layers))
        self.mlp = nn.Sequential(mlp(3 * width, 10, 5), nn.Dropout(0.1), nn.Linear(5, classes))

    def forward(self, x, edge_index, edge_attr):
        src, dst = edge_index
        x, edge_attr = self.node_emb(x), self.edge_emb(edge_attr)
        for conv, emlp, norm in zip(self.convs, self.emlps, self.norms, strict=True):
            x = (x + F.relu(norm(conv(x, edge_index, edge_attr)))) / 2
            edge_attr = edge_attr + emlp(torch.cat([x[src], x[dst], edge_attr], dim=-1)) / 2
        x = x[edge_index.T].reshape(-1, 2 * x.size(1)).relu()
        return self.mlp(torch.cat((x, edge_attr.view(-1, edge_attr.shape[1])), 1))


class LaunderingPNA(nn.Module):
    """The same with many aggregations, whose scalers read the degree."""

    def __init__(self):
        super().__init__()
        scalers = ["identity", "amplification", "attenuation"]
        deg = torch.tensor([2, 5, 9, 4, 1])
        self.conv = PNAConv(16, 8, ["mean", "min", "max", "std"], scalers, deg, edge_dim=5)
        self.head = nn.Linear(21, 2)

    def forward(self, x, edge_index, edge_attr):
        x = F.relu(self.conv(x, edge_index, edge_attr))
        return self.head(torch.cat([x[edge_index[0]], x[edge_index[1]], edge_attr], dim=1))


class Interaction(MessagePassing):
    """One step of an interaction network: the relation of each edge, then the objects by the sum of these."""

    def __init__(self, width, edge_width):
        super().__init__(aggr="add", flow="source_to_target")
        self.relational, self.object = mlp(2 * width + edge_width, 10, edge_width), mlp(width + edge_width, 10, width)
        self.edges = None

    def forward(self, x, edge_index, edge_attr):
        return self.propagate(edge_index, x=x, edge_attr=edge_attr), self.edges

    def message(self, x_i, x_j, edge_attr):
        self.edges = self.relational(torch.cat([x_i, x_j, edge_attr], dim=1))
        return self.edges

    def update(self, aggr_out, x):
        return self.object(torch.cat([x, aggr_out], dim=1))


class TrackFinding(nn.Module):
    """Which pairs of hits belong to one particle: edge weights by a sigmoid, (edges, 1)."""

    def __init__(self):
        super().__init__()
        self.one, self.two = Interaction(16, 5), Interaction(16, 5)
        self.W = mlp(2 * 16 + 3 * 5, 10, 1)

    def forward(self, x, edge_index, edge_attr):
        x1, e1 = self.one(x, edge_index, edge_attr)
        x2, e2 = self.two(x1, edge_index, e1)
        seen = torch.cat([edge_attr, e1, e2], dim=1)
        return torch.sigmoid(self.W(torch.cat([x2[edge_index[1]], x2[edge_index[0]], seen], dim=1)))


class Scored(nn.Module):
    """A dot product of both ends of the given edges: one number per edge, (edges,)."""

    def __init__(self, decode):
        super().__init__()
        self.one, self.two, self.decode = GCNConv(16, 8), GCNConv(8, 4), decode

    def forward(self, x, edge_index):
        z = self.two(self.one(x, edge_index).relu(), edge_index)
        return self.decode(z, edge_index)


@pytest.mark.parametrize("net", [LaunderingGINe, LaunderingPNA, TrackFinding])
def test_public_families(net):
    torch.manual_seed(1)
    program = assert_same(net(), edge_attr=5)
    assert program.is_per_edge
    assert program.what == "edges"


DECODERS = {
    "dot product": lambda z, e: (z[e[0]] * z[e[1]]).sum(dim=-1),
    "the ends unpacked": lambda z, e: torch.sigmoid((z[e[0]] * z[e[1]]).sum(-1)),
    "pairs": lambda z, e: z[e.t()].prod(dim=1).sum(-1),
    "both rows at once": lambda z, e: z[e].prod(dim=0).sum(-1),
    "differences": lambda z, e: (z[e[0]] - z[e[1]]).abs(),
    "index_select": lambda z, e: torch.cat([z.index_select(0, e[0]), z.index_select(0, e[1])], dim=-1),
    "a class": lambda z, e: torch.cat([z[e[0]], z[e[1]]], 1).argmax(dim=1),
    "yes or no": lambda z, e: (z[e[0]] * z[e[1]]).sum(-1) > 0,
    "the degree of the source": lambda z, e: degree(e[1], z.size(0), dtype=z.dtype)[e[0]].unsqueeze(-1) * z[e[1]],
    "shares of a node's edges": lambda z, e: softmax((z[e[0]] * z[e[1]]).sum(-1), e[1], num_nodes=z.size(0)),
    "several": lambda z, e: {"score": (z[e[0]] * z[e[1]]).sum(-1), "ends": z[e[0]] + z[e[1]]},
}


@pytest.mark.parametrize("decode", DECODERS)
def test_scores_of_the_given_edges(decode):
    torch.manual_seed(2)
    assert assert_same(Scored(DECODERS[decode])).is_per_edge


def test_pairs_that_are_the_edges():
    class Decodes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(8, 4)

        def forward(self, x, edge_index, edge_label_index):
            z = self.conv(x, edge_index)
            return (z[edge_label_index[0]] * z[edge_label_index[1]]).sum(-1)

    model = Model.from_pyg(Decodes().eval(), inputs={"edge_label_index": "edge_index"})
    assert model.program.is_per_edge


def test_self_loops_that_a_layer_adds_are_no_rows():
    """GCN and GAT add them for themselves; what is read of the edges are those that were given."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = GCNConv(16, 8), GATConv(8, 4)

        def forward(self, x, edge_index):
            z = self.two(self.one(x, edge_index), edge_index)
            return z[edge_index[0]] * z[edge_index[1]]

    torch.manual_seed(3)
    assert_same(Net())


# ---- through the whole of it: tables → rows


def tables(net, ids=str, blocks=3, seed=4):
    rng = np.random.default_rng(seed)
    n, e = 40, 300
    x, attr = rng.normal(size=(n, 16)).astype(np.float32), rng.normal(size=(e, 5)).astype(np.float32)
    src, dst = rng.integers(0, n, (2, e))
    src[:40], dst[:30], src[40:45] = 3, 7, dst[40:45]  # a hub, parallel edges with different features, self-loops
    names = [ids(i) for i in range(n)]
    nodes = pa.table({"id": names, "x": list(x)})
    edges = pa.table({"src": [names[i] for i in src], "dst": [names[i] for i in dst], "edge_attr": list(attr)})
    with torch.no_grad():
        want = net(torch.from_numpy(x), torch.from_numpy(np.stack([src, dst])), torch.from_numpy(attr)).numpy()
    keys = [(names[s], names[d], row.tobytes()) for s, d, row in zip(src, dst, attr, strict=True)]
    return Graph(nodes, edges, edge_features=["edge_attr"]), dict(zip(keys, want, strict=True))


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize("ids", [str, int])
@pytest.mark.parametrize("net", [LaunderingGINe, TrackFinding])
def test_rows_are_those_of_pyg(net, ids, tmp_path):
    torch.manual_seed(5)
    net = net().eval()
    model = Model.from_pyg(net, features={"x": 16, "edge_attr": 5})
    model.save(tmp_path / "model")
    graph, want = tables(net, ids)
    table = infer(graph, tmp_path / "model", settings={"blocks": 3})
    rows = zip(*(table[name].to_pylist() for name in ("src", "dst", "edge_attr", "output")), strict=True)
    found = {(s, d, np.asarray(a, np.float32).tobytes()): out for s, d, a, out in rows}
    assert len(table) == len(want)
    assert found.keys() == want.keys()
    for key, row in want.items():
        np.testing.assert_allclose(found[key], row, rtol=0, atol=1e-5)


# ---- what is refused, in one sentence


def refused(function, message, **options):
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(Does(function).eval(), features=16, unused=["*"], **options)


def test_rows_of_nodes_and_rows_of_edges():
    def both(self, x, e):
        return {"nodes": x * 2, "edges": x[e[0]] * x[e[1]]}

    refused(
        both,
        r"^the module gives a row per node \(nodes\) and a row per edge \(edges\), and a result is one table: import "
        r"each by itself, outputs=\['nodes'\] and outputs=\['edges'\]$",
    )
    for name, per_edge in (("nodes", False), ("edges", True)):
        model = Model.from_pyg(Does(both).eval(), features=16, unused=["*"], outputs=[name])
        assert (list(model.outputs), model.program.is_per_edge) == ([name], per_edge)


def test_rows_of_added_self_loops():
    def attention(self, x, e):
        return self.conv(x, e, return_attention_weights=True)[1][1]

    net = Does(attention, conv=GATConv(16, 4))
    with pytest.raises(ModelError, match="has rows of self-loops that a layer adds, which are no edges of the table"):
        Model.from_pyg(net.eval(), features=16, unused=["*"])

    def added(self, x, e):
        e, _ = add_self_loops(e, num_nodes=x.size(0))
        return x[e[0]]

    refused(added, "return a row for each edge of edge_index as it is given")


def test_rows_of_a_part_of_the_edges():
    def proper(self, x, e):
        e, _ = remove_self_loops(e)
        return x[e[0]]

    refused(
        proper, "has rows of a part of the edges only, with or without self-loops; a result has one row for each edge"
    )


# ---- edges of one type of a graph with several


PAYS, OWNS, OWNED = ("account", "pays", "account"), ("account", "owns", "card"), ("card", "rev_owns", "account")


class PaymentScores(nn.Module):
    """Edge classification on one type: both ends after a layer over all types, and the payment's own columns."""

    def __init__(self):
        super().__init__()
        convs = {PAYS: SAGEConv((8, 8), 6), OWNS: SAGEConv((8, 4), 6), OWNED: SAGEConv((4, 8), 6)}
        self.conv, self.head = HeteroConv(convs, aggr="sum"), nn.Linear(15, 2)

    def forward(self, x_dict, edge_index_dict, edge_attr_dict):
        h = self.conv(x_dict, edge_index_dict)
        src, dst = edge_index_dict[PAYS]
        ends = [h["account"][src].relu(), h["account"][dst].relu(), edge_attr_dict[PAYS]]
        return {PAYS: self.head(torch.cat(ends, dim=-1))}


class Links(nn.Module):
    """As PyG's example for MovieLens: an encoder by to_hetero, a decoder of the edges between two types."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = SAGEConv((-1, -1), 6), SAGEConv((-1, -1), 6)

        def forward(self, x, edge_index):
            return self.conv2(self.conv1(x, edge_index).relu(), edge_index)

    def __init__(self):
        super().__init__()
        self.encoder = to_hetero(self.Encoder(), (["account", "card"], [PAYS, OWNS, OWNED]), aggr="sum")
        self.lin1, self.lin2 = nn.Linear(12, 6), nn.Linear(6, 1)

    def forward(self, x_dict, edge_index_dict, edge_label_index=None):
        z = self.encoder(x_dict, edge_index_dict)
        row, col = edge_index_dict[OWNS]
        return self.lin2(self.lin1(torch.cat([z["account"][row], z["card"][col]], dim=-1)).relu()).view(-1)


def typed_data(accounts=25, cards=9):
    generator = torch.Generator().manual_seed(6)

    def ends(sources, targets, count):
        return torch.stack([torch.randint(n, (count,), generator=generator) for n in (sources, targets)])

    data = HeteroData()
    data["account"].x, data["card"].x = (torch.randn(n, w, generator=generator) for n, w in ((accounts, 8), (cards, 4)))
    data[PAYS].edge_index, data[PAYS].edge_attr = (
        ends(accounts, accounts, 80),
        torch.randn(80, 3, generator=generator),
    )
    data[OWNS].edge_index = ends(accounts, cards, 40)
    data[OWNED].edge_index = data[OWNS].edge_index.flip(0)
    return data


def typed_tables(data):
    nodes = {
        kind: pa.table({"id": [f"{kind} {i}" for i in range(len(data[kind].x))], "x": list(data[kind].x.numpy())})
        for kind in data.node_types
    }
    edges = {}
    for kind in data.edge_types:
        src, dst = data[kind].edge_index.tolist()
        ends = {"src": [f"{kind[0]} {i}" for i in src], "dst": [f"{kind[2]} {i}" for i in dst]}
        own = {"edge_attr": list(data[kind].edge_attr.numpy())} if "edge_attr" in data[kind] else {}
        edges[kind] = pa.table(ends | own)
    return Graph(nodes, edges, edge_features={PAYS: ["edge_attr"]})


@pytest.mark.usefixtures("no_session")
@pytest.mark.parametrize(("net", "kind"), [(PaymentScores, PAYS), (Links, OWNS)])
def test_rows_of_one_type_of_edges_are_those_of_pyg(net, kind, tmp_path):
    torch.manual_seed(7)
    net, data = net(), typed_data()
    given = [data.x_dict, data.edge_index_dict, *([data.edge_attr_dict] if kind == PAYS else [])]
    with torch.no_grad():
        net(*given)  # the widths of to_hetero
    inputs = {"edge_attr_dict": {PAYS: "edge_attr"}} if kind == PAYS else {"edge_label_index": None}
    model = Model.from_pyg(net.eval(), inputs=inputs, like=data)
    assert list(model.outputs) == [f"{'__'.join(kind)}.output"]
    model.save(tmp_path / "model")
    with torch.no_grad():
        doubles = [{key: rows.double() for key, rows in each.items()} for each in (given[0], *given[2:])]
        want = net.double()(doubles[0], given[1], *doubles[1:])
    want = want[kind] if isinstance(want, dict) else want
    found = infer(typed_tables(data), tmp_path / "model", settings={"blocks": 3})[kind]
    exact: dict = {}
    for src, dst, row in zip(*data[kind].edge_index.tolist(), want.tolist(), strict=True):
        exact.setdefault((f"{kind[0]} {src}", f"{kind[2]} {dst}"), []).append(row)
    rows: dict = {}
    for row in found.to_pylist():
        rows.setdefault((row["src"], row["dst"]), []).append(row["output"])
    assert rows.keys() == exact.keys()
    for key, each in exact.items():
        np.testing.assert_allclose(np.sort(rows[key], 0), np.sort(each, 0), rtol=0, atol=2e-6)


def test_rows_of_edges_under_a_type_of_nodes():
    class Typed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 2)

        def forward(self, x_dict, edge_index_dict):
            src, dst = edge_index_dict["user", "buys", "item"]
            return {"item": self.lin(x_dict["user"])[src] * self.lin(x_dict["item"])[dst]}

    metadata = (["user", "item"], [("user", "buys", "item")])
    with pytest.raises(
        ModelError,
        match=r"^output 'item.output' has one row per edge of \(user, buys, item\), and forward returned it as one of "
        r"nodes 'item': return it alone, or in a dict under the type of its edges$",
    ):
        Model.from_pyg(Typed().eval(), metadata=metadata, features={"x_dict": 4})
