"""Forwards that take, or make, a sparse matrix: its values are said, and the numbers are those of PyG with that matrix.

The witness is PyG on a torch.sparse_csr matrix made here by hand, with the layers' own message_and_aggregate.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn import (
    APPNP,
    GATConv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    LEConv,
    LGConv,
    SAGEConv,
    SGConv,
    TAGConv,
)
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import spmm, to_edge_index

from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.model import Model
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE
from tests.pyg.graphs import assert_close

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state")

WIDTH = 6
VALUES = ("edge_index", "edges.weight")


def graph(seed=0, nodes=40, edges=160):
    """Distinct edges in no order, self-loops among them, some nodes without any; a weight each."""
    rng = np.random.default_rng(seed)
    codes = rng.permutation((nodes - 4) ** 2)[:edges]
    src, dst = codes // (nodes - 4), codes % (nodes - 4)
    return nodes, src, dst, rng.uniform(-1, 2, edges), rng.normal(size=(nodes, WIDTH))


def csr(nodes, src, dst, values):
    """The matrix as a dense one, and then sparse: rows are dst."""
    dense = torch.zeros(nodes, nodes, dtype=torch.float64)
    dense[dst, src] = torch.as_tensor(values, dtype=torch.float64)
    return dense.to_sparse_csr()


def normalised(nodes, src, dst):
    """As OGB's scripts do: the diagonal is set to 1, then D^-1/2 A D^-1/2."""
    dense = np.zeros((nodes, nodes))
    dense[dst, src] = 1
    np.fill_diagonal(dense, 1)
    degree = dense.sum(1) ** -0.5
    return torch.from_numpy(degree[:, None] * dense * degree[None]).to_sparse_csr()


def witness(net, *arguments):
    with torch.no_grad():
        return copy.deepcopy(net).double()(*arguments).numpy()


def imported(net, inputs, nodes, src, dst, x, **edges):
    program, weights, columns = import_module(net.eval(), inputs=inputs, features={"x": WIDTH})
    arrays = GraphArrays({NODE: nodes}, {EDGE: (src, dst)}, {NODE: {"x": x}}, {EDGE: edges})
    return interpret(program, weights, arrays)["output"], columns


