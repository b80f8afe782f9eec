"""Typed modules of PyG beside HeteroConv and HGTConv, and models as their users write them. Against PyG in float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    HANConv,
    HeteroBatchNorm,
    HeteroConv,
    HeteroDictLinear,
    HeteroJumpingKnowledge,
    HeteroLayerNorm,
    HGTConv,
    JumpingKnowledge,
    PositionalEncoding,
    SAGEConv,
    to_hetero,
    to_hetero_with_bases,
)

from pipeline.errors import ModelError
from pipeline.formula import interpret
from pipeline.model import Model
from pipeline.schema import EdgeType, GraphSchema
from tests.pyg.test_typed import BACK, BACK_GRAPHS, METADATA, WIDTHS, OneType, assert_same, graph, tensors
from tests.typed import random_graph

BACK_METADATA = (list(WIDTHS), BACK)


class Attentive(nn.Module):
    """HAN: attention over the edges of each relation, then over relations, by totals over all nodes of a type."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = HANConv(dict(WIDTHS), 8, BACK_METADATA, heads=2)
        self.second = HANConv(8, 6, BACK_METADATA, heads=1)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.second(self.first(x_dict, edge_index_dict), edge_index_dict)


def test_han() -> None:
    assert_same(Attentive(), BACK_GRAPHS)


def test_han_gives_nothing_of_a_type_without_relations() -> None:
    torch.manual_seed(2)
    model = assert_same(HANConv(dict(WIDTHS), 8, METADATA, heads=2), {"random": graph()})
    assert model.program.output_types == ("paper", "author")  # venues only send


class Normed(nn.Module):
    """Norms with a row of statistics for each type, told by a vector of types or by where each type begins."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.kind = kind
        self.encode = HeteroDictLinear(dict(WIDTHS), 6)
        self.norm = HeteroBatchNorm(6, 3) if kind == "batch" else HeteroLayerNorm(6, 3)
        for tensor in [*self.norm.parameters(), *self.norm.buffers()]:
            if tensor.dtype.is_floating_point:
                nn.init.uniform_(tensor, 0.5, 1.5)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        sizes = [x.size(0) for x in x_dict.values()]
        x = torch.cat(list(x_dict.values()))
        if self.kind == "layer by pointers":
            x = self.norm(x, type_ptr=[0, sizes[0], sizes[0] + sizes[1], sum(sizes)])
        else:
            x = self.norm(x, torch.cat([torch.full((size,), number) for number, size in enumerate(sizes)]))
        return dict(zip(x_dict, x.split(sizes), strict=True))


@pytest.mark.parametrize("kind", ["batch", "layer", "layer by pointers"])
def test_norms(kind: str) -> None:
    assert_same(Normed(kind), BACK_GRAPHS, metadata=BACK_METADATA)


def positional(module: Any, inputs: Any) -> Any:
    """forward of to_hetero calls its dicts as the module's own arguments."""
    return module(*inputs.values())


def initialised(net: nn.Module) -> nn.Module:
    """With the widths of its lazy layers."""
    with torch.no_grad():
        net(*tensors(BACK_GRAPHS["random"], torch.float32).values())
    return net


@pytest.mark.parametrize("aggr", ["sum", "max", "min", "mul"])
def test_to_hetero(aggr: str) -> None:
    torch.manual_seed(4)
    net = initialised(to_hetero(OneType(), BACK_METADATA, aggr=aggr))
    assert_same(net, BACK_GRAPHS, run=positional, metadata=BACK_METADATA)


class Encoded(nn.Module):
    """to_hetero_with_bases wants the same width of every type."""

    def __init__(self, bases: int) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.net = to_hetero_with_bases(Plain(), BACK_METADATA, num_bases=bases, in_channels={"x": 8})

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.net(self.encode(x_dict), edge_index_dict)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(8, 8), SAGEConv(8, 6)

    def forward(self, x: Any, edge_index: Any) -> Any:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_to_hetero_with_bases() -> None:
    assert_same(initialised(Encoded(3)), BACK_GRAPHS, metadata=BACK_METADATA)


class Jumping(nn.Module):
    """Layers whose outputs are joined for each type."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.layers = nn.ModuleList(HeteroConv({kind: SAGEConv((8, 8), 8) for kind in BACK}) for _ in "12")
        self.jump = HeteroJumpingKnowledge(list(WIDTHS), mode, channels=8, num_layers=2)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.encode(x_dict)
        found: dict[str, list[Any]] = {name: [] for name in x_dict}
        for layer in self.layers:
            x_dict = {name: x.relu() for name, x in layer(x_dict, edge_index_dict).items()}
            for name, x in x_dict.items():
                found[name].append(x)
        return self.jump(found)


@pytest.mark.parametrize("mode", ["cat", "max", "lstm"])
def test_jumping_knowledge(mode: str) -> None:
    assert_same(Jumping(mode), {"random": BACK_GRAPHS["random"]})


class WithJump(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.jump = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), 8), JumpingKnowledge("cat")

    def forward(self, x: Any, edge_index: Any) -> Any:
        first = self.first(x, edge_index).relu()
        return self.jump([first, self.second(first, edge_index)])


def test_jumping_knowledge_of_to_hetero() -> None:
    torch.manual_seed(7)
    net = initialised(to_hetero(WithJump(), BACK_METADATA))
    assert_same(net, {"random": BACK_GRAPHS["random"]}, run=positional, metadata=BACK_METADATA)


class OfData(nn.Module):
    """forward(data: HeteroData), with edge features of some relations."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.layer = HeteroConv(
            {
                kind: GATConv((8, 8), 6, add_self_loops=False, edge_dim=2 if kind[1] in FEATURED else None)
                for kind in BACK
            }
        )

    def forward(self, data: HeteroData) -> Any:
        return self.layer(self.encode(data.x_dict), data.edge_index_dict, data.edge_attr_dict)


