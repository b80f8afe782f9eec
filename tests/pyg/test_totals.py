"""Modules that read the whole graph in every node: PyG's norms, virtual nodes, statistics written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.nn import models, norm

from pipeline.errors import ModelError
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.pyg import import_module
from tests.formulas import WIDTH
from tests.pyg.graphs import Does, assert_same
from tests.run.test_superstep import run
from tests.whole import whole

ONE_NODE = ("one node with a self-loop",)  # PyG refuses to normalise a single row by its own statistics

NORMS = {  # every class of torch_geometric.nn.norm, and the options that change what it computes
    "graph": (lambda: norm.GraphNorm(12), ()),
    "pair": (lambda: norm.PairNorm(scale=2.0), ()),
    "pair of each node": (lambda: norm.PairNorm(scale_individually=True), ()),
    "layer, of the graph": (lambda: norm.LayerNorm(12), ()),
    "layer, of the graph, not affine": (lambda: norm.LayerNorm(12, affine=False), ()),
    "layer, of each node": (lambda: norm.LayerNorm(12, mode="node"), ()),
    "instance": (lambda: norm.InstanceNorm(12), ONE_NODE),
    "instance, affine": (lambda: norm.InstanceNorm(12, affine=True), ONE_NODE),
    "instance, of training": (lambda: norm.InstanceNorm(12, affine=True, track_running_stats=True), ()),
    "mean subtraction": (lambda: norm.MeanSubtractionNorm(), ()),
    "graph size": (lambda: norm.GraphSizeNorm(), ()),
    "groups": (lambda: norm.DiffGroupNorm(12, groups=3), ()),
    "groups, of the graph": (lambda: norm.DiffGroupNorm(12, 3, 0.5, track_running_stats=False), ONE_NODE),
    "batch": (lambda: norm.BatchNorm(12), ()),
    "batch, of the graph": (lambda: norm.BatchNorm(12, track_running_stats=False), ONE_NODE),
    "batch, of the graph, not affine": (lambda: norm.BatchNorm(12, affine=False, track_running_stats=False), ONE_NODE),
    "batch, single": (lambda: norm.BatchNorm(12, allow_single_element=True), ()),
}
OTHER_INPUTS = {"MessageNorm", "HeteroLayerNorm", "HeteroBatchNorm"}


def trained(net):
    """Scales, shifts and statistics that are not those of a new module."""
    torch.manual_seed(0)
    for module in net.modules():
        if module.__class__.__module__.startswith("torch_geometric.nn.norm") or isinstance(module, nn.BatchNorm1d):
            for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
                if tensor.is_floating_point():
                    tensor.data.uniform_(0.4, 1.8)
    return net


def test_every_norm_of_pyg_is_tried():
    tried = {type(make()).__name__ for make, _ in NORMS.values()}
    assert tried | OTHER_INPUTS == set(norm.__all__)


@pytest.mark.parametrize("name", NORMS)
def test_norm_between_layers(name):
    make, without = NORMS[name]
    assert_same(trained(models.GCN(16, 12, 3, 5, norm=make(), jk="cat")), without=without)


@pytest.mark.parametrize("kind", ["graph_norm", "layer_norm", "pair_norm"])
@pytest.mark.parametrize("jk", ["max", "lstm", None])
def test_norm_by_name_and_jumping_knowledge(kind, jk):
    assert_same(trained(models.GraphSAGE(16, 12, 3, 5, norm=kind, jk=jk)))


@pytest.mark.parametrize("kind", ["graph_norm", "layer_norm"])
def test_norm_of_attention_over_edge_features(kind):
    assert_same(trained(models.GAT(16, 12, 2, 5, heads=3, edge_dim=4, v2=True, norm=kind)), edge_attr=4)


def test_message_norm_is_of_each_node():
    program = assert_same(pyg.GENConv(16, 8, msg_norm=True, learn_msg_scale=True))
    assert not any(value.is_graph for value in program.values)


BATCHED = {
    "graph": lambda: norm.GraphNorm(16),
    "layer": lambda: norm.LayerNorm(16),
    "instance": lambda: norm.InstanceNorm(16, affine=True),
    "pair": lambda: norm.PairNorm(),
    "mean subtraction": lambda: norm.MeanSubtractionNorm(),
    "size": lambda: norm.GraphSizeNorm(),
}


def zeros(x):
    return torch.zeros(x.size(0), dtype=torch.long)


@pytest.mark.parametrize("name", BATCHED)
def test_norm_with_a_batch_of_one_graph(name):
    without = ONE_NODE if name == "instance" else ()
    assert_same(trained(Does(lambda self, x, e: self.norm(x, zeros(x)), norm=BATCHED[name]())), without=without)


class Virtual(nn.Module):
    """A virtual node, as the baselines of Open Graph Benchmark have it."""

    def __init__(self):
        super().__init__()
        self.start = nn.Embedding(1, 16)
        self.convs = nn.ModuleList([pyg.GCNConv(16, 16) for _ in range(3)])
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x, edge_index):
        batch = zeros(x)
        node = self.start(torch.zeros(int(batch[-1].item()) + 1, dtype=torch.long))
        for conv in self.convs:
            x = x + node[batch]
            node = node + self.mlp(pyg.global_mean_pool(x, batch) + node)
            x = F.relu(conv(x, edge_index))
        return self.head(x)


def test_virtual_node():
    assert_same(trained(Virtual()))


class Transformer(nn.Module):
    """Attention of every node to every other at linear cost, as SGFormer's authors write it for one large graph."""

    def __init__(self, heads):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 8 * heads) for _ in range(3))
        self.heads = heads
        self.conv = pyg.GCNConv(16, 8)

    def forward(self, x, edge_index):
        query, key, value = (lin(x).view(-1, self.heads, 8) for lin in (self.query, self.key, self.value))
        query, key = query / torch.norm(query, p=2), key / torch.norm(key, p=2)
        nodes = query.shape[0]
        kvs = torch.einsum("lhm,lhd->hmd", key, value)
        above = torch.einsum("nhm,hmd->nhd", query, kvs) + nodes * value
        keys = torch.einsum("lhm,l->hm", key, torch.ones([key.shape[0]]))
        below = torch.einsum("nhm,hm->nh", query, keys).unsqueeze(-1)
        below = below + torch.ones_like(below) * nodes
        return (above / below).mean(dim=1) * 0.5 + self.conv(x, edge_index) * 0.5


