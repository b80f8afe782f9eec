"""Reductions at the source of an edge: layers against the edges, in both directions, and modules written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric import utils

from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from pipeline.schema import EDGE, NODE
from tests.formulas import WIDTH
from tests.pyg.graphs import assert_same, run
from tests.whole import whole

AGAINST = {"flow": "target_to_source"}
WEIGHT = {"edge_weight": ()}
FEATURES = {"edge_attr": 4}


class Chebyshev(nn.Module):
    """ChebConv with the largest eigenvalue given."""

    def __init__(self, normalization="sym", **options):
        super().__init__()
        self.conv = gnn.ChebConv(16, 8, 3, normalization=normalization, **options)

    def forward(self, x, edge_index, edge_weight=None):
        return self.conv(x, edge_index, edge_weight, lambda_max=1.7)


LAYERS = {
    "sage": (lambda: gnn.SAGEConv(16, 8, **AGAINST), {}),
    "sage several": (lambda: gnn.SAGEConv(16, 8, aggr=["mean", "max", "min", "std", "softmax"], **AGAINST), {}),
    "gcn": (lambda: gnn.GCNConv(16, 8, **AGAINST), {}),
    "gcn weighted": (lambda: gnn.GCNConv(16, 8, **AGAINST), WEIGHT),
    "gcn without self-loops": (lambda: gnn.GCNConv(16, 8, add_self_loops=False, **AGAINST), WEIGHT),
    "gat": (lambda: gnn.GATConv(16, 8, heads=4, **AGAINST), {}),
    "gat edge_dim": (lambda: gnn.GATConv(16, 8, heads=4, edge_dim=4, **AGAINST), FEATURES),
    "gatv2": (lambda: gnn.GATv2Conv(16, 8, heads=4, **AGAINST), {}),
    "transformer": (lambda: gnn.TransformerConv(16, 8, heads=4, edge_dim=4, beta=True, **AGAINST), FEATURES),
    "pna": (
        lambda: gnn.PNAConv(16, 8, ["mean", "min", "max", "std"], ["identity"], torch.tensor([0, 4, 6]), **AGAINST),
        {},
    ),
    "graphconv": (lambda: gnn.GraphConv(16, 8, aggr="max", **AGAINST), WEIGHT),
    "gated residual": (lambda: gnn.ResGatedGraphConv(16, 8, edge_dim=4, **AGAINST), FEATURES),
    "chebyshev": (Chebyshev, {}),
    "chebyshev weighted": (Chebyshev, WEIGHT),
    "chebyshev, random walk": (lambda: Chebyshev("rw"), WEIGHT),
    "chebyshev, not normalised": (lambda: Chebyshev(None), WEIGHT),
    "chebyshev against the edges": (lambda: Chebyshev(**AGAINST), WEIGHT),
    "both directions, gcn": (lambda: gnn.DirGNNConv(gnn.GCNConv(16, 8)), {}),
    "both directions, sage": (lambda: gnn.DirGNNConv(gnn.SAGEConv(16, 8), alpha=0.3), {}),
    "both directions, gat": (lambda: gnn.DirGNNConv(gnn.GATConv(16, 8), root_weight=False), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    torch.manual_seed(0)
    make, edges = LAYERS[name]
    program = assert_same(make(), **edges)
    assert EDGE.reversed in program.edge_types


# ---- by hand


def _flip(e):
    return e.flip(0)


def _index(e):
    return e[[1, 0]]


def _negative_index(e):
    return e[torch.tensor([-1, -2])]


def _select(e):
    return e.index_select(0, torch.tensor([1, 0]))


def _stack(e):
    return torch.stack([e[1], e[0]])


def _unpacked(e):
    row, col = e
    return torch.stack([col, row], dim=0)


def _vstack(e):
    return torch.vstack((e[1], e[0]))


def _pieces(e):
    return torch.cat([e[1:], e[:1]])


def _chunks(e):
    first, second = e.chunk(2)
    return torch.cat([second, first], dim=0)


def _three_times(e):
    return e.flip(0).flip(-2)[[1, 0]]


def _transposed(e):
    return e.t().flip(1).t().contiguous()


def _columns(e):
    pairs = e.t()
    return torch.stack([pairs[:, 1], pairs[:, 0]], dim=1).transpose(0, 1)


def _kept_columns(e):
    first, second = e.t().chunk(2, dim=1)
    return torch.cat([second, first], dim=-1).T


def _column_order(e):
    return e.t()[:, [1, 0]].t()


WAYS = [
    _flip, _index, _negative_index, _select, _stack, _unpacked, _vstack, _pieces, _chunks, _three_times, _transposed,
    _columns, _kept_columns, _column_order,
]  # fmt: skip


class Turned(nn.Module):
    """Convolutions over an edge index that the module itself turns round."""

    def __init__(self, turn):
        super().__init__()
        self.turn = turn
        self.gcn, self.gat = gnn.GCNConv(16, 8), gnn.GATConv(8, 4, heads=2)

    def forward(self, x, edge_index):
        return self.gat(self.gcn(x, self.turn(edge_index)).relu(), edge_index)


@pytest.mark.parametrize("turn", WAYS)
def test_ways_to_turn_an_edge_index_round(turn):
    torch.manual_seed(0)
    program = assert_same(Turned(turn))
    assert set(program.edge_types) == {EDGE, EDGE.reversed}


def test_turned_twice_is_no_other_direction():
    program = assert_same(Turned(lambda e: e.flip(0)[[1, 0]]))
    assert program.edge_types == [EDGE]


class ByHand(nn.Module):
    """Reductions at both ends, of the same messages, and of what was normalised at the other end."""

    def forward(self, x, edge_index, edge_weight):
        src, dst = edge_index
        n = x.size(0)
        messages = edge_weight[:, None] * (x[src] - 2 * x[dst])
        share = utils.softmax(messages, src, num_nodes=n)
        proper = src != dst
        return torch.cat(
            [
                torch.zeros_like(x).index_add(0, src, messages),
                torch.zeros_like(x).index_add(0, dst, messages),
                utils.scatter(messages, src, dim_size=n, reduce="max"),
                utils.scatter(messages[proper], src[proper], dim_size=n, reduce="mean"),
                utils.scatter(share * x[dst], src, dim_size=n),
                utils.scatter(share, dst, dim_size=n),
                utils.scatter(utils.softmax(messages, dst, num_nodes=n), src, dim_size=n),
                torch.bincount(src, minlength=n)[:, None],
                utils.degree(src, n)[:, None],
                torch.ones_like(x).index_put_((src,), messages, accumulate=True),
            ],
            dim=1,
        )


class LoopsByHand(nn.Module):
    """The added self-loops changed afterwards, as ChebConv does; against the edges."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x, edge_index, edge_weight):
        edge_index, edge_weight = utils.remove_self_loops(edge_index, edge_weight)
        edge_index, edge_weight = utils.add_self_loops(edge_index.flip(0), edge_weight, 0.5, x.size(0))
        edge_weight = edge_weight * x[edge_index[0], 0]
        loops = edge_index[0] == edge_index[1]
        if self.number is None:
            edge_weight[loops] *= x[:, 1]
        else:
            edge_weight[loops] = self.number
        return torch.zeros_like(x).index_add(0, edge_index[1], edge_weight[:, None] * x[edge_index[0]])


