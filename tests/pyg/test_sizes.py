"""A forward that goes by the size of the graph: met by a graph on the other side, or refused."""

from __future__ import annotations

import inspect
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import SAGEConv, global_mean_pool

from pipeline.errors import ModelError
from pipeline.pyg import import_module
from pipeline.pyg.counts import Count
from tests.pyg.graphs import assert_same


class Branches(nn.Module):
    """Centres its output on one side of a question about sizes."""

    def __init__(self, asks):
        super().__init__()
        self.asks, self.conv = asks, SAGEConv(4, 2)

    def forward(self, x, edge_index):
        h = self.conv(x, edge_index)
        return h if self.asks(x, edge_index) else h - h.mean(0)


def _by_shape(x, e):
    n, _ = x.shape
    return n > 3_000


def _chunks(x, e):
    left = x.size(0)
    while left > 2_500:
        left -= 2_500
    return left == x.size(0)


MET = {  # by a graph that is small enough to run
    "size": lambda x, e: x.size(0) > 2000,
    "size()": lambda x, e: x.size()[0] <= 2000,
    "shape": _by_shape,
    "len": lambda x, e: len(x) >= 40_000,
    "numel": lambda x, e: x.numel() < 100_000,
    "nelement": lambda x, e: e.nelement() > 50_000,
    "bytes": lambda x, e: x.nbytes < 1 << 21,
    "edges": lambda x, e: e.size(1) < 90_000,
    "few edges": lambda x, e: e.shape[1] > 20,
    "no edges": lambda x, e: e.numel() == 0,
    "true if there are edges": lambda x, e: bool(e.size(1)),
    "one number": lambda x, e: x.size(0) == 2708,
    "one of several": lambda x, e: x.size(0) in (2708, 3327, 19717),
    "even": lambda x, e: x.size(0) % 2 == 0,
    "third": lambda x, e: x.size(0) % 3 == 0,
    "density": lambda x, e: e.size(1) / x.size(0) > 15,
    "half": lambda x, e: x.size(0) // 2 - 1 > 20_000,
    "from the right": lambda x, e: 30_000 < x.size(0),  # noqa: SIM300
    "minus": lambda x, e: 20_000 - x.size(0) < 0,
    "root": lambda x, e: math.sqrt(x.size(0)) > 200,
    "logarithm": lambda x, e: math.log(len(x)) > 10,
    "largest": lambda x, e: max(x.size(0), 7_000) == 7_000,
    "a derived tensor": lambda x, e: x[e[0]].size(0) > 80_000,
    "a loop": _chunks,
    "plain integer": lambda x, e: int(x.size(0)) > 6_000,
    "NumPy": lambda x, e: np.sqrt(x.size(0)) > 70,
    "a tensor": lambda x, e: bool(torch.tensor(x.size(0)) > 5_000),
}


@pytest.mark.parametrize("name", MET)
def test_a_branch_that_a_graph_can_meet(name):
    with pytest.raises(ModelError, match="computes something else on a graph of"):
        import_module(Branches(MET[name]).eval())


