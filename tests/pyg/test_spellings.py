"""How authors write what forward takes and gives: wrappers, one object, constants, lists, several outputs."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.loader.neighbor_sampler import EdgeIndex
from torch_geometric.nn import (
    ARGVA,
    GAE,
    GCN,
    VGAE,
    DeepGraphInfomax,
    GATConv,
    GCNConv,
    GraphNorm,
    SAGEConv,
    global_mean_pool,
)

from pipeline import Model
from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.schema import EDGE, NODE
from tests.pyg.accuracy import accuracy

EDGES = torch.tensor([[0, 1, 2, 3, 4, 4, 2], [1, 2, 0, 0, 0, 3, 2]])
X = torch.arange(48.0, dtype=torch.float64).reshape(6, 8).sin()


def assert_gives(net, expected, columns=None, **options):
    """The imported model gives `expected`, output → tensor, on the graph above. `columns`: those of the edges."""
    model = Model.from_pyg(net.eval(), **options)
    edges = {name: array.numpy() for name, array in (columns or {}).items()}
    nodes = {name.partition(".")[2]: X.numpy() for name in model.columns if name.startswith("nodes")}
    arrays = GraphArrays({NODE: len(X)}, {EDGE: tuple(EDGES.numpy())}, {NODE: nodes}, {EDGE: edges})
    found = interpret(model.program, model.weights, arrays)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name], tensor.detach().numpy(), rtol=0, atol=1e-10)
    return model


def refused(net, message, **options):
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        Model.from_pyg(net.eval(), **options)


class Conv(nn.Module):
    """A layer, and what the spelling makes of it."""

    def __init__(self, function, **parts):
        super().__init__()
        self.conv, self.function = GCNConv(8, 4), function
        for name, part in parts.items():
            setattr(self, name, part)
        self.double()


# ---- wrappers


class Variational(nn.Module):
    def __init__(self):
        super().__init__()
        self.base, self.mu, self.logstd = GCNConv(8, 6), GCNConv(6, 4), GCNConv(6, 4)

    def forward(self, x, edge_index):
        h = self.base(x, edge_index).relu()
        return self.mu(h, edge_index), self.logstd(h, edge_index)


def corrupted(x, edge_index):
    return x[torch.randperm(x.size(0))], edge_index


@pytest.mark.parametrize("given", [{}, {"inputs": {"x": "nodes.x", "edge_index": "edge_index"}, "features": {"x": 8}}])
@pytest.mark.parametrize("kind", [GAE, VGAE, ARGVA, DeepGraphInfomax])
def test_autoencoders_are_imported_as_their_encoder(kind, given):
    encoder = GCN(8, 16, 2, 4) if kind in (GAE, DeepGraphInfomax) else Variational()
    more = {DeepGraphInfomax: (4, encoder, lambda z, *_: z.mean(0), corrupted), ARGVA: (encoder, nn.Linear(4, 4))}
    net = kind(*more.get(kind, (encoder,))).double().eval()
    unused = {"unused": ["discriminator.*"]} if kind is ARGVA else {}
    expected = encoder(X, EDGES) if kind is DeepGraphInfomax else net.encode(X, EDGES)
    model = assert_gives(net, {"output": expected}, **given, **unused)
    how = "encoder" if kind is DeepGraphInfomax else "encode"
    assert f"{kind.__name__} is imported as its {how}" in model.about.notes


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = GCN(8, 16, 2, 4).double()

    def forward(self, *args, **kwargs):
        return self.model(*args, **kwargs).tanh()


class ByPosition(ByName):
    def forward(self, *args):
        return self.model(*args).tanh()


class Keywords(ByName):
    def forward(self, **batch):
        return self.model(batch["x"], batch["edge_index"]).tanh()


@pytest.mark.parametrize("kind", [ByName, ByPosition, Keywords])
def test_a_forward_that_hands_on_what_it_is_given(kind):
    net = kind()
    assert_gives(net, {"output": net.model(X, EDGES).tanh()})


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = GCNConv(8, 4).double(), GCNConv(4, 4).double()

    def forward(self, **given):
        return self.second(self.first(given["feat"], given["graph"]), given["graph"])


def test_keywords_that_inputs_names():
    net = Bare()
    expected = {"output": net(feat=X, graph=EDGES)}
    assert_gives(net, expected, inputs={"feat": "nodes.x", "graph": "edge_index"}, features={"feat": 8})
    refused(
        net, "forward takes no edge_index; it takes **given: the graph is an argument, not something that the modul"
    )


# ---- one object


class OfBatch(Conv):
    def forward(self, batch):
        return self.conv(batch.x, batch["edge_index"], batch.edge_weight)


class OfGraph(Conv):
    def forward(self, g, scale=1.0):
        x, edge_index = g.x, g.edge_index
        return self.conv(x, edge_index) * scale


def test_a_data_object_by_any_name():
    weight = torch.arange(1.0, 8.0, dtype=torch.float64)
    net = OfBatch(None)
    expected = {"output": net(Data(x=X, edge_index=EDGES, edge_weight=weight))}
    assert_gives(net, expected, {"edge_weight": weight}, inputs={"edge_weight": "edges.edge_weight"})
    net, data = OfGraph(None), Data(x=X, edge_index=EDGES)
    for inputs in ({}, {"g": "data"}, {"x": "nodes.x", "edge_index": "edge_index"}):
        assert_gives(net, {"output": net(data)}, inputs=inputs)
    assert_gives(net, {"output": net(data, 3.0)}, inputs={"scale": 3.0})


def test_what_is_no_data_object_says_so():
    refused(
        OfBatch(None), "forward reads batch.edge_weight, which inputs does not name: give inputs={'edge_weight': 'ed"
    )
    message = (
        "forward of OfGraph failed on an example graph with rows of {'g': (8,)}: AttributeError: 'Tensor' object has"
    )
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        Model.from_pyg(OfGraph(None).eval(), inputs={"g": "nodes.x"}, features={"g": 8})
    assert "; if 'g' is a Data object, give inputs={'g': 'data'}" in str(caught.value)

    class Alone(Conv):
        def forward(self, h):
            return self.conv(h, self.edges)

    refused(
        Alone(None, edges=EDGES),
        "forward takes 'h': say where it comes from, inputs={'h': 'nodes.COLUMN'} or 'edges.COLUMN' (or 'edge_index'); "
        "as a Data object forward does not take it: ",
    )


class OwnContainer(Conv):
    def forward(self, data):
        return self.conv(data.graph["node_feat"], data.graph["edge_index"])


def test_an_authors_own_container():
    net = OwnContainer(None)
    refused(
        net,
        "forward reads data.graph, which inputs does not name: give inputs={'graph': 'nodes.COLUMN'}, or "
        "inputs={'graph': None} if data has none; if data.graph holds tensors by their names, import a module whose "
        "forward(x, edge_index) puts them into such an object and calls this one with it",
    )

    class Puts(nn.Module):  # that remedy
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, edge_index):
            return self.net(SimpleNamespace(graph={"node_feat": x, "edge_index": edge_index}))

    assert_gives(Puts(), {"output": net.conv(X, EDGES)})


# ---- numbers


class Scaled(Conv):
    def forward(self, x, edge_index, scale, deep=False):
        h = self.conv(x, edge_index) * scale
        return h.relu() if deep else h


def test_a_number_as_it_is():
    net = Scaled(None)
    assert_gives(net, {"output": net(X, EDGES, 2.0)}, inputs={"scale": 2.0})
    assert_gives(net, {"output": net(X, EDGES, 3, True)}, inputs={"scale": 3, "deep": True})
    assert_gives(net, {"output": net(X, EDGES, 1009)}, inputs={"scale": 1009})  # as many as nodes of an example
    refused(
        net,
        "forward takes 'scale': say where it comes from, inputs={'scale': 'nodes.COLUMN'} or 'edges.COLUMN' (or "
        "'edge_index'); a number that is the same for every graph, as it is",
    )


class Counted(Conv):
    def forward(self, x, edge_index, num_nodes, n):
        out = torch.zeros(num_nodes, 8, dtype=x.dtype).index_add(0, edge_index[1], x[edge_index[0]])
        return self.conv(out, edge_index) / n


def test_the_number_of_nodes():
    net = Counted(None)
    model = assert_gives(net, {"output": net(X, EDGES, 6, 6)}, inputs={"n": "num_nodes"})
    assert set(model.columns) == {"nodes.x"}


# ---- edges: none, of each layer


def test_a_model_of_node_columns_only():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(16, 4)

        def forward(self, x):
            return self.lin(x).log_softmax(-1)

    net = Head().eval()
    model = Model.from_pyg(net)
    assert model.about.notes == ("the model reads no edges",)

    class WithEdges(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, edge_index):
            return self.net(x)

    assert accuracy(WithEdges().eval(), model.program, model.weights).good


def test_edges_that_are_probably_forgotten():
    class Maybe(Conv):
        def forward(self, x, adj=None):
            return self.conv(x, adj) if adj is not None else x

    message = (
        "forward takes no edge_index; it takes x, adj: if adj is the graph, give inputs={'adj': 'edge_index'}; if the "
        "model reads no edges, inputs={'adj': None}"
    )
    refused(Maybe(None), message)

    class Held(Conv):
        def forward(self):
            return self.conv(X, EDGES)

    refused(
        Held(None),
        "forward takes no edge_index; it takes nothing: the graph is an argument, not something that the module holds "
        "or finds elsewhere: write forward(self, x, edge_index)",
    )

    class Beside(Conv):
        def forward(self, x):
            return x * 2

    refused(Beside(None), "weights that the recorded program never reads: conv.bias, conv.lin.weight", features=8)
    with pytest.raises(
        ModelError, match="forward takes no edge_index: the model reads no graph, only columns of the n"
    ):
        Model.from_pyg(Beside(None).eval(), features=8)


class Sampled(nn.Module):
    """The form of PyG's examples before NeighborLoader."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([SAGEConv(8, 6), SAGEConv(6, 4)]).double()

    def forward(self, x, adjs):
        for i, (edge_index, _, size) in enumerate(adjs):
            x = self.convs[i]((x, x[: size[1]]), edge_index)
            x = x.relu() if i != len(self.convs) - 1 else x
        return x


