"""Forwards that write to parts of tensors: the program gives what the module gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import SAGEConv

from pipeline.errors import ModelError
from pipeline.pyg import import_module
from tests.pyg.graphs import Does, assert_same


def lanes(self, x, e):
    x = x.clone()
    x[:, 0] = 1
    x[:, 3:5] = x[:, 5:7] * 2
    x[..., -1] += 3
    x[:, ::4] *= self.weight[::4]
    return self.conv(x, e)


def another_view(self, x, e):
    """Of which a part was written before the whole, and one after."""
    h = x * 2
    half = h[:, :8]
    h.relu_()
    half.add_(1)
    return self.conv(h, e) + half


def view_of_a_view(self, x, e):
    h = (x * 2).view(-1, 4, 4)
    inner = h[:, 1:3, 2]
    flat = h.view(-1, 16)
    inner.mul_(self.weight[:1])
    flat[:, 9] = inner[:, 0] + 1
    return h.reshape(-1, 16) + self.conv(flat, e)


def transposed(self, x, e):
    h = x.clone()
    turned = h.t()
    turned[2] = 5
    turned[3:5, :] += turned[:2]
    return self.conv(h, e)


def of_edges(self, x, e):
    """In the message of each edge, and twice over the same lanes."""
    messages = x[e[0]] - x[e[1]]
    messages[:, :4] = 0
    messages[:, 2:6] = messages[:, 8:12].exp()
    return torch.zeros_like(x).index_add(0, e[1], messages)


def whole_by_parts(self, x, e):
    h = torch.zeros_like(x)
    h[:, :8], h[:, 8:] = x[:, 8:].relu(), x[:, :8]
    return self.conv(h, e)


@pytest.mark.parametrize("function", [lanes, another_view, view_of_a_view, transposed, of_edges, whole_by_parts])
def test_parts_of_rows(function):
    torch.manual_seed(0)
    conv = SAGEConv(16, 16 if function is view_of_a_view else 8)
    assert_same(Does(function, conv=conv, weight=nn.Parameter(torch.randn(16))))


def test_parts_of_the_rows_are_refused():
    def some_rows(self, x, e):
        x = x.clone()
        x[1:, 0] = 1
        return x

    with pytest.raises(ModelError, match="changes, in place, a tensor of which another view is used later"):
        import_module(Does(some_rows).eval(), features=16)
