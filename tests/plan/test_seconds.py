"""The time model: what it counts, and how blocks and cores show. No clock runs: jobs/bench/explain.py has those."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from pipeline.compiler.edge_program import edge_program
from pipeline.formula import Relation, edge_input, linear, node_input, weight, where
from pipeline.formula.operations import COSTLY, ELEMENTWISE, OPERATIONS
from pipeline.formula.program import Program
from pipeline.formula.spaces import Edges, Nodes
from pipeline.formula.values import apply
from pipeline.lowering.cost import cost
from pipeline.model import Model
from pipeline.plan.counts import Counts, EdgeCounts
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange
from pipeline.plan.seconds import EDGES, MOVING, RATES, STAGE, STARTING, about, core_seconds, duration, expect
from pipeline.plan.shipped import FLOAT, kept_bytes, shipped_bytes
from pipeline.plan.work import TARGETS, Work, add, works
from pipeline.schema import EDGE, EdgeType
from tests.counts import counts as counts_of
from tests.counts import with_edges
from tests.formulas import build

COUNTS = counts_of(
    [100_000] * 8, [2_000_000] * 8, [200_000] * 8, [100] * 8, [40_000_000] * 8, in_degree=[1000] * 8,
    pulled=[70_000] * 8, pushed=[50_000] * 8, push_bytes=[1_000_000] * 8,
)  # fmt: skip
SAGE = Plan.of(build("sage"))


def edges_of(formula, shapes=None) -> float:
    """Core-seconds on edges of a formula of 64 lanes."""
    random = {name: [[0.1] * shape[1]] * shape[0] for name, shape in (shapes or {}).items()}
    plan = Plan.of(Model.from_formula(formula, random, {"nodes.x": 64}))
    return core_seconds(plan, COUNTS)[EDGES]


def whole(plan: Plan, counts: Counts = COUNTS) -> Work:
    return add(work for step in works(plan, counts) for work in step)


def test_every_kind_of_work_has_a_rate() -> None:
    assert list(RATES) == list(Work._fields)


def test_what_a_run_has_to_do() -> None:
    work = whole(SAGE)
    assert work.opened == 3 * 8
    assert work.edges == 2 * 16_000_000, "two sums; the degree is counted on the way"
    assert work.edge_lanes == (6 + 4 + 1) * 16_000_000
    assert work.sent_lanes == (6 + 4) * 8 * (200_000 + 100)
    assert work.rows == 800_000
    assert work.written == 4 * 800_000
    assert not work.weighed_lanes
    assert not work.sorted_lanes


def test_what_edges_have_to_do_beside_adding_up() -> None:
    gat, edges = whole(Plan.of(build("gat_no_loops"))), 16_000_000
    assert (gat.edges, gat.weighed_lanes) == (edges, 8 * edges)
    assert gat.edge_costly == 2 * edges, "an exponential for each head"
    product = Model.from_formula(
        lambda g, x, w: g.max(linear(g.src(x) - g.dst(x), w.a)), {"a.weight": [[0.1] * 64] * 32}, {"nodes.x": 64}
    )
    assert whole(Plan.of(product)).edge_products == 64 * 32 * edges
    median = whole(Plan.of(Model.from_formula(lambda g, x: g.median(g.src(x)), {}, {"nodes.x": 64})))
    assert median.sorted_lanes == 64 * edges
    passes = 2_000_000 * 64 / (1 << 23)
    assert median.sent_rows == 8 * (200_000 + 100) * round(passes + 0.5), "the tiles are gone through again and again"


@pytest.mark.parametrize("name", ["sage", "gat", "gcn", "both_ways"])
def test_moved_bytes_are_those_that_are_shipped_and_kept(name: str) -> None:
    back = {"payload_in": [150_000] * 8, "pulled": [9_000] * 8, "pushed": [8_000] * 8}
    counts = with_edges(COUNTS, EDGE.reversed, **back)
    plan = choose_exchange(Plan.of(build(name)), counts)
    moved = sum(shipped_bytes(counts, step) + kept_bytes(counts, step) for step in plan.steps)
    assert whole(plan, counts).moved == moved
    assert sum(step.ships != [] for step in plan.steps) * FLOAT < moved


def test_relations_have_the_edges_of_their_own_type_and_nodes_too() -> None:
    pays, knows = EdgeType("a", "pays", "b"), EdgeType("b", "knows", "b")
    a, b = (node_input("x", (4,), Nodes(name)) for name in "ab")
    sums = [Relation(Edges(kind)) for kind in (pays, knows)]
    plan = Plan(Program({"b.y": sums[0].sum(sums[0].src(a)) * sums[1].max(sums[1].src(b))}), {})
    found = EdgeCounts([900, 0], [50, 0], [0, 0], [50, 0], [0, 0], stored=[0, 0], push_bytes=[0, 0])
    other = replace(found, edges=[7, 3], payload_in=[5, 2])
    types = {pays: found, knows: other}
    counts = Counts([140, 60], [907, 3], [0, 0], [9, 9], {"a": [100, 50], "b": [40, 10]}, types)
    work = whole(plan, counts)
    assert work.edges == 900 + 7 + 3
    assert work.sent_rows == 50 + 5 + 2
    assert (work.rows, work.written) == (50, 4 * 50), "of the type that has an output"
    # two reductions and their product; that again because it is written; carried features are none of it
    assert (work.node_lanes, work.kept_lanes) == (3 * 4 * 50, 4 * 50)


def test_views_that_are_sent_are_held_whole() -> None:
    attention = lambda g, x, w: g.sum(g.src(linear(x, w.lin).heads(2)) * 2.0).flat()
    model = Model.from_formula(attention, {"lin.weight": [[0.1] * 64] * 32}, {"nodes.x": 64})
    assert whole(Plan.of(model)).kept_lanes == (32 + 32) * 800_000, "what is sent, and the output"


def test_sums_over_the_same_edges_fetch_them_once() -> None:
    model = Model.from_formula(lambda g, x: g.sum(g.src(x)) + g.max(g.src(x) * 2.0), {}, {"nodes.x": 64})
    work = whole(Plan.of(model))
    assert (work.edges, work.sent_rows) == (16_000_000, 8 * (200_000 + 100))


def test_of_relations_by_a_column_each_has_its_share_of_the_edges() -> None:
    g, relations = Relation(), 100
    x, kind = node_input("x", (4,)), edge_input("kind", (1,))
    terms = [
        g.sum(where(apply("equal", kind, float(k)), g.src(x), 0.0)) @ weight("w", (4, 4)) for k in range(relations)
    ]
    plan = Plan(Program({"y": reduce(operator.add, terms)}), {"w": np.ones((4, 4), np.float32)})
    assert [len(step.branches) for step in plan.steps] == [0, relations]
    work, edges = whole(plan), 16_000_000
    assert work.edges == pytest.approx(2 * edges), "to sort them, and to add them up"
    assert work.edge_lanes == pytest.approx(4 * edges)
    rows = 8 * min(100_000, TARGETS * 2_000_000 / relations)
    assert work.node_products == pytest.approx(relations * 4 * 4 * rows), "for nodes with such an edge only"
    assert work.sent_rows == pytest.approx(relations * 8 * 2_000_000 / relations)


def test_what_costs_more_per_edge() -> None:
    plain = edges_of(lambda g, x: g.sum(g.src(x)))
    softmax = edges_of(lambda g, x: g.sum(g.softmax(g.src(x)) * g.src(x)))
    product = edges_of(lambda g, x, w: g.max(linear(g.src(x) - g.dst(x), w.a)), {"a.weight": (64, 64)})
    median = edges_of(lambda g, x: g.median(g.src(x)))
    assert plain < softmax / 2
    assert softmax < product
    assert product < median


@pytest.mark.parametrize("op", sorted(ELEMENTWISE))
def test_what_is_costly_for_the_compiler_is_so_for_the_planner(op: str) -> None:
    """Kept rather than computed for each of two heads; ten lane operations; an exponential's time."""
    g, operation = Relation(), OPERATIONS[op]
    operands = [g.src(node_input(name, (4,))) for name in "abc"[: (operation.inputs or ())[0]]]
    attributes = dict.fromkeys(operation.attributes, 0.5) | ({"approximate": "none"} if op == "gelu" else {})
    value = apply(op, *operands, **attributes)
    reduction = g.sum(value * weight("w", (2, 4)))
    plan = Plan(Program({"y": reduction}), {"w": np.ones((2, 4), np.float32)})
    costly = operation.cost == COSTLY
    assert (value.id in edge_program(reduction).kept) == costly
    assert (whole(plan).edge_costly > 0) == costly
    assert round(cost(plan.program)[1]) == 4 * (10 if costly else 1) + 8 + 8, "with the products and the sums"