def test_sampled_edges_of_each_layer():
    net = Sampled()
    adjs = [EdgeIndex(EDGES, None, (6, 6))] * 2
    model = assert_gives(net, {"output": net(X, adjs)}, inputs={"adjs": ["edge_index", "edge_index"]})
    assert "adjs is given all edges in each of its 2 layers" in model.about.notes
    refused(
        net,
        "forward takes 'adjs': if these are the sampled edges of each layer, all edges stand in their place, once for "
        "each layer: inputs={'adjs': ['edge_index', 'edge_index']}",
    )
    refused(net, "weights that the recorded program never reads: convs.1", inputs={"adjs": ["edge_index"]}, features=8)


def test_numbers_of_sampled_edges_are_not_made_up():
    class ByNumber(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(8, 4)

        def forward(self, x, adjs, edge_weight):
            for edge_index, e_id, _ in adjs:
                return self.conv(x, edge_index, edge_weight[e_id])

    with pytest.raises(ModelError, match="arange numbers the edges; a program may not depend on the order"):
        Model.from_pyg(ByNumber().eval(), inputs={"adjs": ["edge_index"]}, features=8)


# ---- several outputs


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.score = GATConv(8, 4).double(), nn.Linear(4, 1).double()

    def forward(self, x, edge_index):
        h, (_, alpha) = self.conv(x, edge_index, return_attention_weights=True)
        return h, alpha, None, self.score(h).mean(), h.relu()


def test_outputs_to_choose():
    net = Attends()
    h, *_, positive = net(X, EDGES)
    assert_gives(net, {"output_0": h}, outputs=["output_0"])
    assert_gives(net, {"output_0": h, "output_4": positive}, outputs=["output_0", "output_4"])
    refused(
        net,
        "output 'output_2' of forward is NoneType, not a tensor; choose those that have a row per node: "
        "outputs=['output_0', 'output_1', 'output_3', 'output_4']",
    )
    refused(
        net,
        "output 'output_1' of the module has rows of self-loops that a layer adds, which are no edges of the table "
        "(attention weights of GATConv, for example): return a row for each edge of edge_index as it is given; to "
        "import the others: outputs=['output_0']",
        outputs=["output_0", "output_1"],
    )
    refused(net, "outputs names 'output_9', which forward does not return; did you mean 'output_", outputs=["output_9"])


def test_weights_of_an_output_that_is_not_chosen_were_not_forgotten():
    net = Attends()
    model = assert_gives(net, {"output_0": net(X, EDGES)[0]}, outputs=["output_0"])
    assert set(model.about.unread) == {"score.bias", "score.weight"}


def test_outputs_of_a_wrong_weight_are_still_noticed():
    class Forgets(Attends):
        def __init__(self):
            super().__init__()
            self.never = nn.Linear(2, 2)

    refused(Forgets(), "weights that the recorded program never reads: never.weight, never.bias", outputs=["output_0"])


# ---- graph level, links


class Pools(Conv):
    def forward(self, x, edge_index, batch):
        return global_mean_pool(self.conv(x, edge_index), batch)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inputs": {"batch": "nodes.batch"}},
        {"inputs": {"batch": "nodes.batch"}, "features": {"x": 8, "batch": range(1)}},
        {"inputs": {"batch": None}},
    ],
)
def test_a_row_per_graph(options):
    message = (
        "output 'output' of the module has one row for the whole graph (graph-level output); graphsweep gives one "
        "row per node: import the part of the module before the pooling"
    )
    refused(Pools(None), message, **options)

    class OfData(Conv):
        def forward(self, data):
            return global_mean_pool(self.conv(data.x, data.edge_index), data.batch)

    refused(OfData(None), message)


