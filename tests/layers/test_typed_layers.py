"""Layers over several types against the PyG class that their docstring names; then compiled, in blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.nn import HGTConv, RGCNConv

from pipeline.errors import FormulaError
from pipeline.formula import interpret
from pipeline.layers import TYPED_LAYERS
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from pipeline.schema import EdgeType
from tests.typed import TypedGraph, random_graph

ALIKE = {"account": 6, "bank card": 6, "city": 6}
UNLIKE = {"account": 5, "bank card": 3, "city": 8}
TRIPLES = [
    ("account", "pays", "account"), ("account", "owns", "bank card"), ("bank card", "pays", "account"),
    ("account", "of", "city"), ("account", "was", "city"),
]  # fmt: skip
METADATA = (list(ALIKE), TRIPLES)
COUNTS = {
    "random": {"account": 40, "bank card": 25, "city": 7},
    "no accounts": {"account": 0, "bank card": 25, "city": 7},
    "no cities": {"account": 40, "bank card": 25, "city": 0},
    "no edges": {"account": 9, "bank card": 5, "city": 2},
}


def graph(kind: str, widths: dict[str, int]) -> TypedGraph:
    edges = 0 if kind == "no edges" else 90
    return random_graph(COUNTS[kind], {EdgeType(*each): edges for each in TRIPLES}, widths)


def by_relations(net: RGCNConv, given: TypedGraph) -> dict[str, np.ndarray]:
    """RGCNConv takes all nodes in one table, and the relation as a column of the edges."""
    starts, start = {}, 0
    for name, count in given.counts.items():
        starts[name] = start
        start += count
    x = torch.cat([torch.from_numpy(given.x[name]["x"]) for name in given.counts])
    ends, kinds = [], []
    for number, kind in enumerate(TRIPLES):
        src, dst = given.ends[EdgeType(*kind)]
        ends.append(np.stack([src + starts[kind[0]], dst + starts[kind[2]]]))
        kinds.append(np.full(len(src), number))
    y = net(x, torch.from_numpy(np.concatenate(ends, 1)), torch.from_numpy(np.concatenate(kinds))).numpy()
    return {name: y[at : at + given.counts[name]] for name, at in starts.items()}


def by_type(net: HGTConv, given: TypedGraph) -> dict[str, np.ndarray]:
    x = {name: torch.from_numpy(columns["x"]) for name, columns in given.x.items()}
    edges = {kind: torch.from_numpy(np.stack(given.ends[EdgeType(*kind)])) for kind in TRIPLES}
    return {name: each.numpy() for name, each in net(x, edges).items()}


CASES: dict[str, tuple[str, Callable[[], Any], Callable[..., Any], dict[str, int], dict[str, Any]]] = {
    "rgcn": ("rgcn", lambda: RGCNConv(6, 4, 5), by_relations, ALIKE, {}),
    "rgcn sum": ("rgcn", lambda: RGCNConv(6, 4, 5, aggr="sum", bias=False), by_relations, ALIKE, {"aggr": "sum"}),
    "rgcn bare": ("rgcn", lambda: RGCNConv(6, 4, 5, root_weight=False), by_relations, ALIKE, {}),
    "hgt": ("hgt", lambda: HGTConv(UNLIKE, 8, METADATA, heads=2), by_type, UNLIKE, {"heads": 2}),
    "hgt with skip": ("hgt", lambda: HGTConv(ALIKE, 6, METADATA, heads=3), by_type, ALIKE, {"heads": 3}),
}


def test_every_layer_is_tested() -> None:
    assert {name for name, *_ in CASES.values()} == set(TYPED_LAYERS)


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("case", CASES)
def test_the_numbers_of_pyg(case: str, kind: str) -> None:
    name, make, run, widths, options = CASES[case]
    given = graph(kind, widths)
    torch.manual_seed(3)
    net = make().double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.5)  # PyG begins with ones and zeros
        expected = run(net, given)
    # out_lin of a type that no edge leads into is never used
    held = {key: value.detach().numpy() for key, value in net.named_parameters()}
    layer = TYPED_LAYERS[name]
    inputs = {**{each: {"x": width} for each, width in widths.items()}, **{each: {} for each in TRIPLES}}
    model = Model.from_formula(lambda g, x, w: layer(g, x, w, **options), read(layer, held, inputs, options), inputs)
    found = interpret(model.program, model.weights, given.arrays)
    spelled = {"account": "account", "bank card": "bank%20card", "city": "city"}
    assert {spelled[each] + ".output" for each in expected} == found.keys()
    for of, values in expected.items():
        scale = max(1.0, np.abs(values).max(initial=0))
        key = f"{spelled[of]}.output"
        np.testing.assert_allclose(found[key], values, rtol=0, atol=1e-6 * scale)
        for count in (1, 3):
            blocks = given.blocks(count)
            whole = given.whole(of, blocks, [each[key] for each in run_fused(Plan.of(model), blocks)])
            np.testing.assert_allclose(whole, values, rtol=0, atol=1e-5 * scale)


def read(layer: Any, held: dict[str, np.ndarray], inputs: Any, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """The weights without those that no formula reads, which Model refuses."""
    from pipeline.formula import trace

    shapes = {name: array.shape for name, array in held.items()}
    used = trace(lambda g, x, w: layer(g, x, w, **options), inputs, shapes).weights
    return {name: held[name] for name in used}


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        ("rgcn", {"aggr": "maks"}, "rgcn: unknown aggr 'maks'; it has mean and sum"),
        ("rgcn", {}, "rgcn: 4 matrices for 1 relations; one for each is expected"),
        ("hgt", {"heads": 2}, "hgt: 4 matrices for 2 heads of 1 relations"),
    ],
)
def test_what_is_refused(layer: str, options: dict[str, Any], message: str) -> None:
    count = 1 if options.get("aggr") else 4
    weights = {"weight": np.ones((count, 6, 2)), "k_rel.weight": np.ones((4, 3, 3)), "v_rel.weight": np.ones((4, 3, 3))}
    inputs = {"account": {"x": 6}, ("account", "pays", "account"): {}}
    with pytest.raises(FormulaError, match=message):
        Model.from_formula(lambda g, x, w: TYPED_LAYERS[layer](g, x, w, **options), weights, inputs)
