"""Which argument of forward is which column, and how its width is found."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GINConv,
    GINEConv,
    SAGEConv,
    SimpleConv,
    global_mean_pool,
    models,
)

from pipeline.errors import ModelError
from pipeline.pyg import import_module


def read(net, **options):
    program, _, columns = import_module(net.eval(), **options)
    return {str(column): column.shape for column in program.inputs}, columns


def test_x_by_in_channels():
    assert read(GCNConv(16, 8)) == ({"nodes.x": (16,)}, {"nodes.x": "nodes.x"})


def test_x_by_trying():
    assert read(GINConv(nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))))[0] == {"nodes.x": (7,)}


def test_a_required_argument_by_its_name():
    net = GINEConv(nn.Sequential(nn.Linear(7, 5)), edge_dim=4)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = net

        def forward(self, x, edge_index, edge_attr, edge_weight):
            return self.conv(x, edge_index, edge_attr * edge_weight.view(-1, 1))

    shapes, columns = read(Wrapped())
    assert shapes == {"nodes.x": (7,), "edges.edge_attr": (4,), "edges.edge_weight": ()}
    assert columns == {name: name for name in shapes}


def test_an_optional_argument_only_where_it_is_named():
    net = models.GAT(16, 8, 2, edge_dim=4)
    assert read(net, unused=["convs.*.lin_edge.*", "convs.*.att_edge"])[1] == {"nodes.x": "nodes.x"}
    shapes, columns = read(net, inputs={"edge_attr": "edges.features", "x": "nodes.words"})
    assert shapes == {"nodes.x": (16,), "edges.edge_attr": (4,)}
    assert columns == {"nodes.x": "nodes.words", "edges.edge_attr": "edges.features"}


class Places(nn.Module):
    """Several columns of the nodes, another name for edge_index, a scalar per node."""

    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(10, 4)

    def forward(self, edges, feat, pos, age):
        return self.conv(torch.cat([feat, pos, age[:, None]], 1), edges)


def test_arguments_of_any_name():
    inputs = {"edges": "edge_index", "feat": "nodes.f", "pos": "nodes.pos", "age": "nodes.age"}
    shapes, columns = read(Places(), inputs=inputs, features={"feat": 6, "pos": 3, "age": ()})
    assert shapes == {"nodes.feat": (6,), "nodes.pos": (3,), "nodes.age": ()}
    assert columns == {"nodes.feat": "nodes.f", "nodes.pos": "nodes.pos", "nodes.age": "nodes.age"}


class WithData(nn.Module):
    """The form of PyG's tutorials."""

    def __init__(self):
        super().__init__()
        self.conv = GATConv(16, 5, edge_dim=3)

    def forward(self, data):
        return self.conv(data.x, data.edge_index, data.edge_attr).softmax(-1)


def test_one_argument_called_data():
    shapes, columns = read(WithData(), inputs={"edge_attr": "edges.e"}, features={"x": 16, "edge_attr": 3})
    assert shapes == {"nodes.x": (16,), "edges.edge_attr": (3,)}
    assert columns["edges.edge_attr"] == "edges.e"
    assert read(GCNConvOfData())[0] == {"nodes.x": (9,)}


class GCNConvOfData(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GCNConv(9, 9)

    def forward(self, data):
        return self.conv(data.x, data.edge_index)


def test_columns_that_no_output_needs_are_not_read():
    class Unused(nn.Module):
        def forward(self, x, edge_index, edge_attr):
            return x * 2

    assert read(Unused(), features={"x": 3, "edge_attr": 2})[1] == {"nodes.x": "nodes.x"}


class Pairs(nn.Module):
    def forward(self, x, edge_index, edge_label_index):
        return (x[edge_label_index[0]] * x[edge_label_index[1]]).sum(-1)


class Pools(nn.Module):
    def forward(self, x, edge_index, batch):
        return global_mean_pool(x, batch)


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (SimpleConv(), {}, "no width was found that fits x of SimpleConv; give features={'x': WIDTH}"),
        (Places(), {}, "forward takes 'edges': say where it comes from, inputs={'edges': 'nodes.COLUMN'} or"),
        (GCNConv(16, 8), {"inputs": {"edge_wieght": "edges.w"}}, "did you mean 'edge_weight'?"),
        (GCNConv(16, 8), {"inputs": {"edge_weight": "weight"}}, "input 'edge_weight' is 'weight'; write nodes.COLUMN"),
        (GCNConv(16, 8), {"features": {"z": 4}}, "features names 'z', which is no input; known: x"),
        (
            Pairs(),
            {},
            "forward takes 'edge_label_index': pairs of nodes to score (a link decoder)",
        ),
        (
            Pools(),
            {},
            "has one row for the whole graph (graph-level output); graphsweep gives one row per node",
        ),
        (nn.Linear(16, 8), {}, "forward takes 'input': say where it comes from"),
        (GCNConv(16, 8), {"features": "16"}, "features is '16'; write the width of x, or argument → width: {'x': 16}"),
        (
            GCNConv(16, 8),
            {"features": {"x": None}},
            "features gives 'x' None; write a width, a shape, range(K) for int",
        ),
        (GCNConv(16, 8), {"inputs": {"x": 5j}}, "input 'x' is 5j; write a column, or for a matrix"),
        (GCNConv(16, 8), {"outputs": ["a", "b"]}, "outputs names 'a', which forward does not return; known: output"),
    ],
)
def test_what_is_asked_for(net, options, message):
    with pytest.raises(ModelError, match=re.escape(message)):
        read(net, **options)


def test_several_widths_fit():
    class Any(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 1, 4))

        def forward(self, x, edge_index):
            return x * self.scale.sum()

    with pytest.raises(ModelError, match=r"several widths fit x of Any; give features={'x': WIDTH}"):
        read(Any())
