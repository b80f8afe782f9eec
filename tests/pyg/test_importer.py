"""What an import gives beside the numbers: names of weights and columns, an untouched module, a model that is saved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, SGConv, models

from pipeline.formula import GraphArrays, interpret
from pipeline.model import Model
from pipeline.pyg import import_module
from tests.pyg.graphs import GRAPHS, assert_close, assert_same, run


def test_parameters_keep_their_names():
    net = models.GCN(16, 12, 2, 5, norm="batch_norm").eval()
    program, weights, columns = import_module(net)
    state = net.state_dict()
    assert set(weights) == {name for name in state if not name.endswith("num_batches_tracked")}
    for name, array in weights.items():
        np.testing.assert_array_equal(array, state[name].double().numpy())
    assert program.weights == {name: array.shape for name, array in weights.items()}
    assert columns == {"nodes.x": "nodes.x"}


class Made(nn.Module):
    """Weights made of parameters: by a parametrisation, by arithmetic, by a plain attribute."""

    def __init__(self):
        super().__init__()
        self.lin = parametrizations.weight_norm(nn.Linear(16, 4, bias=False))
        self.basis = nn.Parameter(torch.randn(3, 16, 4))
        self.share = nn.Parameter(torch.randn(3))
        self.eps = nn.Parameter(torch.tensor(0.25))
        self.fixed = torch.full((4,), 2.0)
        self.table = {"offset": torch.tensor([1.0, 2.0, 3.0, 4.0])}

    def forward(self, x, edge_index):
        matrix = torch.einsum("b,bio->io", self.share, self.basis)
        return (self.lin(x) * (1 + self.eps) + x @ matrix) * self.fixed + self.table["offset"]


def test_what_is_made_of_parameters_is_a_weight():
    program = assert_same(Made())
    assert sorted(program.weights) == ["derived.0", "derived.1", "derived.2", "derived.3"]
    constants = {value.attributes["value"] for value in program.values if value.op == "constant"}
    assert constants == {1.25}


class Explicit(nn.Module):
    """Says float32 wherever it can, and keeps a matrix that is no buffer."""

    def __init__(self):
        super().__init__()
        self.fixed = torch.randn(16, 4)

    def forward(self, x, edge_index):
        total = torch.zeros(x.size(0), 4, dtype=torch.float32)
        return total.index_add_(0, edge_index[1], x.float().mm(self.fixed)[edge_index[0]])


def test_a_module_that_insists_on_float32():
    net = Explicit().eval()
    program, weights, _ = import_module(net, features=16)
    nodes, src, dst = GRAPHS["random"]
    x = np.random.default_rng(0).normal(size=(nodes, 16)).astype(np.float32)
    expected = net(torch.from_numpy(x), torch.tensor([src, dst])).numpy()
    found = interpret(program, weights, GraphArrays.single(src, dst, x))["output"]
    np.testing.assert_allclose(found, expected, atol=1e-4)  # the module itself rounds to float32 here


def test_what_is_made_twice_is_one_weight():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 16))
            self.derived = nn.ParameterList([nn.Parameter(torch.ones(16))])

        def forward(self, x, edge_index):
            for _ in range(3):
                x = x @ (self.w + self.w.t()) * self.derived[0]
            return x

    assert sorted(assert_same(Twice()).weights) == ["derived.0", "derived.1"]


def test_a_parameter_that_forward_changes_is_one_no_longer():
    class Changes(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(16))
            self.register_buffer("calls", torch.tensor(0))

        def forward(self, x, edge_index):
            self.calls += 1
            before = x * self.scale
            self.scale.mul_(2)
            return before + x * self.scale

    assert sorted(assert_same(Changes()).weights) == ["derived.0", "scale"]


def test_a_model_of_positive_numbers_is_checked_with_positive_numbers():
    class Root(nn.Module):
        def forward(self, x, edge_index):
            return x.sqrt().sum(1) + x.log().sum(1)

    import_module(Root().eval(), features=16)


def test_the_module_is_not_changed():
    net = nn.ModuleList([GCNConv(16, 16, cached=True), GATConv(16, 4)])

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = net
            self.calls = 0

        def forward(self, x, edge_index):
            self.calls += 1
            x += 1
            return self.parts[1](self.parts[0](x, edge_index), edge_index)

    whole = Net().eval()
    before = copy.deepcopy(whole.state_dict())
    parameter = whole.parts[0].lin.weight
    import_module(whole)
    assert whole.calls == 0
    assert whole.parts[0]._cached_edge_index is None
    assert whole.parts[0].lin.weight is parameter
    assert parameter.dtype is torch.float32
    assert all(torch.equal(before[name], tensor) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize("make", [lambda: GCNConv(16, 8, cached=True), lambda: SGConv(16, 8, 2, cached=True)])
def test_what_a_layer_remembers_of_another_graph_is_forgotten(make):
    net = make().eval()
    fresh = copy.deepcopy(net)
    net(torch.randn(5, 16), torch.tensor([[0, 1, 2], [1, 2, 3]]))  # with gradients: deepcopy would refuse the cache
    remembered = [name for name, item in vars(net).items() if name.startswith("_cached") and item is not None]
    assert remembered
    program, weights, _ = import_module(net)
    assert all(getattr(net, name) is not None for name in remembered)
    nodes, src, dst = GRAPHS["random"]
    x = np.random.default_rng(0).normal(size=(nodes, 16))
    found = interpret(program, weights, GraphArrays.single(src, dst, x))["output"]
    assert_close(found, run(fresh, x, src, dst, {})["output"], "cached")


def test_a_module_in_double_precision():
    assert_same(SAGEConv(16, 8).double())


def test_a_compiled_module():
    net = SAGEConv(16, 8).eval()
    assert Model.from_pyg(torch.compile(net)).fingerprint == Model.from_pyg(net).fingerprint


def test_the_same_program_each_time():
    net = models.GAT(16, 8, 2, heads=2).eval()
    first, second, other = (Model.from_pyg(net, **options) for options in ({}, {}, {"seed": 5}))
    assert first.fingerprint == second.fingerprint == other.fingerprint


def test_a_module_with_as_many_lanes_as_the_example_has_nodes():
    assert_same(SAGEConv(1009, 1301), x=1009)


def test_an_imported_model_is_saved_and_loaded(tmp_path):
    net = models.GCN(16, 12, 2, 5).eval()
    model = Model.from_pyg(net, inputs={"edge_weight": "edges.amount"})
    assert model.inputs == {"nodes.x": 16, "edges.amount": 1}
    assert model.outputs == {"output": 5}
    assert model.origin == "torch_geometric.nn.models.basic_gnn.GCN"
    model.save(tmp_path / "m")
    loaded = Model.load(tmp_path / "m")
    assert loaded.fingerprint == model.fingerprint
    nodes, src, dst = GRAPHS["random"]
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(nodes, 16)), rng.uniform(size=len(src))
    arrays = GraphArrays.single(src, dst, x, edge_weight=weight)
    found = interpret(loaded.program, loaded.weights, arrays)["output"]
    assert_close(found, run(net, x, src, dst, {"edge_weight": weight})["output"], "loaded")