def test_a_batch_that_only_norms_take():
    class Normed(Conv):
        def forward(self, x, edge_index, batch):
            return self.norm(self.conv(x, edge_index), batch)

    net = Normed(None, norm=GraphNorm(4))
    assert_gives(net, {"output": net(X, EDGES, None)}, inputs={"batch": None})
    refused(
        net,
        "forward takes 'batch', the number of each node's graph; graphsweep takes all nodes for one graph: if that is "
        "right, give inputs={'batch': None}",
    )


def test_a_batch_that_is_sorted():
    """PyG's SGFormer and Polynormer."""

    class Sorts(Conv):
        def forward(self, x, edge_index, batch):
            batch, order = batch.sort(stable=True)
            return self.conv(x[order], edge_index)

    refused(
        Sorts(None),
        "Sorts does not take None for batch, the number of each node's graph: it sorts or counts the nodes by their "
        "graph, which a formula cannot; import a module that takes all nodes for one graph; forward of Sorts failed on "
        "an example graph with rows of {'x': (8,)}: AttributeError: 'NoneType' object has no attribute 'sort'",
        inputs={"batch": None},
        features=8,
    )


def test_sampled_matrices():
    """OGB's model of mag240m."""

    class Matrices(Conv):
        def forward(self, x, adjs_t):
            for adj_t in adjs_t:
                x = self.conv((x, x[: adj_t.size(0)]), adj_t)
            return x

    refused(
        Matrices(None),
        "forward of Matrices failed on an example graph with rows of {'x': (8,)}: TypeError: 'tuple' object is not "
        "callable; adjs_t is given (edge_index, e_id, size) for each layer, as PyG's NeighborSampler does: if forward "
        "takes matrices, import a module whose forward(x, edge_index) gives its layers edge_index in their place",
        inputs={"adjs_t": ["edge_index"]},
        features=8,
    )


