"""Each layer against the PyG class that its docstring names, on awkward graphs; then compiled, in blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import nn

from pipeline.errors import FormulaError
from pipeline.formula import interpret
from pipeline.layers import LAYERS
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from tests.formulas import WIDTH
from tests.whole import GRAPHS, Whole, whole

CASES: dict[str, tuple[str, Callable[[], Any], dict[str, Any], str | None]] = {
    "gcn": ("gcn", lambda: nn.GCNConv(WIDTH, 4), {}, None),
    "gcn weighted": ("gcn", lambda: nn.GCNConv(WIDTH, 4), {"edge_weight": "weight"}, "weight"),
    "sage mean": ("sage", lambda: nn.SAGEConv(WIDTH, 4), {}, None),
    "sage max": ("sage", lambda: nn.SAGEConv(WIDTH, 4, aggr="max"), {"aggr": "max"}, None),
    "sage sum": ("sage", lambda: nn.SAGEConv(WIDTH, 4, aggr="sum", root_weight=False), {"aggr": "sum"}, None),
    "gin": ("gin", lambda: nn.GINConv(mlp(), eps=0.5), {"eps": 0.5}, None),
    "gin learned": ("gin", lambda: nn.GINConv(mlp(), eps=0.5, train_eps=True), {}, None),
    "gat": ("gat", lambda: nn.GATConv(WIDTH, 3, heads=2), {"heads": 2}, None),
    "gat averaged": ("gat", lambda: nn.GATConv(WIDTH, 3, heads=2, concat=False), {"heads": 2, "concat": False}, None),
    "gatv2": ("gatv2", lambda: nn.GATv2Conv(WIDTH, 3, heads=2), {"heads": 2}, None),
    "gatv2 edges": (
        "gatv2",
        lambda: nn.GATv2Conv(WIDTH, 3, heads=2, edge_dim=3),
        {"heads": 2, "edge_feature": "attr"},
        "attr",
    ),
}


def mlp() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))


def test_every_layer_is_tested() -> None:
    assert {name for name, *_ in CASES.values()} == set(LAYERS)


def both(case: str, graph: Whole) -> tuple[Model, np.ndarray]:
    name, make, options, column = CASES[case]
    torch.manual_seed(3)
    net = make().double().eval()
    edge_index = torch.from_numpy(np.stack([graph.src, graph.dst]))
    inputs: list[torch.Tensor] = [torch.from_numpy(graph.x).double(), edge_index]
    if column is not None:
        inputs.append(torch.from_numpy(getattr(graph, column)).double())
    with torch.no_grad():
        expected = net(*inputs).numpy()
    # buffers such as a fixed eps are options of the formula
    weights = {key: value.detach().numpy() for key, value in net.named_parameters()}
    shape = {"weight": (), "attr": 3}
    columns = {} if column is None else {f"edges.{column}": shape[column]}
    layer = LAYERS[name]
    model = Model.from_formula(lambda g, x, w: layer(g, x, w, **options), weights, {"nodes.x": WIDTH, **columns})
    return model, expected


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("case", CASES)
def test_the_numbers_of_pyg(case: str, kind: str) -> None:
    graph = whole(kind)
    model, expected = both(case, graph)
    # the model keeps its weights in float32
    got = interpret(model.program, model.weights, graph.arrays())["output"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * max(1.0, np.abs(expected).max()))

    blocks = graph.blocks(3)
    rows = {node: row for row, node in enumerate(graph.ids)}
    for block, outputs in zip(blocks, run_fused(Plan.of(model), blocks), strict=True):
        here = [rows[node] for node in block.ids["node"].to_pylist()]
        np.testing.assert_allclose(
            outputs["output"], expected[here], rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max())
        )


def test_an_unknown_reduction() -> None:
    with pytest.raises(FormulaError, match="sage: unknown aggr 'maks'; known: max, mean, sum"):
        Model.from_formula(lambda g, x, w: LAYERS["sage"](g, x, w, aggr="maks"), {}, {"nodes.x": 2})


def test_a_missing_weight() -> None:
    with pytest.raises(FormulaError, match="no weights lin_l; did you mean 'lin_r'"):
        Model.from_formula(lambda g, x, w: LAYERS["sage"](g, x, w), {"lin_r.weight": np.ones((2, 2))}, {"nodes.x": 2})
