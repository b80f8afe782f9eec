"""A softmax that several relations share, each in one pass: when it is found, that the value stays, infinite logits."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import numpy as np
import pytest

from pipeline.formula import Program, Relation, Value, dot, exp, interpret, node_input, weight
from pipeline.formula.relations import Relations
from pipeline.formula.spaces import Edges, Nodes
from pipeline.lowering import rewrites as rules
from pipeline.lowering.lower import lower
from pipeline.plan.plan import Plan
from pipeline.run.fused import run_fused
from pipeline.schema import EdgeType
from tests.typed import TypedGraph, random_graph

KINDS = [EdgeType("a", "r0", "b"), EdgeType("b", "r1", "b"), EdgeType("a", "r2", "b"), EdgeType("a", "r3", "a")]
# the third has no edges; nodes without any, a hub, self-loops and parallel edges as all have
COUNTS = {KINDS[0]: 40, KINDS[1]: 60, KINDS[2]: 0, KINDS[3]: 30}
GRAPH = random_graph({"a": 9, "b": 31}, COUNTS, {"a": 12, "b": 12})
X = {name: node_input("x", (12,), Nodes(name)) for name in "ab"}
G = Relations({kind: {} for kind in KINDS}, ["a", "b"])


W = {f"w{number}": np.random.default_rng(number).normal(size=(3, 4, 4)).astype(np.float32) for number in range(2)}


def attention(x: Mapping[str, Value], flat: bool = False, g: Relations = G, mapped: bool = False) -> dict[str, Value]:
    """HGT's, of 3 heads of 4 lanes; `mapped`: with a matrix of each relation for each head."""
    logits, messages = {}, {}
    for number, kind in enumerate(g):
        key, query = x[kind[0]].reshape(3, 4), x[kind[2]].reshape(3, 4)
        if mapped:
            key = (key.reshape(3, 1, 4) @ weight(f"w{number}", (3, 4, 4))).reshape(3, 4)
        scale, shift = (1.0, 0.0) if mapped else (number + 1.0, float(number))
        logits[kind] = dot(g[kind].dst(query), g[kind].src(key * scale))
        messages[kind] = g[kind].src(key + shift)
    shares = g.softmax(logits)
    weighed = {kind: shares[kind] * messages[kind] for kind in g}
    return g.sum({kind: each.reshape(12) if flat else each for kind, each in weighed.items()})


def plain(x: Mapping[str, Value], g: Relations = G) -> dict[str, Value]:
    """A number for each edge, and the share in front of a message that two factors make."""
    logits = {kind: g[kind].src(x[kind[0]][0]) * g[kind].dst(x[kind[2]][1]) for kind in g}
    shares = g.softmax(logits)
    return g.sum({kind: g[kind].src(x[kind[0]]) * shares[kind].reshape(1) * g[kind].dst(x[kind[2]]) for kind in g})


def program(values: Mapping[str, Value]) -> Program:
    return Program({f"{name}.y": value for name, value in values.items()})


def edges_gone_through(program: Program) -> int:
    return sum(value.op in ("sum", "max", "softmax_sum", "softmax_state") for value in program.values)


def same(before: Program, after: Program, graph: TypedGraph = GRAPH) -> None:
    want, found = (interpret(each, {}, graph.arrays) for each in (before, after))
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-12, atol=1e-12)


def test_layers() -> None:
    def layer(x: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value.reshape(12) for name, value in attention(x).items()}

    before = program(layer(layer(X)))
    after = rules.shared_softmax(before)
    same(before, after)
    # of each layer three relations into b; into a there is one, which is no business of this rewrite
    assert [value.op for value in after.values].count("softmax_state") == 6
    assert edges_gone_through(Program(dict(lower(before, {})[0].outputs))) == 8