FEATURED = ("writes", "cites")


def hetero_data(given: Any, kind: torch.dtype) -> HeteroData:
    data = HeteroData()
    found = tensors(given, kind)
    for name, by_type in found.items():
        for key, tensor in by_type.items():
            data[key][name.removesuffix("_dict")] = tensor
    return data


def test_data_with_features_of_some_relations() -> None:
    kinds = [EdgeType(*each) for each in BACK]
    values = {kind: {"edge_attr": 2} for kind in kinds if kind.relation in FEATURED}
    given = random_graph({"paper": 40, "author": 25, "venue": 11}, dict.fromkeys(kinds, 80), WIDTHS, values=values)
    like = hetero_data(given, torch.float32)

    def run(module: Any, inputs: Any) -> Any:
        dtype = next(iter(inputs["x_dict"].values())).dtype
        return module(hetero_data(given, dtype))

    model = assert_same(OfData(), {"random": given}, run=run, like=like)
    read = {str(each) for each in model.columns}
    assert {name for name in read if "edge_attr" in name} == {
        f"edges[{each}].edge_attr" for each in kinds if each.relation in FEATURED
    }


class OfBatch(nn.Module):
    """As RelBench's: forward of a batch, the age of a row added to its type, and more than the batch, mostly."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.encode = HeteroDictLinear(dict(WIDTHS), 8)
        self.age = nn.Linear(8, 8)
        self.position = PositionalEncoding(8)
        self.layer = HeteroConv({kind: SAGEConv((8, 8), 8) for kind in BACK})

    def forward(self, batch: HeteroData, entity_table: str = "paper") -> Any:
        x_dict = self.encode(batch.x_dict)
        for name, time in batch.time_dict.items():
            x_dict[name] = x_dict[name] + self.age(self.position((3e6 - time) / 86400))
        return self.layer(x_dict, batch.edge_index_dict)[entity_table]


class OfBatchAndTable(OfBatch):
    def forward(self, batch: HeteroData, entity_table: str) -> Any:  # type: ignore[override]
        return super().forward(batch, entity_table)


@pytest.mark.parametrize("name", ["time", "time_dict"])
def test_a_batch_with_a_column_of_some_types(name: str) -> None:
    given = BACK_GRAPHS["random"]
    rng = np.random.default_rng(4)
    dated = {kind: {"time": rng.uniform(0, 3e6, given.counts[kind])} for kind in ("paper", "author")}
    given = replace(given, x={kind: {**columns, **dated.get(kind, {})} for kind, columns in given.x.items()})

    def run(module: Any, inputs: Any) -> Any:
        dtype = next(iter(inputs["x_dict"].values())).dtype
        data = hetero_data(given, dtype)
        for kind, columns in dated.items():
            data[kind].time = torch.from_numpy(columns["time"]).to(dtype)
        return module(data)

    inputs = {name: dict.fromkeys(dated, "time")}
    model = assert_same(OfBatch(), {"random": given}, of="paper", run=run, metadata=BACK_METADATA, inputs=inputs)
    assert {column for column in model.inputs if "time" in column} == {"nodes[paper].time", "nodes[author].time"}


class Table(nn.Module):
    """Rows of a learned table in the place of a type's features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(13)
        self.venue = nn.Embedding(11, 4)
        self.layer = HeteroConv({kind: SAGEConv((WIDTHS[kind[0]], WIDTHS[kind[2]]), 6) for kind in BACK})

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.layer({**x_dict, "venue": self.venue.weight}, edge_index_dict)


def test_why_no_width_fits_is_said() -> None:
    with pytest.raises(ModelError, match="looks up a learned table by the number of a node; give node_ids="):
        Model.from_pyg(Table().eval())
    model = Model.from_pyg(Table().eval(), node_ids={"venue": range(11)})
    assert set(model.inputs) == {"nodes[paper].x", "nodes[author].x"}


def test_what_is_taken_beside_a_batch_is_said() -> None:
    message = (
        r"forward takes 'entity_table' beside 'batch', a HeteroData; .* forward\(batch: HeteroData\) calls this one"
    )
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(OfBatchAndTable().eval(), metadata=BACK_METADATA)


