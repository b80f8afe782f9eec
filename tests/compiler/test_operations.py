"""Every operation of the table that acts inside an edge: compiled, it is what the interpreter says; in float32 only."""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest

from pipeline.compiler import load as loading
from pipeline.compiler.edge_program import DENSE, INLINE, edge_program
from pipeline.compiler.loops import write_loop
from pipeline.errors import FormulaError
from pipeline.formula import GraphArrays, Relation, concat, node_input, weight
from pipeline.formula.operations import OPERATIONS
from pipeline.formula.values import apply
from pipeline.schema import NODE
from tests.compiler.tiles import compiled, expected

AWKWARD = np.array([0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.5, 1e-30, -1e-7, 88.0, 104.0, -104.0, np.inf, -np.inf, np.nan])
ATTRIBUTES = {
    "leaky_relu": {"slope": 0.2},
    "elu": {"alpha": 1.7, "scale": 1.05, "input_scale": 0.9},
    "gelu": {"approximate": "none"},
    "softplus": {"beta": 2.0, "threshold": 20.0},
    "clamp": {"low": -0.5, "high": float("inf")},
}
COMPARISONS = ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
ARITY = {"where": 3} | dict.fromkeys(
    ["add", "sub", "mul", "div", "pow", "atan2", "hypot", "maximum", "minimum", *COMPARISONS], 2
)
ELEMENTWISE = [name for name, operation in OPERATIONS.items() if operation.kind == "elementwise"]
ROW = [name for name, operation in OPERATIONS.items() if operation.kind == "row"]
CASES = [(name, ATTRIBUTES.get(name, {})) for name in ELEMENTWISE] + [("gelu", {"approximate": "tanh"})]


def one_edge_per_node(columns: dict[str, np.ndarray]) -> GraphArrays:
    """Node i sends to node i: a sum over edges shows each edge's value as it is."""
    count = len(next(iter(columns.values())))
    graph = GraphArrays.single(np.arange(count), np.arange(count), np.zeros((count, 1)))
    graph.node_columns[NODE].update(columns)
    return graph


