"""Several reductions in one pass: the bits of each alone, whatever the graph and its cut; and plain NumPy's numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numba
import numpy as np
import pytest

from pipeline.blocks.block import LOOPS
from pipeline.compiler import EdgePass, compile_reduction
from pipeline.compiler import load as loading
from pipeline.compiler.edge_program import edge_program, joint_program
from pipeline.compiler.joint_loop import sharing, write_joint_loop
from pipeline.formula import GraphArrays, Relation, Value, leaky_relu, linear, node_input, relu, weight
from pipeline.formula.values import apply
from pipeline.schema import NODE
from tests.compiler.test_reductions import GRAPHS
from tests.compiler.tiles import column, lanes, tiles

BLOCKS = (1, 3, 8)
W = np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32)
B = np.random.default_rng(3).normal(size=16).astype(np.float32)
WEIGHTS = {"w": W, "b": B}

G = Relation(columns={"weight": (1,)})
X, Y, H, S = node_input("x", (16,)), node_input("y", (16,)), node_input("h", (4, 4)), node_input("s", ())
SHAPES = {"x": (16,), "y": (16,), "h": (4, 4), "s": ()}
MESSAGE = G.src(X) + G.dst(Y) + weight("b", (16,))
GATED = leaky_relu(G.src(X), 0.2) * G.edge("weight")
NEAR_ONE = GATED * 0.01 + 1.0  # a product of 2000 stays a float32
HEADS = G.src(H) * apply("lane_sum", G.src(H) * G.dst(H), axes=(1,), keepdims=True)


def per_edge(x, y, h, s, w, src, dst):
    """The messages as the formulas above have them, float64, (edges, …)."""
    gated = np.where(x[src] > 0, x[src], 0.2 * x[src]) * w
    return {
        "message": x[src] + y[dst] + B,
        "message²": (x[src] + y[dst] + B) ** 2,
        "gated": gated,
        "near one": gated * 0.01 + 1,
        "heads": h[src] * (h[src] * h[dst]).sum(2, keepdims=True),
        "y": y[src],
        "y in heads": y[src].reshape(-1, 4, 4),
        "sum of y": y[src].sum(1),
        "number": s[src] * w[:, 0],
        "mlp": np.maximum(x[src] @ W.T, 0),
        "one": np.ones(len(src)),
    }


ADD, MULTIPLY, LARGEST, SMALLEST = np.add, np.multiply, np.maximum, np.minimum

# pass → reduction, the message and what NumPy does with it; and the positions of those that are one loop
PASSES = {
    "pna": (
        [
            (G.sum(MESSAGE), "message", ADD), (G.max(MESSAGE), "message", LARGEST),
            (G.min(MESSAGE), "message", SMALLEST), (G.sum(MESSAGE * MESSAGE), "message²", ADD),
            (G.degree(), "one", ADD),
        ],
        [[0, 1, 2, 3], [4]],
    ),
    "no sum": ([(G.prod(NEAR_ONE), "near one", MULTIPLY), (G.max(GATED), "gated", LARGEST)], [[0, 1]]),
    "other messages": (
        [(G.sum(GATED), "gated", ADD), (G.sum(G.src(Y)), "y", ADD), (G.min(MESSAGE), "message", SMALLEST)],
        [[0, 2], [1]],
    ),
    "other lanes": (
        [
            (G.sum(G.src(Y)), "y", ADD), (G.max(G.src(Y).reshape(4, 4)), "y in heads", LARGEST),
            (G.max(apply("lane_sum", G.src(Y), axes=(0,), keepdims=False)), "sum of y", LARGEST),
        ],
        [[0], [1], [2]],
    ),
    "heads": ([(G.sum(HEADS), "heads", ADD), (G.max(HEADS), "heads", LARGEST)], [[0, 1]]),
    "numbers": (
        [
            (G.sum(G.src(S) * G.edge("weight").reshape()), "number", ADD),
            (apply("max", G.src(S) * G.edge("weight").reshape(), empty=-3.0), "number", LARGEST),
        ],
        [[0, 1]],
    ),
    "of another form": (
        [
            (G.sum(relu(linear(G.src(X), weight("w", (5, 16))))), "mlp", ADD), (G.max(G.src(Y)), "y", LARGEST),
            (apply("softmax_sum", G.src(Y), G.src(X)), "softmax", None), (G.min(G.src(Y)), "y", SMALLEST),
        ],
        [[0], [1, 3], [2]],
    ),
}  # fmt: skip


def graph_of(name: str, odd: tuple[float, ...] = ()) -> GraphArrays:
    src, dst, nodes = GRAPHS[name]
    rng = np.random.default_rng(4)
    weights = rng.uniform(0.5, 1.5, (len(src), 1)).astype(np.float32)
    graph = GraphArrays.single(src, dst, np.zeros((nodes, 1)), weight=weights)
    for key, shape in SHAPES.items():
        graph.node_columns[NODE][key] = rng.normal(size=(nodes, *shape)).astype(np.float32)
    for i, number in enumerate(odd):
        graph.node_columns[NODE]["x"][i % nodes, i] = number
    return graph


def compiled(
    values: list[Value], graph: GraphArrays, blocks: int, weights: Mapping[str, np.ndarray] = WEIGHTS
) -> list[np.ndarray]:
    """(n, *shape) of each reduction, all in one pass over the tiles."""
    offsets: dict[int, int] = {}
    width = 0
    for value in values:
        places, size = lanes(value)
        offsets |= {number: width + lane for number, lane in places.items() if number not in offsets}
        width += size
    edge_pass = EdgePass([compile_reduction(value, offsets, weights) for value in values])
    count = graph.counts[NODE]
    results = [np.empty((count, *value.shape), np.float32) for value in values]
    sent = {value.id: value for reduction in edge_pass.reductions for value in reduction.sent}.values()
    for target, row in enumerate(tiles(graph, edge_pass.edges.type, blocks)):
        nodes = len(range(target, count, blocks))

        def read(value: Value, target: int = target) -> np.ndarray:
            return column(graph, value)[target::blocks].copy()

        accumulators = {r.value.id: r.start(nodes, read) for r in edge_pass.reductions}
        for source, (cut, rows) in row.items():
            payload = np.full((len(rows), width), np.nan, np.float32)  # lanes that nobody asked for are poison
            for value in sent:
                there = column(graph, value)[target if source == LOOPS else source :: blocks][rows]
                payload[:, offsets[value.id] : offsets[value.id] + value.width] = there.reshape(len(rows), -1)
            edge_pass.add(accumulators, cut, payload, read)
        for reduction, result in zip(edge_pass.reductions, results, strict=True):
            result[target::blocks] = reduction.finish(accumulators[reduction.value.id])
    return results


def witness(graph: GraphArrays, message: str, step: np.ufunc, value: Value) -> np.ndarray:
    (src, dst), nodes = next(iter(graph.ends.values())), graph.counts[NODE]
    columns = [graph.node_columns[NODE][key].astype(np.float64) for key in SHAPES]
    (edge_columns,) = graph.edge_columns.values()
    messages = per_edge(*columns, np.asarray(edge_columns["weight"], np.float64), src, dst)
    start = {ADD: 0.0, MULTIPLY: 1.0, LARGEST: -np.inf, SMALLEST: np.inf}[step]
    out = np.full((nodes, *messages[message].shape[1:]), start)
    step.at(out, dst, messages[message])
    out[~np.isin(np.arange(nodes), dst)] = value.attributes.get("empty", start)
    return out


@pytest.mark.parametrize("odd", [(), (np.nan, np.inf, -np.inf, 0.0, -0.0)], ids=["finite", "odd"])
@pytest.mark.parametrize("name", PASSES)
def test_each_has_the_bits_that_it_has_alone(name: str, odd: tuple[float, ...]) -> None:
    reductions, _ = PASSES[name]
    values = [value for value, _, _ in reductions]
    for kind in GRAPHS:
        graph = graph_of(kind, odd)
        for blocks in BLOCKS:
            together = compiled(values, graph, blocks)
            for (value, message, step), got in zip(reductions, together, strict=True):
                said = f"{value.op} of {message} on {kind} in {blocks} blocks"
                (alone,) = compiled([value], graph, blocks)
                nan = np.isnan(alone)  # whose sign nobody promises
                np.testing.assert_array_equal(np.isnan(got), nan, err_msg=said)
                assert np.where(nan, 0, got).tobytes() == np.where(nan, 0, alone).tobytes(), said
                if step is None:
                    continue
                with np.errstate(all="ignore"):
                    want = witness(graph, message, step, value)
                scale = np.abs(want[np.isfinite(want)]).max(initial=1.0)
                np.testing.assert_allclose(got, want, rtol=1e-5, atol=6e-6 * scale, err_msg=said)


@pytest.mark.parametrize("name", PASSES)
def test_which_are_one_loop(name: str) -> None:
    reductions, together = PASSES[name]
    assert sharing([edge_program(value) for value, _, _ in reductions]) == together


def test_no_more_in_a_loop_than_llvm_takes() -> None:
    programs = [edge_program(G.sum(MESSAGE * number)) for number in range(2, 22)]
    assert [len(members) for members in sharing(programs)] == [8, 8, 4]


def test_a_joint_loop_goes_by_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four results, three arrays that are read: LLVM has to check that none of them overlap."""
    monkeypatch.setattr(loading, "jit", numba.njit(error_model="numpy"))
    monkeypatch.setattr(loading, "_loaded", {})
    programs = [edge_program(value) for value, _, _ in PASSES["pna"][0][:4]]
    tile = loading.load(write_joint_loop(joint_program(programs), programs, {X.id: 0}))
    read, rows = (numba.types.Array(kind, rank, "C", readonly=True) for kind, rank in
                  ((numba.float32, 2), (numba.int32, 1)))  # fmt: skip
    weights = numba.types.Array(numba.float32, 1, "C", readonly=True)
    out, seen = numba.types.Array(numba.float32, 2, "C"), numba.types.Array(numba.boolean, 1, "C")
    tile.compile((rows, rows, rows, read, numba.int64, read, weights, out, out, seen, out, seen, out))
    (code,) = tile.inspect_llvm().values()
    assert code.count("fmul <") >= 2, "the squares, in short rows and in long ones"
    assert "fmul float" not in code.split("vector.body")[1].split("br i1")[0]
