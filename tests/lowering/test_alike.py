"""Programs of many relations are made cheaper by deciding once for all that are alike: as by trying each."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, interpret, node_input, relu, weight
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering import lower as lowering
from pipeline.lowering.cost import cost
from pipeline.lowering.lower import CHEAPER, lower
from pipeline.lowering.rewrites import linear_before_sum
from pipeline.lowering.rewriting import Alike, if_cheaper, if_cheaper_alike
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
    monkeypatch.setattr(
        lowering, "if_cheaper_alike", lambda program, rule, seen, alike: if_cheaper(program, rule, seen)
    )
    each, _ = lower(given, weights)
    assert cost(alike) == cost(each) < cost(given)
    want, found = interpret(given, weights, GRAPH.arrays), interpret(alike, kept, GRAPH.arrays)
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-5, atol=1e-5 * np.abs(want[name]).max())


def test_few_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many relations are alike."""
    tried = []
    monkeypatch.setattr("pipeline.lowering.rewriting.cost", lambda given: tried.append(0) or cost(given))
    for rule in CHEAPER:
        if_cheaper_alike(program(sums), rule)
    few = len(tried)
    for rule in CHEAPER:
        if_cheaper(program(sums), rule)
    assert few * 4 < len(tried) - few


def test_a_rule_looks_at_a_value_once() -> None:
    """However often programs are made that it is in."""
    looked, alike, given = [], Alike(), program(sums)

    def rule(value: Value) -> Value | None:
        looked.append(value.id)
        return linear_before_sum(value)

    for each in (given, given, Program({"paper.output": given.outputs["paper.output"]})):
        if_cheaper_alike(each, rule, alike=alike)
    assert len(looked) == len(set(looked))


def test_a_rule_that_has_found_nothing_is_asked_again_of_another_program_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, Program]] = []

    def choose(given: Program, rule: object, *_: object, **__: object) -> Program:
        asked.append((rule, given))
        return if_cheaper_alike(given, rule)  # type: ignore[arg-type]

    monkeypatch.setattr(lowering, "if_cheaper_alike", choose)
    given = program(sums)
    lower(given, {name: np.zeros(shape, np.float32) for name, shape in given.weights.items()})
    assert len(asked) > len(CHEAPER)
    assert len(asked) == len({(rule, id(given)) for rule, given in asked})
