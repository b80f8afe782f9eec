"""PyG's convolutions with several inputs per node: positions, normals, the first layer's features, pairs, a stack."""

from __future__ import annotations

import pytest
import torch
from torch.nn import Linear, Module, ReLU, Sequential
from torch_geometric import nn

from tests.pyg import coverage

WIDTH = 22


def mlp(width, out):
    return Sequential(Linear(width, 12), ReLU(), Linear(12, out))


class Wrapped(Module):
    """One column of 22 numbers, cut into what the convolution takes."""

    def __init__(self, conv, call):
        super().__init__()
        self.conv = conv
        if call in (with_first, pair, stacked):
            self.lin = Linear(16, 16)
        self.call = call

    def forward(self, x, edge_index):
        return self.call(self, x[:, :16], x[:, 16:19], x[:, 19:], edge_index)


def with_position(self, x, pos, normal, edge_index):
    return self.conv(x, pos, edge_index)


def with_normal(self, x, pos, normal, edge_index):
    return self.conv(x, pos, normal, edge_index)


def with_first(self, x, pos, normal, edge_index):
    return self.conv(self.lin(x), x, edge_index)


def pair(self, x, pos, normal, edge_index):
    return self.conv((x, self.lin(x)), edge_index)


def without_root(self, x, pos, normal, edge_index):
    return self.conv((x, None), edge_index, size=(len(x), len(x)))


def stacked(self, x, pos, normal, edge_index):
    return self.conv(torch.stack([x, self.lin(x), x * 2], 1), edge_index)


class Signed(Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.SignedConv(16, 8, True), nn.SignedConv(8, 8, False)

    def forward(self, x, index, second):
        return self.second(self.first(x, index, second), index, second)


def signed(self, x, pos, normal, edge_index):
    return self.conv(x, edge_index, edge_index)


LAYERS = {
    "point net": (lambda: nn.PointNetConv(mlp(19, 8), mlp(8, 8)), with_position),
    "point pair features": (lambda: nn.PPFConv(mlp(20, 8), mlp(8, 8)), with_normal),
    "point transformer": (lambda: nn.PointTransformerConv(16, 8), with_position),
    "point gnn": (lambda: nn.PointGNNConv(mlp(16, 3), mlp(19, 8), mlp(8, 16)), with_position),
    "gcn2": (lambda: nn.GCN2Conv(16, 0.1, theta=0.5, layer=2), with_first),
    "gcn2, two weights": (lambda: nn.GCN2Conv(16, 0.1, theta=0.5, layer=2, shared_weights=False), with_first),
    "frequency adaptive": (lambda: nn.FAConv(16), with_first),
    "dynamic neighbourhood": (lambda: nn.DNAConv(16, 2), stacked),
    "dynamic neighbourhood, grouped": (lambda: nn.DNAConv(16, 2, groups=2), stacked),
    "signed": (Signed, signed),
    "sage of a pair": (lambda: nn.SAGEConv((16, 16), 8), pair),
    "gat of a pair": (lambda: nn.GATConv((16, 16), 8, heads=2, add_self_loops=False), pair),
    "gatv2 of a pair": (lambda: nn.GATv2Conv((16, 16), 8, add_self_loops=False), pair),
    "graphconv of a pair": (lambda: nn.GraphConv((16, 16), 8), pair),
    "gin of a pair": (lambda: nn.GINConv(mlp(16, 8)), pair),
    "molecular fingerprint of a pair": (lambda: nn.MFConv((16, 16), 8, max_degree=4), pair),
    "molecular fingerprint without root": (lambda: nn.MFConv(16, 8, max_degree=4), without_root),
    "transformer of a pair": (lambda: nn.TransformerConv((16, 16), 8), pair),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    torch.manual_seed(0)
    make, call = LAYERS[name]
    coverage.check(name, Wrapped(make(), call), WIDTH)
