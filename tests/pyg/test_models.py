"""Whole models: PyG's own classes with their options, and hand-written modules of every habit we know."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric import utils
from torch_geometric.nn import GATConv, GCNConv, MessagePassing, SAGEConv, models

from tests.pyg.graphs import assert_same

EDGE = {"edge_attr": 4}
NODE_NORM = {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}

MODELS = {
    "gcn": (lambda: models.GCN(16, 12, 3, 5), {"edge_weight": ()}),
    "gcn batch norm": (lambda: models.GCN(16, 12, 3, 5, norm="batch_norm", jk="cat"), {}),
    "gcn layer norm": (lambda: models.GCN(16, 12, 3, 5, **NODE_NORM, jk="max"), {}),
    "gcn last": (lambda: models.GCN(16, 12, 2, 5, jk="last", dropout=0.5, act_first=True), {}),
    "gcn lstm": (lambda: models.GCN(16, 12, 2, 5, jk="lstm"), {}),
    "sage": (lambda: models.GraphSAGE(16, 12, 2, 5, aggr="max", act="elu", norm="batch_norm"), {}),
    "sage of several": (lambda: models.GraphSAGE(16, 12, 2, aggr=["mean", "std"], project=True), {}),
    "gin": (lambda: models.GIN(16, 12, 3, 5, norm="batch_norm", train_eps=True), {}),
    "gat": (lambda: models.GAT(16, 12, 2, 5, heads=4, act="elu", **NODE_NORM), {}),
    "gatv2 edge_dim": (lambda: models.GAT(16, 12, 2, 5, heads=4, v2=True, edge_dim=4, jk="cat"), EDGE),
    "pna": (
        lambda: models.PNA(16, 12, 2, 5, aggregators=["mean", "max"], scalers=["identity"], deg=torch.tensor([1, 3])),
        {},
    ),
    "edge cnn": (lambda: models.EdgeCNN(16, 12, 2, 5), {}),
}
ACTIVATIONS = (
    "relu", "elu", "selu", "celu", "gelu", "silu", "leaky_relu", "prelu", "relu6", "hardtanh", "hardswish",
    "hardsigmoid", "softplus", "softsign", "logsigmoid", "mish", "tanh", "tanhshrink", "softshrink", "hardshrink",
    "sigmoid", "threshold",
)  # fmt: skip
ACTIVATION_OPTIONS = {"threshold": {"threshold": 0.1, "value": -1.0}}


@pytest.mark.parametrize("name", MODELS)
def test_model_of_pyg(name):
    torch.manual_seed(0)
    make, edges = MODELS[name]
    net = make()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):  # statistics as training leaves them
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    assert_same(net, **edges)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activation(act):
    torch.manual_seed(0)
    known = {name.lower(): name for name in dir(nn)}
    activation = getattr(nn, known[act.replace("_", "")])(**ACTIVATION_OPTIONS.get(act, {}))
    assert_same(models.GraphSAGE(16, 12, 2, 5, act=activation))


# ---- hand-written


class Several(nn.Module):
    """Convolutions of several kinds, residuals, a skip over everything, two outputs."""

    def __init__(self):
        super().__init__()
        self.first = SAGEConv(16, 12)
        self.second = GATConv(12, 3, heads=4)
        self.third = GCNConv(24, 12)
        self.norm = nn.LayerNorm(12)
        self.head = nn.Sequential(nn.Linear(28, 8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x, edge_index):
        a = F.relu(self.first(x, edge_index), inplace=True)
        b = a + F.elu(self.second(a, edge_index))
        c = self.norm(self.third(torch.cat([a, b], dim=-1), edge_index))
        return {"classes": F.log_softmax(self.head(torch.cat([c, x], 1)), dim=1), "output": F.normalize(b + c)}


class WithData(nn.Module):
    """The form of PyG's tutorials: forward(data)."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(16, 5)

    def forward(self, data):
        x, edge_index = data.x, data.edge_index
        return F.softmax(self.conv(x, edge_index), dim=-1)


class Gate(MessagePassing):
    """A layer of the user's own: message of both ends and the edge, own aggregation and update."""

    def __init__(self, aggr="add"):
        super().__init__(aggr=aggr)
        self.of_ends = nn.Linear(32, 16)
        self.of_edge = nn.Linear(4, 16, bias=False)
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x, edge_index, edge_attr):
        return self.propagate(edge_index, x=x, edge_attr=edge_attr)

    def message(self, x_i, x_j, edge_attr):
        return torch.sigmoid(self.of_ends(torch.cat([x_i, x_j - x_i], dim=-1)) + self.of_edge(edge_attr)) * x_j

    def update(self, aggregated, x):
        return aggregated * self.scale + (1 - self.scale) * x


