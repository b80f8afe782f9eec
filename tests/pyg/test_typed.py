"""Models with several node and edge types: imported, interpreted and run on blocks, against PyG in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch_geometric.nn import (
    MLP,
    FiLMConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GENConv,
    GINConv,
    GraphConv,
    HeteroConv,
    LayerNorm,
    ResGatedGraphConv,
    SAGEConv,
    TransformerConv,
    to_hetero,
)

from pipeline import Graph, prepare
from pipeline.errors import ModelError
from pipeline.formula import interpret
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.prepared import open_graph
from pipeline.run.fused import run_fused
from pipeline.schema import EdgeType
from tests.typed import TypedGraph, random_graph

BLOCKS = (1, 3, 8)
TOLERANCE = 1e-10  # in float64, of the largest number
ROUNDED = 1e-7  # where torch has computed weights from weights: a model holds them in float32

WIDTHS = {"paper": 5, "author": 3, "venue": 4}
TRIPLES = [
    ("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "rev_writes", "author"),
    ("venue", "hosts", "paper"),
]  # fmt: skip
METADATA = (list(WIDTHS), TRIPLES)
TYPES = [EdgeType(*each) for each in TRIPLES]


def graph(counts: tuple[int, int, int] = (40, 25, 11), edges: int = 90, **options: Any) -> TypedGraph:
    return random_graph(dict(zip(WIDTHS, counts, strict=True)), dict.fromkeys(TYPES, edges), WIDTHS, **options)


GRAPHS = {
    "random": graph(),
    "other sizes": graph((7, 60, 30), 150, seed=1),
    "no papers": graph((0, 25, 11)),
    "no authors": graph((40, 0, 11)),
    "no venues": graph((40, 25, 0)),
    "no edges": graph(edges=0),
}


def triple(kind: EdgeType) -> tuple[str, str, str]:
    return kind.source, kind.relation, kind.target


def tensors(given: TypedGraph, kind: torch.dtype = torch.float64) -> dict[str, Any]:
    """As PyG's own HeteroData gives them: x_dict, edge_index_dict, and a dict for each edge column."""
    found: dict[str, Any] = {
        "x_dict": {name: torch.from_numpy(columns["x"]).to(kind) for name, columns in given.x.items()},
        "edge_index_dict": {triple(each): torch.from_numpy(np.stack(ends)) for each, ends in given.ends.items()},
    }
    for each, columns in given.values.items():
        for name, column in columns.items():
            found.setdefault(f"{name}_dict", {})[triple(each)] = torch.from_numpy(column).to(kind)
    return found


