"""Supersteps: how many there are, what they ship and keep, and what they read again instead of keeping it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pipeline.formula import Program, Relation, apply, node_input, weight
from pipeline.lowering.levels import local_values
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.plan.superstep import Superstep, passes
from pipeline.run import superstep
from pipeline.run.fused import run_fused
from tests.formulas import FORMULAS, WIDTH, build
from tests.whole import pushing, whole

STEPS = {
    "sage": 3, "gcn": 3, "gcn_weighted": 2, "gat": 2, "gat_no_loops": 2, "gated": 2, "edge_attention": 2,
    "softmax_twice": 2, "appnp": 5, "extremes": 2, "gin": 2, "ordered": 3, "jumping": 3, "long_skip": 3, "no_edges": 1,
    "graph_norm": 5, "virtual_node": 5, "totals": 4, "linear_attention": 3, "merging": 3, "aggregators": 3,
    "every_reduction": 2, "every_distributive": 2, "both_ways": 3, "against": 2, "both_ends": 4,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_the_number_of_supersteps_falls_out_of_the_formula(name: str) -> None:
    assert len(Plan.of(build(name)).steps) == STEPS[name]


@pytest.mark.parametrize("name", FORMULAS)
def test_everything_is_computed_before_it_is_read(name: str) -> None:
    plan = Plan.of(build(name))
    held: set[int] = set()
    totals: set[int] = set()
    for step in plan.steps:
        known = set(held)
        assert {value.id for value in step.merges} == totals
        totals = {value.id for value in step.totals}
        known |= {value.id for value in step.merges}
        for value in step.graph_values:
            assert all(i.id in known or i.is_weight for i in value.inputs), value
            known.add(value.id)
        received = {value.id for shipment in step.receives for value in shipment.values}
        for phase in step.phases:
            for value in phase.nodes:
                assert all(i.id in known or i.is_weight for i in value.inputs), value
                known.add(value.id)
            for reduction in phase.reductions:
                compiled = plan.compile(step)[reduction.id]
                assert {v.id for v in compiled.local} <= known
                assert {v.id for v in compiled.sent} <= received
            known |= {value.id for value in phase.reductions}
        shipped = {value.id for shipment in step.ships for value in shipment.values}
        assert shipped <= known
        held = {value.id for value in step.keeps}
        assert held <= known
    assert {value.id for value in plan.program.outputs.values()} <= known


def test_a_narrow_product_is_shipped_instead_of_its_input() -> None:
    plan = Plan.of(build("sage"))
    assert [sum(s.width for s in step.ships) for step in plan.steps] == [WIDTH, 4, 0]


def test_one_pass_for_all_reductions_over_the_same_edges() -> None:
    plan = Plan.of(build("aggregators"))
    counted = ["sum", "max", "min", "sum", "prod"]
    assert _passes(plan) == [
        [],
        [sorted(["sum", *counted])],
        [sorted(["sum", "max", "sum", "softmax_sum"]), ["quantile"]],
    ]
    # what is pushed goes over the pulled edges, a degree over all: it needs no payload
    assert _passes(pushing(plan))[1] == [sorted(counted), ["sum"]]


def _passes(plan: Plan) -> list[list[list[str]]]:
    """The operations of each pass of each superstep."""
    found = [[sorted(v.op for v in one) for phase in step.phases for one in passes(step, phase)] for step in plan.steps]
    assert [
        [sorted(r.value.op for r in one.reductions) for phase in plan.passes(step) for one in phase]
        for step in plan.steps
    ] == found
    return found


def test_features_are_read_again_and_not_kept() -> None:
    plan = Plan.of(build("sage"))
    assert plan.steps[0].keeps == []
    assert plan.steps[1].features == [("node", "x")]


def test_a_degree_waits_for_the_first_superstep_that_reads_it() -> None:
    plan = Plan.of(build("sage"))
    assert [len(step.reductions) for step in plan.steps] == [0, 2, 1]
    # and is carried to the next one that does: one lane, beside the residual
    assert sum(value.width for value in plan.steps[1].keeps) == 1 + 4


def test_a_part_of_a_row_is_kept_and_not_the_row() -> None:
    """k, q and v are made of one product: k and v are sent, q waits."""
    g = Relation()
    kqv = node_input("x", (4,)) @ weight("w", (4, 12)) + weight("b", (12,))
    k, q, v = kqv[:4], kqv[4:8], kqv[8:]
    message = g.softmax(apply("lane_sum", g.src(k) * g.dst(q), axes=(0,), keepdims=True)) * g.src(v)
    program = Program({"y": g.sum(message)})
    plan = Plan(*lower(program, {"w": np.ones((4, 12), np.float32), "b": np.ones(12, np.float32)}))
    assert [sum(value.width for value in step.keeps) for step in plan.steps] == [4, 0]
    assert [value.width for shipment in plan.steps[0].ships for value in shipment.values] == [4, 4]


def test_parts_that_are_wider_than_their_row_wait() -> None:
    """The row is kept: 12 lanes instead of 16."""
    g = Relation()
    x = node_input("x", (4,)) @ weight("w", (4, 12))
    y = g.max(g.src(x[2:10]) * g.dst(x[:8])) + g.max(g.src(x[2:10]) * g.dst(x[4:]))
    plan = Plan(*lower(Program({"y": y}), {"w": np.ones((4, 12), np.float32)}))
    assert [sum(value.width for value in step.keeps) for step in plan.steps] == [12, 0]


def test_a_total_is_kept_as_one_row_and_not_as_a_row_per_node() -> None:
    plan = Plan.of(build("virtual_node"))
    kept = [[value for value in step.keeps if value.is_graph] for step in plan.steps]
    assert [sum(value.width for value in values) for values in kept[1:]] == [
        WIDTH + 1,
        WIDTH + 1,
        0,
        0,
    ]  # and the count
    for name in ("virtual_node", "totals"):
        assert not any(value.op == "spread" for step in Plan.of(build(name)).steps for value in step.keeps)


def test_what_every_node_has_is_not_shipped() -> None:
    for name in ("virtual_node", "totals"):
        plan = Plan.of(build(name))
        assert not any(v.op == "spread" for step in plan.steps for s in step.ships for v in s.values)


def test_a_total_is_computed_on_the_rows_of_one_superstep_only() -> None:
    plan = Plan.of(build("graph_norm"))
    assert [[value.width for value in step.totals] for step in plan.steps] == [[1], [4], [4], [], []]


def test_edge_columns_are_known() -> None:
    def columns(step: Superstep) -> list[str]:
        return [name for _, name in step.edge_columns]

    assert columns(Plan.of(build("gated")).steps[1]) == ["attr"]
    assert [columns(step) for step in Plan.of(build("gcn_weighted")).steps] == [["weight"], ["weight"]]


def test_inputs_are_read_from_the_columns_that_the_model_names() -> None:
    plan = Plan.of(build("gcn_weighted", {"edges.weight": "edges.amount", "nodes.x": "nodes.profile"}))
    assert plan.steps[0].features == [("node", "profile")]
    assert [name for _, name in plan.steps[0].edge_columns] == ["amount"]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_plan_survives_the_way_to_a_worker(name: str) -> None:
    plan = Plan.of(build(name))
    again = pickle.loads(pickle.dumps(plan))
    assert str(again.program) == str(plan.program)
    assert [step.number for step in again.steps] == [step.number for step in plan.steps]


@pytest.mark.parametrize("name", FORMULAS)
def test_a_value_is_let_go_after_the_phase_that_reads_it_last(name: str) -> None:
    for step in Plan.of(build(name)).steps:
        kept = {value.id for value in step.live_out}
        gone: set[int] = set()
        made = {value.id for phase in step.phases for value in [*phase.nodes, *phase.reductions]}
        for phase, done in zip(step.phases, step.done_after, strict=True):
            read = {each.id for value in phase.nodes for each in phase.operands(value)}
            read |= {each.id for value in phase.reductions for each in local_values(value)}
            assert not gone & read
            gone |= set(done)
        assert not gone & kept
        assert made <= gone | kept


def test_room_is_made_before_the_block_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the edges of a phase have read is not there any more when the next phase runs."""
    plan, (block,) = Plan.of(build("gat")), whole("mixed").blocks(1)
    there: list[set[int]] = []
    run = superstep.run_nodes
    monkeypatch.setattr(superstep, "run_nodes", lambda work, phase: (there.append(set(work.values)), run(work, phase)))
    run_fused(plan, [block])
    before = [done for step in plan.steps for done in [[], *step.done_after][:-1]]
    assert any(before)
    assert all(not found & set(done) for found, done in zip(there, before, strict=True))