class Takes(nn.Module):
    """A module of one function of the features and a matrix."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, adj_t):
        return self.function(self, x, adj_t)


LAYERS = {
    "gcn": lambda: GCNConv(WIDTH, 3, normalize=False),
    "gcn of the mean": lambda: GCNConv(WIDTH, 3, normalize=False, aggr="mean"),
    "gcn of the maximum": lambda: GCNConv(WIDTH, 3, normalize=False, aggr="max"),
    "sage": lambda: SAGEConv(WIDTH, 3),
    "sage of the sum": lambda: SAGEConv(WIDTH, 3, aggr="sum"),
    "sage of the maximum": lambda: SAGEConv(WIDTH, 3, aggr="max"),
    "sage of the deviation": lambda: SAGEConv(WIDTH, 3, aggr="std"),
    "graphconv": lambda: GraphConv(WIDTH, 3),
    "gin": lambda: GINConv(nn.Linear(WIDTH, 3)),
    "appnp": lambda: APPNP(3, 0.1, normalize=False),
    "lightgcn": lambda: LGConv(normalize=False),
    "tag": lambda: TAGConv(WIDTH, 3, 2, normalize=False),
    "le": lambda: LEConv(WIDTH, 3),
}


WITHOUT_VALUES = {"sage of the deviation"}  # its messages are x_j: PyG itself does not look at them


@pytest.mark.parametrize("name", LAYERS)
def test_layer_with_the_values_of_a_column(name):
    torch.manual_seed(0)
    net = Takes(lambda self, x, adj_t: self.conv(x, adj_t), conv=LAYERS[name]())
    nodes, src, dst, values, x = graph()
    expected = witness(net, torch.from_numpy(x), csr(nodes, src, dst, values))
    found, columns = imported(net, {"adj_t": VALUES}, nodes, src, dst, x, adj_t=values)
    assert_close(found, expected, name)
    read = {} if name in WITHOUT_VALUES else {"edges.adj_t": "edges.weight"}
    assert columns == {"nodes.x": "nodes.x", **read}


PRODUCTS = {
    "@": lambda self, x, a: a @ x,
    "matmul": lambda self, x, a: torch.matmul(a, x),
    "method": lambda self, x, a: a.matmul(x),
    "mm": lambda self, x, a: torch.mm(a, x),
    "sparse.mm": lambda self, x, a: torch.sparse.mm(a, x),
    "spmm": lambda self, x, a: torch.spmm(a, x),
    "addmm": lambda self, x, a: torch.sparse.addmm(x, a, x * 2),
    "of pyg": lambda self, x, a: spmm(a, x),
    "mean": lambda self, x, a: spmm(a, x, "mean"),
    "maximum": lambda self, x, a: spmm(a, x, "max"),
    "minimum": lambda self, x, a: spmm(a, x, "min"),
    "twice": lambda self, x, a: a @ torch.relu(a @ self.lin(x)),
    "vector": lambda self, x, a: (a @ x[:, :1]) * x,
    "scaled": lambda self, x, a: (a * 0.5) @ x,
    "as coo": lambda self, x, a: a.to_sparse_coo() @ x,
    "taken apart": lambda self, x, a: torch.zeros_like(x).index_add(
        0, to_edge_index(a)[0][0], to_edge_index(a)[1][:, None] * x[to_edge_index(a)[0][1]]
    ),
    "its values": lambda self, x, a: (
        torch.zeros_like(x).index_add(0, to_edge_index(a)[0][0], x[a.col_indices()]) * a.values().new_ones(1)
    ),
    "degrees": lambda self, x, a: x / (1 + torch.sparse.sum(a.to_sparse_coo(), 1).to_dense().abs())[:, None],
    "degrees of columns": lambda self, x, a: x * torch.sparse.sum(a.to_sparse_coo(), dim=0).to_dense()[:, None],
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_a_matrix(name):
    torch.manual_seed(0)
    net = Takes(PRODUCTS[name], **({"lin": nn.Linear(WIDTH, WIDTH)} if name == "twice" else {}))
    nodes, src, dst, values, x = graph(1)
    expected = witness(net, torch.from_numpy(x), csr(nodes, src, dst, values))
    assert_close(imported(net, {"adj_t": VALUES}, nodes, src, dst, x, adj_t=values)[0], expected, name)


def test_a_matrix_turned_is_the_edges_against_their_direction():
    net = Takes(lambda self, x, a: a.t() @ x + a @ x)
    nodes, src, dst, values, x = graph(2)
    dense = csr(nodes, src, dst, values).to_dense().numpy()
    expected = dense.T @ x + dense @ x
    assert_close(imported(net, {"adj_t": VALUES}, nodes, src, dst, x, adj_t=values)[0], expected, "turned")


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name != "its values"])
def test_a_matrix_of_ones(name):
    torch.manual_seed(0)
    net = Takes(PRODUCTS[name], **({"lin": nn.Linear(WIDTH, WIDTH)} if name == "twice" else {}))
    nodes, src, dst, _, x = graph(1)
    expected = witness(net, torch.from_numpy(x), csr(nodes, src, dst, np.ones(len(src))))
    assert_close(imported(net, {"adj_t": ("edge_index", None)}, nodes, src, dst, x)[0], expected, name)


# ---- what OGB's and PyG's scripts do


class ProductsGCN(nn.Module):
    """The form of OGB's GCNs on products, proteins, ppa and citation2: layers without normalisation on a matrix that
    was normalised once, before training."""

    def __init__(self, hidden=8, classes=4, layers=3):
        super().__init__()
        sizes = [WIDTH, *[hidden] * (layers - 1), classes]
        self.convs = nn.ModuleList([GCNConv(a, b, normalize=False) for a, b in pairwise(sizes)])
        self.dropout = 0.5

    def forward(self, x, adj_t):
        for conv in self.convs[:-1]:
            x = conv(x, adj_t)
            x = F.relu(x)
            x = F.dropout(x, p=self.dropout, training=self.training)
        x = self.convs[-1](x, adj_t)
        return torch.log_softmax(x, dim=-1)


class Cora2(nn.Module):
    """The form of PyG's gcn2_cora and gcn2_ppi."""

    def __init__(self, hidden=8, classes=4, layers=5):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(WIDTH, hidden), nn.Linear(hidden, classes)])
        self.convs = nn.ModuleList(
            [
                GCN2Conv(hidden, 0.1, 0.5, layer + 1, shared_weights=layer % 2 == 0, normalize=False)
                for layer in range(layers)
            ]
        )

    def forward(self, x, adj_t):
        x = x_0 = self.lins[0](x).relu()
        for conv in self.convs:
            x = conv(x, x_0, adj_t).relu()
        return self.lins[1](x).log_softmax(dim=-1)