def test_pairs_to_score():
    class Decodes(Conv):
        def forward(self, x, edge_index, edge_label_index):
            z = self.conv(x, edge_index)
            return (z[edge_label_index[0]] * z[edge_label_index[1]]).sum(-1)

    refused(
        Decodes(None),
        "forward takes 'edge_label_index': pairs of nodes to score (a link decoder); there is no table of pairs: if "
        "they are the edges themselves, give inputs={'edge_label_index': 'edge_index'}, and the result has a row per "
        "edge; else import the encoder, the part that gives a row per node, and score pairs of its rows",
    )


# ---- what a module raises


class Raises(Conv):
    def forward(self, x, edge_index):
        return self.function(self, x, edge_index)


def _nothing(*_):
    raise SystemError("out of luck")


@pytest.mark.parametrize(
    "function",
    [
        _nothing,
        lambda self, x, e: 1 / 0,
        lambda self, x, e: x[99999],
        lambda self, x, e: x.cuda(),
        lambda self, x, e: x.view(3, -1),
        lambda self, x, e: self.nope,
        lambda self, x, e: iter([x]),
        lambda self, x, e: x.to_sparse(),
        lambda self, x, e: torch.sparse_coo_tensor(e, x.new_ones(e.size(1)), (len(x), len(x))).to_dense() @ x,
        lambda self, x, e: x.as_strided((2, 2), (1, 1)),
        lambda self, x, e: [],
        lambda self, x, e: e[0],
    ],
)
@pytest.mark.parametrize("options", [{}, {"features": 8, "unused": ["*"]}])
def test_no_error_of_torch_gets_through(function, options):
    with pytest.raises(ModelError):
        Model.from_pyg(Raises(function).eval(), **options)


def test_an_error_outside_of_forward_is_the_modules_own():
    class Doubles(Conv):
        def double(self):
            raise KeyError("no double")

    net = Doubles.__new__(Doubles)
    nn.Module.__init__(net)
    net.conv = GCNConv(8, 4)
    refused(net, "cannot import this model: Doubles raises KeyError: 'no double'", features=8)
