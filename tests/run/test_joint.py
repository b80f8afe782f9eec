"""Terms of branches that do the same give the bits of one branch after another, computed for all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, apply, interpret, maximum, node_input, relu, weight, where
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.run import alike, joint
from pipeline.run.fused import run_fused
from pipeline.schema import EdgeType
from tests.typed import random_graph

KINDS = [EdgeType("a", f"r{number}", "b") for number in range(12)]
# some have no edges, one a hub; nodes without edges, parallel edges
EDGES = {kind: (0, 3, 60)[number % 3] for number, kind in enumerate(KINDS)}
GRAPH = random_graph({"a": 12, "b": 40}, EDGES, {"a": 4, "b": 4})
A, B = (node_input("x", (4,), Nodes(name)) for name in "ab")
RANDOM = np.random.default_rng(5)
WEIGHTS = {f"w{number}": RANDOM.normal(size=(4, 4)).astype(np.float32) for number in range(len(KINDS))} | {
    f"s{number}": RANDOM.normal(size=4).astype(np.float32) for number in range(len(KINDS))
}


def product(number: int) -> Value:
    """By a matrix of its own."""
    g = Relation(Edges(KINDS[number]))
    return g.mean(g.src(A)) @ weight(f"w{number}", (4, 4))


def with_targets(number: int) -> Value:
    """Of what the node has that it is added to, and of a vector of its own."""
    g = Relation(Edges(KINDS[number]))
    has = apply("greater", g.degree(), 0.0).reshape(1)
    return where(has, B, 0.0) * relu(g.mean(g.src(A)) @ weight(f"w{number}", (4, 4))) * weight(f"s{number}", (4,))


def largest(number: int) -> Value:
    g = Relation(Edges(KINDS[number]))
    return apply("max", g.src(A), empty=-np.inf) * 2.0


def added(terms: list[Value]) -> Value:
    return reduce(lambda a, b: a + b, terms)


def every(term: Callable[[int], Value]) -> list[Value]:
    return [term(number) for number in range(len(KINDS))]


MODELS: dict[str, Callable[[], Value]] = {
    "products": lambda: added(every(product)),
    "what the targets have": lambda: added(every(with_targets)),
    "the largest": lambda: reduce(maximum, every(largest)),
    "two joins": lambda: added(every(product)) * reduce(maximum, every(largest)),
    "two kinds of terms": lambda: added([(product, with_targets)[number % 2](number) for number in range(len(KINDS))]),
}


def runs(plan: Plan, count: int) -> list[bytes]:
    return [each["b.y"].tobytes() for each in run_fused(plan, GRAPH.blocks(count))]


@pytest.mark.parametrize("rows", [0, 20, joint.ROWS])
@pytest.mark.parametrize("name", MODELS)
def test_the_bits_of_one_after_another(name: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program({"b.y": MODELS[name]()})
    plan = Plan(*lower(program, {name: WEIGHTS[name] for name in program.weights}))
    assert [len(step.branches) for step in plan.steps] == [0, len(KINDS)]
    monkeypatch.setattr(joint, "ROWS", rows)
    joined: list[int] = []

    def noted(work: Any, branches: Any, *more: Any, run: Any = joint.add_all_terms) -> None:
        joined.append(len(branches))
        run(work, branches, *more)

    monkeypatch.setattr(alike, "add_all_terms", noted)
    for count in (1, 3):
        monkeypatch.setattr(alike, "FEWEST", len(KINDS) + 1)
        want = runs(plan, count)
        assert not joined
        monkeypatch.setattr(alike, "FEWEST", 2)
        assert runs(plan, count) == want
        assert bool(joined) == (name != "two kinds of terms"), "of which none follows one that does the same"
        joined.clear()
    blocks = GRAPH.blocks(3)
    found = GRAPH.whole("b", blocks, [each["b.y"] for each in run_fused(plan, blocks)])
    with np.errstate(all="ignore"):
        exact = interpret(program, WEIGHTS, GRAPH.arrays)["b.y"]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