def test_cores_without_a_block_do_not_help() -> None:
    times = [expect(SAGE, COUNTS, "fused", cores).total for cores in (1, 2, 7, 8, 64)]
    assert times[0] == pytest.approx(2 * times[1]) == pytest.approx(8 * times[3])
    assert times[2] == pytest.approx(2 * times[3]), "the eighth block waits for the others"
    assert times[4] == times[3]
    assert expect(SAGE, COUNTS, "fused", 64).cores == 8


def test_a_heavy_block_is_waited_for() -> None:
    heavy = with_edges(COUNTS, edges=[16_000_000 - 56, *[8] * 7])
    even, uneven = (expect(SAGE, counts, "fused", 8) for counts in (COUNTS, heavy))
    assert core_seconds(SAGE, COUNTS)[EDGES] == pytest.approx(core_seconds(SAGE, heavy)[EDGES])
    assert uneven.parts[EDGES] > 4 * even.parts[EDGES]


def test_parts_and_supersteps_make_up_the_whole() -> None:
    for tier in ("fused", "distributed"):
        found = expect(SAGE, COUNTS, tier, 2)
        assert sum(found.steps) == found.total == pytest.approx(sum(found.parts.values()))
        assert (MOVING in found.parts) == (tier == "distributed")
        assert (STARTING in found.parts) == (tier == "distributed")
    assert found.parts[STARTING] >= STAGE * len(SAGE.steps)
    assert expect(SAGE, COUNTS, "distributed", 2).total > expect(SAGE, COUNTS, "fused", 2).total