SCRIPTS = {"products": ProductsGCN, "cora2": Cora2}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_normalised_matrix_of_the_scripts(name):
    torch.manual_seed(0)
    net = SCRIPTS[name]()
    nodes, src, dst, _, x = graph(3)
    expected = witness(net.eval(), torch.from_numpy(x), normalised(nodes, src, dst))
    found, columns = imported(net, {"adj_t": ("edge_index", "gcn_norm")}, nodes, src, dst, x)
    assert_close(found, expected, name)
    assert columns == {"nodes.x": "nodes.x"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_same_in_float32_through_the_plan(name):
    torch.manual_seed(0)
    net = SCRIPTS[name]().eval()
    model = Model.from_pyg(net, inputs={"adj_t": ("edge_index", "gcn_norm")}, features={"x": WIDTH})
    nodes, src, dst, _, x = graph(3)
    arrays = GraphArrays.single(src, dst, x)
    found = interpret(model.program, model.weights, arrays)["output"]
    assert_close(found, witness(net, torch.from_numpy(x), normalised(nodes, src, dst)), name, 1e-6)


class AsTrained(nn.Module):
    """What a user writes whose script normalises in its own way."""

    def __init__(self, net, normalise):
        super().__init__()
        self.net, self.normalise = net, normalise

    def forward(self, x, edge_index):
        n = x.size(0)
        edge_index, values = self.normalise(edge_index, n)
        return self.net(x, torch.sparse_coo_tensor(edge_index.flip(0), values, (n, n)).to_sparse_csr())


def _by_rows(edge_index, n):
    """D^-1 A"""
    degree = torch.zeros(n).index_add(0, edge_index[1], torch.ones(edge_index.size(1)))
    return edge_index, (1 / degree.clamp(min=1))[edge_index[1]]


def _by_pyg(edge_index, n):
    return gcn_norm(edge_index, None, n)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_wrapper_that_makes_the_matrix(name):
    torch.manual_seed(0)
    net = SCRIPTS[name]()
    nodes, src, dst, _, x = graph(4)
    expected = witness(net.eval(), torch.from_numpy(x), normalised(nodes, src, dst))
    assert_close(imported(AsTrained(net, _by_pyg), None, nodes, src, dst, x)[0], expected, name)
    dense = csr(nodes, src, dst, np.ones(len(src))).to_dense()
    dense = dense / dense.sum(1, keepdim=True).clamp(min=1)
    expected = witness(net, torch.from_numpy(x), dense.to_sparse_csr())
    assert_close(imported(AsTrained(net, _by_rows), None, nodes, src, dst, x)[0], expected, name)


def test_the_ways_differ():
    """A wrong spelling does not give the right numbers."""
    torch.manual_seed(0)
    net = Takes(lambda self, x, adj_t: self.conv(x, adj_t), conv=GCNConv(WIDTH, 3, normalize=False))
    nodes, src, dst, values, x = graph()
    ways = [
        imported(net, {"adj_t": VALUES}, nodes, src, dst, x, adj_t=values)[0],
        imported(net, {"adj_t": ("edge_index", "gcn_norm")}, nodes, src, dst, x)[0],
        imported(net, {"adj_t": ("edge_index", None)}, nodes, src, dst, x)[0],
    ]
    assert all(np.abs(a - b).max() > 0.1 for i, a in enumerate(ways) for b in ways[:i])


def test_an_attribute_of_data():
    class OfData(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(WIDTH, 3, normalize=False)

        def forward(self, data):
            return self.conv(data.x, data.adj_t)

    with pytest.raises(
        ModelError, match=r"forward reads data.adj_t, .*inputs={'adj_t': \('edge_index', 'edges.COLUMN'\)}"
    ):
        import_module(OfData().eval(), features={"x": WIDTH})
    torch.manual_seed(0)
    net = OfData()
    nodes, src, dst, values, x = graph()
    expected = witness(net.conv, torch.from_numpy(x), csr(nodes, src, dst, values))
    assert_close(imported(net, {"adj_t": VALUES}, nodes, src, dst, x, adj_t=values)[0], expected, "data")


def test_a_layer_that_normalises_a_matrix_of_ones_as_edge_index():
    torch.manual_seed(0)
    for conv in (GCNConv(WIDTH, 3), SGConv(WIDTH, 3, 2)):
        net = Takes(lambda self, x, adj_t: self.conv(x, adj_t), conv=conv)
        nodes, src, dst, _, x = graph()
        expected = witness(conv, torch.from_numpy(x), torch.from_numpy(np.array([src, dst])))
        assert_close(imported(net, {"adj_t": ("edge_index", None)}, nodes, src, dst, x)[0], expected, "ones")


@pytest.mark.parametrize(("kind", "differs"), [(GCNConv, True), (GATConv, False)])
def test_a_matrix_of_ones_that_is_another_model_is_told(kind, differs):
    """PyG's GCNConv adds a second self-loop to a node that has one, if it is given a torch.sparse matrix."""
    torch.manual_seed(0)
    net = Takes(lambda self, x, adj_t: self.conv(x, adj_t), conv=kind(WIDTH, 3)).eval()
    loop, x = torch.tensor([[0, 1, 2], [1, 1, 0]]), torch.randn(3, WIDTH)
    matrix = torch.sparse_coo_tensor(loop.flip(0), torch.ones(3), (3, 3)).to_sparse_csr()
    assert torch.allclose(net(x, loop), net(x, matrix), atol=1e-6) is not differs
    note = (
        "adj_t was taken as edge_index, or a torch_sparse.SparseTensor of it: of a torch.sparse matrix the module "
        "gives other numbers (PyG's layers then add a second self-loop to a node that has one); if yours is a "
        "torch.sparse matrix, give ('edge_index', 'edges.COLUMN') with a column of 1"
    )
    notes = Model.from_pyg(net, inputs={"adj_t": ("edge_index", None)}).about.notes
    assert (note in notes) is differs
    assert len(notes) == 1 + differs


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("edge_index", "weight"), "input 'adj_t' is 'weight'; write edges.COLUMN"),
        (("edge_index", "nodes.w"), "input 'adj_t' is 'nodes.w'; write edges.COLUMN"),
        (
            ("edge_index",),
            r"input 'adj_t' is \('edge_index',\); write a column, or for a matrix \('edge_index', VALUES\)",
        ),
        (("edges", "edges.w"), "write a column, or for a matrix"),
        (("edge_index", 3), "write a column, or for a matrix"),
        (3, "input 'adj_t' is 3; write a column"),
    ],
)
def test_what_is_no_matrix(told, message):
    with pytest.raises(ModelError, match=message):
        import_module(Takes(lambda self, x, a: a @ x).eval(), inputs={"adj_t": told})


REFUSED = {
    "dense": (lambda self, x, a: a.to_dense() @ x, "cannot import this model"),
    "product of matrices": (lambda self, x, a: (a @ a) @ x, "cannot import this model"),
    "from the left": (lambda self, x, a: (x.t() @ a).t(), "cannot import this model"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    function, message = REFUSED[name]
    with pytest.raises(ModelError, match=message):
        import_module(Takes(function).eval(), inputs={"adj_t": VALUES}, features={"x": WIDTH})
