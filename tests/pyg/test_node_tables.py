"""A learned row per node: the table's rows are a column of the nodes, found again by their ids in the scored table."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import LINKX, GCNConv, LGConv

from pipeline import Model
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.schema import EDGE, NODE

EDGES = torch.tensor([[0, 1, 2, 3, 4, 4, 2], [1, 2, 0, 0, 0, 3, 2]])
X = torch.arange(48.0, dtype=torch.float64).reshape(6, 8).sin()


class Light(nn.Module):
    """LightGCN's propagation over rows of its own."""

    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(6, 8), LGConv()

    def forward(self, edge_index):
        rows = [self.embedding.weight]
        for _ in range(3):
            rows.append(self.conv(rows[-1], edge_index))
        return torch.stack(rows).mean(0)


class Named(nn.Module):
    """A table that is called otherwise."""

    def __init__(self):
        super().__init__()
        self.accounts, self.conv = nn.Embedding(6, 8), GCNConv(8, 3)

    def forward(self, edge_index):
        return self.conv(self.accounts.weight, edge_index)


class Beside(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.conv = nn.Parameter(torch.randn(6, 4)), GCNConv(12, 3)

    def forward(self, x, edge_index):
        return self.conv(torch.cat([x, self.own], 1), edge_index)


class Linkx(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = LINKX(6, 8, 8, 4, 2)

    def forward(self, x, edge_index):
        return self.net(x, edge_index)


NETS = {
    Light: ("embedding.weight", lambda net: net(EDGES)),
    Beside: ("own", lambda net: net(X, EDGES)),
    Linkx: ("net.edge_lin.weight", lambda net: net(X, EDGES)),
}


@pytest.mark.parametrize("kind", NETS)
def test_rows_of_a_table_are_a_column(kind):
    torch.manual_seed(0)
    name, forward = NETS[kind]
    net = kind().double().eval()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    model = Model.from_pyg(net, inputs={name: "nodes.learned"}, features=None if kind is Light else {"x": 8})
    rows = net.get_parameter(name).detach().numpy()
    key = name.replace(".", "_")
    assert model.columns[f"nodes.{key}"] == "nodes.learned"
    assert model.inputs["nodes.learned"] == rows.shape[1]
    assert name not in model.weights
    arrays = GraphArrays({NODE: 6}, {EDGE: tuple(EDGES.numpy())}, {NODE: {"x": X.numpy(), key: rows}}, {EDGE: {}})
    found = interpret(model.program, model.weights, arrays)["output"]
    np.testing.assert_allclose(found, forward(net).detach().numpy(), rtol=0, atol=1e-10)
    assert all(torch.equal(tensor, net.state_dict()[key]) for key, tensor in before.items())
    assert isinstance(net.get_parameter(name), nn.Parameter)


def refused(net, message, **options):
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(net.eval(), **options)


def test_what_is_said_where_nobody_told():
    remedy = (
        r"give node_ids=, the ids of the nodes in the order of its rows, which then go with the model; or store its "
        r"rows as a column of the nodes, and name it: inputs={'%s': 'nodes.COLUMN'}, or pass it to forward$"
    )
    refused(Light(), "conv .*takes the 6 rows of a learned table for the nodes; " + remedy % "embedding.weight")
    refused(Named(), "conv .*takes the 6 rows of a learned table for the nodes; " + remedy % "accounts.weight")
    looked_up = r"index_select looks up a learned table by the number of a node; " + remedy % r"net.edge_lin.weight"
    refused(Linkx(), looked_up)
    refused(Linkx(), looked_up, features=8)


def test_what_is_no_column_of_the_nodes():
    refused(
        Light(), "input 'embedding.weight' is 'edges.e'; write nodes.COLUMN", inputs={"embedding.weight": "edges.e"}
    )
    refused(
        Light(), "inputs names 'embeding.weight', which forward does not take", inputs={"embeding.weight": "nodes.e"}
    )


def test_two_tables_one_after_the_other():
    class Bipartite(nn.Module):
        def __init__(self, items):
            super().__init__()
            self.users, self.items, self.conv = nn.Embedding(4, 8), nn.Embedding(items, 8), LGConv()

        def forward(self, edge_index):
            return self.conv(torch.cat([self.users.weight, self.items.weight]), edge_index)

    inputs = {"users.weight": "nodes.u", "items.weight": "nodes.i"}
    message = (
        "^inputs gives several weights as columns of the nodes, and users.weight has 4 rows and items.weight has 2 "
        "rows: a column has a row for every node; put the rows of all nodes into one weight$"
    )
    refused(Bipartite(2), message, inputs=inputs)
    refused(Bipartite(4), "cannot import this model: conv .*LGConv", inputs=inputs)
    remedy = (
        r"takes the rows of several learned tables \(items.weight, users.weight\) for the nodes; put their rows into "
        "one weight of the module, one below the other as forward joins them; store these rows as a column of the "
        r"nodes, and name it: inputs={'WEIGHT': 'nodes.COLUMN'}$"
    )
    refused(Bipartite(2), "cannot import this model: conv .*scatter_add " + remedy)  # fewer rows than an example has
    refused(Bipartite(50_000), "cannot import this model: conv .*index_select " + remedy)