class Kipf(nn.Module):
    """GCN by hand, with PyG's helpers: own self-loops, infinite inverse degrees set to zero by a mask."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(16, 6, bias=False)

    def forward(self, x, edge_index):
        edge_index, _ = utils.remove_self_loops(edge_index)
        edge_index, _ = utils.add_self_loops(edge_index, num_nodes=x.size(0))
        row, col = edge_index
        degree = utils.degree(col, x.size(0), dtype=x.dtype)
        inverse = degree.pow(-0.5)
        inverse[inverse == float("inf")] = 0
        norm = inverse[row] * inverse[col]
        out = torch.zeros(x.size(0), 6)
        return out.index_add_(0, col, norm.view(-1, 1) * self.lin(x)[row])


class Plain(nn.Module):
    """No PyG at all: index_add, scatter_reduce, gather, bincount."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(16, 6))
        self.register_buffer("shift", torch.randn(6))

    def forward(self, x, edge_index):
        src, dst = edge_index.unbind(0)
        h = x @ self.w + self.shift
        total = torch.zeros_like(h).index_add_(0, dst, h[src])
        wide = dst.unsqueeze(-1).expand(-1, 6)
        highest = h.new_zeros(h.shape).scatter_reduce(0, wide, h.index_select(0, src), "amax", include_self=False)
        least = torch.full_like(h, 0.5).scatter_reduce(0, wide, h[src], "amin", include_self=True)
        mean = torch.zeros_like(h).scatter_reduce(0, wide, h[src], "mean", include_self=False)
        wide_src = src.view(-1, 1).expand(src.size(0), 6)
        again = torch.zeros_like(h).scatter_add(0, wide, torch.gather(h, 0, wide_src))
        count = torch.bincount(dst, minlength=x.size(0)).unsqueeze(1)
        put = torch.ones_like(h)
        put.index_put_((dst,), h[src], accumulate=True)
        return torch.cat([total, highest, least, mean, again, count * h, put], dim=1)


class ManySelfLoops(nn.Module):
    """A well-known mistake: loops are added by hand, and again by the layers."""

    def __init__(self):
        super().__init__()
        self.gcn, self.gat = GCNConv(16, 8), GATConv(8, 4)

    def forward(self, x, edge_index):
        edge_index, _ = utils.add_self_loops(edge_index, num_nodes=x.size(0))
        return self.gat(self.gcn(x, edge_index).relu_(), edge_index)


class LoopsByHand(nn.Module):
    """Self-loops with values, written with masks and joins."""

    def forward(self, x, edge_index, edge_weight):
        proper = edge_index[0] != edge_index[1]
        own = torch.arange(x.size(0))
        index = torch.cat([edge_index[:, proper], torch.stack([own, own])], dim=1)
        weight = torch.cat([edge_weight[proper], torch.full((x.size(0),), 0.25)])
        loops = utils.scatter(edge_weight[~proper], edge_index[1][~proper], dim_size=x.size(0), reduce="max")
        return torch.zeros_like(x).index_add(0, index[1], weight[:, None] * x[index[0]]) + loops.unsqueeze(-1)


class Attention(MessagePassing):
    """Heads in a middle axis, einsum, a matrix per head, softmax of the user's own import."""

    def __init__(self):
        super().__init__(aggr="add", node_dim=0)
        self.q = nn.Parameter(torch.randn(4, 16, 5))
        self.k = nn.Parameter(torch.randn(4, 16, 5))
        self.pair = nn.Parameter(torch.randn(4, 5, 5))
        self.act = nn.PReLU(4)

    def forward(self, x, edge_index):
        q, k = torch.einsum("ni,hio->nho", x, self.q), torch.matmul(x, self.k).transpose(0, 1)
        return self.propagate(edge_index, q=q, k=torch.einsum("nhc,hcd->nhd", k, self.pair)).flatten(1)

    def message(self, q_i, k_j, index, size_i):
        logits = self.act((q_i * k_j).sum(-1) / 5**0.5)
        return utils.softmax(logits, index, num_nodes=size_i).unsqueeze(-1) * k_j


