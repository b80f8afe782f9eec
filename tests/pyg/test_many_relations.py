"""Many relations: each adds to the nodes that have it, one after another. Against PyG in float64."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, HeteroConv, HGTConv, RGCNConv, SAGEConv

from pipeline.formula import Program, interpret, node_input
from pipeline.formula.spaces import Edges, Nodes
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.pyg.arguments import Argument
from pipeline.pyg.example import GRAPHS as GRAPHS_OF_AN_IMPORT
from pipeline.pyg.example import example_of, examples, kinds_of
from pipeline.pyg.sizes import larger_sizes
from pipeline.pyg.types import Types
from pipeline.run import branch as running
from pipeline.run.fused import run_fused
from pipeline.schema import EDGE, NODE, EdgeType
from tests.pyg.test_typed import by_key, error, tensors
from tests.typed import TypedGraph, random_graph
from tests.whole import pushing

WIDTHS = {"paper": 8, "author": 8}
ENDS = [("author", "paper"), ("paper", "author")]
TRIPLES = [(source, f"r{number}", target) for number in range(9) for source, target in ENDS]
METADATA = (list(WIDTHS), TRIPLES)
TYPES = [EdgeType(*each) for each in TRIPLES]


def graph(edges: Callable[[int], int], counts: tuple[int, int] = (60, 40)) -> TypedGraph:
    numbers = {kind: edges(number) for number, kind in enumerate(TYPES)}
    return random_graph(dict(zip(WIDTHS, counts, strict=True)), numbers, WIDTHS)


GRAPHS = {
    "few nodes have each": graph(lambda number: number % 7),
    "some have many": graph(lambda number: 300 if number % 5 == 0 else 6),
    "no authors": graph(lambda _: 9, (60, 0)),
}


class Layers(nn.Module):
    def __init__(self, make: Callable[[], nn.Module], aggr: str = "sum"):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.ModuleList(HeteroConv({kind: make() for kind in TRIPLES}, aggr) for _ in range(2))

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x_dict = {name: x.relu() for name, x in self.layers[0](x_dict, edge_index_dict).items()}
        return self.layers[1](x_dict, edge_index_dict)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.layers = nn.ModuleList(HGTConv(8, 8, METADATA, heads=2) for _ in range(2))

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        for layer in self.layers:
            x_dict = layer(x_dict, edge_index_dict)
        return x_dict


class Relational(nn.Module):
    def __init__(self, relations: int, **options: Any):
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.ModuleList(RGCNConv(8, 8, relations, **options) for _ in range(2))

    def forward(self, x: Any, edge_index: Any, edge_type: Any) -> Any:
        return self.layers[1](self.layers[0](x, edge_index, edge_type).relu(), edge_index, edge_type)


def whole(given: TypedGraph, plan: Plan, count: int, threads: int = 1) -> dict[str, np.ndarray]:
    blocks = given.blocks(count)
    outputs = run_fused(plan, blocks, threads)
    return {
        key: given.whole(key.partition(".")[0] if "." in key else NODE, blocks, [each[key] for each in outputs])
        for key in plan.program.outputs
    }


def branches(plan: Plan) -> list[int]:
    return [len(step.branches) for step in plan.steps]


def assert_same(model: Model, plan: Plan, given: TypedGraph, net: nn.Module, call: Callable[..., Any]) -> None:
    with torch.no_grad():
        expected = call(copy.deepcopy(net).double(), torch.float64)
        own = call(net, torch.float32)
    limit = max(4 * max(error(own[key], expected[key]) for key in expected), 1e-6)
    found = interpret(model.program, model.weights, given.arrays)
    for key, values in expected.items():
        assert error(found[key], values) < 1e-6
    for each in (plan, pushing(plan)):
        for count in (1, 3):
            outputs = whole(given, each, count)
            assert outputs.keys() == expected.keys()
            for key, values in expected.items():
                assert error(outputs[key], values) <= limit, (count, key, each is plan)


@pytest.mark.parametrize(
    ("make", "aggr", "rows"),
    [
        (lambda: SAGEConv((8, 8), 8), "sum", 0.0),
        (lambda: SAGEConv((8, 8), 8), "sum", 0.5),
        (lambda: SAGEConv((8, 8), 8), "sum", 1.0),
        (lambda: SAGEConv((8, 8), 8, aggr="max"), "mean", 0.5),
        (lambda: GATConv((8, 8), 4, heads=2, add_self_loops=False), "sum", 0.5),
    ],
)
def test_relations_by_table(
    make: Callable[[], nn.Module], aggr: str, rows: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether rows are nodes with an edge, or all nodes, or as it is best."""
    monkeypatch.setattr(running, "MOST_ROWS", rows)
    net = Layers(make, aggr).eval()
    model = Model.from_pyg(net, metadata=METADATA, features={"x_dict": WIDTHS})
    plan = Plan.of(model)
    assert branches(plan) == [0, 18, 18]
    for given in GRAPHS.values():

        def call(module: nn.Module, kind: torch.dtype, given: TypedGraph = given) -> dict[str, Any]:
            outputs = by_key(module(**tensors(given, kind)))
            return {key: each.double().numpy() for key, each in outputs.items()}

        assert_same(model, plan, given, net, call)


def test_one_softmax_over_many_relations() -> None:
    net = Transformer().eval()
    model = Model.from_pyg(net, metadata=METADATA, features={"x_dict": WIDTHS})
    plan = Plan.of(model)
    assert branches(plan) == [0, 18, 18], "the state of a softmax of each relation"
    for step in plan.steps[:-1]:
        # key and value of each type, whatever the number of relations; and what the targets are asked for
        assert len({shipment.values for shipment in step.ships}) == 2
        assert sum(value.width for value in step.keeps) <= 2 * 4 * 8
    for given in GRAPHS.values():

        def call(module: nn.Module, kind: torch.dtype, given: TypedGraph = given) -> dict[str, Any]:
            outputs = by_key(module(**tensors(given, kind)))
            return {key: each.double().numpy() for key, each in outputs.items()}

        assert_same(model, plan, given, net, call)


