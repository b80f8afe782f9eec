"""Pull or push: which shipments can, which do, and what they then weigh."""

from __future__ import annotations

import pickle

import pytest

from pipeline.formula import concat, tanh
from pipeline.model import Model
from pipeline.plan.memory import block_bytes, fused_bytes
from pipeline.plan.plan import Plan
from pipeline.plan.push_pull import choose_exchange, pull_bytes, push_bytes
from pipeline.plan.shipped import shipped_bytes
from pipeline.schema import EDGE
from tests.counts import counts as counts_of
from tests.counts import with_edges
from tests.formulas import WIDTH, build
from tests.whole import pushing

COUNTS = counts_of(
    [100, 50], [1000, 10], [300, 5], [1, 0], [10_000, 500], pulled=[100, 4], pushed=[50, 1], push_bytes=[700, 30]
)


def kinds(plan: Plan) -> list[list[bool]]:
    return [[shipment.push for shipment in step.ships] for step in plan.steps]


def plan_of(formula) -> Plan:
    return Plan.of(Model.from_formula(formula, {}, {"nodes.x": WIDTH}))


# what a shipment can do follows from those who read it
@pytest.mark.parametrize(
    ("formula", "reductions"),
    [
        (lambda g, x: g.sum(g.src(x)), 1),
        (lambda g, x: concat([g.max(g.src(x)), g.prod(tanh(g.src(x)))]), 2),
        (lambda g, x: concat([g.max(g.src(x)), g.min(g.src(x) - g.dst(x))]), 0),  # reads the dst
        (lambda g, x: concat([g.max(g.src(x)), g.median(g.src(x))]), 0),  # does not merge
        (lambda g, x: g.sum(g.softmax(g.src(x)) * g.src(x)), 0),
    ],
)
def test_what_can_be_pushed(formula, reductions: int) -> None:
    (shipment,) = plan_of(formula).steps[0].ships
    assert len(shipment.mergeable) == reductions
    assert kinds(pushing(plan_of(formula)))[0] == [reductions > 0]


def test_the_fewer_bytes_are_shipped() -> None:
    plan = choose_exchange(Plan.of(build("sage")), COUNTS)
    assert kinds(plan) == [[True], [True], []]
    (shipment,) = plan.steps[0].ships
    assert push_bytes(COUNTS, shipment) == 4 * 6 * (104 + 1) + 4 * 6 * 51
    assert pull_bytes(COUNTS, shipment) == 4 * 6 * (305 + 1)
    assert shipped_bytes(COUNTS, plan.steps[0]) == push_bytes(COUNTS, shipment)
    assert kinds(choose_exchange(plan_of(lambda g, x: g.sum(g.src(x))), with_edges(COUNTS, pushed=[201, 0]))) == [
        [False], []
    ]  # fmt: skip


def test_partial_results_of_several_reductions_are_wider_than_the_rows() -> None:
    plan = plan_of(lambda g, x: concat([g.max(g.src(x)), g.min(g.src(x)), g.prod(g.src(x))]))
    (shipment,) = plan.steps[0].ships
    assert (shipment.width, shipment.partial_width) == (WIDTH, 3 * WIDTH)
    assert push_bytes(COUNTS, shipment) == 4 * WIDTH * (104 + 1 + 3 * 51)
    assert kinds(choose_exchange(plan, with_edges(COUNTS, pushed=[66, 0])))[0] == [True]
    assert kinds(choose_exchange(plan, with_edges(COUNTS, pushed=[67, 0])))[0] == [False]


def test_the_user_decides() -> None:
    assert kinds(choose_exchange(Plan.of(build("sage")), COUNTS, "pull")) == [[False], [False], []]


def test_workers_get_the_same_decision() -> None:
    plan = choose_exchange(Plan.of(build("sage")), COUNTS)
    again = pickle.loads(pickle.dumps(plan))
    assert kinds(again) == kinds(plan) == [[True], [True], []]
    assert again.pushes == plan.pushes == [(0, EDGE), (1, EDGE)]
    assert [[len(s.pushed) for s in step.receives] for step in again.steps] == [[], [1], [1]]


def test_each_direction_has_its_own_counts() -> None:
    both = with_edges(COUNTS, EDGE.reversed, payload_in=[7, 600], pulled=[7, 500], pushed=[0, 101])
    plan = choose_exchange(Plan.of(build("both_ways")), both)
    chosen = {shipment.edge_type: shipment.push for shipment in plan.steps[0].ships}
    assert chosen == {EDGE: True, EDGE.reversed: False}


def test_memory_follows_the_choice() -> None:
    plan = Plan.of(build("sage"))
    pushed = choose_exchange(plan, COUNTS)
    # 300 rows of 6 lanes become 100 rows and 50 partial results; edges that may be pushed are read
    assert block_bytes(pushed, COUNTS, 0) - block_bytes(plan, COUNTS, 0) < 700
    assert block_bytes(pushed, COUNTS, 0) < block_bytes(plan, COUNTS, 0)
    # fused: a second copy of a tile's columns, and partial results, are held where payloads never were
    here = [block_bytes(one, COUNTS, 0, fused=True) for one in (plan, pushed)]
    assert fused_bytes(pushed, COUNTS) - fused_bytes(plan, COUNTS) == here[1] - here[0] > 0