BEYOND = {
    "nodes": (lambda x, e: x.size(0) > 10**8, "the number of nodes > 100,000,000"),
    "edges": (lambda x, e: e.size(1) < 10**8, "the number of edges < 100,000,000"),
    "numbers": (lambda x, e: x.numel() >= 1 << 40, "(the number of nodes * 4) >= 1,099,511,627,776"),
    "a logarithm": (lambda x, e: math.log10(x.shape[0]) > 9, "log10(the number of nodes) > 9"),
    "one number": (lambda x, e: x.size(0) == 111_059_956, "the number of nodes == 111,059,956"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_a_branch_that_no_graph_can_meet(name):
    asks, question = BEYOND[name]
    line = inspect.getsourcelines(asks)[1]
    message = (
        rf"^cannot import this model: forward asks whether {re.escape(question)} in test_sizes.py:{line}; it comes out "
        r"otherwise on a graph of [\d,]+ nodes and [\d,]+ edges, which is too large to check the import on: a program "
        "may not depend on the size of the graph; import a module that always goes the way of your graph$"
    )
    with pytest.raises(ModelError, match=message):
        import_module(Branches(asks).eval())


def test_the_line_and_the_question_are_named():
    asks = MET["size"]
    line = inspect.getsourcelines(asks)[1]
    message = (
        rf"^cannot import this model: forward asks whether the number of nodes > 2,000 in test_sizes.py:{line}, and "
        r"computes something else on a graph of [\d,]+ nodes and [\d,]+ edges than on one of another size; a program "
    )
    with pytest.raises(ModelError, match=message):
        import_module(Branches(asks).eval())


def test_a_question_behind_another_one():
    def asks(x, e):
        return x.size(0) < 5_000 or x.size(0) < 10**9

    with pytest.raises(ModelError, match="the number of nodes < 1,000,000,000"):
        import_module(Branches(asks).eval())


def _in_parts(self, x, e):
    """The same numbers either way."""
    if x.size(0) > 100_000:
        return torch.relu(x) - torch.relu(-x)
    return x


def _checked(self, x, e):
    assert x.size(0) != 0
    assert len(x) == x.shape[0]
    assert x[e[0]].size(0) == e.size(1)
    if x.size(0) > 10**9 and x.size(1) > 10**9:
        raise ValueError("too large")
    return x + x.new_zeros(x.size(0), 1)


def _mean(self, x, e):
    return x - x.sum(0) / x.size(0)


SAME = {
    "the same numbers": _in_parts,
    "sizes that are the same": _checked,
    "a mean by the number of nodes": _mean,
    "pooled": lambda self, x, e: x - global_mean_pool(x, torch.zeros(len(x), dtype=torch.long), 1),
    "a shape": lambda self, x, e: x.view(x.size(0), -1, 2).reshape(len(x), x.size(1)),
    "a loop over lanes": lambda self, x, e: torch.stack([x[:, lane] for lane in range(x.size(1))], 1),
}


@pytest.mark.parametrize("name", [name for name in SAME if name != "sizes that are the same"])
def test_sizes_that_change_nothing(name):
    class Net(nn.Module):
        def forward(self, x, edge_index):
            return SAME[name](self, x, edge_index)

    assert_same(Net())


def test_a_question_whose_second_part_is_never_asked():
    """Of `a and b`, Python asks b only where a is true: the question that is asked is refused."""

    class Net(nn.Module):
        def forward(self, x, edge_index):
            return _checked(self, x, edge_index)

    with pytest.raises(ModelError, match="the number of nodes > 1,000,000,000"):
        import_module(Net().eval(), features=16)


def test_how_many_nodes_a_mask_chooses():
    class Net(nn.Module):
        def __init__(self, least):
            super().__init__()
            self.least = least

        def forward(self, x, edge_index):
            some = (x[:, 0] > 0).nonzero().flatten()
            out = torch.zeros_like(x)
            if some.numel() > self.least:
                out[some] = x[some] * 2
            return out

    import_module(Net(0).eval(), features=16)  # none is chosen: nothing would be written either
    with pytest.raises(ModelError, match="how many nodes a mask chooses is known only from the data"):
        import_module(Net(100).eval(), features=16)


def test_a_size_is_a_number_like_any_other():
    sizes = []

    class Net(nn.Module):
        def forward(self, x, edge_index):
            n = x.size(0)
            sizes.append(
                (type(n), isinstance(n, int), n + 1 == 1 + n, -n == 0 - n, abs(n) == n, hash(n), f"{n:,}", [n])
            )
            return x * (n - n + 1)

    import_module(Net().eval(), features=16)
    assert Count in {kind for kind, *_ in sizes}
    assert all(all(rest[:4]) for _, *rest in sizes)


def test_python_is_as_it_was():
    before = len, math.log
    with pytest.raises(ModelError):
        import_module(Branches(MET["len"]).eval())
    assert (len, math.log) == before
    assert type(torch.ones(1009, 3).size(0)) is int


class Skips(nn.Module):
    """Leaves out a relation that has no edges, as many public models do, where their layer would give nodes a bias."""

    RELATIONS = (("a", "r", "b"), ("b", "s", "a"), ("a", "t", "a"), ("a", "u", "b"), ("a", "v", "a"))

    def __init__(self, relation):
        super().__init__()
        self.relation = relation
        self.convs = nn.ModuleDict({name: SAGEConv((4, 4), 2) for _, name, _ in self.RELATIONS})

    def forward(self, x_dict, edge_index_dict):
        out = {"a": 0, "b": 0}
        for (src, name, dst), edge_index in edge_index_dict.items():
            if name != self.relation or edge_index.size(1):
                out[dst] = out[dst] + self.convs[name]((x_dict[src], x_dict[dst]), edge_index)
        return out


@pytest.mark.parametrize("relation", ["r", "u", "v"])
def test_a_relation_that_is_left_out_where_it_is_empty(relation):
    """Of `v` all graphs have edges in which no type of nodes is empty."""
    metadata = (["a", "b"], list(Skips.RELATIONS))
    with pytest.raises(ModelError, match="no edges 'v'" if relation == "v" else "computes something else on a graph"):
        import_module(Skips(relation).eval(), features=4, metadata=metadata)
    import_module(Skips("none").eval(), features=4, metadata=metadata)