def by_column(nodes: int, edges: int, relations: int, seed: int = 0) -> TypedGraph:
    """Edges with a column of relations, of which some have no edge."""
    rng = np.random.default_rng(seed)
    src, dst = rng.integers(0, max(nodes, 1), (2, edges if nodes else 0))
    kinds = rng.integers(0, relations, len(src)) // 2 * 2.0
    x = rng.normal(size=(nodes, 8))
    return TypedGraph({NODE: nodes}, {EDGE: (src, dst)}, {NODE: {"x": x}}, {EDGE: {"edge_type": kinds}})


@pytest.mark.parametrize(
    ("options", "rows"), [({}, 0.0), ({"aggr": "sum"}, 0.5), ({"num_bases": 3}, 1.0), ({"num_blocks": 2}, 0.5)]
)
def test_relations_by_column(options: dict[str, Any], rows: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "MOST_ROWS", rows)
    net = Relational(12, **options).eval()
    model = Model.from_pyg(net, inputs={"edge_type": "edges.edge_type"}, features={"x": 8, "edge_type": range(12)})
    plan = Plan.of(model)
    assert branches(plan) == [0, 12, 12]
    for given in (by_column(50, 300, 12), by_column(400, 90, 12), by_column(0, 0, 12)):

        def call(module: nn.Module, kind: torch.dtype, given: TypedGraph = given) -> dict[str, Any]:
            x = torch.from_numpy(given.x[NODE]["x"]).to(kind)
            index = torch.from_numpy(np.stack(given.ends[EDGE]))
            kinds = torch.from_numpy(given.values[EDGE]["edge_type"]).long()
            return {"output": module(x, index, kinds).double().numpy()}

        assert_same(model, plan, given, net, call)


def test_the_same_bits_whatever_the_threads() -> None:
    net = Layers(lambda: SAGEConv((8, 8), 8)).eval()
    plan = Plan.of(Model.from_pyg(net, metadata=METADATA, features={"x_dict": WIDTHS}))
    given = GRAPHS["some have many"]
    first = whole(given, plan, 8, 1)
    for threads in (2, 5):
        again = whole(given, plan, 8, threads)
        assert {key: each.tobytes() for key, each in again.items()} == {key: e.tobytes() for key, e in first.items()}


class Some(nn.Module):
    """Of many relations those whose numbers are numbers of rows of the graphs that an import runs on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(6)
        self.lin = nn.Linear(8, 8)

    def forward(self, x: Any, edge_index: Any, edge_type: Any) -> Any:
        for relation in sorted({1, *itertools.chain(*GRAPHS_OF_AN_IMPORT)}):
            src, dst = edge_index[:, edge_type == relation]
            x = x + relation * torch.zeros_like(x).index_add(0, dst, self.lin(x)[src])
        return x


def test_the_number_of_a_relation_is_no_number_of_rows() -> None:
    net = Some().eval()
    kinds = max(map(max, GRAPHS_OF_AN_IMPORT)) + 1
    model = Model.from_pyg(net, inputs={"edge_type": "edges.edge_type"}, features={"x": 8, "edge_type": range(kinds)})
    given = by_column(30, 4 * kinds, kinds)
    given.values[EDGE]["edge_type"][::3] = 211
    with torch.no_grad():
        expected = copy.deepcopy(net).double()(
            torch.from_numpy(given.x[NODE]["x"]),
            torch.from_numpy(np.stack(given.ends[EDGE])),
            torch.from_numpy(given.values[EDGE]["edge_type"]).long(),
        )
    found = interpret(model.program, model.weights, given.arrays)
    np.testing.assert_allclose(found["output"], expected.numpy(), rtol=1e-9)


def test_only_the_recorded_graph_is_larger_than_the_number_of_relations() -> None:
    """Work for each relation and row is done on all of them; and on one there is an edge of each relation."""
    kind = Argument("edge_type", "edges.edge_type", (), below=4000)
    recorded, *others = examples((kind,), {64})
    assert min(recorded.sizes.counts.values()) > 4000
    sizes = [(each.sizes.counts[Nodes()], each.sizes.counts[Edges()]) for each in others]
    assert sizes == [(nodes, proper + loops) for nodes, proper, loops in GRAPHS_OF_AN_IMPORT[1:]]
    program = Program({"y": node_input("x", (4096,))})  # of which a large graph would cost much
    larger = example_of((kind,), *larger_sizes(program, kinds=kinds_of((kind,))), {64})
    assert set(larger.columns["edge_type"].tolist()) == set(range(4000))


@pytest.mark.parametrize("relations", [20, 400, 2000])
def test_every_relation_of_an_example_has_its_own_number_of_edges(relations: int) -> None:
    """And none that is a constant of many forwards: new_ones fills with 1."""
    pairs = [("a", "a"), ("a", "b"), ("b", "a")]
    edges = tuple(EdgeType(*pairs[number % 3][:1], f"r{number}", pairs[number % 3][1]) for number in range(relations))
    drawn = next(examples((), {64}, types=Types(("a", "b"), edges)))
    counts = list(drawn.sizes.counts.values())
    assert len(set(counts)) == len(counts)
    assert min(counts) > 28
    assert 64 not in counts
    assert {kind: index.shape[1] for kind, index in drawn.edge_indices.items()} == {
        kind: drawn.sizes.counts[Edges(kind)] for kind in edges
    }