@pytest.mark.parametrize("heads", [1, 3])
def test_linear_attention(heads):
    torch.manual_seed(0)
    assert_same(Transformer(heads))


BY_HAND = {
    "mean": lambda self, x, e: x - x.mean(0),
    "mean by size": lambda self, x, e: x - x.sum(0) / x.size(0),
    "mean of all": lambda self, x, e: x - x.mean(),
    "maximum": lambda self, x, e: x - x.max(0).values * x.amin(),
    "minimum by torch.where": lambda self, x, e: torch.where(x > x.mean(), x, x.min(0)[0]),
    "variance": lambda self, x, e: x / (1 + x.var(unbiased=False)),
    "norm": lambda self, x, e: x / (1 + x.norm()) + F.normalize(x, dim=0),
    "softmax": lambda self, x, e: x.softmax(0) + 0.1 * x.log_softmax(0) - x.logsumexp(0),
    "pooled and joined": lambda self, x, e: torch.cat([x, x.mean(0, keepdim=True).expand(len(x), -1)], 1),
    "pooled, mapped, repeated": lambda self, x, e: x[:, :3] + self.lin(pyg.global_max_pool(x, None)).repeat(len(x), 1),
    "a vector mapped": lambda self, x, e: x[:, :3] * self.lin(x.max(0)[0]),
    "pooled by batch": lambda self, x, e: x - pyg.global_max_pool(x, zeros(x))[zeros(x)],
    "counted": lambda self, x, e: x / torch.bincount(zeros(x)),
    "attention": lambda self, x, e: x + self.attention(x, zeros(x)),
    "of heads": lambda self, x, e: x.view(-1, 4, 4) - x.view(-1, 4, 4).mean(dim=(0, 2), keepdim=True),
    "transposed": lambda self, x, e: (x.t() - x.t().mean(1, keepdim=True)).t(),
    "inside messages": lambda self, x, e: torch.zeros_like(x).index_add(0, e[1], x[e[0]] - x.mean(0)),
    "of edges": lambda self, x, e: x - (x[e[0]] * x[e[1]]).sum(0) / e.size(1),
    "of edges, for edges": lambda self, x, e: torch.zeros_like(x).index_add(0, e[1], _shares(x[e[0]] - x[e[1]])),
    "products": lambda self, x, e: x @ (x.t() @ x) / len(x) + (x.t() @ x)[0],
    "products from the left": lambda self, x, e: ((x.t() @ x) @ x.t()).t(),
    "a product with a total": lambda self, x, e: x * (x @ x.mean(0))[:, None],
    "pooled by a product": lambda self, x, e: x - x.t() @ x[:, 0].softmax(0) + torch.ones(1, len(x)) @ x,
    "of totals": lambda self, x, e: x * torch.stack([x.mean(0), x.sum(0)]).softmax(0)[0].view(4, 4).t().flatten(),
}


