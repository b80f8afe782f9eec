"""Weights that a program never reads: named with the arguments left out, accepted by name, listed for good."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import (
    DirGNNConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GENConv,
    GINEConv,
    NNConv,
    PNAConv,
    ResGatedGraphConv,
    RGATConv,
    SAGEConv,
    TransformerConv,
    models,
)

from pipeline.errors import ModelError
from pipeline.model import Model
from pipeline.pyg import import_module, imported
from tests.pyg.graphs import assert_same

DEGREES = torch.tensor([0, 4, 6, 3, 1])


class Forgotten(nn.Module):
    """A net whose edge features are optional."""

    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x, edge_index, edge_attr=None):
        return self.conv(x, edge_index, edge_attr=edge_attr)


LAYERS = {
    "gat": (lambda: GATConv(8, 4, edge_dim=3), ["conv.att_edge", "conv.lin_edge.weight"]),
    "gatv2": (lambda: GATv2Conv(8, 4, edge_dim=3), ["conv.lin_edge.weight"]),
    "genconv": (lambda: GENConv(8, 4, edge_dim=3), ["conv.lin_edge.weight"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_edge_features_that_were_forgotten(name):
    make, weights = LAYERS[name]
    net = Forgotten(make()).eval()
    with pytest.raises(ModelError) as caught:
        import_module(net, features={"x": 8})
    text = str(caught.value)
    assert text.startswith("weights that the recorded program never reads: ")
    assert all(weight in text for weight in weights)
    assert "without edge_attr" in text
    assert "forward ran without edge_attr; to give: inputs={'edge_attr': 'edges.COLUMN'}" in text
    assert "if the model is right without them, accept it: unused=[" in text
    import_module(net, inputs={"edge_attr": "edges.e"}, features={"x": 8, "edge_attr": 3})
    assert set(imported(net, features={"x": 8}, unused=weights).unread) >= set(weights)


def test_a_layer_that_asks_for_what_was_forgotten():
    with pytest.raises(ModelError, match=r"failed on .* AssertionError: ; it was not given edge_attr$"):
        import_module(Forgotten(TransformerConv(8, 4, edge_dim=3)).eval(), features={"x": 8})


def test_the_whole_message():
    with pytest.raises(ModelError) as caught:
        import_module(Forgotten(GATv2Conv(8, 4, edge_dim=3)).eval())
    assert str(caught.value) == (
        "weights that the recorded program never reads: conv.lin_edge.weight\n"
        "conv (GATv2Conv) ran without edge_attr\n"
        "conv.lin_edge (Linear) was not called\n"
        "forward ran without edge_attr; to give: inputs={'edge_attr': 'edges.COLUMN'}\n"
        "if the model is right without them, accept it: unused=['conv.lin_edge.weight']"
    )


@pytest.mark.parametrize("make", [lambda: PNAConv(8, 4, ["mean"], ["identity"], DEGREES, edge_dim=3)])
def test_edge_features_inside_a_net_that_takes_none(make):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([SAGEConv(8, 8), GATv2Conv(8, 8, edge_dim=3), GATv2Conv(8, 4, edge_dim=3)])

        def forward(self, x, edge_index):
            for layer in self.layers:
                x = layer(x, edge_index)
            return x

    with pytest.raises(ModelError) as caught:
        import_module(Net().eval())
    text = str(caught.value)
    assert "layers.1 (GATv2Conv) ran without edge_attr\n" in text
    assert "layers.2 (GATv2Conv) ran without edge_attr\n" in text
    assert "forward ran without" not in text


class Kept(nn.Module):
    """Weights that belong to something else, a buffer, a number, a name for another one's weight."""

    def __init__(self):
        super().__init__()
        self.conv = GCNConv(8, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 8))
        self.register_buffer("mean", torch.rand(3))
        self.register_buffer("seen", torch.tensor(7))
        self.temperature = nn.Parameter(torch.tensor(0.5))
        self.same = self.conv.lin

    def forward(self, x, edge_index, edge_attr=None, *, scale=1.0, **more):
        if edge_attr is not None:
            x = x + (edge_attr - self.mean).sum()
        return self.conv(x, edge_index) * scale


