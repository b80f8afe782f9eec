"""Long chains of operations: neither Python's recursion nor the number of paths through them ends a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.compiler import call
from pipeline.compiler.edge_program import LONGEST_CHAIN, edge_program
from pipeline.formula import Relation, Value, apply, interpret, linear, tanh
from pipeline.model import Model
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from tests.compiler.tiles import load_plain
from tests.whole import whole


def check(formula: Callable[..., Value], weights: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run gives is what the interpreter gives."""
    monkeypatch.setattr(call, "load", load_plain)
    model = Model.from_formula(formula, weights, {"nodes.x": 6})
    blocks = whole("mixed").blocks(3)
    found: dict[Any, Any] = {}
    for block, outputs in zip(blocks, run_fused(Plan.of(model), blocks), strict=True):
        found |= zip(block.ids["node"].to_pylist(), outputs["output"], strict=True)
    want = interpret(model.program, model.weights, whole("mixed").arrays())["output"]
    got = np.array([found[node] for node in whole("mixed").ids])
    np.testing.assert_allclose(got, want, atol=1e-5 * max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("steps", [LONGEST_CHAIN // 2 - 1, 100, 400])
def test_a_long_chain_on_edges(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def formula(g: Relation, x: Value) -> Value:
        e = g.src(x) * g.dst(x)
        for step in range(steps):
            e = tanh(e * (1 + step / 1000))
        return g.sum(e)

    check(formula, {}, monkeypatch)


def test_a_long_chain_of_views_on_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    def formula(g: Relation, x: Value) -> Value:
        e = g.src(x) * g.dst(x)
        for _ in range(151):
            e = apply("transpose", e.reshape(2, 3), axes=(1, 0)).reshape(6)
        return g.sum(tanh(e))

    check(formula, {}, monkeypatch)


def test_short_chains_stay_in_one_loop() -> None:
    g = Relation()
    program = Model.from_formula(lambda g, x: g.max(tanh(tanh(g.src(x)) * g.dst(x))), {}, {"nodes.x": 6}).program
    assert not edge_program(program.outputs["output"]).dense
    assert g.edges == edge_program(program.outputs["output"]).roots[0].space


@pytest.mark.parametrize("op", ["mul", "maximum", "sub"])
def test_what_is_used_twice_forty_times_over(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^40 paths lead through it."""

    def formula(g: Relation, x: Value) -> Value:
        e = tanh(g.src(x) * g.dst(x)) * 0.5
        for _ in range(40):
            e = apply(op, e, e)
        return g.sum(e)

    check(formula, {}, monkeypatch)


def test_a_linear_map_of_many_residuals(monkeypatch: pytest.MonkeyPatch) -> None:
    def formula(g: Relation, x: Value, w: Any) -> Value:
        h = g.sum(g.src(x))
        for _ in range(40):
            h = h + h
        for _ in range(600):
            h = h * 0.9 + tanh(h)
        return linear(h, w.lin)

    check(formula, {"lin.weight": np.full((2, 6), 0.1)}, monkeypatch)