def operands(count: int) -> list[np.ndarray]:
    """All combinations of awkward numbers, and ordinary ones behind them: (n, 3) float32 each."""
    grid = np.meshgrid(*[AWKWARD] * count, indexing="ij")
    normal = np.random.default_rng(count).normal(scale=3, size=(count, 300))
    arrays = [np.concatenate([axis.reshape(-1), extra]) for axis, extra in zip(grid, normal, strict=True)]
    return [np.resize(array, (len(array) // 3 * 3,)).reshape(-1, 3).astype(np.float32) for array in arrays]


@pytest.mark.parametrize(("op", "attributes"), CASES)
def test_elementwise(op, attributes):
    g = Relation()
    arrays = operands(ARITY.get(op, 1))
    names = "abc"[: len(arrays)]
    inputs = [node_input(name, (3,)) for name in names]
    # max keeps what it gets, sum would turn -0.0 and NaN into others
    value = g.max(apply(op, *map(g.src, inputs), **attributes))
    graph = one_edge_per_node(dict(zip(names, arrays, strict=True)))
    reference = expected(value, graph, {})
    with np.errstate(all="ignore"):
        reference = reference.astype(np.float32)  # what is beyond float32 is infinite there
    computed = compiled(value, graph, {}, 2)
    # some units in the last place, or near zero of the largest number on the way (1 + tanh in gelu)
    np.testing.assert_allclose(computed, reference, rtol=2e-6, atol=5e-7, err_msg=op)


ROW_VALUES = {
    "matmul": lambda x, y: apply("matmul", x, weight("w", (4, 5))),
    "reshape": lambda x, y: x.reshape(2, 6) * weight("v", (6,)),
    "broadcast_to": lambda x, y: apply("broadcast_to", x.reshape(3, 1, 4), shape=(3, 2, 4)),
    "transpose": lambda x, y: apply("transpose", x, axes=(1, 0)) * 2.0,
    "concat": lambda x, y: concat([x, y, x], axis=0) * 2.0,
    "slice": lambda x, y: x[1:4:2],
    "take": lambda x, y: apply("take", x, axis=1, indices=(3, 0, 0)),
    "lookup": lambda x, y: apply("lookup", weight("v", (6,)), apply("clamp", apply("floor", x * 2), low=0.0, high=5.0)),
    "lane_argmax": lambda x, y: apply("lane_argmax", x, axes=(1,), keepdims=True),
    "merge_states": lambda x, y: apply("merge_states", x.reshape(12), y.reshape(12), logits=2),
} | {
    op: lambda x, y, op=op: apply(op, x * y, axes=(0, 1) if op == "lane_sum" else (1,), keepdims=op != "lane_mean")
    for op in ("lane_sum", "lane_mean", "lane_max", "lane_min", "lane_prod")
}


@pytest.mark.parametrize("op", ROW)
def test_row(op):
    g = Relation()
    rng = np.random.default_rng(7)
    columns = {name: rng.normal(size=(20, 3, 4)).astype(np.float32) for name in "xy"}
    weights = {"w": rng.normal(size=(4, 5)).astype(np.float32), "v": rng.normal(size=6).astype(np.float32)}
    value = g.sum(ROW_VALUES[op](g.src(node_input("x", (3, 4))), g.dst(node_input("y", (3, 4)))))
    graph = one_edge_per_node(columns)
    np.testing.assert_allclose(
        compiled(value, graph, weights, 3), expected(value, graph, weights), rtol=1e-6, atol=1e-6
    )


def test_every_operation_has_a_way():
    """An operation added to the table without code fails here, not in a user's job."""
    assert not [name for name in ELEMENTWISE if OPERATIONS[name].code is None]
    assert set(ROW) == INLINE | DENSE
    assert set(ROW) == set(ROW_VALUES)


@pytest.mark.parametrize("lanes", [24, 64, 65, 264])
@pytest.mark.parametrize("op", ["lane_sum", "lane_mean"])
def test_folded_sums(lanes, op):
    """Sums over many lanes go by vectors; the heads they belong to stay apart."""
    g = Relation()
    rng = np.random.default_rng(lanes)
    columns = {name: rng.normal(size=(9, 3, lanes)).astype(np.float32) for name in "xy"}
    product = g.src(node_input("x", (3, lanes))) * g.dst(node_input("y", (3, lanes)))
    value = g.sum(apply(op, product, axes=(1,), keepdims=False))
    graph = one_edge_per_node(columns)
    np.testing.assert_allclose(compiled(value, graph, {}, 2), expected(value, graph, {}), rtol=1e-6, atol=1e-5)


ARRAY, ROWS = (numba.types.Array(kind, rank, "C", readonly=True) for kind, rank in
               ((numba.float32, 2), (numba.int32, 1)))  # fmt: skip


def machine_code(value, lanes, *arguments, monkeypatch) -> str:
    """LLVM's code of a loop, all functions inlined."""
    monkeypatch.setattr(loading, "jit", numba.njit(error_model="numpy"))
    monkeypatch.setattr(loading, "_loaded", {})
    tile = loading.load(write_loop(edge_program(value), lanes))
    results = [numba.types.Array(numba.float32, 2, "C")]
    if value.op in ("max", "min"):
        results.append(numba.types.Array(numba.boolean, 1, "C"))
    tile.compile((ROWS, ROWS, ROWS, ARRAY, numba.int64, *arguments, *results))
    (code,) = tile.inspect_llvm().values()
    return code


# the others call the C library
VECTORS = set(ELEMENTWISE) - {"sin", "cos", "erf", "gelu", "hypot", "log", "log1p", "pow", "softplus"}


@pytest.mark.parametrize(("op", "attributes"), CASES)
def test_float32_in_vectors(op, attributes, monkeypatch):
    """One literal of Python's would make the rest of a loop float64; a call, or a branch, would leave it scalar."""
    g = Relation()
    inputs = [node_input(name, (16,)) for name in "abc"[: ARITY.get(op, 1)]]
    offsets = {value.id: 16 * number for number, value in enumerate(inputs)}
    code = machine_code(g.sum(apply(op, *map(g.src, inputs), **attributes)), offsets, monkeypatch=monkeypatch)
    assert not re.search(r"\bdouble\b", code)
    if op in VECTORS:
        assert re.search(r"<\d+ x float>", code)


@pytest.mark.parametrize("shape", [(24,), (40,), (64,), (4, 8), (8, 16)])
@pytest.mark.parametrize("op", ["sum", "max"])
def test_lanes_become_vectors(op, shape, monkeypatch):
    g = Relation()
    x, y = node_input("x", shape), node_input("y", (*shape[:-1], 1))
    value = apply(op, g.src(x) * g.src(y), **({"empty": 0.0} if op == "max" else {}))
    code = machine_code(value, {x.id: 0, y.id: x.width}, monkeypatch=monkeypatch)
    assert re.search(r"<\d+ x float>", code)


def test_an_operation_that_cannot_run_in_a_loop_is_named():
    g = Relation()
    x = node_input("x", (4,))
    softmax = g.sum(g.softmax(g.src(x)))
    with pytest.raises(FormulaError, match="softmax cannot be computed inside a reduction over edges; what can: src"):
        edge_program(softmax)
    loops = g.with_self_loops(weight=2.0)
    extended = loops.sum(apply("extend", g.src(x), x))
    with pytest.raises(FormulaError, match="extend cannot be computed inside a reduction"):
        edge_program(extended)
    with pytest.raises(
        FormulaError, match="relu is no reduction over edges; known: edge_rows, last, logsumexp, max, min, prod"
    ):
        edge_program(apply("relu", x))
