"""Self-loops added to edges that have added ones already: imported where their values add up; PyG in float64."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import add_self_loops, get_laplacian, scatter

from pipeline.errors import ModelError
from pipeline.pyg import import_module
from tests.pyg.graphs import Does, assert_same


class Polynomial(MessagePassing):
    """A learned filter, of which each term multiplies by L and by 2I - L, as BernNet does."""

    def __init__(self):
        super().__init__(aggr="add")
        self.share = torch.nn.Parameter(torch.randn(4))

    def forward(self, x, edge_index, edge_weight=None):
        n = x.size(0)
        edges, weight = get_laplacian(edge_index, edge_weight, normalization="sym", dtype=x.dtype, num_nodes=n)
        both, rest = add_self_loops(edges, -weight, fill_value=2.0, num_nodes=n)
        out = self.share[0] * x
        for share in self.share[1:]:
            x = self.propagate(both, x=x, norm=rest)
            out = out + share * self.propagate(edges, x=x, norm=weight)
        return out

    def message(self, x_j, norm):
        return norm.view(-1, 1) * x_j


def twice(x, edge_index, value, fill):
    """An index with two loops a node, and the values of its edges."""
    once, value = add_self_loops(edge_index, value, fill_value=1.0, num_nodes=x.size(0))
    return add_self_loops(once, value, fill_value=fill, num_nodes=x.size(0))


def test_a_filter_of_the_laplacian():
    torch.manual_seed(0)
    assert_same(Polynomial())
    assert_same(Polynomial(), edge_weight=())


@pytest.mark.parametrize("fill", [None, -1.0, 3])
def test_sums_of_values(fill):
    def sums(self, x, edge_index):
        ends, value = twice(x, edge_index, x.new_ones(edge_index.size(1)), fill)
        return scatter(value[:, None] * x[ends[0]], ends[1], 0, x.size(0), "sum")

    assert_same(Does(sums))


USES = {
    "largest": lambda x, ends, value: scatter(value[:, None] * x[ends[0]], ends[1], 0, len(x), "max"),
    "mean": lambda x, ends, value: scatter(value[:, None] * x[ends[0]], ends[1], 0, len(x), "mean"),
    "squares": lambda x, ends, value: scatter((value[:, None] * x[ends[0]]) ** 2, ends[1], 0, len(x), "sum"),
    "without values": lambda x, ends, value: scatter(x[ends[0]], ends[1], 0, len(x), "sum"),
}


@pytest.mark.parametrize("name", USES)
def test_where_two_loops_are_not_one_the_import_fails(name):
    def uses(self, x, edge_index):
        return USES[name](x, *twice(x, edge_index, x.new_ones(edge_index.size(1)), 2.0))

    with pytest.raises(
        ModelError, match="add_self_loops adds self-loops to edges to which they were added before; add"
    ):
        import_module(Does(uses).eval(), features={"x": 4}, unused=["*"])
