"""Some of the nodes, by a mask that only the data know: taken, computed with, counted, and written back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import CorrectAndSmooth, GCNConv, LabelPropagation, MaskLabel, SAGEConv

from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.formula.categories import categories
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE
from tests.pyg.accuracy import BLOCKS, accuracy, compiled, graphs
from tests.pyg.graphs import GRAPHS, Does, assert_close, imported_same, run

ONE_NODE = ("one node with a self-loop",)


def by_mask(self, x, e):
    """A map of its own for some nodes, and a constant for others."""
    h = self.conv(x, e)
    some = h[:, 0] > 0
    h[some] = self.lin(h[some]).relu() + x[some]
    h[~some] *= self.weight
    h[(x[:, 1] > 0.5) & some] = 2.0
    h[h[:, 2].abs() > 1] = self.weight
    return h


def by_numbers(self, x, e):
    """nonzero, index_select, index_copy_: as PyG's MFConv does it, over the nodes' own values."""
    out = torch.empty_like(x)
    for kind in (x[:, 0] > 0, x[:, 0] <= 0):
        idx = kind.nonzero().view(-1)
        rows = self.lin(x.index_select(0, idx)) - x[idx]
        out.index_copy_(0, idx, rows.relu())
    return self.conv(out, e)


def numbers_in_other_ways(self, x, e):
    """The same numbers, found in each way that torch has; rows added, filled and put."""
    out = x.clone()
    first = torch.where(x[:, 0] > 0)[0]
    second = (x[:, 1] > 0).nonzero(as_tuple=True)[0]
    third = (x[:, 2] > 0).nonzero().squeeze(1)
    fourth = (x[:, 3] > 0).nonzero()[:, 0]
    out.index_add_(0, first, x[first].exp())
    out.index_fill_(0, second, 3.0)
    out = out.index_copy(0, third, x[third] @ self.lin.weight)
    out.index_put_((fourth,), x[fourth].cos(), accumulate=True)
    return out


def masks_spelled_twice(self, x, e):
    """Two equal masks are one."""
    out = torch.zeros_like(x)
    out[x[:, 0] + 1 > 0] = x[x[:, 0] + 1 > 0] * 2
    return out


def heads(self, x, e):
    """Rows of several axes, and views of the chosen ones."""
    h = x.view(-1, 4, 4)
    some = h[:, 0, 0] > 0
    chosen = h[some].view(-1, 16)
    chosen = torch.cat([chosen[:, 8:], chosen[:, :8].sigmoid()], dim=1) + torch.ones(chosen.size(0), 1)
    out = h.clone()
    out[some] = chosen.view(-1, 4, 4)
    return out.view(-1, 16)


def totals(self, x, e):
    """Statistics of the chosen nodes: as many as there are is a number like any other."""
    some = x[:, 0] > 0
    h = x[some]
    centred = x - h.mean(0) + h.sum(0) / some.sum() - h.norm(dim=0) + h.t() @ h[:, 0] / h.size(0)
    return centred * h.amax() / (h.var(0, unbiased=False) + 1) + h[:, 1].softmax(0).max()


def standardised(self, x, e):
    """By their own statistics, the chosen ones only."""
    some = x[:, 0] > 0
    h = x[some]
    out = x.clone()
    out[some] = (h - h.mean(0)) / (h.std(0, unbiased=False) + 1)
    return self.conv(out, e)


def rows_that_would_not_be_finite(self, x, e):
    """log, 0 / 0 and overflows of the rows that are left alone reach nothing."""
    some = x[:, 0] > 0
    first = x[some][:, :1]
    out = x.clone()
    out[some] = first.log() + first.sqrt() + first.log().sum() + first.log().mean() + first.t() @ first.log()
    rest = x[~some, :]
    out[~some] = (rest[:, :1] * -800).exp().rsqrt() + (rest[:, :1] / rest[:, :1].clamp(max=0)).mean(0)
    return out


WITHOUT_ONE = {totals}  # of no row there is no largest
FUNCTIONS = [
    by_mask,
    by_numbers,
    numbers_in_other_ways,
    masks_spelled_twice,
    heads,
    totals,
    standardised,
    rows_that_would_not_be_finite,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_users_own_module(function):
    torch.manual_seed(0)
    net = Does(function, conv=SAGEConv(16, 16), lin=nn.Linear(16, 16), weight=nn.Parameter(torch.randn(16)))
    program, weights = imported_same(net, without=ONE_NODE if function in WITHOUT_ONE else ())
    assert not {value.op for value in program.values} & {"choose"}
    found = accuracy(net, program, weights)
    assert found.good, found


@pytest.mark.parametrize("told", [{"mask": bool}, {}], ids=["told", "found"])
@pytest.mark.parametrize("layers", [1, 4])
def test_label_propagation(told, layers):
    net = LabelPropagation(layers, 0.8)
    program, weights, columns = import_module(
        net.eval(), inputs={"y": "nodes.label", "mask": "nodes.train"}, features={"y": 5, **told}
    )
    assert columns == {"nodes.y": "nodes.label", "nodes.mask": "nodes.train"}
    for name, (nodes, src, dst) in GRAPHS.items():
        rng = np.random.default_rng(3)
        labels, mask = rng.random((nodes, 5)), rng.random(nodes) < 0.5
        labels[~mask] = np.nan
        expected = run(net, labels, src, dst, {"mask": mask})["output"]
        for train in (mask, mask.astype(np.int64), mask * 3.5):  # a column of the table may be of any type
            arrays = GraphArrays(
                {NODE: nodes}, {EDGE: (np.array(src, int), np.array(dst, int))}, {NODE: {"y": labels, "mask": train}}
            )
            assert_close(interpret(program, weights, arrays)["output"], expected, name)


class Corrected(nn.Module):
    """Correct and smooth around a base predictor's output, as its authors' script calls it."""

    def __init__(self, autoscale, one_step=False):
        super().__init__()
        self.both = CorrectAndSmooth(3, 0.7, 2, 0.6, autoscale, scale=1.3)
        self.one_step = one_step

    def forward(self, y_soft, edge_index, y_true, mask, edge_weight=None):
        y_soft = y_soft.softmax(dim=-1)
        if self.one_step:
            return self.both(y_soft, y_true[mask], mask, edge_index, edge_weight)
        y_soft = self.both.correct(y_soft, y_true[mask], mask, edge_index, edge_weight)
        return self.both.smooth(y_soft, y_true[mask], mask, edge_index, edge_weight)


def corrected(net, y_true, weighted, **told):
    inputs = {"y_soft": "nodes.soft", "y_true": "nodes.y", "mask": "nodes.train"}
    features = {"y_soft": 4, "y_true": y_true, **told}
    if weighted:
        inputs["edge_weight"] = "edges.w"
    return import_module(net.eval(), inputs=inputs, features=features)


@pytest.mark.parametrize("y_true", [4, range(4)], ids=["soft labels", "classes"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("net", [Corrected(True), Corrected(False), Corrected(True, one_step=True)])
def test_correct_and_smooth(net, y_true, weighted):
    program, weights, _ = corrected(net, y_true, weighted)
    for name, (nodes, src, dst) in GRAPHS.items():
        if name in ONE_NODE:  # whose mask chooses no node
            continue
        rng = np.random.default_rng(3)
        soft, mask, weight = rng.normal(size=(nodes, 4)), rng.random(nodes) < 0.6, rng.random(len(src)) + 0.1
        labels = rng.integers(0, 4, nodes) if isinstance(y_true, range) else rng.random((nodes, 4))
        labels[~mask] = -1 if isinstance(y_true, range) else np.nan  # unknown, as tables often say it
        given = {"y_true": labels, "mask": mask} | ({"edge_weight": weight} if weighted else {})
        expected = run(net, soft, src, dst, given)["output"]
        arrays = GraphArrays(
            {NODE: nodes},
            {EDGE: (np.array(src, int), np.array(dst, int))},
            {NODE: {"y_soft": soft, "y_true": labels, "mask": mask}},
            {EDGE: {"edge_weight": weight}},
        )
        assert_close(interpret(program, weights, arrays)["output"], expected, name)


@pytest.mark.parametrize("net", [Corrected(True), Corrected(False)], ids=["scaled", "fixed"])
def test_correct_and_smooth_compiled(net):
    """From the tables, where the labels of most nodes are a number that is none, through the compiler, in float32."""
    program, weights, _ = corrected(net, 4, False)
    plan = Plan(*lower(program, weights))
    for seed, graph in enumerate(graphs()):
        rng = np.random.default_rng(seed)
        soft, mask = rng.normal(size=(graph.nodes, 4)), rng.random(graph.nodes) < 0.3
        labels = np.where(mask[:, None], rng.random((graph.nodes, 4)), -1e30)
        expected = run(net, soft, graph.src, graph.dst, {"y_true": labels, "mask": mask})["output"]
        columns = {"y_soft": soft.astype(np.float32), "y_true": labels.astype(np.float32), "mask": mask}
        for blocks in BLOCKS:
            found = compiled(plan, graph, columns, {}, blocks)["output"]
            assert_close(found, expected, f"graph {seed}, {blocks} blocks", 1e-5)


class Trained(nn.Module):
    """A predictor, its labels of training nodes put back in front of the last layer."""

    def __init__(self):
        super().__init__()
        self.first, self.last = GCNConv(16, 4), GCNConv(4, 4)

    def forward(self, x, edge_index, y, train_mask):
        h = self.first(x, edge_index).softmax(-1)
        h[train_mask] = nn.functional.one_hot(y[train_mask], 4).to(h.dtype)
        return self.last(h, edge_index)


def test_labels_put_back():
    torch.manual_seed(0)
    net, nodes = Trained(), {"y": range(4), "train_mask": bool}
    program, weights = imported_same(net, nodes=nodes)
    found = accuracy(net, program, weights, nodes=nodes)
    assert found.good, found
    assert not categories(program)  # a node without a label may hold any number, -1 as often: no table is refused


class Known(nn.Module):
    """Labels that are known are features too; of the others a learned row of its own."""

    def __init__(self, method):
        super().__init__()
        self.labels = MaskLabel(4, 16, method)
        self.unknown = nn.Embedding(7, 16)
        self.conv = SAGEConv(16 if method == "add" else 32, 8)

    def forward(self, x, edge_index, y, mask, kind):
        x = x.clone()
        x[~mask] += self.unknown(kind[~mask])
        return self.conv(self.labels(x, y, mask), edge_index)


@pytest.mark.parametrize("method", ["add", "concat"])
def test_masked_labels(method):
    torch.manual_seed(0)
    net, nodes = Known(method), {"y": range(4), "mask": bool, "kind": range(7)}
    imported_same(net, nodes=nodes)
    inputs = {name: f"nodes.{name}" for name in nodes}
    program, _, _ = import_module(net.eval(), inputs=inputs, features={"x": 16})  # found by trying
    assert {value.inputs[0].shape for value in program.values if value.op == "lookup"} == {(4, 16), (7, 16)}


def test_a_mask_that_may_be_a_number_is_one():
    """As before: truth values are guessed only where floats do not do."""

    class Scaled(nn.Module):
        def forward(self, x, edge_index, mask):
            return x * mask[:, None]

    program, _, _ = import_module(Scaled().eval(), inputs={"mask": "nodes.mask"}, features={"x": 16})
    assert "not_equal" not in {value.op for value in program.values}


def _returned(self, x, e):
    return x[x[:, 0] > 0]


def _of_two_masks(self, x, e):
    out = x.clone()
    out[x[:, 0] > 0] = x[x[:, 1] > 0]
    return out


def _two_masks_added(self, x, e):
    return x + (x[x[:, 0] > 0] + x[x[:, 1] > 0]).sum(0)


def _two_masks_joined(self, x, e):
    return x + torch.cat([x[x[:, 0] > 0], x[x[:, 0] <= 0]]).sum(0)


def _with_all(self, x, e):
    return x + (x[x[:, 0] > 0] + x).sum(0)


def _masks_of_masks(self, x, e):
    some = x[x[:, 0] > 0]
    return x + some[some[:, 1] > 0].sum(0)


def _numbered(self, x, e):
    some = x[x[:, 0] > 0]
    out = x.clone()
    out[x[:, 0] > 0] = some * torch.arange(some.size(0))[:, None]
    return out


def _arithmetic_of_numbers(self, x, e):
    return x + x[(x[:, 0] > 0).nonzero().view(-1) * 2 % len(x)].sum(0)


def _by_position(self, x, e):
    return x - x[x[:, 0] > 0][0]


def _sorted(self, x, e):
    return x + x[x[:, 0] > 0].sort(0).values.sum(0)


def _counted(self, x, e):
    x = x.clone()
    x[x[:, 0] > 0] *= 2
    return x / (int((x[:, 0] > 0).sum()) - 1)


def _decided(self, x, e):
    return x if (x[:, 0] > 0).sum() > 2 else -x


def _along_edges(self, x, e):
    some = x[x[:, 0] > 0]
    return x + self.conv(some, e % some.size(0)).sum(0)


def _left_unwritten(self, x, e):
    out = x.new_empty(x.size(0), 4)
    return out.index_add_(0, (x[:, 0] > 0).nonzero().view(-1), x[x[:, 0] > 0][:, :4])


def _sparse_table(self, x, e):
    return x + self.table[(x[:, 0] > 0).nonzero().view(-1)].sum(0)


BACK = r"write them back first \(out\[mask\] = rows\), or keep all rows and use torch.where"
HERE = r"nodes chosen in test_chosen.py:\d+"
REFUSED = {
    _returned: f"output 'output' of the module has one row for each of the {HERE}; {BACK}",
    _of_two_masks: f"Does, test_chosen.py:\\d+, index_put_? mixes rows of {HERE} with rows of {HERE}; {BACK}",
    _two_masks_added: f"Does, test_chosen.py:\\d+, add mixes rows of {HERE} with rows of {HERE}; {BACK}",
    _two_masks_joined: f"cat joins {HERE} and {HERE} one after the other",
    _with_all: f"add mixes rows of {HERE} with rows of nodes; {BACK}",
    _masks_of_masks: f"index takes some of the {HERE} by a value per row; choose nodes by a mask over all of them",
    _numbered: f"arange numbers the {HERE}; a program may not depend on the order of nodes or edges",
    _arithmetic_of_numbers: f"mul computes with the numbers of the {HERE} as if it were a value",
    _by_position: f"select takes one of the {HERE} by its position",
    _sorted: "sort sorts all nodes chosen in",
    _counted: r"does not compute .*: what differs is at or behind Does, test_chosen.py:\d+, index_put; a number of",
    _decided: "reads a number that depends on the graph into Python",
    _along_edges: "remainder",
    _left_unwritten: "new_empty leaves memory as it was, and that is read later",
    _sparse_table: "index looks up a learned table by the number of a node; give node_ids=, the ids",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_refused(function):
    net = Does(function, conv=SAGEConv(16, 16), table=nn.Parameter(torch.ones(16, 16)))
    with pytest.raises(ModelError, match=REFUSED[function]):
        import_module(net.eval(), features=16, unused=["*"])


def test_rows_that_nothing_is_written_to():
    """What PyG would read there is whatever the memory held; here it is NaN, so the import notices."""

    def forward(self, x, e):
        out = torch.full_like(x, 7.0).new_empty(x.size())
        some = x[:, 0] > 0
        out[some] = x[some]
        return out

    with pytest.raises(ModelError, match="does not compute what the module computes"):
        import_module(Does(forward).eval(), features=16)


def test_rows_that_only_other_data_leave_out():
    """Nothing is written to nodes that no example has: NaN, not somebody else's numbers."""

    def forward(self, x, e):
        out = torch.empty_like(x)
        some = x[:, 0] > -1000
        out[some] = x[some]
        return out

    program, weights, _ = import_module(Does(forward).eval(), features=16)
    x = np.ones((3, 16))
    x[1, 0] = -2000
    found = interpret(program, weights, GraphArrays.single([0], [1], x))["output"]
    np.testing.assert_array_equal(np.isnan(found), [[False] * 16, [True] * 16, [False] * 16])


def test_a_column_of_integers_is_no_mask():
    class Indexed(nn.Module):
        def forward(self, x, edge_index, train):
            return x - x[train].mean(0)

    with pytest.raises(ModelError, match=r"index takes some of the nodes by a value per row; .* features=\{'mask': bo"):
        import_module(Indexed().eval(), inputs={"train": "nodes.train"}, features={"x": 16, "train": range(2)})
    told = {"x": 16, "train": bool}
    assert import_module(Indexed().eval(), inputs={"train": "nodes.train"}, features=told)[2]["nodes.train"]