class Lanes(nn.Module):
    """What a row can do to itself."""

    def __init__(self):
        super().__init__()
        self.group = nn.GroupNorm(4, 16)
        self.bilinear = nn.Parameter(torch.randn(3, 4, 4))
        self.inner = nn.Linear(4, 4)
        self.order = torch.tensor([3, 0, 2])  # an attribute that is no buffer
        self.factor = torch.tensor([1.0, 2.0, 3.0])

    def forward(self, x, edge_index):
        h = self.group(x) + x.flip(-1) + F.pad(x[:, 2:], (1, 1), value=0.5)
        a, b, c, d = h.view(-1, 4, 4).unbind(1)
        pieces = [
            torch.einsum("ni,oij,nj->no", a, self.bilinear, b), a[:, self.order] * self.factor,
            torch.where(c > 0, c, d).clamp(-1, 1),
            torch.stack([a, b, c], dim=-1).amax(-1), torch.stack([a, b]).mean(0), self.inner(h.view(-1, 4, 4)).sum(1),
            h.view(-1, 4, 4).permute(0, 2, 1).reshape(-1, 16),
            h.view(-1, 4, 4) @ h.view(-1, 4, 4)[:, :, :1].expand(-1, 4, 2),
            (self.inner.weight @ a.t()).t(), torch.matmul(self.inner.weight, h.view(-1, 4, 4)),
            torch.add(c[:, 1:], self.factor, alpha=0.5),
            h.std(dim=1, keepdim=True), h.var(-1, unbiased=False).view(-1, 1), h.norm(dim=1).unsqueeze(1),
            h.norm(p=1, dim=-1, keepdim=True), torch.logsumexp(h, 1, keepdim=True), h.max(dim=1)[0][:, None],
            h.argmax(dim=1, keepdim=True), h.min(1, keepdim=True).values, F.cosine_similarity(a, b)[:, None],
            torch.addcmul(a, b, c, value=0.3), torch.lerp(a, b, 0.2), F.glu(h), h.softmax(-1), a.repeat(1, 2),
            ((a > 0) & (b > 0) | ~(c > 0)).to(x.dtype), (a > 0).any(1, keepdim=True), h.prod(1, keepdim=True),
            torch.log2(a.abs() + 1), a.square() ** 1.5, torch.rsub(a, b, alpha=2), 1 / (1 + a**2),
            torch.add(a, b, alpha=0.5), self.factor.new_tensor([4.0]) - a, torch.maximum(a, b) - torch.minimum(a, b),
            torch.hypot(a, b), torch.atan2(b, c),
            *h.chunk(3, dim=1), *h.split([5, 11], -1), h.narrow(1, 3, 2), h[..., ::3], h[:, 1:-1].contiguous(),
            torch.linalg.vector_norm(h, ord=3, dim=-1, keepdim=True), F.layer_norm(h, (16,)),
            h.view(-1, 2, 8).sum((1, 2))[:, None],
        ]  # fmt: skip
        return torch.cat([piece.flatten(1) for piece in pieces], dim=1)


class InPlace(nn.Module):
    """In-place operations, on a tensor and through a view that covers it."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(16, 8)

    def forward(self, x, edge_index):
        x += 1
        h = self.lin(x)
        h.view(-1, 2, 4).mul_(2).clamp_(max=3)
        h.relu_().add_(x[:, :8], alpha=0.5).div_(1.5).sub_(0.1)
        first, second = h.chunk(2, dim=1)
        first.sigmoid_()
        second.tanh_().masked_fill_(second < 0, 0.2)
        total = torch.zeros(x.size(0), 4)
        total.scatter_add_(0, edge_index[1][:, None].expand(-1, 4), (first * second)[edge_index[0]])
        total[total > 2] = 2
        empty = torch.empty_like(total)
        empty.copy_(total)
        return torch.mul(empty, 2, out=torch.empty_like(total))


class Names(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Pair(nn.Module):
    """Fields of a named tuple; an output of shape () and one with heads."""

    def forward(self, x, edge_index):
        return Names(x[:, 0], x.view(-1, 4, 4))


class Pieces(nn.Module):
    """A list of outputs, shared submodules, a module list, dimensions from shapes."""

    def __init__(self):
        super().__init__()
        self.conv = SAGEConv(16, 16)
        self.heads = nn.ModuleList([nn.Linear(16, 3), nn.Linear(16, 2)])

    def forward(self, x, edge_index):
        for _ in range(3):
            x = x + self.conv(x, edge_index).tanh() * x.shape[-1] ** -0.5
        return [head(x) for head in self.heads]


OWN = {
    "several": (Several, {}),
    "gate": (Gate, EDGE),
    "gate mean": (lambda: Gate("mean"), EDGE),
    "kipf": (Kipf, {}),
    "plain": (Plain, {}),
    "many self-loops": (ManySelfLoops, {}),
    "self-loops by hand": (LoopsByHand, {"edge_weight": ()}),
    "attention": (Attention, {}),
    "lanes": (Lanes, {}),
    "in place": (InPlace, {}),
    "pieces": (Pieces, {}),
}


@pytest.mark.parametrize("name", OWN)
def test_own_module(name):
    torch.manual_seed(0)
    make, edges = OWN[name]
    assert_same(make(), **edges)
