"""Modules that were written after the import, as people in three fields write them: no line of the project knows them.

Compared with PyG on awkward graphs; compiled, held to the accuracy of PyG's own float32.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import utils
from torch_geometric.nn import GCNConv, MessagePassing, MultiAggregation

from tests.pyg.accuracy import accuracy
from tests.pyg.graphs import imported_same


class TransferLayer(MessagePassing):
    """Money moves along the edges: what counts is how much, how recently and to whom."""

    def __init__(self, width: int, edge_width: int):
        super().__init__(aggr=MultiAggregation(["mean", "max", "std"], mode="cat"))
        self.attention = nn.Linear(2 * width + edge_width, 1)
        self.value = nn.Linear(width + edge_width, width)
        self.half_life = nn.Parameter(torch.tensor(24.0))
        self.combine = nn.Sequential(nn.Linear(4 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, edge_index, edge_attr, hours):
        decay = self.edge_updater(edge_index, x=x, edge_attr=edge_attr, hours=hours)
        out = self.propagate(edge_index, x=x, edge_attr=edge_attr, decay=decay)
        return self.norm(x + self.combine(torch.cat([x, out], dim=-1)))

    def edge_update(self, x_i, x_j, edge_attr, hours, index, size_i):
        logits = self.attention(torch.cat([x_i, x_j, edge_attr], dim=-1)).squeeze(-1)
        share = utils.softmax(F.leaky_relu(logits, 0.2), index, num_nodes=size_i)
        return share * torch.exp(-math.log(2) * hours.clamp(min=0) / self.half_life.abs())

    def message(self, x_j, edge_attr, decay):
        return decay.view(-1, 1) * self.value(torch.cat([x_j, edge_attr], dim=-1)).relu()


class FraudNet(nn.Module):
    """Accounts and transfers; a risk score per account and what it is made of."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Linear(16 + 3, 12)
        self.bn = nn.BatchNorm1d(12)
        self.layers = nn.ModuleList([TransferLayer(12, 5) for _ in range(2)])
        self.head = nn.Sequential(nn.Linear(24, 8), nn.GELU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def forward(self, x, edge_index, amount, channel, hours):
        n = x.size(0)
        received = utils.scatter(torch.log1p(amount), edge_index[1], dim=0, dim_size=n, reduce="sum")
        largest = utils.scatter(amount, edge_index[1], dim=0, dim_size=n, reduce="max")
        count = utils.degree(edge_index[1], n, dtype=x.dtype)
        x = torch.cat([x, received[:, None], torch.log1p(largest)[:, None], count.sqrt()[:, None]], dim=1)
        first = h = F.elu(self.bn(self.enter(x)))
        edge_attr = torch.cat([channel, torch.log1p(amount).unsqueeze(1)], dim=1)
        for layer in self.layers:
            h = layer(h, edge_index, edge_attr, hours)
        score = torch.sigmoid(self.head(torch.cat([first, h], dim=-1)).squeeze(-1))
        return {"score": score, "output": F.normalize(h, dim=-1), "suspicious": (score > 0.5).float()}


class RecommenderNet(nn.Module):
    """Tastes spread over a graph of who bought what, with LightGCN's normalisation written by hand, and a side net."""

    def __init__(self, hops: int = 3):
        super().__init__()
        self.taste = nn.Linear(16, 10, bias=False)
        self.alpha = nn.Parameter(torch.tensor([0.4, 0.3, 0.2, 0.1]))
        self.side = GCNConv(16, 10, improved=True)
        self.mix = nn.Bilinear(10, 10, 6)
        self.popularity = nn.Parameter(torch.tensor(0.3))
        self.hops = hops

    def forward(self, x, edge_index, rating):
        row, col = edge_index
        strength = (rating - 0.1).clamp(0.0, 2.0)
        total = x.new_zeros(x.size(0)).scatter_add_(0, col, strength)
        inverse = total.pow(-0.5)
        inverse = inverse.masked_fill(inverse == float("inf"), 0.0)
        norm = inverse[row] * strength * inverse[col]
        layers = [self.taste(x)]
        for _ in range(self.hops):
            spread = norm.unsqueeze(-1) * layers[-1].index_select(0, row)
            layers.append(torch.zeros_like(layers[-1]).index_add(0, col, spread))
        taste = torch.einsum("lnc,l->nc", torch.stack(layers), torch.softmax(self.alpha, 0))
        both = self.mix(taste, torch.tanh(self.side(x, edge_index, edge_weight=rating)))
        return F.normalize(both, p=2.0, dim=1) / (1 + total).pow(self.popularity).unsqueeze(1)


class Taste(MessagePassing):
    """Who bought what, both ways: buyers collect what they bought, goods collect who bought them."""

    def __init__(self, width: int, channels: int):
        super().__init__(aggr="mean")
        self.channel = nn.Embedding(channels, width)
        self.forth, self.back = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.own = nn.Linear(width, width)

    def forward(self, h, edge_index, channel, rating):
        along = self.propagate(edge_index, h=self.forth(h), channel=channel, rating=rating)
        against = self.propagate(edge_index.flip(0), h=self.back(h), channel=channel, rating=rating)
        return F.selu(along + against + self.own(h))

    def message(self, h_j, channel, rating):
        return h_j * torch.sigmoid(self.channel(channel)) * rating.unsqueeze(-1)


class TwoTowers(nn.Module):
    """Buyers and goods in one table of nodes, told apart by a category; popularity taken out over the whole graph."""

    def __init__(self, width: int = 12):
        super().__init__()
        self.kind = nn.Embedding(5, 4)
        self.enter = nn.Linear(16 + 4, width)
        self.layers = nn.ModuleList([Taste(width, 3) for _ in range(2)])
        self.jump = nn.LSTM(width, 5, batch_first=True, bidirectional=True)
        self.buyer, self.good = nn.Linear(10, 6), nn.Linear(10, 6)

    def forward(self, x, edge_index, kind, channel, rating):
        h = self.enter(torch.cat([x, self.kind(kind)], dim=-1)).relu()
        seen = [h]
        for layer in self.layers:
            h = layer(h, edge_index, channel, rating)
            h = h - h.mean(dim=0, keepdim=True)
            seen.append(h / h.std(dim=0, unbiased=False, keepdim=True).clamp(min=1e-3))
        steps, _ = self.jump(torch.stack(seen, dim=1))
        both = steps.mean(dim=1)
        bought = utils.scatter(rating, edge_index[0], dim=0, dim_size=x.size(0), reduce="sum")
        taste = torch.where((kind == 0).unsqueeze(-1), self.buyer(both), self.good(both))
        return F.normalize(taste, dim=-1) * torch.log1p(bought).unsqueeze(-1)


class Filter(MessagePassing):
    """Continuous filters over distances: Schütt and others, SchNet, 2017; written anew."""

    def __init__(self, width: int, bases: int, cutoff: float):
        super().__init__(aggr="add")
        self.register_buffer("centres", torch.linspace(0.0, cutoff, bases))
        self.cutoff = cutoff
        self.filter = nn.Sequential(nn.Linear(bases + 4, width), nn.Softplus(), nn.Linear(width, width))
        self.source = nn.Linear(width, width, bias=False)

    def forward(self, h, edge_index, pos, bond):
        return self.propagate(edge_index, h=self.source(h), pos=pos, bond=bond)

    def message(self, h_j, pos_i, pos_j, bond):
        distance = (pos_i - pos_j).norm(dim=-1).clamp(max=self.cutoff)
        basis = torch.exp(-2.0 * (distance.unsqueeze(-1) - self.centres) ** 2)
        smooth = 0.5 * (torch.cos(distance * math.pi / self.cutoff) + 1.0)
        return h_j * self.filter(torch.cat([basis, bond], dim=-1)) * smooth.unsqueeze(-1)


class MoleculeNet(nn.Module):
    """A property of each atom, from positions and bonds: filters, a gated memory, residual blocks."""

    def __init__(self, width: int = 12, rounds: int = 3):
        super().__init__()
        self.enter = nn.Linear(16, width)
        self.filters = nn.ModuleList([Filter(width, 8, 5.0) for _ in range(rounds)])
        self.memory = nn.GRUCell(width, width)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, edge_index, pos, bond):
        first = h = self.enter(x)
        for layer in self.filters:
            h = self.memory(F.softplus(layer(h, edge_index, pos, bond)) - math.log(2.0), h)
        charge, spread = self.out(torch.cat([first, h], dim=1)).chunk(2, dim=1)
        return charge.squeeze(1), F.softplus(spread).squeeze(1)


UNSEEN = {
    "fraud": (FraudNet, {"amount": (), "channel": 4, "hours": ()}, {}),
    "recommendation": (RecommenderNet, {"rating": ()}, {}),
    "recommendation, two towers": (TwoTowers, {"channel": range(3), "rating": ()}, {"kind": range(5)}),
    "chemistry": (MoleculeNet, {"bond": 4}, {"pos": 3}),
}


@pytest.mark.parametrize("name", UNSEEN)
def test_unseen_module(name):
    torch.manual_seed(0)
    make, edges, nodes = UNSEEN[name]
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    program, weights = imported_same(net, nodes=nodes, **edges)
    found = accuracy(net, program, weights, nodes=nodes, **edges)
    assert found.good, found
