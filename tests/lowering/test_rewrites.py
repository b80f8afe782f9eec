"""Each rewrite: what it turns a formula into, and that the value stays. All of them together, on every test formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.formula import (
    GraphArrays,
    Program,
    Relation,
    Value,
    apply,
    concat,
    fill,
    flip,
    interpret,
    node_input,
    relu,
    weight,
)
from pipeline.formula.spaces import Nodes
from pipeline.lowering import rewrites as rules
from pipeline.lowering.cost import cost
from pipeline.lowering.lower import lower
from pipeline.lowering.rewriting import always, if_cheaper
from tests.formulas import FORMULAS, WIDTH, build
from tests.reductions import CASES, REDUCING

EDGES = 900
NODES = 120


@pytest.fixture(scope="module")
def graph() -> GraphArrays:
    rng = np.random.default_rng(5)
    src, dst = rng.integers(0, NODES, EDGES), rng.integers(0, NODES - 20, EDGES)
    dst[:200] = 3  # a hub
    src[200:240] = dst[200:240]  # self-loops
    src[240:260], dst[240:260] = src[260:280], dst[260:280]  # parallel edges
    x = rng.standard_normal((NODES, WIDTH))
    return GraphArrays.single(src, dst, x, weight=rng.random(EDGES) + 0.1, attr=rng.standard_normal((EDGES, 3)))


def same(program: Program, other: Program, graph: GraphArrays, **shapes: Any) -> None:
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(shape) for name, shape in {**program.weights, **other.weights}.items()}
    want, got = interpret(program, weights, graph), interpret(other, weights, graph)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-9, atol=1e-9)


def ops(program: Program) -> list[str]:
    return [value.op for value in program.values]


def check(make: Callable[[Relation, Value], Value], graph: GraphArrays, apply: Callable[[Program], Program]) -> Program:
    x = node_input("x", (WIDTH,))
    program = Program({"y": make(Relation(columns={"weight": ()}), x)})
    rewritten = apply(program)
    assert str(rewritten) != str(program), "the rule found nothing"
    same(program, rewritten, graph)
    return rewritten


W = weight("w", (WIDTH, 2))
WIDE = weight("wide", (WIDTH, 9))


def test_fuse_softmax(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.sum(g.softmax(g.src(x)) * g.src(x)), graph, lambda p: always(p, rules.fuse_softmax))
    assert ops(got).count("softmax_sum") == 1
    assert "softmax" not in ops(got)


def test_softmax_of_fewer_axes_than_the_message(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        return g.sum(g.softmax(g.src(x[0])).reshape(1) * g.src(x))

    got = check(make, graph, lambda p: always(p, rules.reshape_of_elementwise, rules.fuse_softmax))
    assert "softmax_sum" in ops(got)


def test_spell_softmax(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.max(g.softmax(g.src(x))), graph, lambda p: always(p, rules.expand_softmax))
    assert "softmax" not in ops(got)


@pytest.mark.parametrize("reduce", ["softmax", *sorted(REDUCING.keys() - {"last"})])  # last: of loops only
@pytest.mark.parametrize("drop", [False, True])
def test_split_self_loops(graph: GraphArrays, reduce: str, drop: bool) -> None:
    def make(g: Relation, x: Value) -> Value:
        g = (g.without_self_loops() if drop else g).with_self_loops(weight=3.0)
        message = (g.src(x) - g.dst(x) * 0.5) * g.edge("weight").reshape(1)
        if reduce == "softmax":
            return g.sum(g.softmax(message) * g.src(x))
        return CASES[reduce].reduction(reduce, *[message] * REDUCING[reduce].messages)

    got = check(make, graph, lambda p: rules.split_self_loops(always(p, rules.fuse_softmax)))
    assert "self" not in str(got)


def test_push_to_ends(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.sum(relu(g.src(x) * 2.0)), graph, lambda p: if_cheaper(p, rules.push_to_ends))
    assert all(value.op in ("src", "sum") or not value.is_edge for value in got.values)


def test_a_wider_value_is_not_pushed(graph: GraphArrays) -> None:
    x = node_input("x", (WIDTH,))
    g = Relation()
    program = Program({"y": g.max((g.src(x) @ WIDE)[:2] + g.dst(x)[:2])})
    assert cost(if_cheaper(program, rules.push_to_ends))[0] <= WIDTH


def test_factor_sums(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        return g.sum(g.src(x) * g.edge("weight").reshape(1) * g.src(x * 3.0) * g.dst(x))

    got = check(make, graph, lambda p: if_cheaper(p, rules.factor_sums))
    assert ops(got).count("src") == 1
    assert ops(got).count("dst") == 0


def test_an_infinite_factor_counts_only_where_there_are_edges(graph: GraphArrays) -> None:
    """deg^-0.5 is infinite for nodes without edges; a sum over no edges is 0 and not NaN."""

    def make(g: Relation, x: Value) -> Value:
        scale = (g.degree() ** -0.5).reshape(1)
        return g.sum(g.src(x) * g.dst(scale))

    got = check(make, graph, lambda p: if_cheaper(p, rules.factor_sums))
    assert np.isfinite(interpret(got, {}, graph)["y"]).all()


def test_linear_before_sum_narrows_what_is_shipped(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.mean(g.src(x)) @ W, graph, lambda p: if_cheaper(p, rules.linear_before_sum))
    assert cost(got)[0] == 2
    got = check(lambda g, x: (x * 1.5 + g.sum(g.src(x))) @ W, graph, lambda p: if_cheaper(p, rules.linear_before_sum))
    assert cost(got)[0] == 2


def test_linear_after_sum_where_it_widens(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.sum(g.src(x @ WIDE)), graph, lambda p: if_cheaper(p, rules.linear_after_sum))
    assert cost(got)[0] == WIDTH


def test_linear_stays_where_it_does_not_help(graph: GraphArrays) -> None:
    x = node_input("x", (WIDTH,))
    g = Relation()
    for value in (g.sum(g.src(x)) @ WIDE, g.sum(g.src(x @ W)), g.max(g.src(x)) @ W):
        program = Program({"y": value})
        for rule in (rules.linear_before_sum, rules.linear_after_sum):
            assert cost(if_cheaper(program, rule)) == cost(program)


def test_fold_affine(graph: GraphArrays) -> None:
    gain, mean = weight("gain", (2,)), weight("mean", (2,))
    got = check(
        lambda g, x: ((x @ W + mean) - gain) / gain * 2.0 + mean, graph, lambda p: if_cheaper(p, rules.fold_affine)
    )
    assert [value.op for value in got.values if value.is_node] == ["input", "matmul", "add"]


def test_fold_weights(graph: GraphArrays) -> None:
    x = node_input("x", (WIDTH,))
    program = Program({"y": x @ (W * 2.0 + 1.0)})
    matrix = np.arange(WIDTH * 2.0).reshape(WIDTH, 2)
    folded, weights = rules.fold_weights(program, {"w": matrix})
    assert list(weights) == ["folded.1"] or len(weights) == 1
    np.testing.assert_array_equal(next(iter(weights.values())), matrix * 2 + 1)
    np.testing.assert_allclose(interpret(folded, weights, graph)["y"], interpret(program, {"w": matrix}, graph)["y"])


def test_folded_weights_have_names_of_their_own(graph: GraphArrays) -> None:
    """Also where the model has a weight that is called as they are: its numbers took the place of the computed ones."""
    x = node_input("x", (WIDTH,))
    program = Program({"y": x @ (W * 2.0) + weight("folded.0", (2,)) + weight("_folded.0", (2,))})
    given = {"w": np.ones((WIDTH, 2)), "folded.0": np.full(2, 10.0), "_folded.0": np.full(2, 100.0)}
    folded, weights = rules.fold_weights(program, given)
    np.testing.assert_allclose(interpret(folded, weights, graph)["y"], interpret(program, given, graph)["y"])


def test_identities_and_constants(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        ones = fill(1.0, Nodes())
        return g.sum(g.src(x * ones.reshape(1) + 0.0) * g.src(ones).reshape(1)) / 1.0

    got = check(make, graph, lambda p: always(p, rules.identities, rules.constants_stay, rules.reshape_of_elementwise))
    assert ops(got) == ["input", "src", "sum"]


def test_flip_to_leaves(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        messages = relu(g.src(x) - g.dst(x) * 0.5) * g.edge("weight").reshape(1) + g.ones().reshape(1)
        return g.reversed().max(flip(messages))

    got = check(make, graph, lambda p: always(p, rules.flip_to_leaves))
    assert "flip" not in ops(got)
    assert {str(value.space) for value in got.values if value.is_edge} == {"edges[node__rev_to__node]"}


def test_flip_to_leaves_of_parts(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        loops = g.with_remaining_self_loops(3.0)
        return loops.reversed().sum(flip(loops.edge("weight").reshape(1) * loops.src(x)))

    got = check(make, graph, lambda p: always(p, rules.flip_to_leaves))
    assert "flip" not in ops(got)
    split = rules.split_self_loops(always(got, rules.restrict_to_leaves))
    assert "self" not in str(split)
    same(got, split, graph)


def test_there_and_back_is_nothing(graph: GraphArrays) -> None:
    got = check(lambda g, x: g.sum(flip(flip(g.src(x)))), graph, lambda p: always(p, rules.flip_to_leaves))
    assert ops(got) == ["input", "src", "sum"]


def test_a_softmax_flipped_twice_is_one_still(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        back = g.reversed()
        return back.sum(flip(flip(back.softmax(flip(g.dst(x)))) * g.dst(x)))

    got = check(make, graph, lambda p: always(p, rules.flip_to_leaves))
    assert ops(got) == ["input", "src", "softmax", "mul", "sum"]


def test_flip_of_softmax(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        return g.reversed().sum(flip(g.softmax(g.src(x)) * g.dst(x)))

    got = check(make, graph, lambda p: always(p, rules.flip_of_softmax, rules.flip_to_leaves))
    assert not {"flip", "softmax"} & set(ops(got))


def test_merge_reversed() -> None:
    """A graph of edges that are there in both directions: their values the same, their order not."""
    rng = np.random.default_rng(6)
    one, other, weight = rng.integers(0, NODES, EDGES), rng.integers(0, NODES, EDGES), rng.random(EDGES)
    back = one != other
    src, dst = np.concatenate([one, other[back]]), np.concatenate([other, one[back]])
    x = rng.standard_normal((NODES, WIDTH))
    graph = GraphArrays.single(src, dst, x, weight=np.concatenate([weight, weight[back]]))

    def make(g: Relation, x: Value) -> Value:
        g = g.without_self_loops()
        message = g.src(x) * g.edge("weight").reshape(1)
        return g.reversed().sum(flip(message - g.dst(x))) * g.reversed().max(g.reversed().src(x))

    got = check(make, graph, lambda p: rules.merge_reversed(always(p, rules.flip_to_leaves, rules.restrict_to_leaves)))
    assert "rev" not in str(got)


@pytest.mark.parametrize("name", FORMULAS)
def test_lowering_keeps_the_value_and_never_ships_more(name: str, graph: GraphArrays) -> None:
    model = build(name)
    lowered, weights = lower(model.program, model.weights)
    want = interpret(model.program, model.weights, graph)
    got = interpret(lowered, weights, graph)
    for output in want:
        # weights are folded in float64 and kept in float32
        np.testing.assert_allclose(got[output], want[output], rtol=1e-5, atol=1e-5)
    assert "self" not in str(lowered)
    turned = always(model.program, rules.flip_of_softmax, rules.flip_to_leaves)
    expanded = rules.split_self_loops(
        always(always(turned, rules.fuse_softmax), rules.expand_softmax, rules.restrict_to_leaves)
    )
    assert cost(lowered) <= cost(expanded)
    # a lowered program is a program: written and read again it is the same
    assert str(Program.from_json(lowered.to_json())) == str(lowered)


def test_a_program_that_nothing_changes_is_not_copied() -> None:
    once = always(build("sage").program, rules.identities)
    asked: list[int] = []
    assert always(once, lambda value: asked.append(value.id)) is once
    assert asked == [value.id for value in once.values], "each value is looked at once"
    assert if_cheaper(once, lambda value: None) is once
    assert rules.split_self_loops(once) is once


def test_what_a_change_makes_equal_is_one_value(graph: GraphArrays) -> None:
    """Also of values before the first change, which are not copied."""
    x, w = node_input("x", (WIDTH,)), weight("w", (WIDTH, WIDTH))
    program = always(Program({"y": relu(x @ w) + relu((x * 1.0) @ w)}), lambda value: None)
    got = always(program, rules.identities)
    assert [value.op for value in got.values].count("relu") == 1
    same(program, got, graph)


def test_a_product_with_one_lane_per_edge_is_a_loop(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        return g.sum((g.edge("weight").reshape(1) @ weight("thin", (1, WIDTH))).reshape(2, 3) * g.src(x).reshape(2, 3))

    got = check(make, graph, lambda p: always(p, rules.thin_product))
    assert "matmul" not in ops(got)


def test_linear_of_concat_is_computed_per_node(graph: GraphArrays) -> None:
    first, second = weight("first", (2 * WIDTH + 1, WIDTH)), weight("second", (WIDTH, 2))

    def make(g: Relation, x: Value) -> Value:
        joined = concat([g.src(x), g.dst(x), g.edge("weight").reshape(1)])
        return g.max(relu(joined @ first) @ second)

    got = check(make, graph, lambda p: always(if_cheaper(p, rules.linear_of_concat), rules.thin_product))
    # what is left per edge is the second product; the edge's own lane is a loop
    assert [value.op for value in got.values if value.is_edge].count("matmul") == 1
    assert cost(got)[0] == WIDTH


def test_linear_of_concat_ships_no_more(graph: GraphArrays) -> None:
    wide = weight("both", (2 * WIDTH, 4 * WIDTH))
    x = node_input("x", (WIDTH,))
    g = Relation()
    program = Program({"y": g.max(relu(concat([g.src(x), g.dst(x)]) @ wide))})
    assert str(if_cheaper(program, rules.linear_of_concat)) == str(if_cheaper(program, lambda value: None))
    got = if_cheaper(program, rules.linear_of_concat_at_dst)
    same(program, got, graph)
    assert cost(got)[0] == WIDTH
    assert [value.op for value in got.values if value.op == "matmul" and value.is_node] == ["matmul"]


def test_views_of_joined_values(graph: GraphArrays) -> None:
    def make(g: Relation, x: Value) -> Value:
        half = WIDTH // 2
        joined = concat([g.src(x).reshape(1, 2, half), g.dst(x).reshape(1, 2, half)], axis=2)
        head = apply("slice", joined, axis=1, start=0, stop=1, step=1).reshape(WIDTH)
        inside = apply("slice", joined, axis=2, start=1, stop=half, step=1)
        alone = apply("concat", g.src(x), axis=0)
        return concat([g.sum(head), g.sum(inside.flat()), g.sum(alone)])

    got = check(make, graph, lambda p: always(p, rules.join_views))
    edges = [value for value in got.values if value.is_edge]
    assert {value.inputs[0].op for value in edges if value.op == "slice"} == {"reshape"}
    assert all(len(value.inputs) == 2 for value in edges if value.op == "concat")
