"""Values that are sent side by side are made side by side: the same bits, and no copy."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, apply, node_input, relu, weight
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.run import in_place
from pipeline.run.in_place import NOTHING, compute_in_place, hold
from pipeline.run.outgoing import places_in
from tests.formulas import FORMULAS, WIDTH, build
from tests.run.test_superstep import run
from tests.whole import Whole, whole


def attention(read_again: bool = False) -> Plan:
    """k and v are sent; k is read at its own node too, if `read_again`."""
    g, x = Relation(), node_input("x", (WIDTH,))
    k, q, v = (relu(x @ weight(name, (WIDTH, 4)) + 1.0) for name in "kqv")
    message = g.softmax(apply("lane_sum", g.src(k) * g.dst(q), axes=(0,), keepdims=True)) * g.src(v)
    y = g.sum(message)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=(WIDTH, 4)).astype(np.float32) for name in "kqv"}
    return Plan(*lower(Program({"y": y * k if read_again else y}), weights))


def sent(plan: Plan) -> tuple[Value, ...]:
    (shipment,) = plan.steps[0].ships
    return shipment.values


@pytest.mark.parametrize("read_again", [False, True])
def test_what_nobody_else_reads_has_its_place(read_again: bool) -> None:
    plan = attention(read_again)
    kept = {value.id for value in plan.steps[0].keeps}
    found = places_in(plan.steps[0])
    assert len(sent(plan)) == 2
    assert set(found) == {value.id for value in sent(plan)} - kept
    assert len(found) == (1 if read_again else 2)
    lanes = dict(plan.steps[0].ships[0].offsets)
    assert {number: place.lane for number, place in found.items()} == {number: lanes[number] for number in found}


@pytest.mark.parametrize("read_again", [False, True])
def test_it_is_there_once(read_again: bool) -> None:
    plan, (block,) = attention(read_again), whole("mixed").blocks(1)
    step = plan.steps[0]
    made = compute_in_place(plan, step, block, lambda _: block.sends, lambda _: NOTHING, 1)
    (rows,) = hold(step, made).sent.values()
    for value in sent(plan):
        here = places_in(step).get(value.id)
        assert np.shares_memory(rows, made.values[value.id]) == (here is not None)
        lane = step.ships[0].offsets[value.id]
        np.testing.assert_array_equal(rows[:, lane : lane + 4], made.values[value.id].reshape(-1, 4))


def bits(plan: Plan, graph: Whole, blocks: int) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in run(plan, graph, blocks).items()}


@pytest.mark.parametrize("name", FORMULAS)
def test_the_same_bits_as_apart(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, graph = Plan.of(build(name)), whole("mixed")
    for blocks in (1, 3):
        together = bits(plan, graph, blocks)
        with monkeypatch.context() as patched:
            patched.setattr(in_place, "Outgoing", lambda step: None)
            assert bits(plan, graph, blocks) == together