def test_a_short_wire_moves_half() -> None:
    short = Plan.of(build("sage"), wire="float16")
    assert not kept_bytes(COUNTS, SAGE.steps[0])
    saved = whole(SAGE).moved - whole(short).moved
    assert saved == sum(shipped_bytes(COUNTS, step) for step in short.steps)


def test_seconds_for_people() -> None:
    assert [duration(n) for n in (0, 0.09, 0.42, 9.94, 9.96, 119, 130, 7100, 7300)] == [
        "under 0.1 s",
        "under 0.1 s",
        "0.4 s",
        "9.9 s",
        "10 s",
        "119 s",
        "2 min",
        "118 min",
        "2 h",
    ]
    assert [about(n) for n in (0.01, 3)] == ["under 0.1 s", "about 3.0 s"]  # fmt: skip


def test_a_row_is_multiplied_by_the_matrix_of_each_head_alone() -> None:
    """Four heads: four products for each node, beside their multiply-adds; a matrix for all is one of all rows."""
    x = node_input("x", (8,))
    heads = apply("matmul", x.reshape(4, 1, 2), weight("w", (4, 2, 3))).reshape(12)
    found = [
        whole(Plan(Program({"y": y}), {"w": np.ones((4, 2, 3)), "v": np.ones((8, 3))}))
        for y in (heads, x @ weight("v", (8, 3)))
    ]
    assert [work.node_matrices for work in found] == [4 * found[0].rows, 0]
    assert [work.node_products for work in found] == [24 * found[0].rows, 24 * found[0].rows]