class Context(nn.Module):
    """An average over all nodes of a type, NaN where there are none."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(12)
        self.venue, self.paper = nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        context = self.venue(x_dict["venue"]).mean(0, keepdim=True)
        return {"paper": (self.paper(x_dict["paper"]) + context).relu(), "author": x_dict["author"]}


def test_an_average_over_a_type() -> None:
    graphs = {name: BACK_GRAPHS[name] for name in ("random", "no authors")}
    model = assert_same(Context(), graphs, metadata=BACK_METADATA, features={"x_dict": WIDTHS})
    found = interpret(model.program, model.weights, graph((40, 25, 0)).arrays)
    assert np.isnan(found["paper.output"]).all(), "as PyG's"


def test_self_loops_between_two_types_are_the_modules_own_error() -> None:
    message = "forward of Looped failed on an example graph.*does not support bipartite message passing"
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(Looped().eval(), metadata=METADATA, features={"x_dict": {"paper": 4, "author": 4, "venue": 4}})
    with pytest.raises(ValueError, match="'add_self_loops' attribute set to 'True'"):  # before there is a module
        HeteroConv({("author", "writes", "paper"): GATConv((4, 4), 4)})


class Looped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = GCNConv(4, 4)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.layer((x_dict["author"], x_dict["paper"]), edge_index_dict["author", "writes", "paper"])


class LaterLayerWants(nn.Module):
    """Venues only send, so the first layer gives nothing of them; the second one wants them."""

    def __init__(self) -> None:
        super().__init__()
        sender = {("venue", "hosts", "paper"): SAGEConv((4, 5), 4), ("author", "writes", "paper"): SAGEConv((3, 5), 4)}
        self.first = HeteroConv(sender)
        self.second = SAGEConv((4, 4), 4)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = self.first(x_dict, edge_index_dict)
        ends = x_dict["venue"], x_dict["paper"]
        return {"paper": self.second(ends, edge_index_dict["venue", "hosts", "paper"])}


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_a_type_that_only_sends_and_is_wanted_later() -> None:
    message = r"KeyError: 'venue'; .*first \(HeteroConv\) gives nothing of node type 'venue', which later parts lack"
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(LaterLayerWants().eval(), metadata=METADATA, features={"x_dict": WIDTHS})


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_lazy_layers_are_run_once_before() -> None:
    net = HeteroConv({("author", "writes", "paper"): SAGEConv((-1, -1), 4)})
    with pytest.raises(ModelError, match=r"weights without a shape yet .*: run the module once, or load its weights"):
        Model.from_pyg(net.eval())


def schema(**widths: int) -> GraphSchema:
    """That of a graph with all that METADATA names; `widths`: of x, by node type."""
    nodes = {name: {"x": width} for name, width in (WIDTHS | widths).items()}
    return GraphSchema(nodes, {EdgeType(*each): {} for each in METADATA[1]})


def test_a_model_of_several_types_is_checked_against_a_graph() -> None:
    torch.manual_seed(9)
    model = Model.from_pyg(HGTConv(dict(WIDTHS), 8, METADATA).eval())
    model.check_against(schema())
    with pytest.raises(ModelError, match=r"expects nodes\[author\].x of width 3; the graph has width 4"):
        model.check_against(schema(author=4))
    whole = schema()
    hosts = EdgeType("venue", "hosts", "paper")
    without = GraphSchema(whole.nodes, {kind: each for kind, each in whole.edges.items() if kind != hosts})
    message = r"reads edges \(venue, hosts, paper\), of which this graph has no table.*give an empty table"
    with pytest.raises(ModelError, match=message):
        model.check_against(without)
    # as the raw tables of a run are looked at: in both directions
    misspelt = GraphSchema(whole.nodes, {**without.edges, EdgeType("venue", "host", "paper"): {}}).both_ways()
    with pytest.raises(ModelError, match=r"no table \(did you mean 'edges \(venue, host, paper\)'\?\)"):
        model.check_against(misspelt)
    no_venues = GraphSchema({name: each for name, each in whole.nodes.items() if name != "venue"}, without.edges)
    with pytest.raises(ModelError, match=r"reads nodes 'venue'; edges .*, of which this graph has no table"):
        model.check_against(no_venues)


def test_a_model_of_several_types_is_saved_and_loaded(tmp_path: Path) -> None:
    torch.manual_seed(10)
    model = Model.from_pyg(HGTConv(dict(WIDTHS), 8, METADATA, heads=2).eval())
    model.save(tmp_path / "model")
    loaded, arrays = Model.load(tmp_path / "model"), graph().arrays
    expected = interpret(model.program, model.weights, arrays)
    found = interpret(loaded.program, loaded.weights, arrays)
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in found)


class OnlyPapers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = HeteroConv({("author", "writes", "paper"): SAGEConv((3, 5), 4)})

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.layer(x_dict, edge_index_dict)


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_an_input_that_no_output_needs_is_told() -> None:
    model = Model.from_pyg(OnlyPapers().eval(), metadata=METADATA, features={"x_dict": WIDTHS})
    assert "no output depends on x_dict['venue']: the graph needs no such columns" in str(model)
