"""`forward(data)`: every attribute that it asks for has to be named, in whatever way it asks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Data
from torch_geometric.nn import GATv2Conv, GCNConv, GraphConv, SAGEConv

from pipeline.errors import ModelError
from pipeline.formula import GraphArrays, interpret
from pipeline.pyg import import_module
from pipeline.schema import EDGE, NODE
from tests.pyg.graphs import GRAPHS, assert_close


class Asks(nn.Module):
    """Takes its weights from data in one of many ways."""

    def __init__(self, ask):
        super().__init__()
        self.ask, self.conv = ask, GCNConv(4, 2)

    def forward(self, data):
        return self.conv(data.x, data.edge_index, self.ask(data))


def _or_nothing(data):
    try:
        return data["edge_weight"]
    except Exception:
        return None


def _by_conversion(data):
    data = data.clone().to("cpu").contiguous()
    return copy.copy(data).edge_weight


def _by_pop(data):
    return data._store.pop("edge_weight", None)


ASKED = {
    "attribute": lambda data: data.edge_weight,
    "key": lambda data: data["edge_weight"],
    "getattr": lambda data: getattr(data, "edge_weight", None),
    "in": lambda data: data.edge_weight if "edge_weight" in data else None,
    "in keys": lambda data: data.edge_weight if "edge_weight" in data.keys() else None,  # noqa: SIM118
    "get": lambda data: data.get("edge_weight"),
    "to_dict": lambda data: data.to_dict().get("edge_weight"),
    "store": lambda data: data.stores[0].get("edge_weight", None),
    "called": lambda data: dict(data("edge_weight")).get("edge_weight"),
    "error caught": _or_nothing,
    "copy": _by_conversion,
    "pop": _by_pop,
    "inside a loop": lambda data: {name: getattr(data, name, None) for name in ("x", "edge_weight")}["edge_weight"],
}
HINT = (
    r"forward reads data.edge_weight, which inputs does not name: give inputs={'edge_weight': 'edges.COLUMN'}, or "
    r"inputs={'edge_weight': None} if data has none"
)


def numbers(net, data, inputs, graph, weights):
    """The import's numbers on one of the awkward graphs, and the module's own."""
    program, arrays, _ = import_module(net.eval(), inputs=inputs, features={"x": 4})
    nodes, src, dst = graph
    x = np.random.default_rng(0).normal(size=(nodes, 4))
    edges = {"edge_weight": weights} if data else {}
    ends = np.array(src, int), np.array(dst, int)
    found = interpret(program, arrays, GraphArrays({NODE: nodes}, {EDGE: ends}, {NODE: {"x": x}}, {EDGE: edges}))
    given = Data(x=torch.from_numpy(x), edge_index=torch.tensor([src, dst]))
    if data:
        given.edge_weight = torch.from_numpy(weights)
    torch.set_default_dtype(torch.float64)  # of what forward makes without a dtype
    try:
        with torch.no_grad():
            return found["output"], copy.deepcopy(net).double()(given).numpy()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("way", ASKED)
def test_an_attribute_that_was_not_named(way):
    with pytest.raises(ModelError) as caught:
        import_module(Asks(ASKED[way]).eval())
    assert str(caught.value) == HINT


@pytest.mark.parametrize("way", ASKED)
def test_an_attribute_that_is_a_column(way):
    graph = GRAPHS["random"]
    weights = np.random.default_rng(1).uniform(0.1, 2, len(graph[1]))
    assert_close(*numbers(Asks(ASKED[way]), True, {"edge_weight": "edges.weight"}, graph, weights), way)


@pytest.mark.parametrize("way", [way for way in ASKED if way != "key"])
def test_an_attribute_that_is_not_there(way):
    assert_close(*numbers(Asks(ASKED[way]), False, {"edge_weight": None}, GRAPHS["random"], None), way)


def test_what_the_author_said_is_none_is_as_absent_as_in_pyg():
    with pytest.raises(ModelError, match=r"failed on an example graph .*KeyError: 'edge_weight'"):
        import_module(Asks(ASKED["key"]).eval(), inputs={"edge_weight": None}, features={"x": 4})


def test_all_of_them_are_named_at_once():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = SAGEConv(4, 2)

        def forward(self, data):
            h = self.conv(data.x, data.edge_index)
            if hasattr(data, "angle"):
                h = h + data.angle.sum(1, keepdim=True)
            return h if data.edge_attr is None else h * 2

    with pytest.raises(ModelError) as caught:
        import_module(Several().eval())
    assert str(caught.value) == (
        "forward reads data.angle and data.edge_attr, which inputs does not name: give inputs={'angle': "
        "'nodes.COLUMN', 'edge_attr': 'edges.COLUMN'}, or inputs={'angle': None, 'edge_attr': None} if data has none"
    )


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = GATv2Conv(4, 2, edge_dim=3)

    def forward(self, batch):
        return self.conv(batch.x, batch.edge_index, batch.edge_attr)


def test_a_module_inside_that_takes_data_under_another_name():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, data):
            return self.inner(data)

    with pytest.raises(ModelError, match=r"forward reads data.edge_attr, which inputs does not name"):
        import_module(Outer().eval())
    columns = import_module(Outer().eval(), inputs={"edge_attr": "edges.e"}, features={"x": 4, "edge_attr": 3})[2]
    assert columns == {"nodes.x": "nodes.x", "edges.edge_attr": "edges.e"}


def test_what_forward_has_stored_itself_is_there():
    class Stores(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GraphConv(4, 2)

        def forward(self, data):
            data.edge_weight = torch.ones(data.num_edges) / data.num_nodes * data.num_nodes
            data = data.clone()
            data.hidden = self.conv(data.x, data.edge_index, data.edge_weight)
            return data["hidden"]

    import_module(Stores().eval())


WHOLE = {
    "keys": lambda data: list(data.keys()),
    "loop": lambda data: [key for key, _ in data],
    "to_namedtuple": lambda data: data.to_namedtuple(),
    "length": len,
    "items of the store": lambda data: dict(data.stores[0].items()),
    "its attributes": lambda data: list(data._store._mapping),
    "node attributes": lambda data: data.node_attrs(),
    "a subgraph": lambda data: data.subgraph(torch.arange(3)),
}


@pytest.mark.parametrize("way", WHOLE)
def test_everything_that_data_holds(way):
    def ask(data):
        try:
            WHOLE[way](data)
        except Exception:
            return None
        return None

    message = (
        r"^forward looks over everything that data holds \(keys\(\), to_dict\(\), a loop\); what else the author's "
    )
    with pytest.raises(
        ModelError, match=message + "data holds is not known here: let forward take each attribute by its"
    ):
        import_module(Asks(ask).eval(), inputs={"edge_weight": "edges.w"}, features={"x": 4})


@pytest.mark.parametrize("question", ["is_undirected", "has_self_loops", "has_isolated_nodes", "is_coalesced"])
def test_a_question_about_the_graph(question):
    def ask(data):
        return torch.ones(data.num_edges) if getattr(data, question)() else None

    with pytest.raises(
        ModelError, match=rf"forward asks data.{question}\(\), whose answer depends on the graph; a progr"
    ):
        import_module(Asks(ask).eval())


DERIVED = {
    "num_nodes": lambda data: torch.ones(data.num_edges) * data.num_nodes / data.num_nodes,
    "size": lambda data: torch.ones(data.size(0)).sum() * torch.ones(data.edge_index.size(1)) / data.num_nodes,
    "num_features": lambda data: torch.full((data.num_edges,), float(data.num_features)),
    "num_node_features": lambda data: torch.full((data.num_edges,), float(data.num_node_features)),
    "is_node_attr": lambda data: torch.ones(data.num_edges) if data.is_node_attr("x") else None,
    "printed": lambda data: torch.ones(data.num_edges) * len(str(data)[:4]),
}


@pytest.mark.parametrize("way", DERIVED)
def test_what_pyg_derives_of_what_is_there(way):
    assert_close(*numbers(Asks(DERIVED[way]), False, {}, GRAPHS["random"], None), way)


def test_none_for_an_argument_of_its_own():
    class Takes(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = GCNConv(4, 2)

        def forward(self, x, edge_index, edge_weight):
            return self.conv(x, edge_index, edge_weight)

    found = import_module(Takes().eval(), inputs={"edge_weight": None})
    assert found[2] == {"nodes.x": "nodes.x"}