def by_key(outputs: Any, of: str = "") -> dict[str, Any]:
    if isinstance(outputs, torch.Tensor):
        return {f"{of}.output": outputs}
    return {f"{name}.output": tensor for name, tensor in outputs.items() if tensor is not None}


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a part of the largest number."""
    assert found.shape == expected.shape
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))


def assert_same(
    net: nn.Module,
    graphs: Mapping[str, TypedGraph] = GRAPHS,
    of: str = "",
    run: Callable[..., Any] | None = None,
    **options: Any,
) -> Model:
    """Imports a module; compares it on each graph with PyG in float64: interpreted, and run on blocks."""
    model = Model.from_pyg(net.eval(), **options)
    run = run or (lambda module, inputs: module(**inputs))
    exact = copy.deepcopy(net).double()
    tolerance = ROUNDED if any(name.startswith("derived") for name in model.weights) else TOLERANCE
    for name, given in graphs.items():
        with torch.no_grad():
            expected = {key: each.numpy() for key, each in by_key(run(exact, tensors(given)), of).items()}
            single = by_key(run(net, tensors(given, torch.float32)), of)
        found = interpret(model.program, model.weights, given.arrays)
        assert found.keys() == expected.keys(), name
        own = max(error(each.double().numpy(), expected[key]) for key, each in single.items())
        limit = max(4 * own, 1e-6)
        assert max(error(found[key], expected[key]) for key in expected) < tolerance, name
        for count in BLOCKS:
            blocks = given.blocks(count)
            outputs = run_fused(Plan.of(model), blocks)
            for key in expected:
                whole = given.whole(key.partition(".")[0], blocks, [each[key] for each in outputs])
                assert error(whole, expected[key]) <= limit, (name, count, key)
    return model


def sage(widths: Any, out: int) -> nn.Module:
    return SAGEConv(widths, out)


def gat(widths: Any, out: int) -> nn.Module:
    return GATConv(widths, out // 2, heads=2, add_self_loops=False)


def gatv2(widths: Any, out: int) -> nn.Module:
    return GATv2Conv(widths, out // 2, heads=2, add_self_loops=False)


def graph_conv(widths: Any, out: int) -> nn.Module:
    return GraphConv(widths, out)


class Layers(nn.Module):
    """Two layers of HeteroConv; venues only send, so the second layer knows none."""

    def __init__(self, make: Callable[[Any, int], nn.Module], aggr: str = "sum"):
        super().__init__()
        torch.manual_seed(1)
        widths = {(s, r, d): (WIDTHS[s], WIDTHS[d]) if s != d else WIDTHS[s] for s, r, d in TRIPLES}
        self.first = HeteroConv({kind: make(each, 8) for kind, each in widths.items()}, aggr)
        self.second = HeteroConv(
            {kind: make((8, 8) if kind[0] != kind[2] else 8, 6) for kind in TRIPLES if kind[0] != "venue"}, aggr
        )

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = {name: x.relu() for name, x in self.first(x_dict, edge_index_dict).items()}
        return self.second(x_dict, edge_index_dict)


@pytest.mark.filterwarnings("ignore:There exist node types")
@pytest.mark.parametrize("make", [sage, gat, gatv2, graph_conv])
def test_layers_by_relation(make: Callable[[Any, int], nn.Module]) -> None:
    assert_same(Layers(make))


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_a_layer_that_fails_where_a_type_has_no_nodes() -> None:
    """PyG's median takes rows of what it has sorted, which torch refuses where there are none."""
    net = Layers(lambda widths, out: SAGEConv(widths, out, aggr="median"))
    assert_same(net, {"random": GRAPHS["random"]})


@pytest.mark.filterwarnings("ignore:There exist node types")
@pytest.mark.parametrize("aggr", ["mean", "max", "min", "cat"])
def test_relations_are_joined_in_each_way(aggr: str) -> None:
    net = Layers(sage, aggr)
    if aggr == "cat":
        net.second = HeteroConv({("author", "writes", "paper"): SAGEConv((8, 24), 6)}, aggr)
    assert_same(net)


@pytest.mark.filterwarnings("ignore:There exist node types")
def test_hetero_conv_by_itself_and_in_a_wrapper() -> None:
    """Its forward is (*args_dict, **kwargs_dict)."""
    torch.manual_seed(6)
    layer = HeteroConv({kind: SAGEConv((WIDTHS[kind[0]], WIDTHS[kind[2]]), 4) for kind in TRIPLES})
    assert_same(layer)
    assert_same(Handing(layer))


class Shared(nn.Module):
    """One layer for all relations, twice."""

    def __init__(self, aggr: str) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.encode = nn.ModuleDict({name: nn.Linear(width, 4) for name, width in WIDTHS.items()})
        self.layer = HeteroConv(dict.fromkeys(BACK, SAGEConv((4, 4), 4)), aggr)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = {name: self.encode[name](x) for name, x in x_dict.items()}
        for _ in range(2):
            x_dict = {name: x.relu() for name, x in self.layer(x_dict, edge_index_dict).items()}
        return x_dict


@pytest.mark.parametrize("aggr", ["sum", "max"])
def test_one_layer_for_all_relations(aggr: str) -> None:
    """What it makes of the targets is one value, and there once for each relation."""
    assert_same(Shared(aggr), BACK_GRAPHS)


