"""A model is planned once, for each way to plan it."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline import Graph, infer
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


def test_several_threads_at_a_time_get_the_bits_of_one(no_session):
    graph = Graph(whole("mixed").nodes(), whole("mixed").edges(), edge_features=["weight", "attr"])
    expected = np.stack(infer(graph, build("gat")).to_pandas()["output"])
    model = build("gat")
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: infer(graph, model), range(8)):
            np.testing.assert_array_equal(np.stack(found.to_pandas()["output"]), expected)
