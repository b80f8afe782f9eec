"""A net that was just trained in the same process is imported, and left exactly as it was."""

from __future__ import annotations

import inspect
import logging
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm
from torch.optim.swa_utils import AveragedModel
from torch_geometric.nn import GATConv, GCNConv, MessagePassing, SuperGATConv
from torch_geometric.utils import softmax

from pipeline import Model
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module

EDGES = torch.tensor([[0, 1, 2, 3, 4, 4], [1, 2, 0, 0, 0, 3]])
X = torch.arange(40.0, dtype=torch.float64).reshape(5, 8).sin()


def trained(net):
    """After one step in float64, so that its own output is the witness."""
    net = net.double()
    net(X, EDGES).sum().backward()
    return net.eval()


def state(net):
    """Everything of a net that an import might change."""
    return (
        {name: (tensor.clone(), tensor.dtype, tensor.requires_grad) for name, tensor in net.state_dict().items()},
        {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()},
        {name: module.training for name, module in net.named_modules()},
        {
            name: (list(vars(module)), *(dict(each) for each in (module._forward_hooks, module._forward_pre_hooks)))
            for name, module in net.named_modules()
        },
        {
            (name, key): item
            for name, module in net.named_modules()
            for key, item in vars(module).items()
            if not key.startswith("_")
        },
    )


def assert_untouched(before, after):
    for (one, kind, wants), (two, *others) in zip(before[0].values(), after[0].values(), strict=True):
        assert torch.equal(one, two)
        assert [kind, wants] == others
    for one, two in zip(before[1].values(), after[1].values(), strict=True):
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two)
    assert before[2:4] == after[2:4]
    assert before[4].keys() == after[4].keys()
    assert all(item is after[4][key] for key, item in before[4].items())


def assert_imported(net, **options):
    expected = net(X, EDGES).detach().numpy()
    before, drawn = state(net), torch.get_rng_state()
    program, weights, _ = import_module(net, features=8, **options)
    assert_untouched(before, state(net))
    assert torch.equal(drawn, torch.get_rng_state())
    found = interpret(program, weights, GraphArrays.single(*EDGES.numpy(), X.numpy()))["output"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    return weights


class Attention(MessagePassing):
    """Keeps its attention, as many do; also in a list and in a dict."""

    def __init__(self):
        super().__init__(aggr="add")
        self.score, self.lin = nn.Linear(16, 1), nn.Linear(8, 8)
        self.kept, self.by_name = [], {}

    def forward(self, x, edge_index):
        return self.propagate(edge_index, x=self.lin(x))

    def message(self, x_i, x_j, index, size_i):
        self.alpha = softmax(self.score(torch.cat([x_i, x_j], -1)), index, num_nodes=size_i)
        self.kept.append(self.alpha)
        self.by_name["alpha"] = self.alpha
        return self.alpha * x_j


class Around(nn.Module):
    """A layer beside something else that the net holds."""

    def __init__(self, conv, **held):
        super().__init__()
        self.conv = conv
        for name, item in held.items():
            setattr(self, name, item)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index)


def test_what_a_forward_has_kept():
    net = trained(Attention())
    before = list(net.kept)
    assert_imported(net)
    assert len(net.kept) == len(before) + 1  # of the test's own forward
    assert_imported(trained(SuperGATConv(8, 4, heads=2)))


def test_what_a_forward_writes_into():
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = GCNConv(8, 4), None

        def forward(self, x, edge_index):
            if self.last is None:
                self.last = self.conv.lin(x).sum()
            with torch.no_grad():
                self.last.mul_(0.5)
            return self.conv(x, edge_index)

    net = trained(Remembers())
    before = net.last.item()
    import_module(net, features=8)
    assert net.last.item() == before != 0


@pytest.mark.parametrize("norm", [spectral_norm, weight_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_norms_that_keep_the_weight_they_computed(norm):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lin = GCNConv(8, 6), norm(nn.Linear(6, 3))

        def forward(self, x, edge_index):
            return self.lin(self.conv(x, edge_index))

    assert_imported(trained(Net()))


class Refuses:
    """What a client of a tracking server does."""

    def __deepcopy__(self, memory):
        raise ValueError("a connection cannot be copied")


HELD = {
    "mappingproxy": lambda: inspect.signature(GCNConv.forward).parameters,
    "lock": threading.Lock,
    "locks in a dict": lambda: {"a": [threading.Lock()], "b": threading.RLock()},
    "logger": lambda: logging.getLogger("net"),
    "iterator": lambda: (number for number in range(3)),
    "random generator": torch.Generator,
    "raises ValueError": Refuses,
}


@pytest.mark.parametrize("name", HELD)
def test_attributes_that_cannot_be_copied(name):
    assert_imported(trained(Around(GATConv(8, 4), held=HELD[name]())))


def test_a_random_generator_is_not_advanced():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.generator = GCNConv(8, 4), torch.Generator()

        def forward(self, x, edge_index):
            torch.rand(3, generator=self.generator), torch.rand(3)
            return self.conv(x, edge_index)

    net = Net().double().eval()
    before, drawn = net.generator.get_state(), torch.get_rng_state()
    import_module(net, features=8)
    assert torch.equal(before, net.generator.get_state())
    assert torch.equal(drawn, torch.get_rng_state())


def test_a_module_that_refuses_is_not_shared():
    class Net(Around):
        def __deepcopy__(self, memory):
            raise ValueError("not me")

    message = (
        r"^the module cannot be copied: Net raises ValueError: not me; import a module without it, made anew and given "
        r"the weights by load_state_dict$"
    )
    with pytest.raises(ModelError, match=message):
        import_module(Net(GCNConv(8, 4)).eval())


def test_hooks_run_on_the_copy_alone():
    seen, sizes = [], {}
    net = Around(GCNConv(8, 4))
    net.conv.register_forward_hook(lambda module, given, result: seen.append(result))
    net.conv.register_forward_pre_hook(lambda module, given: sizes.update(rows=given[0].shape))
    net.conv.register_forward_hook(lambda module, given, result: result * 2)
    trained(net)
    assert_imported(net)
    assert len(seen) == 2
    assert sizes == {"rows": (5, 8)}


def test_a_function_that_names_a_part_of_the_net():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = GCNConv(8, 4), nn.Linear(4, 2)
            self.last = lambda h: self.head(h) + self.shift
            self.shift = nn.Parameter(torch.ones(2))

        def forward(self, x, edge_index):
            self.rows = self.last(self.conv(x, edge_index))
            return self.rows

    assert set(assert_imported(trained(Net()))) == {
        "conv.lin.weight", "conv.bias", "head.weight", "head.bias", "shift"
    }  # fmt: skip


def test_wrappers_are_taken_off():
    net = Around(GCNConv(8, 4)).eval()
    for wrapped in (nn.DataParallel(net), AveragedModel(net), nn.DataParallel(AveragedModel(net))):
        model = Model.from_pyg(wrapped.eval())
        assert set(model.weights) == {"conv.lin.weight", "conv.bias"}
        assert model.origin == f"{__name__}.Around"