class Mixed(nn.Module):
    """A layer of another kind for each relation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.first = HeteroConv({kind: SAGEConv((WIDTHS[kind[0]], WIDTHS[kind[2]]), 6) for kind in BACK})
        layers = [
            TransformerConv((6, 6), 3, heads=2, beta=True), GINConv(MLP([6, 6])), ResGatedGraphConv((6, 6), 6),
            FiLMConv((6, 6), 6), GENConv((6, 6), 6, norm="layer"),
        ]  # fmt: skip
        self.second = HeteroConv(dict(zip(BACK, layers, strict=True)))

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.second({k: x.relu() for k, x in self.first(x_dict, edge_index_dict).items()}, edge_index_dict)


def test_a_layer_of_another_kind_for_each_relation() -> None:
    edges = {kind: 60 * (number % 2) for number, kind in enumerate(BACK_TYPES)}
    few = random_graph({"paper": 40, "author": 25, "venue": 11}, edges, WIDTHS, seed=3)
    assert_same(Mixed(), {"random": BACK_GRAPHS["random"], "some without edges": few})


class Handing(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


BACK = [*TRIPLES, ("paper", "rev_hosts", "venue")]
BACK_TYPES = [EdgeType(*each) for each in BACK]
BACK_GRAPHS = {
    name: random_graph(dict(zip(WIDTHS, counts, strict=True)), dict.fromkeys(BACK_TYPES, 80), WIDTHS)
    for name, counts in {"random": (40, 25, 11), "no authors": (30, 0, 9)}.items()
}


class OneType(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), 6)

    def forward(self, x: Any, edge_index: Any) -> Any:
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_to_hetero() -> None:
    torch.manual_seed(2)
    net = to_hetero(OneType(), (list(WIDTHS), BACK), aggr="mean")
    given = tensors(BACK_GRAPHS["random"], torch.float32)
    with torch.no_grad():
        net(*given.values())  # the lazy layers learn their widths
    metadata = (list(WIDTHS), BACK)
    assert_same(net, BACK_GRAPHS, run=lambda module, inputs: module(*inputs.values()), metadata=metadata)


class Relational(nn.Module):
    """As RelBench's: a linear map by type, layers of relations, a norm by type, a head on one type."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.encode = nn.ModuleDict({name: nn.Linear(width, 8) for name, width in WIDTHS.items()})
        self.layers = nn.ModuleList(HeteroConv({kind: SAGEConv((8, 8), 8) for kind in BACK}) for _ in range(2))
        self.norms = nn.ModuleList(nn.ModuleDict({name: LayerNorm(8, mode="node") for name in WIDTHS}) for _ in "12")
        self.head = MLP([8, 8, 1], norm="batch_norm")

    def forward(self, x_dict: Any, edge_index_dict: Any, num_sampled_nodes_dict: Any = None) -> Any:
        x_dict = {name: self.encode[name](x) for name, x in x_dict.items()}
        for layer, norms in zip(self.layers, self.norms, strict=True):
            x_dict = {name: norms[name](x).relu() for name, x in layer(x_dict, edge_index_dict).items()}
        return self.head(x_dict["paper"])


def test_relational_model() -> None:
    model = assert_same(Relational(), BACK_GRAPHS, of="paper")
    assert model.program.output_types == ("paper",)
    assert any("author" in name for name in model.about.unread)  # of the last layer, nobody reads the authors


