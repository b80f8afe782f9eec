"""Programs of many relations are made cheaper by deciding once for all that are alike: as by trying each."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, interpret, node_input, relu, weight
from pipeline.formula.spaces import Edges, Nodes
from pipeline.plan import lower as lowering
from pipeline.plan.cost import cost
from pipeline.plan.lower import CHEAPER, lower
from pipeline.plan.rewriting import if_cheaper, if_cheaper_alike
from pipeline.schema import EdgeType
from tests.typed import random_graph

WIDTHS = {"paper": 6, "author": 6, "venue": 3}
ENDS = [("paper", "paper"), ("author", "paper"), ("venue", "paper"), ("paper", "author")]
KINDS = [EdgeType(source, f"r{number}", target) for number in range(3) for source, target in ENDS]
GRAPH = random_graph(
    {"paper": 30, "author": 8, "venue": 4}, {kind: 25 + number for number, kind in enumerate(KINDS)}, WIDTHS
)
X = {name: node_input("x", (width,), Nodes(name)) for name, width in WIDTHS.items()}


def sums(kind: EdgeType, x: Value, number: int) -> Value:
    """A linear map at the edges, and a factor that is the same for all of a row."""
    g = Relation(Edges(kind))
    width = x.shape[0]
    return g.sum(
        g.src(x) @ weight(f"w{kind.relation}{kind.source}{number}{width}", (width, 6)) / g.dst(g.degree()).reshape(1)
    )


def attention(kind: EdgeType, x: Value, number: int) -> Value:
    g = Relation(Edges(kind))
    h = g.src(x) @ weight(f"v{kind.relation}{kind.source}{number}{x.shape[0]}", (x.shape[0], 6))
    a = g.src(x) @ weight(f"a{kind.relation}{kind.source}{number}{x.shape[0]}", (x.shape[0], 1))
    return g.sum(g.softmax(a.reshape()).reshape(1) * h)


def layer(make: object, x: dict[str, Value], number: int) -> dict[str, Value]:
    found = dict(x)
    for name in ("paper", "author"):
        into = [make(kind, x[kind.source], number) for kind in KINDS if kind.target == name]  # type: ignore[operator]
        found[name] = relu(reduce(lambda a, b: a + b, into))
    return found


def program(make: object) -> Program:
    made = layer(make, layer(make, X, 0), 1)
    return Program({f"{name}.output": made[name] for name in ("paper", "author")})


@pytest.mark.parametrize("make", [sums, attention])
def test_as_cheap_as_by_trying_each(make: object, monkeypatch: pytest.MonkeyPatch) -> None:
    given = program(make)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in given.weights.items()}
    alike, kept = lower(given, weights)
    monkeypatch.setattr(lowering, "if_cheaper_alike", if_cheaper)
    each, _ = lower(given, weights)
    assert cost(alike) == cost(each) < cost(given)
    want, found = interpret(given, weights, GRAPH.arrays), interpret(alike, kept, GRAPH.arrays)
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-5 * np.abs(want[name]).max())


def test_few_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many relations are alike."""
    tried = []
    monkeypatch.setattr("pipeline.plan.rewriting.cost", lambda given: tried.append(0) or cost(given))
    for rule in CHEAPER:
        if_cheaper_alike(program(sums), rule)
    few = len(tried)
    for rule in CHEAPER:
        if_cheaper(program(sums), rule)
    assert few * 4 < len(tried) - few