class Rounds(nn.Module):
    """To the neighbours against the edges, and back along them: what is read is two edges away, of either kind."""

    def __init__(self):
        super().__init__()
        self.there, self.back = gnn.SAGEConv(16, 12, **AGAINST), gnn.SAGEConv(12, 8, aggr="max")

    def forward(self, x, edge_index):
        return self.back(self.there(x, edge_index).tanh(), edge_index)


@pytest.mark.parametrize(
    ("make", "edges"),
    [
        (ByHand, WEIGHT),
        (lambda: LoopsByHand(None), WEIGHT),
        (lambda: LoopsByHand(3.0), WEIGHT),
        (Rounds, {}),
    ],
    ids=["reductions", "loops changed", "loops set", "rounds"],
)
def test_by_hand(make, edges):
    torch.manual_seed(0)
    assert_same(make(), **edges)


def test_softmax_at_the_source_is_one_operation():
    program = assert_same(gnn.GATConv(16, 8, heads=2, **AGAINST))
    operations = [value.op for value in program.values]
    assert operations.count("softmax") == 1
    assert "exp" not in operations


# ---- compiled, however the graph is cut


class InBlocks(nn.Module):
    """Three layers that read both directions, over the columns of the test graph."""

    def __init__(self):
        super().__init__()
        self.chebyshev = gnn.ChebConv(WIDTH, 8, 3)
        self.both = gnn.DirGNNConv(gnn.SAGEConv(8, 8))
        self.attention = gnn.GATConv(8, 4, heads=2, edge_dim=3, **AGAINST)

    def forward(self, x, edge_index, edge_weight, edge_attr):
        x = self.chebyshev(x, edge_index, edge_weight, lambda_max=2.0).tanh()
        return self.attention(self.both(x, edge_index).relu(), edge_index, edge_attr)


@pytest.mark.parametrize("kind", ["mixed", "hub"])
def test_in_blocks(kind):
    torch.manual_seed(0)
    net, graph = InBlocks().eval(), whole(kind)
    inputs = {"edge_weight": "edges.weight", "edge_attr": "edges.attr"}
    model = Model.from_pyg(net, inputs, {"x": WIDTH, "edge_attr": 3})
    values = {"edge_weight": graph.weight.astype(float), "edge_attr": graph.attr.astype(float)}
    want = run(net, graph.x.astype(float), graph.src.tolist(), graph.dst.tolist(), values)["output"]
    plan, place = Plan.of(model), {node: row for row, node in enumerate(graph.ids)}
    for blocks in (1, 3, 8, 17):
        parts = graph.blocks(blocks, reverse=True)
        for block, outputs in zip(parts, run_fused(plan, parts), strict=True):
            rows = [place[node] for node in block.ids[NODE].to_pylist()]
            # float32 against float64, five exchanges deep
            np.testing.assert_allclose(outputs["output"], want[rows], rtol=0, atol=1e-5 * np.abs(want).max())
