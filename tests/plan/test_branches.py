"""Which sums over many relations become branches, and which cannot."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest

from pipeline.formula import (
    Program,
    Relation,
    Value,
    apply,
    edge_input,
    interpret,
    maximum,
    node_input,
    relu,
    weight,
    where,
)
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering.lower import lower
from pipeline.plan.branches import FEWEST
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from pipeline.schema import EDGE, NODE, EdgeType
from tests.typed import TypedGraph, random_graph

KINDS = [EdgeType("a", f"r{number}", "b") for number in range(9)]
WIDTHS = {"a": 4, "b": 4}
GRAPH = random_graph({"a": 12, "b": 30}, dict.fromkeys(KINDS, 9), WIDTHS)
A, B = (node_input("x", (4,), Nodes(name)) for name in WIDTHS)
W = {"w": np.arange(16, dtype=np.float32).reshape(4, 4) / 16, "inf": np.full((4, 4), np.inf, np.float32)}


def mean(kind: EdgeType) -> Value:
    g = Relation(Edges(kind))
    return g.mean(g.src(A))


def counted(kind: EdgeType) -> Value:
    """A factor of the target counts only where there are edges."""
    g = Relation(Edges(kind))
    return where(apply("greater", g.degree(), 0.0).reshape(1), B, 0.0) * mean(kind)


def largest(kind: EdgeType) -> Value:
    g = Relation(Edges(kind))
    return apply("max", g.src(A), empty=-np.inf)


def total(terms: list[Value], start: Value | None = None) -> Value:
    return reduce(lambda a, b: a + b, terms, *([start] if start is not None else []))


def w(name: str = "w") -> Value:
    return weight(name, (4, 4))


YES: dict[str, Callable[[], Value]] = {
    "products": lambda: total([mean(kind) @ w() * 0.5 for kind in KINDS], B),
    "a factor where there are edges": lambda: total([counted(kind) for kind in KINDS]),
    "the largest": lambda: reduce(maximum, [largest(kind) for kind in KINDS]),
    "with what all nodes have": lambda: relu(total([mean(kind) for kind in KINDS]) + B @ w() + 1.0),
    "a product twice": lambda: total([mean(kind) for kind in KINDS for _ in range(2)]),
}
NO: dict[str, Callable[[], Value]] = {
    "something for nodes without edges": lambda: total([relu(mean(kind) + 1.0) for kind in KINDS]),
    "a relation alone": lambda: mean(KINDS[0]) + B,
    "0 times a weight that is infinite": lambda: total([mean(kind) @ w("inf") for kind in KINDS]),
    "a factor that may be infinite": lambda: total([mean(kind) * (1.0 / B) for kind in KINDS]),
    "a product, not a sum": lambda: reduce(lambda a, b: a * b, [mean(kind) for kind in KINDS]),
}


def planned(value: Value) -> tuple[Program, Plan]:
    program = Program({"b.y": value})
    used = {each.attributes["name"] for each in program.values if each.op == "weight"}
    return program, Plan(*lower(program, {name: array for name, array in W.items() if name in used}))


def check(program: Program, plan: Plan) -> None:
    expected = interpret(program, W, GRAPH.arrays)["b.y"]
    for count in (1, 3):
        blocks = GRAPH.blocks(count)
        found = GRAPH.whole("b", blocks, [each["b.y"] for each in run_fused(plan, blocks)])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", YES)
def test_one_branch_a_relation(name: str) -> None:
    program, plan = planned(YES[name]())
    assert [len(step.branches) for step in plan.steps] == [0, len(KINDS)]
    assert not any(phase.reductions for step in plan.steps for phase in step.phases)
    check(program, plan)


@pytest.mark.parametrize("name", NO)
def test_what_stays_as_it_is(name: str) -> None:
    program, plan = planned(NO[name]())
    assert not any(step.branches for step in plan.steps)
    check(program, plan)


def test_a_relation_that_is_read_elsewhere_too_has_a_row_for_each_node() -> None:
    first = mean(KINDS[0])
    program, plan = planned(total([mean(kind) for kind in KINDS[1:]], first) * first)
    assert [len(step.branches) for step in plan.steps] == [0, len(KINDS) - 1]
    check(program, plan)


def test_degrees_are_counted_again_and_not_kept() -> None:
    kinds = [EdgeType("b", kind.relation, "b") for kind in KINDS]

    def layer(x: Value) -> Value:
        sides = [Relation(Edges(kind)) for kind in kinds]
        return relu(total([g.sum(g.src(x)) / maximum(g.degree(), 1.0).reshape(1) for g in sides], B))

    _, plan = planned(layer(layer(B)))
    assert [len(step.branches) for step in plan.steps] == [0, len(kinds), len(kinds)]
    assert not any(value.op == "sum" for step in plan.steps for value in step.keeps)


def chosen_twice(g: Relation, x: Value, number: float) -> Value:
    """The sum over the edges of a relation, and once more in other words."""
    kind = edge_input("kind", (1,))
    masks = [apply("equal", kind, number), apply("equal", number, kind)]
    first, second = (g.sum(where(mask, g.src(x), 0.0)) for mask in masks)
    return first * second


@pytest.mark.parametrize("numbers", [FEWEST, 9])
def test_the_same_sums_over_edges_that_a_column_chooses_are_compiled_once(numbers: int) -> None:
    g, x = Relation(), node_input("x", (4,))
    # all edges at once are a reduction of their own, beside those of a few numbers
    terms = [chosen_twice(g, x, float(number)) for number in range(numbers)]
    program = Program({"y": total([*terms, g.sum(g.src(x))])})
    plan = Plan(*lower(program, {}))
    (branches,) = [step.branches for step in plan.steps if step.branches]
    by_number = [branch for branch in branches if branch.chosen]
    assert [len(branch.reductions) for branch in by_number] == [2] * numbers
    compiled = plan.compile(plan.steps[1])
    assert len({id(compiled[value.id]) for branch in by_number for value in branch.reductions}) == 1
    rng = np.random.default_rng(5)
    ends = {EDGE: tuple(rng.integers(0, 20, (2, 100)))}
    kinds = {"kind": rng.integers(0, 9, 100)}
    graph = TypedGraph({NODE: 20}, ends, {NODE: {"x": rng.normal(size=(20, 4))}}, {EDGE: kinds})
    blocks = graph.blocks(3)
    found = graph.whole(NODE, blocks, [each["y"] for each in run_fused(plan, blocks)])
    np.testing.assert_allclose(found, interpret(program, {}, graph.arrays)["y"], rtol=1e-5, atol=1e-5)


def test_one_number_of_a_column_is_no_branch() -> None:
    g, x = Relation(), node_input("x", (4,))
    plan = Plan(*lower(Program({"y": chosen_twice(g, x, 1.0) + x}), {}))
    assert not any(step.branches for step in plan.steps)
