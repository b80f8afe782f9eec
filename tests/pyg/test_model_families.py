"""Public families of node models, in the spelling of their authors' code: imported as they are, against PyG in float64.

Each was written anew for this test. Those of OGB, APPNP, LightGCN and LINKX are in other tests (test_models.py,
test_spellings.py, test_node_tables.py); COVERAGE.md names them all.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GCN2Conv, MessagePassing, SAGEConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import degree, remove_self_loops, scatter

from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE
from tests.pyg.graphs import GRAPHS, assert_close


def weighted(x_j, norm):
    return norm.view(-1, 1) * x_j


class GPRProp(MessagePassing):
    def __init__(self, hops, alpha):
        super().__init__(aggr="add")
        powers = alpha * (1 - alpha) ** np.arange(hops + 1)
        self.hops, self.temp = hops, nn.Parameter(torch.tensor(powers))

    def forward(self, x, edge_index, edge_weight=None):
        edge_index, norm = gcn_norm(edge_index, edge_weight, num_nodes=x.size(0), dtype=x.dtype)
        hidden = x * self.temp[0]
        for k in range(self.hops):
            x = self.propagate(edge_index, x=x, norm=norm)
            hidden = hidden + self.temp[k + 1] * x
        return hidden

    def message(self, x_j, norm):
        return weighted(x_j, norm)


class GPRGNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin1, self.lin2, self.prop = nn.Linear(16, 8), nn.Linear(8, 4), GPRProp(5, 0.1)

    def forward(self, data):
        x, edge_index = data.x, data.edge_index
        x = F.dropout(x, p=0.5, training=self.training)
        x = self.lin2(F.relu(self.lin1(x)))
        return F.log_softmax(self.prop(F.dropout(x, p=0.5, training=self.training), edge_index), dim=1)


class GCNII(nn.Module):
    def __init__(self):
        super().__init__()
        self.lins = nn.ModuleList([nn.Linear(16, 8), nn.Linear(8, 4)])
        self.convs = nn.ModuleList(GCN2Conv(8, alpha=0.1, theta=0.5, layer=n + 1) for n in range(4))

    def forward(self, batched_data):
        x = x_0 = self.lins[0](batched_data.x).relu()
        for conv in self.convs:
            x = conv(F.dropout(x, 0.6, training=self.training), x_0, batched_data.edge_index).relu()
        return self.lins[1](x).log_softmax(dim=-1)


class H2GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.classify = nn.Linear(16, 8, bias=False), nn.Linear(40, 4)

    def forward(self, x, edge_index):
        edge_index, _ = remove_self_loops(edge_index)
        n, (row, col) = x.size(0), edge_index
        inverse = degree(col, n, dtype=x.dtype).pow(-0.5)
        inverse[inverse == float("inf")] = 0
        adj = torch.sparse_coo_tensor(edge_index, inverse[row] * inverse[col], (n, n))
        rounds = [torch.relu(self.embed(x))]
        for _ in range(2):
            near = torch.sparse.mm(adj, rounds[-1])
            rounds.append(torch.cat([near, torch.sparse.mm(adj, near)], 1)[:, :16])
        return torch.softmax(self.classify(torch.cat([rounds[0], rounds[1], rounds[2][:, :16]], 1)), 1)


class FALayer(MessagePassing):
    def __init__(self, width):
        super().__init__(aggr="add")
        self.gate, self.dropout = nn.Linear(2 * width, 1), nn.Dropout(0.5)

    def forward(self, h, edge_index):
        row, col = edge_index
        scale = degree(row, num_nodes=h.shape[0], dtype=h.dtype).clamp(min=1).pow(-0.5)
        return self.propagate(edge_index, x=h, norm=scale[row] * scale[col])

    def message(self, x_i, x_j, norm):
        self.alpha = self.dropout(torch.tanh(self.gate(torch.cat([x_j, x_i], dim=1))).squeeze(1) * norm)
        return self.alpha.view(-1, 1) * x_j


class FAGCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(FALayer(8) for _ in range(2))
        self.t1, self.t2 = nn.Linear(16, 8), nn.Linear(8, 4)

    def forward(self, h, edge_index):
        raw = h = torch.relu(self.t1(h))
        for layer in self.layers:
            h = 0.3 * raw + layer(h, edge_index)
        return F.log_softmax(self.t2(h), 1)


def linear_attention(qs, ks, vs):
    """Each node to every other, as two products with a small matrix."""
    qs, ks, n = qs / torch.norm(qs, p=2), ks / torch.norm(ks, p=2), qs.shape[0]
    found = torch.einsum("nhm,hmd->nhd", qs, torch.einsum("lhm,lhd->hmd", ks, vs)) + n * vs
    sums = torch.einsum("lhm,l->hm", ks, torch.ones([ks.shape[0]]).to(ks.device))
    norm = torch.einsum("nhm,hm->nh", qs, sums).unsqueeze(len(found.shape) - 1)
    return found / (norm + torch.ones_like(norm) * n)


class SGFormer(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.norm, self.gnn, self.out = nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(16, 8), nn.Linear(8, 4)
        self.qkv = nn.ModuleList(nn.Linear(8, 16) for _ in range(3))

    def forward(self, x, edge_index):
        z = F.relu(self.norm(self.enter(x)))
        attended = linear_attention(*(lin(z).reshape(-1, 2, 8) for lin in self.qkv)).mean(dim=1)
        n, (row, col) = x.shape[0], edge_index
        d = degree(col, n).to(x.dtype)
        value = torch.ones_like(row) * (1.0 / d[col]).sqrt() * (1.0 / d[row]).sqrt()
        value = torch.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0)
        adj = torch.sparse_coo_tensor(torch.stack([col, row], dim=0), value, (n, n))
        return self.out(0.8 * torch.sparse.mm(adj, F.relu(self.gnn(x))) + 0.2 * (attended + z) / 2)


class ACMGCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high, self.own = (nn.Parameter(torch.randn(16, 4)) for _ in range(3))
        self.score, self.mix = nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(3, 3))

    def forward(self, x, edge_index):
        n = x.size(0)
        edge_index, weight = gcn_norm(edge_index, None, n, dtype=x.dtype)
        adj = torch.sparse_coo_tensor(edge_index.flip(0), weight, (n, n))
        low, high = torch.spmm(adj, torch.mm(x, self.low)).relu(), torch.mm(x, self.high)
        parts = [low, (high - torch.spmm(adj, high)).relu(), torch.mm(x, self.own).relu()]
        scores = torch.cat([part @ self.score[:, i : i + 1] for i, part in enumerate(parts)], 1)
        share = torch.softmax(torch.mm(torch.sigmoid(scores), self.mix) / 3, 1)
        return 3 * sum(share[:, i][:, None] * part for i, part in enumerate(parts))


class Signs(nn.Module):
    """GGCN: edges weighted by how alike their ends are."""

    def __init__(self):
        super().__init__()
        self.lin, self.coeff = nn.Linear(16, 8), nn.Parameter(torch.zeros(3))

    def forward(self, x, edge_index):
        h, n = self.lin(x), x.size(0)
        alike = F.cosine_similarity(h[edge_index[0]], h[edge_index[1]], dim=-1)
        same = torch.sparse_coo_tensor(edge_index, alike.clamp(min=0), (n, n))
        other = torch.sparse_coo_tensor(edge_index, alike.clamp(max=0), (n, n))
        c = F.softmax(self.coeff, 0)
        return F.elu(c[0] * torch.sparse.mm(same, h) + c[1] * (other @ h) + c[2] * h)


class CorrectAndSmooth(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(16, 4)

    def forward(self, x, edge_index):
        y, n, (row, col) = self.mlp(x).softmax(-1), x.size(0), edge_index
        inverse = degree(col, n, dtype=x.dtype).pow(-0.5)
        inverse[torch.isinf(inverse)] = 0
        adj = torch.sparse_coo_tensor(torch.stack([col, row]), inverse[col] * inverse[row], (n, n)).coalesce()
        out = y
        for _ in range(4):
            out = (0.8 * (adj @ out) + 0.2 * y).clamp_(0.0, 1.0)
        return out


class GAMLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.lin = nn.Linear(32, 1), nn.Linear(16, 4)

    def forward(self, x, edge_index):
        (row, col), weight = gcn_norm(edge_index, None, x.size(0), dtype=x.dtype)
        hops = [x]
        for _ in range(3):
            hops.append(torch.zeros_like(x).index_add(0, col, weight.unsqueeze(1) * hops[-1][row]))
        scores = torch.cat([torch.sigmoid(self.attend(torch.cat([x, hop], 1))) for hop in hops], 1).softmax(1)
        return self.lin(sum(hop * scores[:, i].unsqueeze(1) for i, hop in enumerate(hops)))


class EdgeUpdates(nn.Module):
    """Multi-GNN's layers, with rows of the nodes as result: edges and nodes update each other."""

    def __init__(self):
        super().__init__()
        self.edge, self.node, self.out = nn.Linear(36, 4), nn.Linear(20, 16), nn.Linear(16, 3)

    def forward(self, x, edge_index, edge_attr):
        src, dst = edge_index
        for _ in range(2):
            edge_attr = edge_attr + self.edge(torch.cat([x[src], x[dst], edge_attr], dim=-1)).relu() / 2
            sums = scatter(edge_attr, dst, dim=0, dim_size=x.size(0), reduce="mean")
            x = (x + self.node(torch.cat([x, sums], dim=-1))) / 2
        return self.out(x)


class DegreeEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.conv = nn.Embedding(10, 8), SAGEConv(24, 4)

    def forward(self, x, edge_index):
        kind = degree(edge_index[1], x.size(0)).long().clamp(max=9)
        return self.conv(torch.cat([x, self.embed(kind)], dim=-1), edge_index)


FAMILIES = [
    GPRGNN, GCNII, H2GCN, FAGCN, SGFormer, ACMGCN, Signs, CorrectAndSmooth, GAMLP, EdgeUpdates, DegreeEmbedding,
]  # fmt: skip


@pytest.fixture
def in_double():
    """For what forward makes without a dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("kind", FAMILIES)
def test_imported_as_it_is(kind):
    torch.manual_seed(0)
    net = kind().eval()
    name = "h" if kind is FAGCN else "x"
    program, weights, columns = import_module(net, inputs={"h": "nodes.x"} if kind is FAGCN else None)
    assert columns[f"nodes.{name}"] == "nodes.x"
    witness = copy.deepcopy(net).double()
    for graph, (nodes, src, dst) in GRAPHS.items():
        rng = np.random.default_rng(1)
        x, attr = rng.normal(size=(nodes, 16)), rng.normal(size=(len(src), 4))
        edge_index = torch.tensor([src, dst], dtype=torch.int64).reshape(2, -1)
        given = [torch.from_numpy(x.copy()), edge_index]
        given += [torch.from_numpy(attr.copy())] if kind is EdgeUpdates else []
        with torch.no_grad():
            expected = witness(Data(*given)) if kind in (GPRGNN, GCNII) else witness(*given)
        ends = np.array(src, int), np.array(dst, int)
        arrays = GraphArrays({NODE: nodes}, {EDGE: ends}, {NODE: {name: x}}, {EDGE: {"edge_attr": attr}})
        assert_close(interpret(program, weights, arrays)["output"], expected.numpy(), graph)
