"""Maps of a relation that go to its targets: the same numbers, and sources send the same rows over all relations."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, apply, interpret, node_input, weight
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering import rewrites as rules
from pipeline.schema import EdgeType
from tests.typed import random_graph

KIND = EdgeType("a", "r", "b")
GRAPH = random_graph({"a": 9, "b": 14}, {KIND: 40}, {"a": 12, "b": 10})
K, Q = node_input("x", (12,), Nodes("a")), node_input("x", (10,), Nodes("b"))
WEIGHTS = {"w": np.random.default_rng(1).normal(size=(2, 6, 5))}
g = Relation(Edges(KIND))


def mapped() -> Value:
    return (K.reshape(2, 1, 6) @ weight("w", (2, 6, 5))).reshape(2, 5)


def same(before: Value, after: Value | None) -> None:
    assert after is not None
    first, second = (
        interpret(Program({"b.y": apply("sum", each) if each.is_edge else each}), WEIGHTS, GRAPH.arrays)["b.y"]
        for each in (before, after)
    )
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-12 * np.abs(first[np.isfinite(first)]).max())


@pytest.mark.parametrize("op", ["softmax_sum", "softmax_state"])
def test_a_map_goes_behind_a_softmax(op: str) -> None:
    logits = apply("lane_sum", g.dst(Q.reshape(2, 5)), axes=(1,), keepdims=True) * g.src(K[0].reshape(1, 1))
    before = apply(op, logits, g.src(mapped()))
    after = rules.map_after_softmax(before)
    same(before, after)
    assert after is not None
    products = [each for each in Program({"b.y": after}).values if each.op == "matmul"]
    assert len(products) == 1
    assert not products[0].inputs[0].is_edge
    per_lane = logits * g.src(mapped())  # shares of each lane do not go through a sum of lanes
    assert rules.map_after_softmax(apply(op, per_lane, g.src(mapped()))) is None


def test_a_map_goes_to_the_query() -> None:
    for product in (g.dst(Q.reshape(2, 5)) * g.src(mapped()), g.src(mapped()) * g.dst(Q.reshape(2, 5))):
        before = apply("lane_sum", product, axes=(1,), keepdims=False)
        after = rules.map_of_query(before)
        same(before, after)
        assert after is not None
        sent = next(each for each in after.inputs[0].inputs if each.op == "src")
        assert {each.op for each in Program({"a.y": sent.inputs[0]}).values} == {"reshape", "input"}


def test_what_is_left_alone() -> None:
    per_lane = g.src(mapped()) * g.dst(Q.reshape(2, 5))
    bare = apply("lane_sum", g.src(mapped()) * g.src(K[:10].reshape(2, 5)), axes=(1,), keepdims=False)
    assert rules.map_of_query(bare) is None
    assert rules.map_of_query(apply("lane_sum", per_lane, axes=(0,), keepdims=False)) is None