class Edged(nn.Module):
    """Says nothing of its types: they come from like=. Edge features of one relation only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.cites = GATConv(5, 4, heads=2, edge_dim=3)
        self.writes = SAGEConv((3, 5), 8)

    def forward(self, x_dict: Any, edge_index_dict: Any, edge_attr_dict: Any) -> Any:
        cites, writes = ("paper", "cites", "paper"), ("author", "writes", "paper")
        paper = x_dict["paper"]
        cited = self.cites(paper, edge_index_dict[cites], edge_attr_dict[cites])
        return {"paper": cited + self.writes((x_dict["author"], paper), edge_index_dict[writes])}


EDGED = {TYPES[0]: {"year": None}, TYPES[1]: {"edge_attr": 3}}
EDGED_GRAPHS = {
    "random": random_graph({"paper": 40, "author": 25}, dict.fromkeys(TYPES[:2], 90), {"paper": 5, "author": 3},
                           values=EDGED),
    "no authors": random_graph({"paper": 30, "author": 0}, dict.fromkeys(TYPES[:2], 60), {"paper": 5, "author": 3},
                               values=EDGED),
}  # fmt: skip


def tables_of(given: TypedGraph) -> Graph:
    """Features of papers in one column of arrays, those of authors in three columns."""
    papers = pa.table({"id": np.arange(given.counts["paper"]), "x": list(given.x["paper"]["x"].astype(np.float32))})
    author = given.x["author"]["x"]
    authors = pa.table({"id": np.arange(len(author)), **{f"a{at}": author[:, at] for at in range(3)}})
    edges = {}
    for kind, (src, dst) in given.ends.items():
        columns = {name: list(column.astype(np.float32)) for name, column in given.values[kind].items()}
        edges[triple(kind)] = pa.table({"src": src, "dst": dst, **columns})
    return Graph(
        {"paper": papers, "author": authors},
        edges,
        features={"author": ["a0", "a1", "a2"]},
        edge_features={triple(TYPES[0]): "year", triple(TYPES[1]): "edge_attr"},
    )


def run_edged(module: nn.Module, inputs: Any) -> Any:
    return module(inputs["x_dict"], inputs["edge_index_dict"], inputs["edge_attr_dict"])


@pytest.mark.parametrize("kind", ["tables", "prepared"])
def test_like_the_graph_that_it_is_for(kind: str, tmp_path: Path) -> None:
    like: Any = tables_of(EDGED_GRAPHS["random"])
    if kind == "prepared":
        prepare(like, tmp_path / "graph", blocks=2)
        like = open_graph(tmp_path / "graph")
    model = assert_same(Edged(), EDGED_GRAPHS, run=run_edged, like=like)
    assert {name for name in model.inputs if name.startswith("edges")} == {"edges[paper__cites__paper].edge_attr"}


def test_what_like_cannot_be() -> None:
    nodes = pa.table({"id": [1], "x": [1.0]})
    untyped = Graph(nodes, pa.table({"src": [1], "dst": [1]}))
    with pytest.raises(ModelError, match="like is a graph without types; it tells nothing"):
        Model.from_pyg(Edged().eval(), like=untyped)
    with pytest.raises(ModelError, match="like is dict; a HeteroData, a Graph or a prepared graph is expected"):
        Model.from_pyg(Edged().eval(), like={"x": 3})


class WithLoops(nn.Module):
    """Layers that complete self-loops, on the one relation within a type."""

    def __init__(self, make: Callable[[], nn.Module], edges: bool) -> None:
        super().__init__()
        torch.manual_seed(9)
        self.cites, self.writes, self.edges = make(), SAGEConv((3, 5), 8), edges

    def forward(self, x_dict: Any, edge_index_dict: Any, edge_attr_dict: Any) -> Any:
        cites, writes = ("paper", "cites", "paper"), ("author", "writes", "paper")
        paper = x_dict["paper"]
        more = (edge_attr_dict[cites],) if self.edges else ()
        cited = self.cites(paper, edge_index_dict[cites], *more)
        return {"paper": cited + self.writes((x_dict["author"], paper), edge_index_dict[writes])}


@pytest.mark.parametrize(
    ("make", "edges"),
    [
        (lambda: GCNConv(5, 8), False),
        (lambda: GATConv(5, 4, heads=2), False),
        (lambda: GATConv(5, 4, heads=2, edge_dim=3), True),
        (lambda: GATv2Conv(5, 8, edge_dim=3, fill_value=0.5), True),
    ],
)
def test_self_loops_within_a_type(make: Callable[[], nn.Module], edges: bool) -> None:
    inputs = None if edges else {"edge_attr_dict": None}
    like = tables_of(EDGED_GRAPHS["random"])
    assert_same(WithLoops(make, edges), EDGED_GRAPHS, run=run_edged, like=like, inputs=inputs)


def test_self_loops_between_two_types() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.writes = GATConv((3, 5), 8)

        def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
            ends = (x_dict["author"], x_dict["paper"])
            return {"paper": self.writes(ends, edge_index_dict["author", "writes", "paper"])}

    message = r"GATConv.*adds self-loops to edges between two types; make this layer with add_self_loops=False"
    with pytest.raises(ModelError, match=message):
        Model.from_pyg(Wrong().eval(), metadata=(["author", "paper"], TRIPLES[:1]))
