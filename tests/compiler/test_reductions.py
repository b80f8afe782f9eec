"""Each reduction on awkward graphs, cut in every way; what stands in empty rows; numbers that are none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from pipeline.blocks.block import LOOPS, Tile
from pipeline.compiler import compile_reduction, softmax
from pipeline.formula import GraphArrays, Relation, concat, dot, leaky_relu, linear, node_input, relu, weight
from pipeline.formula.reductions import REDUCTIONS
from pipeline.formula.values import apply, fill
from pipeline.schema import NODE, EdgeType
from tests.compiler.tiles import compiled, expected, lanes, tiles
from tests.reductions import CASES, variants

BLOCKS = (1, 3, 8, 17)
RNG = np.random.default_rng(5)
WEIGHTS = {
    "att": RNG.normal(size=(4, 16)).astype(np.float32),
    "mlp": RNG.normal(size=(8, 130)).astype(np.float32) / 8,
}


def hub(nodes=60, edges=3000):
    """One row of 2000 edges, longer than what a loop takes at a time."""
    dst = np.where(np.arange(edges) < 2000, 7, RNG.integers(0, nodes, edges))
    return RNG.integers(0, nodes, edges), dst, nodes


def random(nodes=40, edges=300):
    return RNG.integers(0, nodes, edges), (nodes * RNG.random(edges) ** 2).astype(int), nodes


GRAPHS = {
    "random": random(),
    "hub": hub(),
    "no edges": (np.empty(0, int), np.empty(0, int), 5),
    "one node": (np.zeros(3, int), np.zeros(3, int), 1),
    "loops only": (np.arange(9), np.arange(9), 9),
    "parallel edges": (np.full(20, 3), np.full(20, 4), 6),
    "chain": (np.arange(19), np.arange(1, 20), 20),
}


def arrays(name: str) -> GraphArrays:
    src, dst, nodes = GRAPHS[name]
    rng = np.random.default_rng(1)
    shapes = {"x": (64,), "h": (4, 16), "r": (4, 16), "a": (4, 1), "b": (4, 1), "s": (), "o": (1,)}
    weights = rng.random(len(src))
    weights[src == dst] = src[src == dst] / 8  # which of a node's loops is the last is not for a table to say
    graph = GraphArrays.single(src, dst, np.zeros((nodes, 1)), weight=weights.reshape(-1, 1).astype(np.float32))
    graph.node_columns[NODE].update(
        {name: rng.normal(size=(nodes, *shape)).astype(np.float32) for name, shape in shapes.items()}
    )
    return graph


G = Relation(columns={"weight": (1,)})
PROPER = G.without_self_loops()
X, H, R, A, B, S = (
    node_input("x", (64,)), node_input("h", (4, 16)), node_input("r", (4, 16)), node_input("a", (4, 1)),
    node_input("b", (4, 1)), node_input("s", ()),
)  # fmt: skip
LOGITS = leaky_relu(G.src(A) + G.dst(B), 0.2)
LOOP_EDGES = apply("restrict", G.edge("weight"), part="loops")

PROGRAMS = {
    "degree": G.degree(),
    "sum": G.sum(G.src(X)),
    "weighted sum": G.sum(G.src(X) * G.edge("weight")),
    "sum without loops": PROPER.sum(PROPER.src(X) * PROPER.edge("weight")),
    "sum of dst": G.sum(G.dst(S) * 2.0),
    "product": G.prod(apply("tanh", G.src(H) - G.dst(H))),
    "product of edges": PROPER.prod(PROPER.edge("weight") * 1.5),
    "max": G.max(G.src(H) - G.dst(H)),
    "min": apply("min", G.src(X), empty=-7.0),
    "last": apply("last", LOOP_EDGES),
    "last or default": apply("last", LOOP_EDGES, fill(1.0, G.edges.target, (1,))),
    "last or own": apply("last", LOOP_EDGES * 2.0, node_input("o", (1,))),
    "gat": apply("softmax_sum", LOGITS, G.src(H)),
    "gat with own": apply("softmax_sum", LOGITS, G.src(H), A, H),
    "gatv2": apply("softmax_sum", dot(leaky_relu(G.src(H) + G.dst(R), 0.2), weight("att", (4, 16))), G.src(H)),
    "softmax per lane": apply("softmax_sum", G.src(X) * 3.0, G.src(X)),
    "one logit, one number": apply("softmax_sum", G.src(S), G.edge("weight").reshape()),
    "wide logits": apply("softmax_sum", G.src(H), G.src(A)),
    "constant messages": apply("softmax_sum", LOGITS, fill(2.0, G.edges, (16,))),
    "median": G.median(G.src(X)),
    "quantiles": G.quantile(leaky_relu(G.src(H) - G.dst(R), 0.1), [0.0, 0.3, 0.5, 1.0]),
    "higher": G.quantile(G.src(S), 0.3, "higher"),
    "several of a number": PROPER.quantile(PROPER.src(S) * PROPER.dst(S), [0.25, 0.75], "midpoint"),
    "median of weights": G.median(G.edge("weight")),
    "median with own": apply("quantile", G.src(X), X, q=(0.5,), interpolation="linear", empty=0.0),
    "edge mlp": G.sum(relu(linear(concat([G.src(X), G.dst(X), G.src(S).reshape(1), G.edge("weight")]),
                                  weight("mlp", (8, 130))))),
}  # fmt: skip
for _name, _own in variants():
    _messages = [G.src(H) - G.dst(R), G.src(R) * 2.0][: REDUCTIONS[_name].messages]
    PROGRAMS[f"{_name} by its record" + " with own" * _own] = CASES[_name].reduction(
        _name, *_messages, own=(R, H)[: len(_messages)] if _own else ()
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_interpreter_and_compiled_agree(program):
    value = PROGRAMS[program]
    for name in GRAPHS:
        graph = arrays(name)
        reference = expected(value, graph, WEIGHTS)
        scale = np.abs(reference[np.isfinite(reference)]).max(initial=1.0)  # a maximum of nothing is -inf
        for blocks in BLOCKS:
            np.testing.assert_allclose(
                compiled(value, graph, WEIGHTS, blocks), reference, rtol=0, atol=6e-6 * scale,
                err_msg=f"{program} on {name} in {blocks} blocks",
            )  # fmt: skip


@pytest.mark.parametrize("program", ["sum", "gat with own", "edge mlp", "max"])
def test_the_same_cut_gives_the_same_bits(program):
    graph = arrays("hub")
    first = compiled(PROGRAMS[program], graph, WEIGHTS, 8)
    for _ in range(3):
        np.testing.assert_array_equal(compiled(PROGRAMS[program], graph, WEIGHTS, 8), first)


@pytest.mark.parametrize("piece", [1, 3, 64])
def test_pieces_cut_rows_anywhere(piece, monkeypatch):
    monkeypatch.setattr(softmax, "PIECE", piece)
    graph = arrays("random")
    for program in ("gat", "gat with own", "softmax per lane"):
        reference = expected(PROGRAMS[program], graph, WEIGHTS)
        np.testing.assert_allclose(compiled(PROGRAMS[program], graph, WEIGHTS, 3), reference, atol=1e-5)


def test_two_node_types():
    """No self-loops exist between types, and the numbers of nodes differ."""
    edges = EdgeType("user", "rates", "film")
    rng = np.random.default_rng(0)
    graph = GraphArrays(
        {"user": 30, "film": 11},
        {edges: (rng.integers(0, 30, 80), rng.integers(0, 11, 80))},
        {"user": {"u": rng.normal(size=(30, 5)).astype(np.float32)},
         "film": {"f": rng.normal(size=(11, 5)).astype(np.float32)}},
    )  # fmt: skip
    g = Relation(type(G.edges)(edges))
    value = g.sum(g.src(node_input("u", (5,), g.edges.source)) * g.dst(node_input("f", (5,), g.edges.target)))
    for blocks in (1, 4):
        np.testing.assert_allclose(compiled(value, graph, {}, blocks), expected(value, graph, {}), atol=1e-5)


def columns_graph(x: list[float], dst: list[int], nodes: int, own: list[float] | None = None) -> GraphArrays:
    """Edge k goes from node k to dst[k] and carries x[k]."""
    column = np.zeros(nodes, np.float32)
    column[: len(x)] = x
    graph = GraphArrays.single(np.arange(len(x)), np.array(dst), np.zeros((nodes, 1)))
    graph.node_columns[NODE]["s"] = column
    graph.node_columns[NODE]["a"] = np.array(own if own is not None else np.zeros(nodes), np.float32)
    return graph


NAN, INF = np.nan, np.inf


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_max_keeps_nan_and_infinities(blocks):
    graph = columns_graph([1, NAN, 5, -INF, -INF, INF, 2], [0, 0, 0, 1, 1, 2, 2], 9)
    largest = compiled(G.max(G.src(S)), graph, {}, blocks)
    np.testing.assert_array_equal(largest, [NAN, -INF, INF, 0, 0, 0, 0, 0, 0])
    smallest = compiled(apply("min", G.src(S), empty=3.0), graph, {}, blocks)
    np.testing.assert_array_equal(smallest, [NAN, -INF, 2, 3, 3, 3, 3, 3, 3])


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_softmax_of_infinite_logits_is_pytorchs(blocks, own):
    """Row by row: all -inf; -inf, then finite; finite, then -inf; NaN; +inf; large ones; and none at all."""
    logits = [-INF, -INF, -INF, 2, 3, -INF, 1, NAN, INF, 2, 3e38, -3e38, 80, 100, 120]
    dst = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]
    graph = columns_graph(logits, dst, 20, own=[-INF, -INF, 1, 0, 2, INF, 90, -INF, NAN, INF, 3] + [0] * 9)
    logit = node_input("a", ())
    value = apply("softmax_sum", G.src(S), fill(2.0, G.edges, (3,)), *([logit, fill(4.0, G.edges.target, (3,))] * own))
    np.testing.assert_allclose(compiled(value, graph, {}, blocks), expected(value, graph, {}), rtol=1e-6)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_logsumexp_of_infinite_messages_is_scipys(blocks, own):
    """Row by row: all -inf; -inf and finite; +inf; NaN; NaN and +inf; large ones; and none at all."""
    messages = [-INF, -INF, -INF, 2, INF, 1, INF, NAN, 1, NAN, INF, 3e38, -3e38, 80, 100, 120]
    dst = [0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]
    own_messages = [-INF, -INF, 1, 0, 2, INF, 90, -INF, NAN, INF, 3] + [0] * 9
    graph = columns_graph(messages, dst, 20, own=own_messages)
    value = apply("logsumexp", G.src(S), *([node_input("a", ())] * own), empty=-7.0)
    found = compiled(value, graph, {}, blocks)
    for node in range(20):
        given = [message for message, to in zip(messages, dst, strict=True) if to == node]
        given += [own_messages[node]] * own
        want = scipy.special.logsumexp(given) if given else -7.0
        np.testing.assert_allclose(found[node], want, rtol=1e-6, err_msg=str(given))


def test_a_logsumexp_of_many_small_messages_is_exact_enough():
    """A million times exp(-6.1) below exp(0): one after another, float32 gives 0.3 % less."""
    edges = 1_000_000
    columns = np.r_[0, np.ones(edges - 1)].astype(np.int32)
    tile = Tile(np.zeros(1, np.int32), np.array([0, edges], np.int32), columns)
    payload = np.array([[0.0], [-6.1]], np.float32)
    reduction = compile_reduction(G.logsumexp(G.src(S)), {S.id: 0}, {})
    accumulator = reduction.start(1, lambda value: payload[:, 0])
    reduction.add(accumulator, tile, payload, lambda value: payload[:, 0])
    want = np.log(1 + (edges - 1) * np.exp(np.float64(payload[1, 0])))
    np.testing.assert_allclose(reduction.finish(accumulator), want, rtol=3e-6)


def test_messages_that_are_infinite_stay_infinite():
    graph = columns_graph([INF, 1, -INF, 2], [0, 0, 1, 1], 4)
    value = apply("softmax_sum", fill(0.0, G.edges), G.src(S))
    np.testing.assert_array_equal(compiled(value, graph, {}, 2), [INF, -INF, 0, 0])


def test_tiles_may_come_in_any_number():
    """A tile cut in two, with a row on both sides, changes nothing but the order of additions."""
    graph = arrays("hub")
    for program in ("gat with own", "max", "sum", "edge mlp"):
        value = PROGRAMS[program]
        offsets, width = lanes(value)
        reduction = compile_reduction(value, offsets, WEIGHTS)
        ((whole, _),) = [pair for source, pair in tiles(graph, reduction.edges.type, 1)[0].items() if source != LOOPS]
        cut = 1234
        row = int(np.searchsorted(whole.indptr, cut, side="right")) - 1
        halves = [
            Tile(whole.rows[: row + 1], np.append(whole.indptr[: row + 1], cut).astype(np.int32),
                 whole.indices[:cut], {"weight": whole.values["weight"][:cut]}),
            Tile(whole.rows[row:], np.append(0, whole.indptr[row + 1 :] - cut).astype(np.int32),
                 whole.indices[cut:], {"weight": whole.values["weight"][cut:]}),
        ]  # fmt: skip
        payload = np.random.default_rng(3).normal(size=(whole.senders, width)).astype(np.float32)
        results = []
        for parts in ([whole], halves, [Tile(whole.rows[:0], np.zeros(1, np.int32), whole.indices[:0]), whole]):
            read = lambda v: graph.node_columns[NODE][v.attributes["name"]]
            accumulator = reduction.start(60, read)
            for part in parts:
                reduction.add(accumulator, part, payload, read)
            results.append(reduction.finish(accumulator))
        np.testing.assert_allclose(results[0], results[1], rtol=0, atol=2e-6 * np.abs(results[0]).max())
        np.testing.assert_array_equal(results[0], results[2])


def test_what_a_reduction_reads():
    reduction = compile_reduction(PROGRAMS["gat with own"], {A.id: 64, H.id: 0}, {})
    assert reduction.sent == [A, H]
    assert reduction.local == [B, A, H]
    assert reduction.edges.part == "all"
    assert compile_reduction(PROGRAMS["degree"], {}, {}).sent == []
    assert compile_reduction(PROGRAMS["sum without loops"], {X.id: 0}, {}).edges.part == "proper"


def test_hubs_are_counted_and_summed_exactly_enough():
    """One after another, a million times 0.1 is 100958; the same number again and again is the worst case."""
    edges = 1_000_000
    tile = Tile(np.zeros(1, np.int32), np.array([0, edges], np.int32), np.zeros(edges, np.int32))
    payload = np.full((1, 1), 0.1, np.float32)
    for value in (G.sum(G.src(S)), apply("softmax_sum", fill(0.0, G.edges), G.src(S))):
        reduction = compile_reduction(value, {S.id: 0}, {})
        accumulator = reduction.start(1, lambda value: payload[:, 0])
        reduction.add(accumulator, tile, payload, lambda value: payload[:, 0])
        sum_ = 1 if value.op == "softmax_sum" else edges
        np.testing.assert_allclose(reduction.finish(accumulator), np.float64(payload[0, 0]) * sum_, rtol=3e-5)


def test_rows_without_lanes():
    value = G.sum(G.src(node_input("x", (64,)))[0:0])
    assert compiled(value, arrays("random"), {}, 3).shape == (40, 0)