@pytest.mark.parametrize("name", ["heads", "flat", "numbers"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_runs(name: str, blocks: int) -> None:
    before = program({"heads": attention(X), "flat": attention(X, flat=True), "numbers": plain(X)}[name])
    same(before, rules.shared_softmax(before))
    lowered, weights = lower(before, {})
    assert edges_gone_through(lowered) == len(KINDS), "once for each relation"
    parts = GRAPH.blocks(blocks)
    outputs = run_fused(Plan(lowered, weights), parts)
    for key, want in interpret(before, {}, GRAPH.arrays).items():
        found = GRAPH.whole(key[0], parts, [each[key] for each in outputs])
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())


NAN, INF = np.nan, np.inf
LOGITS = {
    "none in one": ([1.0, 2.0], []), "-inf in one": ([-INF, -INF], [1.0, 3.0]), "-inf in the other": ([1.0], [-INF]),
    "all -inf": ([-INF], [-INF, -INF]), "all of one, none else": ([-INF], []), "+inf": ([INF], [1.0]),
    "NaN": ([1.0], [NAN]), "only NaN": ([NAN], []), "far apart": ([90.0], [-90.0]), "large": ([3e38], [-3e38, 80.0]),
    "nothing": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGITS)
def test_infinite_logits_are_pytorchs(name: str) -> None:
    """One node, two relations into it: PyG's softmax of all their edges together."""
    first, second = LOGITS[name]
    kinds = [EdgeType("a", "r0", "b"), EdgeType("a", "r1", "b")]
    count = len(first) + len(second)
    numbers = np.arange(count), np.zeros(count, np.int64)
    ends = {kinds[0]: [part[: len(first)] for part in numbers], kinds[1]: [part[len(first) :] for part in numbers]}
    x = np.c_[np.array([*first, *second, 0.0]), np.arange(1.0, count + 2)]
    graph = TypedGraph({"a": count + 1, "b": 2}, {k: tuple(v) for k, v in ends.items()}, {"a": {"x": x}})
    g, value = Relations({kind: {} for kind in kinds}, ["a", "b"]), node_input("x", (2,), Nodes("a"))
    shares = g.softmax({kind: g[kind].src(value[0]) for kind in g})
    before = program(g.sum({kind: shares[kind] * g[kind].src(value[1]) for kind in g}))
    with np.errstate(all="ignore"):
        powers = np.exp(x[:-1, 0] - x[:-1, 0].max(initial=-INF))
        want = [(powers / (powers.sum() + 1e-16) * x[:-1, 1]).sum(), 0.0]
        np.testing.assert_allclose(interpret(rules.shared_softmax(before), {}, graph.arrays)["b.y"], want)
    blocks = graph.blocks(2)
    found = graph.whole("b", blocks, [each["b.y"] for each in run_fused(Plan(*lower(before, {})), blocks)])
    np.testing.assert_allclose(found, want, rtol=1e-6)


def left_alone(g: Relations = G) -> dict[str, Program]:
    logits = {kind: g[kind].src(X[kind[0]]) for kind in g if kind[2] == "b"}
    shares = g.softmax(logits)
    weighed = {kind: share * g[kind].src(X[kind[0]]) for kind, share in shares.items()}
    summed = g.sum(weighed)
    top = g.max(shares)
    some = dict(list(weighed.items())[:2])
    kind = next(iter(logits))
    other = g[kind].sum(exp(logits[kind]) / g[kind].dst(g[kind].sum(exp(logits[kind]))) * g[kind].src(X["a"]))
    return {
        "shares that others read": Program({"b.y": summed["b"] + top["b"]}),
        "some of the shares": program(g.sum(some)),
        "another quotient": Program({"b.y": other}),
    }


@pytest.mark.parametrize("name", left_alone())
def test_what_is_left_alone(name: str) -> None:
    before = left_alone()[name]
    after = rules.shared_softmax(before)
    assert not any(value.op == "softmax_state" for value in after.values)
    same(before, after)


@pytest.mark.parametrize("twice", [False, True])
def test_a_quotient_by_a_long_sum(twice: bool) -> None:
    """A chain longer than Python's stack, and one that doubles: 2^40 terms."""
    g = Relation(Edges(KINDS[0]))
    logits = g.src(X["a"][0])
    powers = exp(logits - g.dst(g.max(logits)))
    total = g.sum(powers)
    for _ in range(40 if twice else 3000):
        total = total + (total if twice else g.sum(powers))
    shares = powers / g.dst(total + 1e-16)
    before = Program({"b.y": g.sum(shares * logits)})
    assert rules.shared_softmax(before) is before


def test_a_total_that_is_longer_than_what_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not seen of it may be a relation's."""
    logits = {kind: G[kind].src(X[kind[0]][0]) for kind in G if kind[2] == "b"}
    sums = [G[kind].sum(share * G[kind].src(X[kind[0]][1])) for kind, share in G.softmax(logits).items()]
    x = X["b"][2]
    before = Program({"b.y": x + (x * 2.0 + (sums[0] + (sums[1] + sums[2])))})
    after = rules.shared_softmax(before)
    assert edges_gone_through(after) == len(sums)
    same(before, after)
    monkeypatch.setattr(import_module("pipeline.lowering.rewrites.shared_softmax"), "MOST_TERMS", len(sums))
    assert rules.shared_softmax(before) is before


@pytest.mark.parametrize("mapped", [False, True])
def test_relations_are_branches(mapped: bool) -> None:
    """Whose states are merged one after another, and whose matrices are behind them."""
    kinds = [EdgeType("a", f"r{number}", "b") for number in range(2)]
    graph = random_graph({"a": 9, "b": 31}, dict.fromkeys(kinds, 5), {"a": 12, "b": 12})
    before = program(attention(X, g=Relations({kind: {} for kind in kinds}, ["a", "b"]), mapped=mapped))
    lowered, weights = lower(before, W)
    assert edges_gone_through(lowered) == len(kinds)
    sent = {each.inputs[0].op for each in lowered.values if each.op == "src"}
    assert sent <= {"input", "reshape"} or not mapped, "the same rows over all relations"
    plan = Plan(lowered, weights)
    assert [len(step.branches) for step in plan.steps] == [0, len(kinds)]
    want = interpret(before, W, graph.arrays)["b.y"]
    for count in (1, 3):
        blocks = graph.blocks(count)
        found = graph.whole("b", blocks, [each["b.y"] for each in run_fused(plan, blocks)])
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_one_softmax_of_a_relation_alone_looks_through_views() -> None:
    g = Relation(Edges(KINDS[0]))
    share = g.softmax(dot(g.dst(X["b"].reshape(3, 4)), g.src(X["a"].reshape(3, 4))))
    before = Program({"b.y": g.sum((g.src(X["a"].reshape(3, 4)) * share.reshape(3, 1)).reshape(12))})
    lowered, _ = lower(before, {})
    assert edges_gone_through(lowered) == 1
    same(before, lowered)
