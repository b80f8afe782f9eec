"""PyG's coalesce inside forward: what is the same with parallel edges apart is imported, all else is refused.

The witness is the module itself, in float64, on a graph with parallel edges and parallel self-loops.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GraphConv, SAGEConv
from torch_geometric.utils import coalesce

from pipeline import Model
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.schema import EDGE, NODE

NODES = 30
WEIGHT = {"edge_weight": "edges.amount"}


class Merges(nn.Module):
    def __init__(self, conv, merge):
        super().__init__()
        self.conv, self.merge = conv, merge

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, *self.merge(edge_index, edge_weight, len(x)))


def added_up(e, w, n):
    return coalesce(e, w)


def by_name(e, w, n):
    return coalesce(e, edge_attr=w, num_nodes=n, reduce="sum", sort_by_row=False)


def in_a_list(e, w, n):
    edges, (values,) = coalesce(e, [w], n)
    return edges, values


def averaged(e, w, n):
    return coalesce(e, w, n, "mean")


def bare(e, w, n):
    return (coalesce(e),)


def with_nothing(e, w, n):
    return (coalesce(e, None, n)[0],)


SAME = {
    "weighted sums": (lambda: GraphConv(8, 4), added_up, WEIGHT),
    "by name": (lambda: GraphConv(8, 4), by_name, WEIGHT),
    "in a list": (lambda: GraphConv(8, 4), in_a_list, WEIGHT),
    "normalised": (lambda: GCNConv(8, 4, add_self_loops=False), added_up, WEIGHT),
    "maximum": (lambda: SAGEConv(8, 4, aggr="max"), bare, None),
    "maximum, nothing beside": (lambda: SAGEConv(8, 4, aggr="max"), with_nothing, None),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_the_same(name):
    make, merge, inputs = SAME[name]
    net = Merges(make(), merge).eval()
    model = Model.from_pyg(net, inputs=inputs, features={"x": 8})
    rng = np.random.default_rng(0)
    ends = rng.integers(0, 8, (2, 200))  # most are there several times, self-loops too
    x, amount = rng.normal(size=(NODES, 8)), rng.uniform(0.1, 2, 200)
    arrays = GraphArrays({NODE: NODES}, {EDGE: tuple(ends)}, {NODE: {"x": x}}, {EDGE: {"edge_weight": amount}})
    exact = copy.deepcopy(net).double()
    given = torch.from_numpy(amount) if inputs else None
    expected = exact(torch.from_numpy(x), torch.from_numpy(ends), given).detach().numpy()
    (found,) = interpret(model.program, model.weights, arrays).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


OTHERS = {
    "sums": (lambda: GraphConv(8, 4), bare, None),
    "means": (lambda: SAGEConv(8, 4), bare, None),
    "attention": (lambda: GATConv(8, 4), bare, None),
    "sums of mean values": (lambda: GraphConv(8, 4), averaged, WEIGHT),
    "values of self-loops, which the layer takes one of": (lambda: GCNConv(8, 4), added_up, WEIGHT),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not(name):
    make, merge, inputs = OTHERS[name]
    with pytest.raises(ModelError) as caught:
        Model.from_pyg(Merges(make(), merge).eval(), inputs=inputs, features={"x": 8})
    assert str(caught.value).endswith(
        "coalesce joins edges of the same two nodes to one, where graphsweep has an edge for each row of the table, "
        "and what is computed of them differs; leave it out of forward, and join the rows of the table of edges before"
    )