def test_heads_of_other_tasks_and_buffers():
    net = Kept().eval()
    with pytest.raises(ModelError) as caught:
        import_module(net)
    text = str(caught.value)
    assert "decoder (Sequential) was not called" in text
    assert "and 3 more" in text
    assert "forward ran without edge_attr, scale, **more; to give: inputs={'edge_attr': 'edges.COLUMN'}\n" in text
    assert text.endswith("unused=['temperature', 'decoder.*', 'mean']")
    found = imported(net, unused=["decoder.*", "mean", "temp*"])
    decoder = [f"decoder.{layer}.{part}" for layer in range(3) for part in ("weight", "bias")]
    assert sorted(found.unread) == sorted(["mean", "temperature", *decoder])


def test_what_is_accepted_is_listed_for_good(tmp_path):
    net = Kept().eval()
    model = Model.from_pyg(net, unused=["*"])
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.about == model.about
    assert "weights that are never read: temperature, decoder.0.weight, " in str(loaded)
    assert "forward ran without: edge_attr, scale, **more" in str(loaded)
    plain = Model(model.program, model.weights, model.columns)
    assert plain.fingerprint == model.fingerprint == loaded.fingerprint


def test_a_pattern_that_is_no_weight():
    with pytest.raises(ModelError, match=r"unused names .con.lin.weight., which is no weight of the module; did"):
        import_module(GCNConv(8, 4).eval(), unused=["con.lin.weight"])


READ = {
    "a number": lambda self, x: x * self.w.sum().item(),
    "a branch": lambda self, x: x if float(self.w[0]) > 0 else -x,
    "a list": lambda self, x: x * sum(self.w.tolist()),
    "numpy": lambda self, x: x * float(self.w.detach().numpy().sum()),
    "a view": lambda self, x: x * self.w[1:2],
    "data": lambda self, x: x * self.w.data.mean(),
    "arithmetic": lambda self, x: x * (1 + self.w.exp()).prod(),
    "a constant tensor": lambda self, x: x + torch.full((8,), float(self.w[1])),
    "filled": lambda self, x: x + torch.zeros_like(x).fill_(self.w[0]),
    "clamped": lambda self, x: x.clamp(max=self.w[0] + 1e6),
    "written": lambda self, x: x * torch.zeros(3).copy_(self.w).sum(),
    "another precision": lambda self, x: x * self.w.float().sum(),
}


@pytest.mark.parametrize("way", READ)
def test_a_weight_that_is_read_in_some_way(way):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.rand(3) + 0.5)

        def forward(self, x, edge_index):
            return READ[way](self, x)

    assert imported(Net().eval(), features=8).unread == ()


def test_what_pyg_leaves_whatever_it_is_given():
    torch.manual_seed(0)
    program = assert_same(DirGNNConv(SAGEConv(16, 8)))
    assert not any(name.endswith("lin_r.weight") for name in program.weights)
    found = imported(RGATConv(8, 4, 3).eval(), {"edge_type": "edges.t"}, {"x": 8, "edge_type": range(3)})
    assert sorted(found.unread) == ["b1", "b2", "l1", "l2", "w"]
    found = imported(PNAConv(8, 4, ["mean", "max"], ["identity", "linear"], DEGREES).eval())
    assert found.unread == ("aggr_module.avg_deg_log",)


@pytest.mark.parametrize("kind", [GATConv, TransformerConv, ResGatedGraphConv])
def test_layers_with_all_that_they_take_leave_nothing(kind):
    net = kind(8, 4, edge_dim=3).eval()
    found = imported(net, {"edge_attr": "edges.e"}, {"x": 8, "edge_attr": 3})
    assert found.unread == ()


@pytest.mark.parametrize(
    "net",
    [
        models.GCN(8, 6, 3, 4, norm="batch_norm", jk="cat"),
        models.GAT(8, 6, 2, 4, heads=2, v2=True),
        models.PNA(8, 6, 2, 4, aggregators=["mean", "max"], scalers=["identity", "linear"], deg=DEGREES),
        GINEConv(nn.Linear(8, 4), edge_dim=3),
        NNConv(8, 4, nn.Linear(3, 32)),
    ],
    ids=lambda net: type(net).__name__,
)
def test_models_of_pyg(net):
    edges = {"edge_attr": 3} if isinstance(net, GINEConv | NNConv) else {}
    imported(net.eval(), dict.fromkeys(edges, "edges.e"), {"x": 8, **edges})
