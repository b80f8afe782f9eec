"""Writing formulas: tracing, what is refused and in which words, programs as text and as data, the interpreter."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pipeline.errors import FormulaError, ModelError
from pipeline.formula import (
    GraphArrays,
    Program,
    Relation,
    Value,
    Weights,
    apply,
    flip,
    interpret,
    linear,
    node_input,
    trace,
    weight,
)
from pipeline.formula.spaces import PROPER, Edges, parse_space
from pipeline.schema import EDGE, EdgeType
from tests.formulas import FORMULAS, build

SRC, DST = np.array([0, 1, 1, 2, 2, 2]), np.array([1, 1, 2, 0, 0, 1])
X = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 11.0], [13.0, 17.0]])
GRAPH = GraphArrays.single(SRC, DST, X, weight=np.arange(6.0))


def run(formula: object, **inputs: object) -> np.ndarray:
    program = trace(formula, {"nodes.x": 2, "edges.weight": ()}, {})  # type: ignore[arg-type]
    return interpret(program, {}, GRAPH)["output"]


def test_reductions_by_hand() -> None:
    into = {node: [k for k in range(6) if DST[k] == node] for node in range(4)}
    rows = {node: X[SRC[edges]] for node, edges in into.items()}
    empty = np.zeros(2)
    for name, function in (("sum", np.sum), ("mean", np.mean), ("max", np.max), ("min", np.min)):
        got = run(lambda g, x, name=name: getattr(g, name)(g.src(x)))
        for node in range(4):
            expected = function(rows[node], axis=0) if into[node] else empty
            np.testing.assert_allclose(got[node], expected)
    got = run(lambda g, x: g.sum(g.softmax(g.edge("weight")).reshape(1) * g.src(x)))
    for node in range(4):
        share = np.exp(np.array(into[node], float))
        expected = (share[:, None] * rows[node]).sum(0) / share.sum() if into[node] else empty
        np.testing.assert_allclose(got[node], expected)


def test_self_loops_by_hand() -> None:
    # node 1 has a loop of weight 1; the others none
    degree = run(lambda g, x: g.without_self_loops().degree().reshape(1))
    np.testing.assert_array_equal(degree[:, 0], [2, 2, 1, 0])
    added = run(lambda g, x: (lambda h: h.sum(h.edge("weight").reshape(1)))(g.with_self_loops(weight=10.0)))
    np.testing.assert_array_equal(added[:, 0], [7 + 10, 6 + 10, 2 + 10, 10])
    kept = run(lambda g, x: (lambda h: h.sum(h.edge("weight").reshape(1)))(g.with_remaining_self_loops(10.0)))
    np.testing.assert_array_equal(kept[:, 0], [7 + 10, 5 + 1, 2 + 10, 10])


def test_against_the_edges_by_hand() -> None:
    out_of = {node: [k for k in range(6) if SRC[k] == node] for node in range(4)}
    found = {
        "src": run(lambda g, x: g.reversed().sum(g.reversed().src(x))),
        "dst": run(lambda g, x: g.reversed().sum(flip(g.dst(x)))),
        "own": run(lambda g, x: g.reversed().sum(g.reversed().dst(x))),
        "column": run(lambda g, x: g.reversed().sum(g.reversed().edge("weight").reshape(1) * flip(g.dst(x)))),
        "there and back": run(lambda g, x: g.reversed().reversed().sum(flip(flip(g.src(x))))),
    }
    for node, edges in out_of.items():
        np.testing.assert_allclose(found["src"][node], X[DST[edges]].sum(0))
        np.testing.assert_allclose(found["dst"][node], X[DST[edges]].sum(0))
        np.testing.assert_allclose(found["own"][node], X[node] * len(edges))
        np.testing.assert_allclose(found["column"][node], (np.array(edges, float)[:, None] * X[DST[edges]]).sum(0))
        np.testing.assert_allclose(found["there and back"][node], X[SRC[np.equal(DST, node)]].sum(0))


def test_self_loops_against_the_edges_by_hand() -> None:
    def degree(of: Callable[[Relation], Relation]) -> np.ndarray:
        def formula(g: Relation, x: Value) -> Value:
            h = of(g)
            return h.sum(h.edge("weight").reshape(1)) + 0.0 * x

        return run(formula)[:, 0]

    np.testing.assert_array_equal(degree(lambda g: g.reversed()), [0, 1 + 2, 3 + 4 + 5, 0])
    for turn in (
        lambda g: g.reversed().with_self_loops(weight=10.0),
        lambda g: g.with_self_loops(weight=10.0).reversed(),
    ):
        np.testing.assert_array_equal(degree(turn), [10, 3 + 10, 12 + 10, 10])
    for turn in (
        lambda g: g.reversed().with_remaining_self_loops(10.0),
        lambda g: g.with_remaining_self_loops(10.0).reversed(),
    ):
        np.testing.assert_array_equal(degree(turn), [10, 2 + 1, 12 + 10, 10])
    np.testing.assert_array_equal(degree(lambda g: g.reversed().without_self_loops()), [0, 2, 12, 0])


def test_a_type_of_edges_and_its_reverse() -> None:
    cites = EdgeType("author", "writes", "paper")
    assert cites.reversed == EdgeType("paper", "writes", "author", is_reversed=True)
    assert cites.reversed.reversed == cites
    assert EdgeType.parse(str(EDGE.reversed)) == EDGE.reversed
    assert parse_space(str(Edges(EDGE.reversed, PROPER))) == Edges(EDGE.reversed, PROPER)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            lambda g, x: g.src(x) + g.reversed().src(x),
            r"values of different types do not mix: .*flip\(\.\.\.\) turns one",
        ),
        (lambda g, x: flip(x), "only an edge value can be seen from the other end of its edge"),
        (lambda g, x: x + g.src(x), r"node and edge values do not mix: take g\.src\(\.\.\.\) or g\.dst"),
        (lambda g, x: g.src(g.src(x)), "src takes a value on nodes"),
        (lambda g, x: g.sum(x), "a reduction takes edge values"),
        (lambda g, x: g.softmax(x), "softmax over neighbours takes an edge value"),
        (
            lambda g, x: g.without_self_loops().src(x),
            "output 'output' has rows of a part of the edges only; a result has one row for each edge of the table",
        ),
        (lambda g, x: g.with_self_loops().src(x), "output 'output' has rows of the self-loops that a layer adds"),
        (lambda g, x: {"a": g.src(x), "b": x}, "output 'a' has one row per edge and 'b' one per node, and a result is"),
        (lambda g, x: {"src": g.src(x)}, "output 'src': the result has a column of this name already"),
        (lambda g, x: {"Parallel": g.src(x)}, "output 'Parallel': the result has a column of this name already"),
        (lambda g, x: g.src(x)[:0], "output 'output' has one row per edge, of no columns"),
        (lambda g, x: g.sum(apply("edge_rows", g.src(x))), "a reduction takes edge values"),
        (lambda g, x: x + apply("edge_rows", g.src(x)), "edge_rows is what an output is, and nothing reads it"),
        (lambda g, x: g.edge("wieght"), "no edge column 'wieght' among the inputs; did you mean 'weight'"),
        (lambda g, x: g.src(x) + g.without_self_loops().src(x), "values of different types do not mix"),
        (lambda g, x: g.without_self_loops().without_self_loops(), "self-loops were already changed"),
        (lambda g, x: g.with_self_loops().with_self_loops(), "self-loops were already added"),
        (lambda g, y: y, "the formula asks for y; it is offered g, w, x"),
        (lambda g, x: 3, "the formula returned int"),
        (lambda g, x, w: x * w.scale, "no weights scale; known"),
        (lambda g, x, w: linear(x, w), "linear: weights .all. holds no 'weight'"),
    ],
)
def test_what_is_refused(formula: object, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        trace(formula, {"nodes.x": 2, "edges.weight": ()}, {"other": (2,)})  # type: ignore[arg-type]


def test_inputs_are_named_by_table() -> None:
    with pytest.raises(FormulaError, match=r"input 'x': write nodes\.COLUMN or edges\.COLUMN"):
        trace(lambda x: x, {"x": 2}, {})


def test_weights_are_namespaces() -> None:
    w = Weights({"0.lin.weight": (3, 2), "0.lin.bias": (3,), "scale": ()})
    assert isinstance(w["scale"], Value)
    below = w[0]
    assert isinstance(below, Weights)
    assert below.names() == ["lin.weight", "lin.bias"]
    assert linear(node_input("x", (2,)), below.below("lin")).shape == (3,)
    with pytest.raises(FormulaError, match=r"no weights 0\.lim; did you mean 'lin'"):
        below.below("lim")


@pytest.mark.parametrize("name", FORMULAS)
def test_programs_as_data(name: str) -> None:
    program = build(name).program
    text = json.dumps(program.to_json(), allow_nan=False)
    again = Program.from_json(json.loads(text))
    assert str(again) == str(program)
    assert [str(column) for column in again.inputs] == [str(column) for column in program.inputs]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "system"}, "unknown operation 'system'"),
        (
            {"op": "add", "inputs": [0]},
            r"value 1 of the program \(add\) is not well formed: add.*does not take 1 inputs",
        ),
        ({"op": "relu", "inputs": [5]}, "value 1"),
        ({"op": "reshape", "inputs": [0], "attributes": {"shape": [7]}}, "cannot reshape"),
        ({"op": "relu", "inputs": [0], "attributes": {"planted": 1}}, "value 1"),
    ],
)
def test_data_that_is_no_program(change: dict[str, object], message: str) -> None:
    data = Program({"y": apply("relu", node_input("x", (2,)))}).to_json()
    data["values"][1] = change
    with pytest.raises(ModelError, match=message):
        Program.from_json(data)


def test_a_program_prints_itself() -> None:
    g, x = Relation(), node_input("x", (2,))
    assert str(Program({"y": g.max(g.src(x)) * 0.5})).splitlines() == [
        "%0:nodes[2] = input name=x",
        "%1:edges[2] = src %0",
        "%2:nodes[2] = max %1 empty=0",
        "%4:nodes[2] = mul %2 0.5",
        "y ← %4",
    ]


# ---- what people write who know NumPy


def test_numpys_functions_are_operations() -> None:
    x, y = node_input("x", (4,)), node_input("y", (4,))
    assert [np.exp(x).op, np.abs(x).op, np.multiply(x, y).op, np.arctan2(x, y).op] == ["exp", "abs", "mul", "atan2"]
    scaled = np.float32(2) * x
    assert (scaled.op, scaled.inputs[0].attributes) == ("mul", {"value": 2.0})
    assert (np.int64(3) - x).op == "sub"
    assert [(x > 0).op, (x <= y).op, abs(x).op] == ["greater", "less_equal", "abs"]


def test_columns_by_numpys_indices() -> None:
    x = node_input("x", (4,))
    for taken in (x[1], x[:, 1], x[..., 1], x[-3]):
        assert taken.shape == ()
        assert taken.inputs[0].attributes["start"] == 1
    assert x[:, 1:3].shape == (2,)
    heads = node_input("h", (2, 4))
    assert heads[:, :, 0].shape == heads[..., 0].shape == heads[0].shape == (2,)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda x, w: x.mean(), "no .mean; total_mean(x) is over all nodes, lane_mean(x) over the columns of each row"),
        (lambda x, w: np.mean(x), "np.mean cannot be used in a formula; total_mean(x) is over all nodes"),
        (lambda x, w: x @ w.T, "no .T; linear(x, w) multiplies by a weight transposed"),
        (lambda x, w: np.concatenate([x, x]), "np.concatenate cannot be used in a formula; concat(x, y)"),
        (lambda x, w: np.cbrt(x), "np.cbrt cannot be used in a formula"),
        (lambda x, w: np.add.reduce(x), "np.add cannot be used in a formula"),
        (lambda x, w: np.ones(4) * x, "a formula cannot hold array([1., 1., 1., 1.]); give arrays as weights, w.a"),
        (lambda x, w: x[[0, 1]], "cannot take [0, 1] of node value of shape (4,): x[2] is a column, x[:4] some"),
        (lambda x, w: x[0, :], "cannot take (0, slice(None, None, None)) of node value of shape (4,)"),
        (lambda x, w: x[4], "there is no column 4 in node value of shape (4,)"),
        (lambda x, w: sum(each for each in x), "cannot go through node value of shape (4,) one by one: x[0], x[1], …"),
        (lambda x, w: x * float(x), "node value of shape (4,) is no number: a formula says what becomes of each row"),
        (lambda x, w: [0][x], "node value of shape (4,) is no number: a formula says what becomes of each row"),
        (lambda x, w: x / len(x), "node value of shape (4,) has no length: x.shape is the shape of one row"),
        (lambda x, w: x.relu(), "a value of a formula has no .relu; write relu(x), of graphsweep.formula"),
        (lambda x, w: Relation().summ(x), "the edges of a formula have no g.summ; did you mean 'sum'?"),
        (lambda x, w: Relation().edge("a"), "no edge column 'a' among the inputs; there are none"),
        (lambda x, w: trace(lambda g, x: x, "nodes.x", {}), "inputs is 'nodes.x'; columns and widths are expected"),
        (lambda x, w: trace("x", {"nodes.x": 4}, {}), "the formula is 'x'; a function of g, x, w is expected"),
        (lambda x, w: trace(lambda g, x: x, {"nodes.x": "4"}, {}), "the shape of a column is '4'; a width is expected"),
        (lambda x, w: trace(lambda g, x: x, {"nodes.x": None}, {}), "the shape of a column is None; a width is exp"),
        (lambda x, w: x if x > 0 else w, "a formula cannot branch on node value of shape (4,)"),
    ],
)
def test_what_a_formula_has_not_is_said_with_what_to_write(write: Any, message: str) -> None:
    with pytest.raises(FormulaError, match=re.escape(message)):
        write(node_input("x", (4,)), weight("a", (4, 4)))


def test_a_value_can_be_copied_and_has_no_other_names() -> None:
    x = node_input("x", (4,))
    assert copy.copy(x).shape == x.shape
    assert pickle.loads(pickle.dumps(x)).op == "input"
    assert not hasattr(x, "anything")