def _shares(logits):
    return logits.softmax(0)


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    parts = {"lin": nn.Linear(16, 3), "attention": pyg.AttentionalAggregation(nn.Linear(16, 1))}
    torch.manual_seed(0)
    assert_same(Does(BY_HAND[name], **parts))


def test_unbiased():
    net = Does(lambda self, x, e: (x - x.mean(0)) / (x.std(0) + 1))
    assert_same(net, without=ONE_NODE)  # of a single row torch warns, and gives NaN


def test_a_graph_level_output_is_refused():
    class Readout(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = pyg.GCNConv(16, 8), nn.Linear(8, 2)

        def forward(self, x, edge_index):
            return self.head(pyg.global_mean_pool(self.conv(x, edge_index), None))

    message = r"output 'output' of the module has one row for the whole graph \(graph-level output\); graphsweep g"
    with pytest.raises(ModelError, match=message):
        import_module(Readout().eval(), features=16)


@pytest.mark.parametrize("make", [lambda: norm.HeteroLayerNorm(16, 2), lambda: norm.HeteroBatchNorm(16, 2)])
def test_norms_of_several_types(make):
    """The type of a node is computed here; a column of integers does as well."""
    assert_same(trained(Does(lambda self, x, e: self.norm(x, (x[:, 0] > 0).long()), norm=make())))


def test_a_sum_over_the_nodes_goes_on_from_what_was_there():
    def forward(self, x, e):
        start = self.start * 1.0
        start.index_add_(0, zeros(x), x)
        return x - start

    assert_same(Does(forward, start=nn.Parameter(torch.arange(16.0)[None])))


@pytest.mark.parametrize("kind", ["graph_norm", "pair_norm", "instance_norm", "layer_norm"])
def test_blocks_give_what_pyg_gives(kind):
    graph = whole("mixed")
    net = trained(models.GCN(WIDTH, 8, 3, 4, norm=kind)).eval()
    with torch.no_grad():
        edge_index = torch.from_numpy(np.stack([graph.src, graph.dst]))
        expected = net.double()(torch.from_numpy(graph.x).double(), edge_index).numpy()
    plan = Plan.of(Model.from_pyg(net.float(), features=WIDTH))
    for blocks in (1, 3, 8, 17):
        found = run(plan, graph, blocks)["output"]
        # float32 against float64, and the norms divide by what may be small
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


TABLES = {
    "the last of several rows": lambda self, x, e: x + self.table[torch.full((x.size(0),), -1, dtype=torch.long)],
    "a row of totals": lambda self, x, e: (
        x + torch.stack([x.amax(0), x.amin(0)]).index_select(0, torch.ones_like(zeros(x)))
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_same_row_for_every_node(name):
    assert_same(Does(TABLES[name], table=nn.Parameter(torch.arange(48.0).reshape(3, 16))))


def test_an_end_of_the_edges_by_a_constant_is_refused():
    net = Does(lambda self, x, e: x[e[0][zeros(x)]])
    with pytest.raises(ModelError, match=r"cannot import this model: Does, .*index needs a value per node or edge"):
        import_module(net.eval(), features=16)
