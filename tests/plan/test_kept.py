"""A model is planned once, for each way to plan it."""

from __future__ import annotations

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from pipeline import Graph, infer
from pipeline.formula.node_rows import NodeRows
from pipeline.plan import plan as plans
from pipeline.plan.plan import Plan
from tests.formulas import build
from tests.whole import whole


def test_a_model_is_planned_once(monkeypatch):
    asked = []
    lower = plans.lower
    monkeypatch.setattr(plans, "lower", lambda *given: asked.append(given) or lower(*given))
    model, other = build("sage"), build("sage")
    kept = Plan.of(model)
    assert Plan.of(model) is kept
    assert len(asked) == 1
    each = [Plan.of(model, undirected=True), Plan.of(model, wire="float16"), Plan.of(other)]
    assert len({id(kept), *map(id, each)}) == 4
    assert [plan.wire for plan in each] == ["float32", "float16", "float32"]
    assert len(asked) == 4


def test_a_plan_goes_with_its_model():
    model = build("sage")
    plan = weakref.ref(Plan.of(model))
    assert plan() is not None
    del model
    gc.collect()
    assert plan() is None


def test_the_tasks_of_a_run_make_one_plan_of_it(monkeypatch):
    """In a worker, which is a process that does one task after another."""
    made = []
    real = plans.schedule
    monkeypatch.setattr(plans, "schedule", lambda *given: made.append(given) or real(*given))
    plan, other = Plan.of(build("sage")), Plan.of(build("gat"))
    pushing = plan.pushing([(0, plan.steps[0].ships[0].edge_type)])
    sent = [pickle.dumps(each) for each in (plan, pushing, other)]
    made.clear()
    first = pickle.loads(sent[0])
    assert pickle.loads(sent[0]) is first
    assert first.compile(first.steps[1]) is pickle.loads(sent[0]).compile(first.steps[1])
    assert len(made) == 1
    assert pickle.loads(sent[1]).pushes == pushing.pushes
    assert str(pickle.loads(sent[2]).program) == str(other.program)
    assert len(made) == 3


def test_a_plan_of_other_weights_is_another_one():
    program, weights = Plan.of(build("sage")).program, Plan.of(build("sage")).weights
    one, other = (Plan(program, {name: array * scale for name, array in weights.items()}) for scale in (1, 2))
    rows = Plan(program, one.weights, node_rows={"node": NodeRows.of("rows", pa.array([1, 2]), {"x": np.ones((2, 3))})})
    for each in (one, other, rows, one):
        again = pickle.loads(pickle.dumps(each))
        assert all(np.array_equal(again.weights[name], each.weights[name]) for name in weights)
        assert again.node_rows.keys() == each.node_rows.keys()
    assert pickle.loads(pickle.dumps(Plan(program, one.weights, wire="float16"))).wire == "float16"


def test_a_worker_keeps_no_plan_of_large_weights(monkeypatch):
    plan = Plan.of(build("sage"))
    sent = pickle.dumps(plan)
    monkeypatch.setattr(plans, "MOST_KEPT", sum(array.nbytes for array in plan.weights.values()) - 1)
    monkeypatch.setattr(plans, "_kept", None)
    found = weakref.ref(pickle.loads(sent))
    gc.collect()
    assert found() is None


def test_several_threads_at_a_time_get_the_bits_of_one(no_session):
    graph = Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"])
    expected = np.stack(infer(graph, build("gat")).to_pandas()["output"])
    model = build("gat")
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: infer(graph, model), range(8)):
            np.testing.assert_array_equal(np.stack(found.to_pandas()["output"]), expected)
