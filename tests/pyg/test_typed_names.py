"""Types as people have them: more than ten, awkward names, some without features; and arguments that sampling adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import HeteroConv, HeteroDictLinear, SAGEConv
from torch_geometric.utils import trim_to_layer

from pipeline.errors import ModelError
from pipeline.formula import interpret
from pipeline.formula.program import output_key
from pipeline.model import Model
from pipeline.schema import EdgeType
from tests.typed import TypedGraph, random_graph

Triple = tuple[str, str, str]


def ring(names: Sequence[str], relations: Sequence[str]) -> list[Triple]:
    """An edge type from each node type to the next one."""
    return list(zip(names, relations, [*names[1:], names[0]], strict=True))


def assert_same(net: nn.Module, model: Model, given: TypedGraph, **columns: str) -> None:
    """A module in float64 and its program on a graph. `columns`: argument of forward → column of the nodes."""
    inputs: dict[str, Any] = {
        argument: {name: torch.from_numpy(held[column]) for name, held in given.x.items() if column in held}
        for argument, column in {"x_dict": "x", **columns}.items()
    }
    edges = {
        (kind.source, kind.relation, kind.target): torch.from_numpy(np.stack(ends)) for kind, ends in given.ends.items()
    }
    with torch.no_grad():
        expected = net.double().eval()(edge_index_dict=edges, **inputs)
    found = interpret(model.program, model.weights, given.arrays)
    assert found.keys() == {output_key(name, "output") for name in expected}
    for name, values in expected.items():
        np.testing.assert_allclose(found[output_key(name, "output")], values.numpy(), atol=1e-6)


class Encoded(nn.Module):
    """HeteroDictLinear of many types takes a segmented product where pyg-lib is installed."""

    def __init__(self, widths: dict[str, int], kinds: list[Triple], encode: bool = True) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.encode = HeteroDictLinear(widths, 4) if encode else None
        self.conv = HeteroConv({kind: SAGEConv((4, 4), 4) for kind in kinds})

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.conv(x_dict if self.encode is None else self.encode(x_dict), edge_index_dict)


def test_twelve_types() -> None:
    names = [f"type{number}" for number in range(12)]
    widths = {name: 3 + number % 4 for number, name in enumerate(names)}
    kinds = ring(names, ["to"] * 12)
    model = Model.from_pyg(Encoded(widths, kinds).eval())
    for empty in (None, "type3"):
        counts = {name: 0 if name == empty else 20 + number for number, name in enumerate(names)}
        given = random_graph(counts, {EdgeType(*kind): 60 for kind in kinds}, widths)
        assert_same(Encoded(widths, kinds), model, given)


AWKWARD = ["bank card", "a-b", "a b", "c:d", "class", "1st", "größe"]  # PyG makes one name of a-b and a b in to_hetero


def test_awkward_names() -> None:
    kinds = ring(AWKWARD, ["is in", "rev_to", "to", "x__y", "from", "%20", "def"])
    widths = dict.fromkeys(AWKWARD, 4)
    model = Model.from_pyg(Encoded(widths, kinds, encode=False).eval())
    counts = {name: 15 + number for number, name in enumerate(AWKWARD)}
    assert_same(
        Encoded(widths, kinds, encode=False),
        model,
        random_graph(counts, {EdgeType(*kind): 60 for kind in kinds}, widths),
    )


HAS = ("city", "has", "user")


class WithoutFeatures(nn.Module):
    """Cities have no features: a constant stands for them, or rows of a table that belongs to the model."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.city = nn.Embedding(30, 2) if learned else None
        self.conv = SAGEConv((2, 4), 4)

    def forward(self, x_dict: Any, edge_index_dict: Any, n_id_dict: Any) -> Any:
        number = n_id_dict["city"]
        city = number.new_ones(number.size(0), 2) if self.city is None else self.city(number.long())
        return {"user": self.conv((city, x_dict["user"]), edge_index_dict[HAS])}


@pytest.mark.parametrize("learned", [True, False])
def test_a_type_without_features(learned: bool) -> None:
    model = Model.from_pyg(
        WithoutFeatures(learned).eval(),
        metadata=(["user", "city"], [HAS]),
        inputs={"x_dict": {"user": "x"}, "n_id_dict": {"city": "n_id"}},
        features={"n_id_dict": {"city": range(30)}},
    )
    assert set(model.inputs) == {"nodes[user].x", *(["nodes[city].n_id"] if learned else [])}
    for users, cities in ((40, 30), (5, 60)):
        given = random_graph({"user": users, "city": cities}, {EdgeType(*HAS): 80}, {"user": 4})
        columns = {"n_id": np.random.default_rng(3).integers(0, 30, cities).astype(float)}
        given = TypedGraph(given.counts, given.ends, {**given.x, "city": columns})
        assert_same(WithoutFeatures(learned), model, given, n_id_dict="n_id")


WRITES, BACK, CITES = ("author", "writes", "paper"), ("paper", "rev_writes", "author"), ("paper", "cites", "paper")


class Sampled(nn.Module):
    """Takes what a loader of sampled neighbourhoods adds; of a whole graph there is nothing to trim."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        widths = ({"paper": 5, "author": 3}, {"paper": 4, "author": 4})
        self.layers = nn.ModuleList(
            HeteroConv({kind: SAGEConv((each[kind[0]], each[kind[2]]), 4) for kind in (WRITES, BACK, CITES)})
            for each in widths
        )

    def forward(
        self, x_dict: Any, edge_index_dict: Any, num_sampled_nodes_dict: Any = None, num_sampled_edges_dict: Any = None
    ) -> Any:
        for number, layer in enumerate(self.layers):
            if num_sampled_nodes_dict is not None:
                x_dict, edge_index_dict, _ = trim_to_layer(
                    number, num_sampled_nodes_dict, num_sampled_edges_dict, x_dict, edge_index_dict
                )
            x_dict = layer(x_dict, edge_index_dict)
        return {"paper": x_dict["paper"]}


class Seeds(Sampled):
    """The seeds of a batch come first, and only they are wanted."""

    def forward(self, x_dict: Any, edge_index_dict: Any, batch_size: Any = None) -> Any:  # type: ignore[override]
        return {"paper": super().forward(x_dict, edge_index_dict)["paper"][:batch_size]}


class Required(Seeds):
    def forward(self, x_dict: Any, edge_index_dict: Any, batch_size: Any) -> Any:  # type: ignore[override]
        return super().forward(x_dict, edge_index_dict, batch_size)


SAMPLED = random_graph(
    {"paper": 40, "author": 25}, {EdgeType(*kind): 90 for kind in (WRITES, BACK, CITES)}, {"paper": 5, "author": 3}
)


def test_what_sampling_adds() -> None:
    model = Model.from_pyg(Sampled().eval())
    assert model.about.left_out == ("num_sampled_nodes_dict", "num_sampled_edges_dict")
    assert_same(Sampled(), model, SAMPLED)


def test_the_seeds_of_a_batch_are_all_nodes() -> None:
    with pytest.raises(ModelError, match="forward takes 'batch_size': say where it comes from"):
        Model.from_pyg(Required().eval())
    for net, inputs in ((Required(), {"batch_size": None}), (Seeds(), None)):
        assert_same(Seeds(), Model.from_pyg(net.eval(), inputs=inputs), SAMPLED)
