"""Sums over many relations: what the rewrites make of them, that the value stays, and that others are left alone."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, apply, concat, interpret, node_input, weight
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering import rewrites as rules
from pipeline.lowering.lower import lower
from pipeline.lowering.rewriting import always, rebuild
from pipeline.model import Model
from pipeline.plan.memory import _most_lanes
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from pipeline.schema import EdgeType
from tests.typed import random_graph

WIDTH, OUT, MANY = 5, 4, 12
PAPER, AUTHOR = "paper", "author"
KINDS = [EdgeType(AUTHOR if number % 3 == 0 else PAPER, f"r{number}", PAPER) for number in range(MANY)]
# an empty relation, and one with a hub, self-loops and parallel edges as all have
GRAPH = random_graph(
    {PAPER: 40, AUTHOR: 9},
    {kind: 0 if number == 4 else 30 + number for number, kind in enumerate(KINDS)},
    {PAPER: WIDTH, AUTHOR: WIDTH},
)
WEIGHTS = {
    name: np.random.default_rng(number).normal(size=shape).astype(np.float32)
    for number, (name, shape) in enumerate(
        (f"{part}{kind}", shape)
        for kind in range(MANY)
        for part, shape in (("l", (WIDTH, OUT)), ("r", (WIDTH, OUT)), ("b", (OUT,)))
    )
}
X = {name: node_input("x", (WIDTH,), Nodes(name)) for name in (PAPER, AUTHOR)}


def read(name: str) -> Value:
    return weight(name, WEIGHTS[name].shape)


def sage(number: int) -> Value:
    """mean @ L + b + x @ R, as each relation of a HeteroConv gives it."""
    g = Relation(Edges(KINDS[number]))
    return (
        g.mean(g.src(X[KINDS[number].source])) @ read(f"l{number}") + read(f"b{number}") + X[PAPER] @ read(f"r{number}")
    )


def stacked(how: str = "lane_sum") -> Program:
    stack = concat([sage(number).reshape(1, OUT) for number in range(MANY)], axis=0)
    return Program({f"{PAPER}.output": apply(how, stack, axes=(0,), keepdims=False)})


def chained() -> Program:
    """As to_hetero writes it."""
    return Program({f"{PAPER}.output": reduce(lambda a, b: a + b, map(sage, range(MANY)))})


def products(program: Program) -> list[Value]:
    return [value for value in program.values if value.op == "matmul" and not value.is_weight]


@pytest.mark.parametrize("program", [stacked(), chained()], ids=["stacked", "chained"])
def test_one_product_for_all_that_read_the_same_rows(program: Program) -> None:
    got = always(always(program, rules.sum_of_stack), rules.sum_linears)
    assert len(products(program)) == 2 * MANY
    assert len(products(got)) == MANY + 1
    assert not {"concat", "lane_sum"} & {value.op for value in got.values}
    want, found = (interpret(each, WEIGHTS, GRAPH.arrays) for each in (program, got))
    np.testing.assert_allclose(found[f"{PAPER}.output"], want[f"{PAPER}.output"], rtol=1e-12, atol=1e-12)


def shared() -> Program:
    """One layer for all relations: what it makes of the targets is one value, and there once for each of them."""
    terms = []
    for kind in KINDS[:5]:
        g = Relation(Edges(kind))
        terms.append(g.mean(g.src(X[kind.source])) @ read("l0") + read("b0") + X[PAPER] @ read("r0"))
    return Program({f"{PAPER}.output": reduce(lambda a, b: a + b, [*terms, X[PAPER] @ read("r1")])})


def test_a_term_that_is_there_several_times_counts_as_often() -> None:
    program = shared()
    got = rebuild(program, rules.sum_linears, rules.whole_sums(program))
    assert len(products(got)) == 5 + 1
    want, found = (interpret(each, WEIGHTS, GRAPH.arrays) for each in (program, got))
    np.testing.assert_allclose(found[f"{PAPER}.output"], want[f"{PAPER}.output"], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 3, 8])
@pytest.mark.parametrize("program", [stacked(), chained(), stacked("lane_max")], ids=["stacked", "chained", "max"])
def test_blocks_give_what_the_program_says(program: Program, blocks: int) -> None:
    want = interpret(program, WEIGHTS, GRAPH.arrays)[f"{PAPER}.output"]
    parts = GRAPH.blocks(blocks)
    outputs = run_fused(Plan.of(Model(program, WEIGHTS)), parts)
    found = GRAPH.whole(PAPER, parts, [each[f"{PAPER}.output"] for each in outputs])
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_programs_of_one_type_of_edges_stay_as_they_are() -> None:
    """Their bits are those of earlier versions; read against their direction, edges are no other type."""
    g, x = Relation(), node_input("x", (WIDTH,))
    back = g.reversed()
    y = g.sum(g.src(x)) @ read("l0") + x @ read("r0") + back.sum(back.src(x)) @ read("l1") + x @ read("r1")
    lowered, _ = lower(Program({"y": y}), WEIGHTS)
    assert len(products(lowered)) == 4


def test_a_stack_that_is_no_sum_of_parts_is_left_alone() -> None:
    rows = [sage(number).reshape(2, 2) for number in range(2)]
    of_rows = apply("lane_sum", concat(rows, axis=0), axes=(0,), keepdims=False)  # two lanes of each part
    kept = apply("lane_sum", concat([sage(0).reshape(1, OUT)] * 2, axis=0), axes=(0,), keepdims=True)
    assert [rules.sum_of_stack(value) for value in (of_rows, kept)] == [None, None]


@pytest.mark.parametrize("op", ["lane_sum", "lane_mean", "lane_max", "lane_min"])
def test_a_stack_is_joined_part_by_part(op: str) -> None:
    stack = concat([sage(number).reshape(1, OUT) for number in range(3)], axis=0)
    before = apply(op, stack, axes=(0,), keepdims=False)
    after = rules.sum_of_stack(before)
    assert after is not None
    values = [interpret(Program({f"{PAPER}.y": each}), WEIGHTS, GRAPH.arrays)[f"{PAPER}.y"] for each in (before, after)]
    np.testing.assert_allclose(*values, rtol=1e-12)


def test_products_of_other_rows_or_with_values_are_left_alone() -> None:
    other = X[PAPER] * 2.0
    assert rules.sum_linears(X[PAPER] @ read("l0") + other @ read("l0")) is None
    assert rules.sum_linears(X[PAPER] @ read("l0") + read("b0")) is None


def test_a_chunk_is_charged_for_what_is_there_at_once() -> None:
    """Not for all values of all relations: each ends where the next has been added."""
    few, many = (_lanes(number) for number in (3, 7))
    assert few == many > 0


def _lanes(relations: int) -> int:
    made = Program({f"{PAPER}.output": reduce(lambda a, b: a + b, map(sage, range(relations)))})
    plan = Plan.of(Model(made, {name: WEIGHTS[name] for name in made.weights}))
    return max(_most_lanes(phase) for phase in plan.steps[-1].phases)
